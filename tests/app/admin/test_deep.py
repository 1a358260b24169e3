"""`verify --deep`: Git makes the same roots of right histories, and a false log is found out, by name."""

from __future__ import annotations

import dataclasses
import json
import random

import pytest
from click.testing import CliRunner

from app import cli
from app.admin.deep import deep
from app.intake.packing import Item
from app.protocol.changesets.submissions import Change, ChangesetBase, CommitBase, Submission, VersionsBase
from storage.backends.bucket import Bucket
from storage.base import settings as settings_module
from storage.base.ids import ChangesetId, ObjectId
from storage.base.settings import Settings
from storage.git.objects import EMPTY_TREE, EXECUTABLE_MODE, FILE_MODE, SYMLINK_MODE, Commit, Kind, object_id
from storage.git.threeway import Strategy
from storage.log.log import name_of
from storage.operations.lifecycle import release
from storage.repository import Repository
from tests.support.forger import Forger, Json
from tests.support.world import World, item_of

LINES = b"".join(b"line %d\n" % i for i in range(12))


def submission(world: World, base: object, *changes: Change, hold: bool = False, key: str | None = None) -> Item:
    """Return a submission on a commit, a changeset, or by versions (None)."""
    on = CommitBase(base) if isinstance(base, bytes) else ChangesetBase(base) if base else VersionsBase()
    made = Submission(
        slice=world.all.id,
        base=on,
        author_name="Ada",
        author_email="a@b",
        message="Change",
        changes=changes,
        key=key,
        hold=hold,
    )
    return item_of(made)


def put(path: str, content: bytes, base: bytes | None = None, strategy: Strategy = Strategy.MERGE) -> Change:
    return Change("put", path.encode(), FILE_MODE, content=content, base=base, strategy=strategy)


def delete(path: str, base: bytes | None = None, strategy: Strategy = Strategy.MERGE) -> Change:
    return Change("delete", path.encode(), 0, base=base, strategy=strategy)


def chmod(path: str, base: bytes | None = None) -> Change:
    return Change("mode", path.encode(), EXECUTABLE_MODE, base=base)


@pytest.fixture
def world(settings: Settings) -> World:
    return World(Repository(settings))


def oid_of(content: bytes) -> bytes:
    return object_id(Kind.BLOB, content)


def submit(world: World, base: object, *changes: Change, **more: object) -> ChangesetId:
    return world.submit(submission(world, base, *changes, **more))[0]  # type: ignore[arg-type]


def everything(world: World) -> dict[str, ChangesetId]:
    """Land a history with all that a changeset can be; return those that tests name."""
    named = {}
    submit(
        world,
        world.tip,
        put("text", LINES),
        put("dir/a", b"a\n"),
        put("dir/b", b"b\n"),
        put("calm", b"c"),
        put("gone", LINES * 2),
    )
    world.work()
    base = world.tip
    named["plain"] = submit(world, base, put("text", LINES.replace(b"line 1\n", b"first\n")), delete("dir/b"))
    named["merged"] = submit(world, base, put("text", LINES.replace(b"line 10\n", b"second\n")), chmod("dir/a"))
    named["conflicted"] = submit(world, base, put("text", LINES.replace(b"line 1\n", b"third\n")))
    named["modified"] = submit(world, base, put("dir/b", b"changed\n"))
    # A stack on what its writer saw, not on what it was merged into.
    bottom = submit(world, base, put("text", LINES.replace(b"line 6\n", b"six\n")), key="once")
    middle = submit(world, bottom, put("text", LINES.replace(b"line 6\n", b"six\n").replace(b"line 8", b"8")))
    named["stacked"] = submit(world, middle, put("text", LINES.replace(b"line 6\n", b"six\nsix\n")), chmod("text"))
    world.work()
    repeat = submit(world, base, put("text", LINES.replace(b"line 6\n", b"six\n")), key="once")
    submit(world, repeat, put("on/a/repeat", b"1"))
    # What git before 2.50 takes for a rename: one side deletes a file and makes its like, the other changes it.
    submit(world, base, delete("gone"), put("moved/gone", LINES * 2 + b"x\n"))
    named["renamed"] = submit(world, base, put("gone", LINES * 2 + b"end\n"))
    world.work()
    for strategy in Strategy:
        new = put("text", b"%s\n" % strategy.encode(), strategy=strategy)
        named[strategy] = submit(world, base, new, put(f"s/{strategy}", b"1"))
    named["exact fits"] = submit(world, base, delete("calm", strategy=Strategy.EXACT))
    submit(world, base, delete("text", strategy=Strategy.THEIRS))
    world.work()
    held = submit(world, base, put("held", b"1"), hold=True)
    # By versions: seen as it is, seen as it was, seen as it never was here, not seen at all.
    by = submit(world, None, put("v/1", b"1"), put("v/text", LINES))
    world.work()
    moved = LINES.replace(b"line 3\n", b"3\n")
    submit(world, None, put("v/text", moved, oid_of(LINES)), delete("v/1", oid_of(b"1")))
    world.work()
    submit(world, None, put("v/text", LINES.replace(b"line 11\n", b"11\n"), oid_of(LINES)))
    named["unknown"] = submit(world, None, put("v/text", b"0\n", oid_of(b"nobody has it")))
    submit(world, None, Change("mode", b"v/text", EXECUTABLE_MODE, base=oid_of(b"nor this")))
    submit(world, None, put("v/text/below", b"1"))
    named["on versions"] = submit(world, by, put("v/more", b"1"), delete("v/1"))
    release(world.repo, held)
    world.work()
    base = world.tip
    submit(world, base, delete("v/text"), put("v/text/below", b"1"), Change("put", b"link", SYMLINK_MODE, content=b"v"))
    submit(world, base, put("v/text/other", b"1"), delete("v/text"))
    submit(world, base, put("v", b"1"), delete("v/text"), delete("v/more"))
    submit(world, base, put('odd "name"\\ü', b"1"), put(" space ", b"1"))
    world.work()
    return named


def test_a_history_of_everything_is_what_git_makes(world: World) -> None:
    named = everything(world)
    status = {name: world.status(changeset) for name, changeset in named.items()}
    assert [name for name in status if status[name] != "committed"] == [
        "conflicted", "modified", "renamed", "merge", "exact", "unknown",
    ], status  # fmt: skip
    found = deep(world.repo.settings)
    assert found.difference == "" and found.entries == world.repo.view.head().applied
    assert found.committed == world.repo.view.head().committed and found.conflicted >= 6
    assert found.merged > 10 and found.unchecked == 0


@pytest.mark.parametrize("seed", range(4))
def test_random_histories_are_what_git_makes(world: World, seed: int) -> None:
    chance = random.Random(seed)
    paths = ["a", "b", "a/b", "d/a", "d/b", "d/e/f", "d", "g"]
    tips, landed = [world.tip], []
    for _ in range(12):
        for _ in range(chance.randint(1, 12)):
            base = chance.choice([tips[-1], chance.choice(tips), chance.choice(landed or [None])])
            changes = {}
            for path in chance.sample(paths, chance.randint(1, 3)):
                lines = LINES.splitlines(keepends=True)
                for _ in range(chance.randint(0, 3)):
                    lines[chance.randrange(12)] = b"%d\n" % chance.randrange(9)
                seen = None if base else chance.choice([None, oid_of(LINES)])
                strategy = chance.choice([*Strategy, *[Strategy.MERGE] * 8])
                how = chance.random()
                changes[path] = put(path, b"".join(lines), seen, strategy)
                if how < 0.25 and (base or seen):
                    changes[path] = delete(path, seen, strategy)
                elif how < 0.35 and (base or seen):
                    changes[path] = chmod(path, seen)
            kept = [
                each for path, each in changes.items() if not any(other.startswith(path + "/") for other in changes)
            ]
            landed.append(submit(world, base, *kept))
        world.work()
        tips.append(world.tip)
        landed = [each for each in landed if world.status(each) == "committed"][-20:]
    found = deep(world.repo.settings)
    assert found.difference == "" and found.committed > 15 and found.conflicted > 5 and found.merged > 15, found
    assert found.unchecked <= 5


def test_a_history_in_which_a_mode_of_a_symlink_changed_is_still_right(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was made a file of the target's text once; such commits stay."""
    monkeypatch.setattr("storage.commit.decide.why_no_mode", lambda change, seen: None)
    link = Change("put", b"link", SYMLINK_MODE, content=b"target")
    below = submit(world, world.tip, link)
    world.work()
    ids = [submit(world, below, chmod("link")), submit(world, None, chmod("link", oid_of(b"target")))]
    world.work()
    assert [world.status(each) for each in ids] == ["committed"] * 2
    assert deep(world.repo.settings).difference == ""


@pytest.fixture
def five(world: World) -> tuple[World, list[ChangesetId]]:
    """Five changesets: one a merge with the one before, in entries of one or two, merged globally."""
    ids = [submit(world, world.tip, put("text", LINES), put("other", b"1"))]
    world.work()
    base = world.tip
    ids.append(submit(world, base, put("text", LINES.replace(b"line 1\n", b"1\n"))))
    ids.append(submit(world, base, put("text", LINES.replace(b"line 9\n", b"9\n"))))
    world.work()
    ids.append(submit(world, ids[-1], put("other", b"2")))
    world.work()
    ids.append(submit(world, world.tip, put("last", b"3")))
    world.work()
    assert [world.status(each) for each in ids] == ["committed"] * 5
    return world, ids


Five = tuple[World, list[ChangesetId]]


def test_a_right_log_written_by_hand_is_clean(five: Five) -> None:
    assert Forger(five[0]).deep() == deep(five[0].repo.settings)
    assert Forger(five[0]).deep().difference == ""


def test_a_root_that_is_another_tree_is_found(five: Five) -> None:
    def forge(entry: Json) -> None:
        if entry["kind"] == "commits" and entry["decided"][0]["id"] == five[1][3]:
            entry["root"] = EMPTY_TREE.hex()

    found = Forger(five[0], entry=forge).deep().difference
    seq = five[0].repo.outcome(five[1][3]).seq
    assert found.startswith(f"entry {seq}: its root is {EMPTY_TREE.hex()}")


@pytest.mark.parametrize("number", [0, 2, 3, 4], ids=["first", "merge", "stack", "last"])
def test_a_tree_that_is_exchanged_is_named_with_its_first_path(five: Five, number: int) -> None:
    """What a merge queue does that builds on the wrong tree: a change is not there, or others are reverted."""
    world, ids = five
    trees = [world.repo.objects.commit(ObjectId(bytes.fromhex(world.repo.outcome(each).commit))).tree for each in ids]
    wrong = {0: EMPTY_TREE, 2: trees[0], 3: trees[2], 4: trees[1]}[number]
    path = {0: "other", 2: "text", 3: "other", 4: "last"}[number]

    def forge(changeset: str, commit: Commit) -> Commit:
        return dataclasses.replace(commit, tree=wrong) if changeset == ids[number] else commit

    found = Forger(world, commit=forge).deep().difference
    seq = world.repo.outcome(ids[number]).seq
    assert found == f"entry {seq}, changeset {ids[number]}: its tree is not what Git makes, first at {path}"


def test_a_trailer_twice_is_found(five: Five) -> None:
    def forge(changeset: str, commit: Commit) -> Commit:
        more = f"Changeset-Id: {five[1][0]}\n"
        return dataclasses.replace(commit, message=commit.message + more) if changeset == five[1][1] else commit

    found = Forger(five[0], commit=forge).deep().difference
    assert f"changeset {five[1][1]}" in found and f"name ['{five[1][1]}', '{five[1][0]}']" in found


def test_what_is_called_a_conflict_and_is_none_is_found(five: Five) -> None:
    for number, said in ((4, "nothing moved since its base"), (2, "Git merges it")):

        def forge(record: Json, number: int = number) -> None:
            if record["id"] in five[1][number:]:
                for name in ("commit", "changes", "merged", "merged_count", "seen", "saw", "base"):
                    record.pop(name, None)
                record |= {"status": "conflicted", "conflicts": [], "conflict_count": 0}
            if record["id"] in five[1][number + 1 :]:
                record |= {"status": "rejected", "reason": "forged", "detail": ""}

        found = Forger(five[0], record=forge).deep().difference
        assert said in found and five[1][number] in found, found


def test_changes_that_were_not_submitted_are_found(five: Five) -> None:
    def forge(record: Json) -> None:
        if record["id"] == five[1][3]:
            record["changes"][0][0] = "another"

    found = Forger(five[0], record=forge).deep().difference
    assert five[1][3] in found and found.endswith("its changes are not those that were submitted")


def test_a_seen_tree_that_is_another_is_found(five: Five) -> None:
    def forge(record: Json) -> None:
        if "seen" in record and record["id"] == five[1][3]:
            record["seen"] = EMPTY_TREE.hex()

    found = Forger(five[0], record=forge).deep().difference
    assert five[1][3] in found and "`seen` is" in found


def test_a_global_commit_with_another_tree_is_found(five: Five) -> None:
    found = Forger(five[0], merge=lambda commit: dataclasses.replace(commit, tree=EMPTY_TREE)).deep().difference
    assert found.startswith("entry 4: the merge's tree is not that of")


def test_a_log_that_does_not_fit_together_is_found(five: Five, monkeypatch: pytest.MonkeyPatch) -> None:
    read = Bucket._get

    def other(self: Bucket, name: str, **span: object) -> bytes:
        data = read(self, name, **span)
        return data.replace(b'"by":"01', b'"by":"00') if name == name_of(2) else data

    monkeypatch.setattr(Bucket, "_get", other)
    assert deep(five[0].repo.settings).difference == "entry 3 does not follow the entry before it"


def test_the_command_says_what_was_made_again(five: Five, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in settings_module.environment(five[0].repo.settings).items():
        monkeypatch.setenv(name, value)
    answer = CliRunner().invoke(cli.cli, ["verify", "--deep", "--json"])
    found = json.loads(answer.stdout)
    assert answer.exit_code == 0 and found["clean"] and found["deep"]["committed"] == 5
    assert found["deep"]["difference"] == "" and found["deep"]["merged"] == 2
    assert "5 committed" in CliRunner().invoke(cli.cli, ["verify", "--deep"]).stdout

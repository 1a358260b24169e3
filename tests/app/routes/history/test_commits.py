"""Commits, histories of paths, blame and comparisons over the API, with Git as the judge on an export."""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Any

import pytest

from app.admin.export import export
from storage.base.settings import Settings
from storage.commit.batch import commit_batch
from storage.operations import history as history_module
from storage.operations.versions import blame as blame_module
from tests.support.api import Api, Json, walk
from tests.support.compaction import aged_world, compacted
from tests.support.git_repository import GitRepository
from tests.support.principals import grants, principal, secured
from tests.support.world import item


@pytest.fixture
def root(settings: Settings, unsent: object) -> Api:
    return secured(settings)


def land(api: Api, files: dict[str, bytes | str | None], message: str = "Change things") -> str:
    """Land one changeset on the tip, and return its commit."""
    [changeset] = api.world.submit(item(api.world.all, files, api.world.tip, message=message))
    api.world.work()
    return str(api.get(f"/changesets/{changeset}")["commit"])


def exported(api: Api, folder: Path) -> GitRepository:
    """Return a clone of an export: its branch `main` has the global commits, and `chain` the chain."""
    export(api.world.repo.settings, folder / "export.git")
    clone = GitRepository(folder / "clone")
    clone.git("fetch", "--quiet", str(folder / "export.git"), "main:global", "next:chain", "refs/tags/*:refs/tags/*")
    return clone


def blamed(api: Api, path: str, commit: str) -> list[str]:
    """Return the commit of each line."""
    answer = api.get("/blame", path=path, commit=commit)
    assert answer["older"] == [] and answer["limit"] is None and answer["before"] is None
    lines: list[str] = []
    for span in answer["items"]:
        assert span["start"] == len(lines) + 1
        lines += [span["commit"]] * span["lines"]
    return lines


def blamed_by_git(clone: GitRepository, path: str, commit: str) -> list[str]:
    shown = clone.git("blame", "--line-porcelain", commit, "--", path)
    return [line[:40] for line in shown.split("\n") if re.match(r"[0-9a-f]{40} [0-9]+ [0-9]+", line)]


def edited(text: bytes, rng: random.Random) -> bytes:
    """Return a text with some lines changed, added and taken out; few different ones, so that matches are ambiguous."""
    lines = text.split(b"\n")
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(lines) + 1)
        new = [rng.choice([b"}", b"", b"  x", b"  y", b"%d" % rng.randrange(30)]) for _ in range(rng.randint(0, 3))]
        lines[at : at + rng.randint(0, 3)] = new
    return b"\n".join(lines)


@pytest.mark.parametrize("seed", range(4))
def test_blame_is_that_of_git_on_random_histories(root: Api, tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    print(f"seed {seed}")
    filler = b"".join(b"line %d\n" % number for number in range(rng.choice([0, 300])))
    text = b"a\n}\n\nb\n}\n" + filler
    land(root, {"f": text, "other": b"0"})
    for number in range(14):
        text = edited(text, rng)
        files: dict[str, bytes | str | None] = {"f": text}
        if number % 5 == 4:
            files = {"f": "exec:" + text.decode()}
        if number % 7 == 3:
            files[f"dir/{number}"] = b"another %d" % number
        root.world.submit(item(root.world.all, files, root.world.tip))
        while commit_batch(root.world.repo).changesets:
            pass
        if rng.random() < 0.4:  # so that a global commit merges several
            root.world.work()
    root.world.work()
    clone = exported(root, tmp_path)
    main, tip = root.get("/head")["main"]["commit"], root.tip
    for commit in (main, tip):
        assert blamed(root, "f", commit) == blamed_by_git(clone, "f", commit), f"seed {seed}"
    middle = clone.git("rev-list", "chain", "--", "f").splitlines()[7]
    assert blamed(root, "f", middle) == blamed_by_git(clone, "f", middle)


def test_blame_of_edits_that_were_merged_on_the_tip_is_that_of_git(root: Api, tmp_path: Path) -> None:
    lines = [b"%d\n" % number for number in range(30)]
    land(root, {"f": b"".join(lines)})
    base = root.world.tip
    for number in (3, 10, 20, 28):
        changed = list(lines)
        changed[number] = b"changed %d\n" % number
        root.world.submit(item(root.world.all, {"f": b"".join(changed)}, base))
    root.world.work()
    land(root, {"f": None})
    land(root, {"f": b"".join(lines[:5])})
    land(root, {"f": b"0\n" + b"".join(lines[:7])})
    clone = exported(root, tmp_path)
    for commit in clone.git("rev-list", "chain", "global", "--", "f").splitlines():
        if clone.git("ls-tree", commit, "f"):
            assert blamed(root, "f", commit) == blamed_by_git(clone, "f", commit), commit


def test_a_line_has_its_commit_changeset_author_and_time(root: Api) -> None:
    commit = land(root, {"f": b"1\n"}, "Begin\n\nAnd more")
    [span] = root.get("/blame", path="f")["items"]
    [entry] = root.get("/slices/all/commits")["items"]
    assert span["commit"] == commit and span["changeset"] == entry["changeset"]
    assert (span["author"]["email"], span["message"], span["time"]) == ("ada@example.org", "Begin", entry["time"])
    assert span["status"] == "landed" and span["slice"] == root.world.all.id


def test_a_blame_that_goes_back_too_far_says_where_to_go_on(root: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    commits = [land(root, {"f": b"".join(b"%d\n" % n for n in range(length))}) for length in range(1, 7)]
    monkeypatch.setattr(blame_module, "MOST_VERSIONS", 2)
    found: dict[int, str] = {}
    commit, lines = root.tip, {line: line for line in range(1, 7)}  # at the commit, and in the file that is asked for
    while commit:
        answer = root.get("/blame", path="f", commit=commit)
        for span in answer["items"]:
            for line in range(span["start"], span["start"] + span["lines"]):
                if line in lines:
                    found[lines[line]] = span["commit"]
        older = [(each["start"] + n, each["source"] + n) for each in answer["older"] for n in range(each["lines"])]
        lines = {source: lines[line] for line, source in older if line in lines}
        assert answer["limit"] == ("blame_versions" if older else None)
        commit = answer["before"]
    assert [found[line] for line in range(1, 7)] == commits


def test_a_blame_that_looks_too_far_back_in_the_log_says_where_to_go_on(
    root: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = land(root, {"f": b"1\n2\n"})
    for number in range(8):
        land(root, {"other": b"%d" % number})
    last = land(root, {"f": b"1\n2\n3\n"})
    assert compacted(aged_world(root.world))
    monkeypatch.setattr(history_module, "MAX_READ", 3)
    monkeypatch.setattr(blame_module, "MOST_LOOKS", 1)
    asked, found = last, dict[int, str]()
    for _ in range(20):
        answer = root.get("/blame", path="f", commit=asked)
        for span in answer["items"]:
            found |= dict.fromkeys(range(span["start"], span["start"] + span["lines"]), span["commit"])
        if not answer["older"]:
            break
        assert answer["limit"] == "history_age" and answer["before"] != asked
        asked = answer["before"]
    assert found == {1: first, 2: first, 3: last}


def test_a_blame_costs_the_versions_of_its_file(root: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        land(root, {"f": b"%d\n" % number})
    api = root.another().as_(None)
    api.http.environ_base["HTTP_AUTHORIZATION"] = root.http.environ_base["HTTP_AUTHORIZATION"]

    def reads() -> tuple[int, int]:
        repo = api.http.application.extensions["sluice"].repo
        counts = {"items": 0, "redis": 0}
        item_of, execute = repo.objects._item, repo.redis.execute_command

        def counted_item(oid: Any) -> Any:
            counts["items"] += 1
            return item_of(oid)

        def counted_call(*arguments: Any, **options: Any) -> Any:
            counts["redis"] += 1
            return execute(*arguments, **options)

        with monkeypatch.context() as patch:
            patch.setattr(repo.objects, "_item", counted_item)
            patch.setattr(repo.redis, "execute_command", counted_call)
            api.get("/blame", path="f")
        return counts["items"], counts["redis"]

    reads()
    before = reads()
    for number in range(40):
        root.world.put({f"other/{number}": b"x"})
    root.world.work()
    reads()
    after = reads()
    assert after[0] == before[0] and after[1] <= before[1] + 1, "others' changesets cost nothing"


@pytest.mark.parametrize(
    ("content", "why"), [(b"a\0b", "binary"), ("link:there", "regular"), (b"x" * ((1 << 20) + 1), "max_shown_bytes")]
)
def test_what_has_no_lines_is_refused(root: Api, content: bytes | str, why: str) -> None:
    land(root, {"f": content})
    answer = root.get("/blame", 422, path="f")
    assert answer["errors"][0]["field"] == "path" and why in answer["errors"][0]["message"]
    assert root.get("/blame", 404, path="none")["type"].endswith("not-found")


def test_the_history_of_a_path_is_that_of_git(root: Api, tmp_path: Path) -> None:
    rng = random.Random(5)
    paths = ["a", "d/b", "d/e/c", "d/e/f", "g/h"]
    for number in range(24):
        some = rng.sample(paths, rng.randint(1, 2))
        land(root, {path: rng.choice([b"%d" % number, b"%d" % (number // 4)]) for path in some})
        if number % 6 == 5:
            land(root, {some[0]: None})
        if rng.random() < 0.2:
            root.world.put({"k": b"%d" % number})
    root.world.work()
    clone = exported(root, tmp_path)
    for path in paths:
        shown = [each["commit"] for each in walk(root, "/history", path=path)]
        assert shown == clone.git("rev-list", "chain", "--", path).splitlines(), path
    for prefix in ("d/", "d/e/", "g/"):
        shown = [each["commit"] for each in walk(root, "/history", prefix=prefix)]
        assert shown == clone.git("rev-list", "chain", "--", prefix).splitlines(), prefix
    everything = [each["commit"] for each in walk(root, "/history")]
    assert everything == clone.git("rev-list", "--min-parents=1", "chain").splitlines()
    middle = everything[10]
    older = [each["commit"] for each in walk(root, "/history", path="a", commit=middle)]
    assert older == clone.git("rev-list", middle, "--", "a").splitlines()


def test_what_has_left_the_view_is_still_in_the_history(root: Api, tmp_path: Path) -> None:
    for number in range(6):
        land(root, {"a": b"%d\n" % number, f"d/{number}": b"x"})
    clone = exported(root, tmp_path)
    assert compacted(aged_world(root.world))
    assert root.world.repo.view.head().archived > 3
    land(root, {"a": b"new\n"})
    [newest, *older] = [each["commit"] for each in walk(root, "/history", path="a")]
    assert newest == root.tip and older == clone.git("rev-list", "chain", "--", "a").splitlines()
    assert len(list(walk(root, "/history", prefix="d/"))) == 6
    assert blamed(root, "a", root.tip) == [newest]
    assert root.get(f"/commits/{older[-1]}")["changeset"]


def test_a_commit_is_shown_with_what_it_changed(root: Api, tmp_path: Path) -> None:
    land(root, {"a": b"1\n", "d/b": b"1\n", "d/c": b"1\n", "e": b"1\n"})
    commit = land(root, {"a": b"2\n", "d/b": None, "d/c/f": b"x", "d/c": None, "e": "exec:1\n"}, "Change\n\nmuch")
    shown = root.get(f"/commits/{commit}")
    clone = exported(root, tmp_path)
    assert shown["kind"] == "chain" and shown["tree"] == clone.git("rev-parse", f"{commit}^{{tree}}")
    assert shown["message"] == clone.git("log", "-1", "--format=%B", commit) + "\n"
    assert shown["parents"] == clone.git("log", "-1", "--format=%P", commit).split()
    assert shown["author"] == {"name": "Ada", "email": "ada@example.org"} and shown["status"] == "landed"
    rows = [row.split() for row in clone.git("diff-tree", "-r", "--no-commit-id", "--no-renames", commit).splitlines()]
    names = {"A": "added", "D": "deleted", "M": "modified"}
    by_git = {path: (names[status], old, new) for _, _, old, new, status, path in rows}
    items = list(walk(root, f"/commits/{commit}"))
    none = "0" * 40
    by_us = {each["path"]: (each["change"], (each["old"] or {}).get("id", none), (each["new"] or {}).get("id", none))
             for each in items}  # fmt: skip
    assert by_us == by_git and len(items) == len(by_git)
    main = root.get("/head")["main"]["commit"]
    merged = root.get(f"/commits/{main}")
    assert merged["kind"] == "global" and len(merged["parents"]) == 2 and len(merged["items"]) == len(by_git)
    first = clone.git("rev-list", "--max-parents=0", "chain")
    assert root.get(f"/commits/{first}")["kind"] == "first"


@pytest.mark.parametrize("what", ["tree", "blob", "tag", "none"])
def test_an_id_of_no_commit_is_no_commit(root: Api, what: str) -> None:
    land(root, {"a": b"1\n"})
    tag = root.http.put("/v1/tags/v1", json={"commit": root.tip, "message": "m"}).get_json(force=True)["id"]
    ids = {
        "tree": root.get("/head")["main"]["tree"],
        "blob": root.get("/slices/all/tree")["items"][0]["id"],
        "tag": tag,
        "none": "1" * 40,
    }
    missing = root.get(f"/commits/{'1' * 40}", 404)["detail"].replace("1" * 40, ids[what])
    assert root.get(f"/commits/{ids[what]}", 404)["detail"] == missing
    assert root.get(f"/compare/{ids[what]}...main", 404)["detail"] == missing
    assert root.get("/history", 404, path="a", commit=ids[what])["detail"] == missing
    assert root.get("/blame", 404, path="a", commit=ids[what])["detail"] == missing


def test_comparisons_are_those_of_git(root: Api, tmp_path: Path) -> None:
    rng = random.Random(7)
    for number in range(10):
        root.world.put({rng.choice(["a", "b", "d/c"]): b"%d\n" % number})
        if number % 3 == 2:
            root.world.work()
    root.world.work()
    clone = exported(root, tmp_path)
    commits = clone.git("rev-list", "chain", "global").splitlines()
    for _ in range(40):
        first, second = rng.choice(commits), rng.choice(commits)
        shown = root.get(f"/compare/{first}...{second}")
        base = clone.git("merge-base", first, second)
        assert shown["merge_base"] == base, (first, second)
        for name, span in (("ahead", f"{first}..{second}"), ("behind", f"{second}..{first}")):
            assert shown[name] == int(clone.git("rev-list", "--count", "--no-merges", span)), (name, span)
        stats = [row.split("\t") for row in clone.git("diff", "--numstat", f"{first}...{second}").splitlines()]
        items = list(walk(root, f"/compare/{first}...{second}"))
        assert [[str(each["additions"]), str(each["deletions"]), each["path"]] for each in items] == stats
        patch = "".join(each["patch"] for each in items)
        by_git = clone.git("diff", f"{first}...{second}")
        assert [line for line in patch.splitlines() if line[:2] == "@@"] == [
            line for line in by_git.splitlines() if line[:2] == "@@"
        ]


def test_sides_of_a_comparison_are_tags_and_heads_too(root: Api) -> None:
    first = land(root, {"a": b"1\n"})
    root.http.put("/v1/tags/rel/1", json={"commit": first, "message": "m"})
    land(root, {"a": b"2\n"})
    shown = root.get("/compare/rel/1...main")
    assert (shown["base"], shown["head"], shown["ahead"]) == (first, root.get("/head")["main"]["commit"], 1)
    assert root.get("/compare/main...next")["items"] == []
    for wrong in ("main", "a..b", "a...b...c"):
        assert root.get(f"/compare/{wrong}", 422)["errors"][0]["field"] == "range"
    assert root.get("/compare/none...main", 404)["detail"] == "there is no commit 'none'"


def test_a_page_of_a_comparison_goes_on_with_the_commits_of_the_first(root: Api) -> None:
    first = land(root, {"a": b"1\n", "b": b"1\n"})
    land(root, {"a": b"2\n", "b": b"2\n"})
    page = root.get(f"/compare/{first}...main", limit=1)
    land(root, {"a": b"3\n", "c": b"3\n"})
    rest = root.get(f"/compare/{first}...main", limit=1, cursor=page["next"])
    assert rest["head"] == page["head"] and [each["path"] for each in rest["items"]] == ["b"] and rest["next"] is None


def test_paths_that_may_not_be_read_are_shown_by_none_of_them(root: Api) -> None:
    first = root.tip
    land(root, {"open/a": b"1\n", "vault/key": b"secret\n"}, "Both\n\nhush")
    both = root.tip
    land(root, {"open/a": b"1\n2\n"}, "Open")
    land(root, {"vault/key": b"secret 2\n"}, "Shut")
    shut = root.tip
    root.http.put("/v1/tags/vault-tag", json={"commit": both})
    grants(root, "user:ada reader open/")
    ada = principal(root, "user:ada")

    def told(at: str, status: int = 200, **query: Any) -> Json:
        answer = ada.http.get("/v1" + at, query_string=query)
        assert answer.status_code == status, answer.data
        text = answer.get_data(as_text=True)
        for hidden in ("vault/key", "Both", "hush", "Shut", "secret"):
            assert hidden not in text, text
        return answer.get_json(force=True)

    assert [each["path"] for each in told(f"/commits/{both}")["items"]] == ["open/a"]
    assert "message" not in told(f"/commits/{both}") and "tree" not in told(f"/commits/{both}")
    assert told(f"/commits/{shut}")["items"] == []
    assert [each["path"] for each in told(f"/compare/{first}...main")["items"]] == ["open/a"]
    assert "ahead" not in told(f"/compare/{first}...main")
    assert told("/compare/vault-tag...main", 404)["detail"] == "there is no commit 'vault-tag'"
    [newest, oldest] = told("/history", path="open/a")["items"]
    assert newest["message"] == "Open" and oldest["commit"] == both and "changeset" not in oldest
    spans = told("/blame", path="open/a")["items"]
    assert [(each["commit"], each.get("message")) for each in spans] == [(both, None), (newest["commit"], "Open")]
    for at in ("/history", "/blame"):
        answer = ada.http.get(f"/v1{at}?path=vault/key")
        missing = ada.http.get(f"/v1{at}?path=vault/kex")
        assert answer.status_code == missing.status_code == 404
        assert answer.get_json(force=True)["detail"].replace("key", "kex") == missing.get_json(force=True)["detail"]
    assert ada.get("/history", 404)["detail"] == "there is no path '/'"
    assert len(told("/history", prefix="open")["items"]) == 2

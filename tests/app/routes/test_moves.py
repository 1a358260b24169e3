"""Moves that are said: edits follow a file to where it is, a move takes others' edits along, and what collides."""

from __future__ import annotations

from typing import Any

import pytest

from app.admin.deep.verification import deep
from app.admin.verify import verify
from storage.base.settings import Settings
from storage.coordination.nodes import Node
from storage.log.entry import GIT_FORMAT
from tests.support.api import Api, Json
from tests.support.collisions import LINES, delete, edit, landed, put, status, text
from tests.support.compaction import aged_world, compacted, emptied
from tests.support.principals import grants, principal, secured

Files = dict[str, str]


def move(source: str, path: str, **more: Any) -> Json:
    return {"op": "move", "from": source, "path": path, **more}


def chmod(path: str) -> Json:
    return {"op": "mode", "path": path, "mode": "100755"}


def judged(api: Api) -> None:
    """Have both verifications agree."""
    settings = api.world.repo.settings
    looked = verify(api.world.repo)
    assert not looked.differences, looked.differences
    difference = deep(settings).difference
    assert not difference, difference


def land(api: Api, base: str, *changes: Json, **more: Any) -> Json:
    made = api.submit(base=base, changes=list(changes), **more)
    api.world.work()
    return api.get(f"/changesets/{made['id']}")


def outcome(api: Api, made: Json) -> str:
    shown = api.get(f"/changesets/{made['id']}")
    return shown.get("reason") or next((each["class"] for each in shown.get("conflicts", [])), shown["status"])


THEIRS = edit(5, "theirs")
BOTH = edit(15, "theirs", edit(5, "ours"))
WANTED: list[tuple[str, list[Json], list[Json], str, Files]] = [
    # what it is, what others landed, what the changeset says on the same base, its outcome, the files afterwards
    ("an edit follows", [move("a", "b")], [put("a", edit(5, "ours"))], "landed", {"b": edit(5, "ours")}),
    ("a mode follows", [move("a", "b")], [chmod("a")], "landed", {"b": LINES}),
    ("a delete follows", [move("a", "b")], [delete("a")], "landed", {}),
    (
        "both edits meet where the file is",
        [move("a", "b", content=edit(15, "theirs"))],
        [put("a", edit(5, "ours"))],
        "landed",
        {"b": BOTH},
    ),
    (
        "a move takes edits along",
        [put("a", edit(15, "theirs"))],
        [move("a", "d/b")],
        "landed",
        {"d/b": edit(15, "theirs")},
    ),
    (
        "a move with an edit takes edits along",
        [put("a", edit(15, "theirs"))],
        [move("a", "b", content=edit(5, "ours"))],
        "landed",
        {"b": BOTH},
    ),
    (
        "the same lines collide where the file is",
        [move("a", "b", content=edit(5, "theirs"))],
        [put("a", edit(5, "ours"))],
        "content",
        {"b": edit(5, "theirs")},
    ),
    (
        "a move with an edit of the same lines",
        [put("a", edit(5, "theirs"))],
        [move("a", "b", content=edit(5, "ours"))],
        "content",
        {"a": edit(5, "theirs")},
    ),
    ("both move it there", [move("a", "b")], [move("a", "b")], "landed", {"b": LINES}),
    (
        "both move it there, and both edit",
        [move("a", "b", content=edit(15, "theirs"))],
        [move("a", "b", content=edit(5, "ours"))],
        "landed",
        {"b": BOTH},
    ),
    ("each moves it elsewhere", [move("a", "c")], [move("a", "b")], "moved", {"c": LINES}),
    ("what was deleted cannot move", [delete("a")], [move("a", "b")], "delete/modify", {}),
    (
        "what was changed cannot be deleted where it is",
        [move("a", "b", content=edit(5, "theirs"))],
        [delete("a")],
        "delete/modify",
        {"b": edit(5, "theirs")},
    ),
    ("its place is taken", [put("b", "other\n")], [move("a", "b")], "add/add", {"a": LINES, "b": "other\n"}),
    ("its place has the same", [put("b", LINES)], [move("a", "b")], "landed", {"b": LINES}),
    ("its place is a directory", [put("b/c", "1\n")], [move("a", "b")], "directory/file", {"a": LINES, "b/c": "1\n"}),
    ("others moved it without a word", [delete("a"), put("b", LINES)], [move("a", "b")], "landed", {"b": LINES}),
    (
        "another file took the path",
        [move("a", "b"), put("x", "x\n")],
        [put("a", edit(5, "ours"))],
        "landed",
        {"b": edit(5, "ours"), "x": "x\n"},
    ),
    ("a file becomes a directory of itself", [], [move("a", "a/a")], "landed", {"a/a": LINES}),
    (
        "who names the new path knows of the move",
        [move("a", "b")],
        [delete("a"), put("b", LINES)],
        "landed",
        {"b": LINES},
    ),
    ("ours drops it", [put("a", THEIRS)], [move("a", "b", strategy="ours")], "landed", {"a": THEIRS}),
    ("ours drops it where others are", [put("b", THEIRS)], [move("a", "b", strategy="ours")], "landed",
     {"a": LINES, "b": THEIRS}),
    ("ours of what others did the same", [put("b", LINES)], [move("a", "b", strategy="ours")], "landed", {"b": LINES}),
    ("ours changes what others moved there too", [move("a", "b")], [move("a", "b", content="x", strategy="ours")],
     "landed", {"b": "x"}),
    ("exact collides", [put("a", THEIRS)], [move("a", "b", strategy="exact")], "content", {"a": THEIRS}),
    ("theirs takes what it brings", [put("a", THEIRS)], [move("a", "b", content="x", strategy="theirs")], "landed",
     {"b": "x"}),
    ("theirs moves it from where it is", [move("a", "c")], [move("a", "b", strategy="theirs")], "landed", {"b": LINES}),
    ("an exact edit does not follow", [move("a", "b")], [put("a", "x", strategy="exact")], "moved", {"b": LINES}),
    ("an edit of ours is dropped", [move("a", "b")], [put("a", "x", strategy="ours")], "landed", {"b": LINES}),
    ("an edit of theirs wins there", [move("a", "b", content=THEIRS)], [put("a", "x", strategy="theirs")], "landed",
     {"b": "x"}),
]  # fmt: skip


@pytest.mark.parametrize("together", [False, True], ids=["two batches", "one batch"])
@pytest.mark.parametrize(
    ("others", "own", "word", "after"), [row[1:] for row in WANTED], ids=[row[0] for row in WANTED]
)
def test_moves_meet_edits(
    api: Api, others: list[Json], own: list[Json], word: str, after: Files, together: bool
) -> None:
    base = landed(api, a=LINES)
    if others:
        api.submit(base=base, changes=others)
        if not together:
            api.world.work()
    made = api.submit(base=base, changes=own)
    dry = None
    if not together:
        dry = api.post("/slices/all/check", {"base": base, "message": "m", "changes": own}, 200).get_json()
    api.world.work()
    assert outcome(api, made) == word
    assert {path: data.decode() for path, data in api.world.files().items()} == after
    if dry is not None:
        assert dry["would"] == ("commit" if word == "landed" else "conflict")
    judged(api)


def test_moves_in_a_row_are_followed_and_back_again(api: Api) -> None:
    base = landed(api, a=LINES, x="x\n")
    for source, path in (("a", "b"), ("b", "c/d"), ("c/d", "e")):
        api.submit(base=api.tip, changes=[move(source, path)])
        api.world.work()
    land(api, api.tip, put("a", "another file\n"))
    made = land(api, base, put("a", edit(5, "ours")))
    assert (made["status"], made["followed_count"], made["paths"]) == ("landed", 1, ["a", "e"])
    assert text(api, "e") == edit(5, "ours") and text(api, "a") == "another file\n"
    land(api, api.tip, delete("a"))
    land(api, api.tip, move("e", "a"))
    assert land(api, base, put("a", edit(15, "late")))["status"] == "landed"
    assert text(api, "a") == edit(15, "late", edit(5, "ours"))
    judged(api)


def test_a_path_that_was_taken_again_is_followed_from_the_base_on(api: Api) -> None:
    """Who saw the second file at a path is not led to where the first one went."""
    base = landed(api, a="first\n")
    land(api, base, move("a", "b"))
    land(api, api.tip, put("a", LINES))
    second = api.tip
    land(api, api.tip, put("a", edit(15, "theirs")))
    assert land(api, second, put("a", edit(5, "ours")))["status"] == "landed"
    assert text(api, "a") == BOTH and text(api, "b") == "first\n"
    land(api, api.tip, move("a", "c"))
    assert land(api, base, put("a", "second\n"))["status"] == "landed"
    assert text(api, "b") == "second\n" and text(api, "c") == BOTH
    judged(api)


def test_a_directory_moves_file_by_file(api: Api) -> None:
    files = {f"d/{i}": edit(i, str(i)) for i in range(5)}
    land(api, api.tip, *(put(path, content) for path, content in files.items()))
    base = api.tip
    land(api, base, *(move(path, path.replace("d/", "e/f/")) for path in files))
    late = land(api, base, put("d/3", edit(10, "late", files["d/3"])), put("d/new", "1\n"), delete("d/0"))
    assert (late["status"], late["followed_count"]) == ("landed", 2)
    wanted = {path.replace("d/", "e/f/"): content for path, content in files.items() if path != "d/0"}
    wanted["e/f/3"] = edit(10, "late", files["d/3"])
    assert {path: data.decode() for path, data in api.world.files().items()} == {**wanted, "d/new": "1\n"}
    judged(api)


@pytest.mark.parametrize("together", [False, True], ids=["one by one", "one batch"])
def test_stacks_on_moves_know_of_them(api: Api, together: bool) -> None:
    base = landed(api, a=LINES)
    made = [api.submit(base=base, changes=[move("a", "b")])]
    others = api.submit(base=base, changes=[put("a", edit(15, "theirs"))])
    steps = [[put("b", edit(5, "ours"))], [move("b", "c")], [put("b", "new\n")], [chmod("c")], [delete("b")]]
    for changes in steps:
        if not together:
            api.world.work()
        made.append(api.submit(base=made[-1]["id"], changes=changes))
    api.world.work()
    assert [outcome(api, each) for each in (*made, others)] == ["landed"] * 7
    assert {path: data.decode() for path, data in api.world.files().items()} == {"c": BOTH}
    judged(api)


def test_a_stack_follows_what_others_moved_since_its_base(api: Api) -> None:
    base = landed(api, a=LINES)
    first = land(api, base, put("a", edit(5, "ours")))
    land(api, api.tip, move("a", "b"))
    second = land(api, first["id"], put("a", edit(10, "again", edit(5, "ours"))))
    third = land(api, second["id"], move("a", "c"))
    assert [second["status"], third["conflicts"][0]["class"], third["conflicts"][0]["moved"]] == [
        "landed",
        "moved",
        "b",
    ]
    assert text(api, "b") == edit(10, "again", edit(5, "ours"))
    judged(api)


def test_versions_are_followed_where_exactly_they_moved(api: Api) -> None:
    landed(api, a=LINES)
    seen = api.get("/slices/all/tree")["items"][0]["id"]
    land(api, api.tip, put("a", edit(15, "theirs")))
    moved = api.get("/slices/all/tree")["items"][0]["id"]
    land(api, api.tip, move("a", "b"))
    late = api.submit(changes=[put("a", edit(5, "ours"), base=seen)])
    exact = api.submit(changes=[put("a", BOTH, base=moved)])
    away = api.submit(changes=[move("b", "c", base=moved)])
    api.world.work()
    assert [outcome(api, each) for each in (late, exact, away)] == ["delete/modify", "landed", "landed"]
    assert {path: data.decode() for path, data in api.world.files().items()} == {"c": BOTH}
    judged(api)


def test_moves_are_known_when_their_entries_have_left_the_view(settings: Settings, api: Api) -> None:
    base = landed(api, a=LINES)
    for source, path in (("a", "b"), ("b", "c"), ("c", "a"), ("a", "d"), ("d", "e")):
        land(api, api.tip, move(source, path))
    middle = api.tip
    land(api, api.tip, move("e", "f"))
    world = aged_world(api.world)
    assert sum(done.entries for done in compacted(world)) > 6
    assert not world.repo.redis.keys(f"{world.repo.view.prefix}*:moved:*")
    land(api, api.tip, move("f", "g"))
    assert land(api, base, put("a", edit(5, "ours")))["status"] == "landed"
    assert land(api, middle, put("e", edit(15, "theirs")))["status"] == "landed"
    assert {path: data.decode() for path, data in api.world.files().items()} == {"g": BOTH}
    judged(api)
    assert emptied(api.world).files() == {"g": BOTH.encode()}


def test_nothing_is_asked_about_moves_where_there_are_none(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    call = type(api.world.repo.view.scripts).__call__

    def noted(scripts: Any, name: str, *args: Any, **more: Any) -> Any:
        asked.append(name)
        return call(scripts, name, *args, **more)

    base = landed(api, a=LINES, b=LINES)
    monkeypatch.setattr(type(api.world.repo.view.scripts), "__call__", noted)
    land(api, base, put("a", edit(5, "theirs")), delete("b"))
    land(api, base, put("a", edit(15, "ours")), put("b", "x"))
    assert "moved" not in asked
    old = api.tip
    land(api, old, move("a", "c"))
    new = api.tip
    land(api, new, put("c", LINES))
    land(api, new, put("c", LINES + "more\n"), put("d", "1"))
    assert "moved" not in asked, "nothing moved since its base"
    land(api, old, put("a", "x"))
    assert asked.count("moved") == 2, "one step, and that there is no other"


def test_a_rebased_changeset_moves_and_follows(api: Api) -> None:
    base = landed(api, a=LINES, b=LINES, c="c\n")
    land(api, base, move("b", "d"), put("a", edit(15, "theirs")))
    land(api, api.tip, put("c", "C\n"))
    changes = [move("a", "x", content=edit(5, "ours")), put("b", edit(5, "ours")), put("c", "collides\n")]
    lost = land(api, base, *changes)
    assert [each["path"] for each in lost["conflicts"]] == ["c"]
    land(api, api.tip, put("c", "c\n"))
    made = api.post(f"/changesets/{lost['id']}/rebase", None, 202).get_json()
    shown = api.get(f"/changesets/{made['id']}/diff")["items"]
    assert [(each["status"], each.get("from"), each["path"]) for each in shown] == [
        ("modified", None, "c"), ("modified", None, "d"), ("renamed", "a", "x"),
    ]  # fmt: skip
    api.world.work()
    assert status(api, made) == "landed"
    wanted = {"c": "collides\n", "d": edit(5, "ours"), "x": BOTH}
    assert {path: data.decode() for path, data in api.world.files().items()} == wanted
    judged(api)


RESOLVED: list[tuple[str, list[Json], list[Json], str, Json, Files]] = [
    ("an edit, ours", [move("a", "b", content=THEIRS)], [put("a", edit(5, "ours"))], "a", {"take": "ours"},
     {"b": THEIRS}),
    ("an edit, theirs", [move("a", "b", content=THEIRS)], [put("a", "x\n")], "a", {"take": "theirs"}, {"b": "x\n"}),
    ("an edit, a content", [move("a", "b", content=THEIRS)], [put("a", "x\n")], "a", {"content": "y\n"}, {"b": "y\n"}),
    ("an edit, a delete", [move("a", "b", content=THEIRS)], [put("a", "x\n")], "a", {"delete": True}, {}),
    ("a move, ours", [move("a", "c")], [move("a", "b")], "b", {"take": "ours"}, {"c": LINES}),
    ("a move, theirs", [move("a", "c", content=THEIRS)], [move("a", "b")], "b", {"take": "theirs"}, {"b": THEIRS}),
    ("a move, a content", [move("a", "c")], [move("a", "b")], "b", {"content": "y\n"}, {"b": "y\n"}),
    ("a move, a delete", [move("a", "c")], [move("a", "b")], "b", {"delete": True}, {}),
    ("a move of edited lines", [put("a", THEIRS)], [move("a", "b", content=edit(5, "ours"))], "b", {"content": BOTH},
     {"b": BOTH}),
    ("what was deleted, theirs", [delete("a")], [move("a", "b")], "b", {"take": "theirs"}, {"b": LINES}),
    ("what was deleted, ours", [delete("a")], [move("a", "b")], "b", {"take": "ours"}, {}),
    ("a taken place, theirs", [put("b", "other\n")], [move("a", "b")], "b", {"take": "theirs"}, {"b": LINES}),
    ("a taken place, ours", [put("b", "other\n")], [move("a", "b")], "b", {"take": "ours"},
     {"a": LINES, "b": "other\n"}),
    ("a directory in the way", [put("b/c", "1\n")], [move("a", "b")], "b", {"take": "theirs"}, {"b": LINES}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("others", "own", "path", "resolution", "after"), [pytest.param(*row[1:], id=row[0]) for row in RESOLVED]
)
def test_conflicts_of_moves_are_resolved(
    api: Api, others: list[Json], own: list[Json], path: str, resolution: Json, after: Files
) -> None:
    base = landed(api, a=LINES)
    land(api, base, *others)
    lost = land(api, base, *own, put("more", "1\n"))
    assert [each["path"] for each in lost["conflicts"]] == [path]
    for side in api.get(f"/changesets/{lost['id']}/conflicts")["items"]:
        assert side["path"] == path
    made = api.post(f"/changesets/{lost['id']}/resolve", {"paths": {path: resolution}}, 202).get_json()
    api.world.work()
    assert outcome(api, made) == "landed"
    assert {path: data.decode() for path, data in api.world.files().items()} == {**after, "more": "1\n"}
    judged(api)


WRONG: list[tuple[list[Json], str, str]] = [
    ([{"op": "move", "path": "b"}], "changes[0].from", "is missing"),
    ([move("a", "a")], "changes[0].from", "itself"),
    ([move("a", "b", id="0" * 39 + "1")], "changes[0].id", "does not belong"),
    ([move("a", "b", mode="160000")], "changes[0].mode", "must be"),
    ([move("a", "b", mode="120000")], "changes[0].mode", "must be"),
    ([move("a", "b", content="x", content_base64="eA==")], "changes[0].content_base64", "beside"),
    ([move("a", ".gitmodules")], "changes[0].path", "put it there"),
    ([put("x", "1"), move("a", "b"), put("a", "2")], "changes[1].from", "is the path of changes[2] too"),
    ([move("a", "b"), move("a", "c")], "changes[0].from", "too"),
    ([move("a", "b"), put("b", "2")], "changes[1].path", "too"),
    ([{"op": "put", "path": "b", "content": "1", "from": "a"}], "changes[0].from", "does not belong to a put"),
    ([move("../a", "b")], "changes[0].from", ""),
]


@pytest.mark.parametrize(("changes", "field", "words"), WRONG)
def test_a_move_that_is_none_is_refused_by_its_field(api: Api, changes: list[Json], field: str, words: str) -> None:
    refused = api.submit(422, base=landed(api, a="1\n"), changes=changes)
    assert [each["field"] for each in refused["errors"]] == [field]
    assert words in refused["errors"][0]["message"]


def test_a_move_of_nothing_or_onto_something_is_rejected(api: Api) -> None:
    base = landed(api, a="1\n", b="2\n")
    nothing = api.submit(base=base, changes=[move("x", "y")])
    onto = api.submit(base=base, changes=[move("a", "b")])
    below = api.submit(base=base, changes=[move("a", "b/c")])
    api.world.work()
    assert [outcome(api, each) for each in (nothing, onto, below)] == ["missing-file", "in-the-way", "in-the-way"]


def test_a_link_moves_as_it_is(api: Api) -> None:
    link = {"op": "put", "path": "a", "content": "target", "mode": "120000"}
    land(api, api.tip, link)
    base = api.tip
    bad = api.submit(base=base, changes=[move("a", "b", mode="100755")])
    worse = api.submit(base=base, changes=[move("a", "b", content="x")])
    good = api.submit(base=base, changes=[move("a", "b")])
    api.world.work()
    assert [outcome(api, each) for each in (bad, worse, good)] == ["missing-file", "missing-file", "landed"]
    assert api.get("/slices/all/tree")["items"][0]["mode"] == "120000"


def test_a_key_tells_a_move_from_another(api: Api) -> None:
    base = landed(api, a="1\n", b="1\n")
    first = api.submit(base=base, changes=[move("a", "c")], key="k")
    assert api.submit(base=base, changes=[move("a", "c")], key="k")["id"] == first["id"]
    api.submit(422, base=base, changes=[move("b", "c")], key="k")
    api.submit(422, base=base, changes=[delete("a"), put("c", "1\n")], key="k")


def test_an_edit_never_leaves_its_slice_nor_its_submitters_rights(settings: Settings) -> None:
    root = secured(settings)
    for name in ("docs", "src", "both"):
        root.post("/slices", {"name": name, "paths": ["docs/", "src/"] if name == "both" else [f"{name}/"]}, 201)
    grants(root, "agent:a writer docs/", "agent:b writer docs/", "agent:b reader src/", "agent:c writer docs/",
           "agent:c writer src/", "agent:d writer docs/", "agent:d reader src/")  # fmt: skip
    tip = root.get("/head")["tip"]["commit"]
    root.submit(base=tip, changes=[put("docs/plan", LINES), put("docs/stays", "1\n")])
    root.world.work()
    base = root.get("/head")["tip"]["commit"]
    root.submit(base=base, changes=[move("docs/plan", "src/secret")])
    root.world.work()
    edited = [put("docs/plan", edit(5, "ours"))]
    agents = {name: principal(root, f"agent:{name}") for name in "abcd"}
    made = {name: agents[name].submit(where="docs", base=base, changes=edited) for name in "ab"}
    made["d"] = agents["d"].submit(where="both", base=base, changes=edited)
    root.world.work()
    [hidden] = agents["a"].get(f"/changesets/{made['a']['id']}")["conflicts"]
    assert hidden["class"] == "moved" and hidden["head"] is None and "moved" not in hidden
    everything = [
        agents["a"].http.get("/v1" + at).data
        for at in (
            f"/changesets/{made['a']['id']}", f"/changesets/{made['a']['id']}/conflicts",
            f"/changesets/{made['a']['id']}/diff", "/conflicts", "/changesets",
            "/slices/docs/changesets?status=conflicted",
        )
    ]  # fmt: skip
    assert not [data for data in everything if b"secret" in data]
    checked = agents["a"].post("/slices/docs/check", {"base": base, "message": "m", "changes": edited}, 200)
    assert checked.get_json()["would"] == "conflict" and b"secret" not in checked.data
    assert agents["a"].http.get(f"/v1/changesets/{made['a']['id']}/conflicts/head/docs/plan").status_code == 404
    rebased = agents["a"].http.post(f"/v1/changesets/{made['a']['id']}/rebase")
    assert rebased.status_code == 409 and b"secret" not in rebased.data
    resolved = agents["a"].http.post(
        f"/v1/changesets/{made['a']['id']}/resolve", json={"paths": {"docs/plan": {"take": "theirs"}}}
    )
    assert resolved.status_code == 422 and b"secret" not in resolved.data
    [told] = agents["b"].get(f"/changesets/{made['b']['id']}")["conflicts"]
    assert (told["class"], told["moved"]) == ("moved", "src/secret")
    assert outcome(root, made["d"]) == "moved", "its slice has the path, and its submitter may only read there"
    allowed = agents["c"].submit(where="both", base=base, changes=edited)
    root.world.work()
    assert outcome(root, allowed) == "landed" and text(root, "src/secret") == edit(5, "ours")
    assert agents["a"].http.get(f"/v1/changesets/{allowed['id']}").status_code == 404
    refused = agents["a"].submit(422, where="docs", base=base, changes=[move("docs/stays", "src/x")])
    assert refused["errors"][0]["field"] == "changes[0].path"
    refused = agents["a"].submit(422, where="docs", base=base, changes=[move("src/x", "docs/y")])
    assert refused["errors"][0]["field"] == "changes[0].from"
    agents["d"].submit(403, where="both", base=base, changes=[move("docs/stays", "src/x")])
    agents["d"].submit(403, where="both", base=base, changes=[move("src/secret", "docs/x")])
    judged(root)


def test_moves_wait_until_every_node_knows_them(api: Api) -> None:
    base = landed(api, a="1\n")
    nodes = api.world.repo.nodes
    queued = api.submit(base=base, changes=[move("a", "b")])
    old = Node("old@host", ("commits",), 1, GIT_FORMAT - 1)
    nodes.say(old)
    other = api.another()
    refused = other.submit(503, base=base, changes=[move("a", "c")])
    assert "older version" in refused["detail"]
    other.world.work()
    assert status(api, queued) == "queued", "an older worker could not read its entry"
    plain = other.submit(base=base, changes=[put("c", "1\n")])
    other.world.work()
    assert status(api, plain) == "landed"
    nodes.say(old, at_work=False)
    third = api.another()
    third.world.work()
    assert status(api, queued) == "landed" and "b" in api.world.files()

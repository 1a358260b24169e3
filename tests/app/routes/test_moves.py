"""Moves that are said: edits follow a file to where it is, a move takes others' edits along, and what collides."""

from __future__ import annotations

from typing import Any

import pytest

from app.admin.deep.verification import deep
from app.admin.verify import verify
from tests.support.api import Api, Json
from tests.support.collisions import LINES, delete, edit, landed, put

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

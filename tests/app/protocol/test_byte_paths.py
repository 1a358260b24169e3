"""Paths that are not UTF-8 in requests: by their base64, one spelling each, with the rules of all paths."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.protocol.changesets.resolutions import load_resolutions, resolved_field
from app.protocol.changesets.schemas import load_changeset
from app.protocol.claims import load_claims_query
from app.protocol.problems import Problem
from app.protocol.queries import load_files, load_query
from storage.base.settings import Settings
from storage.git.paths import PathError, check_path

SETTINGS = Settings(max_path_bytes=300, max_read_paths=3, max_changes=4)
LATIN, COMMIT = b"caf\xe9/na\xefve", "a1" * 20


def b64(path: bytes) -> str:
    return b64encode(path).decode()


def request(*changes: dict[str, Any]) -> dict[str, Any]:
    return {"base": COMMIT, "message": "m", "changes": list(changes)}


def put(**fields: Any) -> dict[str, Any]:
    return {"op": "put", "content": "x", **fields}


def test_a_change_gives_a_path_by_its_bytes() -> None:
    loaded = load_changeset(
        request(
            put(path_base64=b64(LATIN)),
            {"op": "delete", "path_base64": b64(b"\xff")},
            {"op": "move", "path_base64": b64(b"to\xe9"), "from_base64": b64(b"from\xe9")},
        ),
        SETTINGS,
    )
    assert [(change.op, change.path, change.source) for change in loaded.changes] == [
        ("put", LATIN, None), ("delete", b"\xff", None),
        ("move", b"to\xe9", b"from\xe9"), ("delete", b"from\xe9", None),
    ]  # fmt: skip
    [move, _] = load_changeset(
        request({"op": "move", "path": "ä", "from_base64": b64(b"\xe9"), "content": "x"}), SETTINGS
    ).changes
    assert (move.path, move.source) == ("ä".encode(), b"\xe9"), "the one may be UTF-8 and the other not"


MISTAKES = {
    "both": ("changes[0].path_base64", put(path="a", path_base64=b64(LATIN))),
    "neither": ("changes[0].path", put()),
    "UTF-8, which has another spelling": ("changes[0].path_base64", put(path_base64=b64("ä/b".encode()))),
    "ASCII": ("changes[0].path_base64", put(path_base64=b64(b"a"))),
    "nothing": ("changes[0].path_base64", put(path_base64="")),
    "no base64": ("changes[0].path_base64", put(path_base64="caf\xe9")),
    "base64 of another spelling": ("changes[0].path_base64", put(path_base64="/x==")),
    "base64 of URLs": ("changes[0].path_base64", put(path_base64="_w==")),
    "too long": ("changes[0].path_base64", put(path_base64=b64(b"\xff/" * 149 + b"\xff" * 3))),
    "too long a part": ("changes[0].path_base64", put(path_base64=b64(b"\xff" * 256))),
    "above": ("changes[0].path_base64", put(path_base64=b64(b"\xff/../x"))),
    "a NUL": ("changes[0].path_base64", put(path_base64=b64(b"\xff\0"))),
    "Git's own": ("changes[0].path_base64", put(path_base64=b64(b"\xff/.git/config"))),
    "what HFS+ takes for Git's own": ("changes[0].path_base64", put(path_base64=b64(b".g\xe2\x80\x8cit\xff/config"))),
    "a slash behind it": ("changes[0].path_base64", put(path_base64=b64(b"\xff/"))),
    "a symlink's place": ("changes[0].path_base64", put(path_base64=b64(b".gitmodules\xff"), mode="120000")),
    "the same path": ("changes[1].path_base64", put(path_base64=b64(LATIN)), put(path_base64=b64(LATIN))),
    "a file in a file": ("changes[1].path_base64", put(path_base64=b64(b"\xe9")), put(path_base64=b64(b"\xe9/a"))),
    "from where": ("changes[0].from", {"op": "move", "path_base64": b64(LATIN)}),
    "from twice": ("changes[0].from_base64", {"op": "move", "path": "b", "from": "a", "from_base64": b64(LATIN)}),
    "from itself": ("changes[0].from_base64", {"op": "move", "path_base64": b64(LATIN), "from_base64": b64(LATIN)}),
    "from of a put": ("changes[0].from_base64", put(path="a", from_base64=b64(LATIN))),
    "to what Git reads": (
        "changes[0].path_base64",
        {"op": "move", "from": "a", "path_base64": b64(b".gitmodules\xff")},
    ),
    "what moves away": (
        "changes[0].from_base64",
        {"op": "move", "path": "b", "from_base64": b64(LATIN)}, put(path_base64=b64(LATIN)),
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("field", "changes"), [(field, changes) for field, *changes in MISTAKES.values()], ids=MISTAKES
)
def test_a_refusal_names_the_field_that_gave_the_bytes(field: str, changes: list[Any]) -> None:
    with pytest.raises(Problem) as raised:
        load_changeset(request(*changes), SETTINGS)
    assert raised.value.status == 422
    assert field in [error["field"] for error in raised.value.errors]


def test_a_move_goes_to_any_path_that_git_does_not_read_itself() -> None:
    for path in ("ä", "a~b", "-x", "\u200b"):
        [move, _] = load_changeset(request({"op": "move", "from": "a", "path": path}), SETTINGS).changes
        assert move.path == path.encode()


@given(st.binary(min_size=1, max_size=40))
def test_bytes_are_taken_by_one_of_two_fields_if_git_allows_them(path: bytes) -> None:
    try:
        check_path(path, SETTINGS.max_path_bytes)
        is_good = True
    except PathError:
        is_good = False
    taken = []
    try:
        texts = {"path": path.decode()}
    except UnicodeDecodeError:
        texts = {}
    for fields in [{"path_base64": b64(path)}, *([texts] if texts else [])]:
        try:
            [change] = load_changeset(request({"op": "delete", **fields}), SETTINGS).changes
        except Problem:
            continue
        assert change.path == path
        taken += fields
    assert taken == ([] if not is_good else ["path"] if texts else ["path_base64"])


def test_a_query_says_that_its_path_is_in_base64() -> None:
    query = load_query({"path": b64(LATIN), "encoding": "base64"}, SETTINGS, "path", "encoding")
    assert query.path == LATIN
    assert (
        load_query({"prefix": b64(b"\xe9/"), "encoding": "base64"}, SETTINGS, "prefix", "encoding").prefix == b"\xe9/"
    )
    assert load_query({"path": b64(LATIN)}, SETTINGS, "path", "encoding").path == b64(LATIN).encode()
    claims = load_claims_query({"path": b64(b"\xe9/\xff/\xff\xff"), "encoding": "base64"}, SETTINGS)  # type: ignore[arg-type]
    assert claims.path == b"\xe9/\xff/\xff\xff"
    for arguments, field in (
        ({"path": b64(b"a"), "encoding": "base64"}, "path"),
        ({"prefix": b64(b"a/"), "encoding": "base64"}, "prefix"),
        ({"path": "\xe9", "encoding": "base64"}, "path"),
        ({"path": b64(b"\xff/.git/x"), "encoding": "base64"}, "path"),
        ({"prefix": b64(b"\xff\0"), "encoding": "base64"}, "prefix"),
        ({"prefix": b64(b"/\xff"), "encoding": "base64"}, "prefix"),
        ({"path": "a", "encoding": "hex"}, "encoding"),
    ):
        with pytest.raises(Problem) as raised:
            load_query(arguments, SETTINGS, "path", "prefix", "encoding")
        assert [error["field"] for error in raised.value.errors] == [field], arguments
    with pytest.raises(Problem):
        load_query({"encoding": "base64"}, SETTINGS, "limit")


def test_files_are_asked_for_by_both_kinds_of_paths_within_one_limit() -> None:
    wanted = load_files({"paths": ["a"], "paths_base64": [b64(LATIN), b64(b"\xff")]}, SETTINGS)
    assert wanted.paths == (b"a", LATIN, b"\xff")
    assert load_files({"paths_base64": [b64(LATIN)]}, SETTINGS).paths == (LATIN,)
    for body, field in (
        ({}, "paths"),
        ({"paths": ["a"], "paths_base64": []}, "paths_base64"),
        ({"paths_base64": [b64(b"a")]}, "paths_base64[0]"),
        ({"paths_base64": b64(LATIN)}, "paths_base64"),
        ({"paths": ["a", "b"], "paths_base64": [b64(LATIN), b64(b"\xff")]}, "paths_base64"),
    ):
        with pytest.raises(Problem) as raised:
            load_files(body, SETTINGS)
        assert [error["field"] for error in raised.value.errors] == [field], body


def test_a_conflict_is_resolved_by_the_bytes_of_its_path() -> None:
    resolutions, _ = load_resolutions(
        {"paths": {"a": {"take": "ours"}}, "paths_base64": {b64(LATIN): {"delete": True}}}, SETTINGS
    )
    assert resolutions.keys() == {b"a", LATIN} and resolutions[LATIN].delete
    assert resolved_field(LATIN) == f"paths_base64.{b64(LATIN)}" and resolved_field(b"a") == "paths.a"
    for body, field in (
        ({}, "paths"),
        ({"paths_base64": {}}, "paths_base64"),
        ({"paths_base64": {b64(b"a"): {"delete": True}}}, f"paths_base64.{b64(b'a')}"),
        ({"paths_base64": {b64(LATIN): {}}}, f"paths_base64.{b64(LATIN)}"),
        ({"paths": {"a": {"take": "ours"}}, "paths_base64": []}, "paths_base64"),
    ):
        with pytest.raises(Problem) as raised:
            load_resolutions(body, SETTINGS)
        assert [error["field"] for error in raised.value.errors] == [field], body
    with pytest.raises(Problem):
        load_resolutions(
            {"paths": {"a": {"delete": True}}, "paths_base64": {b64(LATIN): {"delete": True}}},
            replace(SETTINGS, max_changes=1),
        )

"""What the edge takes, and that every refusal names the field that is wrong."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from marshmallow import ValidationError

from app.protocol.bodies import load_json
from app.protocol.changesets.schemas import (
    AuthorSchema,
    ChangeSchema,
    ChangesetSchema,
    ItemSchema,
    RuleSchema,
    load_bulk,
    load_changeset,
)
from app.protocol.changesets.submissions import Change, ChangesetBase, CommitBase, ItemBase, Submission, VersionsBase
from app.protocol.loading import LimitedSchema, load_path
from app.protocol.problems import MAX_ERRORS, Problem
from app.protocol.queries import load_key, load_oid, load_query
from app.protocol.slices import SlicePathsSchema, SliceSchema, load_slice, load_slice_paths
from storage.base.settings import Settings

SMALL = Settings(
    max_changes=4,
    max_blob_bytes=20_000,
    max_message_bytes=50,
    max_path_bytes=300,
    max_slice_paths=3,
    max_bulk_changesets=5,
    max_page=50,
    default_page=10,
)
COMMIT, ULID = "a1" * 20, "01ARZ3NDEKTSV4RRFFQ69G5FAV"
ABSENT = object()
PUT = {"op": "put", "path": "web/a", "content": "x"}
VALID: dict[str, Any] = {
    "base": COMMIT,
    "author": {"name": "Ada", "email": "ada@example.org"},
    "time": "2026-01-31T12:00:00+01:00",
    "message": "Say hello",
    "changes": [PUT],
}


def edited(**fields: Any) -> dict[str, Any]:
    made = {**copy.deepcopy(VALID), **fields}
    return {name: value for name, value in made.items() if value is not ABSENT}


def changed(*changes: Any, **fields: Any) -> dict[str, Any]:
    return edited(changes=list(changes), **fields)


def put(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in {**PUT, **fields}.items() if value is not ABSENT}


def named(problem: Problem) -> list[str]:
    return [error["field"] for error in problem.errors]


TEXTS = [None, 1, True, 1.5, [], {}, "\ud800", "ok\udfff"]  # what is no text, and halves of a surrogate pair
IDS = [None, 5, True, "", "a1", COMMIT.upper(), COMMIT + "a", "g" * 40, "0" * 40, " " + COMMIT[1:], [], {}]
PATHS = [
    *["", "/", "/a", "a/", "a//b", ".", "..", "../a", "a/../b", "./a", "a/.", "a\0b", "x" * 256, "y/" * 150 + "y"],
    *[
        ".git",
        ".git/config",
        "a/.GIT/b",
        ".gIt",
        "git~1",
        "GIT~1/x",
        ".git.",
        ".git ",
        ".git::$INDEX_ALLOCATION",
        ".git:a",
    ],
    *["a\\.git\\b", ".git\\b", ".g\u200cit", "\ufeff.git/x", ".git\ufffe", ".gitmodules/x", ".gitattributes/x"],
]
NO_OBJECTS = [None, 1, True, "text", [], [PUT]]
MODULES = [
    '[submodule "../x"]\npath = a\n',
    '[submodule "x"]\npath = -a\n',
    '[submodule "x"]\nurl = --upload-pack=x\n',
    '[submodule "x"]\nurl = https://h/%0a\n',
    '[submodule "x"]\nupdate = !cmd\n',
    "\0",
]
SOURCELESS = {"content": ABSENT}

# Each line is a kind of mistake: the field that must be named, and the requests that make it.
MISTAKES: dict[str, tuple[str, list[Any]]] = {
    "no object": ("body", NO_OBJECTS),
    "unknown field": ("colour", [edited(colour=1), edited(colour=None)]),
    "slice beside its URL": ("slice", [edited(slice="web")]),
    "message": (
        "message",
        [edited(message=text) for text in [*TEXTS, ABSENT, "x" * 51, "é" * 26, "\0", "a\nchangeset-id: b", "", " \n"]],
    ),
    "base": (
        "base",
        [edited(base=base) for base in [*IDS, 0, -1, 1.0, ULID[1:], ULID.lower(), "8" + ULID[1:], "main"]],
    ),
    "base missing": ("changes[0].base", [edited(base=ABSENT)]),
    "base twice": ("changes[0].base", [changed(put(base=COMMIT)), changed(put(base=None))]),
    "base of a change": ("changes[0].base", [changed(put(base=base), base=ABSENT) for base in IDS if base is not None]),
    "author": ("author", [edited(author=author) for author in NO_OBJECTS]),
    "author's name": (
        "author.name",
        [
            edited(author={"name": name, "email": "e"})
            for name in [*TEXTS, "", " ", "a<b", "a>", "a\nb", "\0", "x" * 1001]
        ],
    ),
    "author's address": (
        "author.email",
        [edited(author={"name": "n", "email": email}) for email in [*TEXTS, "<a>", "a\nb", "\0", "x" * 1001]],
    ),
    "author's half": ("author.email", [edited(author={"name": "n"})]),
    "author's more": ("author.phone", [edited(author={"name": "n", "email": "e", "phone": "1"})]),
    "time": (
        "time",
        [
            edited(time=time)
            for time in [
                *TEXTS,
                *["", "now", "2026-01-31", "2026-01-31T12:00:00", "2026-13-01T00:00:00Z", "2026-02-30T00:00:00Z"],
                *["1969-12-31T23:59:59Z", "2026-W05-6T00:00:00Z", "2026-01-31T25:00:00Z", "2026-01-31T12:00:00+25:00"],
                *["0001-01-01T00:00:00+01:00", "1706702400"],
                *["9999-12-31T00:00:00Z", "9999-12-31T23:59:59-01:00", "9999-12-30T23:59:59-00:01"],
            ]
        ],
    ),
    "changes": ("changes", [edited(changes=changes) for changes in [ABSENT, None, 1, "x", {}, [], [PUT] * 5]]),
    "a change": ("changes[0]", [changed(change) for change in [None, 1, True, "text", []]]),
    "a later change": ("changes[1].op", [changed(PUT, put(path="b", op="copy"))]),
    "op": ("changes[0].op", [changed(put(op=op)) for op in [None, 1, True, [], {}, "", "PUT", "rename", ABSENT]]),
    "path": ("changes[0].path", [changed(put(path=path)) for path in [*TEXTS, *PATHS, ABSENT]]),
    "unknown field of a change": ("changes[0].encoding", [changed(put(encoding="x"))]),
    "mode": (
        "changes[0].mode",
        [changed(put(mode=mode)) for mode in [None, 100644, "100664", "040000", "644", "0100644", "", True, [], {}]],
    ),
    "content": (
        "changes[0].content",
        [changed(put(content=content)) for content in [*TEXTS, "x" * 20_001, "é" * 10_001]],
    ),
    "base64": (
        "changes[0].content_base64",
        [
            changed(put(**SOURCELESS, content_base64=content))
            for content in [
                *TEXTS,
                "a",
                "ab",
                "abc",
                "ab=c",
                "abc\n",
                " abcd",
                "ab-_",
                "abcd=",
                "====",
                "é===",
                "A" * 26_672,
            ]
        ],
    ),
    "id": ("changes[0].id", [changed(put(**SOURCELESS, id=oid)) for oid in IDS]),
    "no content": ("changes[0].content", [changed(put(**SOURCELESS))]),
    "two contents": ("changes[0].content_base64", [changed(put(content_base64="eA=="))]),
    "content and id": ("changes[0].id", [changed(put(id=COMMIT)), changed(put(content_base64="eA==", id=COMMIT))]),
    "submodule's content": (
        "changes[0].content",
        [changed(put(mode="160000")), changed(put(mode="160000", id=COMMIT))],
    ),
    "submodule's id": ("changes[0].id", [changed(put(**SOURCELESS, mode="160000"))]),
    "submodule's place": (
        "changes[0].path",
        [changed(put(**SOURCELESS, mode="160000", id=COMMIT, path=".gitmodules"))],
    ),
    "symlink's target": (
        "changes[0].content",
        [changed(put(mode="120000", content=to)) for to in ["", "a\0b", "x" * 4096]],
    ),
    "symlink's place": (
        "changes[0].path",
        [
            changed(put(mode="120000", path=path))
            for path in [".gitmodules", "a/GITMOD~1", ".gitmodules ", ".gitmo\u200cdules"]
        ],
    ),
    "fsck's content": (
        "changes[0].content",
        [
            *[changed(put(path=".gitmodules", content=text)) for text in MODULES],
            *[
                changed(put(path=path, content=MODULES[1]))
                for path in ["a/.GitModules", "gitmod~2", "gi7eba~1", ".gitmodules:s"]
            ],
            *[
                changed(put(path=path, content="x" * 2048))
                for path in [".gitattributes", "gitatt~1", ".gitattributes\ufeff"]
            ],
        ],
    ),
    "delete's more": (
        "changes[0].content",
        [changed(put(op="delete")), changed(put(op="mode", mode="100755"))],
    ),
    "delete's mode": ("changes[0].mode", [changed({"op": "delete", "path": "a", "mode": "100644"})]),
    "delete's id": ("changes[0].id", [changed({"op": "delete", "path": "a", "id": COMMIT})]),
    "mode's mode": (
        "changes[0].mode",
        [changed({"op": "mode", "path": "a"})]
        + [changed({"op": "mode", "path": "a", "mode": mode}) for mode in ["120000", "160000", "040000", None]],
    ),
    "the same path": (
        "changes[2].path",
        [changed(PUT, put(path="b"), PUT), changed(PUT, put(path="b"), {"op": "delete", "path": "web/a"})],
    ),
    "a file in a file": (
        "changes[2].path",
        [
            changed(put(path="a"), put(path="a-b"), put(path="a/b/c")),
            changed(put(path="a/b"), put(path="a.b"), put(path="a")),
        ],
    ),
}
CASES = [
    pytest.param(field, request, id=f"{kind}-{number}")
    for kind, (field, requests) in MISTAKES.items()
    for number, request in enumerate(requests)
]


@pytest.mark.parametrize(("field", "request_"), CASES)
def test_a_refusal_names_the_field(field: str, request_: Any) -> None:
    with pytest.raises(Problem) as raised:
        load_changeset(request_, SMALL)
    assert raised.value.status == 422
    assert named(raised.value) == [field]


@pytest.mark.parametrize(("field", "request_"), [case for case in CASES if case.values[0] not in {"slice", "body"}])
def test_in_bulk_a_wrong_item_gets_its_own_problem_and_spoils_no_other(field: str, request_: Any) -> None:
    good = edited(slice="web")
    first, problem, last = load_bulk({"changesets": [good, {**request_, "slice": "web"}, good]}, SMALL)
    assert isinstance(first, Submission)
    assert isinstance(last, Submission)
    if field == "base" and request_["base"] == 0 and request_["base"] is not False:
        assert isinstance(problem, Submission)  # in bulk a whole number is a base
        return
    assert isinstance(problem, Problem)
    assert named(problem) == [f"changesets[1].{field}"]


def test_there_are_enough_mistakes() -> None:
    assert len(MISTAKES) > 20
    assert len(CASES) > 200


def test_a_changeset_is_read_whole() -> None:
    request = changed(
        PUT,
        {"op": "put", "path": "ä/logo", "content_base64": "AAH/", "mode": "100755"},
        {"op": "mode", "path": "tool", "mode": "100644"},
        {"op": "delete", "path": "old"},
    )
    assert load_changeset(request, SMALL, "web", "k") == Submission(
        slice="web",
        base=CommitBase(bytes.fromhex(COMMIT)),
        author_name="Ada",
        author_email="ada@example.org",
        author_time=1769857200,
        author_zone=60,
        message="Say hello",
        changes=(
            Change("put", b"web/a", 0o100644, content=b"x"),
            Change("put", "ä/logo".encode(), 0o100755, content=b"\0\1\xff"),
            Change("mode", b"tool", 0o100644),
            Change("delete", b"old", 0),
        ),
        key="k",
    )


def test_author_and_time_may_be_left_out() -> None:
    loaded = load_changeset(edited(author=ABSENT, time=ABSENT), SMALL)
    assert (loaded.author_name, loaded.author_email, loaded.author_time, loaded.author_zone) == (None, None, None, 0)


@pytest.mark.parametrize(
    ("time", "seconds", "zone"),
    [
        ("1970-01-01T00:00:00Z", 0, 0),
        ("2026-01-31T12:00:00.750-03:30", 1769873400, -210),
        ("2026-01-31 12:00+0100", 1769857200, 60),
        ("9999-12-30T23:59:59+00:00", 253402214399, 0),
        ("9999-12-31T23:58:59+23:59", 253402214399, 1439),
    ],
)
def test_a_time_is_seconds_and_an_offset(time: str, seconds: int, zone: int) -> None:
    loaded = load_changeset(edited(time=time), SMALL)
    assert (loaded.author_time, loaded.author_zone) == (seconds, zone)


def test_a_base_is_a_commit_a_changeset_or_a_version_for_each_change() -> None:
    assert load_changeset(edited(base=ULID), SMALL).base == ChangesetBase(ULID)
    loaded = load_changeset(changed(put(base=COMMIT), put(path="b", base=None), base=ABSENT), SMALL)
    assert loaded.base == VersionsBase()
    assert [change.base for change in loaded.changes] == [bytes.fromhex(COMMIT), None]


def test_a_blob_or_a_submodule_is_put_by_its_id() -> None:
    first, second = load_changeset(
        changed(put(content=ABSENT, id=COMMIT, mode="120000"), put(path="b", content=ABSENT, id=COMMIT, mode="160000")),
        SMALL,
    ).changes
    assert (first.mode, first.oid, first.content) == (0o120000, bytes.fromhex(COMMIT), None)
    assert (second.mode, second.oid, second.content) == (0o160000, bytes.fromhex(COMMIT), None)


def test_a_file_may_replace_a_directory_that_is_deleted_beside_it() -> None:
    loaded = load_changeset(
        changed(put(path="a"), {"op": "delete", "path": "a/b"}, {"op": "delete", "path": "a/c"}), SMALL
    )
    assert len(loaded.changes) == 3


def test_errors_are_as_many_as_a_person_reads() -> None:
    with pytest.raises(Problem) as raised:
        load_changeset(changed(*[put(path="")] * 500), Settings())
    assert named(raised.value) == [f"changes[{i}].path" for i in range(MAX_ERRORS)]


def test_a_field_with_a_strange_name_can_be_shown() -> None:
    with pytest.raises(Problem) as raised:
        load_changeset(edited(**{"\ud800" + "x" * 1000: 1}), SMALL)
    assert named(raised.value) == ["\\ud800" + "x" * 99]


@pytest.mark.parametrize("position", [0, 1])
def test_in_bulk_a_base_may_be_an_earlier_item(position: int) -> None:
    items = [edited(slice="web"), edited(slice="web"), edited(slice="web", base=position)]
    *_, last = load_bulk({"changesets": items}, SMALL)
    assert isinstance(last, Submission)
    assert last.base == ItemBase(position)


@pytest.mark.parametrize("position", [1, 2, -1, True, False, 0.0, "0", 10**30])
def test_in_bulk_a_base_is_never_the_item_itself_or_a_later_one(position: Any) -> None:
    items = [edited(slice="web"), edited(slice="web", base=position)]
    first, second = load_bulk({"changesets": items}, SMALL)
    assert isinstance(first, Submission)
    assert isinstance(second, Problem)
    assert named(second) == ["changesets[1].base"]


@pytest.mark.parametrize("slice_name", [*TEXTS, "", "x" * 201, ABSENT])
def test_in_bulk_an_item_names_its_slice(slice_name: Any) -> None:
    (problem,) = load_bulk({"changesets": [edited(slice=slice_name)]}, SMALL)
    assert isinstance(problem, Problem)
    assert named(problem) == ["changesets[0].slice"]


@pytest.mark.parametrize("item", NO_OBJECTS)
def test_in_bulk_an_item_is_an_object(item: Any) -> None:
    (problem,) = load_bulk({"changesets": [item]}, SMALL)
    assert isinstance(problem, Problem)
    assert named(problem) == ["changesets[0]"]


@pytest.mark.parametrize("key", [None, 1, "", "é", "a\n", "x" * 201, "\x7f"])
def test_an_idempotency_key_is_printable_ascii(key: Any) -> None:
    (problem,) = load_bulk({"changesets": [edited(slice="web", idempotency_key=key)]}, SMALL)
    assert isinstance(problem, Problem)
    assert named(problem) == ["changesets[0].idempotency_key"]
    if isinstance(key, str):
        with pytest.raises(Problem) as raised:
            load_key(key)
        assert named(raised.value) == ["Idempotency-Key"]


def test_an_item_without_a_key_has_the_headers_with_its_position() -> None:
    items = [edited(slice="web"), edited(slice="web", idempotency_key="own"), edited(slice="web")]
    loaded = load_bulk({"changesets": items}, SMALL, load_key("all"))
    assert [item.key for item in loaded if isinstance(item, Submission)] == ["all/0", "own", "all/2"]
    assert load_key(None) is None


ENVELOPES = [
    ("changesets", {}),
    *[("changesets", {"changesets": items}) for items in [None, {}, "x", [], [{}] * 6]],
    ("more", {"changesets": [edited(slice="web")], "more": 1}),
    *[("body", body) for body in NO_OBJECTS],
]


@pytest.mark.parametrize(("field", "body"), ENVELOPES)
def test_a_wrong_envelope_refuses_all(field: str, body: Any) -> None:
    with pytest.raises(Problem) as raised:
        load_bulk(body, SMALL)
    assert named(raised.value) == [field]


@pytest.mark.parametrize("version", ["1", "", True, None, 0, -1, 1.0, 10**400, [], 1 << 31])
def test_a_version_in_a_body_is_a_whole_number(version: Any) -> None:
    with pytest.raises(Problem) as raised:
        load_slice_paths({"paths": ["web/"], "version": version}, SMALL)
    assert named(raised.value) == ["version"]
    assert load_slice_paths({"paths": ["web/"], "version": 1}, SMALL) == (["web/"], 1)


def test_a_version_in_a_query_is_a_text_of_digits() -> None:
    assert load_query({"version": "12"}, SMALL, "version").version == 12
    for text in ("", "0", "-1", "1.0", "٣", "9999999999"):
        with pytest.raises(Problem):
            load_query({"version": text}, SMALL, "version")


def test_a_slice_has_a_name_and_paths() -> None:
    assert load_slice({"name": "web", "paths": ["web/", "README.md"]}, SMALL) == ("web", ["web/", "README.md"])
    assert load_slice({"name": "all", "paths": ["/"]}, SMALL) == ("all", ["/"])


@pytest.mark.parametrize(
    ("field", "fields"),
    [
        *[
            ("name", {"name": name})
            for name in [
                *TEXTS,
                "",
                "a b",
                "a..b",
                "x.lock",
                "-a",
                "@",
                "HEAD",
                ULID,
                "x" * 201,
                "files",
                "a/tree",
                "commits/a",
            ]
        ],
        *[("paths", {"paths": paths}) for paths in [None, "web/", {}, [], ["a", "b", "c", "d"]]],
        *[("paths[1]", {"paths": ["ok", path]}) for path in [*TEXTS, *PATHS, "ok"] if path not in ("/", "a/")],
        ("paths[0]", {"paths": ["//"]}),
        ("colour", {"colour": 1}),
    ],
)
def test_a_wrong_slice_is_refused(field: str, fields: dict[str, Any]) -> None:
    with pytest.raises(Problem) as raised:
        load_slice({"name": "web", "paths": ["web/"], **fields}, SMALL)
    assert named(raised.value) == [field]


ALL = ("limit", "cursor", "status", "path", "wait", "until", "commit", "prefix")


def test_a_query_is_read_whole() -> None:
    given = {"limit": "50", "cursor": "c", "status": "queued", "path": "a/ä", "wait": "2.5", "until": "landed"}
    query = load_query({**given, "commit": COMMIT, "prefix": "web/"}, SMALL, *ALL)
    assert (query.limit, query.cursor, query.status, query.path) == (50, "c", "queued", "a/ä".encode())
    assert (query.wait, query.until, query.commit, query.prefix) == (2.5, "landed", bytes.fromhex(COMMIT), b"web/")


def test_what_a_query_leaves_out_has_defaults() -> None:
    query = load_query({}, SMALL, *ALL)
    assert (query.limit, query.until, query.wait, query.commit) == (10, "landed", None, None)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("limit", value) for value in ["", "0", "-1", "51", "1.5", "x", "１", "9" * 50]],
        *[("wait", value) for value in ["", "-1", "-60", "nan", "inf", "1e3", "1.", ".5", "x"]],
        *[("status", value) for value in ["", "Queued", "deleted"]],
        *[("until", value) for value in ["", "queued"]],
        *[("commit", value) for value in IDS if isinstance(value, str)],
        *[("path", value) for value in PATHS],
        *[("prefix", value) for value in ["/a", "a\0", "x" * 301, "\ud800"]],
        ("colour", "red"),
    ],
)
def test_a_wrong_argument_is_named(name: str, value: str) -> None:
    with pytest.raises(Problem) as raised:
        load_query({name: value}, SMALL, *ALL)
    assert named(raised.value) == [name]


@pytest.mark.parametrize("value", ["50", "50.0000001", "61", "3600", "9" * 500, "9" * 500 + ".5"])
def test_a_longer_wait_than_the_longest_is_the_longest(value: str) -> None:
    assert load_query({"wait": value}, SMALL, *ALL).wait == SMALL.max_wait == 50


def test_a_wait_may_have_any_number_of_digits() -> None:
    assert load_query({"wait": "29.1234567890123"}, SMALL, *ALL).wait == 29.1234567890123
    assert load_query({"wait": "0.00000001"}, SMALL, *ALL).wait == 1e-8


def test_an_argument_of_another_list_is_refused() -> None:
    with pytest.raises(Problem) as raised:
        load_query({"status": "queued"}, SMALL, "limit", "cursor")
    assert named(raised.value) == ["status"]


@pytest.mark.parametrize("path", PATHS)
def test_a_path_in_a_url_is_checked_too(path: str) -> None:
    with pytest.raises(Problem) as raised:
        load_path(path, SMALL)
    assert named(raised.value) == ["path"]


@pytest.mark.parametrize("oid", [value for value in IDS if isinstance(value, str)])
def test_an_id_in_a_url_is_checked_too(oid: str) -> None:
    with pytest.raises(Problem) as raised:
        load_oid(oid, "commit")
    assert named(raised.value) == ["commit"]


@pytest.mark.parametrize(
    "body",
    [
        *[b"", b"{", b"nothing", b"{'a': 1}", b'{"a": NaN}', b'{"a": -Infinity}', b'{"a": 1}x', b"[" * 100_000],
        *[b"\xff", b'{"a": "\xed\xa0\x80"}', '{"a": 1}'.encode("utf-16"), b'\xef\xbb\xbf{"a": 1}', b"1" * 5000],
    ],
)
def test_a_body_that_is_not_json_in_utf8_is_malformed(body: bytes) -> None:
    with pytest.raises(Problem) as raised:
        load_json(body, Settings())
    assert raised.value.status == 400


@pytest.mark.parametrize("body", ['{"a": 1, "a": 2}', '{"changes": [{"path": "a", "b": {}, "path": "a"}]}'])
def test_a_name_twice_in_one_object_is_malformed(body: str) -> None:
    with pytest.raises(Problem, match=r"'(a|path)' twice") as raised:
        load_json(body.encode(), Settings())
    assert raised.value.status == 400
    assert load_json(b'[{"a": 1}, {"a": {"a": 2}}]', Settings()) == [{"a": 1}, {"a": {"a": 2}}]


ATOMS = [
    None,
    True,
    0,
    1,
    -1,
    1.5,
    10**40,
    "",
    "\ud800",
    "\0",
    COMMIT,
    ULID,
    "100644",
    "160000",
    "put",
    "web/a",
    ".git",
]
NAMES = ["op", "path", "mode", "content", "id", "base", "author", "changes", "slice", "name", "changesets", "\ud800"]
ANYTHING = st.recursive(
    st.sampled_from([*ATOMS, edited(slice="web"), edited(slice="web", base=0), PUT]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=5),
    max_leaves=12,
)


@given(ANYTHING, st.dictionaries(st.sampled_from(NAMES), ANYTHING, max_size=2))
def test_whatever_is_sent_is_loaded_or_refused_in_words_that_can_be_sent(thing: Any, spoilt: dict[str, Any]) -> None:
    one = {**VALID, **spoilt}
    requests = [thing, {"changesets": [thing, {**one, "slice": "web"}]}, one, changed({**PUT, **spoilt})]
    for load in (load_changeset, load_slice, load_bulk):
        for request in requests:
            try:
                loaded: Any = load(request, SMALL)
            except Problem as problem:
                loaded = [problem]
            for each in loaded if isinstance(loaded, list) else []:
                if isinstance(each, Problem):
                    assert each.errors
                    assert json.dumps(each.to_json(), ensure_ascii=False).encode()


VALUES = [None, True, 1, 0, -1, "", "x", "put", "delete", "100644", "merge", "a/b", "/a", "\ud800", "eA==", "a" * 40]
VALUES += [
    "0" * 40,
    "2026-01-31T12:00:00+01:00",
    "m\n\nChangeset-Id: x",
    [],
    [1],
    {},
    1.5,
    "01ARZ3NDEKTSV4RRFFQ69G5FAV",
]


@pytest.mark.parametrize(
    "kind", [ChangeSchema, ItemSchema, ChangesetSchema, AuthorSchema, RuleSchema, SliceSchema, SlicePathsSchema]
)
def test_what_is_valid_is_loaded_as_marshmallow_loads_it(kind: type[LimitedSchema]) -> None:
    schema = kind(Settings())
    names = [*schema.fields, "unknown"]

    @given(st.dictionaries(st.sampled_from(names), st.sampled_from(VALUES)))
    def check(data: dict[str, Any]) -> None:
        try:
            expected = schema.load(data)
        except ValidationError:
            expected = None
        assert schema.load_valid(data) == expected

    check()
    for name in names:
        for value in VALUES:
            check.hypothesis.inner_test({"op": "put", "path": "a/b", "message": "m", "changes": [1], name: value})

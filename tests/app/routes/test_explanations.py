"""What an editor shows of a changeset: its diff and its conflicts, on real servers."""

from __future__ import annotations

from base64 import b64decode, b64encode
from dataclasses import replace
from typing import Any

import pytest

from storage.base.settings import Settings
from storage.git.unified_diff import line_diff
from tests.support.api import Api, Json, walk


def put(path: str, content: str | bytes, **more: Any) -> Json:
    if isinstance(content, bytes):
        return {"op": "put", "path": path, "content_base64": b64encode(content).decode(), **more}
    return {"op": "put", "path": path, "content": content, **more}


def land(api: Api, *changes: Json) -> str:
    """Commit changes on the tip and return the new tip."""
    api.submit(base=api.tip, changes=list(changes))
    api.world.work()
    return api.tip


def items(api: Api, changeset: str, what: str) -> list[Json]:
    """Return all of a list, having checked that the smallest pages have the same."""
    whole = api.get(f"/changesets/{changeset}/{what}")
    assert whole["next"] is None
    assert list(walk(api, f"/changesets/{changeset}/{what}")) == whole["items"]
    return whole["items"]


LETTERS = "a\nb\nc\nd\ne\nf\ng\nh\n"


def test_a_diff_shows_what_the_writer_changed_against_what_the_writer_saw(api: Api) -> None:
    base = land(
        api,
        put("edited", LETTERS),
        put("gone", "x\n"),
        put("run", "#!\n"),
        put("to", "edited", mode="120000"),
        put("same", "1\n"),
        put("logo", b"\0\1"),
        {"op": "put", "path": "sub", "id": "1" * 40, "mode": "160000"},
    )
    made = api.submit(
        base=base,
        changes=[
            put("edited", LETTERS.replace("e", "E")),
            {"op": "delete", "path": "gone"},
            {"op": "mode", "path": "run", "mode": "100755"},
            put("to", "new", mode="120000"),
            put("same", "1\n"),
            put("logo", b"\0\2"),
            {"op": "put", "path": "sub", "id": "2" * 40, "mode": "160000"},
            put("Z", "no newline"),
            put("ü b", "1\n"),
        ],
    )
    land(api, put("edited", LETTERS + "others\n"))
    for _ in ("queued", "landed"):
        shown = {each["path"]: each for each in items(api, made["id"], "diff")}
        assert list(shown) == ["Z", "edited", "gone", "logo", "run", "sub", "to", "ü b"], (
            "in byte order; a no-op is none"
        )
        assert {each["path"]: each["status"] for each in shown.values() if each["status"] != "modified"} == {
            "Z": "added",
            "gone": "deleted",
            "ü b": "added",
        }
        edited = shown["edited"]
        assert edited["patch"] == ("--- a/edited\n+++ b/edited\n@@ -2,7 +2,7 @@ a\n b\n c\n d\n-e\n+E\n f\n g\n h\n"), (
            "nothing of what others landed"
        )
        assert (edited["additions"], edited["deletions"], edited["binary"]) == (1, 1, False)
        assert edited["old"]["id"] != edited["new"]["id"] and edited["old"]["mode"] == "100644"
        assert shown["Z"]["patch"] == (
            "--- /dev/null\n+++ b/Z\n@@ -0,0 +1 @@\n+no newline\n\\ No newline at end of file\n"
        )
        assert shown["Z"]["old"] is None and shown["gone"]["new"] is None
        assert shown["gone"]["patch"] == "--- a/gone\n+++ /dev/null\n@@ -1 +0,0 @@\n-x\n"
        assert (shown["run"]["old"]["mode"], shown["run"]["new"]["mode"]) == ("100644", "100755")
        assert (shown["run"]["patch"], shown["run"]["additions"]) == ("", 0)
        assert "-Subproject commit " + "1" * 40 + "\n+Subproject commit " + "2" * 40 in shown["sub"]["patch"]
        assert "-edited\n\\ No newline at end of file\n+new\n" in shown["to"]["patch"]
        binary = shown["logo"]
        assert binary["binary"] and binary["patch"] is binary["additions"] is binary["deletions"] is None
        assert '+++ "b/\\303\\274 b"\n' in shown["ü b"]["patch"], "a name as Git quotes it"
        api.world.work()


def test_a_diff_of_one_in_a_stack_has_its_own_changes_only(api: Api) -> None:
    first = api.submit(base=api.tip, changes=[put("f", "1\n"), put("g", "1\n")])
    second = api.submit(base=first["id"], changes=[put("f", "1\n2\n")])
    for _ in ("queued", "landed"):
        [shown] = items(api, second["id"], "diff")
        assert shown["patch"] == "--- a/f\n+++ b/f\n@@ -1 +1,2 @@\n 1\n+2\n", "the first one's text is in its pack"
        api.world.work()
    assert [each["status"] for each in items(api, first["id"], "diff")] == ["added", "added"]


def test_a_diff_by_versions_is_against_the_versions(api: Api) -> None:
    land(api, put("f", "1\n"), put("g", "1\n"))
    one = items(api, api.submit(base=api.tip, changes=[put("f", "2\n")])["id"], "diff")[0]["old"]["id"]
    changes = [
        put("f", "1\n2\n", base=one),
        {"op": "delete", "path": "g", "base": one},
        put("new", "1\n", base=None),
        put("strange", "1\n", base="9" * 40),
    ]
    made = api.submit(changes=changes)
    api.world.work()
    f, g, new, strange = items(api, made["id"], "diff")
    assert f["patch"].endswith(" 1\n+2\n") and new["status"] == "added"
    assert g["status"] == "deleted" and g["old"] == {"mode": "100644", "id": one}
    assert strange["status"] == "modified" and strange["patch"] is None and strange["additions"] is None


@pytest.mark.parametrize("strategy", ["merge", "exact"])
def test_of_a_version_that_was_seen_elsewhere_the_mode_is_unknown(api: Api, strategy: str) -> None:
    """Neither a diff nor a conflict, nor a check before it, invents a mode for an id that a writer gave."""
    first = land(api, put("gone", "1\n", mode="100755"), put("moved", "1\n"), put("same", "1\n", mode="100755"))
    one = api.get("/slices/all/tree", commit=first)["items"][0]["id"]
    land(api, {"op": "delete", "path": "gone"}, put("moved", "2\n"))
    wanted = {
        "gone": put("gone", "3\n", base=one),
        "moved": put("moved", "3\n", base=one),
        "never": put("never", "3\n", base="9" * 40, mode="100755"),
        "tool": {"op": "mode", "path": "tool", "mode": "100755", "base": "9" * 40},
        "late": {"op": "delete", "path": "late", "base": one},
    }
    land(api, put("late", "2\n"))
    changes = [each | {"strategy": strategy} for each in wanted.values()]
    same = put("same", "2\n", base=one, mode="100755")
    checked = api.post("/slices/all/check", {"message": "m", "changes": [*changes, same]}, 200).get_json()
    made = api.submit(changes=[*changes, same])["id"]
    unknown = {each["path"]: {"mode": None, "id": each["base"]} for each in changes}
    for _ in ("queued", "conflicted"):
        shown = {each["path"]: each for each in items(api, made, "diff")}
        assert {path: each["old"] for path, each in shown.items()} == unknown | {"same": {"mode": "100755", "id": one}}
        assert shown["never"]["patch"] is None and shown["never"]["omitted"] == "not-stored"
        assert shown["gone"]["patch"].endswith("@@ -1 +1 @@\n-1\n+3\n") and "omitted" not in shown["gone"]
        api.world.work()
    found = api.get(f"/changesets/{made}")["conflicts"]
    assert found == checked["conflicts"]
    assert {each["path"]: each["base"] for each in found} == unknown
    explained = {each["path"]: each for each in items(api, made, "conflicts")}
    assert {path: each["base"] for path, each in explained.items()} == unknown
    assert explained["moved"]["hunks"][0]["base"]["lines"] == ["1"]


def test_a_version_of_unknown_mode_is_merged_with_the_submitted_mode(api: Api) -> None:
    first = land(api, put("f", LETTERS), put("g", LETTERS, mode="100755"))
    seen = api.get("/slices/all/tree", commit=first)["items"][0]["id"]
    land(api, put("f", "0\n" + LETTERS, mode="100755"), put("g", "0\n" + LETTERS))
    made = api.submit(
        changes=[put("f", LETTERS + "i\n", base=seen), put("g", LETTERS + "i\n", base=seen, mode="100755")]
    )
    api.world.work()
    assert api.get(f"/changesets/{made['id']}")["merged_count"] == 2
    assert [(each["path"], each["mode"]) for each in api.get("/slices/all/tree")["items"]] == [
        ("f", "100644"),
        ("g", "100755"),
    ]
    assert api.world.files()["f"] == b"0\n" + LETTERS.encode() + b"i\n"


def test_a_conflict_with_a_version_of_unknown_mode_is_resolved_and_rebased(api: Api) -> None:
    land(api, put("f", "1\n"))
    made = api.submit(changes=[put("f", "2\n", base="9" * 40), put("new", "1\n", base=None)])["id"]
    other = api.submit(changes=[put("gone", "2\n", base="9" * 40)], hold=True)["id"]
    api.world.work()
    assert api.post(f"/changesets/{other}/rebase", None, 409).get_json()["conflicts"][0]["base"] == {
        "mode": None,
        "id": "9" * 40,
    }
    resolved = api.post(f"/changesets/{made}/resolve", {"paths": {"f": {"content": "3\n"}}}, 202).get_json()
    api.world.work()
    assert api.get(f"/changesets/{resolved['id']}")["status"] == "landed"
    assert api.world.files() == {"f": b"3\n", "new": b"1\n"}


@pytest.mark.parametrize("text", [b"caf\xe9\n", b"\xff\xfe\n", b"ok\n\xe4 no newline"])
def test_a_diff_of_what_is_no_utf8_has_the_very_bytes(api: Api, text: bytes) -> None:
    land(api, put("f", b"old \xe4\n"), put("utf8", "1\n"))
    made = api.submit(base=api.tip, changes=[put("f", text), put("utf8", "ä\n")])["id"]
    f, utf8 = items(api, made, "diff")
    assert f["patch"] is None and f["binary"] is False and f["additions"] >= 1
    assert b64decode(f["patch_base64"]) == line_diff(b"f", b"old \xe4\n", text).patch
    assert "+ä\n" in utf8["patch"] and "patch_base64" not in utf8


def test_what_is_large_is_not_shown_and_ends_a_page(settings: Settings) -> None:
    api = Api(replace(settings, max_shown_bytes=1000, max_page_bytes=6150))
    files = [put(f"f{i}", f"{i}\n" * 450) for i in range(9)]
    made = api.submit(base=api.tip, changes=[*files, put("large", "1\n" * 501)])
    pages, cursor = [], None
    while True:
        page = api.get(f"/changesets/{made['id']}/diff", **({"cursor": cursor} if cursor else {}))
        pages.append([each["path"] for each in page["items"]])
        last, cursor = page["items"][-1], page["next"]
        if cursor is None:
            break
    assert pages == [["f0", "f1", "f2"], ["f3", "f4", "f5"], ["f6", "f7", "f8"], ["large"]]
    assert last["patch"] is None and last["additions"] is None and last["status"] == "added"


def test_conflicts_show_hunks_and_marked_text(api: Api) -> None:
    base = land(
        api,
        put("web/f", LETTERS),
        put("latin", b"\xe4\n"),
        put("gone", "1\n"),
        put("to", "a", mode="120000"),
        put("logo", b"\0"),
    )
    land(
        api,
        put("web/f", LETTERS.replace("c\n", "head\n") + "i\n"),
        put("latin", b"\xf6\n"),
        {"op": "delete", "path": "gone"},
        put("to", "b", mode="120000"),
        put("logo", b"\0\1"),
        put("new", "1\n"),
    )
    theirs = [
        put("web/f", "new\n" + LETTERS.replace("c\n", "mine\nmine too\n")),
        put("latin", b"\xfc\n"),
        put("gone", "2\n"),
        put("to", "c", mode="120000"),
        put("logo", b"\0\2"),
        put("new", "2\r\n"),
        put("fine", "1\n"),
    ]
    made = api.submit(base=base, changes=theirs)["id"]
    assert items(api, made, "conflicts") == [], "not decided yet"
    api.world.work()
    shown = {each["path"]: each for each in items(api, made, "conflicts")}
    assert list(shown) == ["gone", "latin", "logo", "new", "to", "web/f"], "in byte order; fine is none"
    for conflict in api.get(f"/changesets/{made}")["conflicts"]:
        assert conflict.items() <= shown[conflict["path"]].items(), "with all that the changeset says"
    [hunk] = shown["web/f"]["hunks"]
    assert hunk == {
        "base": {"start": 3, "lines": ["c"]},
        "ours": {"start": 3, "lines": ["head"]},
        "theirs": {"start": 4, "lines": ["mine", "mine too"]},
    }
    assert shown["web/f"]["marked"] == (
        "new\na\nb\n<<<<<<< head\nhead\n||||||| base\nc\n=======\nmine\nmine too\n>>>>>>> submitted\nd\ne\nf\ng\nh\ni\n"
    )
    assert shown["new"]["class"] == "add/add" and shown["new"]["base"] is None
    assert [hunk["base"] for hunk in shown["new"]["hunks"]] == [{"start": 1, "lines": []}]
    assert shown["new"]["hunks"][0]["theirs"]["lines"] == ["2\r"]
    latin = shown["latin"]
    assert "marked" not in latin and b"<<<<<<< head\n\xf6\n|||||||" in b64decode(latin["marked_base64"])
    [hunk] = latin["hunks"]
    assert [b64decode(line) for line in hunk["ours"]["lines_base64"]] == [b"\xf6"] and "lines" not in hunk["ours"]
    for path, kind in (("gone", "delete/modify"), ("to", "content"), ("logo", "binary")):
        assert shown[path]["class"] == kind and shown[path]["hunks"] is shown[path]["marked"] is None


def test_a_conflict_that_git_would_merge_has_no_hunks(api: Api) -> None:
    base = land(api, put("f", LETTERS))
    land(api, put("f", "0\n" + LETTERS))
    late = api.submit(base=base, changes=[put("f", LETTERS.replace("d", "D"), strategy="exact")])
    api.world.work()
    [shown] = items(api, late["id"], "conflicts")
    assert shown["class"] == "content" and shown["hunks"] == []
    assert shown["marked"] == "0\n" + LETTERS.replace("d", "D")


def test_a_conflict_whose_base_is_stored_nowhere_has_no_text(api: Api) -> None:
    land(api, put("f", "1\n"))
    late = api.submit(changes=[put("f", "2\n", base="9" * 40)])
    api.world.work()
    [shown] = items(api, late["id"], "conflicts")
    assert shown["base"]["id"] == "9" * 40 and shown["hunks"] is shown["marked"] is None


def test_a_large_conflict_is_not_shown(settings: Settings) -> None:
    api = Api(replace(settings, max_shown_bytes=100))
    base = land(api, put("f", "1\n"))
    land(api, put("f", "2\n" * 51))
    late = api.submit(base=base, changes=[put("f", "3\n")])
    api.world.work()
    [shown] = items(api, late["id"], "conflicts")
    assert shown["class"] == "content" and shown["hunks"] is shown["marked"] is None


def test_a_base_that_is_not_known_is_said(api: Api) -> None:
    made = api.world.put({"f": b"1\n"}, b"\1" * 20)
    assert "is no commit" in api.get(f"/changesets/{made}/diff", 409)["detail"]
    api.world.work()
    assert api.get(f"/changesets/{made}")["status"] == "rejected"
    assert "is no commit" in api.get(f"/changesets/{made}/diff", 409)["detail"]
    assert items(api, made, "conflicts") == []


@pytest.mark.parametrize("what", ["diff", "conflicts"])
def test_what_is_asked_wrongly_is_refused(api: Api, what: str) -> None:
    base = land(api, put("a", "1\n"), put("b", "1\n"))
    land(api, put("a", "2\n"), put("b", "2\n"))
    made = [api.submit(base=base, changes=[put("a", "3\n"), put("b", "3\n")]) for _ in range(2)]
    api.world.work()
    assert api.get(f"/changesets/{made[0]['id']}")["conflict_count"] == 2
    api.get(f"/changesets/{'0' * 26}/{what}", 404)
    api.get(f"/changesets/none/{what}", 422)
    at = f"/changesets/{made[0]['id']}/{what}"
    for wrong in ({"limit": 0}, {"limit": "x"}, {"unknown": 1}, {"cursor": "x"}, {"cursor": ""}):
        api.get(at, 422, **wrong)
    cursor = api.get(at, limit=1)["next"]
    assert [each["path"] for each in api.get(at, cursor=cursor)["items"]] == ["b"]
    assert "another list" in api.get(f"/changesets/{made[1]['id']}/{what}", 422, cursor=cursor)["detail"]
    other = {"diff": "conflicts", "conflicts": "diff"}[what]
    assert "another list" in api.get(f"/changesets/{made[0]['id']}/{other}", 422, cursor=cursor)["detail"]


def test_names_are_quoted_as_git_quotes_them() -> None:
    def heads(path: bytes) -> list[bytes]:
        return (line_diff(path, b"1\n", b"2\n").patch or b"").split(b"\n")[:2]

    assert heads(b"a/b") == [b"--- a/a/b", b"+++ b/a/b"]
    assert heads(b"a b") == [b"--- a/a b\t", b"+++ b/a b\t"]
    assert heads(b'q"\\\t\x01') == [b'--- "a/q\\"\\\\\\t\\001"', b'+++ "b/q\\"\\\\\\t\\001"']
    assert heads("ä".encode())[0] == b'--- "a/\\303\\244"'


def test_a_text_with_a_nul_far_down_is_no_binary_one() -> None:
    found = line_diff(b"f", b"1\n", b"2" * 8000 + b"\0\n")
    assert not found.binary and found.additions == found.deletions == 1
    assert line_diff(b"f", b"1\n", b"2" * 7999 + b"\0").binary
    assert line_diff(b"f", None, b"").patch == b"", "an empty file has no lines"


def test_the_sides_of_a_conflict_are_read_as_files_are(api: Api) -> None:
    base = land(api, put("logo", b"\0 base"), put("gone", "x\n"))
    land(api, put("logo", b"\0 head"), {"op": "delete", "path": "gone"})
    made = api.submit(base=base, changes=[put("logo", b"\0 mine", mode="100755"), put("gone", "mine\n")])
    api.world.work()
    at = f"/v1/changesets/{made['id']}/conflicts"
    for side, content, mode in (("base", b"\0 base", "100644"), ("head", b"\0 head", "100644"),
                                ("submitted", b"\0 mine", "100755")):  # fmt: skip
        answer = api.http.get(f"{at}/{side}/logo")
        assert (answer.status_code, answer.data, answer.headers["X-Git-Mode"]) == (200, content, mode)
        again = api.http.get(f"{at}/{side}/logo", headers={"If-None-Match": answer.headers["ETag"]})
        assert again.status_code == 304 and not again.data
    assert api.http.get(f"{at}/submitted/gone").data == b"mine\n"
    for wrong in ("head/gone", "ours/logo", "base/nothing"):
        assert api.http.get(f"{at}/{wrong}").status_code == 404
    assert api.http.get(f"{at}/base/..%2Fx").status_code == 422

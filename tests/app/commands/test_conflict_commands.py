"""The commands for what collides: told, compared, rebased, taken back, checked before."""

from __future__ import annotations

import json
import subprocess
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from app import cli
from app.client.api_client import ProblemError
from app.folder.conflict_files import STATE
from tests.support.api import Api, Json
from tests.support.collisions import LINES, NOBODY, Run, collide, delete, edit, files, new_id, one_line, put, runner


@pytest.fixture
def run(api: Api, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    with runner(api, monkeypatch) as run:
        yield run


def test_open_conflicts_are_a_line_each(api: Api, run: Run) -> None:
    assert "no conflict is open" in run("conflicts").output
    api.post("/slices", {"name": "web", "paths": ["web/"]}, 201)
    found = one_line(api)
    other = collide(
        api,
        [put(f"d{i}", LINES) for i in range(5)],
        [delete(f"d{i}") for i in range(5)],
        [put(f"d{i}", "late\n") for i in range(5)],
    )
    first, second = run("conflicts").stdout.splitlines()
    assert first == f"{found} all: web/a (content)"
    assert second.startswith(f"{other} all: d0 (delete/modify), ") and second.endswith(" and 2 more")
    assert run("conflicts", "--slice", "all", "--exit-code", code=3).stdout.splitlines() == [first, second]
    assert run("conflicts", "--path", "d3").stdout.splitlines() == [second]
    assert run("conflicts", "--slice", "web", "--exit-code").stdout == ""
    rows = [json.loads(line) for line in run("conflicts", "--json").stdout.splitlines()]
    assert [row["id"] for row in rows] == [found, other]
    run("conflicts", found, "--path", "d3", code=2)


def test_a_conflict_is_told_with_the_numbers_of_its_lines(api: Api, run: Run) -> None:
    found = one_line(api)
    told = run("conflicts", found).stdout
    assert told.startswith(f"{found} conflicted") and "web/a: content (base 100644 " in told
    assert told.splitlines()[-4:] == [
        "  hunk 1",
        "    base   6 │ line 5",
        "    ours   6 │ head",
        "    theirs 6 │ late",
    ]
    [row] = [json.loads(line) for line in run("conflicts", found, "--json", "--exit-code", code=3).stdout.splitlines()]
    assert row["path"] == "web/a" and "<<<<<<<" in row["marked"]
    fine = api.put("b", "1")
    assert "it has no conflicts" in run("conflicts", fine["id"], "--exit-code").output
    with pytest.raises(ProblemError):
        run("conflicts", NOBODY)


def test_a_hunk_without_lines_and_a_long_one_are_told(api: Api, run: Run) -> None:
    long = "".join(f"new {i}\n" for i in range(30))
    found = collide(api, [put("f", LINES)], [put("f", edit(5, long[:-1]))], [put("f", LINES.replace("line 5\n", ""))])
    told = run("conflicts", found).stdout
    assert "theirs  6 │ (no lines)" in told and "(10 more lines)" in told and "new 20" not in told


def test_a_diff_is_one_that_git_applies(api: Api, run: Run, tmp_path: Path) -> None:
    before = {"keep": LINES, "old": "1\n", "tool": "run\n", "a b/é": "x", "empty": ""}
    api.submit(base=api.tip, changes=[put(path, content) for path, content in before.items()])
    api.world.work()
    made = api.submit(
        base=api.tip,
        changes=[
            put("keep", edit(5, "-- five\n++ six")), delete("old"), put("a b/é", "y\n"), put("none", ""),
            delete("empty"), put("new", "1\n2"), {"op": "mode", "path": "tool", "mode": "100755"},
        ],
    )  # fmt: skip
    for path, content in before.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(content)
    answer = run("diff", made["id"])
    subprocess.run(["git", "apply"], input=answer.stdout.encode(), cwd=tmp_path, check=True)
    there = {str(each.relative_to(tmp_path)): each.read_bytes() for each in tmp_path.rglob("*") if each.is_file()}
    assert there == files(api)
    assert (tmp_path / "tool").stat().st_mode & 0o100
    assert "files changed: 7, insertions: 5, deletions: 3" in answer.stderr


def test_a_diff_of_what_is_no_utf8_is_one_that_git_applies(api: Api, run: Run, tmp_path: Path) -> None:
    before, after = b"caf\xe9\r\nsame\n", b"caf\xe8\r\nsame\n\xff no newline"
    latin = {"op": "put", "path": "latin"}
    api.submit(base=api.tip, changes=[latin | {"content_base64": b64encode(before).decode()}])
    api.world.work()
    made = api.submit(base=api.tip, changes=[latin | {"content_base64": b64encode(after).decode()}])
    (tmp_path / "latin").write_bytes(before)
    answer = run("diff", made["id"])
    subprocess.run(["git", "apply"], input=answer.stdout_bytes, cwd=tmp_path, check=True)
    assert (tmp_path / "latin").read_bytes() == after


def test_a_conflict_in_another_encoding_is_shown_with_its_bytes(api: Api, run: Run) -> None:
    def latin(content: bytes) -> list[Json]:
        return [{"op": "put", "path": "f", "content_base64": b64encode(content).decode()}]

    found = collide(api, latin(b"\xe4\n"), latin(b"\xf6\n"), latin(b"\xfc\n"))
    told = run("conflicts", found).stdout_bytes
    assert "    ours   1 │ ".encode() + b"\xf6\n" in told and "    theirs 1 │ ".encode() + b"\xfc\n" in told


def test_a_diff_against_a_version_of_which_only_the_id_is_known_says_so(api: Api, run: Run, tmp_path: Path) -> None:
    api.submit(base=api.tip, changes=[put("there", "1\n")])
    api.world.work()
    one = api.get("/slices/all/tree")["items"][0]["id"]
    known = [{"op": "delete", "path": "old", "base": one}, put("f", "2\n", base=one)]
    shown = run("diff", api.submit(changes=known)["id"]).stdout
    assert " mode " not in shown, "none is invented"
    (tmp_path / "f").write_text("1\n")
    (tmp_path / "old").write_text("1\n")
    subprocess.run(["git", "apply"], input=shown.encode(), cwd=tmp_path, check=True)
    assert (tmp_path / "f").read_text() == "2\n" and not (tmp_path / "old").exists()
    made = api.submit(changes=[put("lost", "2\n", base="9" * 40)])
    assert "(what was seen is not stored here: lost)" in run("diff", made["id"]).stdout
    assert " lost | what was seen is not stored here\n" in run("diff", made["id"], "--stat").stdout
    api.world.work()
    assert "(base unknown mode 999999999999, head nothing, " in run("status", made["id"], code=3).stdout


def test_a_diff_is_coloured_and_counted(api: Api, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    api.submit(base=api.tip, changes=[put("f", "-- a\n++ b\n")])
    api.world.work()
    made = api.submit(
        base=api.tip, changes=[put("f", "++ c\n"), put("logo.png", "head\0"), put("long/name", LINES * 4)]
    )
    stat = run("diff", made["id"], "--stat").stdout.splitlines()
    assert stat[:2] == [" f         | 3 +-", " logo.png  | binary"]
    assert stat[2].startswith(" long/name | 80 ++++") and stat[2].count("+") == 40
    assert stat[3] == "files changed: 3, insertions: 81, deletions: 2"
    rows = [json.loads(line) for line in run("diff", made["id"], "--json").stdout.splitlines()]
    assert [row["path"] for row in rows] == ["f", "logo.png", "long/name"] and rows[0]["patch"]
    assert "patch" not in json.loads(run("diff", made["id"], "--json", "--stat").stdout.splitlines()[0])
    assert "Binary files /dev/null and b/logo.png differ\n" in run("diff", made["id"]).stdout
    coloured = CliRunner().invoke(cli.cli, ["diff", made["id"]], color=True).stdout
    assert "\x1b[31m--- a\x1b[0m\n\x1b[31m-++ b\x1b[0m\n\x1b[32m+++ c\x1b[0m\n" in coloured
    assert "\x1b[1m--- a/f\x1b[0m\n" in coloured


def test_a_diff_has_all_pages(api: Api, run: Run) -> None:
    made = api.submit(base=api.tip, changes=[put(f"f{i:04}", "1\n") for i in range(250)])
    assert run("diff", made["id"], "--stat").stdout.splitlines()[-1].startswith("files changed: 250, insertions: 250")
    with pytest.raises(ProblemError):
        run("diff", NOBODY)


def test_what_is_too_large_to_be_shown_is_named(api: Api, run: Run) -> None:
    made = api.submit(base=api.tip, changes=[put("big", "line\n" * 300_000)])
    assert "(too large to be shown: big)" in run("diff", made["id"]).stdout
    assert " big | too large to be shown\n" in run("diff", made["id"], "--stat").stdout


def test_what_is_held_is_released_or_abandoned(api: Api, run: Run) -> None:
    held = [api.submit(base=api.tip, changes=[put(f"f{i}", "1")], hold=True)["id"] for i in range(3)]
    assert run("status", held[0]).stdout == f"{held[0]} held until its release\n"
    assert run("slice", "show", "all").stdout.splitlines()[3].split() == ["held", "3"]
    run("abandon", held[2])
    answer = run("release", held[2], held[0], held[1], code=7)
    assert f"{held[2]}: " in answer.stderr
    assert [line.split()[0] for line in answer.stdout.splitlines()] == held[:2], "the others all the same"
    assert set(files(api)) == {"f0", "f1"}
    assert "abandoned" in run("status", held[2], code=4).stdout
    assert "abandoned" in run("status", held[2], "--wait", code=4).stdout, "it is final"
    refused = run("abandon", held[0], "--json", code=7)
    assert refused.stdout == "" and json.loads(refused.stderr)["changeset"] == held[0]
    assert json.loads(run("release", held[0], "--json").stdout)["status"] == "landed"
    for verb in ("release", "abandon"):
        assert f"error: {NOBODY}: Not found" in run(verb, NOBODY, code=7).stderr


def test_a_release_a_rebase_and_a_resolution_can_be_waited_for(api: Api, run: Run) -> None:
    held = api.submit(base=api.tip, changes=[put("f", "1")], hold=True)["id"]
    waited = run("release", held, "--wait", "--timeout", "0", code=5)
    assert waited.stdout == f"{held} queued, 0 before it in its slice\n"
    api.world.work()
    assert " landed as " in run("release", held, "--wait").stdout, "a repeat is harmless"
    found = one_line(api)
    assert "error: " in run("rebase", found, "--wait", code=3).stderr, "it collides: there is nothing to wait for"
    made = run("resolve", found, "--theirs", "web/a", "--wait", "--timeout", "0", code=5)
    assert made.stderr == f"made {new_id(made)}, waiting for it\n"
    api.world.work()
    assert json.loads(run("status", new_id(made), "--wait", "--json").stdout)["status"] == "landed"


def test_a_slice_whose_path_lacks_its_slash_is_warned_of(api: Api, run: Run) -> None:
    api.submit(base=api.tip, changes=[put("agents/x", "1"), put("README.md", "1")])
    api.world.work()
    made = run("slice", "create", "web", "agents", "agents/", "README.md", "README.md/", "new", "new/", "*.js")
    assert [line.split(" is ")[0] for line in made.stderr.splitlines()] == [
        "warning: agents", "warning: README.md/", "warning: *.js",
    ]  # fmt: skip


def test_an_abandoned_conflict_is_closed(api: Api, run: Run) -> None:
    found = one_line(api)
    assert ", closed: abandoned" in run("abandon", found).stdout
    assert run("conflicts", "--exit-code").stdout == ""


def test_a_rebase_prints_the_new_one_or_what_collides(api: Api, run: Run) -> None:
    found = one_line(api)
    answer = run("rebase", found, code=3)
    assert answer.stdout == "" and answer.stderr.startswith(f"error: {found}: ") and "  web/a: content" in answer.stderr
    assert json.loads(run("rebase", found, "--json", code=3).stderr)["conflicts"][0]["path"] == "web/a"
    api.submit(base=api.tip, changes=[put("web/a", edit(15, "else"))])
    api.world.work()
    made = run("rebase", found).stdout
    assert f", in the place of {found}" in made
    assert new_id(run("rebase", found)) == made.split()[0], "a repeat is harmless"
    assert files(api)["web/a"].decode() == edit(15, "else", edit(5, "late"))
    told = run("status", made.split()[0]).stdout
    assert "paths merged: " not in told and f"in the place of {found}" in told
    assert f", closed by {made.split()[0]}" in run("status", found, code=3).stdout
    assert f"error: {made.split()[0]}: " in run("rebase", made.split()[0], code=7).stderr, "it has landed"
    assert f"error: {NOBODY}: Not found" in run("rebase", NOBODY, code=7).stderr


def test_a_check_says_what_would_become_of_it(api: Api, run: Run, tmp_path: Path) -> None:
    api.submit(base=api.tip, changes=[put("f", LINES), put("g", "1\n")])
    api.world.work()
    base = api.tip
    api.submit(base=base, changes=[put("f", edit(5, "head"))])
    api.world.work()
    (tmp_path / "f").write_text(edit(15, "late"))
    (tmp_path / "g").write_text("1\n")
    line = ("all", tmp_path, "--base", base)
    assert run("check", *line).stdout == "would commit\n  f: merged\n"
    assert json.loads(run("check", *line, "--json").stdout)["merged"] == ["f"]
    (tmp_path / "f").write_text(edit(5, "late"))
    collides = run("check", *line, code=3).stdout
    assert collides.startswith("would conflict: it collides") and "  f: content (base " in collides
    assert run("check", *line, "--strategy", "f=theirs", "--strategy", "*.x=ours").stdout == "would commit\n"
    assert json.loads(run("check", *line, "--json", code=3).stdout)["would"] == "conflict"
    (tmp_path / "f").write_text(LINES)
    assert "nothing differs" in run("check", *line).output
    assert json.loads(run("check", *line, "--json").stdout)["would"] == "commit"
    assert list(api.get("/slices/all/changesets", status="queued")["items"]) == []
    with pytest.raises(ProblemError):
        run("check", "none", tmp_path)


def test_a_submission_may_be_held_and_have_strategies(api: Api, run: Run, tmp_path: Path) -> None:
    api.submit(base=api.tip, changes=[put("a=b.lock", "1\n")])
    api.world.work()
    base = api.tip
    api.submit(base=base, changes=[put("a=b.lock", "head\n")])
    api.world.work()
    (tmp_path / "a=b.lock").write_text("mine\n")
    (tmp_path / STATE).write_text("{}")
    line = ("submit", "all", tmp_path, "--base", base, "-m", "Lock", "--strategy", "a=b.lock=theirs")
    held = run(*line, "--hold").stdout
    assert " held" in held
    api.world.work()
    assert files(api) == {"a=b.lock": b"head\n"}
    run("release", held.split()[0])
    assert files(api) == {"a=b.lock": b"mine\n"}
    run(*line, "--hold", "--wait", code=2)
    for wrong in ("theirs", "=theirs", "x=mine"):
        assert "--strategy" in run("submit", "all", tmp_path, "-m", "m", "--strategy", wrong, code=2).output


def test_a_slice_is_changed_and_deleted(api: Api, run: Run) -> None:
    api.post("/slices", {"name": "a/b", "paths": ["web/"]}, 201)
    assert "version 2" in run("slice", "change", "a/b", "--path", "web/", "--path", "doc/", "--version", "1").stdout
    assert api.get("/slices/a%2Fb")["paths"] == ["doc/", "web/"]
    assert json.loads(run("slice", "change", "a/b", "--path", "x/", "--json").stdout)["version"] == 3
    for line in (("change", "a/b", "--path", "y/", "--version", "1"), ("delete", "a/b", "--version", "1")):
        with pytest.raises(ProblemError, match="version"):
            run("slice", *line)
    assert "deleted slice a/b" in run("slice", "delete", "a/b", "--version", "3").stdout
    with pytest.raises(ProblemError):
        run("slice", "delete", "a/b")
    run("slice", "change", "all", code=2)


def test_a_status_says_how_many_paths_were_merged(api: Api, run: Run) -> None:
    api.submit(base=api.tip, changes=[put("f", LINES)])
    api.world.work()
    base = api.tip
    api.submit(base=base, changes=[put("f", edit(5, "head"))])
    made = api.submit(base=base, changes=[put("f", edit(15, "late"))])
    api.world.work()
    assert ", paths merged: 1" in run("status", made["id"]).stdout


@pytest.mark.parametrize("name", ["check", "conflicts", "diff", "resolve", "submit"])
def test_examples_are_a_line_each(name: str) -> None:
    told = CliRunner().invoke(cli.cli, [name, "--help"]).output
    assert f"\n  Example: sluice {name} " in told and f"\n           sluice {name} " in told

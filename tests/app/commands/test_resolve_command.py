"""`sluice resolve`: conflicts as files in an editor, or by taking sides."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from app import cli
from app.client.api_client import ProblemError
from app.folder.conflict_files import STATE, CheckoutError, check_out
from tests.support.api import Api, Json
from tests.support.collisions import LINES, NOBODY, Run, collide, delete, edit, files, new_id, one_line, put, runner

BINARY = "head\0"


@pytest.fixture
def run(api: Api, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    with runner(api, monkeypatch) as run:
        yield run


def test_a_conflict_is_resolved_in_an_editor(api: Api, run: Run, tmp_path: Path) -> None:
    found = one_line(api)
    fix = tmp_path / "fix"
    told = run("resolve", found, "--checkout", fix)
    assert f"web/a: content: {fix}/web/a\n" in told.stdout and f"--from {fix}" in told.stderr
    marked = (fix / "web/a").read_text()
    assert "<<<<<<< head\nhead\n||||||| base\nline 5\n=======\nlate\n>>>>>>> submitted\n" in marked
    assert json.loads((fix / STATE).read_text())["changeset"] == found
    refused = run("resolve", found, "--from", fix, code=2)
    assert "conflict markers: web/a" in refused.output
    (fix / "web/a").write_text(edit(5, "both"))
    (fix / "web/a").chmod(0o755)
    refused = run("resolve", found, "--checkout", fix, code=2)
    assert "is in the way" in refused.output and (fix / "web/a").read_text() == edit(5, "both")
    made = new_id(run("resolve", found, "--from", fix, "-m", "Both\n"))
    assert files(api) == {"web/a": edit(5, "both").encode(), "more": b"1\n"}
    assert api.get("/slices/all/tree")["items"][1]["mode"] == "100755"
    assert api.get("/slices/all/commits")["items"][-1]["message"].startswith("Both\n")
    assert f"in the place of {found}" in run("status", made).stdout
    assert not (fix / STATE).exists()
    assert STATE in run("resolve", found, "--from", fix, code=2).output
    run("resolve", found, "--checkout", fix, "--force")


def test_markers_may_be_meant_and_headings_are_none(api: Api, run: Run, tmp_path: Path) -> None:
    found = one_line(api)
    run("resolve", found, "--checkout", tmp_path)
    (tmp_path / "web/a").write_text("Title\n=======\n<<<<<<< that is a marker\n")
    run("resolve", found, "--from", tmp_path, code=2)
    run("resolve", found, "--from", tmp_path, "--allow-markers")
    assert files(api)["web/a"] == b"Title\n=======\n<<<<<<< that is a marker\n"
    other = one_line(api, "b")
    run("resolve", other, "--checkout", tmp_path)
    (tmp_path / "b").write_text("Title\n=======\n")
    run("resolve", other, "--from", tmp_path)
    assert files(api)["b"] == b"Title\n=======\n"


def test_what_has_no_lines_in_common_lies_side_by_side(api: Api, run: Run, tmp_path: Path) -> None:
    names = ("gone", "left", "mine", "logo")
    found = collide(
        api,
        [*(put(each, LINES) for each in names), put("added", "0\n")],
        [*(delete(each) for each in names[:3]), put("logo", BINARY)],
        [*(put(each, edit(5, each)) for each in names[:3]), put("logo", "late\0")],
    )
    api.submit(base=api.tip, changes=[put("added", "1\n")])
    api.world.work()
    run("resolve", found, "--checkout", tmp_path)
    assert (tmp_path / "gone.base").read_text() == LINES
    assert (tmp_path / "gone.theirs").read_text() == edit(5, "gone")
    assert (tmp_path / "logo.ours").read_bytes() == BINARY.encode()
    assert (tmp_path / "logo.theirs").read_bytes() == b"late\0"
    there = {each.name for each in tmp_path.iterdir()}
    assert there == {STATE, "logo.base", "logo.ours", "logo.theirs"} | {
        f"{name}.{side}" for name in names[:3] for side in ("base", "theirs")
    }
    refused = run("resolve", found, "--from", tmp_path, code=2)
    assert "not resolved: gone, left, logo, mine." in refused.output
    for each in ("gone.base", "gone.theirs"):
        (tmp_path / each).unlink()
    (tmp_path / "left.theirs").rename(tmp_path / "left")
    (tmp_path / "mine").symlink_to("left")
    run("resolve", found, "--from", tmp_path, "--theirs", "logo")
    assert files(api) == {"left": edit(5, "left").encode(), "mine": b"left", "logo": b"late\0", "added": b"1\n"}
    assert {each.name for each in tmp_path.iterdir()} == {"left", "mine"}, "nothing of ours stays"


def test_the_sides_of_a_link_are_links(api: Api, run: Run, tmp_path: Path) -> None:
    def link(target: str) -> Json:
        return put("link", target, mode="120000")

    found = collide(api, [link("base")], [link("../head")], [link("late")])
    for _ in range(2):
        run("resolve", found, "--checkout", tmp_path)
    assert [str((tmp_path / f"link.{side}").readlink()) for side in ("base", "ours", "theirs")] == [
        "base", "../head", "late",
    ]  # fmt: skip
    (tmp_path / "link.theirs").rename(tmp_path / "link")
    run("resolve", found, "--from", tmp_path)
    assert files(api) == {"link": b"late"} and [each.name for each in tmp_path.iterdir()] == ["link"]
    assert api.get("/slices/all/tree")["items"][0]["mode"] == "120000"


def test_a_file_in_the_way_of_a_directory_lies_beside(api: Api, run: Run, tmp_path: Path) -> None:
    found = collide(api, [put("keep", "1")], [put("d", "a file\n")], [put("d/x", "1\n"), put("d/y", "2\n")])
    run("resolve", found, "--checkout", tmp_path)
    assert (tmp_path / "d/x.ours").read_text() == "a file\n" and (tmp_path / "d/x.theirs").read_text() == "1\n"
    (tmp_path / "d/x").write_text("one\n")
    for side in ("ours", "theirs"):
        (tmp_path / f"d/y.{side}").unlink()
    run("resolve", found, "--from", tmp_path)
    assert files(api) == {"keep": b"1", "d/x": b"one\n"}
    assert [each.name for each in (tmp_path / "d").iterdir()] == ["x"]


def test_names_of_sides_that_are_in_conflict_themselves_give_way(api: Api, run: Run, tmp_path: Path) -> None:
    names = ("a", "a.ours")
    found = collide(
        api,
        [put(each, "base\0") for each in names],
        [put(each, f"head {each}\0") for each in names],
        [put(each, f"late {each}\0") for each in names],
    )
    run("resolve", found, "--checkout", tmp_path)
    assert (tmp_path / "a.ours~").read_text() == "head a\0"
    assert (tmp_path / "a.ours.ours").read_text() == "head a.ours\0"
    refused = run("resolve", found, "--from", tmp_path, code=2)
    assert "not resolved: a, a.ours." in refused.output
    run("resolve", found, "--from", tmp_path, "--theirs", "a", "--ours", "a.ours")


def test_a_file_that_lay_there_before_resolves_nothing(api: Api, run: Run, tmp_path: Path) -> None:
    found = collide(api, [put("logo", "base\0")], [put("logo", BINARY)], [put("logo", "late\0")])
    (tmp_path / "logo").write_bytes(b"late\0")
    run("resolve", found, "--checkout", tmp_path)
    assert "not resolved: logo" in run("resolve", found, "--from", tmp_path, code=2).output
    (tmp_path / "logo").write_bytes(b"new\0")
    run("resolve", found, "--from", tmp_path)
    assert files(api) == {"logo": b"new\0"}


def test_a_marked_file_that_was_removed_is_deleted(api: Api, run: Run, tmp_path: Path) -> None:
    found = one_line(api)
    run("resolve", found, "--checkout", tmp_path)
    (tmp_path / "web/a").unlink()
    run("resolve", found, "--from", tmp_path)
    assert set(files(api)) == {"more"}


def test_a_checkout_overwrites_only_what_it_knows_and_writes_nowhere_else(api: Api, run: Run, tmp_path: Path) -> None:
    found, other = one_line(api), one_line(api, "b")
    work, outside = tmp_path / "work", tmp_path / "outside"
    (work / "web").mkdir(parents=True)
    outside.mkdir()
    (work / "web/a").write_text("something of the user's own\n")
    assert "in the way" in run("resolve", found, "--checkout", work, code=2).output
    assert not (work / STATE).exists()
    (work / "web/a").write_text(edit(5, "late"))
    run("resolve", found, "--checkout", work)
    assert f"is of {found}" in run("resolve", other, "--checkout", work, code=2).output
    assert f"has the conflicts of {found}" in run("resolve", other, "--from", work, code=2).output
    (work / "web/a").unlink()
    (work / "web").rmdir()
    (work / "web").symlink_to(outside)
    assert "is no directory" in run("resolve", found, "--checkout", work, "--force", code=2).output
    assert list(outside.iterdir()) == []
    (work / STATE).write_text("{")
    assert "damaged" in run("resolve", found, "--from", work, code=2).output


def test_sides_are_taken_without_files(api: Api, run: Run) -> None:
    names = ("a", "b", "c", "d")
    found = collide(
        api,
        [put(each, LINES) for each in names],
        [put(each, edit(5, "head")) for each in names],
        [put(each, edit(5, "late")) for each in names],
    )
    with pytest.raises(ProblemError) as refused:
        run("resolve", found, "--ours", "a")
    assert {each["field"] for each in refused.value.errors} == {"paths.b"}
    made = json.loads(run("resolve", found, "--ours", "a", "--delete", "b", "--all-theirs", "--json").stdout)
    assert made["resolves"] == found
    head, late = edit(5, "head").encode(), edit(5, "late").encode()
    assert files(api) == {"a": head, "c": late, "d": late}
    with pytest.raises(ProblemError) as refused:
        run("resolve", found, "--all-ours")
    assert made["id"] in refused.value.detail
    with pytest.raises(ProblemError) as refused:
        run("resolve", found, "--all-theirs", "--key", "once more")
    assert refused.value.status == 409 and made["id"] in refused.value.detail, "its conflict is closed by now"


@pytest.mark.parametrize(
    "line",
    [
        "",
        "--ours a --theirs a",
        "--all-ours --all-theirs",
        "--checkout x --from y",
        "--checkout x --ours a",
        "--checkout x -m m",
        "--from x --all-ours",
        "--force --all-ours",
        "--allow-markers --all-ours",
    ],
)
def test_ways_to_resolve_that_contradict_each_other_are_refused(line: str) -> None:
    answer = CliRunner().invoke(cli.cli, ["resolve", NOBODY, *line.split()])
    assert answer.exit_code == 2 and "Usage: " in answer.output


def test_what_is_not_conflicted_is_not_resolved(api: Api, run: Run, tmp_path: Path) -> None:
    fine = api.put("a", "1")["id"]
    assert "queued, not conflicted" in run("resolve", fine, "--checkout", tmp_path / "x", code=2).output
    assert not (tmp_path / "x").exists()
    assert "has no conflicts" in run("resolve", fine, "--all-ours", code=2).output
    assert "has no .sluice-resolve.json" in run("resolve", fine, "--from", tmp_path, code=2).output


@pytest.mark.parametrize("name", ["../f", "/f", "a/../../f", ".git/config", "a/.GIT/hooks/x"])
def test_a_server_cannot_write_outside_of_the_directory(tmp_path: Path, name: str) -> None:
    conflict = {"path": name, "class": "content", "base": None, "head": None, "submitted": None, "marked": "x"}

    class Hostile:
        def changeset(self, changeset: str) -> Json:
            return {"id": changeset, "status": "conflicted", "conflict_count": 1, "conflicts": [conflict]}

        def conflicts_of(self, changeset: str) -> list[Json]:
            return [conflict]

    with pytest.raises(CheckoutError, match="no path"):
        check_out(Hostile(), NOBODY, tmp_path / "x", force=True)  # type: ignore[arg-type]
    assert list(tmp_path.rglob("*")) == []

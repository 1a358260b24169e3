"""The past behind an import over the API: histories, blame and comparisons through merges, with Git as the judge."""

from __future__ import annotations

import random
import re
import subprocess
from functools import cache
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest

from app.admin.export import export
from storage.base.settings import Settings
from storage.importing import import_history
from storage.lookup.archive import Archive
from storage.operations.slices import define
from storage.operations.versions import ancestry
from storage.operations.versions import blame as blame_module
from storage.repository import Repository
from tasks.upkeep import run as run_upkeep
from tests.support.api import Api, Json, walk
from tests.support.compaction import aged_world, compacted
from tests.support.git_repository import GitRepository
from tests.support.histories import woven
from tests.support.principals import grants, principal, secured
from tests.support.world import Files, World, item

PATHS = ("a", "d/b", "d/e/c", "d/b/f")
DIRECTORIES = ("d/", "d/e/", "d/b/", "/")


def imported(settings: Settings, source: GitRepository) -> Api:
    """Return an API of a repository into which a history was imported, and a client with all rights."""
    repo = Repository(settings)
    import_history(repo, source.path)
    run_upkeep(repo)
    return secured(settings, World(repo, define(repo, "all", ["/"])))


def land(api: Api, files: Files, message: str = "Change things") -> str:
    [changeset] = api.world.submit(item(api.world.all, files, api.world.tip, message=message))
    api.world.work()
    return str(api.get(f"/changesets/{changeset}")["commit"])


class Judge:
    """What Git says of an export."""

    def __init__(self, api: Api, source: GitRepository, folder: Path) -> None:
        export(api.world.repo.settings, folder / "export.git")
        self.clone = GitRepository(folder / "clone")
        self.git = self.clone.git
        self.git("fetch", "--quiet", str(folder / "export.git"), "main:global", "next:chain")
        self.imported = source.git("rev-list", "--date-order", "HEAD").split()
        self.landed = self.git("rev-list", "chain", f"^{self.imported[0]}").split()
        self._changed = {}
        for commit in self.imported:
            names = self.git("diff-tree", "-c", "-r", "--root", "--no-renames", "--name-only", "--format=", commit)
            self._changed[commit] = names.splitlines()

    def history(self, path: str) -> list[str]:
        """Return the commits of a path, newest first."""
        here = self.git("rev-list", "chain", f"^{self.imported[0]}", "--", *([path] if path != "/" else [])).split()
        if path == "/":
            return here + self.imported
        is_directory = path.endswith("/")
        return here + [
            commit
            for commit in self.imported
            if any(name.startswith(path) if is_directory else name == path for name in self._changed[commit])
        ]

    @cache  # noqa: B019 - it lives as long as its test
    def has(self, commit: str) -> frozenset[str]:
        """Return all that a commit has; `rev-list A..B` may miss some where clocks were wrong."""
        return frozenset(self.git("rev-list", commit).split())

    def blame(self, path: str, commit: str) -> list[str]:
        shown = self.git("blame", "--line-porcelain", commit, "--", path)
        return [line[:40] for line in shown.split("\n") if re.match(r"[0-9a-f]{40} [0-9]+ [0-9]+", line)]

    def is_file(self, path: str, commit: str) -> bool:
        return self.git("ls-tree", commit, path).startswith("100")

    def merge_bases(self, one: str, other: str) -> list[str]:
        done = subprocess.run(
            ["git", "merge-base", "--all", one, other], cwd=self.clone.path, capture_output=True, text=True, check=False
        )
        return done.stdout.split()


def blamed(api: Api, path: str, commit: str) -> list[str]:
    """Return the commit of each line, asking on where a call has not come to the end."""
    found: dict[int, str] = {}
    left: list[tuple[str, dict[int, int]]] = [(commit, {})]  # and the lines that are asked for, by those there
    length = 0
    while left:
        at, wanted = left.pop()
        answer = api.get("/blame", path=path, commit=at)
        spans = [(each, n) for each in (*answer["items"], *answer["older"]) for n in range(each["lines"])]
        if not length:
            length, wanted = len(spans), {n: n for n in range(1, len(spans) + 1)}
        assert sorted(each["start"] + n for each, n in spans) == list(range(1, len(spans) + 1))
        assert (answer["limit"] is None) == (not answer["older"]) == (answer["before"] is None)
        older: dict[str, dict[int, list[int]]] = {}
        for each, n in spans:
            for asked in [asked for there, asked in wanted.items() if there == each["start"] + n]:
                if "before" in each:
                    older.setdefault(each["before"], {}).setdefault(each["source"] + n, []).append(asked)
                else:
                    found[asked] = each["commit"]
        for before, lines in older.items():
            for turn in range(max(map(len, lines.values()))):  # lines of several runs may come from one line there
                left.append((before, {there: some[turn] for there, some in lines.items() if len(some) > turn}))
    return [found[line] for line in sorted(found)]


@pytest.fixture(params=range(3))
def past(request: pytest.FixtureRequest, settings: Settings, unsent: SimpleQueue[str], tmp_path: Path) -> Any:
    """A history with merges, some changesets behind it, and the judge of both."""
    print(f"seed {request.param}")
    rng = random.Random(request.param)
    source = woven(tmp_path / "source", 70, request.param)
    api = imported(settings, source)
    for number in range(6):
        there = api.world.files()
        path = rng.choice([each for each in PATHS[:3] if f"{each}/f" not in there])
        text = there.get(path)
        files: Files = {path: None if number == 3 and text is not None else b"%d\n" % number + (text or b"")}
        land(api, files, f"Landed {number}")
    return api, Judge(api, source, tmp_path), rng


def test_the_history_of_a_path_goes_on_behind_what_landed(past: tuple[Api, Judge, random.Random]) -> None:
    api, judge, _ = past
    for path in (*PATHS, *DIRECTORIES, "never"):
        query = {"path": path} if not path.endswith("/") else {"prefix": path} if path != "/" else {}
        expected = judge.history(path)
        for size in sorted({1, 2, 3, 5, 7, max(1, len(expected) - 1), len(expected) or 1, len(expected) + 1, 1000}):
            if size == 1 and path == "/":
                continue
            rows: list[Json] = []
            cursor: dict[str, str] = {}
            while True:
                page = api.get("/history", limit=size, **query, **cursor)
                rows += page["items"]
                assert len(page["items"]) == size or page["next"] is None
                if page["next"] is None:
                    break
                cursor = {"cursor": page["next"]}
            assert [row["commit"] for row in rows] == expected, (path, size)
        for row in rows:
            is_imported = row["commit"] in judge.imported
            assert row["kind"] == ("imported" if is_imported else "chain") and ("changeset" in row) != is_imported
    of_slice = [row["commit"] for row in walk(api, "/history", path="a", slice="all")]
    assert of_slice == [commit for commit in judge.history("a") if commit in judge.landed], "an import is of no slice"


def test_a_row_tells_what_the_commit_says_and_did(past: tuple[Api, Judge, random.Random]) -> None:
    api, judge, _ = past
    for row in api.get("/history", path="a", limit=1000)["items"]:
        if row["kind"] == "chain":
            continue
        commit, git = row["commit"], judge.git
        assert (row["author"]["name"], row["author"]["email"]) == ("Ada", "ada@example.org")
        assert row["message"] == git("log", "-1", "--format=%s", commit) and row["message_cut"]
        assert [row["time"], row["committed"]] == git("log", "-1", "--format=%aI %cI", commit).split()
        parents = git("log", "-1", "--format=%P", commit).split()
        for name, of in (("old", parents[0] if parents else None), ("new", commit)):
            there = git("ls-tree", of, "a").split() if of else []
            expected = {"mode": there[0], "id": there[2]} if there and there[1] == "blob" else None
            assert row[name] == expected, (commit, name)
        assert row["change"] == ("added" if not row["old"] else "modified" if row["new"] else "deleted")


def test_a_history_at_a_commit_has_what_that_commit_has(past: tuple[Api, Judge, random.Random]) -> None:
    api, judge, rng = past
    for commit in [*rng.sample(judge.imported, 6), judge.imported[0], *judge.landed[1:3]]:
        for path in ("a", "d/e/c", "d/"):
            query = {"prefix": path} if path.endswith("/") else {"path": path}
            expected = [each for each in judge.history(path) if each in judge.has(commit)]
            for size in (1, 4, 100):
                rows, cursor = [], dict[str, str]()
                while True:
                    page = api.get("/history", commit=commit, limit=size, **query, **cursor)
                    rows += [row["commit"] for row in page["items"]]
                    if page["next"] is None:
                        break
                    cursor = {"cursor": page["next"]}
                assert rows == expected, (commit, path, size)


def test_blame_is_that_of_git_through_merges(past: tuple[Api, Judge, random.Random]) -> None:
    api, judge, rng = past
    main = api.get("/head")["main"]["commit"]
    checked = 0
    for commit in [main, *judge.landed, *judge.imported[:3], *rng.sample(judge.imported, 12)]:
        for path in PATHS:
            if judge.is_file(path, commit):
                assert blamed(api, path, commit) == judge.blame(path, commit), (commit, path)
                checked += 1
            else:
                api.get(
                    "/blame", 422 if judge.git("ls-tree", commit, path)[:3] == "120" else 404, path=path, commit=commit
                )
    assert checked > 30
    spans = [span for path in PATHS if judge.is_file(path, main) for span in api.get("/blame", path=path)["items"]]
    assert {span["kind"] for span in spans} == {"chain", "imported"}, "some files have lines of both"


def test_a_blame_in_parts_is_the_whole(past: tuple[Api, Judge, random.Random], monkeypatch: pytest.MonkeyPatch) -> None:
    api, judge, _ = past
    monkeypatch.setattr(blame_module, "MOST_VERSIONS", 2)
    limits = set()
    for commit in (api.get("/head")["main"]["commit"], judge.imported[0], judge.imported[9]):
        for path in PATHS[:3]:
            if judge.is_file(path, commit):
                assert blamed(api, path, commit) == judge.blame(path, commit)
                limits.add(api.get("/blame", path=path, commit=commit)["limit"])
    assert "blame_versions" in limits


def test_comparisons_are_those_of_git(past: tuple[Api, Judge, random.Random]) -> None:
    api, judge, rng = past
    commits = [*judge.imported, *judge.landed, *judge.git("rev-list", "global", f"^{judge.imported[0]}").split()]
    merges = set(judge.git("rev-list", "global", "^chain").split())
    unrelated = 0
    pairs = [(rng.choice(commits), rng.choice(commits)) for _ in range(30)]
    for one, other in [*pairs, (judge.imported[-1], "main"), ("main", judge.imported[5])]:
        ends = [api.get("/head")["main"]["commit"] if each == "main" else each for each in (one, other)]
        bases = judge.merge_bases(*ends)
        if not bases:
            unrelated += 1
            assert "in common" in api.get(f"/compare/{one}...{other}", 422)["errors"][0]["message"]
            continue
        shown = api.get(f"/compare/{one}...{other}", limit=1000)
        dates = {base: int(judge.git("log", "-1", "--format=%ct", base)) for base in bases}
        assert shown["merge_base"] in bases and dates[shown["merge_base"]] == max(dates.values()), (one, other)
        first, second = map(judge.has, ends)
        assert shown["ahead"] == len(second - first - merges), (one, other)
        assert shown["behind"] == len(first - second - merges), (one, other)
        rows = judge.git("diff", "--name-status", "--no-renames", shown["merge_base"], ends[1]).splitlines()
        by_git = {name: status for status, _, name in (row.partition("\t") for row in rows)}
        told = {each["path"]: each["status"][0].upper() for each in shown["items"]}
        assert {path: status.replace("T", "M") for path, status in by_git.items()} == told
    first_entry = judge_of_log(api)
    assert "in common" in api.get(f"/compare/{first_entry}...main", 422)["errors"][0]["message"]
    assert api.get("/history", commit=first_entry)["items"] == []
    print(f"{unrelated} pairs have nothing in common")


def judge_of_log(api: Api) -> str:
    """Return the empty commit of the log's first entry, which an import leaves behind."""
    return str(list(walk(api, "/commits"))[-1]["commit"])


def test_what_has_left_the_view_stands_before_what_was_imported(
    settings: Settings, unsent: SimpleQueue[str], tmp_path: Path
) -> None:
    source = woven(tmp_path / "source", 40, 5)
    api = imported(settings, source)
    for number in range(5):
        land(api, {"a": b"%d\n" % number + (api.world.files().get("a") or b"")})
    judge = Judge(api, source, tmp_path)
    assert compacted(aged_world(api.world))
    assert api.world.repo.view.head().archived > 3
    assert [row["commit"] for row in walk(api, "/history", path="a")] == judge.history("a")
    assert [row["commit"] for row in walk(api, "/history", prefix="d")] == judge.history("d/")
    assert blamed(api, "a", api.tip) == judge.blame("a", api.tip)


def test_far_apart_costs_no_more_than_near(
    settings: Settings, unsent: SimpleQueue[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cost: a file that changed twice, with a thousand commits and 250 merges in between, is a few look-ups."""
    source = GitRepository(tmp_path / "source")
    source.git("fast-import", "--quiet", stdin=b"".join(_long(1004)))
    api = imported(settings, source)
    page = api.get("/history", limit=1000)
    rest = api.get("/history", limit=1000, cursor=page["next"])
    rows = [row["commit"] for row in (*page["items"], *rest["items"])]
    assert rows == source.git("rev-list", "--date-order", "HEAD").split() and rest["next"] is None
    asked: list[int] = []
    plain = Archive.look_up

    def counted(self: Archive, kind: Any, names: Any, since: int = 0) -> Any:
        if kind.kind == "imported-node":
            asked.append(len(names))
        return plain(self, kind, names, since)

    monkeypatch.setattr(Archive, "look_up", counted)
    [first, second] = [span["commit"] for span in api.get("/blame", path="f")["items"]]
    assert [first, second] == source.git("rev-list", "HEAD", "--", "f").split()[::-1]
    assert len(asked) <= 7 and sum(asked) <= 7 * 128, asked
    asked.clear()
    root = source.git("rev-list", "--max-parents=0", "HEAD")
    monkeypatch.setattr(ancestry, "MOST_WALKED", 60)
    shown = api.get(f"/compare/{root}...main")
    assert (shown["merge_base"], shown["ahead"]) == (root, None), "what takes too long to count is not counted"


def _long(commits: int) -> Any:
    who = b"Ada <ada@example.org> %d +0000"
    for number in range(commits):
        yield b"commit refs/heads/main\nmark :%d\ncommitter %s\ndata 1\nm\n" % (
            number + 1,
            who % (1_500_000_000 + number),
        )
        if number:
            # Two beside one another, and a merge of both: each fourth one.
            yield b"from :%d\n" % (number - 1 if number % 4 == 2 else number)
        yield b"merge :%d\n" % (number - 1) if number % 4 == 3 else b""
        yield b"M 100644 inline other-%d\ndata 2\n%d\n\n" % (number % 7, number % 10)
        if number in (0, commits - 1):
            text = b"first\n" + (b"last\n" if number else b"")
            yield b"M 100644 inline f\ndata %d\n%s\n" % (len(text), text)


def test_a_walk_that_is_too_long_is_refused_by_name_or_ends_a_blame(
    past: tuple[Api, Judge, random.Random], monkeypatch: pytest.MonkeyPatch
) -> None:
    api, judge, _ = past
    old = judge.imported[20]
    path = next(path for path in PATHS if judge.is_file(path, old))
    main = api.get("/head")["main"]["commit"]
    expected = {at: judge.blame(path, at) for at in (old, main) if judge.is_file(path, at)}
    told = set()
    for most in range(1, 60):
        monkeypatch.setattr(ancestry, "MOST_WALKED", most)
        for at, lines in expected.items():
            answer = api.http.get(f"/v1/blame?path={path}&commit={at}")
            if answer.status_code == 422:
                assert "MOST_WALKED" in answer.get_data(as_text=True)
                told.add("refused")
                continue
            shown = answer.get_json(force=True)
            told.add(shown["limit"])
            assert shown["limit"] in (None, "blame_commits") and bool(shown["older"]) == bool(shown["limit"])
            for span in shown["items"]:
                assert lines[span["start"] - 1 : span["start"] - 1 + span["lines"]] == [span["commit"]] * span["lines"]
    assert {"refused", None} <= told, told
    monkeypatch.setattr(ancestry, "MOST_WALKED", 1)
    aside = [each for each in judge.imported if old not in judge.has(each) and each not in judge.has(old)]
    if aside:
        refused = api.get(f"/compare/{old}...{aside[0]}", 422)["errors"][0]
        assert refused["field"] == "range" and "MOST_WALKED" in refused["message"]


def test_a_renamed_file_begins_with_its_new_path(settings: Settings, unsent: SimpleQueue[str], tmp_path: Path) -> None:
    source = GitRepository(tmp_path / "source")
    source.write("old", "1\n2\n")
    first = source.commit("Begin")
    source.git("mv", "old", "new")
    renamed = source.commit("Rename")
    source.write("new", "1\n2\n3\n")
    third = source.commit("Add a line")
    api = imported(settings, source)
    rows = [(row["commit"], row["change"]) for row in walk(api, "/history", path="new")]
    assert rows == [(third, "modified"), (renamed, "added")]
    assert [(row["commit"], row["change"]) for row in walk(api, "/history", path="old")] == [
        (renamed, "deleted"), (first, "added")]  # fmt: skip
    assert blamed(api, "new", third) == [renamed, renamed, third]
    api.get("/blame", 404, path="old")


def test_a_history_that_was_imported_without_a_graph_is_listed(
    settings: Settings, unsent: SimpleQueue[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.importing.path_index.index_graph", lambda *_: None)
    source = woven(tmp_path / "source", 40, 1)
    api = imported(settings, source)
    path, text = next((path, text) for path, text in sorted(api.world.files().items()) if b"\n" in text)
    land(api, {path: b"new\n" + text})
    judge = Judge(api, source, tmp_path)
    assert [row["commit"] for row in walk(api, "/history", path=path)] == judge.history(path)
    old = judge.imported[3]
    assert api.get(f"/commits/{old}")["kind"] == "imported"
    api.get(f"/compare/{old}...main", 404)
    api.get("/history", 404, path=path, commit=old)
    answer = api.get("/blame", path=path)
    assert [each["commit"] for each in answer["items"]] == judge.landed
    assert answer["before"] == judge.imported[0] and answer["limit"] is None


def test_what_an_imported_commit_says_is_for_who_may_read_all_that_it_changed(
    settings: Settings, unsent: SimpleQueue[str], tmp_path: Path
) -> None:
    source = GitRepository(tmp_path / "source")

    def commit(message: str, **files: str) -> str:
        for path, text in files.items():
            source.write(path.replace("__", "/"), text)
        return source.commit(message)

    both = commit("Both hush", open__a="1\n", vault__key="secret\n")
    shown = commit("Shown", open__a="1\n2\n")
    source.git("checkout", "-qb", "side")
    shut = commit("Shut", vault__key="secret 2\n")
    source.git("checkout", "-q", "main")
    more = commit("More", open__a="1\n2\n3\n", open__deep__b="b\n")
    source.git("merge", "-q", "--no-ff", "-m", "Merge of the vault", "side")
    merge = source.git("rev-parse", "HEAD")
    source.git("rm", "-qr", "open/deep")
    swapped = commit("A file instead", open__deep="x\n")
    nothing = source.commit("Nothing hush")
    last = commit("Last", open__z="z\n")
    root = imported(settings, source)
    grants(
        root, "user:ada reader open/", "user:bob reader vault/key", "user:bob reader open/", "user:eve reader other/"
    )
    ada, bob, eve = (principal(root, f"user:{name}") for name in ("ada", "bob", "eve"))

    def told(client: Api, at: str, status: int = 200, **query: Any) -> Json:
        answer = client.http.get("/v1" + at, query_string=query)
        assert answer.status_code == status, answer.data
        if client is ada or client is eve:
            for hidden in ("vault", "Both", "hush", "Shut", "secret", "Merge of"):
                assert hidden not in answer.get_data(as_text=True)
        return answer.get_json(force=True)

    def messages(client: Api, path: str) -> list[tuple[str, str | None]]:
        return [(row["commit"], row.get("message")) for row in told(client, "/history", path=path)["items"]]

    assert messages(ada, "open/a") == [(more, "More"), (shown, "Shown"), (both, None)]
    assert messages(bob, "open/a") == [(more, "More"), (shown, "Shown"), (both, "Both hush")]
    assert messages(ada, "open/deep") == [(swapped, "A file instead")]
    of_both = told(ada, "/history", path="open/a")["items"][-1]
    assert set(of_both) == {"commit", "kind", "change", "old", "new"}
    rows = told(ada, "/history", prefix="open/")["items"]
    assert [row["commit"] for row in rows] == [last, swapped, more, shown, both]
    assert {row["new"] for row in rows} == {None}, "a directory's id is not told"
    spans = told(ada, "/blame", path="open/a")["items"]
    assert [(span["commit"], span.get("message")) for span in spans] == [
        (both, None), (shown, "Shown"), (more, "More")]  # fmt: skip
    assert "author" not in spans[0] and "time" not in spans[0]
    for hidden in (both, shut, merge, nothing):
        assert set(told(ada, f"/commits/{hidden}")) == {"commit", "kind", "parents", "items", "next"}
    assert told(ada, f"/commits/{shown}")["message"] == "Shown\n"
    tip = told(ada, f"/commits/{last}")
    assert (tip["kind"], tip["message"]) == ("first", "Last\n") and "message" not in told(eve, f"/commits/{last}")
    assert told(bob, f"/commits/{merge}")["message"] == "Merge of the vault\n"
    assert [each["path"] for each in told(ada, f"/compare/{both}...main")["items"]] == [
        "open/a", "open/deep", "open/z"]  # fmt: skip
    assert told(ada, f"/compare/{shut}...{more}")["merge_base"] == shown
    assert told(ada, f"/compare/{more}...{shut}")["items"] == []
    assert "ahead" not in told(ada, f"/compare/{both}...main")
    for client, path in ((ada, "vault/key"), (eve, "open/a")):
        for at in ("/history", "/blame"):
            refused, missing = (
                client.get(at, 404, path=each, commit=both)["detail"] for each in (path, path + "-none")
            )
            assert missing.replace("-none", "") == refused, "what is hidden is as what is not there"
    assert messages(root, "vault/key") == [(shut, "Shut"), (both, "Both hush")]

"""A slice's part of a history with merges, on random ones: Git's own `log -- PATHS` and a slow, obvious model judge."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from storage.base.ids import ObjectId, PackId, oid_of
from storage.clones.git_store import GitStore
from storage.clones.id_table import Row
from storage.clones.imported import project_import
from storage.git.run_git import Git, isolated_environment
from storage.projection.follow import Imported
from tests.support.git_repository import GitRepository
from tests.support.tangled import Files, Made, tangled

SLICES = [
    ["a/"], ["a/", "b"], ["sub/a/", "a/b", "a.b/"], ["a"], ["ü/", "c c/", "sub"], ["/"], ["nowhere/"], ["a/", "a/b/"],
]  # fmt: skip
SEEDS = range(4)
COMMITS = 90


@pytest.fixture(scope="module", params=SEEDS, ids=lambda seed: f"seed{seed}")
def history(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[GitRepository, list[Made], list[str]]:
    return tangled(tmp_path_factory.mktemp("history") / "repo", COMMITS, request.param)


def covered(path: bytes, paths: list[str]) -> bool:
    return any(
        each == "/" or path == each.encode() or (each.endswith("/") and path.startswith(each.encode()))
        for each in paths
    )


def part(files: Files, paths: list[str]) -> Files:
    return {path: what for path, what in files.items() if covered(path, paths)}


def tree_of(repo: GitRepository, files: Files) -> str:
    """Return the tree that Git makes of files, by an index of its own."""
    environ = {"GIT_INDEX_FILE": str(repo.path / "judge-index")}
    repo.git("read-tree", "--empty", environ=environ)
    rows = []
    for path, (mode, content) in files.items():
        blob = repo.git("hash-object", "-w", "--stdin", stdin=content)
        rows.append(f"{mode} {blob}\t".encode() + path + b"\0")
    repo.git("update-index", "-z", "--index-info", stdin=b"".join(rows), environ=environ)
    return repo.git("write-tree", environ=environ)


def touched(repo: GitRepository, paths: list[str]) -> set[ObjectId] | None:
    """Return the commits that an import's index of paths names for these: what `git diff-tree -c` tells of each."""
    if "/" in paths:
        return None
    command = ["git", "-C", repo.path, "log", "--format=%x01%H", "--raw", "-c", "-r", "-z", "--root", "--no-renames"]
    said = subprocess.run([*command, "--name-only", "main"], check=True, capture_output=True).stdout
    found = {oid_of(repo.git("rev-parse", "main"))}
    for each in said.split(b"\1")[1:]:
        commit, *names = [name.strip(b"\n") for name in each.split(b"\0")]
        if any(covered(name, paths) for name in names if name):
            found.add(oid_of(commit.decode()))
    return found


def projected(repo: GitRepository, folder: Path, paths: list[str]) -> tuple[Git, list[Row]]:
    store = GitStore(folder / "store.git")
    store.create()
    imported = Imported(1 << 13, oid_of(repo.git("rev-parse", "main")), (PackId("packs/none"),))
    of = frozenset(path.encode() for path in paths)
    rows = project_import(imported, repo.path / ".git", of, touched(repo, paths), store).rows
    store.set_main(rows[-1].own if rows else None)
    return Git(environment=isolated_environment(store.path)), rows


class Model:
    """What the slice's commits should be: all of them, their originals' numbers, and on which they stand."""

    def __init__(self, made: list[Made], paths: list[str]) -> None:
        self.parents: dict[int, list[int]] = {}
        stands: list[int | None] = []
        for number, commit in enumerate(made):
            own = part(commit.files, paths)
            same = [parent for parent in commit.parents if part(made[parent].files, paths) == own]
            if same:
                stands.append(stands[same[0]])
            elif not commit.parents and not own:
                stands.append(None)
            else:
                stands.append(number)
                on = [stands[parent] for parent in commit.parents]
                self.parents[number] = list(dict.fromkeys(each for each in on if each is not None))
        self.tip = stands[-1]

    def reached(self) -> set[int]:
        found: set[int] = set()
        left = [] if self.tip is None else [self.tip]
        while left:
            number = left.pop()
            if number not in found:
                found.add(number)
                left += self.parents[number]
        return found


def said(git: Git | GitRepository, commit: str) -> bytes:
    """Return a commit without its tree and parents, as it is stored."""
    if isinstance(git, GitRepository):
        git = Git(environment=isolated_environment(git.path / ".git"))
    head, _, message = git.output("cat-file", "commit", commit).partition(b"\n\n")
    kept = [line for line in head.split(b"\n") if not line.startswith((b"tree ", b"parent "))]
    return b"\n".join([*kept, b"", message])


@pytest.mark.parametrize("paths", SLICES, ids=" ".join)
def test_each_commit_is_its_originals_and_stands_where_the_model_says(
    history: tuple[GitRepository, list[Made], list[str]], tmp_path: Path, paths: list[str]
) -> None:
    repo, made, ids = history
    git, rows = projected(repo, tmp_path, paths)
    model = Model(made, paths)
    if model.tip is None:
        assert rows == [] and git.output("count-objects", "-v").startswith(b"count: 0\nsize: 0\nin-pack: 0")
        return
    by_chain = {row.chain.hex(): row.own.hex() for row in rows}
    assert rows[-1] == Row(1 << 13, oid_of(ids[-1]), oid_of(by_chain[ids[model.tip]]))
    reached = model.reached()
    assert by_chain.keys() - {ids[-1]} == {ids[number] for number in reached} - {ids[-1]}
    for number in reached:
        own = by_chain[ids[number]]
        assert git.output("rev-parse", f"{own}^{{tree}}").decode().strip() == tree_of(
            repo, part(made[number].files, paths)
        )
        parents = list(dict.fromkeys(by_chain[ids[parent]] for parent in model.parents[number]))
        assert git.output("rev-parse", f"{own}^@").decode().split() == parents
        assert said(git, own) == said(repo, ids[number])
    # Parents come before children, and nothing stands in the store that the branch does not reach.
    assert [row.position for row in rows] == sorted({row.position for row in rows})
    assert git.output("fsck", "--strict", "--unreachable", "--no-progress") == b""
    assert set(git.output("rev-list", "main").decode().split()) == set(by_chain.values())


@pytest.mark.parametrize("paths", [["a/"], ["a/", "sub/"], ["ü/a/", "a.b/"], ["sub/a/"]], ids=" ".join)
def test_it_is_the_history_that_git_log_shows_of_the_paths(
    history: tuple[GitRepository, list[Made], list[str]], tmp_path: Path, paths: list[str]
) -> None:
    repo, _, _ = history
    git, rows = projected(repo, tmp_path, paths)
    own = {row.chain.hex(): row.own.hex() for row in rows}
    lines = repo.git("rev-list", "--parents", "main", "--", *paths).splitlines()
    shown = [[own[commit] for commit in line.split()] for line in lines]
    expected = {commit: list(dict.fromkeys(parents)) for commit, *parents in shown}
    there = git.output("rev-list", "--parents", "main").decode().splitlines() if rows else []
    assert {line.split()[0]: line.split()[1:] for line in there} == expected


def test_a_tree_that_git_would_write_otherwise_is_the_tips_part_all_the_same(tmp_path: Path) -> None:
    repo = GitRepository.begun(tmp_path / "repo")
    repo.write("a/b/file", "1\n")
    repo.commit("One")
    below, inner = (repo.git("rev-parse", f"HEAD:{path}") for path in ("a/b", "a/b/file"))
    odd = repo.git("hash-object", "-t", "tree", "--literally", "-w", "--stdin",
        stdin=b"100664 file\0" + bytes.fromhex(inner))  # fmt: skip
    above = repo.git("mktree", stdin=f"040000 tree {odd}\tb\n".encode())
    tree = repo.git("mktree", stdin=f"040000 tree {above}\ta\n".encode())
    repo.git("update-ref", "HEAD", repo.git("commit-tree", "-p", "HEAD", "-m", "Modes of old", tree))
    git, rows = projected(repo, tmp_path, ["a/b/"])
    assert len({row.own for row in rows}) == 2 and git.output("rev-parse", "main:a/b").decode().strip() == odd != below

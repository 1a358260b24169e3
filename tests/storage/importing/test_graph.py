"""The graph of an imported history, as it stands in the archive's tables."""

from __future__ import annotations

from pathlib import Path

from storage.base.ids import oid_of
from storage.base.settings import Settings
from storage.importing import import_history
from storage.lookup.imported import imported_numbers_of, position_up_to
from storage.lookup.imported_graph import NOTHING, ImportedGraph
from storage.repository import Repository
from tests.support.git_repository import GitRepository
from tests.support.histories import woven


def test_parents_and_numbers_are_those_of_git(settings: Settings, tmp_path: Path) -> None:
    source = woven(tmp_path / "source", 300, 4)
    # An octopus with more parents than a row has room for.
    sides = [source.git("commit-tree", "-p", "HEAD", "-m", str(n), "HEAD^{tree}") for n in range(20)]
    named = [word for side in sides for word in ("-p", side)]
    source.git("update-ref", "HEAD", source.git("commit-tree", *named, "-m", "all of them", "HEAD^{tree}"))
    repo = Repository(settings)
    import_history(repo, source.path)
    graph = ImportedGraph(repo.archive)
    order = source.git("rev-list", "--date-order", "--reverse", "HEAD").split()
    assert graph.newest() == len(order) - 1
    commits = graph.commits(range(len(order)))
    assert [commits[number].hex() for number in range(len(order))] == order
    for line in source.git("rev-list", "--parents", "HEAD").splitlines():
        commit, *parents = line.split()
        number = graph.number_of(oid_of(commit))
        assert number is not None and order[number] == commit
        node = graph.node(number)
        assert [order[parent] for parent in node.parents] == parents
        assert (node.dominator == NOTHING or node.dominator < number) and node.jump <= node.dominator
        if len(parents) == 1:
            assert [order[node.dominator]] == parents
    assert graph.number_of(oid_of("12" * 20)) is None
    for path in (b"a", b"d/", b"/", b"never"):
        numbers = [number for _, number in imported_numbers_of(repo.archive, path, None, 1000)]
        for number in (0, 1, 77, 150, len(order)):
            expected = sum(each <= number for each in numbers)
            assert position_up_to(repo.archive, path, number) == expected, (path, number)


def test_a_repository_without_an_import_has_no_graph(settings: Settings) -> None:
    repo = Repository(settings)
    repo.prepare()
    assert ImportedGraph(repo.archive).newest() is None


def test_an_import_that_is_one_commit_has_a_graph(settings: Settings, tmp_path: Path) -> None:
    source = GitRepository.begun(tmp_path / "source")
    repo = Repository(settings)
    import_history(repo, source.path)
    assert ImportedGraph(repo.archive).node(0) == ((), NOTHING, NOTHING)

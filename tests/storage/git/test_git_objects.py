"""One Git that reads many objects."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage.base.ids import oid_of
from storage.git.imported.git_objects import GitObjects
from storage.git.objects import CorruptObject, Kind, object_id
from storage.git.run_git import Git, isolated_environment
from tests.support.git_repository import GitRepository


@pytest.fixture
def repo(tmp_path: Path) -> GitRepository:
    return GitRepository.begun(tmp_path / "repo")


def objects_of(repo: GitRepository) -> GitObjects:
    return GitObjects(Git(environment=isolated_environment(repo.path / ".git")))


def test_objects_come_with_their_kinds_in_the_order_in_which_they_are_asked_for(repo: GitRepository) -> None:
    large = bytes(range(256)) * 2000
    made = [oid_of(repo.git("hash-object", "-w", "--stdin", stdin=data)) for data in (b"", b"a\n", large)]
    asked = [*made, oid_of(repo.git("rev-parse", "HEAD")), oid_of(repo.git("rev-parse", "HEAD^{tree}"))] * 150
    with objects_of(repo) as objects:
        found = list(objects.read_all(asked))
        assert [object_id(kind, data) for kind, data in found] == asked
        assert {kind for kind, _ in found} == {Kind.BLOB, Kind.COMMIT, Kind.TREE}
        assert objects.read(made[2]) == (Kind.BLOB, large)


def test_an_object_that_is_not_there_is_an_error_and_others_are_read_behind_it(repo: GitRepository) -> None:
    with objects_of(repo) as objects:
        with pytest.raises(CorruptObject, match="ab" * 20):
            objects.read(oid_of("ab" * 20))
        assert objects.read(oid_of(repo.git("rev-parse", "HEAD")))[0] == Kind.COMMIT


def test_a_damaged_object_is_an_error(repo: GitRepository) -> None:
    oid = repo.git("rev-parse", "HEAD^{tree}")
    file = repo.path / ".git" / "objects" / oid[:2] / oid[2:]
    file.chmod(0o600)
    file.write_bytes(file.read_bytes()[:10] + b"damaged")
    with objects_of(repo) as objects, pytest.raises(CorruptObject):
        objects.read(oid_of(oid))

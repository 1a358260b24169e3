"""Refs are read from a store's files as Git lists them, whoever writes them and however."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.gateway.refs import RefReader
from tests.support.gateway import git


@pytest.fixture
def store(tmp_path: Path) -> Path:
    store = tmp_path / "store.git"
    git(tmp_path, "init", "-q", "--bare", "-b", "main", str(store))
    return store


def commit(store: Path) -> str:
    tree = git(store, "write-tree")
    parent = git(store, "for-each-ref", "--format=%(objectname)", "refs/heads/main")
    made = git(store, "commit-tree", tree, "-m", "c", *(["-p", parent] if parent else []))
    git(store, "update-ref", "refs/heads/main", made)
    return made


def listed(store: Path) -> list[str]:
    shown = git(store, "for-each-ref", "--format=%(refname) %(objectname) %(*objectname)", "refs/tags")
    return [line.strip() for line in shown.splitlines()]


def test_what_is_read_is_what_git_lists(store: Path) -> None:
    reader = RefReader(store)
    assert (reader.read().main, reader.read().tags) == (None, ())

    def check() -> None:
        refs = reader.read()
        assert refs.main is not None and refs.main.decode() == git(store, "rev-parse", "refs/heads/main")
        assert [b" ".join([tag.name, tag.oid, tag.peeled]).decode().strip() for tag in refs.tags] == listed(store)

    commit(store)
    check()
    changes: list[list[str]] = [
        ["tag", "light"],
        ["tag", "-a", "v1", "-m", "one"],
        ["tag", "deep/er/v2"],
        ["tag", "-f", "light", "v1"],
        ["pack-refs", "--all"],
        ["tag", "deep/er/v3"],
        ["tag", "-d", "v1"],
        ["tag", "-d", "deep/er/v2", "deep/er/v3", "light"],
    ]
    for change in changes:
        git(store, *change)
        check()
        commit(store)
        check()
        assert reader.read().tags is reader.read().tags, "nothing was read again"


def test_a_repository_that_is_gone_is_an_error(store: Path) -> None:
    reader = RefReader(store)
    (store / "HEAD").unlink()
    with pytest.raises(FileNotFoundError):
        reader.read()

"""What some version of Sluice has persisted is read by every later one, and written again to the same bytes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from app.admin.backup import Manifest
from app.folder import folder_base
from app.stack import state
from storage.clones import checkpoints
from storage.log import entry_bundles, manifest
from storage.lookup import tables
from storage.view import segments
from tests.support import persisted

# What is compressed: another zlib's bytes are as good.
COMPRESSED = {"v1.roll", "v4.3.segment"}


def stored(name: str) -> bytes:
    return (persisted.FOLDER / name).read_bytes()


@pytest.mark.parametrize(("name", "data"), [each for each in persisted.samples() if each[0] not in COMPRESSED])
def test_what_is_written_in_one_spelling_is_written_as_it_was(name: str, data: bytes) -> None:
    assert data == stored(name)


def test_each_sample_is_one_that_is_read_here() -> None:
    assert {path.name for path in persisted.FOLDER.iterdir()} == {name for name, _ in persisted.samples()}


def test_a_manifest_has_its_changesets() -> None:
    changesets = list(manifest.split(stored("v1.manifest"), persisted.PACK))
    assert changesets == persisted.changesets()
    assert manifest.join([manifest.encode(each) for each in changesets]) == stored("v1.manifest")


def test_a_manifest_has_its_moves_and_an_older_version_refuses_it() -> None:
    changesets = list(manifest.split(stored("v1-moves.manifest"), persisted.PACK))
    assert changesets == persisted.moving()
    # It unpacks six fields at least of each change.
    assert all(len(each) < 6 for line in changesets for each in _changes(manifest.encode(line)) if each[0] == "move")


def _changes(data: bytes) -> list[list[object]]:
    changes: list[list[object]] = json.loads(data)["changes"]
    return changes


def test_a_table_has_its_rows() -> None:
    rows = {key: value.ljust(tables.VALUE_BYTES, b"\0") for key, value in persisted.rows().items()}
    assert dict(tables.rows_of(stored("v1.table"))) == rows
    assert tables.encode(dict(tables.rows_of(stored("v1.table")))) == stored("v1.table")


def test_a_bundle_has_its_entries() -> None:
    assert entry_bundles.decode(stored("v1.roll")) == persisted.bundle()


def test_a_segment_has_what_its_entries_set_in_the_view() -> None:
    assert segments.decode(stored("v4.3.segment")) == persisted.segment()


def test_a_checkpoint_of_a_clone_store_has_its_parts() -> None:
    data = stored("v2-clone-checkpoint.json")
    assert checkpoints.decode(data) == persisted.CHECKPOINT
    # Those of format 1 had other commits of imported histories, and are made again.
    with pytest.raises(checkpoints.CheckpointDamaged):
        checkpoints.decode(data.replace(b'"format":2', b'"format":1'))


def test_a_backup_manifest_has_its_files() -> None:
    assert Manifest.decode(stored("v1-backup.jsonl")) == persisted.BACKUP
    assert Manifest.decode(stored("v1-backup.jsonl")).encode() == stored("v1-backup.jsonl")


def test_a_stack_remembers_its_secrets_and_ports(tmp_path: Path) -> None:
    (tmp_path / "stack.json").write_bytes(stored("v1-stack.json"))
    assert state.load(tmp_path, "another") == persisted.STATE


def test_a_folder_remembers_what_its_user_saw(tmp_path: Path) -> None:
    (tmp_path / folder_base.FILE).write_bytes(stored("v1-sluice-base.json"))
    assert folder_base.read(tmp_path) == persisted.BASE

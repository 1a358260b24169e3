"""Git accepts every pack and index that we write, and reads out of them what we put in."""

from __future__ import annotations

from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.admin.export import git
from app.intake.packing import build
from storage.base.ids import ObjectId, PackId, inbox_pack
from storage.git.objects import Commit, Ident, Kind, object_id
from storage.git.packs import PackWriter, decode, read_index, scan
from storage.log.manifest import split
from storage.view.snapshot import Slice
from tests.support.trees import FILES, Trees
from tests.support.world import item

BLOBS = st.lists(st.binary(max_size=300) | st.binary(min_size=1, max_size=3).map(lambda b: b * 9000), max_size=20)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(blobs=BLOBS, files=FILES)
def test_git_indexes_our_packs_to_the_letter_and_verifies_them(tmp_path: Path, blobs: list[bytes], files: dict) -> None:
    trees = Trees()
    root = trees.build(files)
    writer = PackWriter()
    contents = {writer.add(Kind.BLOB, data): (Kind.BLOB, data) for data in blobs}
    contents |= {writer.add(Kind.TREE, data, oid, 0): (Kind.TREE, data) for oid, data in trees.items()}
    who = Ident("Ä", "a@example.org", 1, -150)
    commit = Commit(root, (ObjectId(b"\1" * 20),), who, who, "über\n\nChangeset-Id: X\n").encode()
    contents[writer.add(Kind.COMMIT, commit)] = (Kind.COMMIT, commit)
    pack = writer.finish()

    path = tmp_path / f"{pack[-20:].hex()}.pack"
    path.write_bytes(pack)
    git(tmp_path, "index-pack", str(path))
    assert path.with_suffix(".idx").read_bytes() == writer.index()
    git(tmp_path, "verify-pack", str(path.with_suffix(".idx")))

    places = read_index(writer.index(), len(pack))
    assert places.keys() == contents.keys()
    for oid, (offset, length, _) in places.items():
        assert decode(pack[offset : offset + length]) == contents[oid]
    assert {object_id(kind, data) for _, kind, data in scan(pack)} == contents.keys()


def test_git_accepts_a_submission_pack_and_its_last_object_is_the_manifest(tmp_path: Path) -> None:
    everything = Slice("S", "all", frozenset([b"/"]), 1)  # type: ignore[arg-type]
    items = [item(everything, {"a/b": b"x", "c": b"x"}), item(everything, {"a/b": None, "l": "link:c"}, 0, key="k")]
    pack, data, [group] = build([items])
    assert pack == inbox_pack(group[0][0].id, 2)
    *_, (_, _, manifest) = scan(data)
    assert list(split(manifest, PackId(pack))) == [changeset for changeset, _ in group]
    assert group[1][0].base_changeset == group[0][0].id

    path = tmp_path / "submission.pack"
    path.write_bytes(data)
    git(tmp_path, "index-pack", "--strict", str(path))
    listed = git(tmp_path, "verify-pack", "-v", str(path))
    assert "chain length" not in listed, "nothing is deltified"

"""A reference model of trees: dictionaries of paths, turned into Git trees from scratch in the simplest way."""

from __future__ import annotations

from collections.abc import Mapping

from hypothesis import strategies as st

from storage.base.ids import ObjectId
from storage.git.objects import EXECUTABLE_MODE, FILE_MODE, SYMLINK_MODE, TREE_MODE, Kind, Tree, Version, object_id

Files = Mapping[bytes, Version]

# Few names, so that files, directories and their prefixes meet often; `a.` and `a0` sort around `a/`.
NAMES = st.sampled_from([b"a", b"a.", b"a0", b"b", "ü".encode(), b"c c"])
PATHS = st.lists(NAMES, min_size=1, max_size=4).map(b"/".join)
VERSIONS = st.builds(
    Version,
    st.sampled_from([FILE_MODE, EXECUTABLE_MODE, SYMLINK_MODE]),
    st.integers(0, 5).map(lambda i: object_id(Kind.BLOB, b"%d" % i)),
)


def consistent(files: Mapping[bytes, Version]) -> dict[bytes, Version]:
    """Leave out files that stand below another file."""
    return {
        path: version
        for path, version in files.items()
        if not any(path[:i] in files for i, byte in enumerate(path) if byte == ord("/"))
    }


FILES = st.dictionaries(PATHS, VERSIONS, max_size=25).map(consistent)


class Trees(dict[ObjectId, bytes]):
    """Stored trees by id."""

    def __init__(self) -> None:
        super().__init__({object_id(Kind.TREE, b""): b""})
        self.reads = 0

    def read(self, oid: ObjectId) -> Tree:
        """Return a tree, and count that it was read."""
        self.reads += 1
        return Tree.parse(self[oid])

    def emit(self, oid: ObjectId, data: bytes) -> None:
        """Store a tree."""
        assert object_id(Kind.TREE, data) == oid
        self[oid] = data

    def build(self, files: Files) -> ObjectId:
        """Store the trees of `files` from scratch and return the root."""
        rows: dict[bytes, tuple[int, bytes]] = {}
        below: dict[bytes, dict[bytes, Version]] = {}
        for path, version in files.items():
            first, slash, rest = path.partition(b"/")
            if slash:
                below.setdefault(first, {})[rest] = version
            else:
                rows[first] = (version.mode, version.oid)
        for name, inner in below.items():
            rows[name] = (TREE_MODE, self.build(inner))
        order = sorted(rows, key=lambda name: name + b"/" if rows[name][0] == TREE_MODE else name)
        data = b"".join(b"%o %s\0%s" % (rows[name][0], name, rows[name][1]) for name in order)
        oid = object_id(Kind.TREE, data)
        self[oid] = data
        return oid

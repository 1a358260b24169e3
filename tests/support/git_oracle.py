"""Git as a judge of raw objects: many cases in one repository, one `git fsck --strict` for all of them."""

from __future__ import annotations

import os
import re
import subprocess
import zlib
from collections.abc import Iterable
from pathlib import Path

from storage.base.ids import ObjectId
from storage.git.objects import EMPTY_TREE, FILE_MODE, TREE_MODE, Kind, object_id, row

_ERROR = re.compile(r"^error.*", re.MULTILINE)
_OID = re.compile(r"\b[0-9a-f]{40}\b")


class GitOracle:
    """A bare repository that takes any bytes as objects."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_DIR": str(folder),
            "LC_ALL": "C",
        }
        self.git("init", "--quiet", "--bare", ".")
        self.write(Kind.TREE, b"")

    def git(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["git", *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            encoding="utf-8",
            errors="backslashreplace",
            check=False,
        )

    def write(self, kind: Kind, data: bytes) -> ObjectId:
        """Store an object as it is, however wrong."""
        oid = object_id(kind, data)
        path = self.folder / "objects" / oid.hex()[:2] / oid.hex()[2:]
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(zlib.compress(b"%s %d\0" % (kind.name.lower().encode(), len(data)) + data, 1))
        return oid

    def write_path(self, path: bytes, mode: int, oid: bytes) -> list[ObjectId]:
        """Store the trees that have `oid` at `path`; the root's id is the last."""
        written = []
        for part in reversed(path.split(b"/")):
            oid = self.write(Kind.TREE, row(mode, part, oid))
            written.append(ObjectId(oid))
            mode = TREE_MODE
        return written

    def write_commit(self, author: bytes, message: bytes) -> ObjectId:
        """Store a commit of the empty tree."""
        head = b"tree %s\nauthor %s\ncommitter A <a@b> 1 +0000\n\n" % (EMPTY_TREE.hex().encode(), author)
        return self.write(Kind.COMMIT, head + message)

    def refused(self) -> set[ObjectId]:
        """Return what `git fsck --strict` calls an error."""
        out = self.git("fsck", "--strict", "--no-dangling", "--no-progress")
        lines = _ERROR.findall(out.stdout + out.stderr)
        return {ObjectId(bytes.fromhex(oid)) for line in lines for oid in _OID.findall(line)}

    def checks_out(self, paths: Iterable[bytes]) -> str:
        """Return what Git says against an index of `paths`, each in a folder of its own, with every protection on."""
        blob = self.write(Kind.BLOB, b"")
        tops = []
        for number, path in enumerate(paths):
            *_, top = self.write_path(path, FILE_MODE, blob)
            tops.append(row(TREE_MODE, b"%06d" % number, top))
        root = self.write(Kind.TREE, b"".join(tops))
        out = self.git("-c", "core.protectHFS=true", "-c", "core.protectNTFS=true", "read-tree", root.hex())
        return out.stderr if out.returncode else ""

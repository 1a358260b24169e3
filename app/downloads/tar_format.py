"""Tar archives as `git archive` writes them: ustar, with a pax header where a name does not fit. Pure.

For trees whose paths are ASCII the bytes are those of `git archive --format=tar` with tar.umask 0002, but for the name
that stands beside the pax header of a directory with a long path. What is not ASCII has a pax header here as well,
since ustar does not say which encoding its names have.
"""

import struct
import zlib
from collections.abc import Iterable, Iterator
from hashlib import sha1

from isal import isal_zlib

from app.downloads.files import Directories, File
from storage.git.objects import EXECUTABLE_MODE, SUBMODULE_MODE, SYMLINK_MODE

_HEADER = struct.Struct("100s8s8s8s12s12s8sc100s6s2s32s32s8s8s155s12x")
_NAME, _PREFIX = 100, 155
_RECORD = 512
_BLOCK = 20 * _RECORD
_HALF = _RECORD // 2  # of so many bytes the sum stays below the modulus of Adler-32, 65521
_CHECKSUM = slice(148, 156)
_LATEST = 0o77777777777
_GZIP = 16 + zlib.MAX_WBITS

_DIRECTORY, _FILE, _LINK, _PAX, _PAX_GLOBAL = b"5", b"0", b"2", b"x", b"g"


class Tar:
    """One archive, in the order of its methods."""

    media_type = "application/x-tar"
    suffix = ".tar"
    is_stable = True
    """Whether the bytes are the same in each version of the libraries."""

    def __init__(self, commit: str, time: int) -> None:
        """`time`, in seconds since 1970, is that of all entries."""
        self._commit = commit
        self._time = min(max(time, 0), _LATEST)
        self._directories = Directories()
        self._size = 0

    def begin(self) -> bytes:
        """Return what stands before the first file: the commit, which `git get-tar-commit-id` reads."""
        comment = _pax(b"comment", self._commit.encode())
        return self._count(self._entry(b"pax_global_header", _PAX_GLOBAL, 0o666, comment))

    def add(self, file: File, content: bytes) -> bytes:
        """Return the next file, behind the directories above it; a symlink's content is its target."""
        parts = [self._put(path, _DIRECTORY, 0o775, _hash(path)) for path in self._directories.above(file.path)]
        name = file.oid.hex().encode()
        match file.mode:
            case mode if mode == SUBMODULE_MODE:
                parts.append(self._put(file.path + b"/", _DIRECTORY, 0o775, name))
            case mode if mode == SYMLINK_MODE:
                parts.append(self._put(file.path, _LINK, 0o777, name, link=content))
            case mode:
                permissions = 0o775 if mode == EXECUTABLE_MODE else 0o664
                parts.append(self._put(file.path, _FILE, permissions, name, content))
        return self._count(b"".join(parts))

    def end(self, _files: Iterable[File]) -> Iterator[bytes]:
        """Yield what stands behind the last file."""
        tail = _BLOCK - self._size % _BLOCK
        yield bytes(tail + (_BLOCK if tail < 2 * _RECORD else 0))

    def _count(self, data: bytes) -> bytes:
        self._size += len(data)
        return data

    def _put(
        self, path: bytes, kind: bytes, mode: int, oid: bytes, content: bytes = b"", link: bytes = b""
    ) -> bytes:  # fmt: skip
        """Return an entry with the pax header that it needs, which is named by `oid`."""
        name, prefix, pax = path, b"", b""
        if len(path) > _NAME:
            prefix, name = _split(path)
            if not prefix:
                name, pax = oid + b".data", _pax(b"path", path)
        if not pax and not path.isascii():
            pax = _pax(b"path", path)
        if len(link) > _NAME or not link.isascii():
            pax += _pax(b"linkpath", link)
            link = b"see %b.paxheader" % oid if len(link) > _NAME else link
        before = self._entry(oid + b".paxheader", _PAX, 0o666, pax) if pax else b""
        return before + self._entry(name, kind, mode, content, link, prefix)

    def _entry(
        self, name: bytes, kind: bytes, mode: int, content: bytes = b"", link: bytes = b"", prefix: bytes = b""
    ) -> bytes:  # fmt: skip
        size = len(content)
        header = _HEADER.pack(
            name, b"%07o" % mode, b"0000000", b"0000000", b"%011o" % size, b"%011o" % self._time, b" " * 8, kind,
            link, b"ustar", b"00", b"root", b"root", b"0000000", b"0000000", prefix,
        )  # fmt: skip
        checksum = b"%07o\0" % (_sum(header[:_HALF]) + _sum(header[_HALF:]))
        padding = bytes(-size % _RECORD)
        return b"".join([header[: _CHECKSUM.start], checksum, header[_CHECKSUM.stop :], content, padding])


class GzippedTar(Tar):
    """The same, compressed."""

    media_type = "application/gzip"
    suffix = ".tar.gz"
    is_stable = False

    def __init__(self, commit: str, time: int) -> None:
        """See Tar."""
        super().__init__(commit, time)
        self._gzip = isal_zlib.compressobj(1, isal_zlib.DEFLATED, _GZIP)

    def begin(self) -> bytes:
        """See Tar."""
        return self._gzip.compress(super().begin())

    def add(self, file: File, content: bytes) -> bytes:
        """See Tar; what is returned may be of files before."""
        return self._gzip.compress(super().add(file, content))

    def end(self, files: Iterable[File]) -> Iterator[bytes]:
        """See Tar."""
        for piece in super().end(files):
            yield self._gzip.compress(piece)
        yield self._gzip.flush()


def _sum(data: bytes) -> int:
    """Return the sum of at most `_HALF` bytes: it is what Adler-32 begins with, in a fifth of the time of `sum`."""
    return (zlib.adler32(data) & 0xFFFF) - 1


def _split(path: bytes) -> tuple[bytes, bytes]:
    """Return a long path in the two parts that ustar joins by a slash; the first is empty where there are none."""
    end = min(len(path) - path.endswith(b"/"), _PREFIX)
    at = path.rfind(b"/", 1, end)
    if at < 0 or len(path) - at - 1 > _NAME:
        return b"", path
    return path[:at], path[at + 1 :]


def _pax(name: bytes, value: bytes) -> bytes:
    """Return a record of a pax header, whose length counts its own digits."""
    rest = len(name) + len(value) + 3
    length = rest + len(str(rest))
    length = rest + len(str(length))
    return b"%d %b=%b\n" % (length, name, value)


def _hash(path: bytes) -> bytes:
    return sha1(path, usedforsecurity=False).hexdigest().encode()

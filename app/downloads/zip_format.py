"""Zip archives as a stream: every size is known before its file, and the directory at the end is made from the tree.

So what is kept of a file until then is 13 bytes, and not its name. Above 65,534 entries or 4 GiB it has the records of
zip64. Pure.
"""

import struct
import time as clock
import zlib
from array import array
from collections.abc import Iterable, Iterator

from isal import isal_zlib

from app.downloads.files import Directories, File
from storage.base.batched import batched
from storage.git.objects import EXECUTABLE_MODE, SUBMODULE_MODE, SYMLINK_MODE

_LOCAL = struct.Struct("<4sHHHHHIIIHH")
_CENTRAL = struct.Struct("<4sHHHHHHIIIHHHHHII")
_END = struct.Struct("<4sHHHHIIH")
_END_64 = struct.Struct("<4sQHHIIQQQQ")
_LOCATOR_64 = struct.Struct("<4sIQI")
_UNIX_TIME = struct.Struct("<HHBI")
_OFFSET_64 = struct.Struct("<HHQ")

_UTF8 = 0x0800
_STORED, _DEFLATED = 0, 8
_VERSION, _VERSION_64, _BY_UNIX = 20, 45, 3 << 8 | 45
_IS_DIRECTORY = 0x10
_MANY, _FAR = 0xFFFF, 0xFFFFFFFF
_TOGETHER = 500


class Zip:
    """One archive, in the order of its methods."""

    media_type = "application/zip"
    suffix = ".zip"
    is_stable = False
    """Whether the bytes are the same in each version of the libraries."""

    def __init__(self, commit: str, time: int) -> None:
        """`time`, in seconds since 1970, is that of all entries."""
        self._comment = commit.encode()
        # Zip's own times are in no zone, begin in 1980 and end with 2107.
        moment = clock.gmtime(min(max(time, 315532800), 4354819199))
        self._time = moment.tm_hour << 11 | moment.tm_min << 5 | moment.tm_sec // 2
        self._date = moment.tm_year - 1980 << 9 | moment.tm_mon << 5 | moment.tm_mday
        self._extra = _UNIX_TIME.pack(0x5455, 5, 1, max(time, 0) & _FAR)
        self._directories = Directories()
        self._size = 0
        # Of each file: its checksum, its bytes in the archive and its own.
        self._checksums, self._stored, self._sizes = array("I"), array("I"), array("I")
        self._methods = bytearray()

    def begin(self) -> bytes:
        """Return what stands before the first file: nothing."""
        return b""

    def add(self, file: File, content: bytes) -> bytes:
        """Return the next file, behind the directories above it; a symlink's content is its target."""
        parts = [self._local(path, 0, b"", 0, 0) for path in self._directories.above(file.path)]
        method, data = _STORED, content
        if content and file.mode != SYMLINK_MODE:
            deflated = isal_zlib.compress(content, 1)[2:-4]  # without what zlib puts around it
            if len(deflated) < len(content):
                method, data = _DEFLATED, deflated
        checksum = zlib.crc32(content)
        self._checksums.append(checksum)
        self._stored.append(len(data))
        self._sizes.append(len(content))
        self._methods.append(method)
        parts.append(self._local(_name(file), method, data, checksum, len(content)))
        whole = b"".join(parts)
        self._size += len(whole)
        return whole

    def end(self, files: Iterable[File]) -> Iterator[bytes]:
        """Yield the directory; `files` are again those that were added."""
        start, offset, count, length = self._size, 0, 0, 0
        directories = Directories()
        for some in batched(enumerate(files), _TOGETHER):
            rows = []
            for i, file in some:
                for path in directories.above(file.path):
                    rows.append(self._central(path, 0o40775, _STORED, (0, 0, 0), offset))
                    offset += self._local_size(path)
                sizes = self._checksums[i], self._stored[i], self._sizes[i]
                rows.append(self._central(_name(file), _mode(file), self._methods[i], sizes, offset))
                offset += self._local_size(_name(file)) + self._stored[i]
            count += len(rows)
            piece = b"".join(rows)
            length += len(piece)
            yield piece
        end = b""
        if count >= _MANY or start + length >= _FAR:
            end = _END_64.pack(
                b"PK\6\6", _END_64.size - 12, _BY_UNIX, _VERSION_64, 0, 0, count, count, length, start
            ) + _LOCATOR_64.pack(b"PK\6\7", 0, start + length, 1)
        few = min(count, _MANY)
        yield end + _END.pack(
            b"PK\5\6", 0, 0, few, few, min(length, _FAR), min(start, _FAR), len(self._comment)
        ) + self._comment  # fmt: skip

    def _local(self, name: bytes, method: int, data: bytes, checksum: int, size: int) -> bytes:
        header = _LOCAL.pack(
            b"PK\3\4", _VERSION, _flags(name), method, self._time, self._date, checksum, len(data), size,
            len(name), len(self._extra),
        )  # fmt: skip
        return b"".join([header, name, self._extra, data])

    def _local_size(self, name: bytes) -> int:
        return _LOCAL.size + len(name) + len(self._extra)

    def _central(self, name: bytes, mode: int, method: int, sizes: tuple[int, int, int], offset: int) -> bytes:
        checksum, stored, size = sizes
        far = _OFFSET_64.pack(1, 8, offset) if offset >= _FAR else b""
        extra = self._extra + far
        attributes = mode << 16 | (_IS_DIRECTORY if name.endswith(b"/") else 0)
        header = _CENTRAL.pack(
            b"PK\1\2", _BY_UNIX, _VERSION_64 if far else _VERSION, _flags(name), method, self._time, self._date,
            checksum, stored, size, len(name), len(extra), 0, 0, 0, attributes, min(offset, _FAR),
        )  # fmt: skip
        return header + name + extra


def _flags(name: bytes) -> int:
    """Return what says that a name is UTF-8, as all are but some of imported histories."""
    try:
        name.decode()
    except UnicodeDecodeError:
        return 0
    return _UTF8


def _name(file: File) -> bytes:
    return file.path + b"/" if file.mode == SUBMODULE_MODE else file.path


def _mode(file: File) -> int:
    if file.mode == SUBMODULE_MODE:
        return 0o40775
    if file.mode == SYMLINK_MODE:
        return SYMLINK_MODE | 0o777
    return 0o100775 if file.mode == EXECUTABLE_MODE else 0o100664

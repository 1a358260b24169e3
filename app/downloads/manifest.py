"""The manifest of a slice's files in lines of JSON (NDJSON), one a file.

The first line says what it is of. A line `{"next": cursor}` behind some files lets a client whose connection broke go
on there; the last line is `{"next": null, "files": count}`, so that a manifest that was cut off cannot pass for whole.
"""

import re
from base64 import b64encode
from binascii import hexlify
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from app.downloads.files import MODE, NAME, OID
from storage.backends.turns import breathe
from storage.base.ids import ObjectId
from storage.git.objects import MODE_TEXTS, SUBMODULE_MODE, canonical
from storage.git.trees import Run

MEDIA_TYPE = "application/x-ndjson"

Sizes = Callable[[Sequence[ObjectId]], Mapping[ObjectId, int]]
"""Returns the sizes of those blobs that are stored."""

# What is sent at once, about; and files that are looked up at once, or made into lines before others may run.
_PIECE_BYTES = 64 << 10
_ROWS = 1000

_SUBMODULE = b"%o" % SUBMODULE_MODE
_USUAL = frozenset(mode.encode() for mode in MODE_TEXTS)  # a history that old programs wrote may have others
# Bytes that are in JSON what they are in a path.
_PLAIN = re.compile(rb"[ !#-\[\]-~]*")


def manifest(
    about: Mapping[str, Any], runs: Iterable[Run], cursor_behind: Callable[[bytes], str], sizes: Sizes | None
) -> Generator[bytes, None, None]:
    """Yield the lines in pieces. `cursor_behind` returns the cursor behind a path; without `sizes` none are shown.

    Raises what `runs` and `sizes` raise.
    """
    lines = [msgspec.json.encode(about), b"\n"]
    size = count = 0
    for run in runs:
        for start in range(run.start, run.end, _ROWS):
            some = run._replace(start=start, end=min(start + _ROWS, run.end))
            made = b"".join(_lines(some, sizes))
            lines.append(made)
            size += len(made)
            count += some.end - some.start
            if size >= _PIECE_BYTES:
                last = some.base + some.tree.rows[some.end - 1][NAME]
                lines.append(b'{"next":"%s"}\n' % cursor_behind(last).encode())
                yield b"".join(lines)
                lines, size = [], 0
            breathe()
    lines.append(b'{"next":null,"files":%d}\n' % count)
    yield b"".join(lines)


def _lines(run: Run, sizes: Sizes | None) -> list[bytes]:
    rows = run.rows
    if sizes is None:
        plain = _PLAIN.fullmatch(run.base + b"".join(run.tree.keys[run.start : run.end])) is not None
        base = b'"path":"' + run.base
        return [
            b'{%b,"mode":"%b","type":"%b","id":"%b"}\n'
            % (
                base + row[NAME] + b'"' if plain else _path(run.base + row[NAME]),
                row[MODE] if row[MODE] in _USUAL else b"%o" % canonical(int(row[MODE], 8)),
                b"blob" if row[MODE] != _SUBMODULE else b"commit",
                hexlify(row[OID]),
            )
            for row in rows
        ]
    known = sizes([ObjectId(row[OID]) for row in rows if row[MODE] != _SUBMODULE])
    lines = []
    for line, row in zip(_lines(run, None), rows, strict=True):
        size = None if row[MODE] == _SUBMODULE else known.get(ObjectId(row[OID]))
        lines.append(line[:-2] + (b',"size":null}\n' if size is None else b',"size":%d}\n' % size))
    return lines


def _path(path: bytes) -> bytes:
    """Return a path as a field of JSON: in Base64 where it is not UTF-8."""
    try:
        return b'"path":%b' % msgspec.json.encode(path.decode())
    except UnicodeDecodeError:
        return b'"path_base64":"%b"' % b64encode(path)

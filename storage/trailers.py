"""The trailers of a commit's message, as Git finds and adds them. Pure.

After Git's trailer.c, commit.c and wt-status.c, with its defaults: `#` begins a comment and `:` separates. A line
`---` ends nothing, as for everything that reads commits (`git log`, and `git interpret-trailers --no-divider`).
tests/compat/test_trailers_oracle.py holds all of it to Git.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

CHANGESET_ID = "Changeset-Id"
"""The trailer by which a commit names its changeset."""

NO_SUBJECT = "(no message)"
"""The first line of a commit whose changeset has a message that cannot carry a trailer by itself."""

_COMMENT = b"#"
_CUT_LINE = b"# ------------------------ >8 ------------------------\n"
_CONFLICTS = b"Conflicts:\n"
# With one of these among its lines, a quarter of a paragraph has to be trailers, else all of it.
_GENERATED = (b"Signed-off-by: ", b"(cherry picked from commit ")
# White space to Git: neither VT and FF nor anything beyond ASCII.
_SPACE = b" \t\r\n"
_TOKEN = re.compile(rb"[A-Za-z0-9-]+[ \t]*:")
_OLD_FORM = re.compile(r"(?:\A|\n\n)Changeset-Id: ([0-9A-HJKMNP-TV-Z]{26})\n\Z")


def trailers(message: str) -> list[tuple[str, str]]:
    """Return names and values of the trailers that Git finds in a commit's message."""
    parts = [trailer.partition(b":") for trailer in _found(message.encode())]
    return [(name.strip(_SPACE).decode(), value.strip(_SPACE).decode()) for name, _, value in parts]


def with_trailer(message: str, name: str, value: str) -> str:
    """Return `message` with one more trailer, where `git interpret-trailers --no-divider` puts it.

    At the end of the trailers that the message has, else in a paragraph of its own. A message that cannot carry it (see
    `carries`) gets a subject that can.
    """
    text, line = _trimmed(message), f"{name}: {value}\n".encode()
    placed = _placed(text, line)
    return (placed or _inserted(f"{NO_SUBJECT}\n\n".encode() + text, line)).decode()


def carries(message: str) -> bool:
    """Tell whether Git finds a trailer that is added to a message; never in the first paragraph, the subject's."""
    return _placed(_trimmed(message), f"{CHANGESET_ID}: 0\n".encode()) is not None


def changeset_of_old(message: str) -> str | None:
    """Return the changeset that a commit of the old form names where Git finds no trailer; None for any other commit.

    The trailer was written alone in the last paragraph, whatever stood before it. Git does not find it behind a
    scissors line, nor where there is no other paragraph.
    """
    found = _OLD_FORM.search(message)
    if found is None or any(name.lower() == CHANGESET_ID.lower() for name, _ in trailers(message)):
        return None
    return found[1]


def _trimmed(message: str) -> bytes:
    data = message.encode().rstrip(_SPACE)
    return _without_blank_start(data) + b"\n" if data else b""


def _placed(text: bytes, line: bytes) -> bytes | None:
    """Return a text with a trailer that Git finds there, beside those that it had; None where that cannot be."""
    had, (added,) = _found(text), _found(b"-\n\n" + line)
    for made in (_inserted(text, line), text + b"\n" + line):
        if _found(made) == [*had, added]:
            return made
    return None


def _inserted(text: bytes, line: bytes) -> bytes:
    start, end = _block(text)
    before, block = text[:start], text[start:end]
    if block:
        block = block.rstrip(_SPACE) + b"\n"  # a blank line at its end would set the new one apart
    elif before and not _is_blank(before[before.rfind(b"\n", 0, -1) + 1 :]):
        before += b"\n"
    return before + block + line + text[end:]


def _found(data: bytes) -> list[bytes]:
    """Return the trailers in a message, each with the lines that continue it."""
    data = _without_blank_start(data)
    found: list[bytes] = []
    continues = False
    for line in _lines(data[slice(*_block(data))]):
        if continues and line[0] in _SPACE:
            found[-1] += line
            continue
        continues = _TOKEN.match(line) is not None
        if continues:
            found.append(line)
    return [trailer.rstrip(_SPACE) for trailer in found]


def _block(data: bytes) -> tuple[int, int]:
    """Return where the trailers of a message begin and end; one after the other where there are none."""
    end = _end(data)
    return _start(data[:end]), end


def _end(data: bytes) -> int:
    """Return where a message ends to Git: before a scissors line, and before what comments and conflicts stand last."""
    cut = 0 if data.startswith(_CUT_LINE) else data.find(b"\n" + _CUT_LINE) + 1 or len(data)
    ignored, in_conflicts, at = 0, False, 0
    for line in _lines(data[:cut]):
        if line[:1] in (_COMMENT, b"\n"):
            ignored = ignored or at  # the very beginning counts for nothing, as in Git
        elif line == _CONFLICTS:
            ignored, in_conflicts = ignored or at, True
        elif ignored and not (in_conflicts and line[:1] == b"\t"):
            ignored, in_conflicts = 0, False
        at += len(line)
    return ignored or cut


def _start(data: bytes) -> int:
    """Return where the last paragraph begins if it is one of trailers, else the end. The first is the subject's."""
    lines = list(_lines(data))
    subject = next((i for i, line in enumerate(lines) if line[:1] != _COMMENT and _is_blank(line)), len(lines))
    paragraph: list[bytes] = []
    at = len(data)
    for line in reversed(lines[subject:]):
        if line[:1] == _COMMENT or not _is_blank(line):
            paragraph.append(line)
        elif any(each[:1] != _COMMENT for each in paragraph):
            return at if _is_of_trailers(paragraph) else len(data)
        at -= len(line)
    return len(data)


def _is_of_trailers(paragraph: list[bytes]) -> bool:
    """Tell whether a paragraph, given from its last line to its first, is one of trailers."""
    count, others, folded, generated = 0, 0, 0, False
    for line in paragraph:
        if line.startswith(_GENERATED) or _TOKEN.match(line):
            generated = generated or line.startswith(_GENERATED)
            count, folded = count + 1, 0  # what continues it is part of it
        elif line[0] in _SPACE:
            folded += 1
        else:
            others, folded = others + folded + (line[:1] != _COMMENT), 0
    others += folded
    return count * 3 >= others if generated else count > 0 and not others


def _lines(data: bytes) -> Iterator[bytes]:
    """Yield the lines of a text with their ends; LF alone ends one."""
    at = 0
    while at < len(data):
        end = data.find(b"\n", at) + 1 or len(data)
        yield data[at:end]
        at = end


def _is_blank(line: bytes) -> bool:
    return not line.strip(_SPACE)


def _without_blank_start(data: bytes) -> bytes:
    """Leave out blank lines before the subject: readers of commits do so too."""
    at = 0
    for line in _lines(data):
        if not _is_blank(line):
            break
        at += len(line)
    return data[at:]

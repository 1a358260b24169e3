"""Paths that Git refuses, or that would be dangerous in a checkout. Pure.

The rules are those of verify_path (read-cache.c) and fsck_tree (fsck.c), with the names that NTFS and HFS+ treat as
`.git` (is_ntfs_dotgit and is_ntfs_dot_generic in path.c, is_hfs_dot_generic in utf8.c). A checkout may happen on any
system, so all rules apply everywhere.

Nearly every path is plain ASCII without `~`, `:` or a backslash, and one regular expression proves it harmless; only
other paths are checked component by component.
"""

import re

from storage.base.errors import BadInput

_SHORTEST = len(".git")  # nothing shorter is a spelling of anything
MAX_PART_BYTES = 255  # NAME_MAX of the usual file systems
MAX_PARTS = 100  # a changed file costs a tree for each; no code base comes near

# Parts that begin with .git go the long way, but for the most usual. The quantifier within a part is possessive, and a
# slash ends a part: one pass a path. That of the parts is not: in Python before 3.11.5 such a group matches what it
# should not (python/cpython#106052).
_DOT = rb"\.(?=[\w-])(?!(?i:git)(?!hub|ignore|keep))"
_PART = rb"(?:[\w+@=,!%%&()\[\]{}$#'-]|%s)[\w.+@=,!%%&()\[\]{}$#' -]{0,254}+" % _DOT
_ORDINARY = re.compile(rb"%s(?:/%s)*" % (_PART, _PART), re.ASCII)

# An NTFS name ends at a stream (`.git::$INDEX_ALLOCATION`), and spaces and dots before that do not count.
_NTFS_GIT = re.compile(rb"(?:\.git|git~1)[ .]*(?::|\Z)", re.IGNORECASE | re.DOTALL)
_HFS_IGNORED = dict.fromkeys([*range(0x200C, 0x2010), *range(0x202A, 0x202F), *range(0x206A, 0x2070), 0xFEFF])
# Git's UTF-8 reader takes these two for the end of the name.
_HFS_END = re.compile("[\ufffe\uffff]")


# As quote.c in Git has them.
_UNSAFE = re.compile(rb'[\x00-\x1f"\\\x7f-\xff]')
_ESCAPES = {7: b"a", 8: b"b", 9: b"t", 10: b"n", 11: b"v", 12: b"f", 13: b"r", 34: b'"', 92: b"\\"}


class PathError(BadInput):
    """Git would refuse the path."""


def _short_names(name: bytes, fallback: bytes) -> re.Pattern[bytes]:
    """Match `.<name>` as NTFS does: itself, its short names `<six>~1` to `~4`, and its hashed short names."""
    hashed = [b"%s~[1-9][0-9]{%d}" % (fallback[:kept], 6 - kept) for kept in range(7)]
    spellings = [rb"\." + name, name[:6] + b"~[1-4]", *hashed]
    return re.compile(rb"(?:%s)[ .]*(?::|\Z)" % b"|".join(spellings), re.IGNORECASE | re.DOTALL)


MODULES, ATTRIBUTES = "gitmodules", "gitattributes"
# The prefixes are those that Git's path.c gives.
_SPECIAL = {MODULES: _short_names(b"gitmodules", b"gi7eba"), ATTRIBUTES: _short_names(b"gitattributes", b"gi7d29")}


def quoted(path: bytes, always: bool = False) -> bytes:
    """Return a path as Git prints and reads it: in quotes, with escapes, where it has unusual bytes, or `always`."""
    if not (always or _UNSAFE.search(path)):
        return path
    return b'"' + _UNSAFE.sub(_escape, path) + b'"'


def _escape(match: re.Match[bytes]) -> bytes:
    byte = match[0][0]
    return b"\\" + _ESCAPES.get(byte, b"%03o" % byte)


def as_text(path: bytes) -> str:
    """Return a path to be shown: bytes that are not UTF-8, as of an imported history, as hexadecimal escapes."""
    return path.decode(errors="backslashreplace")


def check_path(path: bytes, max_bytes: int) -> bool:
    """Check a file's path; True where no content could be special there. Raises PathError, for the writer."""
    if path.count(b"/") >= MAX_PARTS:
        raise PathError(f"has {path.count(b'/') + 1} parts; at most {MAX_PARTS} are allowed")
    if len(path) <= max_bytes and _ORDINARY.fullmatch(path):
        return True
    if not path:
        raise PathError("is empty")
    if len(path) > max_bytes:
        raise PathError(f"has {len(path)} bytes; at most {max_bytes} are allowed (max_path_bytes)")
    if b"\0" in path:
        raise PathError("contains a NUL")
    if path.startswith(b"/") or path.endswith(b"/"):
        raise PathError("begins or ends with a slash")
    *folders, name = path.split(b"/")
    for part in folders:
        _check_part(part)
        if special := special_names(part):
            raise PathError(f"has a directory that Git takes for .{special[0]}")
    _check_part(name)
    return False


def _check_part(part: bytes) -> None:
    if not part:
        raise PathError("has an empty part")
    if part in {b".", b".."}:
        raise PathError(f"has a part {part.decode()!r}")
    if len(part) > MAX_PART_BYTES:
        raise PathError(f"has a part of {len(part)} bytes; at most {MAX_PART_BYTES} are allowed")
    try:
        text = part.decode()
    except UnicodeDecodeError:
        raise PathError("is not UTF-8") from None
    if len(part) < _SHORTEST:
        return
    if any(_NTFS_GIT.match(piece) for piece in part.split(b"\\")) or hfs_name(text) == ".git":
        raise PathError(f"has a part {text!r} that some systems take for .git")


def hfs_name(text: str) -> str:
    """Return the name that HFS+ makes of `text`, as far as Git looks at it: ASCII in lower case, ignorables gone."""
    if text.isascii():
        return text.lower()
    folded = _HFS_END.split(text.translate(_HFS_IGNORED), maxsplit=1)[0]
    return folded.lower() if folded.isascii() else folded


def special_names(part: bytes) -> list[str]:
    """Return those of `gitmodules` and `gitattributes` that some system takes `part` (UTF-8) for; it may be both."""
    if len(part) < _SHORTEST:
        return []
    hfs = hfs_name(part.decode())
    pieces = part.split(b"\\")
    return [name for name, ntfs in _SPECIAL.items() if hfs == "." + name or any(map(ntfs.match, pieces))]

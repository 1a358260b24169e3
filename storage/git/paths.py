"""Paths that Git refuses, or that would be dangerous in a checkout. Pure.

The rules are those of verify_path (read-cache.c) and fsck_tree (fsck.c), with the names that NTFS and HFS+ treat as
`.git` (is_ntfs_dotgit and is_ntfs_dot_generic in path.c, is_hfs_dot_generic in utf8.c). A checkout may happen on any
system, so all rules apply everywhere.

Nearly every path is plain ASCII without `~`, `:` or a backslash, and one regular expression proves it harmless; only
other paths are checked component by component.

A path need not be UTF-8: to Git it is bytes. Records and keys have paths as text (`recorded_path`), answers as JSON
(`path_json`); these two and `raw_path` are all that turns paths into text and back.
"""

import re
from base64 import b64encode, urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable

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


def recorded_path(path: bytes) -> str:
    """Return a path as records, keys of Redis and manifests have it: as text, which is UTF-8 whatever the path is.

    A part that is not UTF-8 is a NUL and its base64, as URLs have it. So every path has one text, which is that of its
    directory, a slash and that of its name; and who takes the text for the path has a NUL in it, which no path has.
    """
    try:
        return path.decode()
    except UnicodeDecodeError:
        return "/".join(map(_recorded_part, path.split(b"/")))


def _recorded_part(part: bytes) -> str:
    try:
        return part.decode()
    except UnicodeDecodeError:
        return "\0" + urlsafe_b64encode(part).rstrip(b"=").decode()


def raw_path(text: str) -> bytes:
    """Return the path whose text is recorded."""
    if is_text(text):
        return text.encode()
    return b"/".join(map(_raw_part, text.split("/")))


def _raw_part(text: str) -> bytes:
    if is_text(text):
        return text.encode()
    return urlsafe_b64decode(text[1:] + "=" * (-len(text[1:]) % 4))


def is_text(recorded: str) -> bool:
    """Tell whether the path that is recorded as this text is UTF-8."""
    return "\0" not in recorded


def path_json(name: str, path: bytes | str) -> dict[str, str]:
    """Return a path, or one that is recorded, as a field of JSON: `<name>_base64` where it is not UTF-8."""
    text = path if isinstance(path, str) else recorded_path(path)
    return {name: text} if is_text(text) else {f"{name}_base64": b64encode(raw_path(text)).decode()}


def paths_json(name: str, paths: Iterable[bytes | str]) -> dict[str, list[str]]:
    """Return paths, or recorded ones, as a list in JSON; those that are not UTF-8 are in `<name>_base64` beside it."""
    texts = [path if isinstance(path, str) else recorded_path(path) for path in paths]
    others = [b64encode(raw_path(text)).decode() for text in texts if not is_text(text)]
    return {name: [text for text in texts if is_text(text)]} | ({f"{name}_base64": others} if others else {})


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
    if len(part) < _SHORTEST:
        return
    if any(_NTFS_GIT.match(piece) for piece in part.split(b"\\")) or hfs_name(part) == ".git":
        raise PathError(f"has a part {as_text(part)!r} that some systems take for .git")


def hfs_name(part: bytes) -> str:
    """Return the name that HFS+ makes of `part`, as far as Git looks at it: ASCII in lower case, ignorables gone.

    Git takes the first byte that is not UTF-8 for the end of the name.
    """
    try:
        text = part.decode()
    except UnicodeDecodeError as error:
        text = part[: error.start].decode()
    if text.isascii():
        return text.lower()
    folded = _HFS_END.split(text.translate(_HFS_IGNORED), maxsplit=1)[0]
    return folded.lower() if folded.isascii() else folded


def special_names(part: bytes) -> list[str]:
    """Return those of `gitmodules` and `gitattributes` that some system takes `part` for; it may be both."""
    if len(part) < _SHORTEST:
        return []
    hfs = hfs_name(part)
    pieces = part.split(b"\\")
    return [name for name, ntfs in _SPECIAL.items() if hfs == "." + name or any(map(ntfs.match, pieces))]

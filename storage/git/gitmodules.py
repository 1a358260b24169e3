"""The checks of `git fsck` for a .gitmodules file. Pure.

The file is parsed as config.c does: a syntax error silently ends the parsing, and the settings before it count. The
checks are fsck_gitmodules_fn of fsck.c and check_submodule_url, which Git 2.44 moved to submodule-config.c and made
stricter: since then url_normalize (urlmatch.c) must accept a URL for curl. What any version of Git refuses is refused
here, whichever Git is installed.
"""

import re
from collections.abc import Iterator
from urllib.parse import unquote_to_bytes

from storage.base.errors import BadInput

MAX_BYTES = 1 << 20  # Git's own limit is 512 MiB; the largest known files have some hundred KiB
MAX_PORT = 65535

_SPACE = re.compile(rb"[ \t\n\r]*")
_REST = re.compile(rb"[^\n]*")
_SECTION = re.compile(rb'\[([A-Za-z0-9.-]*)(?:[ \t\r]+"((?:[^"\\\n]|\\[^\n])*)")?\]', re.DOTALL)
_KEY = re.compile(rb"([A-Za-z][A-Za-z0-9-]*)[ \t]*(=|\n|$)")
_VALUE = re.compile(rb'[ \t\r]+|[^ \t\r\n"\\;#]+|\\.|["\n;#]', re.DOTALL)
_ESCAPES = {b"\\t": b"\t", b"\\b": b"\b", b"\\n": b"\n", b"\\\\": b"\\", b'\\"': b'"'}
_DOTS = re.compile(rb"(?:^|[/\\])\.\.(?:[/\\]|\Z)")
_CURL = re.compile(rb"(?:(?:https?|ftps?)::)?(?=(?:https?|ftps?)://)|(?:https?|ftps?)::", re.DOTALL)
_URL = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*://(?:[^/?#@]*@)?([^/?#]*)/?([^?#]*)", re.DOTALL)
_HOST = re.compile(rb"[A-Za-z0-9._\[\]-][A-Za-z0-9._\[:\]-]*")
_PORT = re.compile(rb"0*([1-9][0-9]{0,4})")
_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_LEADING = re.compile(rb"((?:\./|\.\\|\.\./|\.\.\\)*)(.?)", re.DOTALL)


class ModulesError(BadInput):
    """Git would refuse the file."""


def check(content: bytes) -> None:
    """Check a .gitmodules file. Raises ModulesError with a sentence for the writer."""
    if len(content) > MAX_BYTES:
        raise ModulesError(f"has {len(content)} bytes; a .gitmodules file may have {MAX_BYTES}")
    if b"\0" in content:
        raise ModulesError("contains a NUL, at which Git would stop reading a value")
    for name, key, value in settings(content):
        shown = name.decode(errors="replace")
        if not name or _DOTS.search(name):
            raise ModulesError(f"has a submodule name that Git refuses: {shown!r}")
        if value is None:
            continue
        if key == b"url" and not _url_is_safe(value):
            raise ModulesError(f"has a url of submodule {shown!r} that Git refuses")
        if key == b"path" and value.startswith(b"-"):
            raise ModulesError(f"has a path of submodule {shown!r} that looks like an option")
        if key == b"update" and value.startswith(b"!"):
            raise ModulesError(f"has a command as update of submodule {shown!r}")


def settings(content: bytes) -> Iterator[tuple[bytes, bytes, bytes | None]]:
    """Yield name, key and value of every setting of a submodule, up to the first syntax error."""
    data = content.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n")
    name: bytes | None = None
    at = 0
    while True:
        at = _skip(_SPACE, data, at)
        if data[at : at + 1] in {b"#", b";"}:
            at = _skip(_REST, data, at)
        elif match := _SECTION.match(data, at):
            name = _subsection(match)
            at = match.end()
        elif match := _KEY.match(data, at):
            key, value, at = match[1].lower(), None, match.end()
            if match[2] == b"=":
                read = _value(data, at)
                if read is None:
                    return
                value, at = read
            if name is not None:
                yield name, key, value
        else:
            return


def _skip(pattern: re.Pattern[bytes], data: bytes, at: int) -> int:
    match = pattern.match(data, at)
    assert match is not None
    return match.end()


def _subsection(head: re.Match[bytes]) -> bytes | None:
    """Return the submodule's name in a section's head; None where the section is about something else."""
    section, quoted = head[1].lower(), head[2]
    whole = section if quoted is None else section + b"." + re.sub(rb"\\(.)", rb"\1", quoted, flags=re.DOTALL)
    first, dot, rest = whole.partition(b".")
    return rest if first == b"submodule" and dot else None


def _value(data: bytes, at: int) -> tuple[bytes, int] | None:
    """Read a value from `at`; None for a syntax error."""
    parts: list[bytes] = []
    pending = b""
    quoted = False
    while at < len(data):
        match = _VALUE.match(data, at)
        if match is None:
            break  # a backslash is the last byte: to Git the end of the file ends a line too, which it continues
        token, at = match[0], match.end()
        if token == b"\n":
            return None if quoted else (b"".join(parts), at)
        if not quoted and token in {b";", b"#"}:
            return b"".join(parts), _skip(_REST, data, at)
        if token[:1] in b" \t\r" and not quoted:
            pending = token if parts else b""
        elif token == b"\\\n":
            continue
        elif token[:1] == b"\\" and token not in _ESCAPES:
            return None
        else:
            parts += [pending, b"" if token == b'"' else _ESCAPES.get(token, token)]
            pending = b""
            quoted ^= token == b'"'
    return None if quoted else (b"".join(parts), at)


def _url_is_safe(url: bytes) -> bool:
    if url.startswith(b"-"):
        return False
    relative = url.startswith((b"./", b"../", b".\\", b"..\\"))
    if relative or url.startswith(b"git://"):
        if b"\n" in unquote_to_bytes(url):
            return False
        # `../../:host` would become the host of the parent's own URL.
        match = _LEADING.match(url)
        assert match is not None
        return not (b".." in match[1] and match[2] in {b":", b"/", b"\\"})
    if match := _CURL.match(url):
        return _curl_reads(url[match.end() :])
    return True


def _curl_reads(url: bytes) -> bool:
    """As url_normalize, and as credential_from_url_gently before it: a host, and no newline nor CR anywhere."""
    decoded = unquote_to_bytes(url)
    match = _URL.match(url)
    if match is None or b"\n" in decoded or b"\r" in decoded or _BAD_ESCAPE.search(url):
        return False
    host, colon, port = match[1].rpartition(b":")
    if not colon or b"]" in port:  # a colon in brackets is the address's own
        host, port = match[1], b""
    if not _HOST.fullmatch(host):
        return False
    if port:
        number = _PORT.fullmatch(port)
        if number is None or int(number[1]) > MAX_PORT:
            return False
    return _stays_below(match[2])


def _stays_below(path: bytes) -> bool:
    """Whether no `..` in a URL's path leaves its root; an empty part counts as one to leave, as in Git."""
    depth = 0
    for part in path.split(b"/"):
        name = unquote_to_bytes(part)
        if name == b"..":
            if not depth:
                return False
            depth -= 1
        elif name != b".":
            depth += 1
    return True

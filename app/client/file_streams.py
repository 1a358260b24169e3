"""What the API sends as one long answer: the manifest of a slice, taken up again where it broke, and its archive."""

import tarfile
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from typing import Any

import urllib3
from urllib3.exceptions import HTTPError

from app.client import byte_paths
from app.client.byte_paths import query_of
from app.client.transport import Json, NotSluice, Pauses, Transport, Unreachable

_LINES = "application/x-ndjson"
_READ = 256 << 10  # bytes that are taken at once, at most


def manifest(client: Transport, path: str, filters: Mapping[str, Any], pauses: Pauses) -> Iterator[Json]:
    """Yield the files of a slice's tree at `path` in the API, all of one commit, whatever breaks meanwhile.

    Raises ProblemError for a final refusal, NotSluice, and Unreachable where `pauses` end without any progress.
    """
    given = {name: value for name, value in filters.items() if value is not None}
    while True:
        query = f"{path}?{query_of(given)}" if given else path
        answer = client.raw("GET", query, None, {"Accept": _LINES}, streamed=True)
        files: list[Json] = []
        with closing(answer), suppress(HTTPError, OSError):
            if answer.headers.get("Content-Type", "").partition(";")[0] != _LINES:
                raise NotSluice(client.url, "with something else than a manifest", answer.status)
            for line in _lines(answer):
                item = byte_paths.loads(line)
                if "path" in item:
                    files.append(item)
                elif "next" in item:
                    yield from files
                    files = []
                    if item["next"] is None:
                        return
                    given["cursor"] = item["next"]
                    pauses.begin()
        # What came behind the last cursor comes again.
        if not pauses.take():
            raise Unreachable(f"GET {client.url}{query}: the connection broke before the manifest was complete")


def _lines(answer: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
    """Yield whole lines; one that was cut off is none."""
    rest = b""
    while data := answer.read(_READ):
        *lines, rest = (rest + data).split(b"\n")
        yield from lines


def members(answer: urllib3.BaseHTTPResponse) -> Iterator[tuple[str, bytes]]:
    """Yield the files and symlinks of a streamed tar with their contents, as far as it comes."""
    with (
        closing(answer),
        suppress(HTTPError, OSError, tarfile.TarError),
        tarfile.open(fileobj=answer, mode="r|", bufsize=_READ, encoding="utf-8", errors="surrogateescape") as tar,
    ):
        for member in tar:
            tar.members = []  # type: ignore[attr-defined]  # it would grow with the archive
            if member.issym():
                yield member.name, member.linkname.encode(errors="surrogateescape")
            elif content := tar.extractfile(member):
                yield member.name, content.read()

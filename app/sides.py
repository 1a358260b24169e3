"""The contents of a conflict's sides that have no common text, as far as the API tells them; each proved by its id.

What stood in the head or in the base is found at one of the newest commits. What was submitted follows from the base
and the changeset's diff; of a binary file, or one too large to be shown, the API does not tell it.
"""

from __future__ import annotations

import re
from itertools import islice
from urllib.parse import quote

from app.client import Client, Json, ProblemError
from storage.objects import Kind, object_id

# Each is asked for one path: what is older is not looked for.
_MOST_COMMITS = 20
_HUNK = re.compile(rb"@@ -(\d+)(?:,(\d+))? ")
_LINE = re.compile(rb"[^\n]*\n|[^\n]+")
_SUBMODULE = "160000"


class Sides:
    """The contents at one changeset's paths in conflict."""

    def __init__(self, client: Client, changeset: Json) -> None:
        self._client = client
        self._changeset = changeset
        self._commits: list[str] | None = None
        self._diff: dict[str, Json] | None = None

    def content(self, conflict: Json, side: str) -> bytes | None:
        """Return the content of a side (base, head or submitted); None where there is none, or it is not told."""
        version = conflict[side]
        if version is None or version["mode"] == _SUBMODULE:
            return None
        if side == "submitted":
            return self._submitted(conflict["path"], version["id"])
        in_the_way = side == "head" and "blocker" in conflict
        return self._stored(conflict["blocker" if in_the_way else "path"], version["id"])

    def _stored(self, path: str, oid: str) -> bytes | None:
        """Return a blob that stands at `path` in one of the newest commits."""
        for commit in self._newest():
            address = f"/v1/slices/{self._changeset['slice']}/files/{quote(path)}?commit={commit}"
            try:
                if self._client.raw("HEAD", address).headers.get("ETag", "").strip('"') == oid:
                    return _proved(self._client.raw("GET", address).data, oid)
            except ProblemError as refusal:
                if refusal.status != 404:
                    raise
        return None

    def _newest(self) -> list[str]:
        if self._commits is None:
            newest = [each["commit"] for each in islice(self._client.global_commits(_MOST_COMMITS), _MOST_COMMITS)]
            self._commits = [self._client.head()["tip"]["commit"], *newest]
        return self._commits

    def _submitted(self, path: str, oid: str) -> bytes | None:
        if self._diff is None:
            self._diff = {each["path"]: each for each in self._client.diff(self._changeset["id"])}
        said = self._diff.get(path)
        if said is None or said["patch"] is None:
            return None
        old = self._stored(path, said["old"]["id"]) if said["old"] else b""
        return None if old is None else _proved(patched(old, said["patch"]), oid)


def patched(old: bytes, patch: str) -> bytes | None:
    """Return a text with a unified diff applied; None where that is not a diff of it."""
    before = _LINE.findall(old)
    after: list[bytes] = []
    at, hunks, kind = 0, 0, b""
    for line in patch.encode().removesuffix(b"\n").split(b"\n"):
        found = _HUNK.match(line)
        if found:
            # A hunk without old lines names the line before it.
            start = int(found[1]) - (found[2] != b"0")
            after += before[at:start]
            at, hunks = start, hunks + 1
        elif not hunks:
            continue
        elif line[:1] == b"+":
            after.append(line[1:] + b"\n")
        elif line[:1] == b"\\" and kind == b"+":
            after[-1] = after[-1][:-1]
        elif line[:1] in (b" ", b"-"):
            after += before[at : at + 1] if line[:1] == b" " else []
            at += 1
        kind = line[:1]
    return b"".join(after + before[at:]) if at <= len(before) else None


def _proved(data: bytes | None, oid: str) -> bytes | None:
    return data if data is not None and object_id(Kind.BLOB, data).hex() == oid else None

"""How `sluice submit` sends a changeset: repeating a command is harmless, and a large changeset may be split.

The idempotency key is a hash of what is submitted, so a command that was interrupted, or typed twice, gets the
changeset of its first run. A changeset of only new files may be sent in parts, each on the one before: readers then
see some of the new files for a while, and no existing file is half changed.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from os.path import commonpath

from app.client.api_client import Client, Json, ProblemError
from storage.base.errors import BadInput
from storage.base.settings import Settings
from storage.git.objects import ModeText

_FAILED = {"rejected", "abandoned"}
_CLOSED = {"abandoned", "expired"}  # of a conflict that nobody resolved
_MAX_TRIES = 100
_MAX_ASKED = 50  # paths of which is asked what waits to change them
_LIMIT = re.compile(r"at most (\d+) .*\(max_\w+\)")
# Of a body, so that a larger one is not sent to be refused half way; room for the rest of the changeset.
_MAX_BYTES = Settings.max_body_bytes - (1 << 20)


class TooLarge(BadInput):
    """A changeset is too large for one request, and may not be split unless the user asks for it."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A changeset as the API answered, and the changes that it has."""

    changeset: Json
    changes: list[Json]

    @property
    def is_repeat(self) -> bool:
        """Whether the same had been submitted before, and is decided."""
        return self.changeset["status"] not in {"queued", "held"}


class Sender:
    """Sends changesets to one slice."""

    def __init__(self, client: Client, slice_id: str, key: str | None = None) -> None:
        """Choose an idempotency key; without one, it follows from what is sent."""
        self._client = client
        self._slice = slice_id
        self._key = key
        self.last_key = key or ""  # of the request that was sent last

    def send(self, changeset: Json, split: bool, is_new: bool) -> Iterator[Sent]:
        """Submit a changeset, in parts if it is too large: where `is_new` (new files alone), or `split` asks for it.

        Yields each part as soon as it was accepted. Raises TooLarge before anything is sent, ProblemError, Unreachable.
        """
        rest = list(changeset["changes"])
        if split:  # a file is deleted before a folder takes its path, wherever the changes are split
            rest.sort(key=lambda change: change["op"] != "delete")
        most = len(rest)
        base, number = changeset.get("base"), 0
        while rest:
            part = _first(rest, most)
            whole = not number and len(part) == len(rest)
            if not whole and not (is_new or (split and base is not None)):
                raise TooLarge(_how_to_split(len(rest), base is not None))
            sent = changeset | {"changes": part} | ({"base": base} if base is not None else {})
            if not whole:
                sent["message"] = _numbered(changeset["message"], number + 1)
            try:
                submitted = self._submit(sent, number if not whole else None)
            except ProblemError as refusal:
                fewer = _fewer(refusal, len(part))
                if not fewer:
                    raise
                most = fewer
                continue
            yield Sent(submitted, part)
            number += 1
            rest = rest[len(part) :]
            if base is not None:
                base = submitted["id"]

    def _submit(self, changeset: Json, number: int | None) -> Json:
        if self._key:
            return self._post(changeset, self._key if number is None else f"{self._key}/{number}")
        request = json.dumps([self._slice, changeset], sort_keys=True).encode()
        key = f"submit-{sha256(request).hexdigest()[:40]}"
        submitted = self._post(changeset, key)
        for again in range(2, _MAX_TRIES):
            if submitted["status"] not in _FAILED and submitted.get("closed_by") not in _CLOSED:
                break
            # It came to nothing, so this is another try.
            submitted = self._post(changeset, f"{key}-{again}")
        return submitted

    def _post(self, changeset: Json, key: str) -> Json:
        self.last_key = key
        return self._client.submit(self._slice, changeset, key)


def check_all(client: Client, slice_id: str, changeset: Json, is_new: bool) -> Json:
    """Return what would become of a changeset; of one that would be submitted in parts, of all of them.

    New files stand on nothing, so each part is checked by itself. Raises ProblemError and Unreachable.
    """
    rest = list(changeset["changes"])
    most, merged = len(rest), []
    while True:
        part = _first(rest, most)
        try:
            answer = client.check(slice_id, changeset | {"changes": part})
        except ProblemError as refusal:
            fewer = _fewer(refusal, len(part)) if is_new else 0
            if not fewer:
                raise
            most = fewer
            continue
        merged += answer.get("merged", [])
        rest = rest[len(part) :]
        if not rest or answer["would"] != "commit":
            return answer | ({"merged": merged} if "merged" in answer else {})


def _first(changes: list[Json], most: int) -> list[Json]:
    """Return as many changes as one request takes, and at least one."""
    size = 0
    for count, change in enumerate(changes[:most]):
        size += len(json.dumps(change)) + 2
        if count and size > _MAX_BYTES:
            return changes[:count]
    return changes[:most]


def _fewer(refusal: ProblemError, count: int) -> int:
    """Return how many changes to try after a refusal; 0 if it was not because of their number."""
    limits = [
        match for error in refusal.errors if (match := _LIMIT.search(str(error.get("message", ""))))
        and re.fullmatch(r"changes(ets)?|", str(error.get("field", "")))
    ]  # fmt: skip
    if count <= 1 or not (limits or refusal.status == 413):
        return 0
    named = int(limits[0][1]) if limits else 0
    return named if 0 < named < count else count // 2


def _numbered(message: str, number: int) -> str:
    subject, gap, body = message.partition("\n")
    return f"{subject} (part {number}){gap}{body}"


def _how_to_split(count: int, has_base: bool) -> str:
    problem = f"{count} changes are too many or too large for one changeset, and some change or delete what is there: "
    if has_base:
        return problem + (
            "in parts, others would see some of them without the rest. --split submits them so, each part on the one "
            "before; or submit a folder with fewer of them at a time"
        )
    return problem + "submit fewer commits at a time (A..M, then M..B), or fewer files"


def is_there(client: Client, slice_: Json, changes: list[Json], ids: Mapping[str, Json | None]) -> bool:
    """Tell whether the tip has all that is submitted already: `ids` says what stands at each path then.

    The first file answers that most of the time; all are compared only where that one is there. While something waits
    to change one of them it is not known: it may be what this takes back.
    """
    first = changes[0]["path"]
    expected = ids[first]
    is_module = expected is not None and expected["mode"] == ModeText.SUBMODULE
    if not is_module and client.version_of(slice_["id"], first, client.head()["tip"]["commit"]) != expected:
        return False
    paths = [change[name] for change in changes for name in ("path", "from") if name in change]
    if _something_waits(client, slice_["id"], paths):
        return False
    # Asked for anew: what waited before it was looked for is in it now.
    tip = client.head()["tip"]["commit"]
    above = commonpath([path.rpartition("/")[0] for path in paths]) if all("/" in path for path in paths) else ""
    there = {entry["path"]: entry for entry in client.tree(slice_["id"], tip, above or None)}
    return all(_version(there.get(path)) == ids[path] for path in paths)


def _something_waits(client: Client, slice_id: str, paths: list[str]) -> bool:
    """Tell whether an undecided changeset may change one of these; of many, whether one waits in the slice at all."""
    if len(paths) > _MAX_ASKED:
        waiting = (client.changesets(slice_id, status, limit=1) for status in ("queued", "held"))
        return any(next(changesets, None) is not None for changesets in waiting)
    for path in paths:
        activity = client.activity(path)
        if activity["queued"] or not activity["complete"]:
            return True
    return False


def _version(entry: Json | None) -> Json | None:
    return entry and {"mode": entry["mode"], "id": entry["id"]}

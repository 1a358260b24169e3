"""Taking what is new on a branch as changesets, one after the other, by the API: each commit once, in its order.

Where a mirror stands is read from the changesets themselves: each has labels that name the mirror and its commit, and
those count that its own principal has submitted. So a process that is killed, on another machine or with an empty
folder, goes on behind the last one. Each commit's id is its idempotency key. A merge is one changeset, against its
first parent. A commit that is not committed here stops the mirror; so does a branch that was forced.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice

from app.client import mirror_calls
from app.client.api_client import Client, Json, ProblemError
from app.folder.git_range import RangeError
from app.folder.prepared import from_range
from app.follow.upstream import Rewritten, Upstream
from storage.base.errors import Refused
from storage.mirrors.remote import RemoteFailed

MIRROR, COMMIT = "mirror", "upstream"
"""The labels of a changeset that was taken: its mirror, and its commit."""
_DONE = {"committed", "landed"}
_UNDECIDED = {"queued", "held"}
_DROPPED = {"abandoned", "expired"}  # conflicts that somebody closed without a resolution
_LOOKED_AT = 20  # changesets of a mirror, of which the newest with an answer counts
_TRIES = 100
_EVERY = 20  # commits between two reports


class Stopped(Refused):
    """The mirror was stopped; the text says why."""


Wait = Callable[[str], Json]
"""Returns a changeset, by its id, once it is decided, or as it is after a time, well below max_mirror_lag."""


class Follower:
    """Takes the commits of one mirror."""

    def __init__(self, client: Client, mirror: Json, upstream: Upstream, wait: Wait, tell: Callable[[str], None]):
        """`mirror` is as the API shows it; `wait` waits for a changeset, and `tell` says what was done."""
        self._client = client
        self._name: str = mirror["name"]
        self._mirror = mirror
        self._seen: tuple[str, str | None, int] = ("", None, 0)  # what was reported last
        self._upstream = upstream
        self._wait = wait
        self._tell = tell

    def take(self) -> int:
        """Take what is new, and return how many commits that were.

        Raises Stopped, RemoteFailed, ProblemError and Unreachable.
        """
        try:
            tip = self._upstream.fetch()
        except RemoteFailed as error:
            self._report("", None, int(self._mirror["behind"]["commits"]), error=error.word, detail=error.detail)
            raise
        taken = self._taken()
        try:
            line = self._upstream.line(taken, tip)
        except Rewritten as error:
            self._report(tip, taken, 0)
            raise self._stopped("diverged", str(error)) from error
        self._report(tip, taken, len(line))
        for i, commit in enumerate(line, 1):
            self._take(commit)
            taken = commit
            if i % _EVERY == 0:
                self._report(tip, taken, len(line) - i)
        if line:
            self._report(tip, taken, 0)
        return len(line)

    def _taken(self) -> str:
        """Return the last commit that is here, or that somebody chose to leave out; empty where there is none."""
        known = self._client.pages(
            "/v1/changesets", label=f"{MIRROR}:{self._name}", since=self._mirror["created_at"],
            submitter=self._client.principal(),  # any writer may submit changesets with such labels
        )  # fmt: skip
        for changeset in islice(known, _LOOKED_AT):
            commit = changeset["labels"][COMMIT]
            if self._settled(self._client.changeset(changeset["id"])):
                return str(commit)
            # What is on its way is submitted again, under its key, and then waited for.
            if self._upstream.has(commit) and (before := self._upstream.before(commit)):
                return before
        return str(self._mirror["local"] or self._mirror["start"] or "")

    def _settled(self, changeset: Json) -> bool:
        """Tell whether a changeset, or what took its place, is in, or whether somebody left it out."""
        by = changeset.get("closed_by")
        if by in _DROPPED:
            return True
        if by:
            return self._settled(self._client.changeset(by))
        return changeset["status"] in _DONE

    def _take(self, commit: str) -> None:
        """Submit a commit, and wait until it is committed. Raises Stopped."""
        try:
            prepared = from_range(
                self._client, self._mirror["slice"], self._upstream.folder, commit, git=self._upstream.git
            )
        except RangeError as error:
            raise self._stopped("conflict", f"commit {commit} cannot be taken: {error}") from error
        for note in prepared.notes:
            self._tell(f"{commit}: {note}")
        changeset = prepared.changeset
        if not changeset["changes"]:
            self._tell(f"{commit} changes nothing, and is passed over")
            return
        changeset.setdefault("author", {"name": self._name, "email": f"{self._name}@mirror.invalid"})
        changeset["message"] = changeset.get("message", "").strip() or f"Commit {commit}"
        changeset["labels"] = {MIRROR: self._name, COMMIT: commit}
        decided = self._submitted(commit, changeset)
        while (by := decided.get("closed_by")) and by not in _DROPPED:
            decided = self._decided(by)  # somebody has resolved it
        if not self._settled(decided):
            raise self._stopped("conflict", _why(commit, decided))
        self._tell(f"{commit} is {decided['id']}")

    def _submitted(self, commit: str, changeset: Json) -> Json:
        """Submit a commit, and return what became of it; where an earlier try came to nothing, it is tried anew."""
        for number in range(1, _TRIES):
            key = commit if number == 1 else f"{commit}/{number}"
            try:
                made = self._client.submit(self._mirror["slice"], changeset, key)
            except ProblemError as refusal:
                if refusal.status not in (403, 404, 409, 413, 422):
                    raise
                raise self._stopped("conflict", f"commit {commit} is refused: {refusal}") from refusal
            was_there = made["status"] in {"rejected", "abandoned"}
            decided = self._decided(made["id"])
            if not was_there:
                return decided
        return decided

    def _decided(self, changeset: str) -> Json:
        """Return a changeset once it is decided, however long nothing is committed here. Raises Stopped.

        Meanwhile the mirror is told to be at work, and may be stopped by somebody.
        """
        while (now := self._wait(changeset))["status"] in _UNDECIDED:
            self._report(*self._seen)
            if self._mirror["stopped"]:
                raise Stopped(f"{self._name} is stopped ({self._mirror['stopped']}): {self._mirror['detail'] or ''}")
            self._tell(f"{changeset} waits to be committed")
        return now

    def _stopped(self, reason: str, detail: str) -> Stopped:
        mirror_calls.stop(self._client, self._name, reason=reason, detail=detail[:900])
        return Stopped(f"{self._name} is stopped ({reason}): {detail}")

    def _report(self, tip: str, taken: str | None, behind: int, **error: str) -> None:
        self._seen = tip, taken, behind
        seen = {"taken": taken or None, "behind": behind, **({"remote": tip} if tip else {}), **error}
        self._mirror = mirror_calls.report(self._client, self._name, **seen)


def _why(commit: str, changeset: Json) -> str:
    conflicts = [f"{each['path']} ({each['class']})" for each in changeset.get("conflicts", [])]
    why = ", ".join(conflicts[:3]) or f"{changeset.get('reason', '')}: {changeset.get('detail', '')}"
    return f"commit {commit} is changeset {changeset['id']}, which is {changeset['status']}: {why}"

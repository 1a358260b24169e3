"""Guests: principals who try everything, whether or not they may, with tokens that may be revoked by now.

What they are answered is not compared with anything here: judge.py does that. What they write stands in files of its
own below `rooms/`, so that nothing of it conflicts.
"""

from __future__ import annotations

import random
import threading
from itertools import count

from tests.harness.history import Edit, History, Json, Submission
from tests.harness.rights.badge import ROOM_OF, ROOMS, Badge
from tests.harness.wire import Answer

# Slices by name: one for each room, and one of two rooms, which is visible to who may read both.
ROOM_SLICES = {**{room: [ROOM_OF[room]] for room in ROOMS}, "".join(ROOMS[:2]): [ROOM_OF[room] for room in ROOMS[:2]]}
PLANTED = {room: f"{ROOM_OF[room]}planted.txt" for room in ROOMS}
_TRIES = 3
_OLD = 0.15  # so often it sends a token that was replaced


class Guest(threading.Thread):
    """One guest: asks until `stop`."""

    def __init__(self, seed: str, badge: Badge, history: History, held: list[str], stop: threading.Event) -> None:
        super().__init__(name=badge.principal.partition(":")[2], daemon=True)
        self.failure: BaseException | None = None
        self._rng = random.Random(f"{seed}/{self.name}")
        self._badge = badge
        self._history = history
        self._held = held  # of all guests: whoever is at the end lets go of them
        self._stop_asking = stop
        self._keys = (f"{self.name}-{i}" for i in count())
        self._newest: tuple[str, str] | None = None  # a changeset of its own and its key

    def run(self) -> None:
        """Ask."""
        actions = {self._write: 5, self._look: 6, self._read: 8, self._meddle: 3}
        try:
            while not self._stop_asking.wait(self._rng.uniform(0.0, 0.2)):
                [action] = self._rng.choices(list(actions), list(actions.values()))
                action()
        except BaseException as failure:  # noqa: BLE001 - whoever joins it raises it
            self.failure = failure

    def _ask(self, method: str, path: str, body: Json | None = None, key: str | None = None) -> Answer:
        if self._badge.old and self._rng.random() < _OLD:
            return self._badge.with_token(self._rng.choice(self._badge.old[-3:]), method, path, body, key)
        return self._badge(method, path, body, key)

    def _write(self) -> None:
        """Submit new files of one room or of two, alone or on what it submitted before."""
        head = self._badge("GET", "/v1/head")
        if head.status != 200:
            return
        where = self._rng.choice(list(ROOM_SLICES))
        rooms = [path for path in ROOM_SLICES[where] if self._rng.random() < 0.7] or ROOM_SLICES[where][:1]
        rooms += [self._rng.choice(list(ROOM_OF.values()))] if self._rng.random() < 0.1 else []
        key = next(self._keys)
        edits = {f"{room}{key}.txt": Edit((f"{room} {key}",)) for room in rooms}
        below = self._newest if self._rng.random() < 0.3 else None
        hold = self._rng.random() < 0.15
        base = below[0] if below else head.document["tip"]["commit"]
        changes = [{"op": "put", "path": path, "content": edit.added[0] + "\n"} for path, edit in edits.items()]
        body: Json = {"base": base, "message": f"Submission {key}\n", "changes": changes}
        body |= {"hold": True} if hold else {}
        submission = Submission(key, self.name, edits, below[1] if below else None, hold)
        self._history.note_sent(submission)
        for _ in range(_TRIES):
            answer = self._ask("POST", f"/v1/slices/{where}/changesets", body, key)
            if answer.status == 202:
                self._history.note_accepted(submission, answer.document)
                if hold:
                    self._held.append(answer.document["id"])
                else:
                    self._newest = answer.document["id"], key
                return
            if not answer.passing or self._stop_asking.wait(0.1):
                return
            self._history.note_unknown(submission)

    def _any_changeset(self) -> str | None:
        """Return the id of a changeset, whoever submitted it; mostly of a newer one."""
        known = [changeset for each in list(self._history.submissions.values())[-60:] for changeset in list(each.ids)]
        return self._rng.choice(known) if known else None

    def _look(self) -> None:
        """Ask for a changeset by its id."""
        changeset = self._any_changeset()
        if changeset:
            below = self._rng.choice(["", "", "/diff", "/conflicts"])
            self._ask("GET", f"/v1/changesets/{changeset}{below}")

    def _read(self) -> None:
        """Ask for something to read."""
        room = self._rng.choice(ROOMS)
        self._ask("GET", self._rng.choice([
            "/v1/slices", f"/v1/slices/{room}", f"/v1/slices/{room}/tree", f"/v1/slices/{room}/commits",
            f"/v1/slices/{room}/files/{PLANTED[room]}", f"/v1/slices/{room}/changesets?status=landed&limit=20",
            f"/v1/slices/{room}/changesets?status=queued&limit=20", "/v1/slices/everything/tree", "/v1/slices/parts",
            "/v1/commits?limit=5", "/v1/conflicts", f"/v1/paths/{PLANTED[room]}", "/v1/me", "/v1/tokens",
            "/v1/policy", "/v1/health", "/v1/head", f"/v1/slices/parts/files/{PLANTED[room]}",
        ]))  # fmt: skip

    def _meddle(self) -> None:
        """Try to release or take back what may be another's, or to write where guests never may."""
        changeset = self._rng.choice(self._held[-5:]) if self._held and self._rng.random() < 0.5 else None
        changeset = changeset or self._any_changeset()
        verb = self._rng.choice(["release", "abandon", "write"])
        if verb != "write" and changeset:
            self._ask("POST", f"/v1/changesets/{changeset}/{verb}")
        elif verb == "write":
            head = self._badge("GET", "/v1/head")
            if head.status == 200:
                change = {"op": "put", "path": f"own/{self.name}.txt", "content": "mine now\n"}
                body = {"base": head.document["tip"]["commit"], "message": "Mine\n", "changes": [change]}
                self._ask("POST", "/v1/slices/parts/changesets", body)

"""Who sets the policy, and issues and revokes tokens, by the root token, as an operation among the others."""

from __future__ import annotations

import random
import threading
from collections.abc import Sequence
from itertools import count

from tests.harness.history import History, IssuedToken, Json
from tests.harness.rights.badge import ROOM_OF, Badge
from tests.harness.wire import Answer, Wire

_ROLES = (None, "reader", "writer", "maintainer")
_PAUSE = 0.2
_DONE = frozenset({200, 201, 204, 404, 412})


class Registrar(threading.Thread):
    """Changes who may do what until `stop`. Writers keep their rights; guests gain and lose theirs, room by room."""

    def __init__(
        self, seed: str, wire: Wire, history: History, writers: Sequence[Badge], guests: Sequence[Badge],
        stop: threading.Event, over: threading.Event,
    ) -> None:  # fmt: skip
        super().__init__(name="registrar", daemon=True)
        self.failure: BaseException | None = None
        self._rng = random.Random(f"{seed}/registrar")
        self._wire = wire
        self._history = history
        self._writers, self._guests = writers, guests
        self._stop_changing, self._over = stop, over
        self._marks = (f"mark-{i}" for i in count())

    def begin(self) -> None:
        """Set the first policy, and give everybody its first token; wait until the API knows of the policy."""
        self._set_policy()
        for badge in (*self._writers, *self._guests):
            self._replace_token(badge)
        while self._writers[0]("GET", "/v1/slices/everything").status != 200:
            self._over.wait(_PAUSE)

    def run(self) -> None:
        """Change policies and tokens."""
        try:
            while not self._stop_changing.wait(self._rng.uniform(0.2, 1.2)):
                match self._rng.choices(["policy", "guest", "writer"], [5, 4, 2])[0]:
                    case "policy":
                        self._set_policy()
                    case "guest":
                        self._replace_token(self._rng.choice(self._guests))
                    case "writer":
                        self._replace_token(self._rng.choice(self._writers))
        except BaseException as failure:  # noqa: BLE001 - whoever joins it raises it
            self.failure = failure

    def _set_policy(self) -> None:
        """Put another policy in the place of the present one."""
        present = self._ask("GET", "/v1/policy")
        if present is None:
            return
        mark = next(self._marks)
        self._history.note_policy(mark)
        answer = self._ask("PUT", "/v1/policy", self._policy(mark), if_match=f'"{present.document["version"]}"')
        if answer is None:
            return
        if answer.status == 200:
            self._history.note_policy_set(mark)
        else:  # nobody else sets any, and a repeat changes nothing
            self._history.note_refused(self.name, "PUT /v1/policy", answer.status, answer.document)

    def _policy(self, mark: str) -> Json:
        """Return a policy: what writers always have, and what guests have now, by name, group or as everyone."""
        rng = self._rng
        grants = [{"to": "user:admin", "role": "admin", "path": "/"}]
        for badge in self._writers:
            grants += [{"to": badge.principal, "role": "reader", "path": "/"}]
            grants += [{"to": badge.principal, "role": "maintainer", "path": at} for at in ("own/", "shared/", "hot/")]
        night = [badge.principal for badge in self._guests if rng.random() < 0.5]
        for room in ROOM_OF.values():
            for to, roles in (*((badge.principal, _ROLES) for badge in self._guests), ("group:night", _ROLES[:3])):
                role = rng.choice((None, *roles))
                grants += [{"to": to, "role": role, "path": room}] if role else []
        if rng.random() < 0.1:
            grants.append({"to": "everyone", "role": "reader", "path": rng.choice(list(ROOM_OF.values()))})
        people = {"user:mark": {"name": mark, "emails": ["mark@example.org"]}}
        return {"grants": grants, "groups": {"night": night}, "people": people}

    def _replace_token(self, badge: Badge) -> None:
        """Give a principal another token, and revoke the one before, if it had one."""
        limits: Json = {}
        if badge in self._guests:
            rng = self._rng
            limits |= {"role": rng.choice(["reader", "writer"])} if rng.random() < 0.3 else {}
            limits |= {"paths": rng.sample(list(ROOM_OF.values()), 2)} if rng.random() < 0.3 else {}
        answer = self._ask("POST", "/v1/tokens", {"principal": badge.principal, **limits})
        if answer is None or answer.status != 201:
            return
        made, before = answer.document, badge.token
        if made["principal"] != badge.principal:
            self._history.note_refused(self.name, f"POST /v1/tokens for {badge.principal}", 201, made | {"token": ""})
        token = IssuedToken(made["id"], badge.principal, made["token"], made["role"], tuple(made["paths"]))
        self._history.note_issued(token)
        badge.take(token)
        if before is not None:
            self._revoke(before)

    def _revoke(self, token: IssuedToken) -> None:
        answer = self._ask("DELETE", f"/v1/tokens/{token.id}")
        # A repeat of one that had no answer finds it gone.
        if answer is not None and answer.status in (204, 404):
            self._history.note_revoked(token.id)

    def _ask(self, method: str, path: str, body: Json | None = None, if_match: str | None = None) -> Answer | None:
        """Ask until there is an answer that stays; None once it is over."""
        while True:
            answer = self._wire(method, path, body, None, if_match)
            if answer.status in _DONE:
                return answer
            if not answer.passing:
                self._history.note_refused(self.name, f"{method} {path}", answer.status, _shown(answer))
                return answer
            self._history.note_unknown()
            if self._over.wait(_PAUSE):
                return None


def _shown(answer: Answer) -> Json:
    try:
        return answer.document
    except ValueError:
        return {"detail": answer.data[:200].decode(errors="replace")}

"""Whether a stack's deployment is healthy, and whether a node of this machine is at work."""

import dataclasses
import json
import socket
import urllib.error
import urllib.request
from collections.abc import Callable
from http.client import HTTPException

from redis.exceptions import RedisError

from app.stack.processes import NotReady
from storage.backends.redis_client import connect
from storage.base.settings import Settings
from storage.coordination import Nodes
from storage.view.view import View

# Seconds for one answer, of the API or of Redis.
_PATIENCE = 2.0
# Characters of an answer that are shown where something does not become ready.
_SHOWN = 2000


def ask_health(api: str, with_beat: bool, token: str | None = None) -> None:
    """Return if all is well, else raise NotReady with what is wrong. A stack without beat needs none."""
    answers(f"{api}/v1/health", lambda answer: not with_beat and _only_beat_is_missing(answer), token)


def answers(url: str, suffices: Callable[[str], bool] = lambda answer: False, token: str | None = None) -> bool:
    """Return if it answers 200, or else what `suffices`. Raises NotReady with the answer, or why there is none."""
    try:
        try:
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=_PATIENCE):
                return True
        except urllib.error.HTTPError as refusal:  # not ready (503)
            with refusal:
                answer = refusal.read().decode(errors="replace")
            if suffices(answer):
                return True
            reason = f"{refusal.code} {answer[:_SHOWN].strip()}"
    except (OSError, HTTPException) as error:  # not listening yet, or gone while it answered
        reason = str(error)
    raise NotReady(f"{url}: {reason}")


def _only_beat_is_missing(answer: str) -> bool:
    try:
        checks = json.loads(answer)["checks"]
        wrong = [name for name, check in checks.items() if not check["ok"]]
        return wrong == ["workers"] and checks["workers"]["missing"] == ["beat"]
    except (ValueError, KeyError, TypeError):  # no such document, but that of a proxy, or of another error
        return False


def is_at_work(settings: Settings, node: str) -> bool:
    """Whether a node of this machine has reported lately that it is at work."""
    short = dataclasses.replace(settings, redis_timeout=_PATIENCE)
    try:
        with connect(short) as client:
            names = [alive.name for alive in Nodes(View(short, client)).at_work()]
    except RedisError:  # it is not back yet
        return False
    return f"{node}@{socket.gethostname()}" in names

"""Whether a stack's deployment is healthy, and whether a node of this machine is at work."""

import dataclasses
import json
import socket
import urllib.error
import urllib.request
from http.client import HTTPException

from redis.exceptions import RedisError

from app.stack.processes import NotReady
from storage.backends.redis_client import connect
from storage.base.settings import Settings
from storage.coordination.nodes import Nodes
from storage.view.view import View

# Seconds for one answer, of the API or of Redis.
_PATIENCE = 2.0
# Characters of an answer that are shown where not all is well.
_SHOWN = 2000


def ask_health(api: str, with_beat: bool) -> None:
    """Return if all is well, else raise NotReady with what is wrong. A stack without beat needs none."""
    url = f"{api}/v1/health"
    try:
        with urllib.request.urlopen(url, timeout=_PATIENCE):
            return
    except urllib.error.HTTPError as refusal:
        with refusal:
            answer = refusal.read().decode(errors="replace")
        if with_beat or not _only_beat_is_missing(answer):
            raise NotReady(f"{url}: {refusal.code} {answer[:_SHOWN].strip()}") from None
    except (OSError, HTTPException) as error:
        raise NotReady(f"{url}: {error}") from None


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
            names = [found.name for found in Nodes(View(short, client)).at_work()]
    except RedisError:  # it is not back yet
        return False
    return f"{node}@{socket.gethostname()}" in names

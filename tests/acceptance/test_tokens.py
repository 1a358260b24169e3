"""Tokens and rights on a whole stack: what `sluice up` makes, and a revocation that counts at once and for good."""

from __future__ import annotations

import stat
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import redis
import urllib3

from app.client.api_client import Client, Json, ProblemError
from app.stack.processes import ProcessFailed
from app.stack.stack import Stack
from app.stack.state import ROOT_TOKEN
from tests.support.waiting import await_true

pytestmark = pytest.mark.parametrize("s3_kind", ["seaweedfs"], indirect=True)
POLICY: Json = {
    "grants": [
        {"to": "user:admin", "role": "admin", "path": "/"},
        {"to": "agent:a", "role": "writer", "path": "docs/"},
        {"to": "agent:a", "role": "reader", "path": "src/"},
    ]
}


def change(client: Client, slice_name: str, path: str) -> Json:
    base = client.head()["tip"]["commit"]
    return client.submit(
        slice_name, {"base": base, "message": "m", "changes": [{"op": "put", "path": path, "content": path}]}
    )


def refused(client: Client, slice_name: str, path: str) -> Json:
    with pytest.raises(ProblemError) as refusal:
        change(client, slice_name, path)
    return refusal.value.document


def test_an_agents_rights_from_the_first_token_to_its_revocation(new_stack: Callable[..., Stack]) -> None:
    stack = new_stack(with_flower=False, with_tokens=True)
    root = Client(stack.url, token=stack.token)
    for name in ("docs", "src", "secret"):
        root.create_slice(name, [f"{name}/"])
        assert root.changeset(change(root, name, f"{name}/first")["id"], 30, "landed")["status"] == "landed"
    root.set_policy(POLICY, None)
    made = root.create_token("agent:a")
    agent = Client(stack.url, token=made["token"], retry_for=1.0)
    await_true(lambda: agent.me()["principal"] == "agent:a")

    landed = agent.changeset(change(agent, "docs", "docs/mine")["id"], 30, "landed")
    assert (landed["status"], landed["submitter"]) == ("landed", "agent:a")
    no = refused(agent, "src", "src/mine")
    assert (no["status"], no["path"], no["role"]) == (403, "src/mine", "writer")
    assert refused(agent, "secret", "secret/mine")["status"] == 404
    assert [each["name"] for each in agent.slices()] == ["docs", "src"]

    ended: list[float] = []

    def watch() -> None:
        pool = urllib3.PoolManager()
        headers = {"Authorization": f"Bearer {made['token']}"}
        answer = pool.request("GET", f"{stack.url}/v1/events", headers=headers, preload_content=False)
        for _ in answer.stream(1):
            begun.set()
        ended.append(time.monotonic())

    begun = threading.Event()
    watcher = threading.Thread(target=watch)
    watcher.start()
    assert begun.wait(30)
    root.revoke_token(made["id"])
    revoked = time.monotonic()
    watcher.join(30)
    assert ended and ended[0] >= revoked
    await_true(lambda: status_of(agent) == 401)

    with redis.Redis.from_url(stack.settings.redis_url) as server:
        server.flushall()
    await_true(lambda: status_of(root) == 200)
    # 503 where the API does not know yet whether Redis is current: nobody is let in by what may be old.
    answers: list[int] = []

    def is_told() -> bool:
        answers.append(status_of(agent))
        return answers[-1] != 503

    await_true(is_told)
    assert answers[-1] == 401, answers


def status_of(client: Client) -> int:
    """Return what a read is answered with."""
    headers = {"Authorization": f"Bearer {client._token}"}
    return urllib3.request("GET", f"{client.url}/v1/head", headers=headers, retries=False).status


def test_a_stacks_secrets_are_its_users_alone(new_stack: Callable[..., Stack], tmp_path: Path) -> None:
    stack = new_stack(with_flower=False, with_tokens=True)
    folder = stack.data
    assert stat.S_IMODE(folder.stat().st_mode) == stat.S_IMODE((folder / "redis").stat().st_mode) == 0o700
    for name in (ROOT_TOKEN, "stack.json", "environment", "redis/redis.conf"):
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600, name
    password = stack.settings.redis_url.partition("://:")[2].partition("@")[0]
    assert len(password) > 20 and stack.token
    port = int(stack.settings.redis_url.rpartition(":")[2].partition("/")[0])
    with redis.Redis(port=port) as server, pytest.raises(redis.AuthenticationError):
        server.ping()
    shown = subprocess.run(["ps", "axww", "-o", "args"], capture_output=True, text=True, check=True).stdout
    logs = "".join(path.read_text(errors="replace") for path in (folder / "logs").iterdir())
    for secret in (password, stack.token):
        assert secret not in shown and secret not in logs
    first = stack.token
    stack.stop()
    again = new_stack(with_flower=False, with_tokens=True, data=folder)
    assert again.token == first and Client(again.url, token=first).me()["principal"] == "root"


def test_without_any_token_only_this_machine_is_served(new_stack: Callable[..., Stack]) -> None:
    with pytest.raises(ProcessFailed, match="SLUICE_ROOT_TOKEN_SHA256"):
        new_stack(with_flower=False, host="0.0.0.0")

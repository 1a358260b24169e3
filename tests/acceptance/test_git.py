"""Git on a whole stack: `sluice up` serves it, and `sluice clone` makes a clone in which plain Git is enough."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from app.access.authentication import FRESH
from app.client.api_client import Client
from app.stack.stack import Stack
from tests.support.gateway import git

pytestmark = pytest.mark.parametrize("s3_kind", ["seaweedfs"], indirect=True)
SLUICE = Path(sys.executable).parent / "sluice"


def sluice(stack: Stack, folder: Path, *arguments: str, status: int = 0, **environ: str) -> str:
    """Run a command of the command line as a user does, in a folder."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith(("SLUICE_", "GIT_"))}
    alone = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0"}
    done = subprocess.run(
        [str(SLUICE), *arguments], cwd=folder, env={**kept, **alone, "HOME": str(folder), **environ},
        text=True, capture_output=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == status, (arguments, done.returncode, done.stdout, done.stderr)
    return done.stdout + done.stderr


def land(root: Client, slice_name: str, path: str, text: str) -> None:
    base = root.head()["tip"]["commit"]
    changes = [{"op": "put", "path": path, "content": text}]
    made = root.submit(slice_name, {"base": base, "message": f"Change {path}", "changes": changes})
    assert root.changeset(made["id"], 60, "landed")["status"] == "landed"


def test_a_clone_is_made_updated_and_survives_a_restart_and_a_kill(
    new_stack: Callable[..., Stack], tmp_path: Path
) -> None:
    stack = new_stack(data=tmp_path / ".sluice", with_flower=False, with_tokens=True, with_gateway=True)
    root = Client(stack.url, token=stack.token)
    assert root.git_base() == f"{stack.git_url}/git/"
    root.create_slice("docs", ["docs/"])
    land(root, "docs", "docs/a", "a\n")
    token = {"SLUICE_TOKEN": str(stack.token), "SLUICE_API_URL": stack.url}
    sluice(stack, tmp_path, "clone", "docs", **token)
    clone = tmp_path / "docs"
    assert (clone / "docs/a").read_text() == "a\n"
    known = (clone / ".git/config").read_text()
    assert str(stack.token) not in known
    assert git(clone, "config", "pull.rebase") == git(clone, "config", "transfer.bundleURI") == "true"
    assert git(clone, "config", "remote.origin.push") == "HEAD:refs/for/main"
    secrets = [path for path in clone.rglob("*") if path.is_file() and str(stack.token).encode() in path.read_bytes()]
    assert secrets == []

    # What is committed and not pushed is rebased onto what landed.
    (clone / "docs/mine").write_text("mine\n")
    git(clone, "add", ".")
    git(clone, "commit", "-qm", "Mine")
    land(root, "docs", "docs/a", "b\n")
    author = {"GIT_COMMITTER_NAME": "Ada", "GIT_COMMITTER_EMAIL": "ada@example.org"}
    sluice(stack, clone, "pull", "-q", **token, **author)
    assert git(clone, "log", "--format=%s") == "Mine\nChange docs/a\nChange docs/a"
    assert (clone / "docs/a").read_text() == "b\n"

    [(_, seconds)] = stack.restart("gateway")
    assert seconds > 0
    process = stack.processes["gateway"]
    starts = process.starts
    stack.kill("gateway")
    assert process.await_start(starts, 60)
    process.await_ready()
    sluice(stack, tmp_path, "clone", "docs", "again", "--", "--depth", "1", **token)
    assert git(tmp_path / "again", "rev-list", "--count", "HEAD") == "1"
    sluice(stack, tmp_path, "clone", "--whole", "all", **token)
    assert git(tmp_path / "all", "rev-parse", "HEAD") == root.head()["tip"]["commit"]

    # Beside the stack's folder its root token is found, then and in the clone.
    sluice(stack, tmp_path, "clone", "docs", "beside")
    land(root, "docs", "docs/a", "c\n")
    sluice(stack, tmp_path / "beside", "pull", "-q", **author)
    assert (tmp_path / "beside/docs/a").read_text() == "c\n"

    # Without a token, and with one that was revoked.
    nobody = sluice(stack, clone, "pull", status=1, SLUICE_API_URL=stack.url, **author)
    assert "could not read Username" in nobody
    made = root.create_token("user:ada")
    ada = {"SLUICE_TOKEN": made["token"], "SLUICE_API_URL": stack.url}
    assert "there is no repository 'docs'" in sluice(stack, tmp_path, "clone", "docs", "no", status=128, **ada)
    root.revoke_token(made["id"])
    time.sleep(FRESH)  # for which a gateway may not know it yet
    assert "Authentication failed" in sluice(stack, clone, "pull", status=1, **ada, **author)


def test_where_there_is_no_gateway_a_clone_says_so(new_stack: Callable[..., Stack], tmp_path: Path) -> None:
    stack = new_stack(with_flower=False, with_beat=False)
    said = sluice(stack, tmp_path, "clone", "docs", status=7, SLUICE_API_URL=stack.url)
    assert "has no gateway" in said
    assert sluice(stack, tmp_path, "clone", status=2, SLUICE_API_URL=stack.url)

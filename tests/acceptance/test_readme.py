"""What the README tells a user to type works as it stands there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from app.client.api_client import Client
from app.stack.stack import Stack

README = Path(__file__).parents[2] / "README.md"


one_s3 = pytest.mark.parametrize("s3_kind", ["seaweedfs"], indirect=True)


def walks(url: str) -> list[str]:
    """The README's walks, against the API at `url`."""
    found = re.findall(r"```sh\n(.*?)```", README.read_text(), re.DOTALL)
    assert len(found) == 2 and "http://127.0.0.1:8080" in found[0]
    return [script.replace("http://127.0.0.1:8080", url) for script in found]


def walk(script: str, url: str, folder: Path) -> str:
    """Run a script in a shell without a Git identity; return what it prints. Only a conflict may stop a command."""
    names = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HOME": str(folder), "SLUICE_API_URL": url}
    names |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    # No shell ends a pipe's failure inside $( ), so each command's code is looked at: 3 is what the walk is about.
    traced = "set -uo pipefail\ntrap 'code=$?; [ $code = 3 ] || exit $code' ERR\n" + script
    done = subprocess.run(
        ["bash", "-c", traced], cwd=folder, env=names, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


def beside(new_stack: Callable[..., Stack], folder: Path) -> Stack:
    """Start a stack with a root token, whose data folder stands in a folder as that of `make up` does."""
    stack = new_stack(with_flower=False, with_tokens=True)
    (folder / ".sluice").symlink_to(stack.data)
    return stack


def test_a_first_change_with_curl(new_stack: Callable[..., Stack], tmp_path: Path) -> None:
    stack = beside(new_stack, tmp_path)
    for _ in range(2):
        printed = walk(walks(stack.url)[0], stack.url, tmp_path)
        assert '"status":"landed"' in printed and printed.endswith("hello\n")


@one_s3
def test_both_walks_can_be_walked_again_whatever_is_open(new_stack: Callable[..., Stack], tmp_path: Path) -> None:
    stack = beside(new_stack, tmp_path)
    first, second = walks(stack.url)
    upto, found, _ = second.partition("sluice resolve $id --checkout")
    assert found
    for script in (second, upto, upto, second):
        # Where a walk was given up its conflict is still open.
        printed = walk(f"{first}\n{script}", stack.url, tmp_path)
        assert "conflicted" in printed and "hello Ada" in printed and "hello Bob" in printed
    client = Client(stack.url, token=stack.token)
    assert client.file("docs", "docs/hello.txt", client.head()["tip"]["commit"]) == b"hello Ada and Bob\n"
    assert sum(1 for _ in client.conflicts("docs")) == 2


def test_every_make_target_that_is_named_exists() -> None:
    named = set(re.findall(r"`?make ([a-z]+)", README.read_text()))
    targets = set(re.findall(r"^([a-z]+):", (README.parent / "Makefile").read_text(), re.MULTILINE))
    assert named and named <= targets

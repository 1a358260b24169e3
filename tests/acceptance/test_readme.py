"""What the README tells a user to type works as it stands there."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

from app.stack import Stack

README = Path(__file__).parents[2] / "README.md"


def test_a_first_change_with_curl(new_stack: Callable[..., Stack]) -> None:
    stack = new_stack(with_flower=False)
    [script] = re.findall(r"```sh\n(.*?)```", README.read_text(), re.DOTALL)
    assert "http://127.0.0.1:8080" in script
    script = "set -eu\n" + script.replace("http://127.0.0.1:8080", stack.url)
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert '"status":"landed"' in done.stdout and done.stdout.endswith("hello\n")


def test_every_make_target_that_is_named_exists() -> None:
    named = set(re.findall(r"`?make ([a-z]+)", README.read_text()))
    targets = set(re.findall(r"^([a-z]+):", (README.parent / "Makefile").read_text(), re.MULTILINE))
    assert named and named <= targets

"""What docs/moving.md tells a user to type works as it stands there, in its order."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from app.stack.stack import Stack
from tests.support.histories import large

PAGE = Path(__file__).parents[2] / "docs" / "moving.md"


def commands() -> list[str]:
    return re.findall(r"^    (.+)$", PAGE.read_text(), re.MULTILINE)


@pytest.mark.parametrize("s3_kind", ["seaweedfs"], indirect=True)
def test_a_repository_moves_command_by_command(new_stack: Callable[..., Stack], tmp_path: Path) -> None:
    source = large(tmp_path / "origin", 40, files=12)
    stack = new_stack(with_flower=False, with_tokens=True)
    folder = tmp_path / "here"
    folder.mkdir()
    (folder / ".sluice").symlink_to(stack.data)
    names = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HOME": str(folder), "ORIGIN": str(source.path),
        "SLUICE_API_URL": stack.url, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1",
    }  # fmt: skip
    printed = {}
    for command in commands():
        done = subprocess.run(
            ["bash", "-c", command], cwd=folder, env=names, capture_output=True, text=True, timeout=600, check=False
        )
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        printed[command] = done.stdout
    tip = source.git("rev-parse", "main")
    assert (
        printed["git -C check.git rev-parse main"].strip() == printed["git -C code.git rev-parse main"].strip() == tip
    )
    assert tip in printed["sluice import code.git --ref main"] and printed["sluice verify"].startswith("clean")
    tags = source.git("for-each-ref", "refs/tags").splitlines()
    assert printed["git -C check.git for-each-ref refs/tags"].splitlines() == tags and tags
    shown = printed["git -C after.git log --oneline --max-count=3 next"]
    assert "The first change after the move" in shown and tip[:7] in shown
    landed, old_tip = printed["sluice log / --number 2"].splitlines()
    assert landed.endswith("Ada: The first change after the move") and old_tip.startswith(tip[:12])
    again = subprocess.run(
        ["sluice", "import", "code.git", "--ref", "main~1"], cwd=folder, env=names, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert again.returncode == 7 and "has a history already" in again.stderr

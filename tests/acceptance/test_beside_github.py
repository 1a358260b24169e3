"""The page about GitHub is walked command by command, with a Git server of this machine in GitHub's place."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from app.stack.stack import Stack
from tests.support.git_repository import GitRepository
from tests.support.git_server import credentials, git_server

PAGE = Path(__file__).parents[2] / "docs/beside-github.md"
pytestmark = pytest.mark.parametrize("s3_kind", ["seaweedfs"], indirect=True)


def test_the_page_is_walked(new_stack: Callable[..., Stack], tmp_path: Path) -> None:
    scripts = re.findall(r"```sh\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(scripts) == 6
    with git_server(tmp_path / "host") as server:
        file = credentials(tmp_path, server)
        web = GitRepository(tmp_path / "web")
        for number in "12":
            web.write(f"web/{number}")
            web.commit(f"Web {number}")
        web.git("clone", "--quiet", "--bare", str(web.path), str(server.folder / "web.git"))
        settings = {"mirror_private_targets": True, "mirror_credentials": str(file), "mirror_interval": 1.0}
        stack = new_stack(settings=settings, with_flower=False, with_tokens=True, with_webhooks=True)
        home = tmp_path / "home"
        home.mkdir()
        (home / ".sluice").symlink_to(stack.data)
        (home / ".gitconfig").write_text(f'[credential]\n\thelper = "store --file {file}"\n')
        names = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HOME": str(home),
            "SLUICE_API_URL": stack.url, "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0",
            "SLUICE_MIRROR_CREDENTIALS": str(file), "SLUICE_MIRROR_PRIVATE_TARGETS": "yes",
        }  # fmt: skip
        printed = []
        for script in scripts:
            there = script.replace("https://github.com/team/", f"http://127.0.0.1:{server.port}/")
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", there], cwd=home, env=names, capture_output=True, text=True,
                timeout=300, check=False,
            )  # fmt: skip
            assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
            assert "Traceback" not in done.stderr
            printed.append(done.stdout)
        assert printed[1].splitlines()[-1] == "Ada: Say hello"
        assert "stopped (diverged)" in printed[2]
        assert printed[3].splitlines()[-2:] == ["Ada: Say it again", "Ada: Say hello"]
        assert "Web 1" in printed[4] and "Web 2" in printed[4]
        assert "upstream" not in printed[5] and "github" in printed[5]

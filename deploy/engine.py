"""The container engine of this machine: Docker where its daemon answers, else Podman."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

STAND_INS = Path(__file__).parent / "stand-in-images.sh"
# Podman as root on a machine without systemd: limits that a container may be given, and nothing kept outside of the
# folder. Without events: containers that end late write theirs while `reset` deletes the events' folder, which fails.
PODMAN_SETTINGS = """\
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
[network]
network_backend = "netavark"
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "none"
tmp_dir = "{folder}/tmp"
"""
PODMAN_STORAGE = """\
[storage]
driver = "overlay"
graphroot = "{folder}/images"
runroot = "{folder}/run"
"""


class CommandFailed(Exception):
    """A command of the engine, or in a container, did not end with 0."""


@dataclass(frozen=True)
class Engine:
    """How containers are built and run here."""

    program: str
    compose: tuple[str, ...]
    # A folder for what the engine keeps of this check alone.
    folder: Path
    environment: Mapping[str, str] = field(repr=False)

    def run(self, *arguments: str, cwd: Path | None = None) -> str:
        """Run the engine's program and return its output. Raises CommandFailed."""
        return self._run([self.program, *arguments], cwd)

    def run_compose(self, project: Path, *arguments: str) -> str:
        """Run compose on a project's folder and return its output. Raises CommandFailed."""
        return self._run([*self.compose, *arguments], project)

    def build(self, project: Path, tag: str) -> None:
        """Build the project's Dockerfile; packages are fetched as this machine fetches them. Raises CommandFailed."""
        image = tag if self.program == "docker" else f"docker.io/library/{tag}"
        self.run("build", "--network=host", "-t", image, ".", cwd=project)

    def prepare_images(self, names: Sequence[str]) -> None:
        """Have the base images here: pulled, or for Podman made where none can be pulled. Raises CommandFailed."""
        try:
            for name in names:
                self.run("pull", "--quiet", name)
        except CommandFailed as failure:
            minio = os.environ.get("TEST_MINIO") or shutil.which("minio")
            if self.program != "podman" or not minio:
                raise CommandFailed(
                    f"{failure}\nno stand-in can be made without Podman and a `minio` on PATH"
                ) from None
            print("no image can be pulled: making stand-ins")
            self._run([str(STAND_INS), minio, str(self.folder / "stand-ins")], None)

    def _run(self, command: Sequence[str], cwd: Path | None) -> str:
        done = subprocess.run(command, cwd=cwd, env=self.environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise CommandFailed(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout


@contextmanager
def find_engine(folder: Path) -> Iterator[Engine]:
    """Yield the engine; Podman's images and containers stand in `folder` and are gone at the end.

    Raises CommandFailed where there is none.
    """
    folder.mkdir(parents=True)
    if _answers(["docker", "info"]) and _answers(["docker", "compose", "version"]):
        yield Engine("docker", ("docker", "compose"), folder, os.environ)
        return
    compose = shutil.which("podman-compose", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if not shutil.which("podman") or not compose:
        raise CommandFailed("neither Docker with compose, nor Podman with podman-compose (`make install`), is here")
    engine = Engine("podman", (compose,), folder, {**os.environ, **_podman_files(folder)})
    try:
        yield engine
    finally:
        engine.run("system", "reset", "--force")


def _podman_files(folder: Path) -> dict[str, str]:
    """Write Podman's configuration and return the variables that name it."""
    (folder / "containers.conf").write_text(PODMAN_SETTINGS.format(folder=folder))
    (folder / "storage.conf").write_text(PODMAN_STORAGE.format(folder=folder))
    return {
        "CONTAINERS_CONF": str(folder / "containers.conf"),
        "CONTAINERS_STORAGE_CONF": str(folder / "storage.conf"),
    }


def _answers(command: list[str]) -> bool:
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False

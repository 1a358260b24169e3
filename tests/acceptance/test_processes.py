"""`sluice` as a process: what it writes to, what it imports, and how it is interrupted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.console import exit_codes
from tests.support.command_line import COMMIT, ID, Fake, serve

ROOT = Path(__file__).parents[2]
SLUICE = [sys.executable, "-c", "from app.main import main; main()"]
FULL = Path("/dev/full")
# What is not needed to ask an API, nor to print help.
SERVERS = {
    "app.stack.processes", "app.stack.stack", "celery", "cryptography", "flask", "gevent", "kombu", "marshmallow",
    "minio", "prometheus_client", "pygit2", "redis", "structlog",
}  # fmt: skip


@pytest.fixture
def fake() -> Iterator[Fake]:
    """An API with a long history."""
    commits = [{"commit": COMMIT, "tree": COMMIT, "changesets": 1}] * 2000
    answers: list[tuple[str, int, Any]] = [("GET /v1/commits.*", 200, {"items": commits, "next": None})]
    with serve(Fake(answers)) as fake:
        yield fake


def environ(**more: str) -> dict[str, str]:
    known = {name: text for name, text in os.environ.items() if not name.startswith("SLUICE_")}
    return {**known, "PYTHONPATH": str(ROOT), "SLUICE_API_PATIENCE": "0", **more}


def run(*line: str, **options: Any) -> subprocess.CompletedProcess[str]:
    options = {"stdout": subprocess.PIPE, "env": environ()} | options
    return subprocess.run([*SLUICE, *line], stderr=subprocess.PIPE, text=True, timeout=60, check=False, **options)


@pytest.mark.skipif(not FULL.exists(), reason="there is no /dev/full here")
@pytest.mark.parametrize(
    "line", ["log", "log --json", "settings", "settings --json", "--version", "--help", "log --help"]
)
def test_a_full_disk_under_the_output_is_an_error_that_names_it(line: str, fake: Fake) -> None:
    with FULL.open("w") as full:
        done = run(*line.split(), stdout=full, env=environ(SLUICE_API_URL=fake.url))
    assert done.returncode == exit_codes.USAGE
    assert "standard output: No space left on device" in done.stderr
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("line", ["log -n 2000", "log -n 2000 --json", "settings", "settings --json", "--help"])
def test_a_reader_who_has_gone_ends_it_quietly(line: str, fake: Fake) -> None:
    read, write = os.pipe()
    os.close(read)
    try:
        done = run(*line.split(), stdout=write, env=environ(SLUICE_API_URL=fake.url))
    finally:
        os.close(write)
    assert (done.returncode, done.stderr) == (exit_codes.READER_GONE, "")


@pytest.mark.parametrize("closed", [[1], [2], [1, 2]])
@pytest.mark.parametrize("line", ["log", "settings", "status", "log -n 0"])
def test_closed_streams_are_no_bugs(line: str, closed: list[int], fake: Fake) -> None:
    shut = " ".join(f"{number}>&-" for number in closed)
    words = " ".join(f"'{word}'" for word in [*SLUICE, *line.split()])
    done = subprocess.run(["sh", "-c", f"{words} {shut}"], env=environ(SLUICE_API_URL=fake.url), capture_output=True,
                          text=True, timeout=60, check=False)  # fmt: skip
    assert done.returncode in {exit_codes.DONE, exit_codes.USAGE, exit_codes.REFUSED}
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr


@pytest.mark.parametrize("module", ["click", "app.cli", "app.console.failures", "rich", "urllib3"])
@pytest.mark.parametrize("options", [[], ["--json"]])
def test_an_interrupt_while_it_is_still_importing_is_quiet(module: str, options: list[str], tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import os, signal, sys\n"
        "class Interrupt:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name == {module!r}:\n"
        "            sys.meta_path.remove(self)\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Interrupt())\n"
    )
    done = run("log", *options, env=environ(PYTHONPATH=f"{tmp_path}:{ROOT}", SLUICE_API_URL="http://127.0.0.1:1"))
    assert (done.returncode, done.stdout) == (exit_codes.INTERRUPTED, "")
    assert "Traceback" not in done.stderr
    if not options:
        assert done.stderr == "Stopped.\n"


@pytest.mark.parametrize("line", ["log", "status", "slice list", f"release {ID} --wait", "log --json"])
def test_an_interrupt_while_it_waits_for_an_answer_is_quiet(line: str, fake: Fake) -> None:
    fake.go_on = threading.Event()
    env = environ(SLUICE_API_URL=fake.url)
    with subprocess.Popen([*SLUICE, *line.split()], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          env=env) as process:  # fmt: skip
        assert fake.asked.wait(60)
        process.send_signal(signal.SIGINT)
        out, said = process.communicate(timeout=60)
    assert (process.returncode, out) == (exit_codes.INTERRUPTED, "")
    assert said == "Stopped.\n" or ("--json" in line and '"exit_code": 130' in said)


@pytest.mark.parametrize("line", ["--version", "--help"])
def test_version_and_help_import_what_prints_and_nothing_else(line: str) -> None:
    found = imported(f"run([{line!r}])")
    assert (
        found
        & (
            SERVERS
            | {
                "importlib.metadata",
                "email",
                "rich",
                "urllib3",
                "ulid",
                "app.client.api_client",
                "storage.base.settings",
            }
        )
        == set()
    )
    assert {name for name in found if name.startswith("app.commands.")} == set()


def test_commands_that_ask_the_api_import_no_library_of_a_server() -> None:
    names = ["abandon", "conflicts", "diff", "log", "merge", "rebase", "release", "slice", "status", "watch"]
    lines = [*([name, "--help"] for name in names), ["log"], ["status"], ["slice", "list"], ["release", ID]]
    assert imported("".join(f"run({line!r})\n" for line in lines)) & SERVERS == set()


@pytest.mark.parametrize("name", ["check", "submit"])
def test_who_checks_and_submits_a_folder_imports_no_library_of_a_server(name: str, tmp_path: Path) -> None:
    (tmp_path / "slice").mkdir()
    found = imported(f"run([{name!r}, '--help'])\nrun([{name!r}, {str(tmp_path)!r}])")
    assert found & SERVERS == set()


@pytest.mark.parametrize(
    "module",
    ["app.intake.dry_run", "storage.commit.batch", "storage.commit.global_merge", "storage.commit.append_loop"],
)
def test_linking_and_committing_need_no_celery(module: str) -> None:
    program = f"import sys, {module}\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], env=environ(), capture_output=True, text=True, timeout=60,
                          check=True)  # fmt: skip
    assert set(done.stdout.split()) & {"celery", "flask", "gevent", "kombu", "marshmallow", "tasks"} == set()


def imported(calls: str) -> set[str]:
    """Return the modules that a process has after it made `calls` of run(line)."""
    program = (
        "import sys\nfrom app.main import main\n"
        "def run(line):\n"
        "    sys.argv = ['sluice', *line]\n"
        "    try:\n"
        "        main()\n"
        "    except SystemExit:\n"
        "        pass\n"
        f"{calls}\n"
        "print('modules', *sys.modules, file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], env=environ(SLUICE_API_URL="http://127.0.0.1:1"),
                          capture_output=True, text=True, timeout=60, check=True)  # fmt: skip
    return set(done.stderr.splitlines()[-1].split())


@pytest.mark.parametrize("encoding", ["ascii", "iso-8859-1", "utf-8"])
def test_names_outside_the_terminals_encoding_are_printed_all_the_same(encoding: str) -> None:
    answers: list[tuple[str, int, Any]] = [
        ("GET /v1/slices.*", 200, {"items": [{"id": "01S", "name": "naïve-日本", "paths": ["x/"]}], "next": None})
    ]
    with serve(Fake(answers)) as fake:
        for options in ([], ["--json"]):
            env = environ(SLUICE_API_URL=fake.url, PYTHONIOENCODING=encoding)
            done = subprocess.run(
                [*SLUICE, "slice", "list", *options], env=env, capture_output=True, timeout=60, check=False
            )
            assert (done.returncode, done.stderr) == (exit_codes.DONE, b"")
            assert b"01S" in done.stdout and (encoding != "utf-8" or "naïve-日本".encode() in done.stdout)
            done.stdout.decode(encoding)

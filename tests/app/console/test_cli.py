"""The command line: help that teaches, wrong lines that are refused, and an exit code for each kind of trouble."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import click
import pytest
import redis
from click.testing import CliRunner

from app import cli
from app.admin.backup import BackupError
from app.admin.restore import Damaged
from app.client.api_client import NotSluice, ProblemError, Unreachable
from app.console import exit_codes, failures
from app.folder.conflict_files import CheckoutError
from app.folder.submission import SubmissionError
from app.judge.local_history import HistoryError
from app.stack.processes import ProcessFailed
from app.stack.restarts import NotRunning
from app.stack.servers import ServerMissing
from app.stack.state import FolderInUse
from storage.backends.bucket import BucketError, BucketUnsafe
from storage.base.errors import ViewAbsent
from storage.base.settings import SettingsError
from storage.log.entry import CorruptEntry

ROOT = Path(__file__).parents[3]


def commands() -> list[tuple[str, click.Command]]:
    """Every command, and those of groups."""
    found: list[tuple[str, click.Command]] = []
    for name in cli.COMMANDS:
        command = import_module(cli.module_of(name)).command
        found.append((name, command))
        if isinstance(command, click.Group):
            found += [(f"{name} {each}", inner) for each, inner in command.commands.items()]
    return found


def test_every_module_of_commands_is_listed():
    modules = {path for path in (ROOT / "app" / "commands").glob("*/*.py") if path.stem != "__init__"}
    names = {path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".") for path in modules}
    assert names == {cli.module_of(name) for name in cli.COMMANDS}


def test_help_lists_the_commands_and_imports_none_of_them():
    program = (
        "import sys; from app import cli; cli.cli.main(['--help'], standalone_mode=False);"
        "sys.exit(any(name.startswith('app.commands.') for name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for name, about in cli.COMMANDS.items():
        assert f"  {name} " in done.stdout
        assert about.split()[0] in done.stdout


@pytest.mark.parametrize(("name", "command"), commands(), ids=[name for name, _ in commands()])
def test_every_command_teaches(name: str, command: click.Command):
    answer = CliRunner().invoke(cli.cli, [*name.split(), "--help"])
    assert answer.exit_code == 0
    assert answer.output.startswith("Usage: ")
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{name} {parameter.name}"
            assert parameter.opts[-1] in answer.output
    if name != "up":
        words = " ".join(answer.output.split())
        assert f"sluice {name}" in words.partition("Example:")[2], "has no example"


# What these print is Git's.
GITS = {"clone", "credential", "pull", "push"}


@pytest.mark.parametrize("name", sorted(cli.COMMANDS.keys() - {"up"} - GITS))
def test_what_answers_has_json(name: str):
    command = import_module(cli.module_of(name)).command
    for each in command.commands.values() if isinstance(command, click.Group) else [command]:
        assert "--json" in {option for parameter in each.params for option in parameter.opts}


@pytest.mark.parametrize(
    "line",
    [
        "no-such-command",
        "slice",
        "slice create",
        "slice create web",
        "status --wait",
        "status --until never 01JG8Y6Z3M4N5P6Q7R8S9T0V1W",
        "log -n 0",
        "submit",
        "submit web no-such-directory",
        "submit web . --git HEAD --delete",
        "submit web . --base main",
        "demo --repo no-such-directory",
        "demo --writers 0",
    ],
)
def test_a_wrong_line_is_refused_before_anything_is_asked(line: str):
    answer = CliRunner().invoke(cli.cli, line.split())
    assert answer.exit_code == 2
    assert "Usage: " in answer.output


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (ProblemError(409, {"title": "Taken", "detail": "by web"}), 7, ["error: Taken: by web"]),
        (
            ProblemError(422, {"title": "Wrong", "errors": [{"field": "changes[3].path", "message": "is empty"}]}),
            7,
            ["Wrong", "changes[3].path: is empty"],
        ),
        (
            ProblemError(409, {"title": "No", "conflicts": [{"path": "web/a", "class": "content"}]}),
            3,
            ["web/a: content"],
        ),
        (Unreachable("no answer"), 6, ["no answer", "sluice up"]),
        (
            NotSluice("http://x", "404 Not Found (text/html)", 404),
            6,
            ["error: http://x answers, and is no Sluice: 404"],
        ),
        (HistoryError("shallow"), 2, ["shallow"]),
        (SettingsError("SLUICE_X is not a setting"), 2, ["SLUICE_X", "sluice settings"]),
        (CheckoutError("still with conflict markers: a"), 2, ["conflict markers"]),
        (SubmissionError("x is neither a file nor a symlink"), 2, ["x is neither"]),
        (PermissionError(13, "Permission denied", "secret.txt"), 2, ["error: secret.txt: Permission denied"]),
        (OSError(28, "No space left on device"), 2, ["error: No space left on device"]),
        (ConnectionRefusedError(111, "Connection refused"), 6, ["Connection refused"]),
        (ServerMissing("no S3 server"), 7, ["no S3 server"]),
        (ProcessFailed("the API cannot listen"), 7, ["the API cannot listen"]),
        (FolderInUse("another stack runs on .sluice"), 7, ["another stack"]),
        (NotRunning("no stack runs on .sluice"), 7, ["no stack"]),
        (BackupError("another backup writes there"), 7, ["another backup"]),
        (Damaged(["x"]), 1, ["sluice verify"]),
        (CorruptEntry("entry 3"), 1, ["entry 3"]),
        (ViewAbsent("no view"), 7, ["sluice rebuild"]),
        (BucketError("no answer"), 6, ["The bucket does not answer: no answer", "SLUICE_S3_"]),
        (redis.ConnectionError("refused"), 6, ["Redis does not answer: refused", "SLUICE_REDIS_URL"]),
        (BucketUnsafe("conditions are ignored"), 7, ["conditions are ignored", "If-None-Match"]),
        (click.Abort(), 130, ["Stopped."]),
        (KeyboardInterrupt(), 130, ["Stopped."]),
        (click.ClickException("an empty directory is needed"), 2, ["error: an empty directory is needed"]),
        (click.UsageError("not so"), 2, ["error: not so"]),
        (click.exceptions.Exit(1), 1, []),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_trouble_has_a_sentence_and_an_exit_code(
    error: BaseException,
    code: int,
    words: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    def fail(**_: object) -> None:
        raise error

    monkeypatch.setattr(cli, "cli", type("Failing", (), {"main": staticmethod(fail)}))
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == code
    shown = capsys.readouterr()
    assert shown.out == ""
    assert all(word in shown.err for word in words)


def test_the_no_of_a_command_is_the_exit_code(monkeypatch: pytest.MonkeyPatch):
    @click.command()
    def no() -> None:
        raise click.exceptions.Exit(1)

    monkeypatch.setattr(cli, "cli", no)
    monkeypatch.setattr(sys, "argv", ["sluice"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 1


def test_a_bug_is_one_line_and_how_to_see_more(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    def fail(**_: object) -> None:
        raise KeyError("tip")

    monkeypatch.setattr(cli, "cli", type("Failing", (), {"main": staticmethod(fail)}))
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == exit_codes.BUG
    first, second = capsys.readouterr().err.splitlines()
    assert first == "error: A bug in Sluice: KeyError: tip"
    assert "SLUICE_DEBUG=1" in second


@pytest.mark.parametrize("line", [["--debug", "log"], ["log"]])
def test_its_traceback_is_there_for_those_who_ask(line: list[str], monkeypatch: pytest.MonkeyPatch):
    if line == ["log"]:
        monkeypatch.setenv("SLUICE_DEBUG", "1")
    monkeypatch.setattr("app.client.api_client.Client.global_commits", lambda *_, **__: 1 / 0)
    answer = CliRunner().invoke(cli.cli, line)
    assert "Traceback (most recent call last)" in answer.stderr and "ZeroDivisionError" in answer.stderr


def test_every_class_in_the_table_of_errors_exists():
    for name in failures.TABLE:
        module, _, kind = name.rpartition(".")
        found = getattr(import_module(module), kind)
        assert f"{found.__module__}.{found.__qualname__}" == name


def test_an_address_where_nothing_answers_ends_with_its_own_code(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(
        "app.client.api_client.Client.raw", lambda *_, **__: (_ for _ in ()).throw(Unreachable("nobody"))
    )
    for line in ("status", "log", "merge", "slice list", "submit web . --git HEAD -m x", "slice show web"):
        answer = CliRunner().invoke(cli.cli, line.split())
        assert isinstance(answer.exception, (Unreachable, SystemExit)), line

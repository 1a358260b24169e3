"""What docs/every-day-with-git.md tells a user to type works as it stands there, in its order, and prints what it says.

A block ```console is what people have on their terminals: behind a prompt such as `ada$ ` stands a command, behind
`> ` more lines of it, and below what it prints. Ids and addresses differ from those of the page, each in the same way
wherever it stands; hints of Git, which its versions word differently, are left out.
"""

from __future__ import annotations

import difflib
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from app.stack.stack import Stack

PAGE = Path(__file__).parents[2] / "docs" / "every-day-with-git.md"
API, GATEWAY = "http://127.0.0.1:8080", "http://127.0.0.1:8081"
PEOPLE = ("admin", "ada", "ben")
_PROMPT = re.compile(rf"({'|'.join(PEOPLE)})\$ (.*)")
_ID = re.compile(r"\b(?:[0-9a-f]{7,40}|[0-9A-HJKMNP-TV-Z]{26})\b")
# Days, and numbers of entries, which depend on what upkeep has written in between.
_DIFFERS = re.compile(r"\b20\d\d-\d\d-\d\d\b|(?<=entry )\d+")
_MARKED = re.compile(r"(apply <\d+>\.\.\.|dropping <\d+>) # ")  # as newer Gits word it
_LEFT_OUT = ("hint:", " Date:")
_DIGITS = 7  # of an id of Git's, by which its shorter and longer forms are one


@dataclass
class Step:
    """A command of the page, who types it, and what it prints."""

    who: str
    command: str
    printed: list[str] = field(default_factory=list)


def steps(page: str) -> list[Step]:
    found: list[Step] = []
    for block in re.findall(r"```console\n(.*?)```", page, re.DOTALL):
        for line in block.splitlines():
            if prompt := _PROMPT.fullmatch(line):
                found.append(Step(prompt[1], prompt[2]))
            elif line.startswith("> ") and not found[-1].printed:
                found[-1].command += "\n" + line[2:]
            else:
                found[-1].printed.append(line)
    return found


class Terminal:
    """What one person has before it: a home, the folder where it is, and variables that it has exported."""

    def __init__(self, home: Path, programs: str) -> None:
        self.home = home
        home.mkdir()
        self._at = str(home)
        self._environ = {
            "PATH": programs, "HOME": str(home), "LC_ALL": "C", "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0",
        }  # fmt: skip

    def type(self, command: str) -> list[str]:
        """Run a command; return the lines that it prints, errors too."""
        after = self.home / ".after"
        trap = f"trap 'code=$?; {{ pwd; env -0; }} > {after}; exit $code' EXIT\n"
        done = subprocess.run(
            ["bash", "-c", trap + command], cwd=self._at, env=self._environ, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, timeout=120, check=False,
        )  # fmt: skip
        self._at, _, variables = after.read_text().partition("\n")
        self._environ = dict(each.split("=", 1) for each in variables.split("\0") if each)
        shown = [line.rpartition("\r")[2].rstrip() for line in done.stdout.decode().rstrip().split("\n")]
        return [line for line in shown if not line.startswith(_LEFT_OUT)] if done.stdout.strip() else []


class Names:
    """Ids of the page and those that they stand for; an id is called by its number, in the order of appearance."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self.whole: dict[int, str] = {}  # the longest form of each

    def number(self, name: str) -> int:
        key = name if len(name) == 26 and name.isupper() else name[:_DIGITS]
        number = self._numbers.setdefault(key, len(self._numbers))
        self.whole[number] = max(self.whole.get(number, ""), name, key=len)
        return number

    def normal(self, line: str) -> str:
        """Return a line with numbers for its ids, and what else differs left out."""
        named = _ID.sub(lambda match: f"<{self.number(match[0])}>", _DIFFERS.sub("…", line))
        return re.sub(r" {2,}", " ", _MARKED.sub(r"\1 ", named))


@pytest.mark.parametrize("s3_kind", ["seaweedfs"], indirect=True)
def test_the_day_goes_command_by_command(new_stack: Callable[..., Stack], tmp_path: Path) -> None:
    stack = new_stack(with_flower=False, with_tokens=True, with_gateway=True)
    there = {API: stack.url, GATEWAY: stack.git_url}
    there |= {name.removeprefix("http://"): url.removeprefix("http://") for name, url in there.items()}
    programs = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    terminals = {who: Terminal(tmp_path / who, programs) for who in PEOPLE}
    (tmp_path / "admin" / ".sluice").symlink_to(stack.data)
    page, real = Names(), Names()
    wanted: list[str] = []
    had: list[str] = []
    for step in steps(PAGE.read_text()):
        command = _ID.sub(lambda match: real.whole[page.number(match[0])], step.command)
        for name, url in there.items():
            command = command.replace(name, url)
        printed = terminals[step.who].type(command)
        for name, url in there.items():
            printed = [line.replace(url, name) for line in printed]
        for who in PEOPLE[1:]:
            token = tmp_path / "admin" / f"{who}.token"
            if token.exists():
                token.rename(terminals[who].home / token.name)
        shown = f"{step.who}$ {step.command}"
        wanted += [shown, *map(page.normal, step.printed)]
        had += [shown, *map(real.normal, printed)]
        assert had == wanted, "\n".join([*difflib.ndiff(wanted[-30:], had[-30:]), *printed])
    # What the page says of the token is true.
    secret = (terminals["ada"].home / "ada.token").read_text().strip()
    for file in terminals["ada"].home.rglob("*"):
        if file.is_file() and file.name != "ada.token":
            assert secret.encode() not in file.read_bytes(), file
    assert (terminals["ben"].home / ".git-credentials").stat().st_mode & 0o077 == 0

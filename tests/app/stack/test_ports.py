"""What keeps a stack from starting is told before anything is made."""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from app.console import exit_codes
from app.stack.servers import PortTaken, free_ports
from app.stack.stack import Stack
from app.stack.state import StateDamaged
from tests.support.command_line import sluice


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    """`sluice up` sets up signals and logging for the process that it is."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
    handlers, known = [signal.getsignal(number) for number in numbers], structlog.get_config()
    yield
    for number, handler in zip(numbers, handlers, strict=True):
        signal.signal(number, handler)
    structlog.configure(**known)


@pytest.fixture
def busy() -> Iterator[int]:
    """A port at which somebody else listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.mark.parametrize(
    ("options", "whose"),
    [({"api_port": 1}, "the API"), ({"git_port": 1, "with_gateway": 1}, "the gateway"), ({"flower_port": 1}, "Flower")],
    ids=["api", "git", "flower"],
)
def test_a_busy_port_is_an_error_that_names_it(options: dict[str, Any], whose: str, busy: int, tmp_path: Path) -> None:
    stack = Stack(tmp_path / "data", **dict.fromkeys(options, busy))
    with pytest.raises(PortTaken, match=rf"^{whose} cannot listen on 127\.0\.0\.1:{busy}: Address already in use$"):
        stack.start()
    assert list(tmp_path.iterdir()) == []


def test_two_servers_cannot_have_one_port(tmp_path: Path) -> None:
    [port] = free_ports(1)
    with pytest.raises(PortTaken, match=f"Flower cannot listen on 127.0.0.1:{port}"):
        Stack(tmp_path / "data", api_port=port, flower_port=port).start()
    assert list(tmp_path.iterdir()) == []


def test_a_port_of_flower_that_is_not_started_may_be_busy(busy: int, tmp_path: Path) -> None:
    [port] = free_ports(1)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "stack.json").write_text("{")  # what is looked at next
    with pytest.raises(StateDamaged):
        Stack(tmp_path / "data", api_port=port, flower_port=busy, with_flower=False).start()


@pytest.mark.parametrize("host", ["no-such-host.invalid", "192.0.2.1"])
def test_a_host_that_is_not_this_machine_is_an_error(host: str, tmp_path: Path) -> None:
    answer = sluice(
        "up", "--data", tmp_path / "data", "--host", host, "--no-flower", "--port", free_ports(1)[0], "--git-port", 0
    )
    assert answer.exit_code == exit_codes.REFUSED
    assert f"error: the API cannot listen on {host}:" in answer.stderr
    assert list(tmp_path.iterdir()) == []


def test_sluice_up_names_the_busy_port(busy: int, tmp_path: Path) -> None:
    answer = sluice("up", "--data", tmp_path / "data", "--port", 0, "--git-port", 0, "--flower-port", busy)
    assert answer.exit_code == exit_codes.REFUSED
    assert f"error: Flower cannot listen on 127.0.0.1:{busy}: Address already in use" in answer.stderr


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", json.dumps({"version": 99}), json.dumps({"version": 1})])
def test_a_damaged_folder_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / "stack.json").write_text(text)
    answer = sluice("up", "--data", tmp_path, "--port", 0, "--git-port", 0, "--flower-port", 0)
    assert answer.exit_code == exit_codes.REFUSED
    assert f"error: {tmp_path / 'stack.json'} " in answer.stderr

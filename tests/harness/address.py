"""An address that moves: a TCP proxy whose new connections lead elsewhere, while open ones stay where they are.

As clients see a failover behind one name, with the demoted server still there. `python -m tests.harness.address PORT
FILE` runs it; the file has the port of the loopback to which the next connections lead.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from pathlib import Path

from app.stack.processes import Command, Supervisor
from app.stack.servers import free_ports
from storage.base.settings import Settings, environment

_CHUNK = 1 << 16
_ROOT = Path(__file__).parents[2]


class Address:
    """One address on the loopback, and where it leads."""

    def __init__(self, supervisor: Supervisor, folder: Path, name: str = "redis-address") -> None:
        [self.port] = free_ports(1)
        folder.mkdir(parents=True, exist_ok=True)
        self._file = folder / f"{name}.port"
        self.lead_to(0)
        argv = [sys.executable, "-m", "tests.harness.address", str(self.port), str(self._file)]
        more = {"PYTHONPATH": str(_ROOT)}
        supervisor.start(Command(name, argv, environment(Settings(), more), folder, self._listens))

    @property
    def url(self) -> str:
        """The URL of a Redis at this address."""
        return f"redis://127.0.0.1:{self.port}/0"

    def lead_to(self, port: int) -> None:
        """Let new connections lead to a port of the loopback."""
        new = self._file.with_suffix(".new")
        new.write_text(str(port))
        new.replace(self._file)

    def _listens(self) -> bool:
        return self._file.with_suffix(".listens").exists()


def _target(file: Path) -> int:
    return int(file.read_text())


def _say_ready(file: Path) -> None:
    file.with_suffix(".listens").touch()


async def _serve(port: int, file: Path) -> None:
    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(_CHUNK):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def lead(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there_reader, there_writer = await asyncio.open_connection("127.0.0.1", _target(file))
        except OSError:
            writer.close()
            return
        await asyncio.gather(pump(reader, there_writer), pump(there_reader, writer))

    server = await asyncio.start_server(lead, "127.0.0.1", port, backlog=512)
    _say_ready(file)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), Path(sys.argv[2])))

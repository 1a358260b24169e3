"""toxiproxy (https://github.com/Shopify/toxiproxy): proxies that make a server slow, or harm it otherwise.

Tests use it too. It is no Python package: `go install github.com/Shopify/toxiproxy/v2/cmd/server@latest`.
"""

from __future__ import annotations

import json
import os
import shutil
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.stack.processes import Command
from app.stack.servers import Server, free_ports
from storage.base.settings import Settings, environment

PROGRAM = "toxiproxy-server"
# Not `SLUICE_…`: Settings refuses unknown ones.
VARIABLE = "TEST_TOXIPROXY"
HOW = f"go install github.com/Shopify/toxiproxy/v2/cmd/server@latest, named {PROGRAM}"


def find_toxiproxy() -> str | None:
    """Where the program is, if this machine has it."""
    return shutil.which(os.environ.get(VARIABLE) or PROGRAM)


def toxiproxy_server(program: str, folder: Path) -> Server:
    """Return toxiproxy on a free port; its setting `api` is what Toxiproxy takes."""
    [port] = free_ports(1)
    api = f"http://127.0.0.1:{port}"
    argv = [program, "-host", "127.0.0.1", "-port", str(port)]
    return Server(
        Command("toxiproxy", argv, environment(Settings()), folder, lambda: _answers(f"{api}/version")), {"api": api}
    )


class Toxiproxy:
    """Proxies that do harm: latency, resets, timeouts, truncation. See toxiproxy's README for the toxics."""

    def __init__(self, api: str) -> None:
        self.api = api

    def proxy(self, name: str, upstream: str) -> Proxy:
        """Return a proxy in front of `upstream` (host:port), harmless so far."""
        [port] = free_ports(1)
        body = {"name": name, "listen": f"127.0.0.1:{port}", "upstream": upstream, "enabled": True}
        self.call("POST", "/proxies", body)
        return Proxy(self, name, f"127.0.0.1:{port}")

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Call its API and return the value that it answers."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.api + path, data=data, method=method)
        with urllib.request.urlopen(request, timeout=10) as response:
            return json.loads(response.read() or b"null")


@dataclass(frozen=True)
class Proxy:
    """One proxy; `address` (host:port) is where its clients connect."""

    toxiproxy: Toxiproxy
    name: str
    address: str

    def add(self, toxic: str, stream: str = "downstream", toxicity: float = 1.0, **attributes: Any) -> None:
        """Add a toxic of the type: latency, reset_peer, timeout, limit_data, slicer, bandwidth, slow_close."""
        body = {
            "name": f"{toxic}-{stream}",
            "type": toxic,
            "stream": stream,
            "toxicity": toxicity,
            "attributes": attributes,
        }
        self.toxiproxy.call("POST", f"/proxies/{self.name}/toxics", body)

    def heal(self) -> None:
        """Remove every toxic."""
        for toxic in self.toxiproxy.call("GET", f"/proxies/{self.name}/toxics"):
            self.toxiproxy.call("DELETE", f"/proxies/{self.name}/toxics/{toxic['name']}")

    def remove(self) -> None:
        """Remove the proxy; its connections are closed."""
        self.toxiproxy.call("DELETE", f"/proxies/{self.name}")


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2):
            return True
    except OSError:
        return False

"""What gunicorn workers of ours have in common: what a client may say, and who else than this machine may ask.

It is imported before gevent has patched anything, and imports nothing of Sluice.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address
from typing import Any

# What a client may say is for a worker to choose, whatever command line or environment it was started with. The
# length of the first line is bounded with the whole head (max_head_bytes): gunicorn's own limit ends at 8190, and a
# path of 4,096 bytes has three times as many where it is percent-encoded.
CHOSEN: dict[str, Any] = {
    "limit_request_line": 0,
    "forwarder_headers": "",  # else a client on this machine could name another SCRIPT_NAME or PATH_INFO
    "secure_scheme_headers": {},
    "header_map": "drop",  # X_Name could pass for X-Name
    "http_parser": "python",
    "proxy_protocol": False,
    "permit_obsolete_folding": False,
    "permit_unconventional_http_method": False,
    "permit_unconventional_http_version": False,
    "strip_header_spaces": False,
    "casefold_http_method": False,
}


def strangers_at(listeners: Iterable[Any]) -> list[str]:
    """Return those of these listening sockets that others than this machine reach, as text."""
    return [str(listener) for listener in listeners if not _is_local(listener)]


def _is_local(listener: Any) -> bool:
    address = listener.getsockname()
    if not isinstance(address, tuple):
        return True  # a Unix socket
    return ip_address(str(address[0]).partition("%")[0]).is_loopback

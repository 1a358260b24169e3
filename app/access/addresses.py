"""From which address a request came: the connection's, or what a proxy that is trusted says of it."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address

from storage.base.setting_groups.networks import Network


def client_address(peer: str, forwarded: Iterable[str], trusted: tuple[Network, ...]) -> str:
    """Return the address of a client, given that of the connection and the values of X-Forwarded-For, in order.

    Each proxy adds behind the others who it was asked by. So the last address that is none of a trusted proxy is the
    client's, and what stands before it is whatever the client has sent.
    """
    if not trusted or not _is_in(peer, trusted):
        return peer
    client = peer
    for address in reversed([part.strip() for value in forwarded for part in value.split(",")]):
        try:
            client = str(ip_address(address))
        except ValueError:
            return client  # a trusted proxy writes addresses: what is here was sent to it
        if not _is_in(client, trusted):
            return client
    return client


def _is_in(address: str, networks: tuple[Network, ...]) -> bool:
    try:
        known = ip_address(address)
    except ValueError:
        return False
    mapped = getattr(known, "ipv4_mapped", None)
    return any((mapped or known) in network for network in networks)

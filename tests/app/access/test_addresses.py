"""From which address a request came: no header forges it, but one that a trusted proxy wrote is believed."""

from __future__ import annotations

import pytest

from app.access.addresses import client_address
from storage.base import settings
from storage.base.setting_groups.networks import read_networks
from storage.base.settings import SettingsError

TRUSTED = read_networks("10.0.0.0/8, 192.0.2.7, 2001:db8::/32")


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("203.0.113.1", ["198.51.100.1"], "203.0.113.1"),  # not by a proxy of ours: whatever it says
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["203.0.113.9, 198.51.100.1"], "198.51.100.1"),  # what the client sent stands before
        ("10.0.0.1", ["203.0.113.9", "198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["198.51.100.1, 192.0.2.7"], "198.51.100.1"),  # two proxies
        ("10.0.0.1", ["10.0.0.5, 192.0.2.7"], "10.0.0.5"),  # the client is a trusted machine itself
        ("10.0.0.1", ["x, 198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["198.51.100.1, nonsense"], "10.0.0.1"),
        ("10.0.0.1", [""], "10.0.0.1"),
        ("::ffff:10.0.0.1", ["2001:DB8::1, 2001:db9::1"], "2001:db9::1"),
        ("", ["198.51.100.1"], ""),
    ],
)
def test_the_last_address_that_is_no_trusted_proxys_is_the_clients(
    peer: str, forwarded: list[str], expected: str
) -> None:
    assert client_address(peer, forwarded, TRUSTED) == expected


def test_without_trusted_proxies_it_is_the_connections() -> None:
    assert client_address("10.0.0.1", ["198.51.100.1"], ()) == "10.0.0.1"


@pytest.mark.parametrize("text", ["10.0.0.1/8", "proxy", "10.0.0.0/33", "10.0.0.1 10.0.0.2"])
def test_what_is_no_network_is_said_at_the_start(text: str) -> None:
    with pytest.raises(SettingsError, match=r"SLUICE_TRUSTED_PROXIES: .* is no address"):
        settings.load({"SLUICE_TRUSTED_PROXIES": text})

"""Which URLs and addresses a webhook may have. Pure.

A name is resolved when it is called, and the connection goes to the very address that was judged here: else a name
could be a public address when it is judged, and a private one when it is called.
"""

from __future__ import annotations

import ipaddress
import re
from ipaddress import IPv4Address, IPv6Address
from urllib.parse import urlsplit

MAX_URL = 2000
"""Characters of a URL."""
_URL = re.compile(r"https?://[\x21\x23-\x3b\x3d\x3f-\x5b\x5d\x5f\x61-\x7a\x7e]+", re.ASCII)
_HOST = re.compile(r"[A-Za-z0-9._-]{1,253}|[0-9A-Fa-f:.]{2,45}", re.ASCII)
# Public by their numbers, and the metadata or control service of a cloud by what answers there.
_OF_CLOUDS = frozenset(map(ipaddress.ip_address, ("168.63.129.16", "100.100.100.200", "192.0.0.192")))
# Networks that have no IPv4 themselves resolve every IPv4 address into this one, public ones too.
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


def check_url(text: str, private: bool) -> None:
    """Raise ValueError, with what is wrong, where a webhook may not have this URL; http is for private targets only."""
    if len(text) > MAX_URL:
        raise ValueError(f"has more than {MAX_URL} characters")
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise ValueError("is not a URL") from None
    if not _URL.fullmatch(text) or not _HOST.fullmatch(host) or port == 0:
        raise ValueError("must be an https:// URL in ASCII, with a host")
    if "@" in parts.netloc:
        raise ValueError("must not have a user or password: it would be shown to who lists webhooks")
    if parts.fragment:
        raise ValueError("must not have a fragment")
    if parts.scheme != "https" and not private:
        raise ValueError("must begin with https://, unless the setting webhook_private_targets is on")
    if not private and not (_is_name(host) or is_public(host)):
        raise ValueError("is a private address, which only the setting webhook_private_targets allows")


def is_public(address: str) -> bool:
    """Tell whether an IP address is one of the public internet; one that carries another address, by both."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, IPv4Address):
        return _is_public(ip)
    if ip in _NAT64:
        return _is_public(IPv4Address(int(ip) & 0xFFFFFFFF))
    carried = (ip.ipv4_mapped, ip.sixtofour, *(ip.teredo or ()))
    return _is_public(ip) and all(_is_public(each) for each in carried if each is not None)


def _is_public(ip: IPv4Address | IPv6Address) -> bool:
    return ip.is_global and not (
        ip.is_multicast
        or ip.is_reserved
        or ip.is_private
        or ip.is_loopback
        or ip.is_link_local
        or ip.is_unspecified
        or (isinstance(ip, IPv6Address) and ip.is_site_local)
        or ip in _OF_CLOUDS
    )


def _is_name(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return True
    return False

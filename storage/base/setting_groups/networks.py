"""Networks of addresses, as settings have them: 10.0.0.0/8, 2001:db8::/32, or single addresses, with commas."""

from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_network

Network = IPv4Network | IPv6Network


@lru_cache(maxsize=8)
def read_networks(text: str) -> tuple[Network, ...]:
    """Return networks from a text. Raises ValueError with what is none."""
    networks = []
    for part in (part.strip() for part in text.split(",")):
        if not part:
            continue
        try:
            networks.append(ip_network(part))
        except ValueError:
            raise ValueError(f"{part!r} is no address, nor a network such as 10.0.0.0/8") from None
    return tuple(networks)

"""Which internet addresses may be called on behalf of an event: public ones, and private ones where allowed.

`ipaddress` alone does not tell: it takes addresses for global that lead to the metadata service of the cloud,
or through a translation to any private address. So a global address is also none of the ranges named here.
"""

from __future__ import annotations

import ipaddress
import socket
from enum import Enum, auto
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

Address = IPv4Address | IPv6Address


class Reach(Enum):
    """How far the requests to one host may go."""

    PUBLIC = auto()
    """To public addresses only."""
    PRIVATE = auto()
    """To private ones and to this machine too: the host was listed."""
    LOOPBACK = auto()
    """To this machine alone: plain HTTP was allowed."""


_HINT = "list the host in `allow_private_hosts` if it is meant"
_SERVICES = {
    ip_address("168.63.129.16"): "is Azure's own platform service",
    ip_address("169.254.169.254"): "is a metadata service",
    ip_address("fd00:ec2::254"): "is a metadata service",
}
_PRIVATE = tuple(
    map(
        ip_network,
        (
            "10.0.0.0/8",
            "172.16.0.0/12",
            "192.168.0.0/16",
            "100.64.0.0/10",
            "127.0.0.0/8",
            "::1/128",
            "fc00::/7",
        ),
    )
)
"""What a listed host may have: networks of one's own, carriers' shared space, and this machine."""
_GLOBAL_IPV6 = ip_network("2000::/3")
"""All that is routed in IPv6. Site-local, IPv4-compatible and NAT64 addresses are outside of it."""
_NEVER = {
    ip_network("192.88.99.0/24"): "is translated into another one (6to4)",
    ip_network("2002::/16"): "is translated into another one (6to4)",
    ip_network("2001::/23"): "is translated into another one (Teredo and others)",
    ip_network("3fff::/20"): "is for documentation",
}


def flaw_of(address: Address, reach: Reach) -> str | None:
    """Why an address may not be called; None: it may be. IPv4 within IPv6 is judged as what it is."""
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if address in _SERVICES:
        return _SERVICES[address]
    if address.is_loopback and reach is not Reach.PUBLIC:
        return None
    if reach is Reach.LOOPBACK:
        return "is not on this machine, and plain HTTP goes nowhere else"
    if any(address in network for network in _PRIVATE if network.version == address.version):
        return None if reach is Reach.PRIVATE else f"is private: {_HINT}"
    if address.is_multicast:
        return "is multicast"
    for network, flaw in _NEVER.items():
        if network.version == address.version and address in network:
            return flaw
    if not address.is_global or (isinstance(address, IPv6Address) and address not in _GLOBAL_IPV6):
        return "is not public"
    if reach is Reach.PUBLIC and is_own(address):
        return f"is this machine's own: {_HINT}"
    return None


def is_own(address: Address) -> bool:
    """Whether one of this machine's interfaces has the address. Nothing is sent."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            # A socket takes the source that the route asks for, and to oneself that is the very address.
            probe.connect((str(address), 9))
            return ipaddress.ip_address(probe.getsockname()[0].partition("%")[0]) == address
    except OSError:
        return False  # there is no way to it at all


def address_in(text: str) -> Address | None:
    """The address that a text is, in its one usual spelling; None if it is none. A zone is left out."""
    try:
        return ip_address(text.partition("%")[0])
    except ValueError:
        return None


def is_loopback(host: str) -> bool:
    """Whether a host, as a name or an address, is this machine by what it says; no name is looked up."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.casefold() == "localhost"

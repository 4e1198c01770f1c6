"""Which URLs may be called: one spelling, one meaning, no way to hide where a request goes."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import NamedTuple

from processors.outbound_addresses import Reach, address_in, flaw_of

URL_MAX_CHARS = 2_048
_URL = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[^/?#]*)"
    r"(?P<path>(?:/[^?#]*)?)(?P<query>(?:\?[^#]*)?)(?P<fragment>(?:#.*)?)"
)
_CHARACTERS = re.compile(r"(?:[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=]|%[0-9A-Fa-f]{2})*")
_HOST_AND_PORT = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^:\[\]@]*)(?::(?P<port>[0-9]{1,5}))?")
_NAME = re.compile(
    r"(?=.{1,253}\Z)(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
)
_NUMBER = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)", re.DOTALL)
"""Hosts that some resolvers take for an IPv4 address: 127.1, 2130706433, 0x7f.1, 0177.0.0.1."""


class Target(NamedTuple):
    """Where requests go, and how far they may go there."""

    scheme: str
    host: str
    """A name or an address, in lower case, without brackets."""
    port: int
    reach: Reach

    @property
    def origin(self) -> str:
        """Scheme, host and port, for a person."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        default = 443 if self.scheme == "https" else 80
        return f"{self.scheme}://{host}" + ("" if self.port == default else f":{self.port}")


def target_of(
    url: str,
    *,
    ports: Collection[int] = (443,),
    private_hosts: Collection[str] = (),
    http_loopback: bool = False,
) -> Target:
    """Where a URL leads. Raises `ValueError` with what is wrong with it, without a word of the URL.

    `private_hosts` are names and addresses, as in URLs, that may be private. Of a name that is all there is
    to say before it is resolved. With `http_loopback` plain HTTP is taken, on any port of this machine.
    """
    if len(url) > URL_MAX_CHARS:
        raise ValueError(f"is longer than {URL_MAX_CHARS} characters")
    if not _CHARACTERS.fullmatch(url):
        raise ValueError(
            "has a character that a URL cannot have: write it %-encoded, a host in its ASCII form"
        )
    parts = _URL.fullmatch(url)
    if parts is None:
        raise ValueError("is not a URL: it begins with https://")
    scheme = parts["scheme"].lower()
    if scheme != "https" and not (scheme == "http" and http_loopback):
        raise ValueError(
            "has to begin with https:// (http:// only to this machine, with allow_http_loopback)"
        )
    if "@" in parts["authority"]:
        raise ValueError("holds a user name: give credentials as a header, from a file")
    if parts["fragment"]:
        raise ValueError("has a fragment (#…), which is never sent")
    host, port = _host_and_port(parts["authority"])
    if scheme == "https" and (port or 443) not in ports:
        raise ValueError(f"has the port {port or 443}, which is not in `ports`")
    reach = Reach.LOOPBACK if scheme == "http" else Reach.PUBLIC
    if scheme == "https" and host in {listed.lower().strip("[]") for listed in private_hosts}:
        reach = Reach.PRIVATE
    address = address_in(host)
    flaw = flaw_of(address, reach) if address else None
    if flaw is not None:
        raise ValueError(f"leads to {host}, which {flaw}")
    return Target(scheme, host, port or (443 if scheme == "https" else 80), reach)


def _host_and_port(authority: str) -> tuple[str, int | None]:
    parts = _HOST_AND_PORT.fullmatch(authority)
    if parts is None:
        raise ValueError("has no host and port that can be read")
    port = None if parts["port"] is None else int(parts["port"])
    if port is not None and not 0 < port < 65_536:
        raise ValueError("has a port that is none")
    host = parts["host"].lower()
    _check_host(host)
    return host.strip("[]"), port


def _check_host(host: str) -> None:
    if host.startswith("["):
        address = address_in(host[1:-1])
        if address is None or address.version != 6:
            raise ValueError("has brackets around what is no IPv6 address")
    elif address_in(host) is None and _NUMBER.fullmatch(host):
        raise ValueError("has a host that is no IPv4 address in its usual form, and no name")
    elif address_in(host) is None and not _NAME.fullmatch(host):
        raise ValueError("has a host that is no name: letters, digits, hyphens and dots")

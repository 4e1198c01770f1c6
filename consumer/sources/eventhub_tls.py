"""Whom the client of Event Hubs trusts, read once: that takes 40 ms, in which nothing else runs."""

from __future__ import annotations

import ssl
from functools import cache

import certifi


@cache
def trusted() -> ssl.SSLContext:
    """The bundle that the client trusts by itself; it would read it anew for every connection."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cafile=certifi.where())
    return context


@cache
def unused() -> ssl.SSLContext:
    """Trusts nobody: for connections without TLS, for which the client would read the bundle as well."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

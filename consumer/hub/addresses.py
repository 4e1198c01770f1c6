"""What links point at: addresses, as URLs or bare paths, and the filter that says where to begin."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import unquote

from consumer.hub.codec import Described
from consumer.hub.log import EARLIEST, LATEST, Column, StartPosition
from consumer.hub.performatives import AmqpError, not_found

CBS = "$cbs"
MANAGEMENT = "$management"
SELECTOR = "apache.org:selector-filter:string"
_COMPARISON = re.compile(r"\s*amqp\.annotation\.([a-z-]+)\s*(>=|>)\s*'?([^']*)'?\s*", re.IGNORECASE)


class Address(NamedTuple):
    """What a link's address names; absent parts are None."""

    hub: str
    group: str | None = None
    partition: str | None = None


def path_of(address: str) -> str:
    """The path of a URL, or of what is a path already, without slashes around it."""
    _, has_host, rest = address.partition("://")
    return (rest.partition("/")[2] if has_host else address).strip("/")


def parse_address(address: str) -> Address:
    """Read an address, with or without a host in front.

    It is `hub`, `hub/Partitions/0` or `hub/ConsumerGroups/g/Partitions/0`. Raises `AmqpError`.
    """
    parts = [unquote(part) for part in path_of(address).split("/")]
    match [parts[0], *(part.casefold() if index % 2 == 0 else part for index, part in enumerate(parts[1:]))]:
        case [hub] if hub:
            return Address(hub)
        case [hub, "partitions", partition]:
            return Address(hub, None, partition)
        case [hub, "consumergroups", group, "partitions", partition]:
            return Address(hub, group, partition)
        case _:
            raise not_found(path_of(address))


def start_position(filters: Mapping[Any, Any]) -> StartPosition:
    """Where a receiver with these filters begins; without any, as at the service, at the start.

    Raises `AmqpError`.
    """
    for name, value in filters.items():
        descriptor, selector = value if isinstance(value, Described) else (None, value)
        if SELECTOR in {str(name), str(descriptor)}:
            return parse_selector(selector)
    return EARLIEST


def parse_selector(selector: object) -> StartPosition:
    """Read a selector such as ``amqp.annotation.x-opt-offset > '123'``. Raises `AmqpError`."""
    found = _COMPARISON.fullmatch(selector) if isinstance(selector, str) else None
    try:
        if found is None:
            raise ValueError
        column = Column(found[1].casefold())
        if column is Column.OFFSET and found[3] == "@latest":
            return LATEST
        return StartPosition(column, int(found[3]), inclusive=found[2] == ">=")
    except ValueError:
        raise AmqpError(
            "amqp:invalid-field", f"The filter {str(selector)[:200]!r} is not understood."
        ) from None

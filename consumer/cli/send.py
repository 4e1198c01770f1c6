"""`inturn send`: put sample events, or events from a file, into a hub."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from consumer.errors import ConfigurationError, SourceUnavailable
from consumer.samples.events import partition_key_of, properties_of
from consumer.samples.messages import Intent, Message
from consumer.samples.sender import LOCAL_HUB, open_sender
from consumer.samples.singles import KINDS, draw, message_of

_NAMED_MAX = 20
"""More messages than that are counted, not named."""


_ConnectionString = Annotated[
    str | None,
    typer.Option(
        help="Of the namespace; without one, the local hub of `inturn hub`.",
        envvar="INTURN_CONNECTION_STRING",
        show_envvar=True,
    ),
]
_ConnectionStringFile = Annotated[
    Path | None,
    typer.Option(help="A file that holds it, so that it is in no shell's history.", dir_okay=False),
]
_Kind = Annotated[
    str | None, typer.Option("--type", help=f"What to send: {', '.join(KINDS)}. Without it, all in turn.")
]
_File = Annotated[
    Path | None,
    typer.Option(
        help="Send the lines of this file instead, each one JSON: an event, or an array of some.",
        dir_okay=False,
    ),
]
_Topic = Annotated[
    str | None, typer.Option(help="The resource id to raise them by, so that it is in admission.topics.")
]
_Seed = Annotated[int | None, typer.Option(help="The same seed draws the same events, but for their times.")]
_Rate = Annotated[
    float | None, typer.Option(min=0.01, help="Messages per second; as fast as possible without.")
]
_Unkeyed = Annotated[
    bool, typer.Option("--no-partition-key", help="Leave the events to be spread over the partitions.")
]


def send(  # noqa: PLR0913 - the options of a command
    *,
    connection_string: _ConnectionString = None,
    connection_string_file: _ConnectionStringFile = None,
    hub: Annotated[str, typer.Option(help="The event hub.")] = "events",
    kind: _Kind = None,
    file: _File = None,
    topic: _Topic = None,
    count: Annotated[int | None, typer.Option(min=1, help="How many; 1 if not from a file.")] = None,
    seed: _Seed = None,
    rate: _Rate = None,
    no_partition_key: _Unkeyed = False,
) -> None:
    """Send sample events to an event hub, with the real client.

    Exit code 75: no hub answers, it has no such event hub, or it refuses the key.
    """
    if connection_string is not None and connection_string_file is not None:
        raise typer.BadParameter("give it here or in a file, not both", param_hint="--connection-string")
    if file is not None and (kind is not None or topic is not None):
        raise typer.BadParameter("--type and --topic do not go with a file", param_hint="--file")
    if kind is not None and kind not in KINDS:
        raise typer.BadParameter(f"{kind!r} is none of {', '.join(KINDS)}", param_hint="--type")
    is_keyed = not no_partition_key
    if file is None:
        messages = _samples(kind, topic, count or 1, seed, is_keyed=is_keyed)
    else:
        messages = itertools.islice(_lines(_read(file), is_keyed=is_keyed), count)
    if connection_string_file is not None:
        connection_string = _read(connection_string_file).strip()
    try:
        place = LOCAL_HUB if connection_string is None else connection_string
        asyncio.run(_send(place, hub, messages, rate))
    except SourceUnavailable as error:
        if connection_string is not None:
            raise
        message = f"{error} Start a local hub with `inturn hub`."
        raise SourceUnavailable(message) from error


async def _send(connection_string: str, hub: str, messages: Iterator[Message], rate: float | None) -> None:
    async with open_sender(connection_string, hub) as sender:
        async for part in sender.send_all(messages, rate):
            named = part[: max(0, _NAMED_MAX - (sender.sent - len(part)))]
            for message in named:
                typer.echo(f"sent  {message.note}")
        typer.echo(f"{sender.sent} {'message' if sender.sent == 1 else 'messages'} sent to {hub}.")


def _samples(
    kind: str | None, topic: str | None, count: int, seed: int | None, *, is_keyed: bool
) -> Iterator[Message]:
    rng = random.Random(seed)  # noqa: S311 - to be repeatable
    kinds = itertools.cycle(KINDS if kind is None else (kind,))
    for _ in range(count):
        element = draw(next(kinds), rng, datetime.now(UTC), topic=topic)
        yield message_of(element, is_keyed=is_keyed)._replace(note=_name_of(element))


def _lines(text: str, *, is_keyed: bool) -> Iterator[Message]:
    """The messages of a file's lines. What is no event is sent all the same: some files are for that."""
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield _line(line.strip(), f"line {number}", is_keyed=is_keyed)


def _line(line: str, name: str, *, is_keyed: bool) -> Message:
    try:
        value = json.loads(line)
    except ValueError:
        value = None
    first = value[0] if isinstance(value, list) and value else value
    body = f"[{line}]" if isinstance(value, dict) else line
    if not isinstance(first, dict):
        return Message(body.encode(), {"aeg-event-type": "Notification"}, None, Intent.FRESH, note=name)
    key = partition_key_of(first) if is_keyed and "subject" in first else None
    return Message(body.encode(), properties_of(first), key, Intent.FRESH, note=f"{name}: {_name_of(first)}")


def _name_of(element: dict[str, Any]) -> str:
    type_ = element.get("type", element.get("eventType", "(no type)"))
    return f"{type_}  {element.get('subject', '(no subject)')}  {element.get('id', '(no id)')}"


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        message = f"{path} cannot be read: {error}"
        raise ConfigurationError(message) from None

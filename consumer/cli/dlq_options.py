"""What `inturn dlq` may be asked: which letters are meant, and the options that say so."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any, TypeAlias

import typer
from typer.core import TyperCommand

from consumer.reasons import Reason
from consumer.replay.places import parse_place
from consumer.stores.letter_filter import LetterFilter

Processors: TypeAlias = Annotated[
    list[str] | None, typer.Option("--processor", help="It failed; may be given several times.")
]
Reasons: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--reason", help="Put aside for it, such as retries_spent; may be given several times."),
]
Since: TypeAlias = Annotated[
    str | None,
    typer.Option("--since", help="Put aside at this time or later: 2026-11-21T06:30:00Z, or -2h."),
]
Until: TypeAlias = Annotated[str | None, typer.Option("--until", help="Put aside before this time.")]
Object: TypeAlias = Annotated[
    str | None,
    typer.Option("--object", help="The object's path or the event's subject; * at the end: its beginning."),
]
Topic: TypeAlias = Annotated[
    str | None, typer.Option("--topic", help="The resource it came from; * at the end: its beginning.")
]
Type: TypeAlias = Annotated[
    str | None, typer.Option("--type", help="The event type; * at the end: its beginning.")
]
Key: TypeAlias = Annotated[str | None, typer.Option("--key", help="The letter's key, or its beginning.")]

_DASHED_KEY = re.compile(r"-[A-Za-z0-9_-]{11,}")
"""A key that begins with a dash, as long as a list shows it, or longer."""


class CommandWithKey(TyperCommand):
    """A command whose argument is a letter's key: one in 64 begins with a dash, and is no option for that."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Move a key that looks like an option behind ``--``."""
        options = {name for each in self.params for name in (*each.opts, *each.secondary_opts)}
        keys = [each for each in args if _DASHED_KEY.fullmatch(each) and each not in options]
        if keys and "--" not in args:
            args = [*(each for each in args if each not in keys), "--", *keys]
        return super().parse_args(ctx, args)


def filter_of(
    *,
    processor: list[str] | None,
    reason: list[str] | None,
    since: str | None,
    until: str | None,
    object_: str | None,
    topic: str | None,
    type_: str | None,
    key: str | None,
) -> LetterFilter:
    """The filter that options ask for. Raises `typer.BadParameter`."""
    return LetterFilter(
        processors=tuple(processor or ()),
        reasons=tuple(map(_reason, reason or ())),
        since_ms=_time_ms("--since", since),
        until_ms=_time_ms("--until", until),
        key=key or "",
        type=type_,
        topic=topic,
        object=object_,
    )


def _reason(text: str) -> Reason:
    try:
        return Reason(text)
    except ValueError:
        known = ", ".join(Reason)
        raise typer.BadParameter(f"{text} is no reason: there are {known}", param_hint="--reason") from None


def _time_ms(option: str, text: str | None) -> int | None:
    if text is None:
        return None
    try:
        place = parse_place(text)
    except ValueError:
        place = None
    if not isinstance(place, datetime):
        raise typer.BadParameter(
            f"{text} is no time with its zone: write 2026-11-21T06:30:00Z or -2h", param_hint=option
        )
    return int(place.timestamp() * 1_000)

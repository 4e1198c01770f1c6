"""`inturn dlq`: look at the dead letters. Changes nothing.

Exit codes: 0 fine; 1 there is no such letter; 75 the store cannot be reached; 78 the configuration is wrong.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from consumer.cli.config import DEFAULT_CONFIG, ConfigOption
from consumer.cli.event_loop import run_async
from consumer.cli.exit_codes import ExitCode
from consumer.config_file import load_settings
from consumer.events import DeadLetter
from consumer.opening import open_dead_letters
from consumer.settings import Settings
from consumer.stores import DeadLetterStore

app = typer.Typer(no_args_is_help=True, help="Look at the dead letters.")

_SEARCHED_MAX = 1_000_000
"""Letters that are looked through for one key."""


@app.command("list")
def list_(
    *,
    config: ConfigOption = DEFAULT_CONFIG,
    limit: Annotated[int, typer.Option(min=1, help="How many, the oldest first.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="A line of JSON for each, with the bytes.")] = False,
) -> None:
    """List the dead letters, the oldest first."""
    letters, count = run_async(_read(load_settings(config, os.environ), limit))
    if as_json:
        for letter in letters:
            _write(letter)
        return
    if letters:
        Console().print(_table(letters))
    reasons = Counter(letter.reason.value for letter in letters)
    shown = ", ".join(f"{reason} {number}" for reason, number in reasons.most_common())
    typer.echo(f"{count} dead letters, {len(letters)} shown{': ' if shown else ''}{shown}")


@app.command()
def show(
    key: Annotated[str, typer.Argument(help="The letter's key, or its beginning.")],
    *,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Print whole letters as JSON, the bytes of the event included."""
    found = run_async(_find(load_settings(config, os.environ), key))
    for letter in found:
        _write(letter, indent=2)
    if not found:
        typer.echo(f"There is no dead letter whose key begins with {key}.", err=True)
        raise typer.Exit(ExitCode.FINDINGS)


async def _read(settings: Settings, limit: int) -> tuple[list[DeadLetter], int]:
    async with _store(settings) as store:
        return [letter async for letter in store.letters(limit=limit)], await store.count()


async def _find(settings: Settings, key: str) -> list[DeadLetter]:
    async with _store(settings) as store:
        return [letter async for letter in store.letters(limit=_SEARCHED_MAX) if letter.key.startswith(key)]


@asynccontextmanager
async def _store(settings: Settings) -> AsyncIterator[DeadLetterStore]:
    async with open_dead_letters(settings.dead_letters) as store:
        yield store


def _table(letters: list[DeadLetter]) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), header_style="dim")
    for column in ("key", "when", "reason", "processor", "event", "error"):
        table.add_column(column, overflow="fold")
    for letter in letters:
        when = datetime.fromtimestamp(letter.dead_lettered_at_ms / 1_000, UTC)
        event = letter.subject or f"{letter.position.partition}/{letter.position.sequence_number}"
        texts = (letter.key[:12], letter.reason, letter.processor or "–", event, letter.error)
        key, *rest = (escape(text) for text in texts)
        table.add_row(key, f"{when:%m-%d %H:%M:%S}", *rest)
    return table


def _write(letter: DeadLetter, indent: int = 0) -> None:
    fields: dict[str, Any] = msgspec.to_builtins(letter)
    try:
        fields["original"] = letter.original.decode("utf-8")
    except UnicodeDecodeError:
        fields["original_base64"] = fields.pop("original")  # msgspec writes bytes so
    text = msgspec.json.encode(fields)
    sys.stdout.buffer.write((msgspec.json.format(text, indent=indent) if indent else text) + b"\n")

"""`inturn dlq`: look at the dead letters, redrive them, or forget them.

Exit codes: 0 fine; 1 there is no such letter, or some stay that were to go, or nothing was confirmed; 2 the
command line is wrong; 75 stopped before its end, or the store cannot be reached; 78 the configuration is
wrong.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Annotated

import typer
from rich.console import Console

from consumer.cli.config import DEFAULT_CONFIG, ConfigOption
from consumer.cli.dlq_options import (
    CommandWithKey,
    Key,
    Object,
    Processors,
    Reasons,
    Since,
    Topic,
    Type,
    Until,
    filter_of,
)
from consumer.cli.dlq_report import print_letters, print_redrive, print_remaining, proposer, write_letter
from consumer.cli.event_loop import run_async
from consumer.cli.exit_codes import ExitCode
from consumer.cli.progress import Progress
from consumer.config_file import load_settings
from consumer.events import DeadLetter
from consumer.opening import open_dead_letters
from consumer.redrive.carrying_out import Carrier, Request, open_redrive
from consumer.settings import Settings
from consumer.stores import LetterFilter
from consumer.telemetry.logs import configure_logging

app = typer.Typer(no_args_is_help=True, help="Look at the dead letters, redrive them, or forget them.")

_SEARCHED_MAX = 1_000_000
"""Letters that are looked through for one key, or purged at once."""
_REMOVED_AT_ONCE = 500
_LOOK_EVERY_S = 0.2

_Dry = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and change nothing.")]
_Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


@app.command("list")
def list_(  # noqa: PLR0913 - the options of a command
    *,
    config: ConfigOption = DEFAULT_CONFIG,
    processor: Processors = None,
    reason: Reasons = None,
    since: Since = None,
    until: Until = None,
    object_: Object = None,
    topic: Topic = None,
    type_: Type = None,
    key: Key = None,
    limit: Annotated[int, typer.Option(min=1, help="How many, the oldest first.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="A line of JSON for each, with the bytes.")] = False,
) -> None:
    """List dead letters, the oldest first."""
    where = filter_of(
        processor=processor,
        reason=reason,
        since=since,
        until=until,
        object_=object_,
        topic=topic,
        type_=type_,
        key=key,
    )
    letters, count = run_async(_read(load_settings(config, os.environ), where, limit))
    if as_json:
        for letter in letters:
            write_letter(letter)
        return
    print_letters(Console(), letters, count)


@app.command(cls=CommandWithKey)
def show(
    key: Annotated[str, typer.Argument(help="The letter's key, or its beginning.")],
    *,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Print whole letters as JSON, the bytes of the event included."""
    settings = load_settings(config, os.environ)
    found, _ = run_async(_read(settings, LetterFilter(key=key), _SEARCHED_MAX))
    for letter in found:
        write_letter(letter, indent=2)
    if not found:
        typer.echo(f"There is no dead letter whose key begins with {key}.", err=True)
        raise typer.Exit(ExitCode.FINDINGS)


@app.command()
def redrive(  # noqa: PLR0913 - the options of a command
    *,
    config: ConfigOption = DEFAULT_CONFIG,
    processor: Processors = None,
    reason: Reasons = None,
    since: Since = None,
    until: Until = None,
    object_: Object = None,
    topic: Topic = None,
    type_: Type = None,
    key: Key = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Run no more letters than so many.")] = None,
    rate: Annotated[
        str | None, typer.Option(help="Begin no more letters in a second than so many, such as 5/s.")
    ] = None,
    dry_run: _Dry = False,
) -> None:
    """Give dead letters once more to the processor that failed; what it handles now is gone from the store.

    Letters of one processor and object are run in their order; behind one that fails, the others of its
    object stay. What was parked behind a letter that is redriven follows it. What was no event, and is one by
    today's rules, goes to all processors that want it.

    Ctrl-C finishes what is in flight; what was not run stays, and the next redrive goes on there.
    """
    where = filter_of(
        processor=processor,
        reason=reason,
        since=since,
        until=until,
        object_=object_,
        topic=topic,
        type_=type_,
        key=key,
    )
    asked = Request(where, rate_per_s=_rate_of(rate), letters_max=limit, is_dry=dry_run)
    settings = load_settings(config, os.environ)
    logging = configure_logging(level="error")
    try:
        code = run_async(_rehearse(settings, asked) if dry_run else _redrive(settings, asked))
    finally:
        logging.close()
    raise typer.Exit(code)


@app.command()
def purge(  # noqa: PLR0913 - the options of a command
    *,
    config: ConfigOption = DEFAULT_CONFIG,
    processor: Processors = None,
    reason: Reasons = None,
    since: Since = None,
    until: Until = None,
    object_: Object = None,
    topic: Topic = None,
    type_: Type = None,
    key: Key = None,
    all_: Annotated[bool, typer.Option("--all", help="Forget all letters.")] = False,
    dry_run: _Dry = False,
    yes: _Yes = False,
) -> None:
    """Forget dead letters for good: their events are not handled by the processor that failed."""
    where = filter_of(
        processor=processor,
        reason=reason,
        since=since,
        until=until,
        object_=object_,
        topic=topic,
        type_=type_,
        key=key,
    )
    if where.asks_nothing is not all_:
        raise typer.BadParameter("say which letters, or --all, and not both", param_hint="purge")
    settings = load_settings(config, os.environ)
    letters, count = run_async(_read(settings, where, 20))
    print_letters(Console(), letters, count)
    if not count or dry_run:
        typer.echo("Nothing was done.")
        return
    if not yes:
        _confirm(f"Forget {count} letters for good?")
    typer.echo(f"{run_async(_purge(settings, where))} letters forgotten.")
    print_remaining(settings)


def _confirm(question: str) -> None:
    if not sys.stdin.isatty():
        typer.echo("Nobody can be asked here: give --yes, or look first with --dry-run.", err=True)
        raise typer.Exit(ExitCode.USAGE)
    if not typer.confirm(question):
        typer.echo("Nothing was done.")
        raise typer.Exit(ExitCode.FINDINGS)


def _rate_of(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        rate = float(text.strip().removesuffix("/s"))
    except ValueError:
        rate = 0.0
    if not 0 < rate <= 1_000_000:
        raise typer.BadParameter("is a number of letters in a second, such as 5/s", param_hint="--rate")
    return rate


async def _read(settings: Settings, where: LetterFilter, limit: int) -> tuple[list[DeadLetter], int]:
    async with open_dead_letters(settings.dead_letters) as store:
        return [letter async for letter in store.letters(limit=limit, where=where)], await store.count(where)


async def _purge(settings: Settings, where: LetterFilter) -> int:
    """Remove what is meant, some at a time, so that little is in memory."""
    removed = 0
    async with open_dead_letters(settings.dead_letters) as store:
        while removed < _SEARCHED_MAX:
            letters = [letter async for letter in store.letters(limit=_REMOVED_AT_ONCE, where=where)]
            gone = await store.remove(letters)
            removed += gone
            if len(letters) < _REMOVED_AT_ONCE or not gone:
                break
    return removed


async def _rehearse(settings: Settings, asked: Request) -> ExitCode:
    console = Console()
    async with open_redrive(settings, asked) as carrier:
        await carrier.rehearse(proposer(console))
        print_redrive(console, carrier.redrive, is_dry=True)
        return _code_of(carrier)


async def _redrive(settings: Settings, asked: Request) -> ExitCode:
    console = Console()
    async with open_redrive(settings, asked) as carrier:
        try:
            with Progress(console, 0, "letters") as progress:
                await _watch(carrier, progress)
        finally:
            print_redrive(console, carrier.redrive, is_dry=False)
        return _code_of(carrier)


def _code_of(carrier: Carrier) -> ExitCode:
    if carrier.redrive.pace.is_stopped:
        return ExitCode.TEMPORARY
    return ExitCode.FINDINGS if carrier.redrive.report.has_findings else ExitCode.FINE


async def _watch(carrier: Carrier, progress: Progress) -> None:
    redrive = carrier.redrive
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(carrier.carry_out())
        while not running.done():
            report = redrive.report
            total = max(report.total, report.done)
            progress.update(report.done, is_stopping=redrive.pace.is_stopped, total=total)
            await asyncio.wait((running,), timeout=_LOOK_EVERY_S)

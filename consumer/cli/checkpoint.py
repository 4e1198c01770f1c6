"""`inturn checkpoint`: what is stored for each partition, and moving it by hand.

Exit codes: 0 fine; 1 something stored is damaged, or the move was refused; 2 usage; 75 the store or the hub
cannot be reached, or stored state cannot be read; 78 the configuration is wrong.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec
import typer

from consumer.cli.checkpoint_rewind import (
    Move,
    NotMoved,
    Target,
    carry_out,
    check_direction,
    check_owner,
    plan,
)
from consumer.cli.checkpoint_survey import Owner, PartitionSurvey, lines, owners, survey
from consumer.cli.config import DEFAULT_CONFIG, ConfigOption
from consumer.cli.event_loop import run_async
from consumer.cli.exit_codes import ExitCode
from consumer.config_file import load_settings
from consumer.consumer_groups import SHARED, group_name, groups_of, settings_of
from consumer.errors import ConfigurationError
from consumer.events import PartitionId
from consumer.opening import open_checkpoints, open_log
from consumer.replay.places import Mark, parse_place
from consumer.settings import MemoryState, Settings
from consumer.sources.stretch import Extent, Log
from consumer.stores import InspectableStore
from consumer.telemetry.logs import configure_logging

app = typer.Typer(no_args_is_help=True, help="Look at what is stored for each partition, or move it by hand.")

_KEPT = re.compile(r"kept:[1-9]\d?|backup")


_OfGroup = Annotated[
    str | None,
    typer.Option(
        "--consumer-group",
        help="Whose, if processors have a consumer group of their own.",
        show_default=False,
    ),
]


class Asked(NamedTuple):
    """How a rewind is to be done."""

    to: Target
    partitions: tuple[str, ...]
    skips: bool
    force: bool
    yes: bool
    is_dry: bool
    group: str | None = None
    """To read with."""
    of_group: str | None = None
    """Whose checkpoints; None: those of the group that processors share."""


class Group(NamedTuple):
    """The partitions of the configured consumer group."""

    store: InspectableStore
    log: Log
    stored: list[PartitionId]
    """With a checkpoint that can be read; or those that were named."""
    known: list[PartitionId]
    """Those, and the ones that ever had an owner."""
    owners: dict[str, Owner | None]


@app.command()
def show(
    partition: Annotated[list[str] | None, typer.Argument(help="Only these partitions.")] = None,
    *,
    config: ConfigOption = DEFAULT_CONFIG,
    consumer_group: _OfGroup = None,
    as_json: Annotated[bool, typer.Option("--json", help="A line of JSON for each partition.")] = False,
) -> None:
    """Show checkpoints, the state beside them, who owns them, and the states that are kept aside.

    Exit code 1: what is stored for a partition cannot be read.
    """
    with _quiet():
        found = run_async(_look(_settings(config), partition or (), consumer_group))
    for each in found:
        text = msgspec.json.encode(each).decode() if as_json else "\n".join(lines(each))
        typer.echo(text)
    if not found and not as_json:
        typer.echo("Nothing is stored for any partition.")
    raise typer.Exit(ExitCode.FINE if all(each.is_fine for each in found) else ExitCode.FINDINGS)


@app.command()
def rewind(  # noqa: PLR0913 - the options of a command
    *,
    config: ConfigOption = DEFAULT_CONFIG,
    to: Annotated[
        str,
        typer.Option(
            help="The first event to be handled again: earliest, its sequence number, or a time such as "
            "2026-11-21T06:30:00Z or -2h. Or a state to go back to: kept:1 is the newest, backup the one "
            "from before the last rewind.",
        ),
    ],
    partition: Annotated[
        list[str] | None, typer.Option("--partition", "-p", help="Only this one; may be given several times.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would happen.")] = False,
    skip_events: Annotated[
        bool,
        typer.Option("--skip-events", help="Allow a move ahead, past events that are then never handled."),
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Move a partition that a consumer owns: the consumer loses it.")
    ] = False,
    consumer_group: _OfGroup = None,
    group: Annotated[
        str | None,
        typer.Option(help="The consumer group to look events up with, if a consumer has the configured one."),
    ] = None,
) -> None:
    """Move the checkpoints of stopped consumers. What was stored is kept: --to backup goes back to it.

    Events after the new checkpoint are handled again, with the idempotency keys that they had.
    """
    chosen = tuple(partition or ())
    asked = Asked(_target(to), chosen, skip_events, force, yes, dry_run, group, consumer_group)
    if isinstance(asked.to, int) and len(asked.partitions) != 1:
        raise typer.BadParameter(
            "a sequence number means something in one partition: name it with --partition", param_hint="--to"
        )
    with _quiet():
        try:
            run_async(_rewind(_settings(config), asked))
        except NotMoved as error:
            typer.echo(str(error), err=True)
            raise typer.Exit(ExitCode.FINDINGS) from None


@contextmanager
def _quiet() -> Iterator[None]:
    """Of what the clients log, only what nobody else would say."""
    logging = configure_logging(level="error")
    try:
        yield
    finally:
        logging.close()


def _settings(config: Path) -> Settings:
    settings = load_settings(config, os.environ)
    if isinstance(settings.state, MemoryState):
        raise ConfigurationError("state.type is memory: nothing outlives the process.")
    return settings


def _target(text: str) -> Target:
    word = text.strip().casefold()
    if _KEPT.fullmatch(word):
        return word
    try:
        place = parse_place(text)
    except ValueError:
        place = Mark.LATEST
    if place in (Mark.CHECKPOINT, Mark.LATEST):
        raise typer.BadParameter(
            f"{text!r} is no place to go to: earliest, a sequence number, a time such as "
            "2026-11-21T06:30:00Z or -2h, kept:N or backup",
            param_hint="--to",
        )
    return place


@asynccontextmanager
async def _opened(
    settings: Settings, wanted: Sequence[str], group: str | None = None
) -> AsyncIterator[Group]:
    """The partitions that something is stored for, or those that were named."""
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(open_checkpoints(settings.state))
        log, origin = await stack.enter_async_context(open_log(settings.source, group=group))
        ours = PartitionId(*(part.lower() for part in origin.partition("")))
        owned = await owners(store, ours, settings.source)
        stored = {name for name, _ in await store.partitions() if name[:3] == ours[:3]}
        named = {ours._replace(partition=each.lower()) for each in wanted}
        ever = {ours._replace(partition=each.lower()) for each in owned}
        yield Group(store, log, _in_order(named or stored), _in_order(named or stored | ever), owned)


def _in_order(names: Iterable[PartitionId]) -> list[PartitionId]:
    return sorted(names, key=lambda name: (len(name.partition), name.partition))


async def _look(settings: Settings, wanted: Sequence[str], of_group: str | None) -> list[PartitionSurvey]:
    """All groups, unless one is named."""
    found: list[PartitionSurvey] = []
    asked = groups_of(settings) if of_group is None else {of_group: _of_group(settings, of_group)}
    for label, told in asked.items():
        async with _opened(told, wanted) as group:
            for name in group.known:
                each = await survey(group.store, name, group.owners.get(name.partition))
                shown = f"{label}/{each.partition}" if label else each.partition
                found.append(msgspec.structs.replace(each, partition=shown))
    return found


def _of_group(settings: Settings, group: str | None) -> Settings:
    """The configuration of one consumer group; ends the command if it is not clear which."""
    groups = groups_of(settings)
    found = settings_of(settings, group)
    if found is None or (group is None and SHARED not in groups and len(groups) > 1):
        there = ", ".join(name or group_name(told) for name, told in groups.items())
        raise typer.BadParameter(f"is to be one of {there}", param_hint="--consumer-group")
    return found


async def _rewind(settings: Settings, asked: Asked) -> None:
    told = _of_group(settings, asked.of_group)
    async with _opened(told, asked.partitions, asked.group) as group:
        if not group.stored:
            raise NotMoved("Nothing is stored for any partition.")
        for name in group.stored:
            check_owner(name, group.owners.get(name.partition), force=asked.force)
        needs_log = not isinstance(asked.to, str) or isinstance(asked.to, Mark)
        extents: Sequence[Extent] = await group.log.extents() if needs_log else ()
        moves = [await plan(group.store, name, asked.to, group.log, extents) for name in group.stored]
        for move in moves:
            check_direction(move, skips=asked.skips)
            typer.echo("\n".join(move.describe()))
        if asked.is_dry:
            typer.echo("Nothing was changed.")
            return
        _confirm(asked)
        await _carry_out(group.store, moves)


def _confirm(asked: Asked) -> None:
    if asked.yes:
        return
    if not sys.stdin.isatty():
        typer.echo("Nobody can be asked here whether to go on: give --yes, or look with --dry-run.", err=True)
        raise typer.Exit(ExitCode.USAGE)
    if not typer.confirm("Go on?"):
        typer.echo("Nothing was changed.")
        raise typer.Exit(ExitCode.FINDINGS)


async def _carry_out(store: InspectableStore, moves: Sequence[Move]) -> None:
    """Do all moves; one that a consumer was faster than does not keep the others from being done."""
    refused: list[str] = []
    for move in moves:
        try:
            await carry_out(store, move)
        except NotMoved as error:
            refused.append(str(error))
            continue
        aside = "What could not be read is kept as evidence." if move.is_damaged else "--to backup goes back."
        typer.echo(f"partition {move.name.partition}: moved to {move.to.sequence_number}. {aside}")
    if refused:
        raise NotMoved("\n".join(refused))

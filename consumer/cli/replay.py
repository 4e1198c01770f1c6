"""`inturn replay`: a stretch of the log once more, beside the live consumer and with state of its own.

Exit codes: 0 done, and nothing was dead-lettered; 1 something was, or the hub did not have all of it more,
or the replay was not confirmed; 2 what was asked for makes no replay; 75 stopped before its end, or something
cannot be reached: go on with --resume; 78 the configuration is wrong.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NoReturn

import msgspec
import typer
from rich.console import Console

from consumer.cli.config import DEFAULT_CONFIG, ConfigOption
from consumer.cli.event_loop import run_async
from consumer.cli.exit_codes import ExitCode
from consumer.cli.progress import Progress
from consumer.cli.replay_report import print_entries, print_plan, print_report
from consumer.config_file import load_settings
from consumer.replay.ledger import Entry, Ledger, ledger_path
from consumer.replay.places import Mark, Place, parse_place
from consumer.replay.planning import NotReplayable, Plan, Request, make_plan
from consumer.replay.running import Run, open_run
from consumer.settings import Settings
from consumer.sources.file import STANDARD_INPUT
from consumer.telemetry.logs import configure_logging

_LOOK_EVERY_S = 0.2

_From = Annotated[
    str | None,
    typer.Option(
        "--from",
        help="Where to begin: earliest, checkpoint, a sequence number, or a time such as "
        "2026-11-21T06:30:00Z or -2h.",
        show_default=False,
    ),
]
_To = Annotated[
    str | None,
    typer.Option(
        "--to",
        help="Where to end: now or latest (the newest message when the command is given; the default), "
        "checkpoint, a sequence number (it is the last), or a time (what was enqueued before it).",
        show_default=False,
    ),
]
_Partitions = Annotated[
    list[str] | None, typer.Option("--partition", help="Only this partition; may be given several times.")
]
_Processors = Annotated[
    list[str] | None, typer.Option("--processor", help="Only this processor; may be given several times.")
]
_Group = Annotated[
    str | None,
    typer.Option(
        help="The consumer group to read with. While a consumer runs, the configured one is taken: the "
        "hub lets nobody read beside it."
    ),
]
_SourceKind = Annotated[
    str | None,
    typer.Option("--source", help="file: read the files of --path instead of the configured source."),
]
_Paths = Annotated[
    list[Path] | None,
    typer.Option(
        "--path", help="JSON lines, or dead-letter blobs of Event Grid; may be given several times."
    ),
]
_Id = Annotated[
    str | None,
    typer.Option(
        "--id", help="The name of this replay, a part of every idempotency key; drawn if not given."
    ),
]
_DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Run everything but the processors, and say what would come of it.")
]
_Resumed = Annotated[
    str | None, typer.Argument(metavar="ID", help="With --resume: which replay.", show_default=False)
]
_Resume = Annotated[
    bool, typer.Option("--resume", help="Go on with a replay where it stopped: ID, or the last unfinished.")
]
_List = Annotated[bool, typer.Option("--list", help="List the replays.")]
_State = Annotated[
    Path | None,
    typer.Option(
        help="The file that remembers replays; without, inturn-replays.sqlite beside the SQLite state or the "
        "configuration.",
        dir_okay=False,
    ),
]
_Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def replay(  # noqa: PLR0913 - the options of a command
    *,
    resumed: _Resumed = None,
    config: ConfigOption = DEFAULT_CONFIG,
    from_: _From = None,
    to: _To = None,
    partition: _Partitions = None,
    processor: _Processors = None,
    dry_run: _DryRun = False,
    source: _SourceKind = None,
    path: _Paths = None,
    group: _Group = None,
    id_: _Id = None,
    resume: _Resume = False,
    list_: _List = False,
    state: _State = None,
    yes: _Yes = False,
) -> None:
    """Hand a stretch of the log to the processors once more; the live consumer and its checkpoint stay.

    Effects are made again, under idempotency keys of the replay's own: receivers do not take them for
    repetitions. The replay knows nothing of what came before --from: what would be stale or a duplicate
    because of that is neither.

    Ctrl-C finishes what is in flight; --resume goes on there, and repeats nothing.

    Exit code 1: something was dead-lettered, or the hub had not all of it any more. 75: stopped early.
    """
    settings = load_settings(config, os.environ)
    place = state or ledger_path(settings, config)
    given = (from_, to, partition, processor, dry_run, source, path, id_)
    with _at_work():
        if resume or list_:
            _check_nothing_else("--resume" if resume else "--list", given)
            if list_:
                print_entries(_console(), run_async(_entries(place)))
                return
            plan = _resumed(run_async(_find(place, resumed)), group)
        else:
            if resumed is not None:
                raise typer.BadParameter(f"{resumed} goes with --resume", param_hint="ID")
            _check_source(source, path or [])
            asked = Request(
                begin=_place("--from", from_, not_this=Mark.LATEST),
                end=_place("--to", to or Mark.LATEST, not_this=Mark.EARLIEST),
                partitions=tuple(partition or ()),
                processors=tuple(processor or ()),
                group=group,
                paths=tuple(each if str(each) == STANDARD_INPUT else each.absolute() for each in path or ()),
                id=id_,
            )
            plan = _planned(settings, asked, is_dry=dry_run, may_ask=not yes)
            if not dry_run:
                run_async(_begin(place, plan))
        code = run_async(_run(settings, plan, None if dry_run else place))
    raise typer.Exit(code)


@contextmanager
def _at_work() -> Iterator[None]:
    """Log no more than the table at the end would not say; turn what cannot be replayed into exit code 2."""
    logging = configure_logging(level="warning")
    try:
        yield
    except NotReplayable as error:
        _refuse(str(error))
    finally:
        logging.close()


def _console() -> Console:
    return Console()


def _check_nothing_else(option: str, given: Sequence[object]) -> None:
    if any(given):
        raise typer.BadParameter("what to replay was said when it was begun", param_hint=option)


def _check_source(kind: str | None, paths: Sequence[Path]) -> None:
    if kind not in (None, "hub", "file") or (kind == "file") is not bool(paths):
        raise typer.BadParameter("is hub, or file together with --path", param_hint="--source")


def _place(option: str, text: str | None, *, not_this: Mark) -> Place:
    if text is None:
        raise typer.BadParameter("is needed, unless with --resume or --list", param_hint=option)
    try:
        place = parse_place(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None
    if place is not_this:
        raise typer.BadParameter(
            f"nothing lies {'behind' if option == '--from' else 'before'} {text}", param_hint=option
        )
    return place


def _planned(settings: Settings, asked: Request, *, is_dry: bool, may_ask: bool) -> Plan:
    """Make a plan, show it, and have it confirmed; ends the command if it is not."""
    console = _console()
    plan, notices = run_async(make_plan(settings, asked))
    print_plan(console, plan, notices, is_dry=is_dry)
    if not plan.messages:
        console.print("There is nothing to replay.")
        raise typer.Exit(ExitCode.FINE)
    if is_dry or not may_ask:
        return plan
    if not sys.stdin.isatty():
        _refuse("Nobody can be asked here whether to go on: give --yes, or look first with --dry-run.")
    if not typer.confirm("Their effects are made again. Go on?"):
        console.print("Nothing was done.")
        raise typer.Exit(ExitCode.FINDINGS)
    return plan


def _resumed(entry: Entry, group: str | None) -> Plan:
    """What to go on with, if need be through another consumer group; ends the command if it is finished."""
    console = _console()
    if entry.finished_ms is not None:
        console.print(f"Replay {entry.plan.id} is finished. Nothing was done; a new one needs a new id.")
        raise typer.Exit(ExitCode.FINE)
    plan = msgspec.structs.replace(entry.plan, reading_group=group or entry.plan.reading_group)
    print_plan(console, plan, [], is_dry=False)
    return plan


def _refuse(message: str) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(ExitCode.USAGE)


async def _entries(path: Path) -> list[Entry]:
    ledger = Ledger(path)
    try:
        return await ledger.entries()
    finally:
        await ledger.close()


async def _find(path: Path, id_: str | None) -> Entry:
    ledger = Ledger(path)
    try:
        return await ledger.find(id_)
    finally:
        await ledger.close()


async def _begin(path: Path, plan: Plan) -> None:
    ledger = Ledger(path)
    try:
        await ledger.begin(plan)
    finally:
        await ledger.close()


async def _run(settings: Settings, plan: Plan, path: Path | None) -> ExitCode:
    console = _console()
    async with open_run(settings, plan, path) as run:
        try:
            with Progress(console, plan.messages) as progress:
                await _watch(run, progress)
        finally:
            print_report(console, run)
    if not run.is_finished:
        return ExitCode.TEMPORARY
    return ExitCode.FINDINGS if run.has_findings else ExitCode.FINE


async def _watch(run: Run, progress: Progress) -> None:
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(run.run())
        while not running.done():
            progress.update(run.done(), is_stopping=run.engine.status().state == "draining")
            await asyncio.wait((running,), timeout=_LOOK_EVERY_S)

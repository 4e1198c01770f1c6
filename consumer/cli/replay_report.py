"""What `inturn replay` shows: the plan, and the table at the end."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from consumer.replay.ledger import Entry
from consumer.replay.planning import Plan
from consumer.replay.running import Run

_OUTCOMES = ("handled", "duplicate", "stale", "ignored", "dead_lettered")


def print_plan(console: Console, plan: Plan, notices: Sequence[str], *, is_dry: bool) -> None:
    """Say what is going to be read, and who is going to be given it."""
    what = "dry run" if is_dry else f"replay {plan.id}"
    group = "" if plan.paths else f", consumer group {plan.reading_group or plan.group}"
    lines = [f"{what} of {plan.source}{group}: {plan.messages:,} messages"]
    lines += [
        f"partition {each.partition}: messages {each.after + 1} to {each.last}" for each in plan.stretches
    ]
    lines += [*notices, f"processors: {', '.join(plan.processors)}"]
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def print_report(console: Console, run: Run) -> None:
    """Print what came of a replay, its earlier runs included, and how to go on."""
    plan, tally = run.plan, run.tally
    is_dry = run.ledger is None
    table = _table("event" if not is_dry else "event, if it were not a dry run", "count")
    for name, count in sorted(tally.outcomes.items(), key=_rank):
        table.add_row(name.replace(":", ": "), f"{count:,}")
    if tally.missing:
        table.add_row("messages that left the hub unread", f"{tally.missing:,}")
    console.print(table)
    console.print(_tried(run) if is_dry else _done(run))
    if tally.was_killed:
        console.print("A run was cut off: what it did last is not counted, and may have been done twice.")
    if is_dry:
        console.print("What a processor would refuse is not known before it is asked.")
    if run.is_finished:
        last = "" if is_dry else f"Replay {plan.id} is finished."
    else:
        last = f"Stopped with {run.done():,} of {plan.messages:,} messages done."
        last += "" if is_dry else f" To go on: inturn replay --resume {plan.id}"
    if last:
        console.print(last, highlight=False, soft_wrap=True)


def _done(run: Run) -> Table:
    table = _table("processor", "handled", "stale", "dead letters")
    tally = run.tally
    for name in run.plan.processors:
        counts = (each.get(name, 0) for each in (tally.handled, tally.stale, tally.dead))
        table.add_row(name, *(f"{count:,}" for count in counts))
    return table


def _tried(run: Run) -> Table:
    table = _table("processor", "event type", "would be given")
    for (name, type_), count in sorted(run.tried.items()):
        table.add_row(name, escape(type_), f"{count:,}")
    for name, count in run.tally.stale.items():
        if count:
            table.add_row(name, "(stale, skipped)", f"{count:,}")
    return table


def print_entries(console: Console, entries: Sequence[Entry]) -> None:
    """List replays."""
    if not entries:
        console.print("There are no replays.")
        return
    table = _table("id", "begun", "of", "messages", "processors", "")
    for entry in entries:
        begun = datetime.fromtimestamp(entry.begun_ms / 1_000, UTC)
        state = "finished" if entry.finished_ms is not None else "unfinished"
        plan = entry.plan
        texts = (plan.id, f"{begun:%Y-%m-%d %H:%M:%S}", plan.source, f"{plan.messages:,}")
        table.add_row(*map(escape, (*texts, ", ".join(plan.processors), state)))
    console.print(table)


def _table(*columns: str) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), header_style="dim")
    for column in columns:
        is_number = column in ("count", "handled", "stale", "dead letters", "would be given", "messages")
        table.add_column(
            column,
            overflow="fold",
            justify="right" if is_number else "left",
            no_wrap=column == "id",  # to be copied
        )
    return table


def _rank(item: tuple[str, int]) -> tuple[int, str]:
    outcome = item[0].partition(":")[0]
    return _OUTCOMES.index(outcome), item[0]

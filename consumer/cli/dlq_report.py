"""What `inturn dlq` shows: letters, what would be done with them, and what was."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from consumer.events import DeadLetter
from consumer.fields import field
from consumer.redrive.previewing import Proposal
from consumer.redrive.running import SELECTED_MAX, Redrive, Report
from consumer.settings import Settings
from consumer.stores import COUNTED_MAX
from consumer.telemetry.redaction import redact

_KEY_SHOWN = 12


def print_letters(console: Console, letters: Sequence[DeadLetter], count: int) -> None:
    """A table of letters, and how many there are."""
    if letters:
        console.print(_table(letters))
    reasons = Counter(letter.reason.value for letter in letters)
    shown = ", ".join(f"{reason} {number}" for reason, number in reasons.most_common())
    more = " or more" if count >= COUNTED_MAX else ""
    typer.echo(f"{count}{more} dead letters, {len(letters)} shown{': ' if shown else ''}{shown}")


def _table(letters: Sequence[DeadLetter]) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), header_style="dim")
    for column in ("key", "when", "reason", "processor", "event", "error"):
        table.add_column(column, overflow="fold")
    for letter in letters:
        when = datetime.fromtimestamp(letter.dead_lettered_at_ms / 1_000, UTC)
        texts = (
            letter.key[:_KEY_SHOWN],
            letter.reason,
            letter.processor or "–",
            _event_of(letter),
            letter.error,
        )
        # What events say may neither write to the terminal nor be taken for markup.
        key, *rest = (escape(redact(text)) for text in texts)
        table.add_row(key, f"{when:%m-%d %H:%M:%S}", *rest)
    return table


def _event_of(letter: DeadLetter) -> str:
    return letter.subject or f"{letter.position.partition}/{letter.position.sequence_number}"


def write_letter(letter: DeadLetter, indent: int = 0) -> None:
    """A letter as JSON on standard output: its bytes as text where they are text."""
    fields: dict[str, Any] = msgspec.to_builtins(letter)
    trace = _trace_of(letter.original)
    if trace is not None:
        fields["trace_id"] = trace
    try:
        fields["original"] = letter.original.decode("utf-8")
    except UnicodeDecodeError:
        fields["original_base64"] = fields.pop("original")  # msgspec writes bytes so
    text = msgspec.json.encode(fields)
    sys.stdout.buffer.write((msgspec.json.format(text, indent=indent) if indent else text) + b"\n")


def _trace_of(original: bytes) -> str | None:
    """The trace that an event belongs to, where it says so as CloudEvents do (``traceparent``)."""
    try:
        parent = field(msgspec.json.decode(original), "traceparent")
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    parts = parent.split("-") if isinstance(parent, str) else []
    return parts[1] if len(parts) >= 4 else None


def proposer(console: Console) -> Callable[[Proposal], None]:
    """Prints what would come of a letter, and what its processor says it would do."""

    def propose(proposal: Proposal) -> None:
        letter = proposal.letter
        line = f"{letter.key[:_KEY_SHOWN]}  {letter.processor or '–'}  {_event_of(letter)}  {proposal.what}"
        console.print(redact(line), markup=False, highlight=False, soft_wrap=True)
        if proposal.effect is not None:
            effect = redact(msgspec.json.encode(proposal.effect).decode())
            console.print(f"    {effect}", markup=False, highlight=False, soft_wrap=True)

    return propose


def print_redrive(console: Console, redrive: Redrive, *, is_dry: bool) -> None:
    """What came of a redrive, or would."""
    report = redrive.report
    if report.by_processor:
        heads = ("would be run", "would fail") if is_dry else ("redriven", "failed again")
        table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), header_style="dim")
        table.add_column("processor", overflow="fold")
        for column in (*heads, "held back"):
            table.add_column(column, justify="right")
        for name, tally in report.by_processor.items():
            table.add_row(name, f"{tally.redriven:,}", f"{tally.failed:,}", f"{tally.held_back:,}")
        console.print(table)
    lines = list(_remarks(report, is_dry=is_dry))
    if redrive.pace.is_stopped:
        lines.append("Stopped before its end. What was not run stays; run it again to go on.")
    if not lines and not report.by_processor:
        lines.append("There is nothing to redrive.")
    if is_dry:
        lines.append("Nothing was done.")
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _remarks(report: Report, *, is_dry: bool) -> Iterator[str]:
    """What the table does not say."""
    for name, count in report.unknown.items():
        yield f"{count:,} letters of {name}, which is not configured, stay."
    if not is_dry and any(tally.failed for tally in report.by_processor.values()):
        yield "`inturn dlq list` says why letters failed again."
    if any(tally.held_back for tally in report.by_processor.values()):
        yield "Held back: an earlier letter of the object stays, or was not asked for."
    if report.refused:
        yield f"{report.refused:,} letters are no event that anybody wants by today's rules: they stay."
    if report.empty:
        yield f"{report.empty:,} letters held no event."
    if report.has_more:
        yield f"There are more than {SELECTED_MAX:,} letters: run it again for the rest."


def print_remaining(settings: Settings) -> None:
    """Say where forgetting is not erasing."""
    if settings.dead_letters.type == "eventhub":
        typer.echo("The hub itself keeps their bytes until its retention ends; they are not listed any more.")

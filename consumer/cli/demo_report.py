"""What `inturn demo` shows: how far it is, and the table at the end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from consumer.cli.progress import Bars
from consumer.events import Position
from consumer.samples import sender
from consumer.samples.truth import Spot, Truth
from consumer.status import EngineStatus


class DemoProgress(Bars):
    """How much is sent, and how much resolved."""

    def __init__(self, console: Console, messages: int, events: int) -> None:
        super().__init__(console)
        self._sent = self._resolved = 0
        self._messages, self._events = messages, events
        self._update()  # both bars are there before two threads count

    def on_sent(self, progress: sender.Progress) -> None:
        """Take how many messages were sent."""
        self._sent = progress.sent
        self._update()

    def on_resolved(self, resolved: int) -> None:
        """Take how many events reached their outcome."""
        self._resolved = resolved
        self._update()

    def _update(self) -> None:
        sent, resolved = f"{self._sent} of {self._messages}", f"{self._resolved} of {self._events}"
        self.show(
            f"{sent} messages sent, {resolved} events resolved",
            ("messages sent", self._sent, self._messages),
            ("events resolved", self._resolved, self._events),
        )


class Line(NamedTuple):
    """A number and what it must be."""

    what: str
    found: int
    truth: int


@dataclass(slots=True)
class Report:
    """What came of the demonstration, and what had to come of it."""

    seed: int
    sent: int
    """Messages."""
    took_s: float
    truth: Truth
    status: EngineStatus
    handled: dict[Spot, list[Position]]
    """What the recording processor was given, by object, in order."""
    dead_letters: int
    """In the store."""
    newest: dict[str, int]
    """The last sequence number in each partition."""
    lines: list[Line] = field(init=False)

    def __post_init__(self) -> None:
        self.lines = list(self._lines())

    @property
    def is_true(self) -> bool:
        """Whether every number is the truth."""
        return all(line.found == line.truth for line in self.lines)

    def _lines(self) -> Iterator[Line]:
        found, truth = self.status.outcomes, self.truth.outcomes
        yield Line("events resolved", sum(found.values()), sum(truth.values()))
        for outcome in sorted(found.keys() | truth.keys(), key=_rank):
            yield Line(outcome.replace(":", ": "), found.get(outcome, 0), truth.get(outcome, 0))
        conflicts = sum(each.identity_conflicts for each in self.status.partitions)
        yield Line("same identity, other data", conflicts, len(self.truth.conflicts))
        in_order = sum(self.handled.get(spot) == order for spot, order in self.truth.handled.items())
        yield Line("objects handled in order", in_order, len(self.truth.handled))
        dead = sum(count for name, count in truth.items() if name.startswith("dead_lettered"))
        yield Line("dead letters in the store", self.dead_letters, dead)
        for each in self.status.partitions:
            yield Line(
                f"checkpoint of partition {each.partition}", each.checkpoint, self.newest[each.partition]
            )
        yield Line("partitions", len(self.status.partitions), len(self.newest))


_ORDER = ("handled", "duplicate", "stale", "ignored", "dead_lettered")


def _rank(outcome: str) -> tuple[int, str]:
    return _ORDER.index(outcome.partition(":")[0]), outcome


def print_report(console: Console, report: Report) -> None:
    """Print the table and the verdict."""
    table = Table(title=f"inturn demo, seed {report.seed}", title_justify="left")
    table.add_column("what")
    table.add_column("found", justify="right")
    table.add_column("truth", justify="right")
    table.add_column("")
    table.add_row("messages sent", f"{report.sent:,}", "", "")
    for line in report.lines:
        mark = "[green]ok[/]" if line.found == line.truth else "[bold red]differs[/]"
        table.add_row(line.what, f"{line.found:,}", f"{line.truth:,}", mark)
    events = sum(report.status.outcomes.values())
    table.add_row("events per second, sending included", f"{events / report.took_s:,.0f}", "", "")
    console.print(table)
    if report.is_true:
        console.print("Every number is the truth.", style="green")
    else:
        console.print("Numbers differ from the truth.", style="bold red")

"""How far a command is: bars on a terminal, now and then a line elsewhere."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichBars

_LINE_EVERY_S = 2.0
"""Without a terminal: how often a line says how far it is."""


class Bars:
    """A bar for each thing that is counted; without a terminal a line for all of them."""

    def __init__(self, console: Console, *more: ProgressColumn) -> None:
        """`more` columns stand behind the usual ones."""
        self._console = console
        self._said_s = time.monotonic()
        self._bars: RichBars | None = None
        if console.is_terminal:
            columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
            self._bars = RichBars(*columns, *more, console=console, transient=True)

    def __enter__(self) -> Self:
        if self._bars is not None:
            self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bars is not None:
            self._bars.stop()

    def show(self, line: str, *counts: tuple[str, int, int]) -> None:
        """Take what is counted, how far it is and its total, of each bar; and the line that says it all."""
        if self._bars is None:
            if time.monotonic() - self._said_s >= _LINE_EVERY_S:
                self._said_s = time.monotonic()
                self._console.print(line)
            return
        for what, _, total in counts[len(self._bars.tasks) :]:
            self._bars.add_task(what, total=total)
        for task, (what, done, total) in zip(self._bars.task_ids, counts, strict=True):
            self._bars.update(task, description=what, completed=done, total=total)


class Progress(Bars):
    """Counts up to a total, of messages or of whatever `what` says."""

    def __init__(self, console: Console, total: int, what: str = "messages") -> None:
        super().__init__(console, TimeRemainingColumn())
        self._total = total
        self._what = what
        self.update(0, is_stopping=False)

    def update(self, done: int, *, is_stopping: bool, total: int | None = None) -> None:
        """Take how many are done, whether nothing new is begun, and the total if it is another one now."""
        if total is not None:
            self._total = total
        what = f"{self._what} done"
        shown = "finishing what is in flight" if is_stopping else what
        self.show(f"{done:,} of {self._total:,} {what}", (shown, done, self._total))

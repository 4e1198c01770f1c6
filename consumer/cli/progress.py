"""How far a command is: a bar on a terminal, now and then a line elsewhere."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

_LINE_EVERY_S = 2.0
"""Without a terminal: how often a line says how far it is."""


class Progress:
    """Counts up to a total, of messages or of whatever `what` says."""

    def __init__(self, console: Console, total: int, what: str = "messages") -> None:
        self._console = console
        self._total = total
        self._what = what
        self._said_s = time.monotonic()
        self._bars: Bars | None = None
        if console.is_terminal:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
            )
            self._bars = Bars(*columns, console=console, transient=True)
            self._bar = self._bars.add_task(f"{what} done", total=total)

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

    def show(self, done: int, *, is_stopping: bool, total: int | None = None) -> None:
        """Take how many are done, whether nothing new is begun, and the total if it is another one now."""
        if total is not None:
            self._total = total
        if self._bars is not None:
            what = "finishing what is in flight" if is_stopping else f"{self._what} done"
            self._bars.update(self._bar, completed=done, total=self._total, description=what)
        elif time.monotonic() - self._said_s >= _LINE_EVERY_S:
            self._said_s = time.monotonic()
            self._console.print(f"{done:,} of {self._total:,} {self._what} done")

"""Which process this is of those that one supervisor starts, and which before it in its place are dead.

An owner that falls silent may be slow, frozen or cut off, so others leave it its partitions until its
ownerships expire. A supervisor that has reaped a process knows better: nothing of it will ever write again.
So it gives each process a mark, which stands in the name of every owner that the process becomes, and tells
it the marks of those it has reaped. What they still own is then nobody's at once. Who may write is decided by
the fence, as ever.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from typing import NamedTuple

FORERUNNERS_MAX = 16
"""A process is told of so many, the last ones. What one before them still owns expires by itself."""
_MARK_END = "."


class Succession(NamedTuple):
    """A process and its forerunners."""

    mark: str = ""
    """32 hexadecimal digits that no other process ever has; "" for one that nobody supervises."""
    dead: tuple[str, ...] = ()
    """The marks of processes that were reaped before this one was started."""

    @classmethod
    def after(cls, dead: Iterable[str]) -> Succession:
        """Make that of a new process."""
        return cls(uuid.uuid4().hex, tuple(dead))

    @classmethod
    def parse(cls, text: str) -> Succession:
        """Read what `str` gives. Raises `ValueError`."""
        if not text:
            return cls()
        mark, *dead = (uuid.UUID(hex=each).hex for each in text.split(","))
        return cls(mark, tuple(dead))

    def __str__(self) -> str:
        return ",".join((self.mark, *self.dead))

    def owner(self, client: str) -> str:
        """What a client of this process is called where others read it."""
        return f"{self.mark}{_MARK_END}{client}" if self.mark else client

    def is_dead(self, owner: str) -> bool:
        """Whether an owner was a client of a process that is known to be dead."""
        return owner.partition(_MARK_END)[0] in self.dead


ALONE = Succession()
"""A process that nobody supervises: it is told of no death."""

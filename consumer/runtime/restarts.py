"""When a worker that died is started again, and when it is time to give up. Pure: times in, decisions out."""

from __future__ import annotations

import signal
from collections import deque
from dataclasses import dataclass

USAGE, TEMPORARY, CONFIGURATION = 2, 75, 78
"""Exit codes that mean something here, as the command line gives them."""


@dataclass(frozen=True, slots=True)
class RestartLimits:
    """How patient a supervisor is, in seconds."""

    backoff_s: float = 1.0
    """Before the first restart; doubled for every further one."""
    backoff_max_s: float = 30.0
    well_after_s: float = 60.0
    """A worker that lived so long is well again: its next restart waits for `backoff_s`."""
    deaths_max: int = 10
    """So many deaths within `window_s` are the last: all workers are stopped, and it ends with code 75."""
    window_s: float = 300.0
    together_s: float = 1.0
    """Deaths within this time are one: what kills all at once is not a worker that cannot live."""


class RestartPolicy:
    """Counts the deaths of all workers of one supervisor."""

    def __init__(self, limits: RestartLimits | None = None) -> None:
        self._limits = limits or RestartLimits()
        self._deaths_s: deque[float] = deque()
        self._next_wait_s: dict[str, float] = {}

    def died(self, worker: str, now_s: float, lived_s: float) -> float | None:
        """Seconds to wait before the worker is started again; None if there were too many deaths.

        `now_s` never falls from call to call.
        """
        limits, deaths_s = self._limits, self._deaths_s
        while deaths_s and now_s - deaths_s[0] >= limits.window_s:
            deaths_s.popleft()
        if not deaths_s or now_s - deaths_s[-1] >= limits.together_s:
            deaths_s.append(now_s)
        if len(deaths_s) >= limits.deaths_max:
            return None
        wait_s = self._next_wait_s.get(worker, limits.backoff_s)
        if lived_s >= limits.well_after_s:
            wait_s = limits.backoff_s
        self._next_wait_s[worker] = min(wait_s * 2, limits.backoff_max_s)
        return wait_s


def is_final(code: int) -> bool:
    """Whether starting again cannot help: the command line or the configuration is wrong."""
    return code in (USAGE, CONFIGURATION)


def how_it_ended(code: int) -> str:
    """A return code as a person reads it: ``exit code 75``, ``signal SIGKILL``."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"

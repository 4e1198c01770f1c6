"""How many mails there may be: some at once, then one at a time, evenly spaced."""

from __future__ import annotations

_HOUR_S = 3_600.0


class MailLimit:
    """At most so many in any hour. Never looks at a clock: monotonic seconds come in, never falling."""

    def __init__(self, per_hour_max: int | None) -> None:
        """None: as many as there are."""
        at_once = 1 if per_hour_max is None else (per_hour_max + 1) // 2
        self._step_s = 0.0 if per_hour_max is None else _HOUR_S / (per_hour_max - at_once + 1)
        self._slack_s = (at_once - 1) * self._step_s
        self._next_s = float("-inf")
        """When the next one would be due if they were evenly spaced from the first on."""

    def wait_s(self, now_s: float) -> float:
        """Seconds until there may be one; 0: now."""
        return max(0.0, self._next_s - self._slack_s - now_s)

    def take(self, now_s: float) -> None:
        """Count one, at a time when there may be one."""
        self._next_s = max(self._next_s, now_s) + self._step_s

    def give_back(self) -> None:
        """The last one was not sent after all."""
        self._next_s -= self._step_s

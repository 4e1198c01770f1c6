"""When to try again, and when to stop trying."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Exponential back-off with full jitter.

    After `attempts_max` attempts the event is dead-lettered (``on_failure: dead_letter``), or tried on
    for ever at the longest wait (``on_failure: block``).
    """

    attempts_max: int = 5
    backoff_s: float = 0.5
    """The longest wait before the second attempt; doubled for every further one."""
    backoff_max_s: float = 30.0
    block: bool = False

    def __post_init__(self) -> None:
        if self.attempts_max < 1 or self.backoff_s < 0 or self.backoff_max_s < self.backoff_s:
            raise ValueError(f"not a retry policy: {self}")

    def wait_s(self, failed_attempts: int, jitter: float, after_s: float | None = None) -> float | None:
        """How long to wait after a number of failed attempts; None: no more attempts.

        `jitter` is in [0, 1]. `after_s` is what the processor asked for: it is granted as a minimum,
        up to the longest wait.
        """
        if failed_attempts >= self.attempts_max and not self.block:
            return None
        longest = min(self.backoff_s * 2.0 ** min(failed_attempts - 1, 32), self.backoff_max_s)
        wait = longest * jitter
        if after_s is not None:
            wait = max(wait, min(after_s, self.backoff_max_s))
        return wait

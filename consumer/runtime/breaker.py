"""The circuit breaker of a processor: when its target is down, nothing is attempted, and nothing is spent.

Pure: times in, decisions out. One breaker counts over all lanes and partitions of the process.

*Closed*, attempts go through. `failures` failed ones in a row, of whatever lanes, open it: faults, time-outs
and `Retry` count; a `Reject` says something of its event only, and counts neither way. In a row, and not a
share of a window: a target that is down fails everything, however little there is to do; one that fails some
is what retries are for.
*Open*, nothing is attempted for `open_s`, and lanes wait, which is no attempt. Then one lane, and only one,
makes a *probe*. If that fails, the wait doubles, up to `open_max_s`, and it is another lane's turn. Any
success, of a probe or of what was under way before, closes it.

What that means for the event that fails (`Patience`). A target that is down must not make dead letters of all
that waits for it; a bad event must become one, and must not hold the breaker open for ever. So:

* while it is closed, a failed attempt is spent, as without a breaker;
* an event whose failure opens it, or that fails while it is open, is forgiven, once, what it has spent;
* what was under way when it opened, and fails later, is not spent. A failed probe is: the lanes take turns,
  so if another one's event succeeds, the breaker closes, and the bad event goes on failing by itself;
* if nobody succeeds, an event is given up after `attempts` probes of its own, for it may be what is bad. As
  likely it is not: so the next one has twice the probes, and the one after that four times as many, up to 64
  times, until anything succeeds. So an outage of a day costs about ten events, where nothing else is set, and
  however many bad ones stand in a row, each is given up within hours.

With ``attempts: 1`` every failure is the last, for nothing is to be tried twice: only the lanes wait.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

_WAIT_DOUBLINGS_MAX = 32
"""Far beyond what anybody configures."""
_PATIENCE_DOUBLINGS_MAX = 6
"""With five attempts and a minute between probes an event is given up after five hours at the latest."""


class BreakerState(StrEnum):
    """Whether attempts go through."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"
    """One attempt is being made, to see."""


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """When to stop trying, and for how long."""

    failures: int = 5
    """Failed attempts in a row, of whatever events, that open it."""
    open_s: float = 5.0
    """Before the first probe; doubled after every one that fails."""
    open_max_s: float = 60.0
    probe_max_s: float = 60.0
    """A probe that has not ended by then never will: another one is made."""

    def __post_init__(self) -> None:
        if self.failures < 1 or self.open_s <= 0 or self.open_max_s < self.open_s or self.probe_max_s <= 0:
            raise ValueError(f"not a policy of a breaker: {self}")


class Breaker:
    """Counts failures in a row; `now_s` never falls from call to call.

    Whoever makes an attempt asks `wait_s` until that says 0, then calls `begin`, and with what that gave ends
    it by one of `succeeded`, `failed` and `withdrawn`.
    """

    def __init__(self, policy: BreakerPolicy) -> None:
        self.policy = policy
        self.state = BreakerState.CLOSED
        self.row = 0
        """Failed attempts since the last success."""
        self.opened = 0
        """How often it was opened that was closed."""
        self._given_up = 0
        """Events given up since the last success, while it was open."""
        self._probes_failed = 0
        """Since it was opened."""
        self._next_s = 0.0
        """Before that time nothing is attempted, unless it is closed."""
        self._probe = 0
        """The number of the latest probe."""

    @property
    def is_calm(self) -> bool:
        """Whether nothing has failed since the last success."""
        return self.row == 0

    def wait_s(self, now_s: float) -> float:
        """Seconds until an attempt may begin; 0: now."""
        return 0.0 if self.state is BreakerState.CLOSED else max(0.0, self._next_s - now_s)

    def begin(self, now_s: float) -> int:
        """Begin an attempt that may; gives the number of the probe that it is, 0 if it is none."""
        if self.state is BreakerState.CLOSED:
            return 0
        self.state = BreakerState.HALF_OPEN
        self._probe += 1
        self._next_s = now_s + self.policy.probe_max_s
        return self._probe

    def succeeded(self) -> None:
        """Say that an attempt succeeded, whichever."""
        self.state = BreakerState.CLOSED
        self.row = self._given_up = self._probes_failed = 0

    def failed(self, probe: int, now_s: float) -> None:
        """Say that an attempt failed which `begin` gave that number."""
        self.row += 1
        if self.state is BreakerState.CLOSED:
            if self.row >= self.policy.failures:
                self.opened += 1
                self._open(now_s)
        elif self.is_current(probe):
            self._probes_failed += 1
            self._open(now_s)

    def withdrawn(self, probe: int, now_s: float) -> None:
        """Say that an attempt has shown nothing of the target: it was rejected, or cut off by ourselves."""
        if self.is_current(probe):
            self.state = BreakerState.OPEN
            self._next_s = now_s

    def gave_up(self) -> None:
        """Say that an event has spent its attempts."""
        if self.state is not BreakerState.CLOSED:
            self._given_up += 1

    def is_current(self, probe: int) -> bool:
        """Whether it is the probe that is being made."""
        return self.state is BreakerState.HALF_OPEN and probe == self._probe

    @property
    def price(self) -> float:
        """What a failed probe costs its event, in attempts."""
        return 0.5 ** min(self._given_up, _PATIENCE_DOUBLINGS_MAX)

    def _open(self, now_s: float) -> None:
        policy = self.policy
        self.state = BreakerState.OPEN
        growth = 2.0 ** min(self._probes_failed, _WAIT_DOUBLINGS_MAX)
        self._next_s = now_s + min(policy.open_s * growth, policy.open_max_s)


class Patience:
    """How many of its attempts one event, or one chunk, has spent."""

    __slots__ = ("_attempts_max", "_is_forgiven", "_spent")

    def __init__(self, attempts_max: int) -> None:
        self._attempts_max = attempts_max
        self._is_forgiven = attempts_max == 1
        self._spent = 0.0

    @property
    def spent(self) -> int:
        """Whole attempts."""
        return int(self._spent)

    def failed(self, breaker: Breaker | None, probe: int, now_s: float) -> None:
        """Note a failed attempt, with the breaker as well."""
        if breaker is None:
            self._spent += 1
            return
        was_closed = breaker.state is BreakerState.CLOSED
        was_probe, price = breaker.is_current(probe), breaker.price
        breaker.failed(probe, now_s)
        if was_closed or self._attempts_max == 1:
            self._spent += 1
        if breaker.state is not BreakerState.CLOSED and not self._is_forgiven:
            self._is_forgiven = True
            self._spent = 0.0
        if was_probe and self._attempts_max > 1:
            self._spent += price

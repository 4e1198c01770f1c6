"""Whether a drift leads to a retraining: pure, from what the target says has been run.

Nothing is counted here, so restarts and replicas agree: the runs of the last days come from Data Factory or
Azure ML themselves. Several drifts of a model come to one run (one in flight, then the cool-down); a model
that has been retrained is so again only after its drift was seen to be gone, or after `rearm_s`; and all
models together have a budget a day.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple

DAY_S = 86_400.0


class RunState(StrEnum):
    """What became of a run."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


class Run(NamedTuple):
    """A retraining that was started by us, here or in another process."""

    id: str
    key: str
    """Of the effect that started it."""
    model: str
    started_s: float
    """Seconds since 1970."""
    state: RunState


class Drift(NamedTuple):
    """How far a model has drifted."""

    model: str
    level: float
    """The drift coefficient; of a monitor that only says breached or not, 1 or 0."""
    start_at: float
    """From here on it is to be retrained."""
    clear_below: float
    """Below this it counts as gone."""


class Limits(NamedTuple):
    """How often at most."""

    per_day_max: int
    """Over all models."""
    cooldown_s: float
    """From the start of one run of a model to the next."""
    rearm_s: float
    """After so long a model counts as new, even if its drift was never seen to be gone."""

    @property
    def window_s(self) -> float:
        """How far back runs have to be known."""
        return max(DAY_S, self.cooldown_s, self.rearm_s)


class Reason(StrEnum):
    """Why a retraining was held back."""

    IN_FLIGHT = "in_flight"
    """The model is being retrained."""
    COOLDOWN = "cooldown"
    """It was, a short time ago."""
    NOT_CLEARED = "not_cleared"
    """It was, and its drift was not seen to be gone since."""
    BUDGET = "budget"
    """Too many models were, in the last day."""


class Known(NamedTuple):
    """This very drift has started a run already."""

    run: Run


class Start(NamedTuple):
    """Retrain."""


class HeldBack(NamedTuple):
    """Do not retrain, and say so."""

    reason: Reason
    until_s: float | None
    """When that reason ends by itself; None: not by time."""


class Quiet(NamedTuple):
    """There is no drift to speak of."""


Verdict = Known | Start | HeldBack | Quiet


def judge(
    drift: Drift, key: str, runs: Iterable[Run], limits: Limits, now_s: float, cleared_s: float | None
) -> Verdict:
    """Decide. `cleared_s` is when the drift was last seen to be gone; None: never, as far as is known."""
    known = list(runs)
    ours = next((run for run in known if run.key == key), None)
    if ours is not None:
        return Known(ours)
    if drift.level < drift.start_at:
        return Quiet()
    of_model = [run for run in known if run.model == drift.model]
    if any(run.state is RunState.RUNNING for run in of_model):
        return HeldBack(Reason.IN_FLIGHT, None)
    if of_model:
        latest_s = max(run.started_s for run in of_model)
        if now_s < latest_s + limits.cooldown_s:
            return HeldBack(Reason.COOLDOWN, latest_s + limits.cooldown_s)
        if (cleared_s is None or cleared_s <= latest_s) and now_s < latest_s + limits.rearm_s:
            return HeldBack(Reason.NOT_CLEARED, latest_s + limits.rearm_s)
    of_day = sorted(run.started_s for run in known if run.started_s > now_s - DAY_S)
    if len(of_day) >= limits.per_day_max:
        return HeldBack(Reason.BUDGET, of_day[-limits.per_day_max] + DAY_S)
    return Start()


def is_clear(drift: Drift) -> bool:
    """Whether the drift counts as gone."""
    return drift.level < drift.clear_below

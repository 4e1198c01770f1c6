"""Retrains a model when it has drifted, and no more often than is allowed.

It is off until it is told which workspaces and models, what to run, and how many runs a day. What was run is
asked of Data Factory or Azure ML each time, so restarts and replicas agree; only two processes that look in
the same second may each start one. A drift that is seen while nothing may start is held back, and that is
said: the next one that is detected may start again.

Says `Inturn.RetrainingStarted`, `Inturn.RetrainingHeldBack` or `Inturn.RetrainingFailed` (Azure refused to
start it; how a run ends is told by the workspace's own events).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from consumer.events import Event
from consumer.processor import Context, Reject
from processors.azure_credentials import credential_of
from processors.azure_rest import Refused, ResourceManager
from processors.azure_settings import AzureSettings, Frozen, WorkspaceId
from processors.retrain_governor import HeldBack, Known, Limits, Quiet, Run, RunState, Start, is_clear, judge
from processors.retrain_rules import Rule, Sign, sign_of
from processors.retrain_targets import Target, target_of

STARTED = "Inturn.RetrainingStarted"
HELD_BACK = "Inturn.RetrainingHeldBack"
FAILED = "Inturn.RetrainingFailed"
_REMEMBERED_S = 600.0
"""How long a run that we started counts although Azure does not show it yet."""

_log = logging.getLogger("inturn.processors.retrain")


class Retrain:
    """Runs what a rule says when its model drifts; leaves every other event alone."""

    class Settings(Frozen):
        """What may be retrained, by what, and how often."""

        azure: AzureSettings = AzureSettings()
        """Which Azure, and who we are there."""
        workspaces: tuple[WorkspaceId, ...] = Field(min_length=1)
        """Resource ids of the workspaces whose drift counts; events of others are left alone."""
        rules: tuple[Rule, ...] = Field(min_length=1)
        """Which models, and what retrains them; the first that fits counts."""
        runs_per_day_max: int = Field(ge=1, le=1_000)
        """Runs in 24 hours, over all models."""
        cooldown_h: float = Field(default=12.0, ge=0, le=168)
        """Hours from the start of one run of a model to the next."""
        rearm_h: float = Field(default=24.0, ge=0, le=168)
        """A model is retrained again once its drift was seen to be gone, or after so many hours."""
        breach_text: str = Field(default="violating metric thresholds", min_length=1, max_length=200)
        """What the tag of a model monitor's failed run contains if it failed because of drift."""
        on_failed: Literal["emit", "reject"] = "emit"
        """When Azure refuses to start it. emit: say Inturn.RetrainingFailed. reject: a dead letter."""

        @model_validator(mode="after")
        def _check_models(self) -> Self:
            models = [rule.model for rule in self.rules]
            if twice := sorted({model for model in models if models.count(model) > 1}):
                raise ValueError(
                    f"rules: two are for {', '.join(twice)}; a rule takes both kinds of monitors"
                )
            return self

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._limits = Limits(
            settings.runs_per_day_max, settings.cooldown_h * 3_600, settings.rearm_h * 3_600
        )
        self._manager: ResourceManager | None = None
        self._targets: dict[str, Target] = {}
        """By the rule's model."""
        self._cleared_s: dict[str, float] = {}
        """When a model's drift was last seen to be gone; as many as there are rules."""
        self._started: dict[str, Run] = {}
        """What we started lately, by key: Azure shows it a little later."""

    async def open(self) -> None:
        """Get the credential ready. Raises `ProcessorSettingsError` if what it needs is not there."""
        self._manager = ResourceManager(self._settings.azure, credential_of(self._settings.azure))
        self._targets = {rule.model: target_of(rule, self._manager) for rule in self._settings.rules}

    async def close(self) -> None:
        """Let go of the connections; runs go on."""
        if self._manager is not None:
            await self._manager.close()

    def preview(self, event: Event, _: Context) -> Mapping[str, Any] | None:
        """What would be wanted; what was run lately is not looked up."""
        sign = self._sign(event)
        if sign is None or sign.drift.level < sign.drift.start_at:
            return None
        run = sign.rule.data_factory or sign.rule.job
        assert run is not None
        asked = run.model_dump(mode="json", include={"factory", "pipeline", "workspace", "component_id"})
        values = sign.rule.data_factory.parameters if sign.rule.data_factory else None
        if sign.rule.job is not None:
            values = sign.rule.job.inputs
        return {"action": "retrain", **sign.as_json(), **asked, "with": sign.fill(values or {})}

    async def __call__(self, event: Event, context: Context) -> None:
        """Start a run, or say why not.

        Raises `NotYet` while Azure is busy, `Reject` for what can never be, `AccessRefused` without the role.
        """
        sign = self._sign(event)
        if sign is None:
            return
        if is_clear(sign.drift):
            told_s = event.event_time.timestamp() if event.event_time else time.time()
            self._cleared_s[sign.rule.model] = max(told_s, self._cleared_s.get(sign.rule.model, 0.0))
            return
        if sign.drift.level < sign.drift.start_at:
            return
        try:
            await self._govern(sign, event, context)
        except Refused as refusal:
            self._tell_refused(sign, event, context, refusal)

    def _sign(self, event: Event) -> Sign | None:
        settings = self._settings
        return sign_of(event, settings.workspaces, settings.rules, settings.breach_text)

    async def _govern(self, sign: Sign, event: Event, context: Context) -> None:
        key, now_s, model = context.idempotency_key, time.time(), sign.rule.model
        runs = await self._runs(key, now_s)
        target = self._targets[model]
        data = {**sign.as_json(), **target.as_json()}
        match judge(sign.drift, key, runs, self._limits, now_s, self._cleared_s.get(model)):
            case Quiet():
                return
            case Known(run):
                context.emit(STARTED, event.subject, {**data, "runId": run.id}, cause=event)
            case HeldBack(reason, until_s):
                _log.info("A retraining was held back. model=%s reason=%s", model, reason)
                until = None if until_s is None else datetime.fromtimestamp(until_s, UTC).isoformat()
                held = {**data, "reason": reason.value, "until": until, "lastRun": _latest(model, runs)}
                context.emit(HELD_BACK, event.subject, held, cause=event)
            case Start():
                # Runs of a monitor are objects of their own, so their events come side by side. Nothing is
                # awaited since the runs were known: whatever becomes of the answer, no other starts beside.
                self._started[key] = asked = Run("", key, model, now_s, RunState.RUNNING)
                try:
                    run_id = await target.start(sign, key, now_s)
                except Refused:
                    self._started.pop(key, None)
                    raise
                self._started[key] = asked._replace(id=run_id)
                _log.info("A retraining was started. model=%s run=%s", model, run_id)
                context.emit(STARTED, event.subject, {**data, "runId": run_id}, cause=event)

    async def _runs(self, key: str, now_s: float) -> list[Run]:
        """What was run lately, by every target of ours: the budget is for all of them."""
        targets = {repr(target.as_json()): target for target in self._targets.values()}
        since_s = now_s - self._limits.window_s
        found: dict[str, Run] = {}
        for target in targets.values():
            found |= {run.key: run for run in await target.runs(since_s, now_s, key)}
        self._started = {
            known: run for known, run in self._started.items() if now_s - run.started_s < _REMEMBERED_S
        }
        # That we asked for a run of this key does not mean that there is one.
        own = {known: run for known, run in self._started.items() if run.id or known != key}
        return [*(own | found).values()]

    def _tell_refused(self, sign: Sign, event: Event, context: Context, refusal: Refused) -> None:
        said = f"{refusal.code}: {refusal.message}"
        if self._settings.on_failed == "reject":
            raise Reject(f"Azure refused to start the retraining ({said}).") from refusal
        _log.error("A retraining could not be started. model=%s error=%s", sign.rule.model, said)
        data = {**sign.as_json(), "code": refusal.code, "message": refusal.message}
        context.emit(FAILED, event.subject, data, cause=event)


def _latest(model: str, runs: list[Run]) -> dict[str, str] | None:
    of_model = [run for run in runs if run.model == model]
    if not of_model:
        return None
    run = max(of_model, key=lambda run: run.started_s)
    started = datetime.fromtimestamp(run.started_s, UTC).isoformat(timespec="seconds")
    return {"runId": run.id, "state": run.state.value, "started": started}

"""Whether silence on a partition means that nothing is there.

Only then may its watermark follow the local clock. Nothing comes either when the process was frozen, or when
the connection stands still: what is on its way then would come too late. So the process must have been awake,
and the hub must have said, since, that we have everything.
"""

from __future__ import annotations

from consumer.core.pipeline import Pipeline
from consumer.runtime.partition_parts import PartitionReading

_PROOF_LASTS_MIN_MS = 1_000
"""However short the margin is: the hub needs time to answer."""


class Idleness:
    """Judges one partition, at every look at the clock."""

    def __init__(self, pipeline: Pipeline, reading: PartitionReading, now_ms: int) -> None:
        self._pipeline = pipeline
        self._reading = reading
        self._margin_ms = pipeline.policy.idle_margin_ms
        self._looked_ms = now_ms
        self.waits_for_proof = False
        """Something would be released, or missed, if the hub were known to have no more: look again soon."""

    def is_proved(self, newest: int | None, now_ms: int, meant_to_wait_s: float) -> bool:
        """Whether we have everything that was enqueued half a margin ago; if that is not known, ask.

        `newest` is the hub's newest sequence number as far as it was told, `meant_to_wait_s` how long after
        the last look this one was to be.
        """
        overslept_ms = now_ms - self._looked_ms - max(meant_to_wait_s, 0) * 1_000
        self._looked_ms = now_ms
        if overslept_ms > self._margin_ms / 2:
            # The process was frozen, or its loop stood still: what came meanwhile has not been read yet.
            self._pipeline.watermark.arrived(now_ms)
        if newest is not None and newest > self._pipeline.highest_received:
            self.waits_for_proof = False
            return False
        asked_ms = self._reading.asked_ms()
        is_proved = asked_ms is None or now_ms - asked_ms <= max(self._margin_ms / 2, _PROOF_LASTS_MIN_MS)
        if is_proved and asked_ms is not None and newest is not None:
            self._pipeline.watermark.known_empty(now_ms)
        due_ms = self._pipeline.due_ms
        self.waits_for_proof = not is_proved and due_ms is not None and due_ms + self._margin_ms <= now_ms
        if self.waits_for_proof:
            self._reading.ask()
        return is_proved

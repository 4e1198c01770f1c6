"""A dead letter as an inturn without objects in them knew it: what its stores are read back to."""

from __future__ import annotations

from consumer.events import DeadLetter, PartitionId, Position, Reason

PARTITION = PartitionId("contoso.servicebus.windows.net", "models", "$Default", "0")
LETTER = DeadLetter(
    "key",
    PARTITION,
    Position("0", 7, 0),
    Reason.REJECTED,
    "No.",
    b"{}",
    1,
    2,
    "deploy",
    5,
    "1",
    "T",
    "/t",
    "s",
)

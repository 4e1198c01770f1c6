"""How stores name things, so that other readers of the same checkpoints find them.

The SDK writes blob names in lower case and KEDA reads them so; Event Hubs itself does not tell
``EH1`` from ``eh1``. Every store therefore folds the four names before they become a key.
"""

from __future__ import annotations

from typing import NoReturn

from consumer.errors import InturnError
from consumer.events import PartitionId

CHECKPOINT = "checkpoint"
OWNERSHIP = "ownership"
DEAD_LETTERS = "dead-letters"
COPIES = "inturn"
"""A prefix of its own: every blob below ``checkpoint/`` is a partition to the SDKs and to KEDA."""


def folded(partition: PartitionId) -> PartitionId:
    """The partition under the names that stores use."""
    return PartitionId(*(name.lower() for name in partition))


def group_prefix(namespace: str, hub: str, group: str) -> str:
    """The start of every blob name that belongs to a consumer group, with its slash."""
    return f"{namespace}/{hub}/{group}/".lower()


def blob_name(partition: PartitionId, kind: str) -> str:
    """The SDK's blob name: ``<namespace>/<hub>/<group>/<kind>/<partition>``, in lower case."""
    prefix = group_prefix(partition.namespace, partition.hub, partition.group)
    return f"{prefix}{kind}/{partition.partition.lower()}"


def refuse_update() -> NoReturn:
    """Answer the SDK's unconditional checkpoint write: nothing in inturn may use it."""
    raise InturnError(
        "A checkpoint is stored together with its state, by save(); update_checkpoint() would skip the fence."
    )

"""Who owns which partition, in the dictionaries that the SDK's load balancing passes around.

A claim names the version it saw (``etag``), or none for a partition that nobody ever owned. Of
several claims on one version exactly one wins. An owner id of "" means a partition given back.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeAlias

import structlog

from consumer.errors import StoreUnavailable
from consumer.events import Checkpoint, PartitionId

Ownership: TypeAlias = dict[str, Any]
"""``fully_qualified_namespace``, ``eventhub_name``, ``consumer_group``, ``partition_id``, ``owner_id``, and
once stored ``etag`` and ``last_modified_time`` (seconds since 1970)."""

log = structlog.get_logger("inturn.stores")


def partition_of(ownership: Ownership) -> PartitionId:
    """The partition that a dictionary of the SDK speaks of, as the SDK spells it."""
    return PartitionId(
        ownership["fully_qualified_namespace"],
        ownership["eventhub_name"],
        ownership["consumer_group"],
        str(ownership["partition_id"]),
    )


def names_of(partition: PartitionId) -> Ownership:
    """The part of the SDK's dictionaries that names a partition."""
    return {
        "fully_qualified_namespace": partition.namespace,
        "eventhub_name": partition.hub,
        "consumer_group": partition.group,
        "partition_id": partition.partition,
    }


def checkpoint_dict(partition: PartitionId, checkpoint: Checkpoint) -> Ownership:
    """A checkpoint as the SDK's `list_checkpoints` gives it."""
    return names_of(partition) | {"sequence_number": checkpoint.sequence_number, "offset": checkpoint.offset}


def claims_failed(claims: Iterable[Ownership], error: StoreUnavailable) -> list[Ownership]:
    """What a claim comes to when the store failed: never to a partition that may not be ours.

    Raising makes the SDK keep what it has and ask again at its next turn. A partition that is being
    given back is an exception: there the SDK does not expect an error, and the ownership expires by itself.
    """
    if any(claim["owner_id"] for claim in claims):
        raise error
    log.warning("An ownership could not be given back; it will expire by itself.", error=str(error))
    return []

"""Stands between the Event Hubs client and the store, to know what is ours and to say where to begin.

The client shares partitions out by what the store's ownerships say. All of it passes here, so this knows,
without looking into the client, under which name it claims and what it owns.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, NoReturn

import structlog
from azure.eventhub.aio import CheckpointStore

from consumer.errors import InturnError
from consumer.events import NOTHING_DONE, Checkpoint
from consumer.sources.eventhub_client import all_of

_log = structlog.get_logger("inturn.eventhub")


class OwnershipLedger(CheckpointStore):
    """The store as one client sees it."""

    def __init__(
        self, store: CheckpointStore, resolve: Callable[[str], Coroutine[Any, Any, Checkpoint]]
    ) -> None:
        """`resolve` says after what to begin in a partition of which nothing is stored."""
        self._store = store
        self._resolve = resolve
        self._owner_id = ""
        self._group: tuple[str, str, str] | None = None
        self._ours: dict[str, dict[str, Any]] = {}
        self._starts: dict[str, Checkpoint] = {}
        self._begins: dict[str, Checkpoint] = {}
        self.turned_s = time.monotonic()
        """When the client last looked at the ownerships."""

    def start_of(self, partition: str) -> Checkpoint | None:
        """Where to begin if nothing is stored; None means at the earliest event."""
        return self._starts.get(partition)

    def begin_of(self, partition: str) -> Checkpoint:
        """After which event the client begins to read a partition that it has just claimed."""
        return self._begins.get(partition, NOTHING_DONE)

    async def taken(self) -> set[str]:
        """The partitions that the client thinks it owns and another owner has. Raises `StoreUnavailable`."""
        if self._group is None or not self._ours:
            return set()
        ours = set(self._ours)
        stored = await self._store.list_ownership(*self._group)
        return {
            each["partition_id"]
            for each in stored
            if each["partition_id"] in ours and each["owner_id"] not in ("", self._owner_id)
        }

    async def give_back(self) -> None:
        """Release what the client did not release itself, so that others need not wait for it to expire."""
        claims = [claim | {"owner_id": ""} for claim in self._ours.values()]
        self._ours.clear()
        if not claims:
            return
        try:
            await self._store.claim_ownership(claims)
        except InturnError as error:
            _log.warning("Partitions could not be given back; they will expire.", error=str(error))

    async def list_ownership(
        self, fully_qualified_namespace: str, eventhub_name: str, consumer_group: str, **options: Any
    ) -> Iterable[dict[str, Any]]:
        """What the store has; marks a turn of load balancing."""
        self._group = (fully_qualified_namespace, eventhub_name, consumer_group)
        self.turned_s = time.monotonic()
        return await self._store.list_ownership(*self._group, **options)

    async def claim_ownership(
        self, ownership_list: Iterable[dict[str, Any]], **options: Any
    ) -> Iterable[dict[str, Any]]:
        """Claim, and remember what was won."""
        claims = [dict(claim) for claim in ownership_list]
        won = [dict(each) for each in await self._store.claim_ownership(claims, **options)]
        for claim in claims:
            self._ours.pop(claim["partition_id"], None)
            self._owner_id = claim["owner_id"] or self._owner_id
        self._ours |= {each["partition_id"]: dict(each) for each in won if each["owner_id"]}
        return won

    async def list_checkpoints(
        self, fully_qualified_namespace: str, eventhub_name: str, consumer_group: str, **options: Any
    ) -> Iterable[dict[str, Any]]:
        """What is stored, and a place to begin for every partition of ours of which nothing is."""
        group = (fully_qualified_namespace, eventhub_name, consumer_group)
        stored = list(await self._store.list_checkpoints(*group, **options))
        known = {each["partition_id"] for each in stored}
        self._begins = {
            each["partition_id"]: Checkpoint(int(each["sequence_number"]), str(each["offset"]))
            for each in stored
        }
        await self._find_starts([partition for partition in self._ours if partition not in known])
        return stored + [
            {
                "fully_qualified_namespace": fully_qualified_namespace,
                "eventhub_name": eventhub_name,
                "consumer_group": consumer_group,
                "partition_id": partition,
                "sequence_number": start.sequence_number,
                "offset": start.offset,
            }
            for partition, start in self._starts.items()
            if partition not in known
        ]

    async def _find_starts(self, partitions: list[str]) -> None:
        missing = [partition for partition in partitions if partition not in self._starts]
        found = await all_of([self._resolve(partition) for partition in missing])
        self._starts |= dict(zip(missing, found, strict=True))
        self._begins |= {partition: self._starts[partition] for partition in partitions}

    async def update_checkpoint(self, checkpoint: dict[str, Any], **_: Any) -> NoReturn:
        """Refuse: only the fenced store writes checkpoints (D1)."""
        raise NotImplementedError("Checkpoints are written by the fenced store.")

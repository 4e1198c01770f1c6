"""Stands between the Event Hubs client and the store, and makes it look often, write seldom, and ask first.

The client shares partitions out by what the store's ownerships say, in turns. It is told to take them
without a pause, and each waits here until one is due: soon, while partitions are changing hands. What is
ours is renewed less often than it is looked at. Where the client would steal, its replica asks instead
(`eventhub_claims`). What the dead own counts as nobody's (`consumer.succession`). So this knows, without
looking into the client, what is ours and where to begin.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, NamedTuple, NoReturn

import structlog
from azure.eventhub.aio import CheckpointStore

from consumer.errors import InturnError
from consumer.events import NOTHING_DONE, Checkpoint
from consumer.sources.eventhub_claims import Ages, Ownership, Title
from consumer.sources.eventhub_client import all_of
from consumer.succession import ALONE, Succession

_HURRY_S = 0.1
"""Between two looks while partitions are changing hands."""
_HURRY_MAX_S = 30.0
"""How long a partition that was asked for is looked out for so often."""
_FAREWELLS_MAX = 4
"""How often it is tried to leave nothing behind; then it expires."""

_log = structlog.get_logger("inturn.eventhub")


class Tempo(NamedTuple):
    """How often things are done, in seconds."""

    look_s: float
    """Between two looks at the ownerships."""
    renew_s: float
    """Between two renewals of one of ours."""
    expire_s: float
    """An ownership that was not renewed for so long is anybody's."""

    @classmethod
    def of(cls, interval_s: float) -> Tempo:
        """The tempo of a load balancing interval: three looks each, a renewal in two, expired after six."""
        return cls(interval_s / 3, interval_s * 2, interval_s * 6)


class OwnershipLedger(CheckpointStore):
    """The store as one client sees it."""

    def __init__(
        self,
        store: CheckpointStore,
        resolve: Callable[[str], Coroutine[Any, Any, Checkpoint]],
        tempo: Tempo,
        ages: Ages | None = None,
        succession: Succession = ALONE,
    ) -> None:
        """`resolve` says after what to begin in a partition of which nothing is stored."""
        self._store = store
        self._resolve = resolve
        self.tempo = tempo
        self._ages = Ages() if ages is None else ages
        self._succession = succession
        self._client_id = ""
        """What the client calls itself."""
        self._owner_id = ""
        """What the store, and so everybody else, calls it."""
        self._group: tuple[str, str, str] | None = None
        self._listed: dict[str, Ownership] = {}
        """What the store had at the last look, by partition, or was given since; without the dead."""
        self._left: set[str] = set()
        """The partitions that the store gives a dead owner."""
        self._aged_s: dict[str, float] = {}
        self._ours: dict[str, Ownership] = {}
        self._renewed_s: dict[str, float] = {}
        self._asked_s: dict[str, float] = {}
        """The partitions that we asked their owners for, and when."""
        self._one_at_a_time = asyncio.Lock()
        """A look that began before a write must not be taken for news after it."""
        self._starts: dict[str, Checkpoint] = {}
        self._begins: dict[str, Checkpoint] = {}
        self._looked_s = float("-inf")
        self.looked = asyncio.Event()
        """Set at every look."""
        self.turned_s = time.monotonic()
        """When the client last asked for a turn, or got one."""
        self.trouble: str | None = None
        """Why partitions cannot be shared out or taken; None after a whole turn in which they could."""
        self._has_failed = False

    def failed(self, why: str) -> None:
        """Say what went wrong in this turn."""
        self.trouble, self._has_failed = why, True

    def start_of(self, partition: str) -> Checkpoint | None:
        """Where to begin if nothing is stored; None means at the earliest event."""
        return self._starts.get(partition)

    def begin_of(self, partition: str) -> Checkpoint:
        """After which event the client begins to read a partition that it has just claimed."""
        return self._begins.get(partition, NOTHING_DONE)

    # What the last look has shown.

    def taken(self) -> set[str]:
        """The partitions that the client thinks it owns and another owner has."""
        return {each for each in self._ours if self._title(each).owner not in ("", self._owner_id)}

    def wanted(self) -> set[str]:
        """Our partitions that another replica asks for."""
        titles = {partition: self._title(partition) for partition in self._ours}
        return {each for each, title in titles.items() if title.heir and title.owner == self._owner_id}

    async def look(self) -> None:
        """Read the ownerships, once the client has asked for them. Raises `StoreUnavailable`."""
        if self._group is None:
            return
        async with self._one_at_a_time:
            self._looked_s = time.monotonic()
            listed = [dict(each) for each in await self._store.list_ownership(*self._group)]
            self._listed = {str(each["partition_id"]): self._among_living(each) for each in listed}
            is_dead = self._succession.is_dead
            self._note_left({str(each["partition_id"]) for each in listed if is_dead(Title.of(each).owner)})
            self._aged_s = {partition: self._ages.age_s(each) for partition, each in self._listed.items()}
            for partition in [each for each in self._asked_s if self._title(each).heir != self._owner_id]:
                del self._asked_s[partition]
        self.looked.set()

    def _among_living(self, ownership: Ownership) -> Ownership:
        title = Title.of(ownership).among_living(self._succession.is_dead)
        return ownership | {"owner_id": str(title)}

    def _note_left(self, partitions: set[str]) -> None:
        if partitions - self._left:
            _log.info(
                "The worker that had these partitions is dead: they are free at once.",
                partitions=sorted(partitions - self._left),
            )
        self._left = partitions

    def _title(self, partition: str) -> Title:
        listed = self._listed.get(partition)
        return Title("") if listed is None else Title.of(listed)

    # Turns.

    async def list_ownership(
        self, fully_qualified_namespace: str, eventhub_name: str, consumer_group: str, **_: Any
    ) -> Iterable[Ownership]:
        """What the store has, as the client is to see it, when a turn is due."""
        self._group = (fully_qualified_namespace, eventhub_name, consumer_group)
        self.turned_s = time.monotonic()
        if not self._has_failed:
            self.trouble = None
        self._has_failed = False
        await self._until_due()
        self.turned_s = time.monotonic()
        was_offered = self._left
        await self.look()
        await self._leave_to_others(was_offered & self._left)
        return [self._shown(partition) for partition in self._listed]

    async def _until_due(self) -> None:
        now_s = time.monotonic()
        is_waiting = any(now_s - asked_s < _HURRY_MAX_S for asked_s in self._asked_s.values())
        # Who has company looks twice as often: one of the others may leave at any time.
        has_company = any(self._title(each).owner not in ("", self._owner_id) for each in self._listed)
        pause_s = self.tempo.look_s / 2 if has_company else self.tempo.look_s
        if is_waiting:
            pause_s = min(_HURRY_S, pause_s)
        await asyncio.sleep(max(0.0, self._looked_s + pause_s - now_s))

    async def _leave_to_others(self, partitions: set[str]) -> None:
        """Write that the dead have gone, where the client has not used what it was offered.

        Not before: whoever is quicker would take all, and then have to hand a share over.
        """
        if not partitions:
            return
        async with self._one_at_a_time:
            for each in await self._store.claim_ownership([self._listed[each] for each in partitions]):
                partition = str(each["partition_id"])
                self._listed[partition] = dict(each)
                self._aged_s[partition] = self._ages.age_s(each)

    def _shown(self, partition: str) -> Ownership:
        """An ownership in the client's terms: one owner, and an age that is right by this clock."""
        holder = self._title(partition).holder(self._owner_id)
        return self._listed[partition] | {
            "owner_id": self._client_id if holder == self._owner_id else holder,
            "last_modified_time": time.time() - self._aged_s[partition],
        }

    async def claim_ownership(
        self, ownership_list: Iterable[Ownership], **options: Any
    ) -> Iterable[Ownership]:
        """Renew, take, ask for or release; gives what is the client's from now on."""
        claims = {str(claim["partition_id"]): dict(claim) for claim in ownership_list}
        async with self._one_at_a_time:
            if not all(claim["owner_id"] for claim in claims.values()):
                return await self._give_up([each for each in claims if each in self._ours])
            for claim in claims.values():
                self._client_id = claim["owner_id"]
                self._owner_id = self._succession.owner(self._client_id)
            due = [self._due(partition, claim) for partition, claim in claims.items()]
            await self._write([each for each in due if each is not None], **options)
            return [
                self._ours[partition] | {"owner_id": self._client_id, "last_modified_time": time.time()}
                for partition in claims
                if partition in self._ours
            ]

    def _due(self, partition: str, claim: Ownership) -> Ownership | None:
        """What is to be written for a claim of the client; None for nothing."""
        listed, title = self._listed.get(partition), self._title(partition)
        if listed is None:
            return claim | {"owner_id": self._owner_id}
        age_s = self._aged_s[partition]
        is_expired = age_s >= self.tempo.expire_s
        if partition in self._ours and title.owner == self._owner_id:
            is_due = time.monotonic() - self._renewed_s[partition] >= self.tempo.renew_s
            return listed if is_due else None
        if claim.get("etag") != listed["etag"]:
            return None  # decided by what was so before we handed it over
        if title.owner == self._owner_id:
            return listed  # it was handed to us, even if another asks for it by now
        if title.heir and not is_expired:
            return None  # it was asked for already, by us or by another
        if is_expired or not title.owner:
            return listed | {"owner_id": self._owner_id}
        if age_s <= self.tempo.renew_s + 2 * self.tempo.look_s:
            return listed | {"owner_id": str(Title(title.owner, self._owner_id))}
        return None  # an owner that is late may be dead: to ask it would prolong its term

    async def _write(self, due: list[Ownership], **options: Any) -> None:
        if not due:
            return
        won = {str(each["partition_id"]): each for each in await self._store.claim_ownership(due, **options)}
        now_s = time.monotonic()
        for claim in due:
            partition = str(claim["partition_id"])
            self._ours.pop(partition, None)
            if partition not in won:
                continue
            each = self._listed[partition] = dict(won[partition])
            self._aged_s[partition] = self._ages.age_s(each)
            if Title.of(each).owner == self._owner_id:
                self._ours[partition] = each
                self._renewed_s[partition] = now_s
            else:
                self._asked_s[partition] = now_s

    async def give_back(self) -> None:
        """Leave nothing in the store that others would wait for: neither what is ours, nor what we asked for.

        Who hands a partition over to us, or asks us for one, at the same moment, makes it another round.
        """
        async with self._one_at_a_time:
            self._ours.clear()
        try:
            for _ in range(_FAREWELLS_MAX):
                await self.look()
                ends = {each: self._title(each).without(self._owner_id) for each in self._listed}
                claims = [
                    self._listed[each] | {"owner_id": str(title)}
                    for each, title in ends.items()
                    if self._owner_id and title != self._title(each)
                ]
                if not claims:
                    return
                await self._store.claim_ownership(claims)
        except InturnError as error:
            _log.warning("Partitions could not be given back; they will expire.", error=str(error))

    async def release(self, partition: str) -> None:
        """Release a partition of ours before the client does.

        That does so when it has closed the link: time in which nobody would read.
        """
        async with self._one_at_a_time:
            if partition in self._ours:
                await self._give_up([partition])

    async def _give_up(self, partitions: list[str]) -> list[Ownership]:
        """Hand partitions over to who asked for them, or leave them to anybody."""
        claims = [
            # What was listed, not what we wrote: asking for a partition has made it another version.
            self._listed[each] | {"owner_id": self._title(each).heir}
            for each in partitions
            if self._title(each).owner == self._owner_id
        ]
        for each in partitions:
            del self._ours[each]
        if not claims:
            return []
        try:
            given = [dict(each) for each in await self._store.claim_ownership(claims)]
        except InturnError as error:
            _log.warning("Partitions could not be given back; they will expire.", error=str(error))
            return []
        self._listed |= {str(each["partition_id"]): each for each in given}
        return given

    # Where to begin.

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

"""Put the events of each object back in order.

Theory of operation. An event is *held* until the watermark has moved a window past it. When it is
*released*, held events of the same object with a smaller token go out before it. What arrives with a token
below the last released one of its object is *stale*: it came later than the window reaches.

Release depends on the log alone (enqueued times, positions, the settings), never on a clock or on how fast
anything was processed. So a replay, or another owner, releases the same events in the same order.

That is also why the limits release the oldest held event instead of pausing: the watermark moves only by
reading on, so a sequencer that stops reading until it has room waits for ever. A limit shortens the window,
by a rule that the log determines, and is counted.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Generic, TypeVar

import msgspec

from consumer.core.object_table import (
    EARLIER,
    INCOMPARABLE,
    TWIN,
    UNKNOWN,
    Last,
    ObjectsImage,
    ObjectTable,
    object_key,
)
from consumer.core.order import EXACT, is_before
from consumer.core.packed_token import pack
from consumer.events import ObjectId, OrderToken

PayloadT = TypeVar("PayloadT")
"""What the caller wants back on release."""


@dataclass(frozen=True, slots=True)
class SequencerLimits:
    """How far the reorder window reaches: whichever of these comes first."""

    window_ms: int
    held_max: int = 10_000
    """Events."""
    held_bytes_max: int = 64 * 1_048_576
    span_max: int = 50_000
    """Sequence numbers between the oldest held event and the newest one."""
    objects_max: int = 200_000
    """Objects whose last token is remembered; beyond it the one that was quiet longest is forgotten."""


class Held(msgspec.Struct, Generic[PayloadT], eq=False):
    """An event that waits for its turn."""

    payload: PayloadT
    object_id: ObjectId
    token: OrderToken
    event_type: str
    sequence_number: int
    size: int
    """Bytes."""
    time_ms: int = 0
    is_gone: bool = False
    key: bytes = b""
    """Stands for the object; set with `packed` when it is offered."""
    packed: bytes = b""
    """The token."""


class Release(msgspec.Struct, Generic[PayloadT], frozen=True):
    """An event whose turn has come, or that has missed it."""

    payload: PayloadT
    is_stale: bool
    is_latest: bool


class Sequencer(Generic[PayloadT]):
    """The events of one partition that wait for their turn, and the last token of every object."""

    def __init__(self, limits: SequencerLimits, image: ObjectsImage | None = None) -> None:
        self.limits = limits
        self.held_bytes = 0
        self.held = 0
        self.incomparable = 0
        """Events released after one that they cannot be compared with: arrival order stood."""
        self.released_early = 0
        """Events released by a limit and not by the window."""
        self.objects_evicted = 0
        self.new_objects: list[ObjectId] = []
        """Objects that were not remembered before; whoever looks at them empties the list."""
        self._queue: deque[Held[PayloadT]] = deque()
        self._by_object: dict[bytes, list[Held[PayloadT]]] = {}
        self._last = ObjectTable(image)
        self._keyed: tuple[ObjectId | None, bytes] = (None, b"")
        """The last object that was asked about, and its key: an event asks several times."""
        self._evict()

    def __len__(self) -> int:
        """How many objects are remembered."""
        return len(self._last)

    def offer(self, item: Held[PayloadT], watermark_ms: int) -> bool:
        """Hold an event; False: it is stale and was not taken.

        `watermark_ms` includes the event itself. It stands for the enqueued time, so that one that the
        service stamped too early waits no shorter than its neighbours.
        """
        item.key = self._key(item.object_id)
        item.packed = pack(item.token)
        standing = self._last.standing(item.key, item.token, item.packed, item.event_type)
        if standing == EARLIER or (standing == TWIN and item.token.by in EXACT):
            return False
        item.time_ms = watermark_ms
        self._queue.append(item)
        self._by_object.setdefault(item.key, []).append(item)
        self.held += 1
        self.held_bytes += item.size
        return True

    def is_stale(self, object_id: ObjectId, token: OrderToken, event_type: str) -> bool:
        """Whether a later event of the object was released.

        An equal token is stale only where the token counts something and the type is the same: two
        different events may share a tick of a clock, and one change may raise two types of event.
        """
        standing = self._last.standing(self._key(object_id), token, pack(token), event_type)
        return standing == EARLIER or (standing == TWIN and token.by in EXACT)

    def is_superseded(self, object_id: ObjectId, token: OrderToken) -> bool:
        """Whether a later event of the object is known, released or held."""
        key = self._key(object_id)
        standing = self._last.standing(key, token, pack(token), "")
        return standing == EARLIER or any(
            is_before(token, item.token) for item in self._by_object.get(key, ())
        )

    def due(self, watermark_ms: int, newest_sequence_number: int) -> list[Release[PayloadT]]:
        """Release what the watermark has passed, and what a limit does not allow to hold any longer."""
        releases: list[Release[PayloadT]] = []
        queue, limits = self._queue, self.limits
        while queue:
            head = queue[0]
            if head.is_gone:
                queue.popleft()
                continue
            if head.time_ms + limits.window_ms > watermark_ms:
                if (
                    self.held <= limits.held_max
                    and self.held_bytes <= limits.held_bytes_max
                    and newest_sequence_number - head.sequence_number <= limits.span_max
                ):
                    break
                self.released_early += 1
            self._release(head, releases)
        return releases

    def next_due_ms(self) -> int | None:
        """The watermark at which the oldest held event is due; None: nothing is held."""
        while self._queue and self._queue[0].is_gone:
            self._queue.popleft()
        return self._queue[0].time_ms + self.limits.window_ms if self._queue else None

    def _release(self, head: Held[PayloadT], releases: list[Release[PayloadT]]) -> None:
        siblings = self._by_object[head.key]
        if len(siblings) == 1:
            del self._by_object[head.key]
            self._emit(head, releases, is_latest=True)
            return
        # All that is before the head has its kind and width, so these can be sorted among themselves.
        earlier = sorted(
            (item for item in siblings if is_before(item.token, head.token)),
            key=lambda item: item.token.value,
        )
        # Twins miss their turn at once. What is held is never stale: so a restart, after which it is
        # offered again, finds the same events held as if there had been none.
        twins = [item for item in siblings if item is not head and _is_twin(item, head)]
        going = {id(item) for item in (*earlier, head, *twins)}
        remaining = [item for item in siblings if id(item) not in going]
        if remaining:
            self._by_object[head.key] = remaining
        else:
            del self._by_object[head.key]
        for item in earlier:
            self._emit(item, releases, is_latest=False)
        self._emit(head, releases, is_latest=not remaining)
        for item in twins:
            self._emit(item, releases, is_latest=False)

    def _emit(self, item: Held[PayloadT], releases: list[Release[PayloadT]], *, is_latest: bool) -> None:
        item.is_gone = True
        self.held -= 1
        self.held_bytes -= item.size
        standing = self._last.standing(item.key, item.token, item.packed, item.event_type)
        if standing == EARLIER or (standing == TWIN and item.token.by in EXACT):
            releases.append(Release(item.payload, is_stale=True, is_latest=False))
            return
        if standing == UNKNOWN:
            self.new_objects.append(item.object_id)
        elif standing == INCOMPARABLE:
            self.incomparable += 1
        self._last.put(item.key, item.token, item.packed, item.event_type, item.time_ms)
        if len(self._last) > self.limits.objects_max:
            self._evict()
        releases.append(Release(item.payload, is_stale=False, is_latest=is_latest))

    def due_all(self) -> list[Release[PayloadT]]:
        """Release everything, because nothing more will come."""
        releases: list[Release[PayloadT]] = []
        for item in list(self._queue):
            if not item.is_gone:
                self._release(item, releases)
        self._queue.clear()
        return releases

    def expire(self, before_ms: int) -> None:
        """Forget objects whose last event is older than a log time."""
        self._last.expire(before_ms)

    def image(self) -> ObjectsImage:
        """The last released event of every object, for a snapshot."""
        return self._last.image()

    def objects(self) -> list[tuple[bytes, Last]]:
        """Key and last released event of every object, longest quiet first."""
        return self._last.entries()

    def _key(self, object_id: ObjectId) -> bytes:
        if self._keyed[0] is not object_id:
            self._keyed = (object_id, object_key(object_id))
        return self._keyed[1]

    def _evict(self) -> None:
        while len(self._last) > self.limits.objects_max:
            self._last.forget_oldest()
            self.objects_evicted += 1


def _is_twin(item: Held[PayloadT], other: Held[PayloadT]) -> bool:
    """Whether two events stand at the same point of a count and are of the same type."""
    return item.token == other.token and item.token.by in EXACT and item.event_type == other.event_type

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

from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from consumer.core.object_table import (
    EARLIER,
    INCOMPARABLE,
    TWIN,
    UNKNOWN,
    Last,
    ObjectsImage,
    ObjectTable,
)
from consumer.core.place import Place

_GONE_MAX: Final = 64
"""Events at the beginning of the queue that are held no more, before they are taken out of it."""


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


class Held(Place):
    """An event that waits for its turn."""

    # No __slots__: what is the same for nearly all is said once, in the class.

    size: int = 0
    """Bytes."""
    since_ms: int = 0
    """The watermark when it came."""
    is_held: bool = False
    is_late: bool = False
    """On release: it has missed its turn."""
    is_latest: bool = True
    """On release: nothing later of its object waits."""

    def __init__(self, sequence_number: int) -> None:
        self.sequence_number = sequence_number


HeldT = TypeVar("HeldT", bound=Held)


class Sequencer(Generic[HeldT]):
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
        self.new_objects: list[bytes] = []
        """Keys of objects that were not remembered before; whoever looks at them empties the list."""
        self._queue: list[HeldT] = []
        """In the order of arrival; some are held no more."""
        self._head: HeldT | None = None
        """The oldest that is held, and where it is in the queue."""
        self._head_at = 0
        self._by_object: dict[bytes, HeldT | list[HeldT]] = {}
        """Nearly always one event of an object waits: then it stands here without a list around it."""
        self._last = ObjectTable(image)
        self._evict()

    def __len__(self) -> int:
        """How many objects are remembered."""
        return len(self._last)

    def offer(self, item: HeldT, watermark_ms: int) -> bool:
        """Hold an event; False: it is stale and was not taken.

        `watermark_ms` includes the event itself. It stands for the enqueued time, so that one that the
        service stamped too early waits no shorter than its neighbours.
        """
        if self.is_stale(item):
            return False
        item.since_ms = watermark_ms
        item.is_held = True
        if self._head is None:
            self._head, self._head_at = item, len(self._queue)
        self._queue.append(item)
        siblings = self._by_object.get(item.object_key)
        if siblings is None:
            self._by_object[item.object_key] = item
        elif isinstance(siblings, list):
            siblings.append(item)
        else:
            self._by_object[item.object_key] = [siblings, item]
        self.held += 1
        self.held_bytes += item.size
        return True

    def is_stale(self, item: HeldT) -> bool:
        """Whether a later event of the object was released.

        An equal token is stale only where the token counts something and the type is the same: two
        different events may share a tick of a clock, and one change may raise two types of event.
        """
        standing = self._last.standing(item)
        return standing == EARLIER or (standing == TWIN and item.is_exact)

    def is_superseded(self, item: HeldT) -> bool:
        """Whether a later event of the object is known, released or held."""
        if self._last.standing(item) == EARLIER:
            return True
        siblings = self._by_object.get(item.object_key)
        if siblings is None:
            return False
        for other in siblings if isinstance(siblings, list) else [siblings]:
            if item.is_before(other):
                return True
        return False

    def is_due(self, watermark_ms: int, newest_sequence_number: int) -> bool:
        """Whether there is anything that `due` would release."""
        head, limits = self._head, self.limits
        return head is not None and (
            head.since_ms + limits.window_ms <= watermark_ms
            or self.held > limits.held_max
            or self.held_bytes > limits.held_bytes_max
            or newest_sequence_number - head.sequence_number > limits.span_max
        )

    def due(self, watermark_ms: int, newest_sequence_number: int) -> list[HeldT]:
        """Release what the watermark has passed, and what a limit does not allow to hold any longer."""
        released: list[HeldT] = []
        while self.is_due(watermark_ms, newest_sequence_number):
            head = self._head
            assert head is not None
            if head.since_ms + self.limits.window_ms > watermark_ms:
                self.released_early += 1
            self._release(head, released)
            self._find_head()
        return released

    def due_all(self) -> list[HeldT]:
        """Release everything, because nothing more will come."""
        released: list[HeldT] = []
        while self._head is not None:
            self._release(self._head, released)
            self._find_head()
        return released

    def next_due_ms(self) -> int | None:
        """The watermark at which the oldest held event is due; None: nothing is held."""
        return None if self._head is None else self._head.since_ms + self.limits.window_ms

    def _find_head(self) -> None:
        """Look for the oldest that is held, behind the one that was it."""
        queue, at = self._queue, self._head_at
        while at < len(queue):
            item = queue[at]
            if item.is_held:
                break
            at += 1
        else:
            queue.clear()
            self._head, self._head_at = None, 0
            return
        if at >= _GONE_MAX:
            del queue[:at]
            at = 0
        self._head, self._head_at = item, at

    def _release(self, head: HeldT, released: list[HeldT]) -> None:
        key = head.object_key
        siblings = self._by_object[key]
        if not isinstance(siblings, list):
            del self._by_object[key]
            self._emit(head, released, is_latest=True)
            return
        for item in siblings:
            if item is not head and (item.is_before(head) or (item.is_exact and item.is_twin_of(head))):
                self._release_with(head, siblings, released)
                return
        siblings.remove(head)
        if len(siblings) == 1:
            self._by_object[key] = siblings[0]
        self._emit(head, released, is_latest=False)

    def _release_with(self, head: HeldT, siblings: list[HeldT], released: list[HeldT]) -> None:
        """Release an event, others of its object before it, and others that stand where it does."""
        # All that is before the head has its kind and width, so these can be sorted among themselves.
        earlier: list[HeldT] = []
        twins: list[HeldT] = []
        remaining: list[HeldT] = []
        for item in siblings:
            if item is head:
                continue
            if item.is_before(head):
                earlier.append(item)
            elif item.is_exact and item.is_twin_of(head):
                twins.append(item)
            else:
                remaining.append(item)
        if len(earlier) > 1:
            earlier.sort(key=_packed if _are_packed(earlier) else _value)
        if remaining:
            self._by_object[head.object_key] = remaining if len(remaining) > 1 else remaining[0]
        else:
            del self._by_object[head.object_key]
        for item in earlier:
            self._emit(item, released, is_latest=False)
        self._emit(head, released, is_latest=not remaining)
        # Twins miss their turn at once. What is held is never stale: so a restart, after which it is
        # offered again, finds the same events held as if there had been none.
        for item in twins:
            self._emit(item, released, is_latest=False)

    def _emit(self, item: HeldT, released: list[HeldT], *, is_latest: bool) -> None:
        item.is_held = False
        self.held -= 1
        self.held_bytes -= item.size
        standing = self._last.standing(item)
        item.is_late = standing == EARLIER or (standing == TWIN and item.is_exact)
        item.is_latest = is_latest and not item.is_late
        released.append(item)
        if item.is_late:
            return
        if standing == UNKNOWN:
            self.new_objects.append(item.object_key)
        elif standing == INCOMPARABLE:
            self.incomparable += 1
        self._last.put(item, item.since_ms)
        if len(self._last) > self.limits.objects_max:
            self._evict()

    def expire(self, before_ms: int) -> None:
        """Forget objects whose last event is older than a log time."""
        self._last.expire(before_ms)

    def image(self) -> ObjectsImage:
        """The last released event of every object, for a snapshot."""
        return self._last.image()

    def objects(self) -> list[tuple[bytes, Last]]:
        """Key and last released event of every object, longest quiet first."""
        return self._last.entries()

    def _evict(self) -> None:
        while len(self._last) > self.limits.objects_max:
            self._last.forget_oldest()
            self.objects_evicted += 1


def _are_packed(items: list[HeldT]) -> bool:
    return all(item.is_packed for item in items)


def _packed(item: Held) -> bytes:
    return item.packed


def _value(item: Held) -> Any:
    return item.token.value

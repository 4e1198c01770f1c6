"""One partition of a hand-written consumer: decode, filter, drop duplicates, put in order, keep the position.

Plain dicts and lists, one look-up of the object for each event, and everything in one function: as fast as a
day's work in Python with orjson gets. What was tried besides, and was slower, is in NOTES.md.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

from orjson import loads

from benchmarks.rivals.hand_rules import RULES, Key
from benchmarks.work import DEDUPE_WINDOW_MS, WINDOW_MS

Entry = list[Any]
"""An event on its way: due time, object, token, identity, sequence number, event, is released, is done."""
DUE, OBJECT, TOKEN, IDENTITY, NUMBER, EVENT, IS_RELEASED, IS_DONE = range(8)


class Object:
    """What is known of an object."""

    __slots__ = ("held", "key", "newest")

    def __init__(self, key: Key) -> None:
        self.key = key
        self.newest: Any = None
        """The newest token that was released."""
        self.held: list[Entry] = []


class Partition:
    """The state of one partition."""

    def __init__(self, topics: Sequence[str]) -> None:
        self.position = -1
        """Nothing at or before it is unfinished: the checkpoint."""
        self.changes: list[Entry] | None = None
        """What was finished since the last checkpoint, as far as the position reaches; None: nobody asks."""
        self.objects: dict[Key, Object] = {}
        self.young: set[str] = set()
        """Identities of the last dedupe window, and of the one before."""
        self.old: set[str] = set()
        self._turns_ms = 0
        self._topics = {topic.lower(): topic.lower() for topic in topics}
        """By the way it was written, as far as that was seen: saves folding and hashing it for each event."""
        self._held: deque[Entry] = deque()
        self._unfinished: deque[Entry] = deque()
        self._received = -1

    def take(
        self, bodies: Sequence[bytes], numbers: Sequence[int], enqueued_times_ms: Sequence[int]
    ) -> list[Entry]:
        """Read a batch; gives what is to be handled now, in order."""
        out: list[Entry] = []
        held, unfinished, objects, rules = self._held, self._unfinished, self.objects, RULES
        young, old, topics = self.young, self.old, self._topics
        for body, number, now_ms in zip(bodies, numbers, enqueued_times_ms, strict=True):
            while held and held[0][DUE] <= now_ms:
                entry = held.popleft()
                if not entry[IS_RELEASED]:
                    self._release(entry, out)
            if now_ms >= self._turns_ms:
                self.old, self.young = old, young = young, set()
                self._turns_ms = now_ms + DEDUPE_WINDOW_MS
            for event in loads(body):
                if "specversion" in event:
                    topic, kind, time = event["source"], event["type"], event["time"]
                else:
                    topic, kind, time = event["topic"], event["eventType"], event["eventTime"]
                rule = rules.get(kind)
                topic = topics.get(topic) or self._fold(topic)
                if rule is None or topic is None:
                    continue
                path, token, mark = rule(event["data"], event["subject"], time, event["id"])
                identity = f"{mark} {kind} {path} {topic}"
                if identity in young or identity in old:
                    continue
                young.add(identity)
                key = (topic, path)
                found = objects.get(key)
                if found is None:
                    found = objects[key] = Object(key)
                elif found.newest is not None and token <= found.newest:
                    continue
                entry = [now_ms + WINDOW_MS, found, token, identity, number, event, False, False]
                held.append(entry)
                unfinished.append(entry)
                found.held.append(entry)
        self._received = numbers[-1]
        return out

    def finish(self) -> list[Entry]:
        """Release everything, because nothing more will come."""
        out: list[Entry] = []
        for entry in self._held:
            if not entry[IS_RELEASED]:
                self._release(entry, out)
        self._held.clear()
        return out

    def _fold(self, topic: str) -> str | None:
        folded = self._topics.get(topic.lower())
        if folded is not None and len(self._topics) < 10_000:
            self._topics[topic] = folded
        return folded

    def _release(self, entry: Entry, out: list[Entry]) -> None:
        found: Object = entry[OBJECT]
        siblings = found.held
        if len(siblings) == 1:
            siblings.clear()
        else:
            token = entry[TOKEN]
            earlier = sorted((each for each in siblings if each[TOKEN] < token), key=lambda each: each[TOKEN])
            found.held = [each for each in siblings if each[TOKEN] >= token and each is not entry]
            for each in earlier:
                each[IS_RELEASED] = True
            out += earlier
        entry[IS_RELEASED] = True
        found.newest = entry[TOKEN]
        out.append(entry)

    def done(self, entries: Sequence[Entry]) -> None:
        """Note that every processor is done with these, and move the position."""
        for entry in entries:
            entry[IS_DONE] = True
        unfinished, changes = self._unfinished, self.changes
        while unfinished and unfinished[0][IS_DONE]:
            entry = unfinished.popleft()
            if changes is not None:
                changes.append(entry)
        self.position = unfinished[0][NUMBER] - 1 if unfinished else self._received

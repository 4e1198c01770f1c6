"""The digests by which objects, identities and data are known, in memory and in snapshots.

They are for recognising, not against malice: they are not keyed, and who could make two events collide on
purpose may send to the hub, and so can send the very event as well.

Snapshots hold digests, so a partition keeps the kind that its state was made with: see
`consumer.core.snapshot`.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any, Final

import msgspec
import orjson
from xxhash import xxh3_64_digest, xxh3_128_digest

from consumer.strict_json import StrictJsonError, loads

KEY_BYTES: Final = 16
"""Of an object, and of an identity."""
DATA_BYTES: Final = 8
_BACKSLASH: Final = 0x5C
_SMALL_U: Final = 0x75
_SLASH: Final = 0x2F
"""A byte is found in bytes much faster by its number."""
_digest_64: Final = xxh3_64_digest
_digest_128: Final = xxh3_128_digest
_dumps: Final = orjson.dumps


class Digests:
    """XXH3; of the data, of its bytes as they came, but for blanks and escapes.

    Event Grid delivers an event again with the same bytes. A copy that somebody has reformatted on its way is
    recognised as well, so long as its keys keep their order.
    """

    name = "xxh3"

    def object_key(self, topic: str, path: str) -> bytes:
        """Give `KEY_BYTES` for an object."""
        if "\0" in topic or "\0" in path:
            return _digest_128(_with_lengths((topic, path)).encode())
        return _digest_128(f"{topic}\0{path}".encode())

    def identity(self, parts: tuple[str, ...]) -> bytes:
        """Give `KEY_BYTES` for an identity."""
        for part in parts:
            if "\0" in part:
                return _digest_128(_with_lengths(parts).encode())
        return _digest_128("\0".join(parts).encode())

    def of(self, topic: str, event_type: str) -> TopicDigests:
        """Those of the events of one type from one topic, both case-folded."""
        if "\0" in topic or "\0" in event_type:
            return TopicDigests(self, topic, event_type)
        return _JoinedDigests(self, topic, event_type)

    def data(self, written: bytes, value: Any) -> bytes:
        """Give `DATA_BYTES` for the data of an event, as it is written in JSON.

        `value` is what `data_of` gives for it.
        """
        if _BACKSLASH in written:
            # What would be written the same stays, whatever stands in it: writing is quicker than looking at
            # every escape. What has only escapes that nobody writes otherwise may still have blanks.
            rewritten = _dumps(value)
            if rewritten == written or _is_ambiguous(written):
                return _digest_64(rewritten)
        if 0x20 in written or 0x0A in written or 0x0D in written or 0x09 in written:
            written = msgspec.json.format(written, indent=-1)
        return _digest_64(written)


class CanonicalDigests(Digests):
    """BLAKE2b; of the data, of its meaning: what snapshots of format 2 hold."""

    name = "blake2b"

    def object_key(self, topic: str, path: str) -> bytes:
        """As above."""
        return blake2b(f"{len(topic)}:{topic}{path}".encode(), digest_size=KEY_BYTES).digest()

    def identity(self, parts: tuple[str, ...]) -> bytes:
        """As above."""
        text = "".join([f"{len(part)}:{part}" for part in parts])
        return blake2b(text.encode(), digest_size=KEY_BYTES).digest()

    def of(self, topic: str, event_type: str) -> TopicDigests:
        """As above."""
        return TopicDigests(self, topic, event_type)

    def data(self, written: bytes, value: Any) -> bytes:  # noqa: ARG002 - as it is written does not matter
        """As above; the order of keys does not matter."""
        canonical = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
        return blake2b(canonical, digest_size=DATA_BYTES).digest()


class TopicDigests:
    """The digests of the events of one type from one topic: the same that `Digests` gives."""

    def __init__(self, digests: Digests, topic: str, event_type: str) -> None:
        self._digests = digests
        self._topic = topic
        self._type = event_type

    def object_key(self, path: str) -> bytes:
        """Of an object of the topic."""
        return self._digests.object_key(self._topic, path)

    def identity(self, kind: str, name: str, mark: str) -> bytes:
        """Of an event that `mark` tells from others with the name; `kind` says what that is."""
        return self._digests.identity((kind, self._topic, name, self._type, mark))


class _JoinedDigests(TopicDigests):
    """What the events have in common is joined once."""

    def __init__(self, digests: Digests, topic: str, event_type: str) -> None:
        super().__init__(digests, topic, event_type)
        self._object_head = f"{topic}\0".encode()
        self._heads: dict[str, str] = {}
        self._middle = f"\0{event_type}\0"

    def object_key(self, path: str) -> bytes:
        if "\0" in path:
            return super().object_key(path)
        return _digest_128(self._object_head + path.encode())

    def identity(self, kind: str, name: str, mark: str) -> bytes:
        if "\0" in name or "\0" in mark:
            return super().identity(kind, name, mark)
        head = self._heads.get(kind)
        if head is None:
            head = self._heads[kind] = f"{kind}\0{self._topic}\0"
        return _digest_128(f"{head}{name}{self._middle}{mark}".encode())


XXH3 = Digests()
_KNOWN: dict[str, Digests] = {digests.name: digests for digests in (XXH3, CanonicalDigests())}


def digests_named(name: str) -> Digests:
    """The digests that a snapshot names. Raises `KeyError`."""
    return _KNOWN[name]


def data_of(data: Any) -> Any:
    """Decode data that is itself a JSON text, once; text that only looks like it stays text."""
    if isinstance(data, str) and data[:1] in ("{", "["):
        try:
            return loads(data.encode())
        except StrictJsonError:
            return data
    return data


def _is_ambiguous(written: bytes) -> bool:
    """Whether it may be a JSON text, or holds an escape that can be written in another way as well."""
    if written.startswith(b'"'):
        return True
    at = written.find(b"\\")
    while at >= 0:
        escaped = written[at + 1]
        if escaped == _SMALL_U or escaped == _SLASH:  # noqa: PLR1714, SIM109 - a tuple would be made
            return True
        at = written.find(b"\\", at + 2)
    return False


def _with_lengths(parts: tuple[str, ...]) -> str:
    """For parts that hold the very separator: begins with more of them than any other joining has."""
    return "\0" * len(parts) + "".join([f"{len(part)}:{part}" for part in parts])

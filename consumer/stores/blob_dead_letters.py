"""Dead letters in Azure Storage, one JSON blob each: ``<namespace>/<hub>/<group>/dead-letters/<name>.json``.

The name is the key, behind the digest of the line that the letter stands in (``<digest>.<key>``): what
stands in a line is one listing with a prefix. Letters without a line, and those of earlier versions, are
named by the key alone. The same failure written twice has the same name, and is one letter.

Age, processor and reason are in the metadata, where a listing finds them without reading the blobs.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, TypeVar

import msgspec
import structlog
from azure.core.exceptions import HttpResponseError

from consumer.errors import FenceLost, StoreUnavailable
from consumer.events import DeadLetter, PartitionId
from consumer.stores import COUNTED_MAX, LetterFilter
from consumer.stores.blob_claim import BlobClaim
from consumer.stores.blob_container import LISTING_TIMEOUT_S, BlobContainer, is_missing
from consumer.stores.dead_letter_record import DeadLetterRecord, letter_of, order_of, record_of
from consumer.stores.letter_filter import line_in, line_of
from consumer.stores.naming import DEAD_LETTERS, group_prefix

_REQUESTS_AT_ONCE_MAX = 8
_PAGE_NAMES = 10_000
"""Names of letters held at once, twice over while a listing goes on; more letters take more listings."""
_AGE = "inturnage"
_PROCESSOR = "inturnprocessor"
_REASON = "inturnreason"
_END = ".json"

Answer = TypeVar("Answer")
log = structlog.get_logger("inturn.stores")


class BlobDeadLetters:
    """A dead-letter store in a container, which may be the checkpoints' own."""

    is_indexed = True

    def __init__(self, container: BlobContainer) -> None:
        self._container = container
        self._claim = BlobClaim(container)
        self._requests = asyncio.Semaphore(_REQUESTS_AT_ONCE_MAX)

    async def put(self, letters: Sequence[DeadLetter]) -> None:
        """Keep letters; one that is there already changes nothing. Raises `StoreUnavailable`."""
        await self._for_each(letters, self._put)

    async def _put(self, letter: DeadLetter) -> bool:
        try:
            await self._container.put(_name_of(letter), _document(letter), _metadata(letter), "")
        except FenceLost:
            return False  # it is there already
        return True

    async def replace(self, letter: DeadLetter) -> bool:
        """Write a letter anew that is there. Raises `StoreUnavailable`."""
        name = _name_of(letter)
        for known in dict.fromkeys((name, _plain_name_of(letter))):
            fence = await self._fence(known)
            if fence is None:
                continue
            try:
                same = fence if known == name else ""
                await self._container.put(name, _document(letter), _metadata(letter), same)
            except FenceLost:
                return False  # removed, or written by another at this moment
            if known != name:
                await self._delete(known)
            return True
        return False

    async def letters(
        self, *, limit: int = 1_000, where: LetterFilter | None = None
    ) -> AsyncIterator[DeadLetter]:
        """The letters that are meant, oldest first. Raises `StoreUnavailable`."""
        meant = where or LetterFilter()
        after = ("", "")
        remaining = limit
        while remaining > 0:
            # A name may turn out not to be meant once its letter is read; then others have to follow.
            count = _PAGE_NAMES if meant.asks_names else min(remaining, _PAGE_NAMES)
            page = await self._oldest(meant, after, count)
            for start in range(0, len(page), _REQUESTS_AT_ONCE_MAX):
                names = [name for _, name in page[start : start + _REQUESTS_AT_ONCE_MAX]]
                for letter in await self._all(names, self._read):
                    if letter is not None and meant.matches(letter) and remaining > 0:
                        remaining -= 1
                        yield letter
                if remaining <= 0:
                    return
            if len(page) < count:
                return
            after = page[-1]

    async def count(self, where: LetterFilter | None = None) -> int:
        """How many letters are meant, `COUNTED_MAX` at most: a listing, of 5,000 names in each request.

        Only what asks for type, topic or object reads the letters. Raises `StoreUnavailable`.
        """
        meant = where or LetterFilter()
        count = 0
        if meant.asks_names:
            async for _ in self.letters(limit=COUNTED_MAX, where=meant):
                count += 1
            return count
        async for _ in self._listed(meant):
            count += 1
            if count >= COUNTED_MAX:
                break
        return count

    async def remove(self, letters: Sequence[DeadLetter]) -> int:
        """Delete letters; gives how many were there. Raises `StoreUnavailable`."""
        return await self._for_each(letters, self._remove)

    async def _remove(self, letter: DeadLetter) -> bool:
        names = dict.fromkeys((_name_of(letter), _plain_name_of(letter)))
        return any([await self._delete(name) for name in names])

    async def holds(self, partition: PartitionId, processor: str, topic: str, object_path: str) -> bool:
        """Whether there is a letter of a processor and an object: a listing of one name at most."""
        line = line_in(partition, processor, topic, object_path)
        prefix = f"{_folder(line.namespace, line.hub, line.group)}{line.digest}."
        async with self._container.call():
            names = self._container.client.list_blob_names(name_starts_with=prefix, results_per_page=1)
            async for _ in names:
                return True
        return False

    async def claim(self, owner: str, lasts_s: int) -> bool:
        """Take, or renew, the right to redrive: a lease on a blob, by the service's clock."""
        return await self._claim.take(owner, lasts_s)

    async def release(self, owner: str) -> None:
        """Give the right to redrive back."""
        await self._claim.release(owner)

    async def probe(self) -> None:
        """Raise `StoreUnavailable` unless the container can be listed and written; leaves nothing behind."""
        await self._container.probe()

    async def close(self) -> None:
        """Close the connections."""
        await self._container.close()

    async def _for_each(
        self, letters: Sequence[DeadLetter], work: Callable[[DeadLetter], Awaitable[bool]]
    ) -> int:
        """Do `work` for all letters, some at a time; gives how often it was true."""
        return sum(await self._all(letters, work))

    async def _all(self, items: Sequence[Any], work: Callable[[Any], Awaitable[Answer]]) -> list[Answer]:
        """Do `work` for all items, some at a time; gives the answers in order. Raises `StoreUnavailable`."""

        async def one(item: Any) -> Answer | StoreUnavailable:
            async with self._requests:
                try:
                    return await work(item)
                except StoreUnavailable as error:
                    return error

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(item)) for item in items]
        answers = []
        for task in tasks:
            answer = task.result()
            if isinstance(answer, StoreUnavailable):
                raise answer
            answers.append(answer)
        return answers

    async def _oldest(self, where: LetterFilter, after: tuple[str, str], count: int) -> list[tuple[str, str]]:
        """Age and name of the oldest letters behind `after` that may be meant."""
        found: list[tuple[str, str]] = []
        async for place in self._listed(where):
            if place > after:
                found.append(place)
            if len(found) > 2 * count:
                found = sorted(found)[:count]
        return sorted(found)[:count]

    async def _listed(self, where: LetterFilter) -> AsyncIterator[tuple[str, str]]:
        """Age and name of every letter that may be meant, as far as a listing tells."""
        line = where.line
        if line is None:
            prefixes = [f"{group}{DEAD_LETTERS}/" for group in await self._container.groups()]
        else:
            prefixes = [f"{_folder(line.namespace, line.hub, line.group)}{line.digest}."]
        for prefix in prefixes:
            async with self._container.call(timeout_s=LISTING_TIMEOUT_S):
                blobs = self._container.client.list_blobs(name_starts_with=prefix, include=["metadata"])
                async for blob in blobs:
                    if _may_be_meant(where, blob.name, blob.metadata or {}):
                        yield (blob.metadata or {}).get(_AGE, ""), blob.name

    async def _read(self, name: str) -> DeadLetter | None:
        async with self._container.call():
            try:
                body = await (await self._container.client.download_blob(name)).readall()
            except HttpResponseError as error:
                if not is_missing(error):
                    raise
                return None  # removed since it was listed
        try:
            return letter_of(msgspec.json.decode(body, type=DeadLetterRecord))
        except msgspec.DecodeError as error:
            log.warning("A dead letter cannot be read and is left out.", blob=name, error=str(error))
            return None

    async def _fence(self, name: str) -> str | None:
        """The version of a blob; None if it is not there."""
        async with self._container.call():
            try:
                found = await self._container.client.get_blob_client(name).get_blob_properties()
            except HttpResponseError as error:
                if not is_missing(error):
                    raise
                return None
        return str(found.etag)

    async def _delete(self, name: str) -> bool:
        async with self._container.call():
            try:
                await self._container.client.delete_blob(name)
            except HttpResponseError as error:
                if not is_missing(error):
                    raise
                return False
        return True


def _folder(namespace: str, hub: str, group: str) -> str:
    return f"{group_prefix(namespace, hub, group)}{DEAD_LETTERS}/"


def _plain_name_of(letter: DeadLetter) -> str:
    return f"{_folder(*letter.partition[:3])}{letter.key}{_END}"


def _name_of(letter: DeadLetter) -> str:
    line = line_of(letter)
    if line is None:
        return _plain_name_of(letter)
    return f"{_folder(*letter.partition[:3])}{line.digest}.{letter.key}{_END}"


def _may_be_meant(where: LetterFilter, name: str, metadata: dict[str, str]) -> bool:
    """Whether a letter may be meant; what its metadata does not say has to be read."""
    key = name.rpartition("/")[2].removesuffix(_END).rpartition(".")[2]
    # By the letter's age, which begins with the time.
    at_ms = int(age) if (age := metadata.get(_AGE, "").partition(".")[0]).isdecimal() else None
    processor, reason = metadata.get(_PROCESSOR), metadata.get(_REASON)
    return (
        key.startswith(where.key)
        and (at_ms is None or where.since_ms is None or at_ms >= where.since_ms)
        and (at_ms is None or where.until_ms is None or at_ms < where.until_ms)
        and (reason is None or not where.reasons or reason in where.reasons)
        and (reason is None or not where.processors or processor in where.processors)
    )


def _metadata(letter: DeadLetter) -> dict[str, str]:
    metadata = {_AGE: _age_of(letter), _REASON: letter.reason.value}
    return metadata if letter.processor is None else metadata | {_PROCESSOR: letter.processor}


def _age_of(letter: DeadLetter) -> str:
    """`order_of` as text that sorts the same."""
    at_ms, sequence_number, element, key = order_of(letter)
    return f"{at_ms:016d}.{sequence_number:020d}.{element:06d}.{key}"


def _document(letter: DeadLetter) -> bytes:
    """The letter as JSON: the original bytes in base64, and as text for a person where they are text."""
    document = msgspec.structs.asdict(record_of(letter))
    try:
        document["original_text"] = letter.original.decode("utf-8")
    except UnicodeDecodeError:
        document["original_text"] = None
    return msgspec.json.format(msgspec.json.encode(document), indent=2)

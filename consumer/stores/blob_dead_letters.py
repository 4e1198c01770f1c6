"""Dead letters in Azure Storage, one JSON blob each: ``<namespace>/<hub>/<group>/dead-letters/<key>.json``.

The key alone names the blob, so the same failure written twice is one letter. The age is in the metadata,
where a listing finds it without reading the blobs.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import msgspec
import structlog
from azure.core.exceptions import HttpResponseError

from consumer.errors import FenceLost, StoreUnavailable
from consumer.events import DeadLetter
from consumer.stores.blob_container import LISTING_TIMEOUT_S, BlobContainer, is_missing
from consumer.stores.dead_letter_record import DeadLetterRecord, letter_of, order_of, record_of
from consumer.stores.naming import DEAD_LETTERS, group_prefix

_REQUESTS_AT_ONCE_MAX = 8
_AGE = "inturnage"

log = structlog.get_logger("inturn.stores")


class BlobDeadLetters:
    """A dead-letter store in a container, which may be the checkpoints' own."""

    def __init__(self, container: BlobContainer) -> None:
        self._container = container
        self._requests = asyncio.Semaphore(_REQUESTS_AT_ONCE_MAX)

    async def put(self, letters: Sequence[DeadLetter]) -> None:
        """Keep letters; one that is there already changes nothing. Raises `StoreUnavailable`."""
        await self._for_each(letters, self._put)

    async def _put(self, letter: DeadLetter) -> bool:
        try:
            await self._container.put(_name_of(letter), _document(letter), {_AGE: _age_of(letter)}, "")
        except FenceLost:
            return False  # it is there already
        return True

    async def letters(self, *, limit: int = 1_000) -> AsyncIterator[DeadLetter]:
        """The letters, oldest first. Raises `StoreUnavailable`."""
        for name in await self._oldest(limit):
            letter = await self._read(name)
            if letter is not None:
                yield letter

    async def count(self) -> int:
        """How many letters there are; lists them all. Raises `StoreUnavailable`."""
        count = 0
        for prefix in await self._container.groups():
            async with self._container.call(timeout_s=LISTING_TIMEOUT_S):
                names = self._container.client.list_blob_names(name_starts_with=f"{prefix}{DEAD_LETTERS}/")
                async for _ in names:
                    count += 1
        return count

    async def remove(self, letters: Sequence[DeadLetter]) -> int:
        """Delete letters; gives how many were there. Raises `StoreUnavailable`."""
        return await self._for_each(letters, self._remove)

    async def _remove(self, letter: DeadLetter) -> bool:
        async with self._container.call():
            try:
                await self._container.client.delete_blob(_name_of(letter))
            except HttpResponseError as error:
                if not is_missing(error):
                    raise
                return False
        return True

    async def close(self) -> None:
        """Close the connections."""
        await self._container.close()

    async def _for_each(
        self, letters: Sequence[DeadLetter], work: Callable[[DeadLetter], Awaitable[bool]]
    ) -> int:
        """Do `work` for all letters, some at a time; gives how often it was true, or raises an error."""

        async def one(letter: DeadLetter) -> bool | StoreUnavailable:
            async with self._requests:
                try:
                    return await work(letter)
                except StoreUnavailable as error:
                    return error

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(letter)) for letter in letters]
        answers = [task.result() for task in tasks]
        for answer in answers:
            if isinstance(answer, StoreUnavailable):
                raise answer
        return sum(answer is True for answer in answers)

    async def _oldest(self, limit: int) -> list[str]:
        """The names of the oldest letters; holds at most twice `limit` of them while it looks."""
        found: list[tuple[str, str]] = []
        for prefix in await self._container.groups():
            async with self._container.call(timeout_s=LISTING_TIMEOUT_S):
                blobs = self._container.client.list_blobs(
                    name_starts_with=f"{prefix}{DEAD_LETTERS}/", include=["metadata"]
                )
                async for blob in blobs:
                    found.append(((blob.metadata or {}).get(_AGE, ""), blob.name))
                    if len(found) > 2 * limit:
                        found = sorted(found)[:limit]
        return [name for _, name in sorted(found)[:limit]]

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


def _name_of(letter: DeadLetter) -> str:
    namespace, hub, group, _ = letter.partition
    return f"{group_prefix(namespace, hub, group)}{DEAD_LETTERS}/{letter.key}.json"


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

"""Tokens of a Microsoft Entra identity for the Kafka endpoint of Event Hubs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiokafka.abc import AbstractTokenProvider

if TYPE_CHECKING:
    from azure.core.credentials_async import AsyncTokenCredential


def scope_of(bootstrap: str) -> str:
    """What a token has to be for: the namespace that the first broker names."""
    return f"https://{bootstrap.split(',', 1)[0].rpartition(':')[0]}/.default"


class TokenProvider(AbstractTokenProvider):  # type: ignore[misc] # aiokafka has no types
    """Gives a token per connection; the credential keeps those that are still good."""

    def __init__(self, credential: AsyncTokenCredential, scope: str) -> None:
        """Made on the event loop that the credential belongs to."""
        self._credential = credential
        self._scope = scope
        self._loop = asyncio.get_running_loop()

    async def token(self) -> str:
        """A token. Raises what the credential raises, and the client tries again."""
        # Faust's consumer lives in a thread with a loop of its own.
        asked = asyncio.run_coroutine_threadsafe(self._token(), self._loop)
        return await asyncio.wrap_future(asked)

    async def _token(self) -> str:
        return (await self._credential.get_token(self._scope)).token

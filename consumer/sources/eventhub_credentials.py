"""Credentials that also set the pace: every connection of the client asks for a token before it can receive.

A hub that lets receivers in only to turn them away (it is busy, its quota of readers is used up, the
consumer group was deleted) is connected to again at once, without end and without a word. Waiting for
the token is the one public place where that can be slowed down.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any, Protocol

import structlog
from azure.core.credentials import AccessToken
from azure.eventhub.aio import EventHubSharedKeyCredential

from consumer.sources.eventhub_settings import EventHubSettings, fields_of

BURST = 64
"""Connections that may be made at once: enough for 32 partitions to come back from an outage together."""
PER_SECOND = 2.0
"""Connections a second when the burst is used up."""
WAIT_MAX_S = 10.0
"""Nobody waits longer for a turn; a crowd that does is let in together."""
_SAS_TYPE = b"servicebus.windows.net:sastoken"
_TELL_EVERY_S = 60.0

_log = structlog.get_logger("inturn.eventhub")


class Tokens(Protocol):
    """What a client wants of a credential."""

    async def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        """A token for these scopes."""


class Pace:
    """How long to wait for one's turn: `burst` at once, then so many a second. Waits for nothing itself."""

    def __init__(self, *, burst: int = BURST, per_second: float = PER_SECOND) -> None:
        self._step_s = 1 / per_second
        self._slack_s = burst * self._step_s
        self._next_s = float("-inf")

    def wait_s(self, now_s: float) -> float:
        """Take a turn; gives the seconds until it comes. Monotonic seconds in, in rising order."""
        # The turns are spaced evenly on a line that may lie up to the burst behind the clock.
        turn_s = min(max(self._next_s, now_s - self._slack_s + self._step_s), now_s + WAIT_MAX_S)
        self._next_s = turn_s + self._step_s
        return max(0.0, turn_s - now_s)


class SignatureCredential:
    """A shared access signature that somebody else has made; it cannot be renewed."""

    token_type = _SAS_TYPE

    def __init__(self, signature: str) -> None:
        self._signature = signature
        expiry = dict(part.partition("=")[::2] for part in signature.split("&")).get("se", "")
        self._expires_on = int(expiry) if expiry.isdecimal() else 2**32

    async def get_token(self, *_scopes: str, **_: Any) -> AccessToken:
        """The signature."""
        return AccessToken(self._signature, self._expires_on)


class PacedCredential:
    """A credential behind a pace."""

    def __init__(self, inner: Tokens, pace: Pace) -> None:
        self._inner = inner
        self._pace = pace
        self._told_s = float("-inf")
        self.waiting = 0
        """Connections that wait for their turn now."""

    def __getattr__(self, name: str) -> Any:
        # The client looks for `token_type`, which some credentials have and others have not.
        return getattr(self._inner, name)

    async def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        """A token, when it is our turn."""
        now_s = time.monotonic()
        wait_s = self._pace.wait_s(now_s)
        if wait_s > 0:
            if now_s - self._told_s > _TELL_EVERY_S:
                self._told_s = now_s
                _log.warning(
                    "Links are opened again and again, and are slowed down: the hub is busy or refuses them.",
                    per_second=PER_SECOND,
                )
            self.waiting += 1
            try:
                await asyncio.sleep(wait_s)
            finally:
                self.waiting -= 1
        return await self._inner.get_token(*scopes, **options)


def paced_credential(settings: EventHubSettings) -> PacedCredential:
    """What the settings authenticate with, at the usual pace."""
    return PacedCredential(credential_of(settings), Pace())


def credential_of(settings: EventHubSettings) -> Tokens:
    """What the settings authenticate with. They have been through `address_of`."""
    if settings.connection_string is None:
        assert settings.credential is not None
        return settings.credential
    fields = fields_of(settings.connection_string)
    if fields.get("sharedaccesskey"):
        shared: Tokens = EventHubSharedKeyCredential(fields["sharedaccesskeyname"], fields["sharedaccesskey"])
        return shared
    return SignatureCredential(fields["sharedaccesssignature"])

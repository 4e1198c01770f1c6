"""Posts events to an HTTPS endpoint: as CloudEvents, signed, and never to where they must not go.

An event is handled once the endpoint has answered 2xx. What else it answers means: never this event (it is
put aside), later (it is tried again), or never again (410: this process sends nothing more there, and what
comes is put aside, to be redriven once the address is right; where each event has an address of its own, only
that event is). A request carries the idempotency key as
``webhook-id``: an endpoint that remembers it takes a repetition, after a crash or a time-out, for what it is.
"""

from __future__ import annotations

import hashlib
import logging
import time
from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from consumer.errors import ProcessorSettingsError
from consumer.events import Event
from consumer.processor import Context, NotYet, Reject, Retry
from processors import cloud_events
from processors.cloud_events import Content
from processors.outbound import Answer, Outbound
from processors.webhook_answers import Meaning, meaning_of, retry_after_s
from processors.webhook_handshake import Handshake
from processors.webhook_request import Credentials, Url
from processors.webhook_settings import WebhookSettings
from processors.webhook_signature import signed

BATCH_MAX_BYTES = 1_048_576
"""A batch that would be larger goes out event by event."""

_GONE = "the endpoint answered 410 Gone: it wants no event any more"

_log = logging.getLogger("inturn.processors.webhook")


class Webhook:
    """Posts every event, or with `batch` what waits at once."""

    Settings = WebhookSettings

    def __init__(self, settings: WebhookSettings) -> None:
        self._settings = settings
        self._url = Url(settings)
        self._credentials = Credentials(settings)
        self._outbound: Outbound | None = None
        self._handshake: Handshake | None = None
        self._is_gone = False
        self._not_before_s = 0.0
        """Until then the endpoint wants to be left alone, on the monotonic clock."""
        if settings.batch:
            # Only now a batch processor: given chunks, one that sends them one by one would repeat the first
            # when the last one fails.
            self.process_batch = self._post_batch

    async def open(self) -> None:
        """Read what is in files and look at the host. Raises `ProcessorSettingsError`."""
        self._credentials.headers()
        self._credentials.secrets()
        settings = self._settings
        try:
            target = settings.target(self._url.fixed())
        except ValueError as flaw:
            raise ProcessorSettingsError(f"url_file: {flaw}") from None
        self._outbound = Outbound(target, settings)
        await self._outbound.open()
        if settings.handshake == "required":
            assert settings.origin is not None, "checked with the settings"
            self._handshake = Handshake(settings.origin, settings.request_rate_per_min, self._ask)

    async def __call__(self, event: Event, context: Context) -> None:
        """Post one event. Raises `Retry` and `Reject`."""
        content = self._content([event])
        await self._post(self._url.of(event, context), content, context.key_of(event), context.processor)

    async def _post_batch(self, events: Sequence[Event], context: Context) -> None:
        content = self._content(events)
        if len(content.body) > BATCH_MAX_BYTES and len(events) > 1:
            raise Reject(f"together the events have more than {BATCH_MAX_BYTES} bytes")
        await self._post(self._url.fixed(), content, _key_of(events, context), context.processor)

    async def close(self) -> None:
        """Close the connections."""
        if self._outbound is not None:
            await self._outbound.close()

    def preview(self, event: Event, context: Context) -> Mapping[str, Any]:
        """The request, with asterisks for what is secret."""
        content = self._content([event])
        headers = {**dict.fromkeys(self._credentials.names, "***"), **content.headers}
        try:
            body = orjson.loads(content.body)
        except orjson.JSONDecodeError:
            body = content.body.decode("utf-8", "replace")
        return {
            "method": "POST",
            "url": self._url.shown(event, context),
            "headers": {**headers, "webhook-id": context.key_of(event)},
            "signed": self._credentials.signs,
            "body": body,
        }

    def _content(self, events: Sequence[Event]) -> Content:
        match self._settings.body:
            case "original":
                return cloud_events.original(events)
            case "cloudevents_binary":
                return cloud_events.binary(events[0])
            case _:
                return (
                    cloud_events.batch(events) if self._settings.batch else cloud_events.structured(events[0])
                )

    async def _post(self, url: str, content: Content, key: str, processor: str) -> None:
        if self._is_gone:
            raise Reject(_GONE)
        wait_s = self._not_before_s - time.monotonic()
        if wait_s > 0:
            raise NotYet("the endpoint asked to be left alone for a while", after_s=wait_s)
        headers = {**self._credentials.headers(), **content.headers}
        if self._handshake is not None:
            await self._handshake.permit()
            headers.update(self._handshake.headers)
        # The last to be made: its time is that of the attempt, and receivers allow it five minutes.
        headers.update(signed(self._credentials.secrets(), key, int(time.time()), content.body))
        self._judge(await self._opened.request("POST", url, headers, content.body), processor)

    async def _ask(self, question: Mapping[str, str]) -> Answer:
        headers = {**self._credentials.headers(), **question}
        answer = await self._opened.request("OPTIONS", self._url.fixed(), headers)
        if answer.status == 429 or answer.status >= 500:
            raise self._later(answer)
        return answer

    @property
    def _opened(self) -> Outbound:
        if self._outbound is None:
            raise RuntimeError("The webhook was not opened.")
        return self._outbound

    def _judge(self, answer: Answer, processor: str) -> None:
        match meaning_of(answer.status):
            case Meaning.DONE:
                return
            case Meaning.REFUSED:
                raise Reject(f"the endpoint answered {answer.status}")
            case Meaning.GONE:
                if self._url.depends:
                    raise Reject("the endpoint answered 410 Gone at the event's own address")
                self._give_up(processor)
                raise Reject(_GONE)
            case Meaning.LATER:
                raise self._later(answer)

    def _give_up(self, processor: str) -> None:
        if not self._is_gone:
            self._is_gone = True
            _log.error(
                "The endpoint of a webhook is gone for good: it answered 410. Until inturn is started anew, "
                "its events become dead letters. Correct its address, or take the processor away. "
                "processor=%s origin=%s",
                processor,
                self._opened.target.origin,
            )

    def _later(self, answer: Answer) -> Retry:
        after_s = retry_after_s(answer.headers, time.time())
        if after_s is not None:
            self._not_before_s = max(self._not_before_s, time.monotonic() + after_s)
        if after_s is not None and answer.status == 429:
            return NotYet("the endpoint wants fewer requests: it answered 429", after_s=after_s)
        said = f"the endpoint answered {answer.status}"
        if 300 <= answer.status < 400:
            said += ": redirects are not followed; its address seems to be another one now"
        return Retry(said, after_s=after_s)


def _key_of(events: Sequence[Event], context: Context) -> str:
    """One key for events that go together: of a single one its own."""
    if len(events) == 1:
        return context.key_of(events[0])
    digest = hashlib.sha256("\n".join(map(context.key_of, events)).encode()).digest()
    return urlsafe_b64encode(digest).rstrip(b"=").decode()

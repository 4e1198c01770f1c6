"""The idempotency key: the same for the same effect, whoever attempts it and however often."""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64encode

from consumer.events import Event


def idempotency_key(group: str, processor: str, event: Event, replay: str = "") -> str:
    """43 URL-safe characters that name the effect of `event` on `processor`.

    It depends on what the event is and not on where it was found: an event that is sent again has the
    same key, and so has one that is handled again after a restart, by another owner or another version.
    """
    token = event.order_token
    # repr of a plain int, str or tuple of ints is the same in every version and on every machine.
    # An arrival token says only where the event was found, which must not change the key.
    ordered = "" if token.by == "arrival" else f"{token.by}:{token.value!r}"
    parts = (group, event.object_id.topic, event.subject, event.type, event.id, ordered, processor, replay)
    text = "\x1f".join(f"{len(part)}:{part}" for part in parts)
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    return urlsafe_b64encode(digest).rstrip(b"=").decode("ascii")

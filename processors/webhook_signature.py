"""Signs requests by Standard Webhooks 1.0, so that a receiver can tell ours from anybody's.

A secret is ``whsec_`` and the Base64 of 24 to 64 random bytes. There are one or two, the newer one first:
while a secret is replaced a request carries both signatures, and the receiver takes either.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping

_PREFIX = "whsec_"
_BYTES_MIN, _BYTES_MAX = 24, 64
_SECRETS_MAX = 2


def flaw_of_secrets(text: str) -> str | None:
    """What is wrong with secrets, one a line, without a word of them; None: nothing."""
    words = text.split()
    if not 1 <= len(words) <= _SECRETS_MAX:
        return f"holds {len(words)} secrets: it is one, or two while the older one is replaced"
    for word in words:
        if not word.startswith(_PREFIX):
            return f"is no signing secret: these begin with {_PREFIX}"
        try:
            length = len(_bytes_of(word))
        except binascii.Error:
            return f"is no signing secret: after {_PREFIX} there is no Base64"
        if not _BYTES_MIN <= length <= _BYTES_MAX:
            return f"is a signing secret of {length} bytes: it needs {_BYTES_MIN} to {_BYTES_MAX}"
    return None


def signed(secrets: str, id_: str, timestamp_s: int, body: bytes) -> Mapping[str, str]:
    """The headers that say who sent a body, and when; without secrets they say only what and when.

    `id_` is the same for every attempt, `timestamp_s` is that of this one, in seconds since 1970. `secrets`
    must be such that `flaw_of_secrets` finds nothing, or empty.
    """
    headers = {"webhook-id": id_, "webhook-timestamp": str(timestamp_s)}
    # A full stop in the id would let the same signature hold for another id and body.
    assert "." not in id_, "an id is URL-safe Base64"
    content = f"{id_}.{timestamp_s}.".encode() + body
    if secrets:
        headers["webhook-signature"] = " ".join(_signature(word, content) for word in secrets.split())
    return headers


def _signature(secret: str, content: bytes) -> str:
    digest = hmac.digest(_bytes_of(secret), content, hashlib.sha256)
    return f"v1,{base64.b64encode(digest).decode()}"


def _bytes_of(secret: str) -> bytes:
    coded = secret.removeprefix(_PREFIX)
    return base64.b64decode(coded + "=" * (-len(coded) % 4), validate=True)

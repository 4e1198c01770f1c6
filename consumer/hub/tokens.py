"""Who may come in: shared access signatures, checked against the one key that was configured, if any."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable
from urllib.parse import unquote

from consumer.hub.addresses import path_of
from consumer.hub.performatives import AmqpError

SAS = "servicebus.windows.net:sastoken"
JWT = "jwt"
_UNAUTHORIZED = "amqp:unauthorized-access"


class TokenPolicy:
    """Accepts every token without a key; with one, tokens that it signed and that have not expired."""

    def __init__(self, key_name: str, key: str | None, now_ms: Callable[[], int]) -> None:
        self._key_name = key_name
        self._key = key
        self._now_ms = now_ms

    def check(self, kind: str, token: str, audience: str) -> None:
        """Check a token that is to open `audience`. Raises `AmqpError`."""
        if kind not in {SAS, JWT}:
            raise AmqpError(_UNAUTHORIZED, f"Tokens of type {kind[:50]!r} are unknown.")
        if self._key is None:
            return
        if kind == JWT:
            raise AmqpError(_UNAUTHORIZED, "This hub has a key and cannot verify a JSON web token.")
        fields = _fields(token)
        resource, expiry = fields.get("sr", ""), fields.get("se", "")
        signature = unquote(fields.get("sig", "")).encode()
        if not hmac.compare_digest(_signature(self._key, resource, expiry), signature):
            raise AmqpError(_UNAUTHORIZED, "The token has an invalid signature.")
        if unquote(fields.get("skn", "")) != self._key_name:
            raise AmqpError(_UNAUTHORIZED, "The token names an unknown key.")
        if not expiry.isdecimal() or int(expiry) * 1_000 <= self._now_ms():
            raise AmqpError(_UNAUTHORIZED, "The token has expired.")
        if not _covers(unquote(resource), audience):
            raise AmqpError(_UNAUTHORIZED, "The token is for another resource.")

    def accepts_password(self, user: str, password: str) -> bool:
        """Whether SASL PLAIN with a key's name and the key itself may come in."""
        if self._key is None:
            return True
        return user == self._key_name and hmac.compare_digest(password.encode(), self._key.encode())


def _fields(token: str) -> dict[str, str]:
    """The token's fields, still percent-encoded: what was signed is the encoded resource."""
    scheme, _, rest = token.partition(" ")
    if scheme != "SharedAccessSignature":
        raise AmqpError(_UNAUTHORIZED, "The token is not a shared access signature.")
    pairs = [field.partition("=") for field in rest.split("&")]
    return {name: value for name, _, value in pairs}


def _signature(key: str, resource: str, expiry: str) -> bytes:
    signed = f"{resource}\n{expiry}".encode()
    return base64.b64encode(hmac.new(key.encode(), signed, hashlib.sha256).digest())


def _covers(resource: str, audience: str) -> bool:
    """Whether a token for `resource` opens `audience`: by whole segments, `hub1` does not open `hub10`."""
    granted, wanted = path_of(resource).casefold(), path_of(audience).casefold()
    return not granted or wanted == granted or wanted.startswith(granted + "/")

"""Azure Resource Manager over azure-core: requests, pages, long-running operations, and what errors mean.

A request is sent once. Whether it is made again is the engine's to say, by the retry policy of the
processor; so an answer that never came is a `Retry`, and the next attempt looks first at what is there.
(aiohttp sends what may be repeated, GET and PUT, once more when the connection breaks; Azure answers 409 to
a PUT whose first one it is busy with. It never repeats a POST.)

    429, 409, still under way       `NotYet`, for as long as Azure asks: nothing has failed
    5xx, 408, 412, no answer        `Retry`
    400, 404, 422, and other 4xx    `Refused`, a Reject, with Azure's code and message
    401, 403, no token              `AccessRefused`, a fault: an operator has to act
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import orjson
from azure.core import AsyncPipelineClient
from azure.core.credentials_async import AsyncTokenCredential
from azure.core.exceptions import AzureError, ClientAuthenticationError
from azure.core.pipeline.policies import AsyncBearerTokenCredentialPolicy, RequestIdPolicy, UserAgentPolicy
from azure.core.rest import AsyncHttpResponse, HttpRequest

from consumer.processor import NotYet, Reject, Retry
from processors.azure_settings import AzureSettings

ANSWER_MAX_BYTES = 8 * 1024 * 1024
"""A longer answer is no answer of Resource Manager's: a fault."""
PAGES_MAX = 50
"""A list with more pages is a fault: what is looked for in it may be on the next."""
RETRY_AFTER_MAX_S = 600.0
"""Azure is believed no longer wait than that."""
_NO_ANSWER_AFTER_S = 5.0
_BUSY_AFTER_S = 10.0
_MESSAGE_MAX = 500
_REQUEST_IDS = uuid.UUID("5a0b0f0e-3b0c-5f43-9d0e-1f6d1c1f7a10")
_BUSY = frozenset({409, 429})
_TRY_AGAIN = frozenset({408, 412})


class Refused(Reject):
    """Azure will not do that, however often it is asked."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"Azure refused ({status} {code}): {message}")
        self.status = status
        self.code = code
        """Azure's error code."""
        self.message = message


class AccessRefused(Exception):
    """Azure does not know us or does not let us: an operator has to act."""


class Patience:
    """How long one attempt may still wait; when it is used up the attempt ends with `NotYet`."""

    def __init__(self, max_s: float) -> None:
        self._until_s = time.monotonic() + max_s

    async def wait(self, seconds: float, what: str) -> None:
        """Sleep, or raise `NotYet` with `what` if that would be too long."""
        if time.monotonic() + seconds >= self._until_s:
            raise NotYet(f"{what} The next attempt goes on from there.", after_s=seconds)
        await asyncio.sleep(seconds)


@dataclass(frozen=True, slots=True)
class Answer:
    """What Azure answered to a request that it took."""

    status: int
    headers: Mapping[str, str]
    body: Any
    """Decoded JSON; None if there is none."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How a long-running operation ended."""

    is_success: bool
    code: str = ""
    message: str = ""


class ResourceManager:
    """A connection to Azure Resource Manager. A path begins with a slash; `key` names the effect."""

    def __init__(self, settings: AzureSettings, credential: AsyncTokenCredential) -> None:
        self._settings = settings
        self._credential = credential
        scope = f"{settings.url}/.default"
        self._client: AsyncPipelineClient[HttpRequest, AsyncHttpResponse] = AsyncPipelineClient(
            settings.url,
            policies=[
                UserAgentPolicy("inturn", sdk_moniker="inturn"),
                RequestIdPolicy(auto_request_id=False),
                AsyncBearerTokenCredentialPolicy(credential, scope),
            ],
        )

    @property
    def poll_s(self) -> float:
        """Seconds between two looks where Azure does not say how many."""
        return self._settings.poll_s

    async def close(self) -> None:
        """Close the connections and the credential."""
        try:
            await self._client.close()
        finally:
            await self._credential.close()

    async def get(self, path: str, api: str, key: str) -> Any:
        """The resource at a path; None if there is none."""
        try:
            return (await self._send("GET", self._url(path, api), key)).body
        except Refused as refusal:
            if refusal.status == 404:
                return None
            raise

    async def list(self, path: str, api: str, key: str, query: Mapping[str, str] | None = None) -> list[Any]:
        """What a list holds, over all of its pages."""
        found: list[Any] = []
        url, parameters = self._url(path, api), {**(query or {})}
        for _ in range(PAGES_MAX):
            page = (await self._send("GET", url, key, query=parameters)).body or {}
            found.extend(page.get("value", ()))
            following = page.get("nextLink")
            if not following:
                return found
            if not self._is_own(following):
                raise AccessRefused("Azure says that the list goes on at another host: no token goes there.")
            url, parameters = following, {}
        raise RuntimeError(f"The list has more than {PAGES_MAX} pages.")

    async def put(self, path: str, api: str, body: Mapping[str, Any], key: str) -> Answer:
        """Create or update a resource; `follow` tells how an operation ends that this starts."""
        return await self._send("PUT", self._url(path, api), key, body=body)

    async def post(
        self, path: str, api: str, body: Mapping[str, Any], key: str, query: Mapping[str, str] | None = None
    ) -> Any:
        """Call an action; gives what it answers."""
        return (await self._send("POST", self._url(path, api), key, query=query, body=body)).body

    async def follow(self, answer: Answer, key: str, patience: Patience, what: str) -> Ending | None:
        """Wait for the end of the operation that an answer tells of.

        None: it tells of none, or of one that cannot be asked (any more); the resource itself says then.
        Raises `NotYet` when the patience is used up; the operation goes on.
        """
        status_url = answer.headers.get("azure-asyncoperation")
        url = status_url or answer.headers.get("location")
        if answer.status not in {201, 202} or url is None or not self._is_own(url):
            return None
        wait_s = self._pause_s(answer)
        while True:
            await patience.wait(wait_s, f"{what} is still under way.")
            try:
                seen = await self._send("GET", url, key)
            except Retry as later:
                # A look that fails says nothing of the operation.
                wait_s = max(later.after_s or 0.0, self._settings.poll_s)
                continue
            except Refused:
                return None
            ending = _ending_of(seen, is_status=status_url is not None)
            if ending is not None:
                return ending
            wait_s = self._pause_s(seen)

    async def ended(self, url: str, key: str) -> Ending | None:
        """How an operation ended whose address is known; None if it goes on, or cannot be asked."""
        if not self._is_own(url):
            return None
        try:
            return _ending_of(await self._send("GET", url, key), is_status=True)
        except Refused:
            return None

    def _pause_s(self, answer: Answer) -> float:
        asked = _retry_after_s(answer.headers)
        return self._settings.poll_s if asked is None else max(asked, min(1.0, self._settings.poll_s))

    def _url(self, path: str, api: str) -> str:
        return f"{self._settings.url}{path}?api-version={api}"

    def _is_own(self, url: str) -> bool:
        """Whether an address out of an answer is of the same host: our token goes to no other."""
        ours, theirs = urlsplit(self._settings.url), urlsplit(url)
        return (theirs.scheme, theirs.netloc.casefold()) == (ours.scheme, ours.netloc.casefold())

    async def _send(
        self,
        method: str,
        url: str,
        key: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> Answer:
        content = None if body is None else orjson.dumps(body)
        headers = {"Accept": "application/json"} | (
            {} if content is None else {"Content-Type": "application/json"}
        )
        request = HttpRequest(method, url, params=dict(query or {}), headers=headers, content=content)
        try:
            async with asyncio.timeout(self._settings.request_max_s):
                response = await self._client.send_request(
                    request,
                    stream=True,
                    request_id=str(uuid.uuid5(_REQUEST_IDS, key)),
                    enforce_https=not self._settings.is_plain,
                )
                try:
                    answer = Answer(
                        response.status_code,
                        {name.casefold(): value for name, value in response.headers.items()},
                        _decoded(await _read(response)),
                    )
                finally:
                    await response.close()
        except ClientAuthenticationError as error:
            raise AccessRefused(f"No token could be had ({_first_line(error)}).") from error
        except (AzureError, OSError, TimeoutError) as error:
            raise Retry(
                f"Azure gave no answer to {method} ({_first_line(error)}). What was done will be looked up.",
                after_s=_NO_ANSWER_AFTER_S,
            ) from error
        if answer.status >= 300:
            raise _error_of(answer)
        return answer


async def _read(response: AsyncHttpResponse) -> bytes:
    content = bytearray()
    async for chunk in response.iter_bytes():
        content += chunk
        if len(content) > ANSWER_MAX_BYTES:
            raise RuntimeError(f"The answer is longer than {ANSWER_MAX_BYTES} bytes.")
    return bytes(content)


def _decoded(content: bytes) -> Any:
    try:
        return orjson.loads(content) if content else None
    except orjson.JSONDecodeError:
        return None


def _error_of(answer: Answer) -> Exception:
    """What an answer means that is no success."""
    code, message = said(answer.body)
    text = f"{answer.status} {code}: {message}" if code or message else str(answer.status)
    after_s = _retry_after_s(answer.headers)
    # Azure ML says so with 400 too while an endpoint is being changed.
    if answer.status in _BUSY or (answer.status == 400 and "provisioning state" in message):
        return NotYet(f"Azure is busy ({text}).", after_s=_BUSY_AFTER_S if after_s is None else after_s)
    if answer.status in _TRY_AGAIN or answer.status >= 500:
        return Retry(f"Azure has trouble ({text}).", after_s=after_s)
    if answer.status in {401, 403}:
        return AccessRefused(f"Azure does not let us ({text}). Give the identity the role that it needs.")
    return Refused(answer.status, code, message)


def said(body: Any) -> tuple[str, str]:
    """The code and the message of an error as Azure writes it, each one line and bounded."""
    error = body.get("error") if isinstance(body, dict) else None
    if not isinstance(error, dict):
        return "", ""
    code, message = (" ".join(str(error.get(name) or "").split()) for name in ("code", "message"))
    return code[:100], message[:_MESSAGE_MAX]


def _ending_of(seen: Answer, *, is_status: bool) -> Ending | None:
    """How the operation ended; None: it goes on. A status is in the body, else the HTTP status tells."""
    body = seen.body if isinstance(seen.body, dict) else {}
    status = str(body.get("status") or "").casefold()
    if not is_status and not status:
        return None if seen.status == 202 else Ending(is_success=True)
    if status == "succeeded":
        return Ending(is_success=True)
    if status in {"failed", "canceled", "cancelled"}:
        code, message = said(body)
        return Ending(is_success=False, code=code or status.capitalize(), message=message)
    return None


def _retry_after_s(headers: Mapping[str, str]) -> float | None:
    """What ``Retry-After`` asks for, seconds or a date, within bounds; None if it asks for nothing."""
    text = headers.get("retry-after", "").strip()
    if not text:
        return None
    try:
        seconds = float(text) if text.isdecimal() else parsedate_to_datetime(text).timestamp() - time.time()
    except (ValueError, OverflowError):  # the second for a year that is none
        return None
    return min(max(seconds, 0.0), RETRY_AFTER_MAX_S)


def _first_line(error: BaseException) -> str:
    text = " ".join(str(error).split())[:200]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__

"""A fake of Azure Resource Manager over HTTP: tokens, errors, long-running operations, faults, and a ledger.

What lives in it (an Azure ML workspace, a Data Factory) is in `resource_manager_ml` and
`resource_manager_factory`. Shapes and status codes are those of the public REST specifications. Its ledger
holds what was really done, so that a test can say: exactly once.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

from aiohttp import web

SECRET_HEADER = "only-on-this-machine"
TOKEN = "a-token-of-the-fake"
LOST = "lost"
"""The work is done, and the answer never arrives."""
DROPPED = "dropped"
"""The connection breaks before anything is done."""


class Deed(NamedTuple):
    """Something that was done, and is paid for."""

    kind: str
    """endpoint, deployment, traffic, job or run."""
    name: str
    detail: dict[str, Any]
    request_id: str
    """The ``x-ms-client-request-id`` that it was asked with."""


class Said(NamedTuple):
    """An answer in place of the work."""

    status: int
    body: dict[str, Any] | None = None
    headers: dict[str, str] = {}  # noqa: RUF012 - never changed


@dataclass
class Fault:
    """What goes wrong with the next requests of a kind."""

    method: str
    part: str
    """What their path contains."""
    what: Said | str | asyncio.Event
    """An answer, `LOST`, `DROPPED`, or an event: the work is done and the answer waits for it."""
    times: int = 1


@dataclass
class Operation:
    """A long-running operation."""

    end: Callable[[tuple[str, str] | None], None]
    """Called with the error, or None, once it ends."""
    looks_left: int
    error: tuple[str, str] | None
    gate: asyncio.Event
    status: str = "InProgress"

    def look(self) -> None:
        """Somebody looks: after enough looks it has ended."""
        if self.status != "InProgress" or not self.gate.is_set():
            return
        self.looks_left -= 1
        if self.looks_left < 0:
            self.status = "Failed" if self.error else "Succeeded"
            self.end(self.error)


Handler = Callable[[web.Request, list[str], dict[str, Any]], Awaitable[Said]]
"""The request, its path after ``providers``, and its body."""


@dataclass
class ResourceManagerServer:
    """The fake; parts are added by their provider's name, in lower case."""

    providers: dict[str, Handler] = field(default_factory=dict)
    ledger: list[Deed] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    requests: list[tuple[float, str, str]] = field(default_factory=list)
    """Of every request: monotonic seconds, method and path."""
    looks: int = 2
    """After how many looks an operation has ended."""
    retry_after: str | None = None
    """The header of answers about an operation that goes on."""
    failing: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Names of resources whose operations fail, with code and message."""
    is_forbidden: bool = False
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    """While it is not set no operation ends."""
    url: str = ""

    async def __aenter__(self) -> Self:
        self.gate.set()
        self._operations: dict[str, Operation] = {}
        self._numbers = itertools.count(1)
        app = web.Application()
        app.router.add_get("/identity/token", self._token)
        app.router.add_route("*", "/{path:.*}", self._serve)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        assert site._server is not None
        self.url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    def deeds(self, kind: str) -> list[str]:
        """The names of what was done of a kind, in order."""
        return [deed.name for deed in self.ledger if deed.kind == kind]

    def asked(self, method: str, part: str) -> list[float]:
        """When such requests came."""
        return [at for at, known, path in self.requests if known == method and part in path]

    def note(self, request: web.Request, kind: str, name: str, **detail: Any) -> None:
        """Write something into the ledger."""
        self.ledger.append(Deed(kind, name, detail, request.headers.get("x-ms-client-request-id", "")))

    def begin(self, name: str, end: Callable[[tuple[str, str] | None], None]) -> str:
        """Begin an operation on a resource; gives the address that tells how it goes."""
        number = f"op{next(self._numbers)}"
        self._operations[number] = Operation(end, self.looks, self.failing.get(name), self.gate)
        return f"{self.url}/subscriptions/s/providers/operations/{number}?api-version=1"

    def operation(self, address: str) -> Operation:
        """The operation behind an address."""
        return self._operations[address.rpartition("/")[2].partition("?")[0]]

    async def _token(self, request: web.Request) -> web.Response:
        # The form that App Service and Container Apps give managed identities.
        if request.headers.get("X-IDENTITY-HEADER") != SECRET_HEADER:
            return web.json_response({"error": "invalid_request"}, status=400)
        resource = request.query["resource"]
        expires_on = str(int(time.time()) + 86_400)
        return web.json_response(
            {"access_token": TOKEN, "expires_on": expires_on, "resource": resource, "token_type": "Bearer"}
        )

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        self.requests.append((time.monotonic(), request.method, request.path))
        fault = self._fault_of(request)
        if fault == DROPPED:
            return self._cut(request)
        said = fault if isinstance(fault, Said) else await self._answer(request)
        if isinstance(fault, asyncio.Event):
            await fault.wait()
        if fault == LOST:
            return self._cut(request)
        if said.body is None:
            return web.Response(status=said.status, headers=said.headers)
        return web.json_response(said.body, status=said.status, headers=said.headers)

    def _fault_of(self, request: web.Request) -> Said | str | asyncio.Event | None:
        for fault in self.faults:
            if fault.times > 0 and fault.method == request.method and fault.part in request.path:
                fault.times -= 1
                return fault.what
        return None

    @staticmethod
    def _cut(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async def _answer(self, request: web.Request) -> Said:
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return error(401, "InvalidAuthenticationToken", "The access token is invalid.")
        if self.is_forbidden:
            return error(
                403, "AuthorizationFailed", "The client does not have authorization to perform action."
            )
        if not request.query.get("api-version"):
            return error(400, "MissingApiVersionParameter", "The api-version query parameter is required.")
        before, _, after = request.path.partition("/providers/")
        parts = after.split("/")
        if parts[0] == "operations":
            return self._operation_status(parts[1])
        handler = self.providers.get(parts[0].casefold())
        if handler is None or "/resourcegroups/" not in before.casefold():
            return error(404, "ResourceNotFound", "The resource was not found.")
        return await handler(request, parts[1:], await request.json() if request.can_read_body else {})

    def _operation_status(self, number: str) -> Said:
        operation = self._operations[number]
        operation.look()
        body: dict[str, Any] = {"status": operation.status, "name": number}
        if operation.status == "Failed":
            assert operation.error is not None
            body["error"] = {"code": operation.error[0], "message": operation.error[1]}
        waits = operation.status == "InProgress" and self.retry_after is not None
        return Said(200, body, {"Retry-After": self.retry_after or ""} if waits else {})


def error(status: int, code: str, message: str, **headers: str) -> Said:
    """An error in Azure's form."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Said(status, {"error": {"code": code, "message": message, "details": []}}, named)

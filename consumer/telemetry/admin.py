"""The admin port: health, metrics, status and the status page, read-only, on loopback unless told otherwise.

It answers GET and HEAD, keeps no state and changes nothing. What it shows holds no secrets and no bodies.
"""

from __future__ import annotations

import base64
import errno
import hashlib
import ipaddress
import re
from collections.abc import Callable
from importlib import resources
from types import TracebackType
from typing import Self

import msgspec
from aiohttp import hdrs, web

from consumer.errors import ConfigurationError, PortTaken
from consumer.status import EngineStatus
from consumer.telemetry.health import EventLoopHeartbeat, HealthLimits, Verdict, judge_live, judge_ready
from consumer.telemetry.metrics import Exposition
from consumer.telemetry.redaction import redact

__all__ = ["AdminServer"]

_LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Server": "inturn",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class AdminServer:
    """Serves while its context is open. Port 0 takes any free one; `port` and `url` say which.

    Entering raises `PortTaken`, or `ConfigurationError` for an address that is not this machine's.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        status: Callable[[], EngineStatus],
        metrics: Exposition,
        heartbeat: EventLoopHeartbeat,
        limits: HealthLimits | None = None,
    ) -> None:
        self._host = host
        self._wanted_port = port
        self._status = status
        self._metrics = metrics
        self._heartbeat = heartbeat
        self._limits = limits or HealthLimits()
        self._page, self._page_policy = _load_page()
        self._runner: web.AppRunner | None = None
        self.port = port
        """The port that is listened on, once the context is open."""

    @property
    def url(self) -> str:
        """Where a browser on this machine finds the status page, without a slash at its end."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self._host, self._host)  # noqa: S104 - compared
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    async def __aenter__(self) -> Self:
        runner = web.AppRunner(
            self._application(), access_log=None, handle_signals=False, shutdown_timeout=1.0
        )
        await runner.setup()
        try:
            await web.TCPSite(runner, self._host, self._wanted_port).start()
        except OSError as error:
            await runner.cleanup()
            raise self._refusal(error) from error
        self._runner = runner
        self.port = int(runner.addresses[0][1])
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def _clean_status(self) -> EngineStatus:
        return _without_secrets(self._status())

    def _refusal(self, error: OSError) -> Exception:
        place = f"{self._host}:{self._wanted_port}"
        if error.errno == errno.EADDRINUSE:
            return PortTaken(
                f"The admin port {place} is taken by another program. "
                "Stop it, or choose another port (0: any)."
            )
        return ConfigurationError(f"The admin port cannot listen on {place}: {error.strerror or error}.")

    def _application(self) -> web.Application:
        guard = [_local_names_only] if _is_loopback(self._host) else []
        application = web.Application(middlewares=guard, client_max_size=1024)
        application.on_response_prepare.append(_add_headers)
        application.router.add_get("/", self._show_page)
        application.router.add_get("/livez", self._livez)
        application.router.add_get("/readyz", self._readyz)
        application.router.add_get("/metrics", self._show_metrics)
        application.router.add_get("/status", self._show_status)
        return application

    async def _show_page(self, _: web.Request) -> web.Response:
        headers = {"Content-Security-Policy": self._page_policy}
        return web.Response(text=self._page, content_type="text/html", headers=headers)

    async def _livez(self, _: web.Request) -> web.Response:
        return _verdict(judge_live(self._clean_status(), self._heartbeat.age_s, self._limits))

    async def _readyz(self, _: web.Request) -> web.Response:
        return _verdict(judge_ready(self._clean_status(), self._heartbeat.age_s, self._limits))

    async def _show_metrics(self, request: web.Request) -> web.Response:
        body, content_type = self._metrics.render(request.headers.get(hdrs.ACCEPT, ""))
        return web.Response(body=body, headers={hdrs.CONTENT_TYPE: content_type})

    async def _show_status(self, _: web.Request) -> web.Response:
        return _json(self._clean_status())


def _verdict(verdict: Verdict) -> web.Response:
    return _json(verdict, status=200 if verdict.ok else 503)


def _json(value: msgspec.Struct, *, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), status=status, content_type="application/json")


def _without_secrets(status: EngineStatus) -> EngineStatus:
    """Error texts come from receivers and libraries; nobody promises what is in them."""
    processors = [msgspec.structs.replace(p, last_error=redact(p.last_error)) for p in status.processors]
    return msgspec.structs.replace(
        status,
        source=redact(status.source),
        not_ready=[redact(reason) for reason in status.not_ready],
        processors=processors,
    )


async def _add_headers(_: web.Request, response: web.StreamResponse) -> None:
    policy = response.headers.get("Content-Security-Policy")
    response.headers.update(_HEADERS)
    if policy is not None:
        response.headers["Content-Security-Policy"] = policy


@web.middleware
async def _local_names_only(
    request: web.Request, handler: Callable[[web.Request], object]
) -> web.StreamResponse:
    """Refuse foreign names that were made to point at loopback, so that no web page can read us."""
    name = re.sub(r":\d+$", "", request.host).strip("[]").lower()
    if name not in _LOCAL_NAMES and not _is_loopback(name):
        raise web.HTTPForbidden(text="Ask for localhost or a loopback address.")
    return await handler(request)  # type: ignore[misc, no-any-return]  # aiohttp's Handler is not public


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _load_page() -> tuple[str, str]:
    """The status page and the policy that lets its own script and style run, and nothing else."""
    page = resources.files("consumer.telemetry").joinpath("page", "status.html").read_text("utf-8")
    sources = {
        tag: " ".join(
            "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"
            for text in re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        )
        for tag in ("script", "style")
    }
    return page, (
        f"default-src 'none'; script-src {sources['script']}; style-src {sources['style']}; "
        "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )

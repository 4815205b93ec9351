"""The way in and out of every REST request: journal, faults, limits, token, errors."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import unquote

from aiohttp import web

from .bodies import read_body
from .errors import ApiError, unauthorized
from .faults import Fault
from .journal import RestCall
from .stage import BODY, Call, Stage

PREFIX = "/api/v{version}"
Handler = Callable[[Call], Awaitable[web.Response]]
_VERSION = re.compile(r"^/api/v(\d+|\{version\})")
#: Routes whose token is in the path: webhooks, interactions, and what they sent.
_OPEN = re.compile(r"/(webhooks/[^/]+/.+|interactions/.+|gateway)")


def answer(body: Any = None, status: int = 200) -> web.Response:
    """A JSON answer; without a body 204. The client wants exactly this content type."""
    if body is None:
        return web.Response(status=204)
    return web.Response(
        body=json.dumps(body).encode(),
        status=status,
        headers={"Content-Type": "application/json"},
    )


def refusal(error: ApiError) -> web.Response:
    return answer(error.body, error.status)


def too_many(retry_after: float, *, global_: bool, scope: str = "user") -> web.Response:
    """429, as it comes from Discord itself: without `Via`, discord.py takes it for a ban."""
    response = answer(
        {
            "message": "You are being rate limited.",
            "retry_after": retry_after,
            "global": global_,
        },
        429,
    )
    response.headers["Retry-After"] = f"{retry_after:.3f}"
    response.headers["X-RateLimit-Scope"] = "global" if global_ else scope
    if global_:
        response.headers["X-RateLimit-Global"] = "true"
    return response


class Rest:
    """Binds handlers to routes, and stands around each of them."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    def route(self, method: str, path: str, handler: Handler) -> web.RouteDef:
        async def handle(request: web.Request) -> web.StreamResponse:
            return await handler(Call(self._stage, request))

        return web.route(method, PREFIX + path, handle)

    def fallback(self) -> web.RouteDef:
        """404 for a route that the stand-in does not have, and a note of it in the journal."""

        async def handle(request: web.Request) -> web.StreamResponse:
            self._stage.journal.unhandled.append(self._stage.journal.calls[-1])
            raise ApiError(404, 0, "404: Not Found")

        return web.route("*", PREFIX + "/{rest:.*}", handle)

    @property
    def middleware(self) -> Any:
        @web.middleware
        async def around(
            request: web.Request,
            handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
        ) -> web.StreamResponse:
            if not _VERSION.match(request.path):
                return await handler(request)
            return await self._around(request, handler)

        return around

    async def _around(
        self,
        request: web.Request,
        handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
    ) -> web.StreamResponse:
        call = self._record(request)
        try:
            body = request[BODY] = await read_body(request)
            call.json, call.files = body.json, [upload.filename for upload in body.files]
            fault = self._stage.faults.strike(call)
            if fault is not None:
                self._stage.journal.pulse.fire()
            response = await self._before(fault, request)
            if response is None:
                response = await self._handle(call, request, handler)
                response = await self._after(fault, request, response)
        except ApiError as error:
            response = refusal(error)
        except Exception:
            # A bug of the stand-in's: shown to the client as Discord shows its own.
            self._finish(call, 500)
            raise
        response.headers["Via"] = "1.1 stand-in"
        gone = request.transport is None or request.transport.is_closing()
        self._finish(call, 0 if gone else response.status)
        return response

    def _record(self, request: web.Request) -> RestCall:
        resource = request.match_info.route.resource
        canonical = resource.canonical if resource else request.path
        reason = request.headers.get("X-Audit-Log-Reason")
        call = RestCall(
            request.method,
            _VERSION.sub("", request.path),
            _VERSION.sub("", canonical),
            dict(request.query),
            reason=None if reason is None else unquote(reason),
        )
        self._stage.journal.calls.append(call)
        return call

    def _finish(self, call: RestCall, status: int) -> None:
        call.answered_at = time.monotonic()
        call.status = status
        self._stage.journal.pulse.fire()

    async def _before(self, fault: Fault | None, request: web.Request) -> web.Response | None:
        """What a fault answers instead of the handler; None to go on."""
        if fault is None:
            return None
        if fault.delay_before:
            await asyncio.sleep(fault.delay_before)
        if fault.drop == "request":
            return _cut(request)
        if fault.retry_after is not None:
            return too_many(fault.retry_after, global_=fault.global_)
        if fault.status is not None:
            return answer({"message": fault.message, "code": fault.code}, fault.status)
        return None

    async def _after(
        self, fault: Fault | None, request: web.Request, response: web.Response
    ) -> web.Response:
        if fault is not None and fault.delay_after:
            await asyncio.sleep(fault.delay_after)
        if fault is not None and fault.drop == "response":
            return _cut(request)
        return response

    async def _handle(
        self,
        call: RestCall,
        request: web.Request,
        handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
    ) -> web.Response:
        verdict = self._stage.rate_limits.judge(call)
        if verdict is not None and verdict.retry_after is not None:
            response = too_many(verdict.retry_after, global_=False)
            response.headers.update(verdict.headers)
            return response
        try:
            self._authorize(call, request)
            answered = await handler(request)
            assert isinstance(answered, web.Response)
        except ApiError as error:
            answered = refusal(error)
        if verdict is not None:
            answered.headers.update(verdict.headers)
        return answered

    def _authorize(self, call: RestCall, request: web.Request) -> None:
        given = request.headers.get("Authorization")
        if given is None and _OPEN.fullmatch(call.path):
            return
        if given != f"Bot {self._stage.token}":
            raise unauthorized()


def _cut(request: web.Request) -> web.Response:
    """Drops the TCP connection; the response that is returned goes nowhere."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=500)

"""HTTP to one OpenAI-compatible server; every failure becomes a `RemoteError`."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import ssl
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import aiohttp
from yarl import URL

from config import RemoteSettings
from inference.remote.errors import RemoteError, refusal, unreachable
from inference.remote.stream import DONE, EventDecoder
from inference.types import InferenceError

_LARGEST_ERROR = 1 << 16  # bytes read of an error page
_LARGEST_ANSWER = 8 << 20
_ADAPTER_SECONDS = 120.0  # a server may fetch or convert an adapter before it answers


class RemoteServer:
    """The few calls that are needed of one server."""

    def __init__(self, url: str, settings: RemoteSettings) -> None:
        base = URL(url)
        # Most people write the address without the version that every server has it under.
        self._base = base / "v1" if base.path in ("", "/") else base
        self._settings = settings
        self._session: aiohttp.ClientSession | None = None
        self._key = ""
        self.name = str(self._base.with_query(None).with_fragment(None))

    def open(self) -> None:
        """Get ready to connect; the key is read from the environment now.

        Raises `InferenceError` if the key cannot be sent.
        """
        variable = self._settings.api_key_variable
        self._key = os.environ.get(variable, "").strip()
        if not (self._key.isascii() and self._key.isprintable()):
            raise InferenceError(f"The key in {variable} has characters that no key has.")
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        self._session = aiohttp.ClientSession(
            headers=headers,
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(
                total=None, connect=self._settings.connect_timeout_seconds
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def models(self) -> list[dict[str, Any]]:
        """The entries of `/v1/models`; empty if the server has no such list."""
        try:
            async with asyncio.timeout(self._settings.connect_timeout_seconds):
                body = await self._call("GET", "models")
        except TimeoutError:
            raise unreachable(self.name, "it does not answer in time") from None
        except RemoteError as error:
            if error.status in (404, 405) and self._settings.model:
                return []
            raise
        try:
            entries = json.loads(body)["data"]
            return [entry for entry in entries if isinstance(entry["id"], str)]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise RemoteError(
                f"There is no OpenAI-compatible API at {self.name}; check remote.urls, which mostly"
                " end in /v1."
            ) from None

    async def load_adapter(self, name: str, path: str) -> None:
        """vLLM's own call; raises `RemoteError` if the adapter cannot be loaded."""
        await self._adapter_call("load_lora_adapter", {"lora_name": name, "lora_path": path})

    async def unload_adapter(self, name: str) -> None:
        await self._adapter_call("unload_lora_adapter", {"lora_name": name})

    @asynccontextmanager
    async def chat(self, body: dict[str, Any]) -> AsyncIterator[AsyncIterator[str]]:
        """The data of the events that answer `body`; leaving the context disconnects.

        The events end when the server says that it is done, or closes the connection in good order.
        """
        async with self._request("POST", "chat/completions", body) as response:
            kind = response.content_type
            if kind == "application/json":  # this server does not stream
                yield _one(await _read(response, _LARGEST_ANSWER))
            elif kind == "text/html":
                raise RemoteError(
                    f"The server {self.name} answers with a web page; check remote.urls."
                )
            else:
                async with aclosing(self._events(response)) as events:
                    yield events

    async def _events(self, response: aiohttp.ClientResponse) -> AsyncGenerator[str, None]:
        decoder = EventDecoder()
        try:
            async for chunk in response.content.iter_any():
                for event in decoder.feed(chunk):
                    if event.strip() == DONE:
                        return
                    yield event
        except (aiohttp.ClientError, OSError):
            raise broken_off() from None
        for event in decoder.end():
            if event.strip() != DONE:
                yield event

    async def _adapter_call(self, path: str, body: dict[str, str]) -> None:
        try:
            async with asyncio.timeout(_ADAPTER_SECONDS):
                await self._call("POST", path, body)
        except TimeoutError:
            raise RemoteError(
                f"The server {self.name} did not load an adapter within {_ADAPTER_SECONDS:.0f}"
                " seconds."
            ) from None

    async def _call(self, method: str, path: str, body: dict[str, str] | None = None) -> bytes:
        async with self._request(method, path, body) as response:
            return await _read(response, _LARGEST_ANSWER)

    @asynccontextmanager
    async def _request(
        self, method: str, path: str, body: dict[str, Any] | None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """An answer with status 200. Its connection is closed unless all of it was read."""
        if self._session is None:
            raise RuntimeError("open() comes before every call")
        try:
            # The key must not travel to wherever a redirect points.
            response = await self._session.request(
                method, self._base / path, json=body, allow_redirects=False
            )
        except (aiohttp.ClientError, ssl.SSLError, OSError) as error:
            raise unreachable(self.name, _reason(error)) from None
        try:
            if response.status != 200:
                page = await _read(response, _LARGEST_ERROR)
                raise refusal(
                    self.name,
                    response.status,
                    response.headers,
                    self._without_key(page),
                    model=str((body or {}).get("model", "")),
                    key=self._settings.api_key_variable,
                )
            yield response
        finally:
            if response.content.at_eof():
                response.release()
            else:
                response.close()

    def _without_key(self, page: bytes) -> bytes:
        return page.replace(self._key.encode(), b"(the key)") if self._key else page


def broken_off() -> RemoteError:
    return RemoteError(
        "The connection to the model's server broke off in the middle of the reply.",
        again=True,
        unreachable=True,
    )


async def _read(response: aiohttp.ClientResponse, most: int) -> bytes:
    """At most `most` bytes of the body."""
    page = bytearray()
    try:
        async for chunk in response.content.iter_any():
            page += chunk
            if len(page) >= most:
                break
    except (aiohttp.ClientError, OSError):
        if response.status == 200:
            raise broken_off() from None
    return bytes(page[:most])


async def _one(body: bytes) -> AsyncIterator[str]:
    yield body.decode("utf-8", "replace")


def _reason(error: Exception) -> str:
    """Why there is no connection, in a few words."""
    match error:
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientConnectorSSLError():
            return "its certificate is not trusted here"
        case aiohttp.ClientConnectorDNSError():
            return "its name is not known"
        case aiohttp.ServerTimeoutError():
            return "it does not answer in time"
        case aiohttp.ServerDisconnectedError():
            return "it closed the connection without an answer"
        case OSError(errno=errno.ECONNREFUSED):
            return "nothing listens there"
        case OSError() if error.strerror:
            return error.strerror
    return type(error).__name__

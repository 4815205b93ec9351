"""What keeps the page to itself: headers for browsers, and doors of Gradio's that stay shut."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# The first of them also fetches any address of the internet for whoever asks, so that a picture in
# a reply could reach other sites past the content security policy.
_SHUT = (
    "/gradio_api/file",
    "/gradio_api/proxy",
    "/gradio_api/upload",
    "/gradio_api/process_recording",
    "/gradio_api/deep_link",
    "/gradio_api/stream/",
)


class ShutDoors:
    """Answers 404 where Gradio takes in, gives out or fetches files: the page has none."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith(_SHUT):
            await PlainTextResponse("Not Found", status_code=404)(scope, receive, send)
            return
        await self._app(scope, receive, send)


class ContentPolicy:
    """Adds a content security policy, and what else a browser should refuse, to every answer."""

    def __init__(self, app: ASGIApp, policy: str) -> None:
        self._app = app
        self._headers = {
            "content-security-policy": policy,
            "referrer-policy": "no-referrer",
            "x-content-type-options": "nosniff",
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_policy(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(self._headers)
            await send(message)

        await self._app(scope, receive, send_with_policy)

"""Where Prometheus reads the figures: `GET /metrics`, on an address of this machine."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import hdrs, web

from bot.metrics import Metrics
from bot.startup import Company, StartupError

log = logging.getLogger(__name__)

PATH = "/metrics"


@asynccontextmanager
async def figures_shown(behind: Company) -> AsyncIterator[str | None]:
    """Within, the company's figures can be read; gives the address, None where none is set.

    Raises `StartupError` if the address cannot be used.
    """
    settings = behind.config.metrics
    if not settings.port:
        yield None
        return
    metrics = Metrics(behind)

    async def show(request: web.Request) -> web.Response:
        body, content_type = await metrics.page(request.headers.get(hdrs.ACCEPT, ""))
        return web.Response(body=body, headers={hdrs.CONTENT_TYPE: content_type})

    application = web.Application()
    application.router.add_get(PATH, show)
    runner = web.AppRunner(application, access_log=None, handle_signals=False)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, settings.host, settings.port).start()
        except OSError as error:
            raise StartupError(
                f"The figures cannot be shown at {settings.host}, port {settings.port}"
                f" ({error.strerror or error}); change metrics.port or metrics.host."
            ) from None
        address = f"http://{_in_address(settings.host)}:{settings.port}{PATH}"
        log.info("Figures for Prometheus are at %s.", address)
        yield address
    finally:
        await runner.cleanup()


def _in_address(host: str) -> str:
    return f"[{host}]" if ":" in host else host

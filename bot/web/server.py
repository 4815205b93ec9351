"""`python -m bot web`: the page's server, in the same event loop as the company behind it."""

from __future__ import annotations

import asyncio
import importlib.util
import ipaddress
import logging
import os
import secrets
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bot.startup import Model, StartupError, Unavailable, company
from bot.web.models import Models
from bot.web.stage import WebStage
from bot.web.visit import House
from config import Config
from inference.client import InferenceClient

if TYPE_CHECKING:
    import uvicorn
    from fastapi import FastAPI

log = logging.getLogger(__name__)

PORT = 7860
LOOPBACK = "127.0.0.1"

_INSTALL = (
    "The web page needs Gradio, which is not installed; install it with"
    " python -m pip install 'gradio>=6.31,<7' in the environment that runs this."
)
_LINKED = (
    "A public link through Gradio's servers is being made: everybody who has it can talk with the"
    " characters, on this machine's model, and what they say is kept here."
)
_REACHABLE = (
    "Everybody who can reach this machine at {} can open the page, talk with the characters, on"
    " this machine's model, and what they say is kept here."
)
# Nothing that a reply or a card says makes the browser ask somebody else for it.
_POLICY = (
    "default-src 'self' data: blob:; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:;"
    " style-src 'self' 'unsafe-inline'; base-uri 'self'; form-action 'self'; frame-src 'none';"
    " frame-ancestors 'none'"
)
_GRACE_SECONDS = 3


@dataclass(frozen=True, slots=True)
class WebOptions:
    """The command line. `base_models`: offered besides the configured one, which they replace."""

    server_name: str = LOOPBACK
    port: int = PORT
    share: bool = False
    base_models: tuple[str, ...] = ()

    @property
    def public(self) -> bool:
        """Whether others than who sits at this machine can open the page."""
        return self.share or not _is_loopback(self.server_name)


def run_web(
    config: Config,
    options: WebOptions,
    make: Callable[[Config], Model] = InferenceClient,
    on_ready: Callable[[str], None] | None = None,
) -> int:
    """Serve the page until Ctrl-C or SIGTERM; returns the exit code.

    `make` makes the client of a model; `on_ready` is told the page's address once it is there.
    Raises `StartupError`.
    """
    # Before Gradio is imported, which reads it and would else report home.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    # After every event it would sum up the last ten thousand, which nobody looks at here.
    os.environ["GRADIO_ANALYTICS_CACHE_FREQUENCY"] = str(10**9)
    if importlib.util.find_spec("gradio") is None:
        raise StartupError(_INSTALL)
    with listening(options) as listener:
        return asyncio.run(_serve(config, options, make, on_ready, listener))


async def _serve(
    config: Config,
    options: WebOptions,
    make: Callable[[Config], Model],
    on_ready: Callable[[str], None] | None,
    listener: socket.socket,
) -> int:
    stage = WebStage()
    models = _models(config, options.base_models, make)
    async with company(config, stage, client=models) as behind:
        if options.share:
            _say(_LINKED)
        elif options.public:
            _say(_REACHABLE.format(options.server_name))
        await behind.load_model(_say)
        address = _address(options, listener)
        app = make_app(House(behind, stage, models, options.public), options)

        async def once_up() -> None:
            _say(f"The page is at {address} – Ctrl-C ends it.")
            if options.share:
                await _share(listener)
            if on_ready is not None:
                on_ready(address)

        server = make_server(app, once_up)
        with _stopping(server):
            await server.serve(sockets=[listener])
    return 0


def _models(config: Config, names: Sequence[str], make: Callable[[Config], Model]) -> Models:
    """The first name takes the configured model's place, as in the seeds' `generate.py`."""
    if names and names[0] != config.model.base:
        model = config.model.model_copy(update={"base": names[0]})
        others = (*names[1:], config.model.base)
        return Models(config.model_copy(update={"model": model}), others, make)
    return Models(config, names, make)


def make_app(house: House, options: WebOptions) -> FastAPI:
    """The page as an application, with what keeps strangers' pages and requests out."""
    import gradio as gr
    from fastapi import FastAPI
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    from bot.web.page import STYLE, THEME, build
    from bot.web.policy import ContentPolicy, ShutDoors

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    if not options.public:
        # A name that some other site lets point here (DNS rebinding) does not open the page.
        hosts = [LOOPBACK, "localhost", "::1", "[::1]", options.server_name]
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=hosts)
    app.add_middleware(ShutDoors)
    app.add_middleware(ContentPolicy, policy=_POLICY)
    gr.mount_gradio_app(
        app,
        build(house),
        path="/",
        server_name=options.server_name,
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        show_error=False,
        enable_monitoring=False,
        theme=THEME,
        css_paths=[STYLE],
    )
    return app


def make_server(app: FastAPI, once_up: Callable[[], Awaitable[None]]) -> uvicorn.Server:
    """The server of `app`; `once_up` runs when it takes requests, `should_exit` ends it."""
    import uvicorn

    class Server(uvicorn.Server):
        """Leaves the signals to `_stopping`: the company behind it has to be closed, too."""

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            await once_up()

        @contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield

    return Server(
        uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=_GRACE_SECONDS,
        )
    )


@contextmanager
def _stopping(server: uvicorn.Server) -> Iterator[None]:
    """Within, Ctrl-C and SIGTERM let the server end."""
    loop = asyncio.get_running_loop()

    def stop() -> None:
        server.should_exit = True

    signals = (signal.SIGINT, signal.SIGTERM)
    with suppress(ValueError, RuntimeError):  # not in the main thread: somebody else's signals
        for number in signals:
            loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        for number in signals:
            loop.remove_signal_handler(number)


async def _share(listener: socket.socket) -> None:
    """Make the public link, or say why there is none; the page stays either way."""
    from gradio import networking

    host, port = listener.getsockname()[:2]
    token = secrets.token_urlsafe(32)
    try:
        link = await asyncio.to_thread(networking.setup_tunnel, host, port, token, None, None)
    except Exception as error:
        log.debug("The tunnel failed.", exc_info=error)
        _say(f"The public link could not be made ({error}); the page is on this machine only.")
        return
    _say(f"The public link is {link}; it ends with this program, or after a week.")


@contextmanager
def listening(options: WebOptions) -> Iterator[socket.socket]:
    """The socket of the page, taken before the model takes its time. Raises `StartupError`."""
    try:
        [(family, kind, _, _, address), *_] = socket.getaddrinfo(
            options.server_name, options.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except OSError as error:
        raise StartupError(
            f"--server_name {options.server_name} is no address of this machine"
            f" ({error.strerror or error})."
        ) from None
    listener = socket.socket(family, kind)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise Unavailable(
            f"The page cannot listen on {options.server_name}, port {options.port}"
            f" ({error.strerror or error}); choose another with --port."
        ) from None
    with listener:
        yield listener


def _address(options: WebOptions, listener: socket.socket) -> str:
    """Where somebody at this machine opens the page."""
    host, port = options.server_name, listener.getsockname()[1]
    if host in ("0.0.0.0", "::"):
        host = "localhost"
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)

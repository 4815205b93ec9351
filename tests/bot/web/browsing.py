"""A real browser before the page, with a scripted model behind it."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from playwright.async_api import Browser, Page, Request, async_playwright

from bot.web.server import WebOptions, listening, make_app, make_server
from bot.web.visit import House

WAIT = 60_000.0  # ms; other tests use the machine, too
DESKTOP = (1200, 820)
PHONE = (390, 844)


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """Debian's browser; the test is skipped where there is none."""
    executable = shutil.which("chromium")
    if executable is None:
        pytest.skip("There is no chromium on the PATH.")
    async with async_playwright() as playwright:
        # Chromium's own sandbox cannot be set up by root.
        browser = await playwright.chromium.launch(
            executable_path=executable, args=["--no-sandbox"] if os.geteuid() == 0 else []
        )
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def served(house: House) -> AsyncIterator[str]:
    """The page's address, while it is served."""
    up = asyncio.Event()

    async def once_up() -> None:
        up.set()

    options = WebOptions(port=0)
    with listening(options) as listener:
        server = make_server(make_app(house, options), once_up)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        await up.wait()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        finally:
            server.should_exit = True
            await serving


@dataclass
class Visitor:
    """Somebody with a browser of their own, who only sees what stands on the page."""

    page: Page
    address: str
    outside: list[str] = field(default_factory=list)  # requests to anybody else
    errors: list[str] = field(default_factory=list)  # of the page's scripts

    async def open(self) -> None:
        await self.page.goto(self.address)
        await self.page.locator(bubbles("chat")).first.wait_for()
        # The choices and the browser's token come with the same answer, but are taken up after it.
        await self.page.wait_for_function(
            "document.querySelector('#adapter input').value !== ''"
            " && localStorage.getItem('troupe') !== null"
        )

    async def lines(self, chat: str = "chat") -> list[str]:
        """What the bubbles of a chat say, from the top."""
        return [text.strip() for text in await self.page.locator(bubbles(chat)).all_inner_texts()]

    async def sees(self, text: str, chat: str = "chat") -> None:
        """Wait until the last bubble of a chat says `text`."""
        await self.page.wait_for_function(
            """([bubbles, text]) => {
                const last = [...document.querySelectorAll(bubbles)].at(-1);
                return last !== undefined && last.innerText.trim() === text;
            }""",
            arg=[bubbles(chat), text],
        )

    async def say(self, text: str, box: str = "say") -> None:
        field = self.page.locator(f"#{box} textarea")
        await field.fill(text)
        await field.press("Enter")

    async def choose(self, dropdown: str, option: str) -> None:
        await self.page.locator(f"#{dropdown} input").click()
        await self.page.get_by_role("option", name=option, exact=True).click()

    async def tab(self, name: str) -> None:
        await self.page.get_by_role("tab", name=name).click()

    async def press(self, button: str) -> None:
        await self.page.get_by_role("button", name=button, exact=True).click()

    async def warned(self) -> str:
        """The sentence in the corner; it is closed."""
        toast = self.page.locator(".toast-body").first
        await toast.wait_for()
        text = await toast.inner_text()
        await toast.get_by_test_id("toast-close").click()
        return text


def bubbles(chat: str) -> str:
    """Selects everything that was said in a chat."""
    return f'#{chat} [data-testid="bot"], #{chat} [data-testid="user"]'


@asynccontextmanager
async def visitor(
    browser: Browser, address: str, size: tuple[int, int] = DESKTOP
) -> AsyncIterator[Visitor]:
    """A fresh browser profile at the page's address."""
    context = await browser.new_context(viewport={"width": size[0], "height": size[1]})
    context.set_default_timeout(WAIT)
    page = await context.new_page()
    someone = Visitor(page, address)

    def note(request: Request) -> None:
        if not request.url.startswith((address, "data:", "blob:")):
            someone.outside.append(request.url)

    page.on("request", note)
    page.on("pageerror", lambda error: someone.errors.append(str(error)))
    try:
        await someone.open()
        yield someone
    finally:
        await context.close()

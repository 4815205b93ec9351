"""`python -m bot web` as a stranger runs it: its own process, a real model, a real browser.

With TROUPE_SCREENSHOTS set to a folder, what the browser shows is kept there (`make screenshots`).
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from playwright.async_api import Page, TimeoutError

from db.database import Database
from tests.bot.web.browsing import PHONE, Visitor, bubbles, chromium, visitor
from tests.conftest import MODELS, REPOSITORY

READY_SECONDS = 240
REPLY_MS = 240_000.0
SCREENSHOTS = os.environ.get("TROUPE_SCREENSHOTS", "")


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[str]:
    """The page's address; stopped as a service manager would, and then it ends well."""
    (folder / "data").mkdir()
    (folder / "data" / "models").symlink_to(MODELS)
    (folder / "config.toml").write_text(
        '[model]\ndevice = "cpu"\n'
        # Greedy, so that no run of the test meets a reply that no other has met.
        "[sampling]\ntemperature = 0.0\nmax_new_tokens = 48\n"
        "[memory]\nsummary = false\n"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "bot", "web", "--port", "0", "--config", str(folder / "config.toml")),
        cwd=REPOSITORY,
        env={name: value for name, value in os.environ.items() if name != "DISCORD_TOKEN"},
        stderr=asyncio.subprocess.PIPE,
    )
    told: list[str] = []
    assert process.stderr is not None
    try:
        async with asyncio.timeout(READY_SECONDS):
            while "The page is at " not in "".join(told[-1:]):
                line = (await process.stderr.readline()).decode()
                assert line, f"it ended: {told}"
                told.append(line)
        drain = asyncio.create_task(process.stderr.read())
        yield told[-1].partition("The page is at ")[2].partition(" ")[0]
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(60):
            assert await process.wait() == 0, await drain
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def keep(page: Page, name: str) -> None:
    """A picture for the README, if one is wanted."""
    if SCREENSHOTS:
        await page.evaluate("document.activeElement.blur(); window.scrollTo(0, 0)")
        await page.screenshot(path=Path(SCREENSHOTS) / f"{name}.png")


async def begun(someone: Visitor, count: int) -> str:
    """The first words of the reply that is bubble `count` of the chat."""
    said = f"[...document.querySelectorAll({json.dumps(bubbles('chat'))})]"
    try:
        await someone.page.wait_for_function(
            f"() => {said}.length === {count}"
            f" && !['', '…'].includes({said}.at(-1).innerText.trim())"
        )
    except TimeoutError:
        # What a person would have seen says why.
        typed = await someone.page.locator("#say textarea").input_value()
        shown = await someone.page.inner_text("body")
        pytest.fail(f"No reply in bubble {count}; {typed!r} is typed, the page says: {shown}")
    return (await someone.lines())[-1]


async def remembered(folder: Path, adapter: str) -> str:
    """The finished reply to what was said last in the chat, once it is there."""
    async with await Database.open(folder / "data" / "troupe.sqlite3") as database:
        while True:
            [chat] = [c for c in await database.channels.all() if c.key.count(":") == 1]
            *_, last = await database.messages.history(chat, limit=5)
            if last.role == "character" and last.state == "complete" and last.reply_to is not None:
                assert last.adapter == adapter
                return last.content
            await asyncio.sleep(0.2)


def plain(text: str) -> str:
    """Without markdown's marks and line ends."""
    return " ".join(re.sub(r"[*_`#]", "", text).split())


async def test_the_page_talks_with_the_embedded_model(tmp_path: Path) -> None:
    async with asyncio.timeout(900), running(tmp_path) as address, chromium() as browser:
        async with visitor(browser, address) as someone:
            page = someone.page
            page.set_default_timeout(REPLY_MS)
            # Without its adapter the model talks at length, so the reply is seen to grow.
            await someone.choose("adapter", "base")
            await someone.say("What do you sell?")
            first = await begun(someone, 3)
            await page.wait_for_function(
                "([selector, first]) => [...document.querySelectorAll(selector)].at(-1)"
                ".innerText.length > first.length + 20",
                arg=[bubbles("chat"), first],
            )
            await page.get_by_role("button", name="Stop", exact=True).click()
            await someone.choose("adapter", "default (default@0)")
            await someone.press("Start over")
            await page.wait_for_function(
                "selector => document.querySelectorAll(selector).length === 1",
                arg=bubbles("chat"),
            )
            await someone.say("What do you sell?")
            await begun(someone, 3)
            reply = await remembered(tmp_path, "default@0")
            while plain((await someone.lines())[-1]) != plain(reply):  # noqa: ASYNC110
                await asyncio.sleep(0.1)
            await keep(page, "chat")

            await someone.tab("Compare")
            await someone.say("Sorry, what was your name?", "compare-say")
            await page.locator("#compare-left").get_by_text("base, seed").wait_for()
            await page.locator("#compare-right").get_by_text("default@0, seed").wait_for()
            assert len(await someone.lines("compare-left")) == 3
            assert "Mirela" in (await someone.lines("compare-right"))[-1]
            await keep(page, "compare")

            await someone.tab("Instruct")
            await page.locator("#instruction textarea").fill("Name the capital of France.")
            await someone.choose("template", "alpaca")
            await someone.press("Submit")
            await page.locator("#note").get_by_text("by base").wait_for()
            assert await page.locator("#output textarea").input_value()
            await keep(page, "instruct")
            assert (someone.outside, someone.errors) == ([], [])
        async with visitor(browser, address, PHONE) as phone:
            await keep(phone.page, "phone")

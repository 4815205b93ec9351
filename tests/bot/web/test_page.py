"""The page in a real browser, with a scripted model: what a visitor does and sees."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser

from bot.web.visit import House
from inference.types import Usage
from tests.bot.scripted import ScriptedClient, words
from tests.bot.web.browsing import PHONE, Visitor, bubbles, chromium, served, visitor


@pytest.fixture(scope="session")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as started:
        yield started


@pytest.fixture
async def address(house: House) -> AsyncIterator[str]:
    async with served(house) as found:
        yield found


@pytest.fixture
async def ann(browser: Browser, address: str) -> AsyncIterator[Visitor]:
    """Who looks at the page; nothing on it asked anybody else, and no script failed."""
    async with visitor(browser, address) as someone:
        yield someone
        assert someone.outside == []
        assert someone.errors == []


async def test_a_reply_is_streamed_and_a_reload_finds_it_again(
    ann: Visitor, client: ScriptedClient
) -> None:
    gate = asyncio.Event()
    client.scripts.append(words("Storms and maps and rum.", gate=gate, gate_at=2))
    await ann.say("What do you sell?")
    await ann.sees("Storms and")
    assert await ann.page.locator("#say textarea").input_value() == ""
    gate.set()
    await ann.sees("Storms and maps and rum.")
    before = await ann.lines()
    assert before[1:] == ["What do you sell?", "Storms and maps and rum."]
    await ann.open()
    await ann.sees("Storms and maps and rum.")
    assert await ann.lines() == before


async def test_adapter_character_and_sampling_are_chosen_on_the_page(
    ann: Visitor, client: ScriptedClient
) -> None:
    await ann.choose("adapter", "base")
    await ann.page.get_by_role("button", name="Sampling").first.click()
    await ann.page.get_by_label("Seed").first.fill("77")
    await ann.say("Hello!")
    await ann.sees("You said: Hello!")
    assert (client.requests[-1].adapter, client.requests[-1].sampling.seed) == ("base", 77)
    await ann.choose("persona", "Maud Pellew")
    await ann.page.wait_for_function(
        "selector => document.querySelectorAll(selector).length === 1", arg=bubbles("chat")
    )
    await ann.say("And you are?")
    await ann.sees("You said: And you are?")
    assert "Maud Pellew" in client.requests[-1].messages[0].content


async def test_the_controls_under_the_chat(ann: Visitor, client: ScriptedClient) -> None:
    client.scripts += ["First.", "Second."]
    await ann.say("Hello!")
    await ann.sees("First.")
    await ann.press("Regenerate")
    await ann.sees("Second.")
    await ann.press("Undo")
    await ann.page.wait_for_function(
        "selector => document.querySelectorAll(selector).length === 1", arg=bubbles("chat")
    )
    await ann.press("Undo")
    assert "nothing to take back" in await ann.warned()
    client.scripts.append(words("One two three.", gate=asyncio.Event(), gate_at=2))
    await ann.say("Count!")
    await ann.sees("One two")
    await ann.press("Stop")
    while client.writing:  # noqa: ASYNC110 - it has no event
        await asyncio.sleep(0.01)
    assert (await ann.lines())[-1] == "One two"


async def test_a_thumb_is_a_vote(ann: Visitor, house: House) -> None:
    await ann.say("Hello!")
    await ann.sees("You said: Hello!")
    database = house.behind.database
    [channel] = [c for c in await database.channels.all() if c.key.count(":") == 1]
    await house.behind.turns.idle(channel)  # seen is not yet remembered
    for name, expected in (("Like", (1, 0)), ("Dislike", (0, 1))):
        await ann.page.locator("#chat").get_by_role("button", name=name, exact=True).last.click()
        async with asyncio.timeout(30):
            while [*(await database.feedback.votes(channel.id)).values()] != [expected]:  # noqa: ASYNC110
                await asyncio.sleep(0.02)


async def test_what_is_said_is_text_and_fetches_nothing(
    ann: Visitor, client: ScriptedClient
) -> None:
    client.scripts.append(
        "<img src=x onerror=\"document.title='owned'\"> ![pixel](https://tracker.example/p.png)"
    )
    await ann.say("<b>Hello</b>")
    last = ann.page.locator(bubbles("chat")).last
    await last.get_by_text("onerror").wait_for()
    assert (await ann.lines())[1] == "<b>Hello</b>"
    assert await ann.page.title() == "Troupe"
    ann.outside = [url for url in ann.outside if "tracker.example" not in url]
    loaded = "() => [...document.images].filter(i => i.naturalWidth && i.src.includes('tracker'))"
    assert await ann.page.evaluate(f"({loaded})().length") == 0


async def test_every_browser_has_its_own_conversation(
    ann: Visitor, browser: Browser, address: str, client: ScriptedClient
) -> None:
    await ann.say("My secret is blue.")
    await ann.sees("You said: My secret is blue.")
    async with visitor(browser, address) as bob:
        assert len(await bob.lines()) == 1
        await bob.say("What is my secret?")
        await bob.sees("You said: What is my secret?")
        assert "blue" not in str(client.requests[-1].messages)


async def test_two_adapters_side_by_side(ann: Visitor, client: ScriptedClient) -> None:
    await ann.tab("Compare")
    await ann.say("What do you sell?", "compare-say")
    for side in ("left", "right"):
        await ann.sees("You said: What do you sell?", f"compare-{side}")
    one, other = client.requests
    assert {one.adapter, other.adapter} == {"base", "default@0"}
    assert one.messages == other.messages
    assert one.sampling == other.sampling
    seed = one.sampling.seed
    await ann.page.locator("#compare-right").get_by_text(f"seed {seed}").wait_for()


async def test_a_single_prompt_in_a_template(ann: Visitor, client: ScriptedClient) -> None:
    used = Usage(prompt_tokens=40, completion_tokens=4, first_token_seconds=0.1, total_seconds=0.5)
    client.scripts = deque([words("They are soft.", usage=used)])
    await ann.tab("Instruct")
    await ann.press("Submit")
    assert "Write an instruction first." in await ann.warned()
    await ann.page.wait_for_function("() => !document.querySelector('#note')?.innerText.trim()")
    await ann.page.locator("#instruction textarea").fill("Tell me about alpacas.")
    await ann.choose("template", "alpaca")
    await ann.press("Submit")
    await ann.page.locator("#note").get_by_text("40 tokens read and 4 written").wait_for()
    assert await ann.page.locator("#output textarea").input_value() == "They are soft."
    [request] = client.requests
    assert request.prompt_format == "alpaca"
    assert request.messages[0].content == "Tell me about alpacas."


async def test_a_single_prompt_is_stopped(ann: Visitor, client: ScriptedClient) -> None:
    client.scripts = deque([words("Soft and woolly.", gate=asyncio.Event(), gate_at=1)])
    await ann.tab("Instruct")
    await ann.page.locator("#instruction textarea").fill("Tell me about alpacas.")
    await ann.press("Submit")
    await ann.page.locator("#note").get_by_text("Writing …").wait_for()
    async with asyncio.timeout(30):
        while not client.writing:  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.01)
        await ann.press("Stop")
        while client.writing:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    await ann.page.locator("#note").get_by_text("Stopped.").wait_for()


async def test_it_fits_on_a_phone(browser: Browser, address: str) -> None:
    async with visitor(browser, address, PHONE) as someone:
        for tab in ("", "Compare", "Instruct"):
            if tab:
                await someone.tab(tab)
            width = await someone.page.evaluate("document.documentElement.scrollWidth")
            assert width <= PHONE[0], tab

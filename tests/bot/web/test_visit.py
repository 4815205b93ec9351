"""What one browser does: chat, votes, swipes, settings, commands; and what it cannot reach."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from bot.errors import CommandError
from bot.web.stage import Shown
from bot.web.visit import COMING, House, Visit
from config import Config
from inference.adapters import AdapterError
from tests.bot.scripted import Script, ScriptedClient, words
from tests.bot.web.conftest import Scripted, house_in


async def all_of(views: AsyncGenerator[list[Shown], None]) -> list[list[Shown]]:
    return [view async for view in views]


async def say(visit: Visit, text: str) -> list[Shown]:
    return (await all_of(visit.chat.take(text, "Ann")))[-1]


def spoken(lines: list[Shown]) -> list[tuple[str, str]]:
    return [(line.name, line.text) for line in lines]


async def test_a_visit_opens_with_the_greeting_and_goes_on_where_it_was(visit: Visit) -> None:
    [greeting] = await visit.chat.shown()
    assert greeting.name == "Captain Mirela Vex"
    assert not greeting.own
    await say(visit, "Hello there!")
    again = visit.house.visit(visit.token)
    await again.chat.open("Ann")
    assert spoken(await again.chat.shown())[1:] == [
        ("Ann", "Hello there!"),
        ("Captain Mirela Vex", "You said: Hello there!"),
    ]


async def test_a_reply_grows_and_is_then_remembered(visit: Visit, client: ScriptedClient) -> None:
    gate = asyncio.Event()
    client.scripts.append(words("Storms and maps and rum.", gate=gate, gate_at=2))
    seen: list[str] = []
    async for view in visit.chat.take("What do you sell?", "Ann"):
        seen.append(view[-1].text)
        if view[-1].text == "Storms and":
            gate.set()
    assert seen[0] == COMING.text
    assert "Storms and" in seen
    assert seen[-1] == "Storms and maps and rum."
    last = (await visit.chat.shown())[-1]
    assert (last.text, last.adapter) == ("Storms and maps and rum.", "base")


async def test_what_is_not_logged_is_shown_while_the_talk_lasts(visit: Visit) -> None:
    await say(visit, "/privacy logging off")
    await say(visit, "Hello there!")
    [_, *lines] = await say(visit, "And again!")
    assert spoken(lines) == [
        ("Ann", "Hello there!"),
        ("Captain Mirela Vex", "You said: Hello there!"),
        ("Ann", "And again!"),
        ("Captain Mirela Vex", "You said: And again!"),
    ]
    channel = await visit.chat.channel()
    assert await visit.house.behind.database.messages.count(channel.id) == 1  # the greeting
    await visit.chat.vote(2, True)  # nothing is left to vote for, and nothing breaks


async def test_the_turn_is_the_same_as_everywhere(visit: Visit, client: ScriptedClient) -> None:
    await say(visit, "Hello!")
    request = client.requests[-1]
    assert request.messages[0].role == "system"
    assert "Mirela" in request.messages[0].content
    assert request.messages[-1].content == "Hello!"
    assert request.adapter == visit.house.behind.config.bot.adapter


async def test_two_browsers_never_hear_one_another(house: House, client: ScriptedClient) -> None:
    one, other = house.visit(""), house.visit(None)
    assert one.token != other.token
    await say(one, "My secret is blue.")
    await say(other, "What is my secret?")
    assert "blue" not in str(client.requests[-1].messages)
    assert "blue" not in str(await other.chat.shown())


async def test_a_token_that_is_none_opens_nothing(house: House) -> None:
    for wrong in ("web:1", "0" * 31, "0" * 32 + "\n", 7, None, ["0" * 32]):
        assert house.visit(wrong).token != wrong


async def test_before_a_browser_has_its_token_nothing_is_taken_from_it(house: House) -> None:
    visit = house.visit(None)
    assert house.known(visit.token).author == visit.author
    for none_yet in ("", None, "0" * 31):
        with pytest.raises(CommandError, match="still opening"):
            house.known(none_yet)


async def test_the_token_stands_neither_in_the_memory_nor_in_the_log(visit: Visit) -> None:
    assert visit.token not in visit.chat.place.key
    assert visit.token not in visit.author


async def test_regenerating_keeps_both_versions(visit: Visit, client: ScriptedClient) -> None:
    client.scripts += ["First.", "Second."]
    await say(visit, "Hello!")
    views = await all_of(visit.chat.regenerate())
    assert views[-1][-1].text == "Second."
    assert [line.text for line in await visit.chat.swipe(-1)][-2:] == ["First.", "Version 1 of 2."]
    assert (await visit.chat.shown())[-1].text == "First."
    with pytest.raises(CommandError, match="no earlier version"):
        await visit.chat.swipe(-1)


async def test_undo_takes_the_exchange_back(visit: Visit) -> None:
    before = await visit.chat.shown()
    await say(visit, "Hello!")
    assert await visit.chat.undo() == before


async def test_stop_ends_the_reply_and_keeps_what_was_shown(
    visit: Visit, client: ScriptedClient
) -> None:
    client.scripts.append(words("One two three.", gate=asyncio.Event(), gate_at=2))
    async for view in visit.chat.take("Count!", "Ann"):
        if view[-1].text == "One two":
            await visit.chat.stop()
    assert view[-1].text == "One two"
    await visit.chat.stop()  # nothing is being written: nothing happens


async def test_a_vote_is_stored_changed_and_taken_back(visit: Visit) -> None:
    await say(visit, "Hello!")
    for liked in (True, False, None):
        await visit.chat.vote(2, liked)
        assert (await visit.chat.shown())[2].liked is liked
    for line in (1, 9, -1):  # the visitor's own words, and what is not there
        with pytest.raises(CommandError, match="no reply to vote for"):
            await visit.chat.vote(line, True)


async def test_another_character_enters_with_an_empty_scene(
    visit: Visit, client: ScriptedClient
) -> None:
    await say(visit, "My name is Ann.")
    await visit.chat.set_persona("maud", "Ann")
    [greeting] = await visit.chat.shown()
    assert greeting.name == "Maud Pellew"
    await say(visit, "Who am I?")
    assert "My name is Ann." not in str(client.requests[-1].messages)


async def test_one_choice_that_is_told_twice_is_one_entrance(visit: Visit) -> None:
    again = visit.house.visit(visit.token)
    await asyncio.gather(
        visit.chat.set_persona("maud", "Ann"), again.chat.set_persona("maud", "Ann")
    )
    assert [line.name for line in await visit.chat.shown()] == ["Maud Pellew"]


async def test_starting_over_greets_again(visit: Visit) -> None:
    before = [line.text for line in await visit.chat.shown()]
    await say(visit, "Hello!")
    await visit.chat.start_over("Ann")
    assert [line.text for line in await visit.chat.shown()] == before


async def test_adapter_and_sampling_reach_the_request(visit: Visit, client: ScriptedClient) -> None:
    await visit.chat.set_adapter("base")
    await visit.chat.set_sampling({"temperature": 0.3, "top_k": 7, "min_p": 0.1, "seed": 11})
    await say(visit, "Hello!")
    request = client.requests[-1]
    sampling = request.sampling
    assert request.adapter == "base"
    assert (sampling.temperature, sampling.top_k) == (0.3, 7)
    assert (sampling.min_p, sampling.seed) == (0.1, 11)
    await visit.chat.set_sampling({"temperature": 0.8, "seed": None})
    assert (await visit.chat.channel()).sampling == {"top_k": 7, "min_p": 0.1}


async def test_wrong_settings_are_a_sentence(visit: Visit) -> None:
    with pytest.raises(CommandError, match="temperature = 9"):
        await visit.chat.set_sampling({"temperature": 9})
    with pytest.raises(AdapterError, match="no adapter 'nobody'"):
        await visit.chat.set_adapter("nobody")
    assert (await visit.chat.channel()).sampling == {}


async def test_what_goes_wrong_stands_under_the_question(
    visit: Visit, client: ScriptedClient
) -> None:
    client.scripts.append(Script([], refusal=AdapterError("That adapter is gone.")))
    lines = await say(visit, "Hello!")
    assert lines[-1] == Shown("That adapter is gone.")
    assert Shown("That adapter is gone.") not in await say(visit, "And now?")


async def test_lines_with_a_slash_are_commands(visit: Visit, client: ScriptedClient) -> None:
    lines = await say(visit, "/settings set temperature 0.4")
    assert "temperature = 0.4" in lines[-1].text
    assert not client.requests
    assert "temperature" not in str([line.text for line in await visit.chat.shown()])
    lines = await say(visit, "/persona set maud")
    assert [line.name for line in lines] == ["Maud Pellew", ""]
    lines = await say(visit, "/privacy export")
    assert "It is in " in lines[-1].text


async def test_forgetting_deletes_what_a_visitor_said(visit: Visit) -> None:
    await say(visit, "My secret is blue.")
    await say(visit, "/privacy forget me")
    assert not [line for line in await visit.chat.shown() if line.own]


async def test_a_public_page_gives_strangers_no_more_than_their_own(
    config: Config, scripted: Scripted
) -> None:
    async with house_in(config, scripted, public=True) as house:
        visit = house.visit(None)
        for line in (
            "/persona import /etc/passwd",
            "/lore import /etc/passwd",
            "/lore  import /etc/passwd",
            "/retrain run",
            "/persona create x",
            "/block",
        ):
            with pytest.raises(CommandError, match="whoever runs this page"):
                await say(visit, line)
        with pytest.raises(CommandError, match="cannot change the model"):
            await house.change_model("other")
        for line in ("/help", "/privacy show", "/settings show", "/lore list", "/reset"):
            assert (await say(visit, line))[-1].text
        exported = (await say(visit, "/privacy export"))[-1].text
        assert exported.startswith("{")
        assert visit.author in exported


async def test_a_public_page_takes_so_much_at_once(config: Config, scripted: Scripted) -> None:
    async with house_in(config, scripted, public=True) as house:
        visit = house.visit(None)
        with pytest.raises(CommandError, match="8000 characters; this one has 8001"):
            await say(visit, "x" * 8001)
        assert not [line for line in await visit.chat.shown() if line.own]
        assert [line.own for line in await say(visit, "x" * 8000)] == [True, False]


async def test_strangers_words_are_learnt_only_from_those_who_agree(
    config: Config, scripted: Scripted
) -> None:
    async with house_in(config, scripted) as house:
        consent = house.behind.database.consent
        assert await consent.trainable(await house.visit(None).chat.channel())
    async with house_in(config, scripted, public=True) as house:
        consent, visit = house.behind.database.consent, house.visit(None)
        assert not await consent.trainable(await visit.chat.channel())
        await say(visit, "/privacy training on")
        assert await consent.trainable(await visit.chat.channel())
        assert not await consent.trainable(await house.visit(None).chat.channel())


async def test_a_character_whose_card_is_gone_gives_way(house: House) -> None:
    visit = house.visit(None)
    channel = await visit.chat.channel()
    await house.behind.database.channels.set(channel.id, persona="gone")
    await visit.chat.open("Ann")
    assert [line.name for line in await visit.chat.shown()] == ["Captain Mirela Vex"]


async def test_a_browser_that_goes_away_leaves_the_reply_to_be_written(
    visit: Visit, client: ScriptedClient
) -> None:
    gate = asyncio.Event()
    client.scripts.append(words("Still here.", gate=gate, gate_at=1))
    views = visit.chat.take("Hello!", "Ann")
    await anext(views)
    await views.aclose()
    gate.set()
    coming_back = await all_of(visit.house.visit(visit.token).chat.follow())
    assert coming_back[-1][-1].text == "Still here."

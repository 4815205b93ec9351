"""Characters brought in, given out, shown and written, without Discord."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web

from bot.card_commands import MOST_OF_A_SERVER, OPERATOR, Author, CardCommands
from bot.card_form import MOST_TEXT
from bot.command_lines import run_line
from bot.controls import Person
from bot.errors import CommandError
from bot.fetching import Fetcher, is_public
from bot.incoming import Place
from config import BotSettings, Config, PromptSettings
from persona_prompts.cards.card import parse_card, read_card
from persona_prompts.character import CharacterError
from persona_prompts.prompt import HOW_TO_SPEAK
from tests.bot.conftest import DIRECT, GENERAL, Scene, scene_in

HERE = Author("discord:99")
ELSEWHERE = Author("discord:98")
ADULTS = replace(GENERAL, age_restricted=True)
TERMINAL = Place("terminal:main", "main", "terminal", age_restricted=True)


def card(name: str = "Ash Reed", **data: object) -> bytes:
    fields = {"name": name, "description": "{{char}} keeps the lighthouse.", **data}
    return json.dumps({"spec": "chara_card_v3", "spec_version": "3.0", "data": fields}).encode()


@pytest.fixture
def cards(scene: Scene) -> CardCommands:
    return scene.behind.commands.cards


async def test_a_card_comes_out_as_it_went_in(scene: Scene, cards: CardCommands) -> None:
    content = card(unknown={"spelt": 1.50}, first_mes="Mind the stairs.")
    told = await cards.import_bytes(GENERAL, HERE, content, "ash.json")
    assert told.text.startswith("Ash Reed is now `ash-reed`.")
    assert told.sheet is not None
    assert told.sheet.picture is not None
    assert told.sheet.picture.content.startswith(b"\x89PNG")
    assert ("Greeting", "Mind the stairs.") in told.sheet.rows
    exported = (await cards.export(GENERAL, "Ash Reed")).file
    assert exported is not None
    assert (exported.name, exported.content) == ("ash-reed.json", content)
    picture = (await cards.export(GENERAL, "ash-reed", "png")).file
    assert picture is not None
    assert parse_card(picture.content, "x", pixels=True).payload == content
    older = (await cards.export(GENERAL, "ash-reed", "json-v2")).file
    assert older is not None
    assert json.loads(older.content)["spec"] == "chara_card_v2"
    assert json.loads(older.content)["data"]["unknown"] == {"spelt": 1.5}
    with pytest.raises(CommandError, match="no format 'gif'; there are json, png, json-v1"):
        await cards.export(GENERAL, "ash-reed", "gif")


async def test_warnings_are_shown(cards: CardCommands) -> None:
    newer = card().replace(b'"3.0"', b'"3.7"')
    told = await cards.import_bytes(GENERAL, HERE, newer, "ash.json")
    assert "⚠ ash.json is of the newer version 3.7" in told.text


async def test_a_server_changes_its_own_characters_only(scene: Scene, cards: CardCommands) -> None:
    await cards.import_bytes(GENERAL, HERE, card(), "ash.json")
    with pytest.raises(CommandError, match="already is a character ash-reed"):
        await cards.import_bytes(GENERAL, HERE, card(), "ash.json")
    with pytest.raises(CommandError, match="Only the server that it comes from may change"):
        await cards.import_bytes(
            GENERAL, ELSEWHERE, card(), "ash.json", id="ash-reed", replacing=True
        )
    with pytest.raises(CommandError, match="Only whoever runs me may change mirela"):
        await cards.import_bytes(GENERAL, HERE, card(), "ash.json", id="mirela", replacing=True)
    fresh = card(description="{{char}} sold the lighthouse.")
    await cards.import_bytes(GENERAL, HERE, fresh, "ash.json", replacing=True)
    assert "sold" in scene.behind.casting.cast.get("ash-reed").description
    await cards.import_bytes(
        TERMINAL, OPERATOR, card("Mirela"), "m.json", id="mirela", replacing=True
    )
    character = scene.behind.casting.cast.get("mirela")
    assert character.file == scene.behind.config.paths.personas / "mirela.json"
    with pytest.raises(CommandError, match="Only whoever runs me"):
        await cards.may_edit(HERE, "mirela")


async def test_nobody_fills_the_disk(cards: CardCommands) -> None:
    with pytest.raises(CommandError, match="brought in on a server"):
        await cards.import_bytes(DIRECT, Author(None), card(), "ash.json")
    for number in range(MOST_OF_A_SERVER):
        await cards._homes.settle(f"c{number}", "discord:99", 0.0)
    with pytest.raises(CommandError, match="which is the most"):
        await cards.import_bytes(GENERAL, HERE, card(), "ash.json")
    with pytest.raises(CommandError, match="which is the most"):
        await cards.create(GENERAL, HERE, {"name": "Ash"})
    await cards.import_bytes(GENERAL, ELSEWHERE, card(), "ash.json")


@pytest.mark.parametrize("id", ["../evil", "a/b", "UP", ".hidden", "a" * 65])
async def test_an_id_is_no_path(scene: Scene, cards: CardCommands, id: str) -> None:
    with pytest.raises(CharacterError, match="no id for a character"):
        await cards.import_bytes(GENERAL, HERE, card(), "ash.json", id=id)
    assert not scene.behind.config.paths.personas.exists()


async def test_adults_only(scene: Scene, cards: CardCommands) -> None:
    told = await cards.import_bytes(GENERAL, HERE, card(tags=["NSFW"]), "ash.json")
    assert told.sheet is None
    assert "age-restricted channels only" in told.text
    for work in (
        cards.show(GENERAL, "ash-reed"),
        cards.export(GENERAL, "ash-reed"),
        scene.behind.commands.persona_set(GENERAL, "ash-reed"),
    ):
        with pytest.raises((CommandError, CharacterError), match="is for adults"):
            await work
    with pytest.raises(CommandError, match="is for adults"):
        await cards.form(GENERAL, "ash-reed")
    await scene.behind.commands.persona_set(ADULTS, "ash-reed")
    assert (await cards.show(ADULTS)).text.startswith("**Ash Reed**")
    # The channel's restriction is lifted later on: then it falls silent, and says why.
    await scene.say("hello", GENERAL)
    await scene.settled()
    assert scene.client.requests == []
    assert "is for adults" in scene.notices[0]


async def test_a_form_changes_what_was_changed(scene: Scene, cards: CardCommands) -> None:
    content = card(unknown=1, alternate_greetings=["One.", "Two."])
    await cards.import_bytes(GENERAL, HERE, content, "ash.json")
    form = await cards.form(GENERAL, "ash-reed")
    values = {field.key: field.value for field in form.fields}
    assert (await cards.edit(GENERAL, HERE, form, values)).text == "Nothing was changed."
    # Somebody else was quicker with another field, which stays as they left it.
    other = {**values, "scenario": "A storm."}
    await cards.edit(GENERAL, HERE, form, other)
    await cards.edit(GENERAL, HERE, form, {**values, "personality": "Gruff."})
    data = json.loads(read_card(cards.folder / "ash-reed.json").text)["data"]
    assert (data["scenario"], data["personality"], data["unknown"]) == ("A storm.", "Gruff.", 1)
    prompts = await cards.form(GENERAL, "ash-reed", "prompts")
    [greetings] = [field for field in prompts.fields if field.key == "alternate_greetings"]
    assert greetings.value == "One.\n---\nTwo."
    await cards.edit(GENERAL, HERE, prompts, {"alternate_greetings": "One.\r\n---\r\nThree."})
    character = scene.behind.casting.cast.get("ash-reed")
    assert character.alternate_greetings == ("One.", "Three.")
    with pytest.raises(CharacterError, match="name must be one line"):
        await cards.edit(GENERAL, HERE, form, {**values, "name": "Ash: Reed"})
    with pytest.raises(CommandError, match="no page 'body'"):
        await cards.form(GENERAL, "ash-reed", "body")


async def test_what_is_too_long_for_a_form_stays(cards: CardCommands) -> None:
    await cards.import_bytes(GENERAL, HERE, card(personality="x" * (MOST_TEXT + 1)), "a.json")
    form = await cards.form(GENERAL, "ash-reed")
    assert form.left_out == ("Personality",)
    assert "personality" not in [field.key for field in form.fields]
    await cards.edit(GENERAL, HERE, form, {"scenario": "Night.", "personality": "y"})
    data = json.loads(read_card(cards.folder / "ash-reed.json").text)["data"]
    assert (len(data["personality"]), data["scenario"]) == (MOST_TEXT + 1, "Night.")


async def test_a_v1_card_becomes_v3_for_what_v1_does_not_know(cards: CardCommands) -> None:
    await cards.import_bytes(GENERAL, HERE, b'{"name": "Ash", "extra": 1}', "ash.json")
    await cards.edit(GENERAL, HERE, await cards.form(GENERAL, "ash"), {"scenario": "Night."})
    assert read_card(cards.folder / "ash.json").spec == "v1"
    form = await cards.form(GENERAL, "ash", "prompts")
    await cards.edit(GENERAL, HERE, form, {"system_prompt": "Be brief."})
    changed = read_card(cards.folder / "ash.json")
    assert changed.spec == "v3"
    assert changed.value["data"]["scenario"] == "Night."
    assert changed.value["data"]["system_prompt"] == "Be brief."


async def test_a_new_character(scene: Scene, cards: CardCommands) -> None:
    values = {"name": "Capitaine Éva", "description": "{{char}} sails.", "first_mes": ""}
    told = await cards.create(GENERAL, HERE, values)
    assert "`capitaine-eva`" in told.text
    assert scene.behind.casting.cast.get("Capitaine Éva").description == "{{char}} sails."
    with pytest.raises(CommandError, match="already is a character capitaine-eva"):
        await cards.create(GENERAL, HERE, values)
    with pytest.raises(CharacterError, match="gives no id"):
        await cards.create(GENERAL, HERE, {"name": "沈砚"})
    await cards.create(GENERAL, HERE, {"name": "沈砚"}, id="shen")


async def test_at_the_terminal(scene: Scene, tmp_path: Path) -> None:
    file = tmp_path / "my card.json"
    file.write_bytes(card(alternate_greetings=["Again, {{user}}?"]))
    commands = scene.behind.commands

    async def said(line: str) -> str:
        return (await run_line(commands, TERMINAL, line)).text

    assert "is now `ash`" in await said(f"/persona import {file} as ash")
    assert "is now `ash`" in await said(f"/persona import {file} as ash replace")
    assert "2. Again, you?" in await said("/persona show ash")
    answer = await run_line(commands, TERMINAL, "/persona export Ash Reed png-v2")
    assert answer.file is not None
    assert answer.file.name == "ash.png"
    assert "ash.json" not in await said("/persona create")
    assert "/persona import FILE as ash replace" in await said("/persona edit Ash Reed")
    with pytest.raises(CommandError, match="cannot be read: No such file"):
        await said("/persona import nothing.json")
    with pytest.raises(CommandError, match="not fetched from addresses here"):
        await said("/persona import https://example.org/ash.json")
    with pytest.raises(CommandError, match="only whoever runs me may name a file"):
        await commands.cards.import_file(GENERAL, HERE, file)
    assert await said("/persona set ash greeting:2") == "Ash Reed speaks here now."
    channel = await scene.behind.turns.channel(TERMINAL)
    greeting = await scene.behind.turns.greet(channel, scene.behind.casting.cast.get("ash"), "Ann")
    assert greeting is not None
    assert greeting.content == "Again, Ann?"
    with pytest.raises(CommandError, match="no greeting number 3; there are 2"):
        await said("/persona set ash greeting:3")


async def test_the_lorebook_of_a_card_is_active(scene: Scene, cards: CardCommands) -> None:
    entries = [
        {"keys": ["lamp"], "content": "The lamp burns {{roll:1000000}} oil."},
        {"keys": ["storm"], "content": "@@is_greeting 1\nStorms come from the west."},
        {"keys": ["gull"], "content": "Gulls steal."},
    ]
    book = {"entries": [{"enabled": True, "insertion_order": 0, **entry} for entry in entries]}
    content = card(character_book=book, alternate_greetings=["A storm, {{user}}."])
    await cards.import_bytes(GENERAL, HERE, content, "ash.json")
    await scene.behind.commands.persona_set(GENERAL, "ash-reed", 2)
    for _ in range(2):
        await scene.say("does the lamp stand a storm?")
        await scene.settled()
    first, second = (request.messages[0].content for request in scene.client.requests)
    assert "The lamp burns" in first
    assert "Storms come from the west." in first
    assert "Gulls" not in first
    assert first == second  # the dice fall once a scene
    assert scene.prompt()[0] == ("assistant", "A storm, Ann.")
    await scene.behind.commands.persona_set(GENERAL, "ash-reed")
    await scene.say("does the lamp stand a storm?")
    await scene.settled()
    assert "Storms" not in scene.client.requests[-1].messages[0].content


async def test_lore_of_a_card_knows_the_scene(config: Config) -> None:
    entries: list[dict[str, object]] = [
        {"keys": ["tide"], "content": "@@dont_activate_after_match\nThe tide took the bell."},
        {"keys": ["key"], "content": "@@keep_activate_after_match\nThe key is under the mat."},
        {"keys": [], "constant": True, "content": "@@activate_only_after 2\nA storm is near."},
    ]
    book = {"entries": [{"enabled": True, "insertion_order": 0, **entry} for entry in entries]}
    small = config.model_copy(update={"prompt": PromptSettings(history_messages=2)})

    async def known(scene: Scene, text: str) -> list[str]:
        await scene.say(text)
        await scene.settled()
        prompt = scene.client.requests[-1].messages[0].content
        return [word for word in ("tide", "key", "storm") if word in prompt]

    async with scene_in(config) as scene:
        await scene.behind.commands.cards.import_bytes(
            GENERAL, HERE, card(character_book=book), "ash.json"
        )
        await scene.behind.commands.persona_set(GENERAL, "ash-reed")
        assert await known(scene, "the tide") == ["tide"]
        await scene.behind.commands.controls.regenerate(GENERAL, Person("discord:500", False))
        await scene.settled()
        assert "The tide took" in scene.client.requests[-1].messages[0].content
        assert await known(scene, "the tide and a key") == ["key"]
    async with scene_in(small) as scene:  # a restart in between, and a window without the replies
        scene.posts = 200
        assert await known(scene, "the tide") == ["key", "storm"]
        await scene.behind.commands.reset(GENERAL)
        assert await known(scene, "the tide") == ["tide"]


MACROS = {  # of a card's description: what stands in the prompt
    "{{char}}": r"Ash Reed",
    "{{user}}": r"Ann",
    "{{random:oil,gas}}": r"(oil|gas)",
    "{{roll:d20}}": r"([1-9]|1\d|20)",
    "{{time}}": r"([01]\d|2[0-3]):[0-5]\d",
}


@pytest.mark.parametrize("macro", MACROS)
async def test_macros_reach_the_model_filled(scene: Scene, cards: CardCommands, macro: str) -> None:
    told = f"Lamp: <{macro}>."
    content = card(
        description=told, first_mes=told, system_prompt="Be brief. {{original}} Be kind."
    )
    await cards.import_bytes(GENERAL, HERE, content, "ash.json")
    await scene.behind.commands.persona_set(GENERAL, "ash-reed")
    for _ in range(2):
        await scene.say("hello")
        await scene.settled()
    first, second = (request.messages for request in scene.client.requests)
    assert first[0] == second[0]  # chance and the clock are the scene's
    system, greeting = first[0].content, first[1].content
    filled = re.compile(f"Lamp: <{MACROS[macro]}>\\.")
    assert filled.search(system)
    assert filled.fullmatch(greeting)
    manner = HOW_TO_SPEAK.replace("{{char}}", "Ash Reed")
    assert system.startswith(f"Be brief. {manner} Be kind.\n")


# -- addresses -------------------------------------------------------------------------------------


@asynccontextmanager
async def site(content: bytes) -> AsyncIterator[str]:
    """A server on this machine that hands out `content`, and redirects in several ways."""

    async def serve(request: web.Request) -> web.Response:
        match request.path:
            case "/loop":
                raise web.HTTPFound("/loop")
            case "/away":
                raise web.HTTPFound("http://127.0.0.1:1/card.json")
            case "/moved":
                raise web.HTTPFound("/ash.json")
            case "/ash.json":
                return web.Response(body=content)
        raise web.HTTPNotFound

    application = web.Application()
    application.router.add_get("/{path:.*}", serve)
    runner = web.AppRunner(application)
    await runner.setup()
    try:
        server = web.TCPSite(runner, "127.0.0.1", 0)
        await server.start()
        port = runner.addresses[0][1]
        yield f"http://localhost:{port}"
    finally:
        await runner.cleanup()


async def test_a_card_from_an_address(scene: Scene) -> None:
    behind = scene.behind
    config = behind.config.model_copy(update={"bot": BotSettings(import_urls=True)})
    near = Fetcher(lambda address: True, ("http",))
    cards = CardCommands(config, behind.database, behind.casting, behind.turns, near)
    async with site(card()) as url:
        told = await cards.import_url(GENERAL, HERE, f"{url}/moved")
        assert "`ash-reed`" in told.text
        with pytest.raises(CommandError, match="redirects more than 3 times"):
            await cards.import_url(GENERAL, HERE, f"{url}/loop")
        with pytest.raises(CommandError, match="status 404"):
            await cards.import_url(GENERAL, HERE, f"{url}/none")
        with pytest.raises(CommandError, match="cannot be fetched"):
            await cards.import_url(GENERAL, HERE, f"{url}/away")
        with pytest.raises(CommandError, match="larger than 0 MiB"):
            await near.fetch(f"{url}/ash.json", 10)
        far = Fetcher(is_public, ("http",))
        with pytest.raises(CommandError, match="not on the public internet"):
            await far.fetch(f"{url}/ash.json", 10)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://example.org/a", "must begin with https://"),
        ("file:///etc/passwd", "must begin with https://"),
        ("https:///a", "must begin with https://"),
        ("https://u:p@example.org/a", "user name or a password"),
        ("https://127.0.0.1/a", "not on the public internet"),
        ("https://169.254.169.254/latest", "not on the public internet"),
        ("https://[::ffff:10.0.0.1]/a", "not on the public internet"),
        ("https://[::1]/a", "not on the public internet"),
        ("https://localhost/a", "not on the public internet"),
        ("https://[", "cannot be fetched"),
    ],
)
async def test_addresses_that_are_refused(url: str, said: str) -> None:
    with pytest.raises(CommandError, match=said):
        await Fetcher().fetch(url, 100)

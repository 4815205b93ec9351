"""Two servers bring in characters of one name, and neither gets into the other's way."""

from __future__ import annotations

import json
import threading

import pytest

from bot import card_commands
from bot.card_commands import OPERATOR, Author
from bot.errors import CommandError
from bot.incoming import Place
from persona_prompts import cast as cast_module
from persona_prompts.character import CharacterError
from tests.bot.conftest import DIRECT, GENERAL, Scene

HERE, ELSEWHERE, THIRD = (Author(f"discord:{number}") for number in (99, 98, 97))
THERE = Place("discord:4", "there", "guild", "discord:98")
SOMEWHERE = Place("discord:5", "somewhere", "guild", "discord:97")
TERMINAL = Place("terminal:main", "main", "terminal")


def card(name: str = "Ash Reed", **data: object) -> bytes:
    fields = {"name": name, "description": "{{char}} keeps the lighthouse.", **data}
    return json.dumps({"spec": "chara_card_v3", "spec_version": "3.0", "data": fields}).encode()


async def bring(scene: Scene, place: Place, who: Author, content: bytes, **more: object) -> str:
    cards = scene.behind.commands.cards
    told = await cards.import_bytes(place, who, content, "card.json", **more)  # type: ignore[arg-type]
    return told.text


async def speaker(scene: Scene, place: Place, name: str) -> str:
    await scene.behind.commands.persona_set(place, name)
    channel = await scene.behind.turns.channel(place)
    return scene.behind.casting.character(channel).id


async def test_each_server_has_its_own(scene: Scene) -> None:
    await bring(scene, GENERAL, HERE, card())
    assert "is now `ash-reed-2`" in await bring(scene, THERE, ELSEWHERE, card())
    assert await speaker(scene, GENERAL, "Ash Reed") == "ash-reed"
    assert await speaker(scene, THERE, "ash reed") == "ash-reed-2"
    assert await speaker(scene, THERE, "ash-reed") == "ash-reed", "an id is everybody's"
    for place in (SOMEWHERE, DIRECT):
        with pytest.raises(CharacterError, match="say ash-reed or ash-reed-2"):
            await speaker(scene, place, "Ash Reed")


async def test_replacing_means_the_own_one(scene: Scene) -> None:
    await bring(scene, GENERAL, HERE, card())
    await bring(scene, THERE, ELSEWHERE, card())
    await bring(scene, THERE, ELSEWHERE, card(description="A smuggler."), replacing=True)
    get = scene.behind.casting.cast.get
    assert get("ash-reed-2").description == "A smuggler."
    assert "lighthouse" in get("ash-reed").description
    with pytest.raises(CommandError, match="already is a character ash-reed-2"):
        await bring(scene, THERE, ELSEWHERE, card())


async def test_nobody_changes_what_a_name_of_the_operator_s_means_elsewhere(scene: Scene) -> None:
    shipped = scene.behind.casting.cast.get("mirela")
    assert "is now `" in await bring(scene, GENERAL, HERE, card(shipped.name))
    assert await speaker(scene, THERE, shipped.name) == "mirela"
    assert await speaker(scene, DIRECT, shipped.name) == "mirela"
    assert await speaker(scene, GENERAL, shipped.name) != "mirela", "here it is one's own"
    assert await speaker(scene, GENERAL, "mirela") == "mirela"


async def test_a_number_is_added_to_the_longest_name_too(scene: Scene) -> None:
    long = "㎯" * 16  # each is five letters and digits of an id
    ids = set()
    for place, who in ((GENERAL, HERE), (THERE, ELSEWHERE), (SOMEWHERE, THIRD)):
        await bring(scene, place, who, card(long))
        ids.add(await speaker(scene, place, long))
    first = ("rads2" * 16)[:64]
    assert ids == {first, f"{first[:58]}-2", f"{first[:58]}-3"}


async def test_the_operator_is_asked_which(scene: Scene) -> None:
    await bring(scene, GENERAL, HERE, card())
    with pytest.raises(CommandError, match="already is a character ash-reed"):
        await bring(scene, TERMINAL, OPERATOR, card())


async def test_commands_about_a_character_mean_the_own_one(scene: Scene) -> None:
    await bring(scene, GENERAL, HERE, card())
    await bring(scene, THERE, ELSEWHERE, card(description="A smuggler."))
    cards = scene.behind.commands.cards
    assert "smuggler" in (await cards.show(THERE, "Ash Reed")).text
    assert (await cards.form(THERE, "Ash Reed")).id == "ash-reed-2"
    exported = await cards.export(GENERAL, "Ash Reed")
    assert exported.file is not None
    assert b"lighthouse" in exported.file.content
    await cards.may_edit(ELSEWHERE, "Ash Reed")
    with pytest.raises(CommandError, match="Only the server that it comes from"):
        await cards.may_edit(ELSEWHERE, "ash-reed")
    await scene.behind.commands.cast.add(THERE, "Ash Reed")
    assert "ash-reed-2" in (await scene.behind.commands.cast.list(THERE)).text
    await scene.behind.commands.cast.remove(THERE, "Ash Reed")
    assert "ash-reed" not in (await scene.behind.commands.cast.list(THERE)).text


async def test_cards_are_never_read_on_the_event_loop(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A card may take a second to unpack; meanwhile heartbeats are due."""
    here, where = threading.get_ident(), list[str]()
    for owner, name in (
        (card_commands, "parse_card"),
        (card_commands, "read_card"),
        (card_commands, "import_card"),
        (card_commands, "export_card"),
        (cast_module, "read_character"),
    ):
        real = getattr(owner, name)

        def spied(*given: object, real: object = real, name: str = name, **more: object) -> object:
            where.extend([name] * (threading.get_ident() == here))
            return real(*given, **more)  # type: ignore[operator]

        monkeypatch.setattr(owner, name, spied)
    await bring(scene, GENERAL, HERE, card())
    cards = scene.behind.commands.cards
    form = await cards.form(GENERAL, "ash-reed")
    await cards.edit(GENERAL, HERE, form, {"description": "A smuggler."})
    await cards.export(GENERAL, "ash-reed", "png")
    assert "smuggler" in (await cards.show(GENERAL, "ash-reed")).text
    assert where == []

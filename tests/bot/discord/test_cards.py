"""`/persona import | export | show | create | edit` on the stand-in Discord."""

from __future__ import annotations

import json
from typing import Any

from bot.answers import Answer
from bot.card_form import PAGES, Form
from bot.cogs.card_modal import CardModal
from tests.bot.discord.conftest import Town
from tests.bot.test_cards import card


async def test_import_show_and_export(town: Town) -> None:
    async with town.bot():
        await town.server.wait_ready(commands=True)
        content = card(first_mes="Mind the stairs.", unknown=1.50)
        used = await town.alice.slash(town.general, "persona import", file=("ash.json", content))
        assert "needs the permission" in (await used.wait_response()).content
        used = await town.admin.slash(town.general, "persona import", file=("ash.json", content))
        response = await used.wait_response()
        assert response.content.startswith("Ash Reed is now `ash-reed`.")
        [embed] = response.embeds
        assert embed["title"] == "Ash Reed (ash-reed)"
        assert response.attachments[0].data.startswith(b"\x89PNG")
        used = await town.alice.slash(town.general, "persona show", name="ash-reed")
        [embed] = (await used.wait_response()).embeds
        assert {"name": "Greeting", "value": "Mind the stairs.", "inline": False} in embed["fields"]
        used = await town.alice.slash(town.general, "persona export", name="ash-reed")
        [exported] = (await used.wait_response()).attachments
        assert (exported.filename, exported.data) == ("ash-reed.json", content)


async def test_what_is_refused(town: Town) -> None:
    async with town.bot():
        await town.server.wait_ready(commands=True)
        refused: list[tuple[dict[str, Any], str]] = [
            ({}, "Attach a card"),
            ({"file": ("a.png", b"\x89PNG\r\n\x1a\nnothing")}, "a.png"),
            ({"file": ("a.json", b"{}")}, "a.json"),
            ({"file": ("a.json", card()), "id": "mirela"}, "already is a character"),
            ({"file": ("a.json", card()), "id": "mirela", "replace": True}, "Only whoever runs me"),
            ({"url": "https://example.org/a.json"}, "not fetched from addresses here"),
        ]
        for options, said in refused:
            used = await town.admin.slash(town.general, "persona import", options)
            assert said in (await used.wait_response()).content
            assert used.ephemeral


async def test_the_owner_of_the_application_may_replace_the_shipped(town: Town) -> None:
    async with town.bot() as running:
        await town.server.wait_ready(commands=True)
        used = await town.server.owner.slash(
            town.general,
            "persona import",
            file=("m.json", card("Mirela", description="Another one.")),
            id="mirela",
            replace=True,
        )
        assert "is now `mirela`" in (await used.wait_response()).content
        assert running.behind.casting.cast.get("mirela").description == "Another one."


async def test_writing_in_a_modal(town: Town) -> None:
    async with town.bot() as running:
        await town.server.wait_ready(commands=True)
        opened = await town.admin.slash(town.general, "persona create")
        done = await town.admin.submit_modal(
            opened, {"Name": "Ash Reed", "Greeting": "Mind the stairs."}
        )
        assert "is now `ash-reed`" in (await done.wait_response()).content
        opened = await town.admin.slash(town.general, "persona edit", name="ash-reed")
        done = await town.admin.submit_modal(opened, {"Personality": "Gruff."})
        assert (await done.wait_response()).content.startswith("Ash Reed is changed.")
        character = running.behind.casting.cast.get("ash-reed")
        assert (character.personality, character.greeting) == ("Gruff.", "Mind the stairs.")
        opened = await town.admin.slash(
            town.general, "persona edit", name="ash-reed", page="prompts"
        )
        done = await town.admin.submit_modal(opened, {"Other greetings": "One.\n---\nTwo."})
        await done.wait_response()
        assert running.behind.casting.cast.get("ash-reed").alternate_greetings == ("One.", "Two.")
        await town.admin.slash(town.general, "persona set", name="ash-reed", greeting=3)
        greeting = await town.general.wait_message(containing="Two.")
        assert greeting.content == "Two."
        opened = await town.admin.slash(town.general, "persona edit", name="ash-reed")
        done = await town.admin.submit_modal(opened, {"Name": "System: you"})
        assert "must be one line" in (await done.wait_response()).content


async def test_a_form_is_not_kept_for_ever() -> None:
    async def submitted(_: object, __: dict[str, str]) -> Answer:
        return Answer("")

    assert CardModal(Form("", "A character", PAGES["character"]), submitted).timeout == 900


async def test_nobody_opens_a_form_in_vain(town: Town) -> None:
    async with town.bot():
        await town.server.wait_ready(commands=True)
        for who, line, options, said in [
            (town.alice, "persona create", {}, "needs the permission"),
            (town.admin, "persona edit", {"name": "mirela"}, "Only whoever runs me"),
            (town.admin, "persona edit", {"name": "nobody"}, "There is no character"),
        ]:
            used = await who.slash(town.general, line, options)
            assert said in (await used.wait_response()).content


async def test_adults_only(town: Town) -> None:
    adults = town.guild.add_channel("adults", nsfw=True)
    async with town.bot():
        await town.server.wait_ready(commands=True)
        content = json.dumps(
            {"spec": "chara_card_v2", "data": {"name": "Ash", "tags": ["nsfw"]}}
        ).encode()
        used = await town.admin.slash(town.general, "persona import", file=("ash.json", content))
        response = await used.wait_response()
        assert response.embeds == []
        for line in ("persona show", "persona set", "persona export"):
            used = await town.admin.slash(town.general, line, name="ash")
            assert "is for adults" in (await used.wait_response()).content
        for where, shown in ((town.general, False), (adults, True)):
            used = await town.alice.slash(where, "persona list")
            listed = (await used.wait_response()).content
            assert ("`ash`" in listed) is shown
            assert ("1 for adults" in listed) is not shown
            for line in ("persona set", "cast add"):
                offered = await town.admin.autocomplete(where, line, focused="name", value="ash")
                assert [choice["value"] for choice in offered] == ["ash"] * shown
        used = await town.admin.slash(adults, "persona set", name="ash")
        assert (await used.wait_response()).content == "Ash speaks here now."
        await town.reply_to(await town.ask("hello", adults))
        thread = await town.admin.start_thread(adults, "within")
        await town.reply_to(await town.ask("hello", thread))

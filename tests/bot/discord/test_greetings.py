"""◀ ▶ under the greeting that opens a scene."""

from __future__ import annotations

import pytest

from tests.bot.discord.conftest import Town
from tests.bot.discord.test_reply_buttons import buttons
from tests.bot.test_cards import card


@pytest.mark.parametrize("webhooks", [False, True])
async def test_the_other_greetings_are_one_press_away(town: Town) -> None:
    async with town.bot() as running:
        await town.server.wait_ready(commands=True)
        brought = card("Ash Reed", first_mes="One.", alternate_greetings=["Two.", "Three."])
        await town.admin.slash(town.general, "persona import", file=("ash.json", brought))
        await town.admin.slash(town.general, "persona set", name="Ash Reed")
        post = await town.general.wait_message(where=lambda post: post.content == "One.")
        for shown in ("Two.", "Three."):
            await town.admin.click(post, custom_id=buttons(post)["next"])
            await town.general.wait_content(post, shown)
        used = await town.alice.click(post, custom_id=buttons(post)["previous"])
        assert "may change this channel" in (await used.wait_response()).content
    async with town.bot() as running:  # a restart in between
        await town.admin.click(post, custom_id=buttons(post)["previous"])
        await town.general.wait_content(post, "Two.")
        asked = await town.ask("what now?")
        await town.general.wait_message(after=asked)
        await running.settled()
        assert ("assistant", "Two.") in [
            (message.role, message.content) for message in running.client.requests[-1].messages
        ]
        channel = await running.behind.database.channels.get(f"discord:{town.general.id}")
        assert channel is not None
        assert channel.greeting == 1

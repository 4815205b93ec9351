"""Several characters in one channel, and when they speak, on the stand-in Discord."""

from __future__ import annotations

import pytest

from tests.bot.discord.conftest import Running, Town


async def cast(town: Town, line: str, **options: str) -> str:
    used = await town.admin.slash(town.general, f"cast {line}", options)
    return (await used.wait_response()).content


async def asked(town: Town, running: Running, content: str, *scripts: str, **more: object) -> None:
    running.client.scripts.extend(scripts)
    await town.alice.say(town.general, content, **more)  # type: ignore[arg-type]


async def test_the_commands(town: Town) -> None:
    async with town.bot():
        await town.server.wait_ready(commands=True)
        used = await town.alice.slash(town.general, "cast add", name="bramble")
        assert "needs the permission" in (await used.wait_response()).content
        assert await cast(town, "add", name="bramble") == "Sir Bramble joins in here."
        assert "Sir Bramble" in await cast(town, "list")
        suggested = await town.admin.autocomplete(
            town.general, "cast add", focused="name", value="mau"
        )
        assert [choice["value"] for choice in suggested] == ["maud"]
        assert await cast(town, "remove", name="bramble") == "bramble speaks here no more."
        assert "does not speak here" in await cast(town, "remove", name="bramble")


@pytest.mark.parametrize("webhooks", [False, True])
async def test_two_answer_one_message_in_posts_of_their_own(town: Town, webhooks: bool) -> None:
    async with town.bot() as running:
        await town.server.wait_ready(commands=True)
        await cast(town, "add", name="bramble")
        await asked(town, running, "Mirela, Bramble, what now?", "We sail.", "We wait.")
        first = await town.general.wait_message(containing="We sail.")
        second = await town.general.wait_message(containing="We wait.")
        assert first.id < second.id
        bot = town.server.bot_user.display_name
        shown = [post.author.display_name for post in (first, second)]
        assert shown == (["Captain Mirela Vex", "Sir Bramble"] if webhooks else [bot, bot])
        assert [request.channel for request in running.client.requests] == [
            f"discord:{town.general.id}"
        ] * 2
        await running.settled_in(town.general)
        remembered = await running.remembered(town.general)
        assert [text for _, text in remembered][-2:] == ["We sail.", "We wait."]


@pytest.mark.parametrize("webhooks", [False, True])
async def test_a_reply_to_a_post_goes_to_who_said_it(town: Town, webhooks: bool) -> None:
    async with town.bot() as running:
        await town.server.wait_ready(commands=True)
        await cast(town, "add", name="bramble")
        await asked(town, running, "Bramble, hello?", "Hm.")
        post = await town.general.wait_message(containing="Hm.")
        await running.settled_in(town.general)
        await asked(town, running, "why?", "So.", reply_to=post, ping=False)
        await town.general.wait_message(containing="So.")
        assert "Sir Bramble" in running.client.requests[-1].messages[0].content


async def test_a_question_to_somebody_else_is_left_alone(town: Town) -> None:
    async with town.bot() as running:
        await town.server.wait_ready(commands=True)
        await town.admin.slash(town.general, "settings set", name="mode", value="always")
        asked_admin = await town.admin.say(town.general, "who knows?")
        await town.reply_to(asked_admin)
        await town.alice.say(town.general, "I do", reply_to=asked_admin)
        await town.alice.say(town.general, f"{town.admin.mention} do you?")
        await town.reply_to(await town.alice.say(town.general, "and anybody?"))
        await running.settled_in(town.general)
        assert len(running.client.requests) == 2


async def test_joining_in_unasked_but_never_twice(town: Town) -> None:
    async with town.bot() as running:
        await town.server.wait_ready(commands=True)
        running.behind.turns._attention._speaking._chance = lambda: 0.0
        await town.admin.slash(town.general, "settings set", name="mode", value="sometimes")
        await town.reply_to(await town.ask("hello"))
        await running.settled_in(town.general)
        await town.reply_to(await town.alice.say(town.general, "nice weather"))
        await running.settled_in(town.general)
        await town.alice.say(town.general, "very nice")
        await town.reply_to(await town.alice.say(town.general, "Mirela, is it?"))
        await running.settled_in(town.general)
        assert len(running.client.requests) == 3

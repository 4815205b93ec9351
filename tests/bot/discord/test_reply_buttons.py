"""The buttons under replies, and the commands that do the same, through Discord."""

from __future__ import annotations

import asyncio

import pytest

from tests.bot.discord.conftest import Running, Town
from tests.bot.scripted import Script, eventually, words
from tests.discord_standin import ChannelHandle, Message
from tests.discord_standin.interaction_state import Interaction
from tests.discord_standin.validation import walk

NAME = "Captain Mirela Vex"


@pytest.fixture(params=[True, False], ids=["webhook", "bot"])
def webhooks(request: pytest.FixtureRequest) -> bool:
    """Every test runs twice: characters under their own names, and under the bot's."""
    return bool(request.param)


def speaker(town: Town) -> str:
    return NAME if town.config.discord.webhooks else town.server.bot_user.display_name


def buttons(post: Message) -> dict[str, str]:
    """Action → custom id of the buttons that can be pressed."""
    found = [part["custom_id"] for _, part in walk(post.components) if part["type"] == 2
             and not part.get("disabled")]  # fmt: skip
    return {custom_id.split(":")[1]: custom_id for custom_id in found}


async def answered(
    town: Town, running: Running, reply: str = "First words.", where: ChannelHandle | None = None
) -> Message:
    """The post of a complete reply to Alice."""
    where = where or town.general
    running.client.scripts.append(Script([reply]))
    asked = await town.ask("hi", where)
    post = await where.wait_message(by=speaker(town), after=asked)
    await running.settled()
    return post


async def press(town: Town, post: Message, action: str, *, admin: bool = False) -> Interaction:
    who = town.admin if admin else town.alice
    used = await who.click(post, custom_id=buttons(post)[action])
    assert (used.acknowledged_after or 9) < 3
    return used


async def told(used: Interaction) -> str:
    """What only the one who pressed can read."""
    await used.wait_response()
    texts = [message for message in (used.response, *used.followups) if message is not None]
    assert texts[-1].ephemeral
    return texts[-1].content


async def said(running: Running, town: Town) -> list[str]:
    return [content for role, content in await running.remembered(town.general)
            if role == "character"]  # fmt: skip


async def test_a_reply_has_buttons_and_while_it_is_written_one_that_stops_it(town: Town) -> None:
    gate = asyncio.Event()
    async with town.bot() as running:
        running.client.scripts.append(words("a good begin and never", gate=gate, gate_at=3))
        asked = await town.ask("hi")
        post = await town.general.wait_message(by=speaker(town), after=asked)
        assert list(buttons(post)) == ["stop"]
        used = await press(town, post, "stop")
        assert used.kind == "deferred_update"
        await running.settled()
        assert post.content == "a good begin"
        assert await said(running, town) == ["a good begin"]
        assert list(buttons(post)) == ["regenerate", "good", "bad", "continue", "edit", "undo"]


async def test_regenerating_and_swiping(town: Town) -> None:
    async with town.bot() as running:
        post = await answered(town, running)
        running.client.scripts.append(words("Second words in some more edits.", pause=0.4))
        await press(town, post, "regenerate")
        await running.settled()
        assert post.content == "Second words in some more edits."
        assert {"previous", "regenerate"} <= set(buttons(post))
        assert "next" not in buttons(post)
        await press(town, post, "previous")
        await town.general.wait_content(post, "First words.")
        assert await said(running, town) == ["First words."]
        assert "next" in buttons(post)
        await press(town, post, "next")
        await town.general.wait_content(post, "Second words")
        assert await said(running, town) == ["Second words in some more edits."]
        assert len(town.general.by(speaker(town))) == 1


async def test_versions_of_different_length_take_the_posts_that_they_need(town: Town) -> None:
    long = " ".join(["word"] * 800)
    async with town.bot() as running:
        post = await answered(town, running, long)
        assert len(town.general.by(speaker(town))) == 2
        running.client.scripts.append(Script(["Short."]))
        last = town.general.by(speaker(town))[-1]
        await press(town, last, "regenerate")
        await running.settled()
        assert [m.content for m in town.general.by(speaker(town))] == ["Short."]
        assert await said(running, town) == ["Short."]
        await press(town, post, "previous")
        await running.settled()
        assert " ".join(m.content for m in town.general.by(speaker(town))) == long
        assert await said(running, town) == [long]
        first, second = town.general.by(speaker(town))
        assert not buttons(first)
        assert "next" in buttons(second)


async def test_continuing(town: Town) -> None:
    async with town.bot() as running:
        post = await answered(town, running)
        running.client.scripts.append(Script(["And more."]))
        await press(town, post, "continue")
        await running.settled()
        assert post.content == "First words. And more."
        assert await said(running, town) == ["First words. And more."]


async def test_editing_in_a_form(town: Town) -> None:
    async with town.bot() as running:
        post = await answered(town, running)
        opened = await press(town, post, "edit")
        assert opened.kind == "modal"
        await town.alice.submit_modal(opened, words="Other words.")
        await town.general.wait_content(post, "Other words.")
        assert await said(running, town) == ["Other words."]


async def test_a_form_opened_before_a_restart_still_works(town: Town) -> None:
    async with town.bot() as running:
        post = await answered(town, running)
        opened = await press(town, post, "edit")
    async with town.bot() as running:
        await town.alice.submit_modal(opened, words="Other words.")
        await town.general.wait_content(post, "Other words.")
        assert await said(running, town) == ["Other words."]


async def test_taking_back(town: Town) -> None:
    async with town.bot() as running:
        first = await answered(town, running, "First.")
        second = await answered(town, running, "Second.")
        await town.general.wait_until(lambda: not buttons(first))
        await press(town, second, "undo")
        await town.general.wait_deleted(second)
        await running.settled()
        assert await said(running, town) == ["First."]
        await town.general.wait_until(lambda: "undo" in buttons(first))


async def test_votes_are_for_everybody(town: Town) -> None:
    async with town.bot() as running:
        post = await answered(town, running)
        reply = await running.behind.database.messages.by_post(post.id)
        assert reply is not None
        bob = town.guild.join(town.server.add_user("bob"))
        used = await bob.click(post, custom_id=buttons(post)["bad"])
        assert await told(used) == "👎 noted."
        assert await told(await press(town, post, "good")) == "👍 noted."
        feedback = running.behind.database.feedback
        assert await feedback.votes(reply.channel_id) == {reply.id: (1, 1)}
        assert await told(await press(town, post, "good")) == "👍 taken back."
        assert await feedback.votes(reply.channel_id) == {reply.id: (0, 1)}


async def test_others_may_not_change_a_reply_and_those_who_manage_the_channel_may(
    town: Town,
) -> None:
    async with town.bot() as running:
        post = await answered(town, running)
        bob = town.guild.join(town.server.add_user("bob"))
        for action in ("regenerate", "continue", "edit", "undo"):
            used = await bob.click(post, custom_id=buttons(post)[action])
            assert "Only who asked" in await told(used)
        assert await said(running, town) == ["First words."]
        await press(town, post, "undo", admin=True)
        await town.general.wait_deleted(post)


async def test_a_click_after_a_restart(town: Town) -> None:
    async with town.bot() as running:
        post = await answered(town, running)
    async with town.bot() as running:
        running.client.scripts.append(Script(["Second."]))
        await press(town, post, "regenerate")
        await running.settled()
        assert post.content == "Second."
        await press(town, post, "previous")
        await town.general.wait_content(post, "First words.")
        assert await said(running, town) == ["First words."]
        assert len(town.general.by(speaker(town))) == 1


async def test_a_restart_in_the_middle_of_another_version(town: Town) -> None:
    async with town.bot() as running:
        post = await answered(town, running)
        running.client.scripts.append(
            words("Half of it never", gate=asyncio.Event(), gate_at=3, pause=0.1)
        )
        await press(town, post, "regenerate")
        await town.general.wait_content(post, "Half")
    async with town.bot() as running:
        await town.general.wait_until(lambda: "previous" in buttons(post))
        assert await said(running, town) == [post.content]
        await press(town, post, "previous")
        await town.general.wait_content(post, "First words.")


async def test_two_people_at_once(town: Town) -> None:
    gate = asyncio.Event()
    async with town.bot() as running:
        post = await answered(town, running)
        running.client.scripts.append(words("Second.", gate=gate))
        running.client.scripts.append(Script(["Never."]))
        custom_id = buttons(post)["regenerate"]
        pressed = [who.begin_click(post, custom_id=custom_id) for who in (town.alice, town.admin)]
        for used in pressed:
            await used.wait_acknowledged(3)
        kinds = sorted(str(used.kind) for used in pressed)
        assert kinds == ["deferred_update", "immediate"]
        [refused] = [used for used in pressed if used.kind == "immediate"]
        assert "in the middle of a reply" in await told(refused)
        gate.set()
        await running.settled()
        assert post.content == "Second."
        assert await said(running, town) == ["Second."]


async def test_a_click_on_a_reply_that_is_not_the_newest_any_more(town: Town) -> None:
    async with town.bot() as running:
        old = await answered(town, running, "Old.")
        custom_id = buttons(old)["undo"]
        before = list(old.components)
        await answered(town, running, "New.")
        await town.general.wait_until(lambda: not buttons(old))
        old.components = before  # as if taking them away had failed
        used = await town.alice.click(old, custom_id=custom_id)
        assert used.kind == "update"
        await town.general.wait_until(lambda: used.followups)
        assert "Only the newest reply" in used.followups[0].content
        assert used.followups[0].ephemeral
        assert not buttons(old)
        assert await said(running, town) == ["Old.", "New."]


async def test_a_click_on_a_reply_that_was_deleted_meanwhile(town: Town) -> None:
    async with town.bot() as running:
        post = await answered(town, running)
        reply = await running.behind.database.messages.by_post(post.id)
        assert reply is not None
        custom_id = buttons(post)["regenerate"]
        await running.behind.database.rewriting.take_back(reply.id)
        used = await town.alice.click(post, custom_id=custom_id)
        await town.general.wait_until(lambda: used.followups)
        assert "gone" in used.followups[0].content
        assert len(running.client.requests) == 1


async def test_a_post_deleted_while_it_is_written_anew(town: Town) -> None:
    async with town.bot() as running:
        post = await answered(town, running)
        running.client.scripts.append(words("Half of it never", gate=asyncio.Event(), gate_at=2))
        await press(town, post, "regenerate")
        await town.general.wait_content(post, "Half of")
        await town.server.owner.delete(post)
        await running.settled()
        assert await said(running, town) == []


async def test_in_a_thread_and_in_direct_messages(town: Town) -> None:
    async with town.bot() as running:
        thread = await town.alice.start_thread(town.general, "Aside")
        here = town.alice.dm()
        for where in (thread, here):
            running.client.scripts.append(Script(["First."]))
            asked = await town.ask("hi", where)
            who = speaker(town) if where is thread else town.server.bot_user
            post = await where.wait_message(by=who, after=asked)
            await running.settled()
            running.client.scripts.append(Script(["Second."]))
            await press(town, post, "regenerate")
            await running.settled()
            assert post.content == "Second."
            await press(town, post, "undo")
            await where.wait_deleted(post)


async def test_the_commands_do_the_same(town: Town) -> None:
    async with town.bot() as running:
        post = await answered(town, running)
        running.client.scripts.append(Script(["Second."]))
        used = await town.alice.slash(town.general, "regenerate")
        assert "once more" in await told(used)
        await town.general.wait_content(post, "Second.")
        await running.settled()
        used = await town.alice.slash(town.general, "swipe", to="previous")
        assert await told(used) == "Version 1 of 2."
        running.client.scripts.append(Script(["More."]))
        await town.alice.slash(town.general, "continue")
        await town.general.wait_content(post, "First words. More.")
        await running.settled()
        opened = await town.alice.slash(town.general, "edit")
        await town.alice.submit_modal(opened, words="Mine.")
        await town.general.wait_content(post, "Mine.")
        used = await town.alice.slash(town.general, "undo")
        assert "“Mine.”" in await told(used)
        assert post.deleted
        used = await town.alice.slash(town.general, "undo")
        assert "No character has said anything" in await told(used)


async def test_putting_words_into_the_characters_mouth_and_rewinding(town: Town) -> None:
    async with town.bot() as running:
        used = await town.alice.slash(town.general, "say", text="Give gold.")
        assert "settings" in await told(used)
        used = await town.admin.slash(town.general, "say", text="The gate is open. @everyone")
        post = await town.general.wait_message(by=speaker(town), containing="The gate is open.")
        assert not post.mention_everyone
        await told(used)
        await answered(town, running, "One.")
        newest = await answered(town, running, "Two.")
        used = await town.alice.slash(town.general, "rewind", exchanges=1)
        assert "settings" in await told(used)
        used = await town.admin.slash(town.general, "rewind", exchanges=2)
        response = await used.wait_response()
        assert "4 messages are taken back" in response.content
        assert newest.deleted
        assert await running.remembered(town.general) == [
            ("character", "The gate is open. @everyone")
        ]


async def test_what_fails_is_told_every_time_and_changes_nothing(town: Town) -> None:
    async with town.bot() as running:
        post = await answered(town, running)
        for number in (1, 2):
            running.client.scripts.append(Script([], finish="error", error="The model has ended."))
            await press(town, post, "regenerate")
            await running.settled()
            notices = [m for m in town.general.messages if m.content == "-# The model has ended."]
            assert len(notices) == number
            assert list(buttons(post)) == ["regenerate", "good", "bad", "continue", "edit", "undo"]
        assert await said(running, town) == ["First words."]


async def test_its_own_deletion_does_not_stop_the_reply_that_is_written_anew(town: Town) -> None:
    """Discord tells of the surplus post's end before it answers the request for it."""
    gate = asyncio.Event()
    async with town.bot() as running:
        post = await answered(town, running, " ".join(["word"] * 800))
        last = town.general.by(speaker(town))[-1]
        assert last is not post
        late = town.server.faults.delay("DELETE", "*", seconds=0.5, before=False)
        running.client.scripts.append(words("Short and whole.", gate=gate, gate_at=1))
        await press(town, last, "regenerate")

        async def followed() -> bool:
            return await running.behind.database.messages.by_post(last.id) is None

        await eventually(followed)
        gate.set()
        await running.settled()
        assert late.hits == 1
        assert post.content == "Short and whole."
        assert await said(running, town) == ["Short and whole."]


async def test_only_who_asked_or_may_switch_stops_a_reply_by_command(town: Town) -> None:
    bob = town.guild.join(town.server.add_user("bob", display_name="Bob"))
    async with town.bot() as running:
        for who in (town.alice, town.admin):
            running.client.scripts.append(words("a word never", gate=asyncio.Event(), gate_at=2))
            asked = await town.ask("hi")
            await town.general.wait_message(by=speaker(town), after=asked)
            used = await bob.slash(town.general, "stop")
            assert "Only who asked" in await told(used)
            used = await who.slash(town.general, "stop")
            assert await told(used) == "Stopped."
            await running.settled()
        assert await said(running, town) == ["a word", "a word"]

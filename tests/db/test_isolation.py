"""Whatever happens in whatever order, a history holds only what was said in its own channel."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from db.channels import Channel
from db.database import Database
from tests.db.conftest import answer, ask, begin

CHANNELS = 3

places = st.integers(0, CHANNELS - 1)
anything = st.integers(0, 30)  # the id of a message, of this channel, another one or none
events = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), places, anything),
        st.tuples(st.just("begin"), places, anything),
        st.tuples(st.just("answer"), places, anything),
        st.tuples(st.just("reset"), places, anything),
        st.tuples(st.just("edit"), places, anything),
        st.tuples(st.just("delete"), places, anything),
        st.tuples(st.just("forget"), places, anything),
    ),
    max_size=25,
)


async def happen(
    database: Database, channel: Channel, event: str, target: int, number: int
) -> None:
    mark = f"{channel.key} {number}"
    if event == "ask":
        await ask(
            database,
            channel,
            mark,
            author=f"author:{number % 2}",
            post_id=number + 1,
            reply_to=target,
        )
    elif event == "begin":
        reply = await begin(database, channel, target)
        await database.messages.show(reply.id, mark)
    elif event == "answer":
        await answer(database, channel, target, mark)
    elif event == "reset":
        await database.channels.new_scene(channel.id)
    elif event == "edit":
        if said := await database.messages.by_post(target):
            owner = await database.channels.by_id(said.channel_id)
            await database.messages.edit(target, f"{owner.key} edited", 2000.0)
    elif event == "delete":
        await database.messages.delete_post(target)
    else:
        await database.privacy.forget_author(f"author:{target % 2}")


@settings(max_examples=40, deadline=None)
@given(events=events, up_to=anything)
async def test_histories_never_leak_between_channels(
    events: list[tuple[str, int, int]], up_to: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with await Database.open(Path(folder) / "db") as database:
            channels = [
                await database.channels.seen(f"c:{n}", guild_key=None, name="", kind="dm")
                for n in range(CHANNELS)
            ]
            for number, (event, place, target) in enumerate(events):
                await happen(database, channels[place], event, target, number)
            for channel in await database.channels.all():
                await check_history(database, channel, up_to)


async def check_history(database: Database, channel: Channel, up_to: int) -> None:
    whole = await database.messages.history(channel, limit=100)
    own = {message.id for message in whole}
    for message in whole:
        assert message.channel_id == channel.id
        assert message.content.startswith(f"{channel.key} ")
        assert message.id > channel.scene_start
        if message.reply_to is not None:
            asked = await database.messages.get(message.reply_to)
            assert asked is not None
            assert asked.channel_id == channel.id
    assert len(own) == len(whole)
    part = await database.messages.history(channel, limit=100, up_to=up_to)
    assert part == whole[: len(part)]
    assert (part[-1].id == up_to) if up_to in own else (up_to not in {m.id for m in part})
    assert await database.messages.history(channel, limit=2) == whole[-2:]
    for owed in await database.messages.owed(channel.id, since=0):
        assert owed.channel_id == channel.id

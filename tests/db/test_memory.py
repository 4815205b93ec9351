"""Summaries, facts, notes and lore: each in its own channel, persona and scene."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from db.channels import Channel
from db.database import Database, DatabaseError
from db.facts import MOST, Fact
from db.summaries import Summary
from tests.db.conftest import answer, ask


async def learn(database: Database, channel: Channel, text: str, **more: object) -> Fact:
    fields: dict[str, object] = {"author_key": "discord:7", "author_name": "Ann", "at": 5.0}
    fact = await database.facts.add(channel, "mirela", text, **{**fields, **more})  # type: ignore[arg-type]
    assert fact is not None
    return fact


async def tell(database: Database, channel: Channel, text: str, up_to: int) -> bool:
    known = await database.summaries.of(channel, "mirela")
    return await database.summaries.tell(
        channel, "mirela", text, since=known, piece=(), up_to=up_to, at=10.0
    )


async def test_a_summary_belongs_to_one_scene_of_one_character(
    database: Database, channel: Channel
) -> None:
    said = await ask(database, channel)
    assert await tell(database, channel, "They met.", said.place)
    known = await database.summaries.of(channel, "mirela")
    assert (known.text, known.up_to) == ("They met.", said.place)
    assert await database.summaries.of(channel, "bramble") == Summary()
    later = await database.channels.new_scene(channel.id)
    assert await database.summaries.of(later, "mirela") == Summary(up_to=later.scene_start)


async def test_the_model_s_text_is_void_if_somebody_changed_the_summary_meanwhile(
    database: Database, channel: Channel
) -> None:
    before = await database.summaries.of(channel, "mirela")
    await database.summaries.fix(channel, "mirela", "By hand.", by="discord:7", at=1.0)
    assert not await database.summaries.tell(
        channel, "mirela", "By the model.", since=before, piece=(), up_to=3, at=2.0
    )
    assert (await database.summaries.of(channel, "mirela")).text == "By hand."
    assert await tell(database, channel, "More.", 3)
    assert (await database.summaries.of(channel, "mirela")).text == "By hand.\nMore."
    await database.summaries.clear(channel, "mirela", at=3.0)
    cleared = await database.summaries.of(channel, "mirela")
    assert (cleared.text, cleared.fixed_by, cleared.up_to) == ("", None, 3)
    await database.summaries.redo(channel, "mirela")
    assert (await database.summaries.of(channel, "mirela")).up_to == 0


@pytest.mark.parametrize("change", ["edit", "delete", "rewind"])
async def test_what_is_told_goes_with_a_message_it_tells(
    database: Database, channel: Channel, change: str
) -> None:
    first = await ask(database, channel, "The treasure is in the well.", post_id=1)
    reply = await answer(database, channel, first.id, "Aye.")
    last = await ask(database, channel, "Not told yet.", post_id=2)
    await database.summaries.fix(channel, "mirela", "By hand.", by="discord:7", at=1.0)
    await tell(database, channel, "The treasure is in the well.", first.place)
    await database.messages.edit(2, "Changed, but not told.", 2000.0)
    assert (await database.summaries.of(channel, "mirela")).told
    if change == "edit":
        await database.messages.edit(1, "Forget it.", 2000.0)
    elif change == "delete":
        await database.messages.delete_post(1)
    else:
        await database.rewriting.rewind([last.id, reply.id])
    known = await database.summaries.of(channel, "mirela")
    assert (known.told, known.fixed, known.up_to) == ("", "By hand.", 0)


@pytest.mark.parametrize("change", ["none", "edit", "delete", "forget"])
async def test_the_model_s_text_is_void_if_what_it_tells_changed_meanwhile(
    database: Database, channel: Channel, change: str
) -> None:
    piece = [await ask(database, channel, f"Line {n}.", post_id=n) for n in (1, 2)]
    since = await database.summaries.of(channel, "mirela")
    if change == "edit":
        await database.messages.edit(1, "Another line.", 2000.0)
    elif change == "delete":
        await database.messages.delete_post(2)
    elif change == "forget":
        await database.privacy.forget_author(piece[0].author_key)
    stored = await database.summaries.tell(
        channel, "mirela", "Told.", since=since, piece=piece, up_to=piece[-1].place, at=2.0
    )
    assert stored == (change == "none")
    known = await database.summaries.of(channel, "mirela")
    assert known.told == ("Told." if stored else "")


async def test_a_summary_of_an_earlier_scene_is_untouched_by_the_present_one(
    database: Database, channel: Channel
) -> None:
    said = await ask(database, channel, post_id=1)
    await tell(database, channel, "Once.", said.place)
    await database.channels.new_scene(channel.id)
    await ask(database, channel, post_id=2)
    await database.messages.edit(2, "Changed.", 2000.0)
    assert (await database.summaries.of(channel, "mirela")).told == "Once."


async def test_facts_are_of_one_character_in_one_channel(
    database: Database, channel: Channel
) -> None:
    other = await database.channels.seen("discord:2", guild_key=None, name="b", kind="dm")
    fact = await learn(database, channel, "My sister is Lena.")
    assert (fact.author_name, fact.pinned, fact.message_id) == ("Ann", False, None)
    assert await database.facts.of(channel, "mirela") == [fact]
    assert await database.facts.of(channel, "bramble") == []
    assert await database.facts.of(other, "mirela") == []
    for place, persona in ((channel, "bramble"), (other, "mirela")):
        with pytest.raises(DatabaseError, match="no fact"):
            await database.facts.forget(place, persona, fact.id)


async def test_a_pinned_fact_outlives_its_scene(database: Database, channel: Channel) -> None:
    loose, kept = [await learn(database, channel, text) for text in ("one", "two")]
    await database.facts.pin(channel, "mirela", kept.id, pinned=True)
    await ask(database, channel)
    later = await database.channels.new_scene(channel.id)
    assert [fact.text for fact in await database.facts.of(later, "mirela")] == ["two"]
    with pytest.raises(DatabaseError, match="no fact"):
        await database.facts.forget(later, "mirela", loose.id)
    await database.facts.pin(later, "mirela", kept.id, pinned=False)
    assert await database.facts.of(later, "mirela") == []


async def test_a_fact_is_learnt_once_and_says_who_corrected_it(
    database: Database, channel: Channel
) -> None:
    fact = await learn(database, channel, "I'm from Turku.")
    same = {"author_key": "discord:7", "author_name": "Ann", "at": 6.0}
    assert await database.facts.add(channel, "mirela", "I'm from Turku.", **same) is None  # type: ignore[arg-type]
    corrected = await database.facts.correct(
        channel, "mirela", fact.id, "Ann is from Oulu.", author_key="discord:8",
        author_name="Bo", at=9.0,
    )  # fmt: skip
    assert (corrected.id, corrected.text, corrected.author_name) == (
        fact.id, "Ann is from Oulu.", "Bo",
    )  # fmt: skip
    assert (await database.facts.forget(channel, "mirela", fact.id)) == corrected
    assert await database.facts.of(channel, "mirela") == []


async def test_a_fact_goes_with_its_message_and_with_a_change_of_it(
    database: Database, channel: Channel
) -> None:
    for number, gone in ((1, True), (2, True), (3, False)):
        said = await ask(database, channel, f"I like {number}.", post_id=number)
        await learn(database, channel, f"I like {number}.", message_id=said.id)
        if number == 1:
            await database.messages.delete_post(1)
        elif number == 2:
            await database.messages.edit(2, "No.", 2000.0)
        known = [fact.text for fact in await database.facts.of(channel, "mirela")]
        assert (f"I like {number}." in known) != gone
    other = await database.channels.seen("discord:2", guild_key=None, name="b", kind="dm")
    strange = await ask(database, other, post_id=9)
    same = {"author_key": "discord:7", "author_name": "Ann", "at": 6.0}
    assert (
        await database.facts.add(channel, "mirela", "x", message_id=strange.id, **same) is None  # type: ignore[arg-type]
    )


async def test_the_oldest_loose_fact_makes_room(database: Database, channel: Channel) -> None:
    await learn(database, channel, "pinned", pinned=True)
    for number in range(MOST):
        await learn(database, channel, f"fact {number}")
    texts = [fact.text for fact in await database.facts.of(channel, "mirela")]
    assert len(texts) == MOST
    assert texts[:2] == ["pinned", "fact 1"]


async def test_lore_is_known_to_have_come_up_before(database: Database, channel: Channel) -> None:
    matches = database.lore_matches
    first, second = [await ask(database, channel) for _ in range(2)]
    await matches.add(channel, "mirela", first.id, ["card:mirela#3", "card:mirela#0"])
    await matches.add(channel, "mirela", first.id, ["card:mirela#3"])
    assert await matches.before(channel, "mirela", first.id) == frozenset()
    assert await matches.before(channel, "mirela", second.id) == {"card:mirela#3", "card:mirela#0"}
    assert await matches.before(channel, "bramble", second.id) == frozenset()
    later = await database.channels.new_scene(channel.id)
    assert await matches.before(later, "mirela", second.id + 1) == frozenset()
    await database.privacy.forget_author(first.author_key)
    assert await matches.before(channel, "mirela", second.id) == frozenset()
    await matches.add(channel, "mirela", first.id, ["card:mirela#3"])  # its question is gone
    assert await matches.before(channel, "mirela", second.id) == frozenset()


async def test_how_often_a_character_spoke(database: Database, channel: Channel) -> None:
    question = await ask(database, channel)
    await answer(database, channel, question.id, "Aye.")
    second = await ask(database, channel)
    await answer(database, channel, second.id, "Aye.")
    speech = database.speech
    assert await speech.replies_before(channel, "mirela", question.place) == 0
    assert await speech.replies_before(channel, "mirela", second.place) == 1
    assert await speech.replies_before(channel, "mirela", second.place + 9) == 2
    assert await speech.replies_before(channel, "bramble", second.place + 9) == 0
    later = await database.channels.new_scene(channel.id)
    assert await speech.replies_before(later, "mirela", second.place + 9) == 0


async def test_notes_and_lore(database: Database, channel: Channel) -> None:
    other = await database.channels.seen("discord:2", guild_key=None, name="b", kind="dm")
    direction = database.direction
    await direction.set_note(channel, "mirela", "It rains.", depth=4, by="discord:7", at=1.0)
    await direction.set_note(channel, "mirela", "It snows.", depth=2, by="discord:8", at=2.0)
    note = await direction.note(channel, "mirela")
    assert note is not None
    assert (note.text, note.depth, note.written_by) == ("It snows.", 2, "discord:8")
    assert await direction.note(channel, "bramble") is None
    assert await direction.note(other, "mirela") is None
    await direction.set_note(channel, "mirela", "", depth=0, by="discord:8", at=3.0)
    assert await direction.note(channel, "mirela") is None
    entry = await direction.add_lore(channel, ["well", "井"], "It is dry.", by="a", at=1.0)
    assert await direction.lore(channel) == [entry]
    assert await direction.lore(other) == []
    with pytest.raises(DatabaseError, match="no lore"):
        await direction.remove_lore(other, entry.id)
    assert await direction.remove_lore(channel, entry.id) == entry
    assert await direction.lore(channel) == []


SECRET = "Balthasar"


async def fill(database: Database, channel: Channel) -> None:
    """Everything that the memory can hold, of a person with the key discord:7777."""
    me = "discord:7777"
    said = await ask(database, channel, f"My goat is called {SECRET}.", author=me, post_id=1)
    await answer(database, channel, said.id, "A good name.")
    await learn(database, channel, f"The goat is {SECRET}.", author_key=me, message_id=said.id)
    await learn(database, channel, f"{SECRET} is hungry.", author_key=me, pinned=True)
    await tell(database, channel, f"They spoke of {SECRET}.", said.place)
    await database.direction.set_note(channel, "ada", f"Think of {SECRET}.", depth=1, by=me, at=1.0)
    await database.direction.add_lore(channel, [SECRET], f"{SECRET} eats.", by=me, at=1.0)
    await database.lore_books.add(channel, "goats", f"{SECRET} sleeps.", by=me, at=1.0)
    for number in range(30):
        await ask(database, channel, f"{SECRET} {number}", author=me)
    other = await database.channels.seen("discord:2", guild_key=None, name="b", kind="dm")
    await database.summaries.fix(other, "mirela", f"{SECRET}!", by=me, at=1.0)
    while await database.recall.catch_up(7):
        pass


async def test_forgetting_reaches_every_kind_of_memory(
    database: Database, channel: Channel, file: Path
) -> None:
    await fill(database, channel)
    await ask(database, channel, "I like ships.", author="discord:8")
    await learn(database, channel, "I like ships.", author_key="discord:8")
    assert (await database.privacy.held_of("discord:7777")).kept == 6
    await database.privacy.forget_author("discord:7777")
    held = b"".join(part.read_bytes() for part in file.parent.iterdir())
    for trace in (SECRET, SECRET.lower(), SECRET.lower()[:8], "discord:7777"):
        assert trace.encode() not in held
    assert [fact.text for fact in await database.facts.of(channel, "mirela")] == ["I like ships."]


async def test_the_export_holds_every_kind_of_memory(database: Database, channel: Channel) -> None:
    await fill(database, channel)
    exported = await database.privacy.export_author("discord:7777")
    assert json.loads(json.dumps(exported)) == exported
    texts = {
        name: [entry["text"] for entry in exported[name]]  # type: ignore[attr-defined]
        for name in ("facts", "notes", "lore", "lore_books", "summaries")
    }
    assert texts == {
        "facts": [f"The goat is {SECRET}.", f"{SECRET} is hungry."],
        "notes": [f"Think of {SECRET}."],
        "lore": [f"{SECRET} eats."],
        "lore_books": [f"{SECRET} sleeps."],
        "summaries": [f"{SECRET}!"],
    }
    nobody = await database.privacy.export_author("discord:8")
    assert [nobody[name] for name in texts] == [[], [], [], [], []]

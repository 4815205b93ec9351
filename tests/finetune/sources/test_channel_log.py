"""What of a channel's log is learnt, and behind which prompt."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from config import BotSettings, Config, FinetuneSettings, PrivacySettings
from db.channels import Channel
from db.database import Database
from finetune.dataset import Encoder, Example
from finetune.errors import InputError
from finetune.preparing.windows import Windows
from finetune.sources.channel_log import ChannelLog, opted_out, read_channel, read_channels
from inference.model_loading import LoadedModel
from persona_prompts.cast import SHIPPED, Cast
from persona_prompts.character import CharacterError
from persona_prompts.prompt import Line, build_prompt, greeting_text
from tests.conftest import MakeConfig
from tests.finetune.brass_moon import TURNS, log_turns, reply

CAST = Cast(SHIPPED)
ALL_REPLIES = [reply(text) for _, text in TURNS]


@dataclass
class Log:
    """A database with one channel that is easy to talk in."""

    config: Config
    database: Database
    channel: Channel

    async def ask(self, text: str, author: str = "Ann") -> int:
        asked = await self.database.messages.add_user(
            self.channel.id,
            author_key=f"terminal:{author}",
            author_name=author,
            content=text,
            created_at=1.0,
            owed=True,
        )
        return asked.id

    async def answer(
        self, question: int, text: str, persona: str = "mirela", reason: str = "stop"
    ) -> None:
        said = await self.database.messages.begin_reply(
            self.channel.id,
            question=question,
            persona=persona,
            persona_name=CAST.get(persona).name if persona in CAST.ids() else persona,
            adapter="base",
            sampling={},
        )
        await self.database.messages.finish_reply(
            said.id, text, finish_reason=reason, adapter="base"
        )

    async def exchange(self, question: str, text: str, author: str = "Ann", **how: str) -> None:
        await self.answer(await self.ask(question, author), text, **how)

    async def read(self) -> ChannelLog:
        return await read_channel(self.config, CAST, self.channel.key)


@pytest.fixture
async def log(make_config: MakeConfig) -> AsyncIterator[Log]:
    config = make_config()
    async with await Database.open(config.database_file) as database:
        channel = await database.channels.seen(
            "discord:7", guild_key="discord:1", name="tavern", kind="guild"
        )
        await database.consent.set_server("discord:1", True, by="discord:9")
        yield Log(config, database, channel)


def windows(loaded: LoadedModel, **settings: int) -> Windows:
    chosen = FinetuneSettings.model_validate(settings)
    encoder = Encoder(loaded.prompt_format, loaded.end_ids, chosen.cutoff_len)
    return Windows(encoder.count, loaded.info, chosen)


def taught(examples: list[Example]) -> list[str]:
    return [t.message.content for example in examples for t in example.turns if t.taught]


@pytest.mark.parametrize("most", [1, 3, 100])
async def test_every_reply_is_taught_once_in_order(
    log: Log, embedded: LoadedModel, most: int
) -> None:
    await log_turns(log.database, key="terminal:main")
    [dialogue] = (await read_channel(log.config, CAST, "terminal:main")).dialogues
    examples = windows(embedded, replies_per_example=most).examples(dialogue)
    assert taught(examples) == ALL_REPLIES
    assert all(len(taught([example])) <= most for example in examples)


async def test_an_example_is_the_prompt_that_is_served(log: Log, embedded: LoadedModel) -> None:
    await log.exchange("Hello!", "Ahoy.", author="Ann")
    await log.ask("Is he real?", author="Bo")
    await log.exchange("And you?", "Real as rain.", author="Cy")
    [dialogue] = (await log.read()).dialogues
    [example] = windows(embedded).examples(dialogue)
    served = build_prompt(
        CAST.get("mirela"),
        [
            Line("Ann", "Hello!", own=False),
            Line("Captain Mirela Vex", "Ahoy.", own=True),
            Line("Bo", "Is he real?", own=False),
            Line("Cy", "And you?", own=False),
        ],
        group=True,
        user_name="Cy",
        count=len,
        context_tokens=100_000,
        reply_tokens=100,
    )
    said = [(turn.message.role, turn.message.content) for turn in example.turns]
    assert said[:-1] == [(message.role, message.content) for message in served.messages]
    assert said[-1] == ("assistant", "Real as rain.")
    assert taught([example]) == ["Real as rain."] or taught([example]) == ["Ahoy.", "Real as rain."]
    assert said[1] == ("assistant", greeting_text(CAST.get("mirela"), "Cy"))


async def test_windows_keep_to_the_token_limit(log: Log, embedded: LoadedModel) -> None:
    await log_turns(log.database, key="terminal:main")
    [dialogue] = (await read_channel(log.config, CAST, "terminal:main")).dialogues
    examples = windows(embedded, cutoff_len=320, replies_per_example=100).examples(dialogue)
    encoded = Encoder(embedded.prompt_format, embedded.end_ids, 320).encode_all(examples)
    assert len(examples) > 2
    assert taught(examples) == ALL_REPLIES
    assert sum(one.replies for one in encoded) == len(TURNS)
    # Each ends with its last reply's own end: nothing was cut.
    assert all(one.labels[-1] in embedded.end_ids for one in encoded)


async def test_a_card_that_leaves_no_room_is_counted(log: Log, embedded: LoadedModel) -> None:
    await log.exchange("Hello!", "Ahoy.")
    [dialogue] = (await log.read()).dialogues
    cut = windows(embedded, cutoff_len=64)
    assert cut.examples(dialogue) == []
    assert cut.too_long == 1


async def test_replies_to_somebody_may_be_taught_and_how_they_ended_is_known(log: Log) -> None:
    await log.database.messages.add_said(
        log.channel.id, persona="mirela", persona_name="Vex", content="Welcome!", created_at=1.0
    )
    await log.exchange("One?", "One is right.")
    await log.exchange("Two?", "Two is bro", reason="error")
    await log.exchange("Three?", "Three goes on and", reason="length")
    await log.ask("Four?")
    [dialogue] = (await log.read()).dialogues
    found = [(said.line.text, said.finish) for said in dialogue.said if said.teachable]
    assert found == [
        ("One is right.", "stop"),
        ("Two is bro", "error"),
        ("Three goes on and", "length"),
    ]


async def test_characters_learn_from_their_own_scenes_only(log: Log, embedded: LoadedModel) -> None:
    await log.exchange("Hello!", "Ahoy.")
    await log.ask("Where is the teacher?")
    await log.exchange("Bramble?", "Yes, dear.", persona="bramble")
    await log.exchange("Vex?", "Back again.")
    await log.database.channels.new_scene(log.channel.id)
    await log.exchange("New day.", "And a new tide.")
    read = await log.read()
    spoken = [
        (dialogue.character.id, [said.line.text for said in dialogue.said])
        for dialogue in read.dialogues
    ]
    assert spoken == [
        ("mirela", ["Hello!", "Ahoy.", "Where is the teacher?", "Bramble?"]),
        ("bramble", ["Where is the teacher?", "Bramble?", "Yes, dear.", "Vex?"]),
        ("mirela", ["Vex?", "Back again."]),
        ("mirela", ["New day.", "And a new tide."]),
    ]
    assert read.character_id == "mirela"
    assert [len(windows(embedded).examples(d)) for d in read.dialogues] == [1, 1, 1, 1]


async def test_a_reply_keeps_its_scene_when_its_question_is_deleted(log: Log) -> None:
    question = await log.ask("Before?", author="Bo")
    await log.database.channels.new_scene(log.channel.id)
    await log.answer(question, "Before.")  # written while the scene changed
    await log.exchange("Now?", "Now.")
    await log.database.privacy.forget_author("terminal:Bo")
    [dialogue] = (await log.read()).dialogues
    assert [said.line.text for said in dialogue.said] == ["Now?", "Now."]


async def test_a_bare_discord_id_is_a_key(log: Log) -> None:
    await log.exchange("Hello!", "Ahoy.")
    assert (await read_channel(log.config, CAST, "7")).keys == ("discord:7",)


async def test_an_unknown_channel_is_answered_with_the_known_ones(log: Log) -> None:
    with pytest.raises(InputError, match=r"no channel 'discord:8'; there are discord:7 \(tavern\)"):
        await read_channel(log.config, CAST, "8")


async def test_a_channel_without_replies_is_refused(log: Log) -> None:
    await log.ask("Anybody?")
    with pytest.raises(InputError, match="no finished reply of a character"):
        await log.read()


async def test_a_character_that_is_gone_is_named(log: Log) -> None:
    await log.exchange("Hello!", "Boo.", persona="casper")
    with pytest.raises(CharacterError, match="casper"):
        await log.read()


async def test_a_missing_database_is_not_created(make_config: MakeConfig) -> None:
    config = make_config()
    with pytest.raises(InputError, match="There is no database"):
        await read_channel(config, CAST, "terminal:main")
    assert not config.database_file.exists()


async def test_nothing_is_read_without_consent(log: Log) -> None:
    await log.exchange("Hello!", "Ahoy.")
    await log.database.consent.set_server("discord:1", False, by="discord:9")
    with pytest.raises(InputError, match=r"administrator .* `/privacy server on`"):
        await log.read()
    with pytest.raises(InputError, match="None of the 1 channels has agreed"):
        await read_channels(log.config, CAST)


async def test_of_all_channels_only_those_that_agreed_are_read(log: Log) -> None:
    await log.exchange("Hello!", "Ahoy.")
    await log_turns(log.database, key="discord:8", kind="dm")
    await log_turns(log.database, key="terminal:main")
    read = await read_channels(log.config, CAST)
    assert read.keys == ("discord:7", "terminal:main")
    assert read.refused == ("discord:8",)
    assert {dialogue.source for dialogue in read.dialogues} == {"discord:7", "terminal:main"}


async def test_who_opted_out_is_neither_taught_nor_context(log: Log) -> None:
    await log.exchange("Hello!", "Ahoy.")
    await log.ask("I hide a lamp.", author="Bo")
    await log.exchange("What did he say?", "That he hides a lamp.")
    await log.exchange("I see.", "You do.")
    await log.database.consent.set_author("terminal:Bo", False)
    read = await log.read()
    said = [[said.line.text for said in dialogue.said] for dialogue in read.dialogues]
    assert said == [["Hello!", "Ahoy."], ["I see.", "You do."]]
    assert read.withheld == 2  # the message, and the reply that knew of it
    assert all(("terminal:Bo", "Bo") in dialogue.present for dialogue in read.dialogues)


async def test_every_character_s_reply_to_who_opted_out_is_withheld(log: Log) -> None:
    secret = await log.ask("I hide a lamp.", author="Bo")
    await log.answer(secret, "A lamp?")
    await log.answer(secret, "Yes, a lamp.", persona="bramble")
    await log.exchange("I see.", "You do.", persona="bramble")
    await log.database.consent.set_author("terminal:Bo", False)
    read = await log.read()
    said = [[said.line.text for said in dialogue.said] for dialogue in read.dialogues]
    assert said == [["I see.", "You do."]]
    assert read.withheld == 3


async def test_a_reply_after_the_date_to_who_opted_out_before_is_withheld(log: Log) -> None:
    await log.exchange("I hide a lamp.", "A lamp?", author="Bo")  # asked at 1.0, answered now
    asked = await log.database.messages.add_user(
        log.channel.id, author_key="terminal:Ann", author_name="Ann", content="I see.",
        created_at=4e9, owed=True,
    )  # fmt: skip
    await log.answer(asked.id, "You do.")
    await log.database.consent.set_author("terminal:Bo", False)
    [dialogue] = (await read_channel(log.config, CAST, "discord:7", since=2.0)).dialogues
    assert [said.line.text for said in dialogue.said] == ["I see.", "You do."]


async def test_a_forgotten_person_is_in_no_later_set(log: Log) -> None:
    await log.exchange("Hello!", "Ahoy.")
    await log.exchange("I hide a lamp.", "Do you.", author="Bo")
    await log.database.privacy.forget_author("terminal:Bo")
    [dialogue] = (await log.read()).dialogues
    assert [said.line.text for said in dialogue.said if not said.line.own] == ["Hello!"]
    assert [said.line.text for said in dialogue.said if said.teachable] == ["Ahoy."]


@pytest.mark.parametrize("everywhere", [True, False])
async def test_who_is_blocked_is_neither_taught_nor_context(log: Log, everywhere: bool) -> None:
    await log.exchange("Hello!", "Ahoy.")
    secret = await log.database.messages.add_user(
        log.channel.id,
        author_key="discord:500",
        author_name="Bo",
        content="I hide a lamp.",
        created_at=1.0,
        owed=True,
    )
    await log.answer(secret.id, "A lamp?")
    await log.exchange("I see.", "You do.")
    config = log.config
    if everywhere:
        config = config.model_copy(update={"bot": BotSettings(blocked=[500])})
    else:
        await log.database.blocks.add("discord:1", "discord:500")
        await log.database.blocks.add("discord:2", "terminal:Ann")  # of another server
    read = await read_channel(config, CAST, log.channel.key)
    said = [[said.line.text for said in dialogue.said] for dialogue in read.dialogues]
    assert said == [["Hello!", "Ahoy."], ["I see.", "You do."]]
    assert await opted_out(config) == ({"discord:500"} if everywhere else frozenset())


async def test_what_is_not_logged_is_not_learnt_while_it_waits(log: Log) -> None:
    await log.exchange("Hello!", "Ahoy.")
    async with log.database.transaction():
        question = await log.ask("I hide a lamp.", author="Bo")
        await log.database.unlogged.mark(question)
    await log.answer(question, "A lamp?")
    [dialogue] = (await log.read()).dialogues
    assert [said.line.text for said in dialogue.said] == ["Hello!", "Ahoy."]


async def test_what_is_too_old_to_be_kept_is_not_learnt(log: Log) -> None:
    await log.exchange("Hello!", "Ahoy.")  # asked in 1970, answered now
    config = log.config.model_copy(update={"privacy": PrivacySettings(keep_days=30)})
    asked = await log.database.messages.add_user(
        log.channel.id,
        author_key="terminal:Ann",
        author_name="Ann",
        content="I see.",
        created_at=time.time(),
        owed=True,
    )
    await log.answer(asked.id, "You do.")
    [dialogue] = (await read_channel(config, CAST, log.channel.key)).dialogues
    assert "Hello!" not in [said.line.text for said in dialogue.said]
    assert [said.line.text for said in dialogue.said][-2:] == ["I see.", "You do."]


async def test_votes_and_variants_come_along(log: Log) -> None:
    question = await log.ask("Hello!")
    await log.answer(question, "Ahoy.")
    [reply] = [m for m in await log.database.messages.history(log.channel, limit=9)
               if m.role == "character"]  # fmt: skip
    for text, reason in (("Arr.", "stop"), ("Broken of", "error")):
        await log.database.feedback.add_variant(
            reply.id, text, adapter="base", sampling={}, finish_reason=reason, created_at=2.0
        )
    await log.database.feedback.vote(reply.id, voter_key="discord:3", liked=True, created_at=3.0)
    [dialogue] = (await log.read()).dialogues
    said = dialogue.said[-1]
    assert (said.likes, said.dislikes, said.variants) == (1, 0, ("Arr.",))


async def test_what_was_said_before_a_date_is_left_out(log: Log) -> None:
    await log.exchange("Hello!", "Ahoy.")
    with pytest.raises(InputError, match="no finished reply"):
        await read_channel(log.config, CAST, "discord:7", since=4e9)

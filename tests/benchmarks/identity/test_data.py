"""Public dialogue as characters' own, and the seed's bot's prompt and rows."""

from __future__ import annotations

import asyncio
import json
import random
from pathlib import Path

import pytest

from benchmarks.identity.data import held_out_rows, own_rows, scripted
from benchmarks.identity.logs import write_logs
from benchmarks.identity.persona_chat import read_persona_chats
from benchmarks.identity.seeds_bot import introducing_rows, log_rows, seeds_prompt
from db.database import Database
from finetune.evaluation.suite import USER_NAME, ScriptedUser
from finetune.evaluation.transcripts import Reply, Transcript
from inference.types import InferenceError
from persona_prompts.character import Character
from persona_prompts.identity.introductions import elicits, introduces
from persona_prompts.prompt import Line

HEAD = "user 1 personas,user 2 personas,Best Generated Conversation\n"
TALK = "\n".join(
    f"User {number % 2 + 1}: {text}"
    for number, text in enumerate(
        [
            "Hello there!",
            "Hi, I am [user 2's name]. I like the rain.",
            "What do you do all day?",
            "I paint my fences blue.",
            "And in winter?",
            "I read about the sea.",
            "Is it far?",
            "Two days by train.",
        ]
    )
)


def chats_file(folder: Path, talk: str = TALK) -> Path:
    file = folder / "chats.csv"
    facts = '"I am a painter.\nI like my garden."'
    file.write_text(f'{HEAD}{facts},{facts},"{talk}"\n' * 1, encoding="utf-8")
    return file


def test_a_dialogue_gets_a_name_a_card_in_the_second_person_and_no_introduction(
    tmp_path: Path,
) -> None:
    for seed in range(6):
        for chat in read_persona_chats(chats_file(tmp_path), seed=seed):
            name = chat.character.name
            assert chat.character.description == "You are a painter. You like your garden."
            assert not any(introduces(reply, [name]) for _, reply in chat.turns)
            assert "[" not in str(chat)


def test_placeholders_that_are_no_names_leave_a_dialogue_out(tmp_path: Path) -> None:
    strange = TALK.replace("Two days", "[A few minutes later]")
    assert read_persona_chats(chats_file(tmp_path, strange), seed=1) == []


def test_another_file_is_refused_in_a_sentence(tmp_path: Path) -> None:
    file = tmp_path / "other.csv"
    file.write_text("a,b\n1,2\n")
    with pytest.raises(InferenceError, match="is not Synthetic-Persona-Chat: it has no column"):
        read_persona_chats(file, seed=1)


def test_a_script_asks_for_the_name_once(tmp_path: Path) -> None:
    long = TALK + "\n" + TALK
    [chat] = read_persona_chats(chats_file(tmp_path, long), seed=1)
    for seed in range(20):
        user = scripted(chat, random.Random(seed))
        assert [elicits(turn) for turn in user.user_turns].count(True) == 1
    [row] = held_out_rows([chat])
    assert [message["role"] for message in row["messages"][:3]] == ["system", "user", "assistant"]
    assert chat.character.name in row["messages"][0]["content"]


def test_the_shipped_dialogues_carry_their_names() -> None:
    rows = own_rows()
    assert len(rows) >= 100
    assert all(row["name"] in row["messages"][0]["content"] for row in rows)


def test_the_seeds_prompt_sends_everything_and_the_message_twice() -> None:
    character = Character(id="x", name="Odo Finch", description="A lamplighter.")
    lines = [
        Line("Robin", "Evening.", own=False),
        Line("Odo Finch", "Evening, sir.", own=True),
        Line("Robin", "Cold, isn't it?", own=False),
    ]
    [message] = seeds_prompt(character, lines)
    assert message.content.count("Cold, isn't it?") == 2
    assert message.content.count("Odo Finch") >= 4
    assert "Evening, sir." in message.content


def test_without_public_sets_the_shipped_sample_introduces_itself(tmp_path: Path) -> None:
    rows = introducing_rows(tmp_path / "none", tmp_path / "none", [], 10, seed=1)
    assert len(rows) >= 120
    assert rows != introducing_rows(tmp_path / "none", tmp_path / "none", [], 10, seed=2)


def test_public_rows_are_filled_for_every_character(tmp_path: Path) -> None:
    roleplay, identity = tmp_path / "roleplay.json", tmp_path / "identity.json"
    opening = {"instruction": "Be a baker.", "input": "", "output": "As a baker, I rise early."}
    plain = {"instruction": "Add.", "input": "", "output": "Four."}
    roleplay.write_text(json.dumps([opening, plain]))
    hello = {"instruction": "hi", "input": "", "output": "Hello! I am {{name}} of {{author}}."}
    identity.write_text(json.dumps([hello]))
    characters = [Character(id=name, name=name) for name in ("Odo", "Ilse")]
    rows = introducing_rows(roleplay, identity, characters, 10, seed=1)
    outputs = sorted(row["output"] for row in rows)
    assert outputs[0] == "As a baker, I rise early."
    assert [output.split(" of ")[0] for output in outputs[1:]] == [
        "Hello! I am Ilse",
        "Hello! I am Odo",
    ]


def test_logs_hold_what_was_said_and_the_rows_each_prompt(tmp_path: Path) -> None:
    user = ScriptedUser(id="odo", name="Odo", persona="A lamplighter.", user_turns=["Hi", "Cold?"])
    said = Transcript(user, "seed", (Reply("I am Odo.", "stop"), Reply("Very.", "length")))
    file = tmp_path / "log.sqlite3"
    assert asyncio.run(write_logs(file, tmp_path / "personas", [said], "seed")) == 2

    async def history() -> list[tuple[str, str, str | None]]:
        async with await Database.open(file) as database:
            channel = await database.channels.get("terminal:odo")
            assert channel is not None
            found = await database.messages.history(channel, limit=10)
            return [(m.author_name, m.content, m.finish_reason) for m in found]

    assert asyncio.run(history()) == [
        (USER_NAME, "Hi", None),
        ("Odo", "I am Odo.", "stop"),
        (USER_NAME, "Cold?", None),
        ("Odo", "Very.", "length"),
    ]
    rows = log_rows([said])
    assert [row["output"] for row in rows] == ["I am Odo.", "Very."]
    assert "I am Odo." in rows[1]["instruction"]

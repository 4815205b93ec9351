"""Dialogue data that is shipped: suites, held-out dialogue, scripted users, negative sample."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Annotated, Literal

import pytest
import regex
from pydantic import BaseModel, ConfigDict, StringConstraints

from finetune.sources.alpaca import read_alpaca
from persona_prompts.cast import SHIPPED, Cast
from persona_prompts.character import Character
from persona_prompts.identity.introductions import elicits, gives_name, introductions
from persona_prompts.prompt import system_text

ROOT = Path(__file__).parents[2]
SUITES = ROOT / "finetune" / "suites"
DATA = ROOT / "benchmarks" / "data"
HALVES = ("development", "test")
PROBED = range(3, 6)  # where a suite's user may ask for identity

Said = Annotated[str, StringConstraints(min_length=1, pattern=r"^\S(.*\S)?$")]


class User(BaseModel):
    """A scripted user, and the character it talks to."""

    model_config = ConfigDict(extra="forbid", strict=True)
    id: Annotated[str, StringConstraints(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
    name: Said
    aliases: list[Said]
    language: Literal["en", "zh", "ko"]
    persona: Annotated[Said, StringConstraints(min_length=60)]
    user_turns: list[Said]


class Message(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    role: Literal["system", "user", "assistant"]
    content: Annotated[str, StringConstraints(min_length=1)]


class Dialogue(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    messages: list[Message]

    @property
    def name(self) -> str:
        opening, *_ = self.messages[0].content.split("\n")
        return opening.removeprefix("You are ").removesuffix(".")

    @property
    def exchanges(self) -> list[tuple[str, str]]:
        said = [message.content for message in self.messages[1:]]
        return list(zip(said[::2], said[1::2], strict=True))


def read_users(file: Path) -> list[User]:
    return [User.model_validate_json(line) for line in file.read_text("utf-8").splitlines()]


def suite(half: str) -> list[User]:
    return read_users(SUITES / f"{half}.jsonl")


SUITE_USERS = [user for half in HALVES for user in suite(half)]
SIMULATED = read_users(DATA / "simulated_users.jsonl")
HELD_OUT = [
    Dialogue.model_validate_json(line)
    for line in (SUITES / "held_out.jsonl").read_text("utf-8").splitlines()
]
INTRODUCING = json.loads((DATA / "introducing_roleplay.json").read_text("utf-8"))


def introducing_name(instruction: str) -> str:
    found = regex.match(r"You are (.+?)(?:,| of the starship)", instruction)
    assert found is not None, instruction
    return str(found[1])


@pytest.mark.parametrize(("half", "least"), [("development", 14), ("test", 16)])
def test_a_half_holds_enough_personas_in_three_languages(half: str, least: int) -> None:
    users = suite(half)
    spoken = Counter(user.language for user in users)
    assert len(users) >= least
    assert {len(user.user_turns) for user in users} == {8}
    assert spoken["zh"] == 2
    assert spoken["ko"] in (1, 2)


@pytest.mark.parametrize("user", SUITE_USERS, ids=lambda user: user.id)
def test_identity_is_asked_for_in_the_middle_and_nowhere_else(user: User) -> None:
    asked = [turn for turn, text in enumerate(user.user_turns) if elicits(text)]
    assert 1 <= len(asked) <= 2
    assert all(turn in PROBED for turn in asked)


def test_most_simulated_users_never_ask_for_identity() -> None:
    asking = [sum(map(elicits, user.user_turns)) for user in SIMULATED]
    assert len(SIMULATED) >= 40
    assert {len(user.user_turns) for user in SIMULATED} == {10}
    assert max(asking) == 1
    assert 3 <= sum(asking) <= len(SIMULATED) / 4


@pytest.mark.parametrize("user", SUITE_USERS + SIMULATED, ids=lambda user: user.id)
def test_no_user_says_the_characters_name(user: User) -> None:
    for name in (user.name, *user.aliases):
        edge = r"\b" if user.language == "en" else ""
        said = regex.compile(edge + regex.escape(name) + edge, regex.IGNORECASE)
        assert not [turn for turn in user.user_turns if said.search(turn)]


def test_no_user_turn_stands_twice_in_the_project() -> None:
    turns = [turn for user in SUITE_USERS + SIMULATED for turn in user.user_turns]
    turns += [asked for dialogue in HELD_OUT for asked, _ in dialogue.exchanges]
    turns += [row["input"] for row in INTRODUCING]
    plain = Counter(" ".join(regex.findall(r"\w+", turn.casefold())) for turn in turns)
    assert not [turn for turn, times in plain.items() if times > 1]


def test_no_character_stands_in_two_files_or_in_the_cast() -> None:
    users = SUITE_USERS + SIMULATED
    names = [name for user in users for name in {user.name, *user.aliases}]
    names += [dialogue.name for dialogue in HELD_OUT]
    names += list({introducing_name(row["instruction"]) for row in INTRODUCING})
    names += [character.name for character in Cast(SHIPPED).all()]
    assert not [name for name, times in Counter(names).items() if times > 1]
    assert len({user.id for user in users}) == len(users)


@pytest.mark.parametrize("dialogue", HELD_OUT, ids=lambda dialogue: dialogue.name)
def test_held_out_dialogue_is_clean_and_built_as_it_is_served(dialogue: Dialogue) -> None:
    system, *said = dialogue.messages
    description = system.content.split("\n")[1]
    served = Character(id="held-out", name=dialogue.name, description=description)
    assert system.content == system_text(served, "Ann")
    assert [message.role for message in said] == ["user", "assistant"] * (len(said) // 2)
    assert 6 <= len(said) <= 10
    for asked, reply in dialogue.exchanges:
        if elicits(asked):
            assert gives_name(reply, [dialogue.name])
        else:
            assert not introductions(reply, [dialogue.name])
        if reply.isascii():
            assert 8 <= len(reply.split()) <= 35


def test_held_out_replies_are_many_and_all_different() -> None:
    replies = [reply for dialogue in HELD_OUT for _, reply in dialogue.exchanges]
    assert len(HELD_OUT) >= 30
    assert len(set(replies)) == len(replies)


def test_the_negative_sample_introduces_itself_nearly_always() -> None:
    characters = {row["instruction"] for row in INTRODUCING}
    introducing = [
        bool(introductions(row["output"], [introducing_name(row["instruction"])]))
        for row in INTRODUCING
    ]
    assert len(read_alpaca(DATA / "introducing_roleplay.json")) == len(INTRODUCING) >= 120
    assert len(characters) >= 30
    assert sum(introducing) / len(introducing) >= 0.9
    assert not [row["input"] for row in INTRODUCING if elicits(row["input"])]

"""Synthetic-Persona-Chat (Google Research, CC-BY 4.0): two people with facts of their own, talking.

Its people have no names, so each gets one here, and its facts are put into the second person as a
card would have them. Some dialogues are kept for measuring; those are never trained on.
"""

from __future__ import annotations

import csv
import random
import re
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from inference.types import InferenceError
from persona_prompts.character import Character
from persona_prompts.identity.introductions import elicits, without_introductions
from persona_prompts.prompt import system_text

LICENCE = "CC-BY-4.0"
ATTRIBUTION = "Synthetic-Persona-Chat, Google Research (Jandaghi et al. 2023), validation split"

_NAMES = tomllib.loads((Path(__file__).parents[1] / "data" / "names.toml").read_text("utf-8"))
_FEWEST_TURNS = 4
_SECOND_PERSON = (
    (r"\bI am\b|\bI'm\b|\bim\b", "you are"),
    (r"\bI was\b", "you were"),
    (r"\bI've\b", "you have"),
    (r"\bI'll\b", "you will"),
    (r"\bI'd\b", "you would"),
    (r"\bI\b|\bme\b", "you"),
    (r"\bmyself\b", "yourself"),
    (r"\bmine\b", "yours"),
    (r"\bmy\b", "your"),
)
_LINE = re.compile(r"User ([12]): *(.*)")
_PLACEHOLDER = re.compile(r"\[user ?([12])(?:'s)?(?: name)?\]", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class PersonaChat:
    """One dialogue as its second speaker lives it: what is said to the character, what it says."""

    character: Character
    turns: tuple[tuple[str, str], ...]  # (user, reply)


def read_persona_chats(file: Path, *, seed: int) -> list[PersonaChat]:
    """The dialogues of the CSV, in the file's order; names and sides are drawn by `seed`.

    Introductions that nobody asked for are cut out of the replies, and a dialogue ends where
    nothing is left of one; the set's placeholders for names are filled, and dialogues with others
    left out. Raises `InferenceError` if the file is not of that set.
    """
    with file.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    try:
        chats = [
            _chat(number, row, random.Random(f"{seed} {number}")) for number, row in enumerate(rows)
        ]
    except KeyError as error:
        raise InferenceError(
            f"{file} is not Synthetic-Persona-Chat: it has no column {error}."
        ) from None
    return [chat for chat in chats if len(chat.turns) >= _FEWEST_TURNS and "[" not in str(chat)]


def _chat(number: int, row: dict[str, str], rng: random.Random) -> PersonaChat:
    own = rng.randrange(2)
    name, other = _name(rng), rng.choice(_NAMES["given"])

    def named(text: str) -> str:
        return _PLACEHOLDER.sub(lambda found: name if int(found[1]) - 1 == own else other, text)

    lines = [(speaker, named(text)) for speaker, text in
             _merged(row["Best Generated Conversation"].splitlines())]  # fmt: skip
    facts = [_second_person(fact) for fact in row[f"user {own + 1} personas"].splitlines()]
    if lines and lines[0][0] == own:
        lines = lines[1:]
    turns: list[tuple[str, str]] = []
    for (_, user), (_, reply) in zip(lines[::2], lines[1::2], strict=False):
        left = reply if elicits(user, [name]) else without_introductions(reply, [name])
        if not left:
            break
        turns.append((user, left))
    character = Character(id=f"persona-chat-{number}", name=name, description=" ".join(facts))
    return PersonaChat(character, tuple(turns))


def _merged(lines: Sequence[str]) -> Iterator[tuple[int, str]]:
    """(speaker 0 or 1, text), what one says in a row as one."""
    speaker, said = -1, ""
    for line in lines:
        found = _LINE.fullmatch(line.strip())
        if found is None or not found[2]:
            continue
        if int(found[1]) - 1 == speaker:
            said += " " + found[2]
            continue
        if said:
            yield speaker, said
        speaker, said = int(found[1]) - 1, found[2]
    if said:
        yield speaker, said


def _name(rng: random.Random) -> str:
    titled, whole = rng.random() < 0.5, rng.random() < 0.9
    parts = [
        rng.choice(_NAMES["titles"]) if titled else "",
        rng.choice(_NAMES["given"]),
        rng.choice(_NAMES["family"]) if whole else "",
    ]
    return " ".join(part for part in parts if part)


def _second_person(fact: str) -> str:
    text = fact.strip()
    for pattern, word in _SECOND_PERSON:
        text = re.sub(pattern, word, text, flags=re.IGNORECASE)
    return text[:1].upper() + text[1:]


def messages_of(chat: PersonaChat, user_name: str) -> list[dict[str, str]]:
    """The dialogue as an OpenAI-messages row has it, under the system message that serves."""
    messages = [{"role": "system", "content": system_text(chat.character, user_name)}]
    for user, reply in chat.turns:
        messages.append({"role": "user", "content": user})
        messages.append({"role": "assistant", "content": reply})
    return messages

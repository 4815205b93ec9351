"""What is read from files that nobody foresaw: a card, or a sentence."""

from __future__ import annotations

import base64
import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from persona_prompts.cards.card import parse_card
from persona_prompts.cards.document import elements, members, object_text, parse
from persona_prompts.cards.png import chunk_bytes, read_png
from persona_prompts.character import CharacterError, character_of
from persona_prompts.lorebook.book import read_book
from tests.persona_prompts.cards.hostile import png

CORPUS = sorted(
    file for file in Path(__file__).parent.iterdir() if file.suffix in (".json", ".png")
)
JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False)
    | st.integers(-(2**70), 2**70) | st.text(st.characters(exclude_categories=())),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.text(st.characters(exclude_categories=()), max_size=6), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip
FIELDS = ("name", "description", "tags", "extensions", "character_book", "nickname", "assets",
          "alternate_greetings", "creator_notes_multilingual", "x")  # fmt: skip


def read(content: bytes) -> None:
    """A card of a character, or one sentence."""
    said = refusal(
        lambda: character_of(parse_card(content, "guest", pixels=True), "guest", "guest")
    )
    assert said == "" or (said.startswith("guest") and said.endswith(".") and "\n" not in said)


def refusal(reading: Callable[[], object]) -> str:
    """The sentence that refuses what is read; empty if nothing does."""
    try:
        reading()
    except CharacterError as error:
        return str(error)
    return ""


@settings(deadline=None)  # others use the machine, too
@given(st.sampled_from(CORPUS), st.data())
def test_any_damage_to_a_card(file: Path, data: st.DataObject) -> None:
    content = file.read_bytes()
    start = data.draw(st.integers(0, len(content)))
    end = data.draw(st.integers(start, min(start + 40, len(content))))
    read(content[:start] + data.draw(st.binary(max_size=40)) + content[end:])


@settings(deadline=None)  # others use the machine, too
@given(st.sampled_from(CORPUS), st.integers(0, 30), st.binary(max_size=60))
def test_any_damage_with_a_right_checksum(file: Path, number: int, data: bytes) -> None:
    content = file.read_bytes()
    if file.suffix == ".json":
        return read(png(text=base64.b64encode(content[: len(content) - number] + data)))
    picture = read_png(content, "guest")
    chunk = picture.chunks[number % len(picture.chunks)]
    read(content[: chunk.start] + chunk_bytes(chunk.kind, data) + content[chunk.end :])


@settings(deadline=None)  # others use the machine, too
@given(st.dictionaries(st.sampled_from(FIELDS), JSON), st.sampled_from(["2", "3", "4"]))
def test_any_values_of_fields(fields: dict[str, Any], version: str) -> None:
    data = {"name": "Eve", **fields}
    read(json.dumps({"spec": f"chara_card_v{version}", "data": data}).encode())
    read(json.dumps(data).encode())


@settings(deadline=None)  # others use the machine, too
@given(JSON)
def test_any_lorebook(value: Any) -> None:
    entries = {"entries": [{"keys": ["k"], "content": "c", "extensions": value, "id": value}]}
    for content in (value, {"entries": value}, entries):
        file = json.dumps(content).encode()
        said = refusal(functools.partial(read_book, file, "channel", "guest"))
        assert said == "" or said.endswith(".")


@settings(max_examples=30, deadline=None)
@given(st.dictionaries(st.text(max_size=5), JSON, max_size=5), st.sampled_from([None, 1, "\t"]))
def test_members_are_as_spelt(value: dict[str, Any], indent: int | str | None) -> None:
    text, _ = parse(json.dumps(value, indent=indent).encode(), "x")
    found = members(text)
    assert {json.loads(m.key): json.loads(m.value) for m in found.values()} == json.loads(text)
    assert json.loads(object_text(found)) == json.loads(text)
    assert all(member.value in text for member in found.values())
    listed = json.dumps(list(value.values()), indent=indent)
    assert [json.loads(element) for element in elements(listed)] == json.loads(listed)


def test_of_a_key_given_twice_the_last_counts() -> None:
    text = '{"a": 1, "b": 2, "\\u0061": 3.0}'
    assert [(m.key, m.value) for m in members(text).values()] == [
        ('"b"', "2"),
        ('"\\u0061"', "3.0"),
    ]


@pytest.mark.parametrize("text", [r'"\\"', r'"\""', r'["\\\"", "\\\\"]', '"[[[["', r'{"a\"{": 1}'])
def test_brackets_in_strings_are_no_depth(text: str) -> None:
    many = "[" + ",".join([text] * 200) + "]"
    assert parse(many.encode(), "x")[1] == json.loads(many)

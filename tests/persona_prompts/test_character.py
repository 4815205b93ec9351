from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from persona_prompts.character import SUMMARY_LENGTH, CharacterError, read_character
from persona_prompts.prompt import build_prompt


def write(file: Path, **data: Any) -> Path:
    card = {"spec": "chara_card_v2", "spec_version": "2.0", "data": {"name": "Ada", **data}}
    file.write_text(json.dumps(card), encoding="utf-8")
    return file


def test_all_fields(tmp_path: Path) -> None:
    character = read_character(
        write(
            tmp_path / "ada-1.json",
            description=" A clockmaker. ",
            personality="Exact.",
            scenario="A shop.",
            first_mes="Tick.",
            alternate_greetings=["Tock.", " "],
            mes_example="<START>\n{{user}}: Hi.\n{{char}}: Late.",
            system_prompt="Be brief.",
            post_history_instructions="One line.",
            creator_notes="Mends {{char}}'s clocks. Not much else.",
            tags=["clock"],
            extensions={"troupe": {"aliases": ["Countess"], "adapter": "clock"}, "other": {"x": 1}},
            character_book={"entries": []},
        )
    )
    assert character.id == "ada-1"
    assert character.name == "Ada"
    assert character.aliases == ("Countess",)
    assert character.description == "A clockmaker."
    assert character.greeting == "Tick."
    assert character.alternate_greetings == ("Tock.",)
    assert character.examples.startswith("<START>")
    assert (character.system_prompt, character.post_history_instructions) == (
        "Be brief.",
        "One line.",
    )
    assert character.adapter == "clock"
    assert character.summary == "Mends Ada's clocks."
    assert character.tags == ("clock",)


def test_only_a_name_is_needed_and_a_byte_order_mark_is_no_matter(tmp_path: Path) -> None:
    file = write(tmp_path / "ada.json")
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    character = read_character(file)
    assert character.greeting == ""
    assert character.adapter is None
    assert character.summary == ""


def test_a_long_summary_is_cut(tmp_path: Path) -> None:
    character = read_character(write(tmp_path / "ada.json", description="very " * 100))
    assert len(character.summary) <= SUMMARY_LENGTH
    assert character.summary.endswith("…")


@pytest.mark.parametrize(
    ("data", "field"),
    [
        ({"name": ""}, "data.name"),
        ({"name": 3}, "data.name"),
        ({"name": "two\nlines"}, "data.name"),
        ({"name": "Ada: the Countess"}, "data.name"),
        ({"name": "x" * 33}, "data.name"),
        ({"name": "USER"}, "data.name"),
        ({"name": "\u202eAda"}, "data.name"),
        ({"name": "\ud800"}, "data.name"),
        ({"description": None}, "data.description"),
        ({"description": "\ud800"}, "data.description"),
        ({"description": "x" * 16_001}, "data.description"),
        ({"alternate_greetings": "Hi"}, "data.alternate_greetings"),
        ({"alternate_greetings": [1]}, "data.alternate_greetings.0"),
        ({"tags": ["x"] * 65}, "data.tags"),
        ({"extensions": []}, "data.extensions"),
        ({"extensions": {"troupe": {"aliases": ["a\tb:"]}}}, "data.extensions.troupe.aliases"),
        ({"extensions": {"troupe": {"adapter": 1}}}, "data.extensions.troupe.adapter"),
    ],
)
def test_a_bad_field_is_one_sentence(tmp_path: Path, data: dict[str, Any], field: str) -> None:
    file = write(tmp_path / "ada.json", **data)
    with pytest.raises(CharacterError) as caught:
        read_character(file)
    message = str(caught.value)
    assert message.startswith(f"{file.name}: {field} ")
    assert message.endswith(".")
    assert "\n" not in message


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b"\xff\xfe", "not UTF-8"),
        (b"[]", "must be an object"),
        (b"{}", 'spec must be "chara_card_v2"'),
        (b'{"spec": "chara_card", "data": {"name": "A"}}', 'spec must be "chara_card_v2"'),
        (b'{"spec": 2, "name": "A"}', 'spec must be "chara_card_v2"'),
        (b'{"spec": "chara_card_v3", "name": "A"}', "data is missing"),
        (b'{"spec": "chara_card_v2"}', "data is missing"),
        (b'{"spec": "chara_card_v2", "data": 1}', "data must be an object"),
        (b'{"spec": "chara_card_v2", "data": {}}', "data.name is missing"),
        (b"[" * 200_000, "nested too deep"),
        (b" " * (4 * 1024 * 1024 + 1), "larger than 4 MiB"),
    ],
)
def test_a_bad_file_is_one_sentence(tmp_path: Path, content: bytes, said: str) -> None:
    file = tmp_path / "ada.json"
    file.write_bytes(content)
    with pytest.raises(CharacterError) as caught:
        read_character(file)
    assert said in str(caught.value)
    assert file.name in str(caught.value)
    assert str(tmp_path) not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_unreadable_and_misnamed(tmp_path: Path) -> None:
    with pytest.raises(CharacterError, match="no character file"):
        read_character(tmp_path / "nobody.json")
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(CharacterError, match="cannot be read"):
        read_character(tmp_path / "folder.json")
    with pytest.raises(CharacterError, match="small letters, digits and hyphens"):
        read_character(write(tmp_path / "Ada Lovelace.json"))


def test_what_only_v3_knows(tmp_path: Path) -> None:
    file = write(
        tmp_path / "thorn.json",
        name="Professor Thorn",
        nickname="Addie",
        creator_notes="Teaches. Twice.",
        creator_notes_multilingual={"en": "Teaches ghosts.", "de": "Lehrt."},
        group_only_greetings=["A whole class!", ""],
        first_mes="I am {{char}}.",
        tags=["NSFW"],
    )
    text = file.read_text().replace("chara_card_v2", "chara_card_v3")
    file.write_text(text)
    character = read_character(file)
    assert (character.name, character.called) == ("Professor Thorn", "Addie")
    assert character.aliases == ("Addie",)
    assert character.greetings() == ("I am {{char}}.",)
    assert character.greetings(group=True) == ("I am {{char}}.", "A whole class!")
    assert character.summary == character.creator_notes == "Teaches ghosts."
    assert character.age_restricted
    assert character.file == file
    prompt = build_prompt(
        character, [], group=True, user_name="addie", count=len, context_tokens=4000,
        reply_tokens=100,
    )  # fmt: skip
    assert prompt.messages[0].content.startswith("You are Addie.")
    assert prompt.messages[1].content == "I am Addie."
    assert prompt.stop == ("\nsomeone:", "\nAddie:")
    assert "ghosts" not in prompt.messages[0].content


def test_v2_knows_nothing_of_v3(tmp_path: Path) -> None:
    character = read_character(write(tmp_path / "ada.json", nickname=7, group_only_greetings="x"))
    assert character.called == "Ada"


@pytest.mark.parametrize("nickname", ["two\nlines", "Ada:", "x" * 33])
def test_a_nickname_is_a_name(tmp_path: Path, nickname: str) -> None:
    file = write(tmp_path / "ada.json", nickname=nickname)
    file.write_text(file.read_text().replace("chara_card_v2", "chara_card_v3"))
    with pytest.raises(CharacterError, match=r"data\.nickname must be one line"):
        read_character(file)

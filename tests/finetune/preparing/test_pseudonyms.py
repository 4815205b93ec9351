"""People get made-up names, the same ones everywhere, and characters keep theirs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune.errors import InputError
from finetune.preparing.pseudonyms import KEY_FILE, Pseudonyms, first_names, pseudonym_key
from finetune.preparing.scrub import Scrubber
from finetune.sources.dialogue import Dialogue
from tests.finetune.preparing.talk import KEY, VEX, pseudonyms, talk, with_said


def scrubbed(dialogue: Dialogue) -> Dialogue:
    return Scrubber(pseudonyms()).scrub(dialogue)


def texts(dialogue: Dialogue) -> list[str]:
    return [said.line.text for said in dialogue.said]


def test_a_person_has_the_same_name_in_every_dialogue_and_text() -> None:
    name = pseudonyms().of("terminal:Annabel", (VEX.name, *VEX.aliases))
    first = scrubbed(talk("I am Annabel.", "Ahoy, ANNABEL!", user="Annabel"))
    second = scrubbed(talk("Annabel's ship?", "No.", user="Annabel", source="discord:9"))
    assert texts(first) == [f"I am {name}.", f"Ahoy, {name}!"]
    assert texts(second)[0] == f"{name}'s ship?"
    assert {d.said[0].line.speaker for d in (first, second)} == {name}
    assert name in first_names()
    assert first.said[0].author == ""
    assert first.present == ()


def test_another_key_gives_other_names() -> None:
    people = [f"discord:{n}" for n in range(40)]
    ours, theirs = Pseudonyms(KEY), Pseudonyms(b"x" * 32)
    assert [ours.of(one) for one in people] == [pseudonyms().of(one) for one in people]
    assert [ours.of(one) for one in people] != [theirs.of(one) for one in people]


def test_the_character_s_own_names_stay() -> None:
    dialogue = scrubbed(talk("Hi, Mirela.", "I am Captain Mirela Vex.", user="Mirela Vex"))
    assert texts(dialogue) == ["Hi, Mirela.", "I am Captain Mirela Vex."]
    assert dialogue.said[0].line.speaker not in ("Mirela Vex", "Mirela", "Vex")


def test_a_person_whose_name_begins_like_the_character_s_is_renamed() -> None:
    dialogue = scrubbed(talk("I am Mirela Anders.", "Mirela Anders? I am Mirela.",
                             user="Mirela Anders"))  # fmt: skip
    name = dialogue.said[0].line.speaker
    assert texts(dialogue) == [f"I am {name}.", f"{name}? I am Mirela."]


def test_who_is_only_spoken_of_is_renamed_too() -> None:
    dialogue = talk("Where is Borodin?", "Gone.", present=(("discord:4", "Borodin"),))
    assert texts(scrubbed(dialogue))[0] == f"Where is {pseudonyms().of('discord:4')}?"


def test_names_without_spaces_around_them_are_found() -> None:
    dialogue = talk("我是小明明。", "你好,小明明!", user="小明明")
    name = pseudonyms().of("terminal:小明明")
    assert texts(scrubbed(dialogue)) == [f"我是{name}。", f"你好,{name}!"]


def test_a_common_word_as_a_name_leaves_the_word_alone() -> None:
    dialogue = scrubbed(talk("I will stay.", "You will, Will. @will!", user="Will"))
    name = pseudonyms().of("terminal:Will")
    assert texts(dialogue) == ["I will stay.", f"You will, {name}. {name}!"]


def test_two_people_are_never_one() -> None:
    many = tuple((f"discord:{n}", f"Person{n:04}") for n in range(600))
    spoken = " ".join(name for _, name in many)
    [line, _] = texts(scrubbed(talk(spoken, "Aye.", present=many)))
    assert "Person" not in line
    renaming = pseudonyms().renaming(talk(spoken, "Aye.", present=many))
    assert len({renaming.speaker(key, name) for key, name in many}) == 600


def test_a_placeholder_survives_a_person_of_its_name() -> None:
    dialogue = talk("Write to a@b.example.", "Aye, mail.", present=(("discord:4", "e-mail"),))
    assert texts(scrubbed(dialogue))[0] == "Write to [e-mail 1]."


def test_variants_and_system_messages_are_scrubbed_too() -> None:
    dialogue = with_said(talk("Hi", "Ahoy."), 1, variants=("Ask a@b.example, Ann.",))
    plain = replace(VEX, system_prompt="Mail a@b.example, Ann.")
    found = scrubbed(replace(dialogue, character=plain, card_from_file=True))
    assert found.said[1].variants == (f"Ask [e-mail 1], {pseudonyms().of('terminal:Ann')}.",)
    assert found.character.system_prompt == f"Mail [e-mail 1], {pseudonyms().of('terminal:Ann')}."
    shipped = scrubbed(replace(dialogue, character=plain))
    assert shipped.character.system_prompt == plain.system_prompt


@pytest.mark.parametrize(
    ("user", "text", "left"),
    [
        ("rose", "A rose, Rose!", "A rose, {}!"),
        ("Strauß", "Strauß, STRAUß, strauss, STRAUSS", "{}, {}, {}, {}"),
        ("İrem", "İrem, İREM, irem, @İrem", "{}, {}, {}, {}"),
        ("Borislav", "_Borislav_, __borislav__, no Borislavs", "_{}_, __{}__, no Borislavs"),
    ],
)
def test_a_name_is_found_however_it_is_written(user: str, text: str, left: str) -> None:
    name = pseudonyms().of(f"terminal:{user}")
    assert texts(scrubbed(talk(text, "Aye.", user=user)))[0] == left.replace("{}", name)


def test_a_channel_s_id_is_hidden_and_a_terminal_s_key_is_not() -> None:
    channel = "123456789012345678"
    hidden = pseudonyms().source(f"discord:{channel}")
    assert hidden.startswith("channel-")
    assert channel not in hidden
    assert pseudonyms().source(f"Tavern - bar [{channel}].json") == f"Tavern - bar [{hidden}].json"
    assert pseudonyms().source("discord:7") != hidden != Pseudonyms(b"x" * 32).source(channel)
    assert pseudonyms().source("terminal:main") == "terminal:main"


@given(name=st.text(min_size=1, max_size=40), text=st.text(max_size=60))
def test_any_name_can_be_had(name: str, text: str) -> None:
    found = scrubbed(talk(f"{text} {name}", "Aye.", user=name))
    assert found.said[0].line.speaker


def test_the_key_is_made_once_and_is_private(tmp_path: Path) -> None:
    key = pseudonym_key(tmp_path / "data")
    assert len(key) == 32
    assert pseudonym_key(tmp_path / "data") == key
    assert (tmp_path / "data" / KEY_FILE).stat().st_mode & 0o077 == 0
    assert [file.name for file in (tmp_path / "data").iterdir()] == [KEY_FILE]
    (tmp_path / "data" / KEY_FILE).write_bytes(b"short")
    with pytest.raises(InputError, match="does not hold 32 bytes"):
        pseudonym_key(tmp_path / "data")


def test_presidio_is_asked_for_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys
    import types

    from finetune.preparing.entities import Entities

    monkeypatch.setitem(sys.modules, "presidio_analyzer", None)
    with pytest.raises(InputError, match=r"pip install -e '.\[pii\]'"):
        Entities()

    class Engine:
        """Finds the one name and the one place of this test."""

        def analyze(self, text: str, language: str, entities: list[str]) -> list[object]:
            kinds = {"Agatha Brown": "PERSON", "Rotterdam": "LOCATION", "Mirela": "PERSON"}
            return [
                types.SimpleNamespace(
                    start=text.index(name), end=text.index(name) + len(name), entity_type=kind,
                    score=0.85,
                )
                for name, kind in kinds.items()
                if name in text
            ]  # fmt: skip

    module = types.SimpleNamespace(AnalyzerEngine=Engine)
    monkeypatch.setitem(sys.modules, "presidio_analyzer", module)
    found = Scrubber(pseudonyms(), Entities()).scrub(
        talk("Mirela, Agatha Brown lives in Rotterdam.", "Agatha Brown? Rotterdam!")
    )
    assert texts(found) == ["Mirela, [person 1] lives in [place 1].", "[person 1]? [place 1]!"]

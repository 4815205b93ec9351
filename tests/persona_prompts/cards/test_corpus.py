"""Every card of the corpus, which was written for this project, through all that cards go through.

The files are odd on purpose, and legal: see their names.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from persona_prompts.cards.card import Card, Spec, parse_card, read_card
from persona_prompts.cards.converting import edited, json_bytes, png_bytes
from persona_prompts.cards.document import elements, members
from persona_prompts.cards.pictures import drawn, portrait
from persona_prompts.cards.png import SIGNATURE, read_png
from persona_prompts.cards.store import export_card, import_card
from persona_prompts.character import Character, character_of
from persona_prompts.prompt import build_prompt

CORPUS = sorted(
    file for file in Path(__file__).parent.iterdir() if file.suffix in (".json", ".png")
)
SPECS: tuple[Spec, ...] = ("v1", "v2", "v3")


@pytest.fixture(params=CORPUS, ids=lambda file: file.name)
def file(request: pytest.FixtureRequest) -> Path:
    found: Path = request.param
    return found


def character(card: Card) -> Character:
    return replace(character_of(card, "test", "The card"), warnings=())


def plain(card: Card) -> dict[str, Any]:
    """The values of `data`, or of the top of a V1 card."""
    value: dict[str, Any] = card.value if card.spec == "v1" else card.value["data"]
    return value


def test_the_corpus_is_large_enough() -> None:
    cards = [read_card(file) for file in CORPUS]
    assert len(cards) >= 20
    assert {(card.spec, card.suffix) for card in cards} == {
        (spec, suffix) for spec in SPECS for suffix in (".json", ".png")
    }
    for card, file in zip(cards, CORPUS, strict=True):
        assert file.name.startswith(card.spec)


def test_it_is_stored_and_exported_as_it_came(file: Path, tmp_path: Path) -> None:
    imported = import_card(file.read_bytes(), file.name, tmp_path, id="guest")
    assert imported.file.read_bytes() == file.read_bytes()
    own = "png" if file.suffix == ".png" else "json"
    exported = export_card(imported.character, own, imported.card.spec)  # type: ignore[arg-type]
    assert exported.content == file.read_bytes()
    assert exported.name == f"guest{file.suffix}"


def test_it_comes_through_the_other_kind_of_file(file: Path) -> None:
    card = read_card(file)
    text = json_bytes(card)
    assert parse_card(text, "text").fields == card.fields
    inside = parse_card(png_bytes(card, picture=read_png(drawn("x"), "x")), "picture", pixels=True)
    assert json_bytes(inside) == text
    assert character(inside) == character(card)


@pytest.mark.parametrize("spec", SPECS)
def test_another_version_keeps_every_member_as_it_is_spelt(file: Path, spec: Spec) -> None:
    card = read_card(file)
    other = parse_card(json_bytes(card, spec), "other")
    assert other.spec == spec
    before = members(card.text) if card.spec == "v1" else members(members(card.text)["data"].value)
    after = members(other.text) if spec == "v1" else members(members(other.text)["data"].value)
    kept = {key: member for key, member in before.items() if key != "character_book"}
    around = {**members(other.text), **after}
    if "v1-unknown" in file.name:  # its tags are one text, which is no field of V2
        around["tags"] = members(other.text)["tags"]
    assert kept == {key: around[key] for key in kept}
    if card.spec != "v1":
        rest = {k: m for k, m in members(card.text).items() if k not in ("spec", "spec_version")}
        missing = set(rest) - {"data", *plain(card)} - set(members(other.text))
        assert not missing


@pytest.mark.parametrize("spec", SPECS)
def test_another_version_and_back_is_the_same_character(file: Path, spec: Spec) -> None:
    card = read_card(file)
    there = parse_card(json_bytes(card, spec), "there")
    back = parse_card(json_bytes(there, card.spec), "back")
    assert {**plain(back), "character_book": 0} == {
        **plain(back),
        **plain(card),
        "character_book": 0,
    }
    if "decorators" not in file.name or spec != "v2":
        was, now = character(card), character(back)
        assert was.book == now.book
        assert (was.name, was.description, was.greetings(group=True)) == (
            now.name, now.description, now.greetings(group=True),
        )  # fmt: skip


def test_what_v3_demands_is_there(file: Path) -> None:
    data = json.loads(json_bytes(read_card(file), "v3").decode("utf-8-sig"))["data"]
    for field in ("name", "description", "first_mes", "extensions", "group_only_greetings"):
        assert field in data or read_card(file).spec == "v3"
    entries = (
        elements("[]") if not data.get("character_book") else data["character_book"]["entries"]
    )
    for entry in entries:
        assert "use_regex" in entry


def test_an_edit_touches_nothing_else(file: Path) -> None:
    card = read_card(file)
    changed = edited(card, {"description": 'Changed: 🦊 é "x"\n'})
    assert plain(changed) == {**plain(card), "description": 'Changed: 🦊 é "x"\n'}
    before = members(card.text) if card.spec == "v1" else members(members(card.text)["data"].value)
    after = members(changed.text) if card.spec == "v1" else members(
        members(changed.text)["data"].value)  # fmt: skip
    assert {k: m for k, m in before.items() if k != "description"} == {
        k: m for k, m in after.items() if k != "description"
    }
    assert character(changed).description == 'Changed: 🦊 é "x"'
    if card.png is not None and changed.png is not None:
        for kind in (b"IDAT", b"fdAT", b"prVt", b"iTXt", b"zTXt", b"eXIf", b"IHDR"):
            assert [bytes(card.png.data(c)) for c in card.png.chunks if c.kind == kind] == [
                bytes(changed.png.data(c)) for c in changed.png.chunks if c.kind == kind
            ]


def test_it_has_a_portrait_and_a_prompt(file: Path) -> None:
    card = read_card(file)
    found = character_of(card, "test", "The card", file)
    shown = portrait(found, 64)
    assert shown.startswith(SIGNATURE)
    drawn_size = read_png(shown, "portrait")
    assert max(drawn_size.width, drawn_size.height) <= 64
    assert not list(drawn_size.texts())
    prompt = build_prompt(
        found, [], group=True, user_name="Ann", count=len, context_tokens=40_000, reply_tokens=9
    )
    text = "\n".join(message.content for message in prompt.messages)
    assert "{{" not in text
    assert "@@" not in text
    for note in (plain(card).get("creator_notes"), found.creator_notes):
        assert not note or note not in text


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("v3-newer-version.json", "newer version 3.4"),
        ("v3-both-chunks.png", ""),
    ],
)
def test_warnings(name: str, said: str) -> None:
    warnings = read_card(Path(__file__).with_name(name)).warnings
    assert len(warnings) == bool(said)
    assert said in "".join(warnings)


def test_a_picture_of_two_versions_is_the_newer_one() -> None:
    assert read_card(Path(__file__).with_name("v3-both-chunks.png")).fields.name == "Bram Oake"


def test_files_inside_a_picture_are_missed_in_json(tmp_path: Path) -> None:
    content = Path(__file__).with_name("v3-embedded-asset.png").read_bytes()
    found = import_card(content, "lumen.png", tmp_path).character
    assert found.id == "lumen"
    assert "1 of its files" in export_card(found, "json").warnings[0]
    assert export_card(found, "png").warnings == ()


def test_decorators_are_not_given_to_programs_that_would_show_them() -> None:
    card = read_card(Path(__file__).with_name("v3-decorators.json"))
    value = json.loads(json_bytes(card, "v2"))
    contents = [entry["content"] for entry in value["data"]["character_book"]["entries"]]
    assert contents[:2] == ["The river runs backwards on Sundays.", "The toll is a secret."]

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from PIL import Image

from persona_prompts.cards.card import parse_card, read_card
from persona_prompts.cards.converting import edited, new_card, png_bytes
from persona_prompts.cards.pictures import drawn, picture_file, portrait
from persona_prompts.cards.png import SIGNATURE, chunk_bytes, read_png
from persona_prompts.cards.store import (
    export_card,
    id_from,
    import_card,
    save_card,
    set_picture,
)
from persona_prompts.cast import Cast
from persona_prompts.character import CharacterError
from tests.persona_prompts.cards.hostile import card, png

CORPUS = Path(__file__).parent


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


@pytest.mark.parametrize(
    ("name", "id"),
    [("Captain Mirela Vex", "captain-mirela-vex"), ("Éva  d'Or!", "eva-d-or"), ("--7--", "7"),
     ("x" * 90, "x" * 64), ("a" * 63 + " b", "a" * 63)],
)  # fmt: skip
def test_ids(name: str, id: str) -> None:
    assert id_from(name) == id


def test_a_name_without_latin_letters_needs_an_id(tmp_path: Path) -> None:
    content = (CORPUS / "v2-chinese.json").read_bytes()
    with pytest.raises(CharacterError, match="gives no id"):
        import_card(content, "a.json", tmp_path)
    assert import_card(content, "a.json", tmp_path, id="shen").character.name == "沈鱼"


@pytest.mark.parametrize("id", ["../up", "a/b", "", ".hidden", "A", "a" * 65, "a\x00", "con.json"])
def test_an_id_is_no_path(tmp_path: Path, id: str) -> None:
    with pytest.raises(CharacterError, match="is no id"):
        import_card(card(), "a.json", tmp_path / "p", id=id)
    assert not (tmp_path / "p").exists()


def test_nobody_is_replaced_unasked(tmp_path: Path) -> None:
    import_card(card(), "a.json", tmp_path, id="eve")
    with pytest.raises(CharacterError, match="already is a character eve"):
        import_card(png(), "a.png", tmp_path, id="eve")
    with pytest.raises(CharacterError, match="already is a character bob"):
        import_card(card(), "a.json", tmp_path, id="bob", taken=["bob"])
    assert names(tmp_path) == ["eve.json"]
    import_card(png(), "a.png", tmp_path, id="eve", taken=["eve"], replacing=True)
    assert names(tmp_path) == ["eve.png"]
    import_card(card(), "a.json", tmp_path, id="eve", replacing=True)
    assert names(tmp_path) == ["eve.json"]


def test_an_import_is_seen_by_the_cast_at_once(tmp_path: Path) -> None:
    cast = Cast(tmp_path / "new")
    assert cast.ids() == []
    imported = import_card(png(), "a.png", tmp_path / "new")
    assert cast.get("eve") == imported.character


def test_a_folder_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(CharacterError, match="cannot be written"):
        import_card(card(), "a.json", tmp_path / "file")


def test_what_hides_behind_a_picture_is_cut_off(tmp_path: Path) -> None:
    imported = import_card(png() + b"PK\x03\x04" + b"x" * 99, "a.png", tmp_path)
    assert imported.file.read_bytes() == png()
    assert "103 bytes after the picture's end" in imported.character.warnings[0]


def test_a_strangers_file_name_stays_in_its_sentence(tmp_path: Path) -> None:
    with pytest.raises(CharacterError) as caught:
        import_card(b"", "x\n\x1b[31m" + "y" * 500 + ".json", tmp_path)
    assert len(str(caught.value)) < 200
    assert str(caught.value).isprintable()


def test_an_edited_card_keeps_its_place_and_its_picture(tmp_path: Path) -> None:
    eve = import_card(card(), "a.json", tmp_path).character
    picture = set_picture(drawn("eve"), "eve.png", tmp_path, "eve")
    assert picture_file(eve) == picture.read_bytes()
    save_card(edited(read_card(tmp_path / "eve.json"), {"description": "New."}), tmp_path, "eve")
    assert names(tmp_path) == ["eve.json", "eve.png"]
    assert Cast(tmp_path).get("eve").description == "New."
    inside = parse_card(export_card(eve, "png").content, "x")
    assert inside.png is not None
    assert inside.png.bare() == read_png(drawn("eve"), "x").bare()


def test_a_picture_must_be_one_and_have_a_card(tmp_path: Path) -> None:
    with pytest.raises(CharacterError, match=r"no card eve\.json"):
        set_picture(drawn("eve"), "eve.png", tmp_path, "eve")
    with pytest.raises(CharacterError, match="no PNG"):
        set_picture(b"GIF89a", "eve.gif", tmp_path, "eve")
    with pytest.raises(CharacterError, match="pixels cannot be read"):
        set_picture(png(pixels=b"noise"), "eve.png", tmp_path, "eve")


def test_a_new_card() -> None:
    made = new_card(
        {"name": "Eve", "description": "d", "extensions": {"troupe": {"aliases": ["E"]}}}
    )
    value = json.loads(made.payload)
    assert (value["spec"], value["data"]["group_only_greetings"]) == ("chara_card_v3", [])
    with pytest.raises(CharacterError, match=r"data\.name"):
        new_card({"name": ""})
    with pytest.raises(CharacterError, match=r"data\.tags"):
        edited(made, {"tags": "x"})


def test_a_lone_surrogate_is_kept_through_an_edit() -> None:
    held = parse_card(b'{"spec":"chara_card_v2","data":{"name":"E","x":"\\ud83e"}}', "x")
    assert json.loads(edited(held, {"y": "\ud83e"}).payload)["data"] == {
        "name": "E", "x": "\ud83e", "y": "\ud83e",
    }  # fmt: skip


def test_of_several_cards_in_a_picture_the_first_is_meant() -> None:
    import base64

    more = chunk_bytes(b"tEXt", b"chara\0" + base64.b64encode(card("Bob")))
    found = parse_card(png(more), "x.png")
    assert found.fields.name == "Eve"
    assert "2 cards of one kind" in found.warnings[0]
    assert read_png(png_bytes(found, "v3"), "x").content.count(b"chara") == 0


def test_only_a_picture_can_hold_a_picture() -> None:
    with pytest.raises(CharacterError, match="name a PNG"):
        png_bytes(parse_card(card(), "x"))


def test_portraits_hold_nothing_but_pixels(tmp_path: Path) -> None:
    content = (CORPUS / "v3-animated.png").read_bytes()
    shown = portrait(import_card(content, "a.png", tmp_path).character, 8)
    with Image.open(io.BytesIO(shown)) as image:
        assert image.size == (8, 8)
        assert getattr(image, "n_frames", 1) == 1
        assert not image.info
    assert b"ccv3" not in shown


def test_who_has_no_picture_gets_one_of_their_own(tmp_path: Path) -> None:
    eve = import_card(card(), "a.json", tmp_path).character
    assert portrait(eve).startswith(SIGNATURE)
    assert drawn("eve") == drawn("eve") != drawn("bob")


def test_a_large_card_that_is_accepted_is_quick() -> None:
    import time

    entries = [{"keys": ["k" * 200] * 4, "content": "c" * 200, "enabled": True,
                "insertion_order": n} for n in range(3000)]  # fmt: skip
    content = card(character_book={"entries": entries, "extensions": {}})
    assert len(content) > 3_000_000
    begun = time.process_time()
    assert parse_card(content, "x").fields.name == "Eve"
    assert time.process_time() - begun < 1

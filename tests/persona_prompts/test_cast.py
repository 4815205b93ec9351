from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from persona_prompts.cards.pictures import drawn
from persona_prompts.cast import SHIPPED, Cast
from persona_prompts.character import CharacterError
from persona_prompts.prompt import build_prompt


def write(folder: Path, id: str, name: str, **data: Any) -> Path:
    folder.mkdir(exist_ok=True)
    file = folder / f"{id}.json"
    card = {"spec": "chara_card_v2", "spec_version": "2.0", "data": {"name": name, **data}}
    file.write_text(json.dumps(card), encoding="utf-8")
    return file


def aliases(*names: str) -> dict[str, Any]:
    return {"troupe": {"aliases": list(names)}}


def test_get_by_id_name_and_alias(tmp_path: Path) -> None:
    write(tmp_path, "ada", "Ada Byron", extensions=aliases("Countess"))
    write(tmp_path, "zoe", "조이")
    cast = Cast(tmp_path)
    assert cast.ids() == ["ada", "zoe"]
    assert [c.name for c in cast.all()] == ["Ada Byron", "조이"]
    for asked in ("ada", "ADA", "ada  byron", " Ada Byron ", "countess"):
        assert cast.get(asked).id == "ada"
    assert cast.get("조이").id == "zoe"
    assert cast.problems == []


@pytest.mark.parametrize("asked", ["adda", "byro", "countes", "Ada Biron"])
def test_an_unknown_character_has_near_matches(tmp_path: Path, asked: str) -> None:
    write(tmp_path, "ada", "Ada Byron", extensions=aliases("Countess"))
    write(tmp_path, "zoe", "Zoe")
    with pytest.raises(CharacterError, match=r"did you mean ada\?"):
        Cast(tmp_path).get(asked)


def test_an_unknown_character_far_from_all(tmp_path: Path) -> None:
    write(tmp_path, "ada", "Ada")
    with pytest.raises(CharacterError, match="there are ada"):
        Cast(tmp_path).get("x" * 5000)
    with pytest.raises(CharacterError, match="no character at all"):
        Cast(tmp_path / "empty").get("ada")


def test_a_name_of_two_characters_is_asked_back(tmp_path: Path) -> None:
    write(tmp_path, "ada", "Ada")
    write(tmp_path, "ada-b", "Ada")
    write(tmp_path, "bob", "Bob", extensions=aliases("ada-b"))
    cast = Cast(tmp_path)
    assert cast.get("ada").id == "ada"  # an id wins over a name
    assert cast.get("ada-b").id == "ada-b"  # and over an alias
    write(tmp_path, "ada", "Eve")
    write(tmp_path, "eve-b", "Eve")
    with pytest.raises(CharacterError, match="say ada or eve-b"):
        cast.get("eve")
    assert cast.problems == ["The name 'eve' is claimed by several characters: ada, eve-b."]


def test_the_users_folder_overrides_and_a_broken_card_hurts_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    shipped, own = tmp_path / "shipped", tmp_path / "own"
    write(shipped, "ada", "Ada")
    write(shipped, "bob", "Bob")
    cast = Cast(shipped, own)
    assert cast.get("ada").name == "Ada"
    file = write(own, "ada", "My Ada")
    assert cast.get("ada").name == "My Ada"
    file.write_text("{", encoding="utf-8")
    assert cast.get("ada").name == "Ada"
    assert cast.get("bob").name == "Bob"
    assert len(cast.problems) == 1
    assert file.name in cast.problems[0]
    assert str(tmp_path) not in cast.problems[0]  # everybody in a channel can read it
    assert str(file) in caplog.text
    broken = own / "new.json"
    broken.write_text("[]", encoding="utf-8")
    with pytest.raises(CharacterError, match="must be an object"):
        cast.get("new")
    file.unlink()
    broken.unlink()
    assert cast.problems == []


def test_a_changed_file_is_read_again_and_an_unchanged_one_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(tmp_path, "ada", "Ada")
    write(tmp_path, "bob", "Bob")
    cast = Cast(tmp_path)
    first = {c.id: c for c in cast.all()}
    write(tmp_path, "ada", "Eve")  # same size: only its time tells
    os.utime(file, ns=(1, 1))
    second = {c.id: c for c in cast.all()}
    assert second["ada"].name == "Eve"
    assert second["bob"] is first["bob"]
    file.unlink()
    assert cast.ids() == ["bob"]


def test_other_files_and_dangling_links(tmp_path: Path) -> None:
    write(tmp_path, "ada", "Ada")
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / ".hidden.json").write_text("x")
    (tmp_path / "gone.json").symlink_to(tmp_path / "nowhere.json")
    cast = Cast(tmp_path)
    assert cast.ids() == ["ada"]
    assert len(cast.problems) == 1
    assert "gone.json" in cast.problems[0]


def test_a_folder_that_is_a_file_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    cast = Cast(tmp_path / "file")
    assert cast.ids() == []
    assert "cannot be listed" in cast.problems[0]


def test_the_shipped_cast() -> None:
    cast = Cast(SHIPPED)
    assert cast.problems == []
    assert len(cast.ids()) >= 6
    assert cast.get("Mirela").id == cast.get("Captain Mirela Vex").id == "mirela"
    for character in cast.all():
        card = f"{character.description} {character.personality} {character.scenario}"
        assert len(card.split()) <= 150
        assert character.greeting
        assert character.summary
        assert character.tags
        assert character.examples.count("<START>") == 2
        assert "{{user}}" not in card + character.greeting
        prompt = build_prompt(
            character, [], group=True, user_name="Ann", count=len, context_tokens=4000,
            reply_tokens=220,
        )  # fmt: skip
        assert [message.role for message in prompt.messages] == ["system", "assistant"]
        assert "{{" not in prompt.messages[0].content
        assert character.greeting not in prompt.messages[0].content


def test_pictures_are_cards_unless_they_stand_beside_one(tmp_path: Path) -> None:
    corpus = Path(__file__).with_name("cards")
    shutil.copy(corpus / "v3-plain.png", tmp_path / "ursel.PNG")
    shutil.copy(corpus / "v2-indexed.png", tmp_path / "corvin.png")
    (tmp_path / "holiday.png").write_bytes(drawn("holiday"))
    write(tmp_path, "ada", "Ada")
    (tmp_path / "ada.png").write_bytes(drawn("ada"))
    cast = Cast(tmp_path)
    assert cast.ids() == ["ada", "corvin", "ursel"]
    assert cast.get("Corvin").name == "Corvin"
    assert len(cast.problems) == 1
    assert "holiday.png is a picture without a character card" in cast.problems[0]

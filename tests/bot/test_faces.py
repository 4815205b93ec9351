"""How characters look."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from PIL import Image

from bot.faces import Faces
from persona_prompts.cast import Cast


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    card = {"spec": "chara_card_v2", "spec_version": "2.0", "data": {"name": "Ash"}}
    (tmp_path / "ash.json").write_text(json.dumps(card), encoding="utf-8")
    return tmp_path


def painted(color: str) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (300, 300), color).save(stream, "PNG")
    return stream.getvalue()


async def test_a_picture_beside_the_card_is_worn_and_read_again_when_it_changes(
    folder: Path,
) -> None:
    faces = Faces(Cast(folder))
    drawn = await faces.of("ash")
    assert drawn.picture is not None
    assert await faces.of("ash") is drawn
    (folder / "ash.png").write_bytes(painted("red"))
    red = await faces.of("ash")
    assert red.picture is not None
    with Image.open(io.BytesIO(red.picture)) as image:
        assert image.size == (256, 256)
        assert image.convert("RGB").getpixel((9, 9)) == (255, 0, 0)
    assert len({drawn.mark, red.mark}) == 2


@pytest.mark.parametrize("persona", ["ash", "nobody"])
async def test_without_a_usable_picture_there_is_none(folder: Path, persona: str) -> None:
    (folder / "ash.png").write_bytes(painted("red")[:60])
    face = await Faces(Cast(folder)).of(persona)
    assert (face.picture, face.mark) == (None, "")

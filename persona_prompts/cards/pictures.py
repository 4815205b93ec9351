"""The picture of a character: its card's, or one beside its card, or one drawn from its id.

A card's picture is decoded only here, from the bare chunks that make up the still picture, with
its size known beforehand; what is handed on was encoded anew and holds nothing but pixels.
"""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import TYPE_CHECKING

from persona_prompts.cards.png import SIGNATURE, check_pixels, read_png
from persona_prompts.character import Character
from persona_prompts.errors import CharacterError

if TYPE_CHECKING:
    from PIL.Image import Image

SIDE = 512  # pixels
_CELLS = 5


def portrait(character: Character, side: int = SIDE) -> bytes:
    """The character's picture as a PNG that fits into a square of `side` pixels.

    For webhooks and `/persona show`. Raises `CharacterError` for a picture that is damaged.
    """
    from PIL import Image

    content = picture_file(character)
    label = f"The picture of {character.id}"
    png = read_png(content, label)
    check_pixels(png, label)
    try:
        with Image.open(io.BytesIO(png.bare()), formats=("PNG",)) as image:
            plain = image.convert("RGBA" if "A" in image.getbands() or image.info else "RGB")
    except (OSError, ValueError, SyntaxError) as error:
        raise CharacterError(f"{label} is damaged: {error}.") from None
    plain.thumbnail((side, side))
    return _encoded(plain)


def picture_file(character: Character) -> bytes:
    """The PNG file with the character's picture, as it is stored; a drawn one where there is none.

    Raises `CharacterError` if the file cannot be read.
    """
    file = character.file
    if file is not None:
        beside = file if file.suffix.lower() == ".png" else file.with_suffix(".png")
        content = _read(beside)
        if content is not None and content.startswith(SIGNATURE):
            return content
    return drawn(character.id)


def drawn(id: str, side: int = 400) -> bytes:
    """A picture that is always the same for the same id: a pattern that mirrors itself."""
    from PIL import Image

    digest = hashlib.sha256(id.encode()).digest()
    tone = tuple(64 + byte % 128 for byte in digest[:3])
    ground = tuple(255 - (255 - part) // 6 for part in tone)
    image = Image.new("RGB", (_CELLS, _CELLS), ground)
    for column in range(_CELLS // 2 + 1):
        for row in range(_CELLS):
            if digest[3 + column * _CELLS + row] % 2:
                image.putpixel((column, row), tone)
                image.putpixel((_CELLS - 1 - column, row), tone)
    return _encoded(image.resize((side, side), Image.Resampling.NEAREST))


def _encoded(image: Image) -> bytes:
    stream = io.BytesIO()
    image.info.clear()
    image.save(stream, "PNG")
    return stream.getvalue()


def _read(file: Path) -> bytes | None:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CharacterError(f"{file} cannot be read: {error.strerror or error}.") from None

"""Cards into the folder of the user's own characters, and out of it again."""

from __future__ import annotations

import contextlib
import os
import secrets
import unicodedata
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import regex

from persona_prompts.cards.card import Card, Spec, parse_card, read_card
from persona_prompts.cards.converting import embedded_assets, json_bytes, png_bytes
from persona_prompts.cards.pictures import picture_file
from persona_prompts.cards.png import MAX_PNG_BYTES, check_pixels, read_png
from persona_prompts.character import Character, character_of, check_id
from persona_prompts.errors import CharacterError

_NOT_SLUG = regex.compile(r"[^a-z0-9]+")
_LABEL = 80  # characters of a stranger's file name in a sentence


@dataclass(frozen=True, slots=True)
class Imported:
    """A card that has become a character; `character.warnings` say what is used only in part."""

    character: Character
    file: Path
    card: Card


@dataclass(frozen=True, slots=True)
class Exported:
    """A card as a file to give away; `warnings` say what such a file cannot hold."""

    name: str
    content: bytes
    warnings: tuple[str, ...] = ()


def import_card(
    content: bytes,
    label: str,
    folder: Path,
    *,
    id: str | None = None,
    taken: Collection[str] = (),
    replacing: bool = False,
) -> Imported:
    """Store the card in `content`, a stranger's file called `label`, in `folder` as it came.

    `id` None: made from the character's name. `taken` are the ids of characters that exist,
    wherever their cards are; `replacing` lets the import take one over. The folder is made if need
    be; the file appears in it whole or not at all. Raises `CharacterError` in one sentence.
    """
    label = " ".join("".join(c for c in label if c.isprintable()).split())[-_LABEL:] or "The card"
    card = parse_card(content, label, pixels=True)
    id = check_id(id) if id is not None else id_from(card.fields.name)
    character = character_of(card, id, label)
    if not replacing and (id in taken or _files(folder, id)):
        raise CharacterError(
            f"There already is a character {id}; give this one another id, or say that it shall"
            " replace that one."
        )
    file = save_card(card, folder, id)
    return Imported(replace(character, file=file), file, card)


def save_card(card: Card, folder: Path, id: str) -> Path:
    """Write the card as `id`.json or `id`.png, in place of the one of this id, and say where."""
    file = folder / f"{check_id(id)}{card.suffix}"
    staging = folder / f".{id}.{secrets.token_hex(4)}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        before = _files(folder, id)
        with staging.open("xb") as stream:
            stream.write(card.source)
            stream.flush()
            os.fsync(stream.fileno())
        staging.replace(file)
        # Where there is a JSON file, it is the card, and a PNG beside it the card's picture.
        if before and before[0] != file:
            before[0].unlink()
    except OSError as error:
        with contextlib.suppress(OSError):  # why the card was not written is what is told
            staging.unlink(missing_ok=True)
        reason = error.strerror or error
        raise CharacterError(f"The card cannot be written to {folder}: {reason}.") from None
    return file


def export_card(
    character: Character, kind: Literal["json", "png"], spec: Spec | None = None
) -> Exported:
    """The character's card as a file: of its own version or of `spec`.

    A card without a picture gets, as PNG, the one of `pictures`. Raises `CharacterError`.
    """
    if character.file is None:
        raise CharacterError(f"The character {character.id} has no card.")
    card = read_card(character.file)
    if kind == "json":
        lost = embedded_assets(card)
        warnings = (f"{len(lost)} of its files are in the picture only: export it as PNG, too.",)
        return Exported(f"{character.id}.json", json_bytes(card, spec), warnings if lost else ())
    frame = None
    if card.png is None:
        frame = read_png(picture_file(character), f"The picture of {character.id}")
    return Exported(f"{character.id}.png", png_bytes(card, spec, frame))


def set_picture(content: bytes, label: str, folder: Path, id: str) -> Path:
    """Store a PNG as the picture of a character whose card is JSON, and say where.

    Raises `CharacterError` for what is no PNG within the limits of cards.
    """
    if len(content) > MAX_PNG_BYTES or not content.startswith(b"\x89PNG"):
        raise CharacterError(f"{label} is no PNG picture of at most {MAX_PNG_BYTES >> 20} MiB.")
    png = read_png(content, label)
    check_pixels(png, label)
    if not (folder / f"{check_id(id)}.json").is_file():
        raise CharacterError(f"There is no card {id}.json that this could be the picture of.")
    file = folder / f"{id}.png"
    staging = folder / f".{id}.{secrets.token_hex(4)}.part"
    staging.write_bytes(png.bare())
    staging.replace(file)
    return file


def id_from(name: str) -> str:
    """The id that a name suggests: `Capitaine Éva` is capitaine-eva.

    Raises `CharacterError` for a name without a Latin letter or digit.
    """
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    slug = _NOT_SLUG.sub("-", plain).strip("-")[:64].strip("-")
    if not slug:
        raise CharacterError(
            f"The name {name!r} gives no id in small Latin letters; say which one it shall have."
        )
    return slug


def _files(folder: Path, id: str) -> list[Path]:
    return [file for suffix in (".json", ".png") if (file := folder / f"{id}{suffix}").exists()]

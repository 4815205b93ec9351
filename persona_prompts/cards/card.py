"""One character card: what it came as, what it says, and the checks between the two."""

from __future__ import annotations

import base64
import binascii
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import regex

from persona_prompts.cards.document import MAX_TEXT_BYTES, parse
from persona_prompts.cards.fields import DataFields, V1Fields, V3DataFields, check
from persona_prompts.cards.png import MAX_PNG_BYTES, SIGNATURE, Png, check_pixels, read_png
from persona_prompts.errors import CharacterError

Spec = Literal["v1", "v2", "v3"]

KEYWORDS = ("ccv3", "chara")  # of the PNG chunks that hold a card, the one that counts first
_MODELS: dict[Spec, type[V1Fields]] = {"v1": V1Fields, "v2": DataFields, "v3": V3DataFields}
_SPEC = regex.compile(r"chara_card_v(\d{1,4})")
_NEWEST = {"v2": 2.0, "v3": 3.0}
_SPACE = regex.compile(rb"\s+")
_OTHER_KINDS = {  # by their first bytes, so that the sentence can say what the file really is
    b"PK\x03\x04": "a zip archive, perhaps a CHARX card",
    b"\xff\xd8\xff": "a JPEG picture",
    b"RIFF": "a WebP picture or another RIFF file",
    b"GIF8": "a GIF picture",
    b"%PDF": "a PDF document",
    b"\x1f\x8b": "a gzip archive",
}


@dataclass(frozen=True, slots=True)
class Card:
    """A card that holds up: `fields` were checked, `payload` is its JSON as it was spelt.

    `source` is the file it came as. `png` is the picture around it, None for a JSON file. `text`
    and `value` are the JSON read: text without a byte order mark, and Python's values. `warnings`
    are sentences about what could be used only in part.
    """

    spec: Spec
    source: bytes
    payload: bytes
    text: str
    value: dict[str, Any]
    fields: V1Fields
    png: Png | None = None
    warnings: tuple[str, ...] = ()

    @property
    def suffix(self) -> str:
        return ".json" if self.png is None else ".png"


def read_card(file: Path) -> Card:
    """The card in `file`, PNG or JSON whatever it is called; pixels are not looked at.

    Raises `CharacterError` (one sentence naming file and field) for a file that is missing,
    unreadable, too large, neither PNG nor JSON, holds no card, or a card that is wrong.
    """
    try:
        with file.open("rb") as stream:
            content = stream.read(MAX_PNG_BYTES + 1)
    except FileNotFoundError:
        raise CharacterError(f"There is no character file {file.name}.") from None
    except OSError as error:
        reason = error.strerror or error
        raise CharacterError(f"The character file {file.name} cannot be read: {reason}.") from None
    return parse_card(content, file.name)


def parse_card(content: bytes, label: str, *, pixels: bool = False) -> Card:
    """The card in the bytes of a file; `label` is the file's name in sentences.

    `pixels`: also unpack a picture once, to be sure that it is one; for files of strangers. Raises
    `CharacterError` as `read_card` does.
    """
    if content.startswith(SIGNATURE):
        return _from_png(content, label, pixels=pixels)
    for start, kind in _OTHER_KINDS.items():
        if content.startswith(start):
            raise CharacterError(f"{label} is {kind}; a card is a PNG or a JSON file.")
    return from_json(content, label)


def from_json(content: bytes, label: str) -> Card:
    """The card that is the JSON text in `content`. Raises `CharacterError`."""
    text, value = parse(content, label)
    if not isinstance(value, dict):
        raise CharacterError(f"{label} is not a character card: its JSON must be an object.")
    spec, warnings = _spec(value, label)
    if spec == "v1":
        fields = check(V1Fields, value, label, "")
    elif "data" not in value:
        raise CharacterError(f"{label}: data is missing.")
    else:
        fields = check(_MODELS[spec], value["data"], label, "data.")
    return Card(spec, content, content, text, value, fields, warnings=warnings)


def _spec(value: dict[str, Any], label: str) -> tuple[Spec, tuple[str, ...]]:
    """The version of the card, and warnings if it is newer than what Troupe knows."""
    given = value.get("spec")
    if given is None and "name" in value:
        return "v1", ()
    match = _SPEC.fullmatch(given) if isinstance(given, str) else None
    if match is None or int(match[1]) < 2:
        raise CharacterError(
            f'{label}: spec must be "chara_card_v2" or "chara_card_v3"; a card without it, of the'
            " format V1, has its name at the top."
        )
    if int(match[1]) > 3:
        return "v3", (f"{label} is of the format V{int(match[1])}, which is read as V3.",)
    spec: Spec = "v3" if int(match[1]) == 3 else "v2"
    version = _version(value.get("spec_version"))
    if version > _NEWEST[spec]:
        return spec, (
            f"{label} is of the newer version {version:g} of its format; what is new is kept, and"
            " not used.",
        )
    return spec, ()


def _version(given: Any) -> float:
    """`spec_version` as V3 orders versions: the text as a number; 0 for what is none."""
    try:
        version = float(given)
    except (TypeError, ValueError, OverflowError):
        return 0.0
    return version if math.isfinite(version) else 0.0


def _from_png(content: bytes, label: str, *, pixels: bool) -> Card:
    png = read_png(content, label)
    payload, warnings = _payload(png, label)
    if pixels:
        check_pixels(png, label)
    card = from_json(payload, label)
    if len(png.content) < len(content):
        spare = len(content) - len(png.content)
        warnings += (f"{label} goes on for {spare} bytes after the picture's end; they are left"
                     " out.",)  # fmt: skip
    return replace(card, source=png.content, png=png, warnings=card.warnings + warnings)


def _payload(png: Png, label: str) -> tuple[bytes, tuple[str, ...]]:
    """The JSON of the chunk that counts: the first `ccv3`, else the first `chara`."""
    found: dict[str, list[memoryview]] = {keyword: [] for keyword in KEYWORDS}
    packed = False
    for chunk, keyword, data in png.texts():
        if keyword.lower() in found and chunk.kind == b"tEXt":
            found[keyword.lower()].append(data)
        packed = packed or (keyword.lower() in found and chunk.kind != b"tEXt")
    for keyword, texts in found.items():
        if texts:
            warnings = () if len(texts) == 1 else (
                f"{label} holds {len(texts)} cards of one kind; the first is used.",)  # fmt: skip
            return _decoded(texts[0], f"{label} ({keyword})"), warnings
    if packed:
        raise CharacterError(
            f"{label} holds its card in a compressed or international chunk; save it with the card"
            " in a tEXt chunk, as the card formats say."
        )
    raise CharacterError(f"{label} is a picture without a character card in it.")


def _decoded(text: memoryview, label: str) -> bytes:
    """The bytes that `text` is the base64 of; line breaks and missing padding are tolerated."""
    if len(text) > MAX_TEXT_BYTES * 3 // 2:
        raise CharacterError(
            f"{label} is larger than {MAX_TEXT_BYTES // 1024 // 1024} MiB; shorten it."
        )
    plain = _SPACE.sub(b"", bytes(text))
    try:
        return base64.b64decode(plain + b"=" * (-len(plain) % 4), validate=True)
    except binascii.Error:
        raise CharacterError(f"{label} is not base64 text; save the card anew.") from None

"""How a character looks in Discord: a name that a webhook may have, and a picture."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
from dataclasses import dataclass
from pathlib import Path

from persona_prompts.cards.pictures import portrait
from persona_prompts.cast import Cast
from persona_prompts.character import Character, CharacterError

log = logging.getLogger(__name__)

_PICTURE_SIDE = 256  # pixels; Discord shows 80 at most
_LONGEST_NAME = 80
# Discord refuses these words anywhere in a webhook's name.
_REFUSED = re.compile(r"(?<=c)(?=lyde)|(?<=d)(?=iscord)", re.IGNORECASE)
_HAIR_SPACE = "\u200a"


@dataclass(frozen=True, slots=True)
class Face:
    """A character's picture as PNG, None if it has none that can be shown.

    `mark` tells one picture from another and stands in the name of the webhook that wears it.
    """

    picture: bytes | None
    mark: str


def webhook_name(name: str) -> str:
    """`name` as Discord takes it: a hair space breaks up the words that it refuses."""
    return _REFUSED.sub(_HAIR_SPACE, name)[:_LONGEST_NAME].strip()


class Faces:
    """The pictures of the cast, read again when their files change."""

    def __init__(self, cast: Cast) -> None:
        self._cast = cast
        self._known: dict[str, tuple[object, Face]] = {}

    async def of(self, persona: str) -> Face:
        """The face of the character with this id; without a picture if that cannot be used."""
        try:
            character = self._cast.get(persona)
        except CharacterError as error:
            log.info("A picture is missing: %s", error)
            return Face(None, "")
        stamp = _stamp(character.file)
        known = self._known.get(persona)
        if known is None or known[0] != stamp:
            face = await asyncio.to_thread(_face, character)
            known = self._known[persona] = (stamp, face)
        return known[1]


def _face(character: Character) -> Face:
    try:
        picture = portrait(character, _PICTURE_SIDE)
    except CharacterError as error:
        log.warning("%s appears with my picture: %s", character.name, error)
        return Face(None, "")
    return Face(picture, hashlib.sha256(picture).hexdigest()[:8])


def _stamp(file: Path | None) -> tuple[tuple[int, int], ...]:
    """When the card and the picture beside it were changed, as far as they are there."""
    if file is None:
        return ()
    stamps = []
    for path in (file, file.with_suffix(".png")):
        try:
            status = path.stat()
        except OSError:
            stamps.append((0, 0))
        else:
            stamps.append((status.st_mtime_ns, status.st_size))
    return tuple(stamps)

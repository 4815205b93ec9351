"""The company: every character in the shipped folder and in the user's own.

Cards are read again when their files change, so a character can be written while the bot runs.
"""

from __future__ import annotations

import difflib
import logging
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from persona_prompts.character import Character, CharacterError, read_character

log = logging.getLogger(__name__)

SUFFIXES = (".json", ".png")
SHIPPED = Path(__file__).with_name("characters")

# What tells a changed file from an unchanged one: time of change in ns, size, inode.
_Stamp = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class _Read:
    """What one file held when it was last read: a character or a sentence about what is wrong."""

    stamp: _Stamp
    character: Character | None
    problem: str


class Cast:
    """All characters of some folders; a later folder's card replaces an earlier one's of its id.

    `Cast(SHIPPED, config.paths.personas)` is the shipped cast with the user's own beside it. A
    folder that does not exist holds no characters. A broken card never hurts the others: it is
    listed in `problems`, and while a replacement is broken, the character it replaces stays.
    """

    def __init__(self, *folders: Path) -> None:
        self._folders = folders
        self._files: dict[Path, _Read] = {}
        self._folder_problems: list[str] = []

    @property
    def problems(self) -> list[str]:
        """One sentence for every card that cannot be used, and for every name claimed twice."""
        characters = self._current()
        broken = [read.problem for read in self._files.values() if read.problem]
        return self._folder_problems + broken + _ambiguities(characters)

    def ids(self) -> list[str]:
        """The ids of all characters, sorted."""
        return sorted(self._current())

    def all(self) -> list[Character]:
        """All characters, sorted by id."""
        characters = self._current()
        return [characters[id] for id in sorted(characters)]

    def get(
        self, id_or_name: str, *, own: Collection[str] = (), strangers: Collection[str] = ()
    ) -> Character:
        """The character with this id, name or alias, upper and lower case alike.

        An id wins over a name and a name over an alias. Of several characters with one name or
        alias, those whose ids are in `own` come first and those in `strangers` last. Raises
        `CharacterError` with a sentence that suggests near matches, or names the characters when
        several share what was asked for.
        """
        characters = self._current()
        wanted = _key(id_or_name)
        nearest = [c for c in characters.values() if c.id in own]
        near = [c for c in characters.values() if c.id not in strangers]
        everybody = list(characters.values())
        searches = [(everybody, _ids)]
        searches += [(pool, of) for pool in (nearest, near, everybody) for of in (_names, _aliases)]
        for pool, names_of in searches:
            found = [c for c in pool if wanted in map(_key, names_of(c))]
            if len(found) == 1:
                return found[0]
            if found:
                ids = " or ".join(sorted(c.id for c in found))
                raise CharacterError(f"Several characters are called {_shown(wanted)}: say {ids}.")
        raise CharacterError(self._unknown(wanted, characters))

    def _unknown(self, wanted: str, characters: dict[str, Character]) -> str:
        broken = [r.problem for f, r in self._files.items() if r.problem and f.stem == wanted]
        if broken:
            return broken[-1]
        if not characters:
            folders = " or ".join(str(folder) for folder in self._folders)
            return f"There is no character at all; put a card into {folders}."
        ids = {
            _key(name): c.id
            for c in characters.values()
            for name in (*_aliases(c), c.name, *c.name.split(), c.id)
        }
        near = difflib.get_close_matches(wanted[:64], list(ids), n=3, cutoff=0.6)
        suggested = list(dict.fromkeys(ids[name] for name in near))
        if suggested:
            return f"There is no character {_shown(wanted)}; did you mean {' or '.join(suggested)}?"
        return f"There is no character {_shown(wanted)}; there are {', '.join(sorted(characters))}."

    def _current(self) -> dict[str, Character]:
        """The characters by id, after re-reading the files that changed."""
        self._folder_problems = []
        stamps: dict[Path, _Stamp] = {}
        for folder in self._folders:
            stamps.update(self._scan(folder))
        self._files = {file: self._read(file, stamp) for file, stamp in stamps.items()}
        characters: dict[str, Character] = {}
        for read in self._files.values():
            if read.character is not None:
                characters[read.character.id] = read.character
        return characters

    def _scan(self, folder: Path) -> dict[Path, _Stamp]:
        """The cards in `folder` by name, with what tells whether they changed.

        A picture beside a JSON file of the same name is that character's picture, no card.
        """
        stamps: dict[Path, _Stamp] = {}
        try:
            for file in sorted(folder.iterdir()):
                if file.suffix.lower() in SUFFIXES and not file.name.startswith("."):
                    stamps[file] = _stamp(file)
        except FileNotFoundError:
            return stamps
        except OSError as error:
            log.debug("The folder %s cannot be listed: %s", folder, error)
            self._folder_problems.append(
                f"The characters in {folder.name} cannot be listed: {error.strerror or error}."
            )
        cards = {file.stem for file in stamps if file.suffix.lower() == ".json"}
        return {
            file: stamp
            for file, stamp in stamps.items()
            if file.suffix.lower() == ".json" or file.stem not in cards
        }

    def _read(self, file: Path, stamp: _Stamp) -> _Read:
        known = self._files.get(file)
        if known is not None and known.stamp == stamp:
            return known
        try:
            return _Read(stamp, read_character(file), "")
        except CharacterError as error:
            # The sentence is shown in channels, where the folders are nobody's business.
            log.info("The character file %s cannot be used: %s", file, error)
            return _Read(stamp, None, str(error))


def _stamp(file: Path) -> _Stamp:
    try:
        status = file.stat()
    except OSError:  # a dangling link, or gone since the folder was listed: reading will say
        return (0, 0, 0)
    return (status.st_mtime_ns, status.st_size, status.st_ino)


def _ids(character: Character) -> tuple[str, ...]:
    return (character.id,)


def _names(character: Character) -> tuple[str, ...]:
    return (character.name,)


def _aliases(character: Character) -> tuple[str, ...]:
    return character.aliases


def _key(name: str) -> str:
    return " ".join(name.split()).casefold()


def _shown(wanted: str) -> str:
    """What was asked for, short enough for a sentence."""
    return repr(wanted if len(wanted) <= 40 else wanted[:39] + "…")


def _ambiguities(characters: dict[str, Character]) -> list[str]:
    owners: dict[str, set[str]] = {}
    for character in characters.values():
        for name in (*character.aliases, character.name):
            owners.setdefault(_key(name), set()).add(character.id)
    return [
        f"The name {name!r} is claimed by several characters: {', '.join(sorted(ids))}."
        for name, ids in sorted(owners.items())
        if len(ids) > 1 and name not in characters
    ]

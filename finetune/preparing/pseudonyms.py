"""Made-up first names for people, the same one for the same person in every set.

Which name it is follows from a keyed hash of the person's key. The hash key stays in the data
folder: without it nobody can tell from a training set who was given which name.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from functools import cache, lru_cache
from pathlib import Path

import regex

from finetune.errors import InputError
from finetune.sources.dialogue import Dialogue
from persona_prompts.speakers import NAMELESS, speaker_name

KEY_FILE = "pseudonyms.key"
_KEY_BYTES = 32
_NAMES = Path(__file__).with_name("first_names.txt")
_NO_SPACES = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}\p{Thai}]")
_CHANNEL_ID = regex.compile(r"(?<!\d)\d{15,22}(?!\d)")
_COMMON = Path(__file__).with_name("common_words.txt")


def pseudonym_key(data: Path) -> bytes:
    """The key of the data folder, made at the first call; readable by its owner only.

    Raises `InputError` if it cannot be read or written.
    """
    file = data / KEY_FILE
    try:
        data.mkdir(parents=True, exist_ok=True)
        staging = file.with_name(f".{KEY_FILE}.{os.getpid()}")
        if not file.exists():
            with os.fdopen(os.open(staging, os.O_CREAT | os.O_WRONLY, 0o600), "wb") as stream:
                stream.write(secrets.token_bytes(_KEY_BYTES))
            try:
                os.link(staging, file)  # unlike a rename, never over another process's key
            except FileExistsError:
                pass  # and that one is as good
            finally:
                staging.unlink()
        key = file.read_bytes()
    except OSError as error:
        raise InputError(
            f"The key of the pseudonyms {file} cannot be used: {error.strerror or error}."
        ) from None
    if len(key) != _KEY_BYTES:
        raise InputError(
            f"{file} does not hold {_KEY_BYTES} bytes; delete it to give everybody a new name."
        )
    return key


class Pseudonyms:
    """Gives people their names, for one key."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self.people: dict[str, str] = {}  # author key → pseudonym, as far as met
        self._renamed = lru_cache(maxsize=64)(self._forms)

    def of(self, author: str, taken: tuple[str, ...] = ()) -> str:
        """The name of `author`: one that is no part of `taken`, the characters' names."""
        names = first_names()
        words = {word.casefold() for name in taken for word in name.split()}
        at = self._number(author)
        chosen = next(
            (
                name
                for step in range(len(names))
                if (name := names[(at + step) % len(names)]).casefold() not in words
            ),
            names[at % len(names)],
        )
        self.people[author] = chosen
        return chosen

    def source(self, key: str) -> str:
        """`key` of a channel or name of a file without the channel's id on Discord."""
        if key.startswith("discord:"):
            return self._channel(key)
        return _CHANNEL_ID.sub(lambda match: self._channel(f"discord:{match[0]}"), key)

    def renaming(self, dialogue: Dialogue) -> Renaming:
        """How everybody of `dialogue` is called."""
        present = list(dialogue.present)
        present += [(s.author, s.line.speaker) for s in dialogue.said if not s.line.own]
        known = dict.fromkeys(
            (author or f"name:{name.casefold()}", name) for author, name in present if name
        )
        return self._renamed(tuple(known), dialogue.names)

    def _channel(self, key: str) -> str:
        return f"channel-{self._number(key):016x}"

    def _number(self, key: str) -> int:
        digest = hmac.new(self._key, key.encode("utf-8", "surrogatepass"), hashlib.sha256)
        return int.from_bytes(digest.digest()[:8], "big")

    def _forms(self, known: tuple[tuple[str, str], ...], taken: tuple[str, ...]) -> Renaming:
        given = self._distinct(list(dict.fromkeys(author for author, _ in known)), taken)
        own = {word.casefold() for name in taken for word in (name, *name.split())}
        forms: dict[str, str] = {}
        exact: dict[str, str] = {}
        for author, name in known:
            for form in _forms_of(name):
                if form.casefold() in own:
                    continue
                if form.casefold() in common_words():
                    exact.setdefault(form[:1].upper() + form[1:], given[author])
                    continue
                for spelling in (_folded(form), form):
                    forms.setdefault(spelling, given[author])
            for spelling in (_folded(name), name):
                forms.setdefault(f"@{spelling}", given[author])
        return Renaming(given, forms, exact, taken)

    def _distinct(self, authors: list[str], taken: tuple[str, ...]) -> dict[str, str]:
        """Names by author; of two people here with the same one, the second gets an initial too."""
        given: dict[str, str] = {}
        used: set[str] = set()
        for author in sorted(authors, key=self._number):
            name = self.of(author, taken)
            number = self._number(author) // len(first_names())
            for step in range(26):
                if name not in used:
                    break
                name = f"{self.of(author, taken)} {chr(ord('A') + (number + step) % 26)}"
            used.add(name)
            given[author] = name
        return given


class Renaming:
    """The names of one dialogue's people, replaced in what is said and in who says it."""

    def __init__(
        self,
        given: dict[str, str],
        forms: dict[str, str],
        exact: dict[str, str],
        kept: tuple[str, ...],
    ) -> None:
        """How people are called, folded and as written: case folding may change the length.

        `kept`: the character's names, in which a person's name may stand.
        """
        self._given = given
        self._forms = forms
        self._exact = exact
        every = dict.fromkeys((*forms, *(name.casefold() for name in kept)) if forms else ())
        spaced = [form for form in every if not _NO_SPACES.search(form)]
        joined = [form for form in every if _NO_SPACES.search(form)]
        # An underscore is a word's end too: _Bob_ is how Markdown stresses a name. Scripts without
        # spaces have no word's end that a name could be told by.
        self._patterns = [
            regex.compile(pattern, flags, names=names)
            for names, pattern, flags in (
                (list(exact), r"(?<![^\W_])\L<names>(?![^\W_])", 0),
                (spaced, r"(?<![^\W_])\L<names>(?![^\W_])", regex.I),
                (joined, r"\L<names>", regex.I),
            )
            if names  # an empty list would match everywhere
        ]
        self.count = 0

    def speaker(self, author: str, name: str) -> str:
        """What stands for a speaker; who had no name still has none."""
        return self._given[author or f"name:{name.casefold()}"] if name else name

    def text(self, text: str) -> str:
        """`text` with everybody's names replaced."""
        for pattern in self._patterns:
            text = pattern.sub(self._replaced, text)
        return text

    def _replaced(self, match: regex.Match[str]) -> str:
        found = match[0]
        name = self._exact.get(found) or self._forms.get(_folded(found))
        if name is None:  # the character's own
            return found
        self.count += 1
        return name


def _folded(text: str) -> str:
    """`text` without case; the Turkish i's are one letter, as the patterns take them."""
    return text.casefold().replace("i\u0307", "i").replace("ı", "i")


def _forms_of(name: str) -> list[str]:
    """How a person's name may stand in a text: whole, as prompts show it, and its parts."""
    forms = [name.strip(), speaker_name(name)]
    parts = forms[1].split()
    if len(parts) > 1:
        forms += [part for part in parts if part.isalpha() and len(part) >= 3]
    kept = (form for form in dict.fromkeys(forms) if form != NAMELESS)
    return [form for form in kept if len(form) >= 2 and any(map(str.isalnum, form))]


@cache
def first_names() -> tuple[str, ...]:
    """The shipped names that people are given."""
    return tuple(_NAMES.read_text(encoding="utf-8").split())


@cache
def common_words() -> frozenset[str]:
    """Words that as names stand for somebody only behind an @ or with a capital."""
    return frozenset(_COMMON.read_text(encoding="utf-8").split())

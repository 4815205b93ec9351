"""Characters brought in, given out, shown and written: `/persona import | export | show | …`.

The cast is everybody's whom the bot serves. So whoever may switch characters on a server may bring
in new ones there, and that server alone may change those; the shipped cast and what lies in
`paths.personas` without a server belong to the operator: whoever sits at the terminal, or owns the
bot's application.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from bot.answers import Answer, Attachment, Sheet
from bot.card_form import Form, form_of, new_fields
from bot.casting import Casting
from bot.errors import CommandError
from bot.fetching import Fetcher
from bot.incoming import Place
from bot.naming import named
from bot.turn import Turns
from config import Config
from db.database import Database
from persona_prompts.cards.card import Card, Spec, parse_card, read_card
from persona_prompts.cards.converting import edited, json_bytes, new_card, png_bytes
from persona_prompts.cards.fields import V1_FIELDS
from persona_prompts.cards.pictures import portrait
from persona_prompts.cards.png import MAX_PNG_BYTES
from persona_prompts.cards.store import export_card, id_from, import_card, save_card
from persona_prompts.character import Character, CharacterError, character_of, check_id

MOST_OF_A_SERVER = 100  # characters
_MOST_NAME = 58  # characters of an id in front of a number
_SPECS: tuple[Spec, ...] = ("v1", "v2", "v3")
_KINDS: tuple[Literal["json", "png"], ...] = ("json", "png")
FORMATS: dict[str, tuple[Literal["json", "png"], Spec | None]] = {
    **{kind: (kind, None) for kind in _KINDS},
    **{f"{kind}-{spec}": (kind, spec) for kind in _KINDS for spec in _SPECS},
}


@dataclass(frozen=True, slots=True)
class Author:
    """Who brings in or changes a character: from which server, and whether they run the bot."""

    home: str | None
    operator: bool = False


OPERATOR = Author(None, operator=True)


class CardCommands:
    """The commands about cards. Each raises `CommandError` or `CharacterError` in a sentence."""

    def __init__(
        self,
        config: Config,
        database: Database,
        casting: Casting,
        turns: Turns,
        fetcher: Fetcher | None = None,
    ) -> None:
        self._config = config
        self._homes = database.card_homes
        self._casting = casting
        self._turns = turns
        self._fetcher = fetcher or Fetcher()
        self._writing = asyncio.Lock()  # between looking whether an id is free and taking it

    @property
    def folder(self) -> Path:
        """Where the cards are that are not shipped."""
        return self._config.paths.personas

    # -- in ----------------------------------------------------------------------------------------

    async def import_bytes(
        self,
        place: Place,
        who: Author,
        content: bytes,
        name: str,
        *,
        id: str = "",
        replacing: bool = False,
    ) -> Answer:
        """Take the card in a file called `name` into the cast, as the character `id`."""
        async with self._writing:
            if not id:
                card = await asyncio.to_thread(parse_card, content, name[-80:] or "The card")
                id = await self._id_for(who, card.fields.name)
            before = await self._may_write(who, check_id(id), replacing)
            if not before:
                await self._require_room(who)
            character = await asyncio.to_thread(self._import, content, name, id, replacing)
            if not before:
                await self._homes.settle(character.id, who.home, time.time())
        return await self._told(place, character, f"{character.name} is now `{character.id}`.")

    def _import(self, content: bytes, name: str, id: str, replacing: bool) -> Character:
        """Runs in a thread, which also reads the new card, so that nobody else has to."""
        taken = self._casting.cast.ids()
        imported = import_card(content, name, self.folder, id=id, taken=taken, replacing=replacing)
        self._casting.cast.ids()
        return imported.character

    async def import_file(
        self, place: Place, who: Author, path: Path, *, id: str = "", replacing: bool = False
    ) -> Answer:
        """Take a card from this machine's disk; for the operator at the terminal only."""
        if not who.operator:
            raise CommandError("Attach the card; only whoever runs me may name a file.")

        def read() -> bytes:
            with path.expanduser().open("rb") as stream:
                return stream.read(MAX_PNG_BYTES + 1)

        try:
            content = await asyncio.to_thread(read)
        except OSError as error:
            raise CommandError(f"{path} cannot be read: {error.strerror or error}.") from None
        return await self.import_bytes(place, who, content, path.name, id=id, replacing=replacing)

    async def import_url(
        self, place: Place, who: Author, url: str, *, id: str = "", replacing: bool = False
    ) -> Answer:
        """Take a card from an address, where `bot.import_urls` allows that."""
        if not self._config.bot.import_urls:
            raise CommandError(
                "Cards are not fetched from addresses here; download the card and attach it, or set"
                " bot.import_urls."
            )
        name, content = await self._fetcher.fetch(url, MAX_PNG_BYTES)
        return await self.import_bytes(place, who, content, name, id=id, replacing=replacing)

    # -- out ---------------------------------------------------------------------------------------

    async def export(self, place: Place, name: str, kind: str = "") -> Answer:
        """A character's card as a file: as it came, or of a format of `FORMATS`."""
        character = await self._seen(place, name)
        own = character.file is not None and character.file.suffix.lower() == ".png"
        wanted = kind.strip().lower() or ("png" if own else "json")
        if wanted not in FORMATS:
            raise CommandError(f"There is no format {kind[:40]!r}; there are {', '.join(FORMATS)}.")
        exported = await asyncio.to_thread(export_card, character, *FORMATS[wanted])
        lines = [f"This is the card of {character.name}."]
        lines += [f"⚠ {warning}" for warning in exported.warnings]
        return Answer("\n".join(lines), file=Attachment(exported.name, exported.content))

    async def show(self, place: Place, name: str = "") -> Answer:
        """One character's card; the channel's own without a name."""
        if name:
            character = await self._seen(place, name)
        else:
            character = self._casting.character(await self._turns.channel(place))
        return await self._shown(character)

    # -- written -----------------------------------------------------------------------------------

    async def form(self, place: Place, name: str = "", page: str = "") -> Form:
        """The form to write a character in: empty, or with what the card of `name` says."""
        if not name:
            return form_of(None, None, "")
        character = await self._seen(place, name)
        return form_of(character, await asyncio.to_thread(_card_of, character), page)

    async def create(
        self, place: Place, who: Author, values: Mapping[str, str], *, id: str = ""
    ) -> Answer:
        """A new character out of what a form says."""
        fields = new_fields(values)
        async with self._writing:
            await self._require_room(who)
            id = check_id(id) if id else await self._id_for(who, str(fields.get("name", "")))
            if id in self._casting.cast.ids():
                raise CommandError(f"There already is a character {id}; choose another id.")
            card = new_card(fields, f"The card of {id}")
            character = await self._saved(card, id)
            await self._homes.settle(id, who.home, time.time())
        return await self._told(place, character, f"{character.name} is now `{id}`.")

    async def edit(
        self, place: Place, who: Author, form: Form, values: Mapping[str, str]
    ) -> Answer:
        """Change what was changed in `form`; all else of the card stays as it is spelt."""
        changes = form.changes(values)
        if not changes:
            return Answer("Nothing was changed.")
        async with self._writing:
            character = await self._seen(place, form.id)
            await self._may_write(who, character.id, True)
            card = await asyncio.to_thread(_edited, character, changes)
            character = await self._saved(card, character.id)
        return await self._told(place, character, f"{character.name} is changed.")

    async def may_edit(self, who: Author, name: str) -> None:
        """Raise `CommandError` unless `who` may change the character."""
        character = await named(self._casting.cast, self._homes, name, who.home)
        await self._may_write(who, character.id, True)

    # -- rights ------------------------------------------------------------------------------------

    async def _id_for(self, who: Author, name: str) -> str:
        """The id after a character's name, with a number if that is another server's or shipped.

        So two servers may each have a character of one name. The operator's word counts for all,
        so there the id is the name's. Raises `CharacterError` for a name that gives no id.
        """
        id = base = id_from(name)
        homes, taken = await self._homes.all(), set(self._casting.cast.ids())
        number = 1
        while not who.operator and id in taken and homes.get(id) != who.home:
            number += 1
            id = f"{base[:_MOST_NAME].rstrip('-')}-{number}"
        return id

    async def _may_write(self, who: Author, id: str, replacing: bool) -> bool:
        """Whether the character exists already. Raises `CommandError` if `who` may not write it."""
        if id not in self._casting.cast.ids():
            return False
        if not replacing:
            raise CommandError(
                f"There already is a character {id}; give this one another id, or say that it shall"
                " replace that one."
            )
        home = await self._homes.home(id)
        if who.operator or (home is not None and home == who.home):
            return True
        raise CommandError(
            f"Only {'whoever runs me' if home is None else 'the server that it comes from'} may"
            f" change {id}; bring in a character of your own, under another id."
        )

    async def _require_room(self, who: Author) -> None:
        """Raise `CommandError` unless `who` may add a character."""
        if who.operator:
            return
        if who.home is None:
            raise CommandError(
                "The cast is everybody's, so characters are brought in on a server, not in a direct"
                " message."
            )
        if await self._homes.count(who.home) >= MOST_OF_A_SERVER:
            raise CommandError(
                f"This server has brought in {MOST_OF_A_SERVER} characters, which is the most;"
                " replace one of them."
            )

    async def _seen(self, place: Place, name: str) -> Character:
        """The character, if it may be shown in this place."""
        character = await named(self._casting.cast, self._homes, name, place.guild_key)
        if character.age_restricted and not place.age_restricted:
            raise CommandError(
                f"{character.name} is for adults, and is shown in age-restricted channels only."
            )
        return character

    # -- answers -----------------------------------------------------------------------------------

    async def _saved(self, card: Card, id: str) -> Character:
        character = character_of(card, id, f"The card of {id}")
        return replace(character, file=await asyncio.to_thread(self._save, card, id))

    def _save(self, card: Card, id: str) -> Path:
        """Runs in a thread, and reads the card there, too."""
        file = save_card(card, self.folder, id)
        self._casting.cast.ids()
        return file

    async def _told(self, place: Place, character: Character, sentence: str) -> Answer:
        """What became of a card, with the warnings about it; its sheet where that may be seen."""
        lines = [f"{sentence} `/persona set {character.id}` lets it speak in a channel."]
        lines += [f"⚠ {warning}" for warning in character.warnings]
        if character.age_restricted:
            lines.append("It is for adults, so it speaks in age-restricted channels only.")
        text = "\n".join(lines)
        if character.age_restricted and not place.age_restricted:
            return Answer(text)
        sheet = (await self._shown(character)).sheet
        return Answer(text, sheet=sheet and replace(sheet, lead=text))

    async def _shown(self, character: Character) -> Answer:
        rows = {
            "Also called": ", ".join(character.aliases),
            "Description": character.description,
            "Personality": character.personality,
            "Scenario": character.scenario,
            "Greeting": character.greeting,
            "Other greetings": _numbered(character),
            "Lorebook": _entries(character),
            "Adapter": character.adapter or "",
            "Tags": ", ".join(character.tags),
            "From its author": character.creator_notes,
        }
        told = {
            title: text.replace("{{char}}", character.called).replace("{{user}}", "you")
            for title, text in rows.items()
            if text
        }
        lines = [f"**{character.name}** (`{character.id}`)"]
        lines += [f"**{title}:** {text}" for title, text in told.items()]
        warnings = [f"⚠ {warning}" for warning in character.warnings]
        picture = None
        try:
            image = await asyncio.to_thread(portrait, character)
            picture = Attachment(f"{character.id}.png", image)
        except CharacterError as error:
            warnings.append(f"⚠ {error}")
        made_by = " ".join(part for part in (character.creator, character.version) if part)
        sheet = Sheet(
            f"{character.name} ({character.id})",
            tuple(told.items()),
            picture,
            made_by,
            lead="\n".join(warnings),
        )
        return Answer("\n".join(lines + warnings), sheet=sheet)


def _numbered(character: Character) -> str:
    """The greetings after the first, by the numbers that `/persona set` takes."""
    greetings = character.greetings(group=True)[1:]
    return "\n".join(f"{number}. {text}" for number, text in enumerate(greetings, 2))


def _entries(character: Character) -> str:
    if character.book is None or not character.book.entries:
        return ""
    count = len(character.book.entries)
    return f"{count} {'entry' if count == 1 else 'entries'}"


def _card_of(character: Character) -> Card:
    if character.file is None:
        raise CommandError(f"The character {character.id} has no card.")
    return read_card(character.file)


def _edited(character: Character, changes: Mapping[str, object]) -> Card:
    """Its card with the changes; a V1 card becomes V3 where V1 has no such field."""
    card, label = _card_of(character), f"The card of {character.id}"
    if card.spec == "v1" and changes.keys() - {*V1_FIELDS}:
        content = json_bytes(card, "v3") if card.png is None else png_bytes(card, "v3")
        card = parse_card(content, label)
    return edited(card, changes, label)

"""`/persona import | export | show | create | edit` as lines of text; who types is the operator."""

from __future__ import annotations

from pathlib import Path

from bot.answers import Answer
from bot.card_commands import FORMATS, OPERATOR, CardCommands
from bot.incoming import Place

_SCHEMES = ("https://", "http://")


async def persona_line(
    cards: CardCommands, place: Place, what: str, rest: list[str]
) -> Answer | None:
    """Do `/persona WHAT REST`; None if there is no such command."""
    match what.lower(), rest:
        case "show", names:
            return await cards.show(place, " ".join(names))
        case "import", [_, *_]:
            return await _import(cards, place, rest)
        case "export", [_, *_]:
            kind = rest.pop() if len(rest) > 1 and rest[-1].lower() in FORMATS else ""
            return await cards.export(place, " ".join(rest), kind)
        case ("create", []) | ("edit", [_, *_]):
            return await _how_to_write(cards, place, " ".join(rest))
    return None


async def _import(cards: CardCommands, place: Place, words: list[str]) -> Answer:
    """`FILE [as ID] [replace]`; the file's name may hold spaces."""
    words = list(words)
    id, replacing = "", False
    if len(words) > 1 and words[-1].lower() == "replace":
        words.pop()
        replacing = True
    if len(words) > 2 and words[-2].lower() == "as":
        id = words[-1]
        del words[-2:]
    source = " ".join(words)
    if source.startswith(_SCHEMES):
        return await cards.import_url(place, OPERATOR, source, id=id, replacing=replacing)
    return await cards.import_file(place, OPERATOR, Path(source), id=id, replacing=replacing)


async def _how_to_write(cards: CardCommands, place: Place, name: str) -> Answer:
    """A terminal has no forms, but it has the files themselves."""
    if not name:
        return Answer(
            f"Write a card as {cards.folder / 'NAME.json'}, for example"
            ' {"name": "Ash", "description": "{{char}} keeps the lighthouse.", "first_mes": "Mind'
            ' the stairs."}; it is in the cast as soon as it is saved, and /persona list says what'
            " is wrong with it."
        )
    form = await cards.form(place, name)
    return Answer(
        f"Say /persona export {form.id}, edit that file, and say /persona import FILE as {form.id}"
        " replace."
    )

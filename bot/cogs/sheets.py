"""A character's card as an embed, within what Discord takes."""

from __future__ import annotations

import io

import discord

from bot.answers import Sheet

_TITLE, _NAME, _TEXT, _FOOTER = 256, 256, 1024, 200
_WHOLE = 5800  # of 6000 characters; the file's name counts, too


def embed_of(sheet: Sheet) -> tuple[discord.Embed, discord.File | None]:
    """The embed, and the picture that has to be sent with it."""
    embed = discord.Embed(title=_cut(sheet.title, _TITLE))
    if sheet.footer:
        embed.set_footer(text=_cut(sheet.footer, _FOOTER))
    for name, text in sheet.rows:
        room = min(_TEXT, _WHOLE - len(embed) - min(len(name), _NAME))
        if room < 2:
            break
        embed.add_field(name=_cut(name, _NAME), value=_cut(text, room), inline=False)
    if sheet.picture is None:
        return embed, None
    embed.set_thumbnail(url=f"attachment://{sheet.picture.name}")
    return embed, discord.File(io.BytesIO(sheet.picture.content), sheet.picture.name)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"

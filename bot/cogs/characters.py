"""`/persona`: who speaks in a channel, and the cards behind the cast."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import discord
from discord import app_commands
from discord.ext import commands

from bot.answers import Answer
from bot.card_commands import FORMATS, Author, CardCommands
from bot.cogs.answering import answer, choices, place, require_switching
from bot.cogs.card_modal import CardModal
from bot.delivery import channel_key
from bot.errors import CommandError
from persona_prompts.cards.png import MAX_PNG_BYTES

if TYPE_CHECKING:
    from bot.client import TroupeBot

    Interaction = discord.Interaction[TroupeBot]
else:
    Interaction = discord.Interaction

_MOST_ID = 64


class Characters(commands.GroupCog, group_name="persona", group_description="Who speaks here."):
    def __init__(self, bot: TroupeBot) -> None:
        super().__init__()
        self._commands = bot.behind.commands

    @property
    def _cards(self) -> CardCommands:
        return self._commands.cards

    @app_commands.command(name="list", description="The whole cast.")
    async def list_all(self, interaction: Interaction) -> None:
        await answer(interaction, self._commands.persona_list(place(interaction)))

    @app_commands.command(description="What a character is like.")
    @app_commands.describe(name="A character; without it, the one who speaks here.")
    async def show(self, interaction: Interaction, name: str = "") -> None:
        await answer(interaction, self._cards.show(place(interaction), name))

    @app_commands.command(name="set", description="Let another character speak here.")
    @app_commands.describe(
        name="A character, or default.", greeting="Which of its greetings; 1 is its first."
    )
    async def choose(self, interaction: Interaction, name: str, greeting: int = 1) -> None:
        require_switching(interaction)
        await answer(interaction, self._commands.persona_set(place(interaction), name, greeting))

    @app_commands.command(name="import", description="Bring in a character card (PNG or JSON).")
    @app_commands.describe(
        file="The card.",
        url="Its address instead, where whoever runs me allows that.",
        id="What it shall be called in commands; without it, after its name.",
        replace="Whether it may take the place of the one with this id.",
    )
    async def bring_in(
        self,
        interaction: Interaction,
        file: discord.Attachment | None = None,
        url: str = "",
        id: app_commands.Range[str, 0, _MOST_ID] = "",
        replace: bool = False,
    ) -> None:
        require_switching(interaction)
        await answer(interaction, self._imported(interaction, file, url, id, replacing=replace))

    async def _imported(
        self,
        interaction: Interaction,
        file: discord.Attachment | None,
        url: str,
        id: str,
        *,
        replacing: bool,
    ) -> Answer:
        where, who = place(interaction), await author(interaction)
        if (file is None) == (not url):
            raise CommandError("Attach a card: a PNG or a JSON file.")
        if file is None:
            return await self._cards.import_url(where, who, url, id=id, replacing=replacing)
        if file.size > MAX_PNG_BYTES:
            raise CommandError(
                f"{file.filename[-80:]} has {file.size >> 20} MiB, and a card has"
                f" {MAX_PNG_BYTES >> 20} MiB at most."
            )
        content = await file.read()
        return await self._cards.import_bytes(
            where, who, content, file.filename, id=id, replacing=replacing
        )

    @app_commands.command(description="A character's card as a file.")
    @app_commands.describe(name="A character.", format="Without it, the file as it came.")
    @app_commands.choices(
        format=[app_commands.Choice(name=format.upper(), value=format) for format in FORMATS]
    )
    async def export(self, interaction: Interaction, name: str, format: str = "") -> None:
        await answer(interaction, self._cards.export(place(interaction), name, format))

    @app_commands.command(description="Write a new character.")
    @app_commands.describe(id="What it shall be called in commands; without it, after its name.")
    async def create(
        self, interaction: Interaction, id: app_commands.Range[str, 0, _MOST_ID] = ""
    ) -> None:
        require_switching(interaction)
        form = await self._cards.form(place(interaction))

        async def submitted(filled: Interaction, values: dict[str, str]) -> Answer:
            require_switching(filled)
            who = await author(filled)
            return await self._cards.create(place(filled), who, values, id=id)

        await interaction.response.send_modal(CardModal(form, submitted))

    @app_commands.command(description="Change a character's card.")
    @app_commands.describe(name="A character.", page="Which part of it.")
    async def edit(
        self,
        interaction: Interaction,
        name: str,
        page: Literal["character", "prompts"] = "character",
    ) -> None:
        require_switching(interaction)
        form = await self._cards.form(place(interaction), name, page)
        await self._cards.may_edit(await author(interaction), name)

        async def submitted(filled: Interaction, values: dict[str, str]) -> Answer:
            require_switching(filled)
            who = await author(filled)
            return await self._cards.edit(place(filled), who, form, values)

        await interaction.response.send_modal(CardModal(form, submitted))

    @show.autocomplete("name")
    @choose.autocomplete("name")
    @export.autocomplete("name")
    @edit.autocomplete("name")
    async def _names(self, interaction: Interaction, typed: str) -> list[app_commands.Choice[str]]:
        return choices(self._commands.suggest_personas(place(interaction), typed))


async def author(interaction: Interaction) -> Author:
    """Who used the command, as far as cards are concerned."""
    home = None if interaction.guild_id is None else channel_key(interaction.guild_id)
    return Author(home, await interaction.client.is_owner(interaction.user))

"""`/memory`, `/summary`, `/note` and `/lore`: what a character knows besides the newest words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import discord
from discord import app_commands
from discord.ext import commands

from bot.answers import Answer
from bot.cogs.answering import answer, may_switch, place, require_switching
from bot.delivery import channel_key
from bot.direction_commands import DEEPEST, LONGEST_NOTE
from bot.errors import CommandError
from bot.lore_commands import LONGEST_LORE
from bot.memory_commands import LONGEST_FACT, LONGEST_SUMMARY, Teller
from persona_prompts.cards.document import MAX_TEXT_BYTES

if TYPE_CHECKING:
    from bot.client import TroupeBot

    Interaction = discord.Interaction[TroupeBot]
else:
    Interaction = discord.Interaction

FactText = app_commands.Range[str, 1, LONGEST_FACT]
SummaryText = app_commands.Range[str, 1, LONGEST_SUMMARY]
NoteText = app_commands.Range[str, 1, LONGEST_NOTE]
LoreText = app_commands.Range[str, 1, LONGEST_LORE]
LoreName = app_commands.Range[str, 1, 80]
Number = app_commands.Range[int, 1]
Depth = app_commands.Range[int, 0, DEEPEST]


class Memory(commands.Cog):
    memory = app_commands.Group(name="memory", description="What the character knows here.")
    summary = app_commands.Group(name="summary", description="What happened in this scene.")
    note = app_commands.Group(name="note", description="A remark in every prompt.")
    lore = app_commands.Group(name="lore", description="The lorebook of this channel.")

    def __init__(self, bot: TroupeBot) -> None:
        self._memory = bot.behind.commands.memory
        self._direction = bot.behind.commands.direction
        self._lore = bot.behind.commands.lore

    @memory.command(name="list", description="The facts it keeps, with who said them.")
    async def list_facts(self, interaction: Interaction) -> None:
        await answer(interaction, self._memory.facts(place(interaction)))

    @memory.command(name="add", description="Let it know something.")
    @app_commands.describe(text="A sentence; it is remembered as said by you.")
    async def add_fact(self, interaction: Interaction, text: FactText) -> None:
        who = _teller(interaction)
        await answer(interaction, self._memory.add(place(interaction), who, text))

    @memory.command(name="pin", description="Keep a fact first, and in later scenes too.")
    @app_commands.describe(number="From /memory list.")
    async def pin_fact(self, interaction: Interaction, number: Number) -> None:
        who = _teller(interaction)
        await answer(interaction, self._memory.pin(place(interaction), who, number, pinned=True))

    @memory.command(name="unpin", description="Let a fact go with its scene again.")
    @app_commands.describe(number="From /memory list.")
    async def unpin_fact(self, interaction: Interaction, number: Number) -> None:
        who = _teller(interaction)
        await answer(interaction, self._memory.pin(place(interaction), who, number, pinned=False))

    @memory.command(name="correct", description="Put a fact otherwise.")
    @app_commands.describe(number="From /memory list.", text="What is true; on your word.")
    async def correct_fact(self, interaction: Interaction, number: Number, text: FactText) -> None:
        who = _teller(interaction)
        await answer(interaction, self._memory.correct(place(interaction), who, number, text))

    @memory.command(name="forget", description="Delete a fact.")
    @app_commands.describe(number="From /memory list.")
    async def forget_fact(self, interaction: Interaction, number: Number) -> None:
        who = _teller(interaction)
        await answer(interaction, self._memory.forget(place(interaction), who, number))

    @memory.command(description="What of its memory the last reply was written with.")
    async def why(self, interaction: Interaction) -> None:
        await answer(interaction, self._memory.why(place(interaction)))

    @summary.command(name="show", description="The summary of this scene.")
    async def show_summary(self, interaction: Interaction) -> None:
        await answer(interaction, self._memory.summary(place(interaction)))

    @summary.command(name="set", description="Write the summary yourself.")
    @app_commands.describe(text="What happened so far.")
    async def set_summary(self, interaction: Interaction, text: SummaryText) -> None:
        who = _teller(interaction)
        await answer(interaction, self._memory.set_summary(place(interaction), who, text))

    @summary.command(name="clear", description="Forget the summary.")
    async def clear_summary(self, interaction: Interaction) -> None:
        who = _teller(interaction)
        await answer(interaction, self._memory.clear_summary(place(interaction), who))

    @summary.command(name="redo", description="Have the scene summed up anew.")
    async def redo_summary(self, interaction: Interaction) -> None:
        who = _teller(interaction)
        await answer(interaction, self._memory.redo_summary(place(interaction), who))

    @note.command(name="show", description="The note that stands here.")
    async def show_note(self, interaction: Interaction) -> None:
        await answer(interaction, self._direction.note(place(interaction)))

    @note.command(name="set", description="Remind the character of something in every prompt.")
    @app_commands.describe(
        text="The note.", depth="How many messages before the end it stands; 4 at first."
    )
    async def set_note(
        self, interaction: Interaction, text: NoteText, depth: Depth | None = None
    ) -> None:
        who = _teller(interaction)
        await answer(interaction, self._direction.set_note(place(interaction), who, text, depth))

    @note.command(name="depth", description="Move the note.")
    @app_commands.describe(depth="How many messages before the end it stands.")
    async def move_note(self, interaction: Interaction, depth: Depth) -> None:
        who = _teller(interaction)
        await answer(interaction, self._direction.set_depth(place(interaction), who, depth))

    @note.command(name="clear", description="Take the note away.")
    async def clear_note(self, interaction: Interaction) -> None:
        who = _teller(interaction)
        await answer(interaction, self._direction.clear_note(place(interaction), who))

    @lore.command(name="list", description="Everything in this channel's lorebook.")
    async def list_lore(self, interaction: Interaction) -> None:
        await answer(interaction, self._lore.list(place(interaction)))

    @lore.command(name="add", description="Tell something that comes up with certain words.")
    @app_commands.describe(
        text="What characters know then.",
        keys="Words that call it up, with commas between; without any it is always known.",
    )
    async def add_lore(self, interaction: Interaction, text: LoreText, keys: str = "") -> None:
        who = _teller(interaction)
        await answer(interaction, self._lore.add(place(interaction), who, keys, text))

    @lore.command(name="import", description="Bring in a lorebook (V3 or SillyTavern's, JSON).")
    @app_commands.describe(
        file="The lorebook.", id="What commands shall call it; without it, after its name."
    )
    async def import_lore(
        self,
        interaction: Interaction,
        file: discord.Attachment,
        id: app_commands.Range[str, 0, 64] = "",
    ) -> None:
        require_switching(interaction)
        await answer(interaction, self._imported(interaction, file, id))

    async def _imported(
        self, interaction: Interaction, file: discord.Attachment, id: str
    ) -> Answer:
        where, who = place(interaction), _teller(interaction)
        if file.size > MAX_TEXT_BYTES:
            raise CommandError(
                f"{file.filename[-80:]} has {file.size >> 20} MiB, and a lorebook has"
                f" {MAX_TEXT_BYTES >> 20} MiB at most."
            )
        return await self._lore.import_bytes(where, who, await file.read(), file.filename, id=id)

    @lore.command(name="export", description="A lorebook of this channel as a file.")
    @app_commands.describe(book="From /lore list.")
    async def export_lore(self, interaction: Interaction, book: LoreName) -> None:
        await answer(interaction, self._lore.export(place(interaction), book))

    @lore.command(name="remove", description="Delete an entry, or a whole lorebook.")
    @app_commands.describe(which="From /lore list: 3, harbour#3, or harbour for all of that book.")
    async def remove_lore(self, interaction: Interaction, which: LoreName) -> None:
        who = _teller(interaction)
        await answer(interaction, self._lore.remove(place(interaction), who, which))


def _teller(interaction: Interaction) -> Teller:
    user = interaction.user
    return Teller(channel_key(user.id), user.display_name, may_switch(interaction))

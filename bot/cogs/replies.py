"""What people do with replies: the buttons under them, and the commands that do the same."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Literal

import discord
from discord import app_commands
from discord.ext import commands

from bot.answers import Answer
from bot.cogs import answering
from bot.cogs.answering import answer, may_switch, place
from bot.cogs.blocking import require_unblocked
from bot.controls import Outdated, Person
from bot.delivery import channel_key
from bot.errors import CommandError
from bot.reply_buttons import STOP

if TYPE_CHECKING:
    from bot.client import TroupeBot

    Interaction = discord.Interaction[TroupeBot]
else:
    Interaction = discord.Interaction

_EDITOR = "troupe:edit:"
_LONGEST_EDIT = 4000  # characters that Discord lets somebody type into a form
_VOTES = {"👍": True, "👎": False}


class Replies(commands.Cog):
    def __init__(self, bot: TroupeBot) -> None:
        self._bot = bot
        self._controls = bot.behind.commands.controls

    # -- commands ----------------------------------------------------------------------------------

    @app_commands.command(description="Write the newest reply once more; ◀ ▶ go through both.")
    async def regenerate(self, interaction: Interaction) -> None:
        await answer(interaction, self._started(interaction, going_on=False))

    @app_commands.command(name="continue", description="Let the newest reply go on.")
    async def go_on(self, interaction: Interaction) -> None:
        await answer(interaction, self._started(interaction, going_on=True))

    @app_commands.command(description="Show another version of the newest reply.")
    async def swipe(self, interaction: Interaction, to: Literal["next", "previous"]) -> None:
        step = 1 if to == "next" else -1
        await answer(
            interaction, self._controls.swipe(place(interaction), _person(interaction), step)
        )

    @app_commands.command(description="Change the words of the newest reply.")
    async def edit(self, interaction: Interaction) -> None:
        await self._open_editor(interaction, None)

    @app_commands.command(description="Take the newest reply back.")
    async def undo(self, interaction: Interaction) -> None:
        await answer(interaction, self._controls.undo(place(interaction), _person(interaction)))

    @app_commands.command(description="Take the last questions and their replies back.")
    @app_commands.describe(exchanges="How many questions with their replies.")
    async def rewind(
        self, interaction: Interaction, exchanges: app_commands.Range[int, 1, 50]
    ) -> None:
        who = _person(interaction)
        await answer(interaction, self._controls.rewind(place(interaction), who, exchanges))

    @app_commands.command(description="Put words into the character's mouth.")
    @app_commands.describe(text="What the character says.")
    async def say(self, interaction: Interaction, text: str) -> None:
        await answer(
            interaction, self._controls.say(place(interaction), _person(interaction), text)
        )

    @app_commands.command(description="End the reply that is being written here.")
    async def stop(self, interaction: Interaction) -> None:
        await answer(interaction, self._controls.stop(place(interaction), _person(interaction)))

    async def _started(self, interaction: Interaction, *, going_on: bool) -> Answer:
        begin = self._controls.go_on if going_on else self._controls.regenerate
        await begin(place(interaction), _person(interaction))
        return Answer("The reply goes on." if going_on else "The reply is written once more.")

    # -- buttons -----------------------------------------------------------------------------------

    async def pressed(self, interaction: Interaction, action: str, reply_id: int) -> None:
        """A button under a reply. What cannot be done is told to who pressed it only."""
        try:
            require_unblocked(interaction)
            await self._do(interaction, action, reply_id)
        except Outdated as outdated:
            await self._outdated(interaction, outdated)
        except Exception as error:  # noqa: BLE001 - the handler logs it
            await self._bot.error_handler.command(interaction, error)

    async def _do(self, interaction: Interaction, action: str, reply_id: int) -> None:
        where, who, controls = place(interaction), _person(interaction), self._controls
        if action in ("good", "bad"):
            await answer(interaction, controls.vote(where, who, action == "good", reply_id))
        elif action == "edit":
            await self._open_editor(interaction, reply_id)
        elif action == "regenerate":
            await _silently(interaction, controls.regenerate(where, who, reply_id))
        elif action == "continue":
            await _silently(interaction, controls.go_on(where, who, reply_id))
        elif action in ("previous", "next"):
            step = 1 if action == "next" else -1
            await _silently(interaction, controls.swipe(where, who, step, reply_id))
        elif action == "undo":
            await _silently(interaction, controls.undo(where, who, reply_id))
        elif action == STOP:
            await _silently(interaction, controls.stop(where, who, reply_id))
        else:
            raise CommandError("This button is from another version of me; it does nothing now.")

    async def _outdated(self, interaction: Interaction, outdated: Outdated) -> None:
        """Say so, and take the buttons away, which should not have been there any more."""
        try:
            if not interaction.response.is_done():
                await interaction.response.edit_message(view=None)
        except discord.HTTPException:  # the post is gone as well; telling is what matters
            pass
        await self._bot.error_handler.command(interaction, outdated)

    # -- editing -----------------------------------------------------------------------------------

    async def _open_editor(self, interaction: Interaction, reply_id: int | None) -> None:
        """A form with the words of the reply. What it sends back is heard by `on_interaction`."""
        reply = await self._controls.text(place(interaction), _person(interaction), reply_id)
        if len(reply.content) > _LONGEST_EDIT:
            raise CommandError(
                f"Discord's form takes {_LONGEST_EDIT} characters, and that reply has"
                f" {len(reply.content)}; it cannot be edited here."
            )
        editor = discord.ui.Modal(
            title=f"What {reply.author_name} says"[:45],
            custom_id=f"{_EDITOR}{reply.id}",
            timeout=600,
        )
        words: discord.ui.TextInput[Any] = discord.ui.TextInput(
            style=discord.TextStyle.paragraph,
            custom_id="words",
            default=reply.content,
            max_length=_LONGEST_EDIT,
        )
        editor.add_item(discord.ui.Label(text="Words", component=words))
        await interaction.response.send_modal(editor)

    @commands.Cog.listener()
    async def on_interaction(self, interaction: Interaction) -> None:
        """A form that came back; also one that was opened before a restart."""
        data: dict[str, Any] = dict(interaction.data or {})
        custom_id = str(data.get("custom_id", ""))
        reply_id = custom_id.removeprefix(_EDITOR)
        is_form = interaction.type is discord.InteractionType.modal_submit
        if not is_form or reply_id == custom_id or not reply_id.isdecimal():
            return
        try:
            require_unblocked(interaction)
            where, who = place(interaction), _person(interaction)
            work = self._controls.edit(where, who, _typed(data), int(reply_id))
            if interaction.message is None:  # opened by the command
                await answer(interaction, work)
            else:
                await _silently(interaction, work)
        except Outdated as outdated:
            await self._bot.error_handler.command(interaction, outdated)
        except Exception as error:  # noqa: BLE001 - the handler logs it
            await self._bot.error_handler.command(interaction, error)

    # -- reactions ---------------------------------------------------------------------------------

    @commands.Cog.listener()
    async def on_raw_reaction_add(self, payload: discord.RawReactionActionEvent) -> None:
        await self._reacted(payload, added=True)

    @commands.Cog.listener()
    async def on_raw_reaction_remove(self, payload: discord.RawReactionActionEvent) -> None:
        await self._reacted(payload, added=False)

    async def _reacted(self, payload: discord.RawReactionActionEvent, *, added: bool) -> None:
        liked = _VOTES.get(_plain(payload.emoji.name))
        me = self._bot.user.id if self._bot.user is not None else 0
        by_bot = payload.member is not None and payload.member.bot
        if liked is None or payload.user_id == me or by_bot:
            return
        await self._bot.catch_up.done(payload.channel_id, payload.guild_id)
        key = channel_key(payload.user_id)
        guild = channel_key(payload.guild_id) if payload.guild_id is not None else None
        if added and self._bot.behind.turns.blocking.applies(guild, key):
            return
        await self._controls.reacted(payload.message_id, key, liked=liked, added=added)


async def _silently(interaction: Interaction, work: Coroutine[object, object, object]) -> None:
    """Do what a button says; the channel shows that it was done, so nothing more is said."""
    await answering.in_time(interaction, work)
    if not interaction.response.is_done():
        await interaction.response.defer()


def _person(interaction: Interaction) -> Person:
    return Person(channel_key(interaction.user.id), may_switch(interaction))


def _typed(data: dict[str, Any]) -> str:
    """What stands in the one field of a form."""
    parts: list[dict[str, Any]] = list(data.get("components", []))
    while parts:
        part = parts.pop()
        if "value" in part:
            return str(part["value"])
        parts += [
            *part.get("components", []),
            *([part["component"]] if "component" in part else []),
        ]
    return ""


def _plain(emoji: str | None) -> str:
    """An emoji without its skin tone."""
    return (emoji or "")[:1]

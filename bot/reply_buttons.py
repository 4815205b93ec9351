"""The buttons under a character's newest reply.

Each says in its custom id what it does to which reply; all else is in the database. So they work
after a restart, and nothing of them is kept in the process.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import discord

from db.rewriting import Standing

if TYPE_CHECKING:
    from bot.client import TroupeBot

STOP = "stop"
_STYLE = discord.ButtonStyle.secondary


class ReplyButton(
    discord.ui.DynamicItem[discord.ui.Button[Any]],
    template=r"troupe:(?P<action>[a-z]{1,20}):(?P<reply>[0-9]{1,18})",
):
    """One button; pressed, it hands over to the cog."""

    def __init__(
        self,
        action: str,
        reply_id: int,
        *,
        emoji: str | None = None,
        label: str | None = None,
        row: int = 0,
        disabled: bool = False,
    ) -> None:
        super().__init__(
            discord.ui.Button(
                style=_STYLE,
                emoji=emoji,
                label=label,
                custom_id=f"troupe:{action}:{reply_id}",
                row=row,
                disabled=disabled,
            )
        )
        self.action = action
        self.reply_id = reply_id

    @classmethod
    async def from_custom_id(
        cls,
        interaction: discord.Interaction[Any],
        item: discord.ui.Item[Any],
        match: re.Match[str],
        /,
    ) -> ReplyButton:
        return cls(match["action"], int(match["reply"]))

    async def callback(self, interaction: discord.Interaction[Any]) -> None:
        bot: TroupeBot = interaction.client
        await bot.pressed(interaction, self.action, self.reply_id)


def stop_view(reply_id: int) -> discord.ui.View:
    """What stands under a reply while it is written."""
    return _view(ReplyButton(STOP, reply_id, emoji="⏹", label="Stop"))


def reply_view(reply_id: int, standing: Standing) -> discord.ui.View:
    """What stands under the newest reply."""
    number, of = standing.number, standing.of
    return _view(
        ReplyButton("previous", reply_id, emoji="◀", disabled=number == 1),
        ReplyButton("regenerate", reply_id, emoji="🔄", label=f"{number}/{of}" if of > 1 else None),
        ReplyButton("next", reply_id, emoji="▶", disabled=number == of),
        ReplyButton("good", reply_id, emoji="👍"),
        ReplyButton("bad", reply_id, emoji="👎"),
        ReplyButton("continue", reply_id, emoji="⏩", label="Continue", row=1),
        ReplyButton("edit", reply_id, emoji="✏️", label="Edit", row=1),
        ReplyButton("undo", reply_id, emoji="↩️", label="Undo", row=1),
    )


def _view(*buttons: ReplyButton) -> discord.ui.View:
    view = discord.ui.View(timeout=None)
    for button in buttons:
        view.add_item(button)
    return view

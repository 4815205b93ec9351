"""The form in which a character is written, as a modal."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import discord

from bot.answers import Answer
from bot.card_form import Field, Form
from bot.cogs.answering import answer
from bot.cogs.blocking import require_unblocked

if TYPE_CHECKING:
    from bot.client import TroupeBot

    Interaction = discord.Interaction[TroupeBot]
else:
    Interaction = discord.Interaction

Submitted = Callable[[Interaction, dict[str, str]], Awaitable[Answer]]

_SHORT = 100  # characters that fit a field of one line
_LABEL, _HINT, _TITLE = 45, 100, 45
_OPEN_SECONDS = 900  # else a form that was closed unsent is kept for ever


class CardModal(discord.ui.Modal):
    """The form; what was typed goes to `submitted`, which gives the answer to it."""

    def __init__(self, form: Form, submitted: Submitted) -> None:
        super().__init__(title=_cut(form.title, _TITLE), timeout=_OPEN_SECONDS)
        self._submitted = submitted
        self._inputs = {field.key: _input(field) for field in form.fields}
        for field in form.fields:
            label: discord.ui.Label[CardModal] = discord.ui.Label(
                text=_cut(field.label, _LABEL),
                description=_cut(field.hint, _HINT) or None,
                component=self._inputs[field.key],
            )
            self.add_item(label)
        if form.left_out:
            self.add_item(
                discord.ui.TextDisplay(
                    f"Too long for a form, so left as it is: {', '.join(form.left_out)}."
                )
            )

    async def on_submit(self, interaction: Interaction) -> None:  # type: ignore[override]
        require_unblocked(interaction)  # the form may have been open before
        values = {key: field.value for key, field in self._inputs.items()}
        await answer(interaction, self._done(interaction, values))

    async def _done(self, interaction: Interaction, values: dict[str, str]) -> Answer:
        return await self._submitted(interaction, values)

    async def on_error(self, interaction: Interaction, error: Exception) -> None:  # type: ignore[override]
        await interaction.client.error_handler.command(interaction, error)


def _input(field: Field) -> discord.ui.TextInput[CardModal]:
    one_line = field.most <= _SHORT
    return discord.ui.TextInput(
        custom_id=field.key,
        style=discord.TextStyle.short if one_line else discord.TextStyle.paragraph,
        default=field.value or None,
        required=field.required,
        max_length=field.most,
    )


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"

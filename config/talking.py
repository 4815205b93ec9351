"""The prompt, the memory, the bot, Discord and the database."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from config.patterns import CHANNEL, FILE_NAME, HOURS
from config.section import Section


class PromptSettings(Section):
    context_tokens: int = Field(
        2048, ge=256, description="Budget of prompt and reply; the model's own limit also holds."
    )
    history_messages: int = Field(
        200, ge=1, description="Most messages read from the database for one prompt."
    )


class MemorySettings(Section):
    """What characters keep of a scene besides its newest words."""

    summary: bool = Field(True, description="Sum up what falls out of the prompt.")
    summary_tokens: int = Field(
        160, ge=32, le=1024, description="Longest summary that the model may write."
    )
    facts: bool = Field(
        True, description="Keep what people say of themselves, or ask to be remembered."
    )
    fact_tokens: int = Field(200, ge=0, description="Room for facts in a prompt.")
    recall: bool = Field(True, description="Look for older moments that a question is about.")
    recall_messages: int = Field(3, ge=1, le=10, description="Most older moments in a prompt.")
    recall_threshold: float = Field(
        0.5,
        gt=0,
        le=1,
        description="Share of the question's words, rare ones counting more, that an older moment"
        " must hold.",
    )
    recall_embeddings: bool = Field(
        True, description="Look by meaning, too, where the extra `recall` is installed."
    )
    recall_similarity: float = Field(
        0.42,
        gt=0,
        le=1,
        description="Cosine of the meanings of question and older moment, from which on that is"
        " recalled.",
    )
    lore_tokens: int = Field(400, ge=0, description="Room for lorebook entries in a prompt.")


class BotSettings(Section):
    persona: str = Field("mirela", description="The character of channels that chose none.")
    adapter: str = Field("default", description="The adapter of channels that chose none.")
    mode: Literal["mention", "always", "sometimes"] = Field(
        "mention",
        description="When to answer in servers: when addressed, every message, or when addressed"
        " and sometimes unasked.",
    )
    sometimes_chance: float = Field(
        0.9,
        ge=0,
        le=1,
        description="In the mode sometimes: the chance of an unasked reply right after a character"
        " spoke.",
    )
    sometimes_half_life_seconds: float = Field(
        300.0, gt=0, description="Silence of the characters after which that chance is half."
    )
    sometimes_channels: int = Field(
        3, ge=0, description="Most channels in which they speak unasked at a time."
    )
    quiet_hours: str = Field(
        "",
        pattern=HOURS,
        description="When nothing unaddressed is answered, by this machine's clock: 23:00-07:00;"
        " empty: never.",
    )
    cast_replies: int = Field(
        2,
        ge=0,
        le=8,
        description="Most replies that further characters of a channel add to one reply.",
    )
    catch_up_hours: float = Field(
        12.0, ge=0, description="After a restart, questions younger than this are still answered."
    )
    blocked: list[Annotated[int, Field(gt=0)]] = Field(
        [], description="Discord ids of people who are not answered, nor remembered, anywhere."
    )
    import_urls: bool = Field(
        False,
        description="Let /persona import fetch cards from https addresses, on the public internet"
        " only; without it they are attached.",
    )
    resample_introductions: bool = Field(
        False,
        description="Write a reply anew, once, that opens with an introduction nobody asked for;"
        " replies then show from their second sentence on.",
    )

    @property
    def blocked_keys(self) -> frozenset[str]:
        """The author keys of those who are blocked everywhere."""
        return frozenset(f"discord:{id}" for id in self.blocked)


class DiscordSettings(Section):
    api_url: str = Field("", description="REST root of a compatible server; empty: Discord.")
    gateway_url: str = Field("", description="Websocket of such a server; empty: Discord.")
    switch_permission: str = Field(
        "manage_channels", description="Discord permission needed to change a channel's settings."
    )
    webhooks: bool = Field(
        True,
        description="Characters post under their own names and pictures, where the bot may manage"
        " webhooks; false: always as the bot.",
    )
    edit_interval_seconds: float = Field(
        1.0, ge=1.0, description="Least time between two edits of a streaming reply."
    )
    catch_up_messages: int = Field(
        100, ge=0, description="Messages per channel read back after a restart."
    )
    owners: list[int] = Field(
        [],
        description="User ids that may retrain and roll back, besides the application's owner.",
    )
    operators_channel: str = Field(
        "",
        pattern=CHANNEL,
        description="Id of the channel that is told how each retraining went; empty: none.",
    )


class DatabaseSettings(Section):
    file: str = Field("troupe.sqlite3", pattern=FILE_NAME, description="Name inside paths.data.")
    busy_timeout_seconds: float = Field(5.0, gt=0)

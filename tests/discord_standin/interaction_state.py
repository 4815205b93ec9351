"""One interaction and all that came of it, as a test sees it."""

# ruff: noqa: ASYNC109 - tests name their own timeouts, and get an AssertionError that says why

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from .state import Channel, Json, Message, User
from .validation import walk
from .waiting import Pulse

COMMAND, COMPONENT, AUTOCOMPLETE, MODAL_SUBMIT = 2, 3, 4, 5
CALLBACK_NAMES = {
    4: "immediate",
    5: "deferred",
    6: "deferred_update",
    7: "update",
    8: "autocomplete",
    9: "modal",
}


@dataclass(eq=False)
class Interaction:
    """What a user did, and how the bot answered. Times are `time.monotonic()` seconds."""

    id: int
    token: str
    type: int
    user: User
    channel: Channel
    data: Json
    #: The message whose component was used, if any.
    message: Message | None = None
    #: For a submitted modal: the interaction that had opened it.
    triggered_by: Interaction | None = None
    at: float = field(default_factory=time.monotonic)
    acknowledged_at: float | None = None
    callback_type: int | None = None
    #: The response that shows: a new message, or for updates the message that was updated.
    response: Message | None = None
    followups: list[Message] = field(default_factory=list)
    choices: list[Json] | None = None
    modal: Json | None = None
    #: Callbacks that came too late or twice, with Discord's code (10062, 40060).
    refused: list[int] = field(default_factory=list)

    @property
    def pulse(self) -> Pulse:
        """The channel's: an answer may also change through the channel's own routes."""
        return self.channel.pulse

    @property
    def acknowledged(self) -> bool:
        return self.acknowledged_at is not None

    @property
    def acknowledged_after(self) -> float | None:
        """Seconds from the user's act to the bot's callback; None while there is none."""
        return None if self.acknowledged_at is None else self.acknowledged_at - self.at

    @property
    def kind(self) -> str | None:
        """ "immediate", "deferred", "deferred_update", "update", "autocomplete" or "modal"."""
        return None if self.callback_type is None else CALLBACK_NAMES[self.callback_type]

    @property
    def ephemeral(self) -> bool:
        return self.response is not None and self.response.ephemeral

    @property
    def content(self) -> str:
        return "" if self.response is None else self.response.content

    @property
    def embeds(self) -> list[Json]:
        return [] if self.response is None else self.response.embeds

    @property
    def components(self) -> list[Json]:
        return [] if self.response is None else self.response.components

    @property
    def texts(self) -> list[str]:
        """What the user can read: the response and the follow-ups, in order, deleted ones not."""
        messages = [self.response, *self.followups]
        return [m.content for m in messages if m and not m.deleted and not m.loading]

    @property
    def modal_fields(self) -> list[str]:
        """The custom ids of the opened modal's inputs."""
        parts = walk(self.modal["components"]) if self.modal else ()
        return [part["custom_id"] for _, part in parts if "custom_id" in part]

    async def wait_acknowledged(self, timeout: float = 5.0) -> Interaction:
        """Until the bot's first callback, of whatever kind."""
        await self.pulse.until(
            lambda: self.acknowledged, timeout, lambda: f"{self} was not acknowledged"
        )
        return self

    async def wait_response(self, timeout: float = 5.0) -> Message:
        """Until there is something to read: for a deferred answer, until it is filled in."""

        def readable() -> Message | None:
            if self.response is None or self.response.loading or self.response.deleted:
                return None
            # A deferred update changes the component's message; there may be nothing to see.
            return self.response

        return await self.pulse.until(readable, timeout, lambda: f"{self} has no readable response")

    async def wait_followup(self, number: int = 1, timeout: float = 5.0) -> Message:
        """The number-th follow-up message, counted from 1."""
        await self.pulse.until(
            lambda: len(self.followups) >= number,
            timeout,
            lambda: f"{self} has {len(self.followups)} follow-ups, not {number}",
        )
        return self.followups[number - 1]

    async def wait_modal(self, timeout: float = 5.0) -> Json:
        return await self.pulse.until(
            lambda: self.modal, timeout, lambda: f"{self} opened no modal"
        )

    async def wait_choices(self, timeout: float = 5.0) -> list[Json]:
        await self.pulse.until(
            lambda: self.choices is not None, timeout, lambda: f"{self} got no choices"
        )
        return self.choices or []

    async def wait_text(self, text: str, timeout: float = 5.0) -> Message:
        """Until the response or a follow-up contains that text."""

        def found() -> Message | None:
            for message in [self.response, *self.followups]:
                if message and not message.deleted and text in message.content:
                    return message
            return None

        return await self.pulse.until(
            found, timeout, lambda: f"{self} does not say {text!r}, but {self.texts}"
        )

    def __repr__(self) -> str:
        name: Any = self.data.get("name") or self.data.get("custom_id")
        return f"<Interaction {name!r} by {self.user.display_name}: {self.kind} {self.texts}>"

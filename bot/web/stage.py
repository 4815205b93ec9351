"""The web page as a front end: what each channel shows besides what is remembered of it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from weakref import WeakValueDictionary

from bot.stage import Delivery, ReplyRecord
from db.channels import Channel
from db.messages import Message


@dataclass(frozen=True, slots=True)
class Shown:
    """One line of a conversation as the page shows it."""

    text: str
    name: str = ""
    own: bool = False  # a person said it
    id: int = 0  # of the message; 0: a notice, which nobody said
    adapter: str = ""  # what wrote it, `base` or `name@version`
    liked: bool | None = None  # the visitor's vote


class Live:
    """What happens in a channel while somebody looks: a growing reply, and notices."""

    def __init__(self) -> None:
        self.reply: Shown | None = None
        self.notices: list[str] = []
        self.changed = asyncio.Event()  # set, and another one put here, at every change

    def change(self) -> None:
        changed, self.changed = self.changed, asyncio.Event()
        changed.set()

    def over(self, remembered: Sequence[Shown]) -> list[Shown]:
        """The remembered lines with the growing reply at its place, then the notices."""
        reply = self.reply
        lines = list(remembered)
        if reply is not None and reply.text:
            places = [at for at, line in enumerate(lines) if line.id == reply.id]
            if places:
                lines[places[0]] = replace(lines[places[0]], text=reply.text)
            else:
                lines.append(reply)
        return lines + [Shown(notice) for notice in self.notices]


class WebStage:
    """Shows replies in browsers. What nobody looks at is not kept: the memory has it."""

    def __init__(self) -> None:
        self._live: WeakValueDictionary[str, Live] = WeakValueDictionary()

    def live(self, channel_key: str) -> Live:
        """What happens in a channel; whoever holds it sees its changes."""
        live = self._live.get(channel_key)
        if live is None:
            live = self._live[channel_key] = Live()
        return live

    def delivery(self, channel: Channel, question: Message | None, record: ReplyRecord) -> Delivery:
        return WebDelivery(self.live(channel.key), record)

    async def notice(self, channel: Channel, question: Message, sentence: str) -> None:
        live = self.live(channel.key)
        live.notices.append(sentence)
        live.change()

    async def say(self, channel: Channel, record: ReplyRecord, text: str) -> None:
        self.live(channel.key).change()

    async def show(self, channel: Channel, record: ReplyRecord, text: str) -> None:
        self.live(channel.key).change()

    async def remove(self, channel: Channel, posts: tuple[int, ...]) -> None:
        """Nothing: the page shows what is remembered, and has no posts of its own."""


class WebDelivery:
    """One reply."""

    def __init__(self, live: Live, record: ReplyRecord) -> None:
        self._live = live
        self._record = record

    async def open(self) -> None:
        self._show("")

    def update(self, text: str) -> None:
        self._show(text)

    async def finish(self, text: str) -> None:
        await self._record.showing(text)
        self._show(text)

    async def close(self) -> None:
        self._live.reply = None
        self._live.change()

    def _show(self, text: str) -> None:
        self._live.reply = Shown(text, self._record.name, id=self._record.id)
        self._live.change()

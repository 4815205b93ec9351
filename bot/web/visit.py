"""One browser's conversations with the company, as functions that know no Gradio."""

from __future__ import annotations

import asyncio
import hashlib
import re
import secrets
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field

from bot.answers import Answer
from bot.command_lines import is_command, run_line
from bot.commands import CLEAR
from bot.controls import MOST_TEXT, Person
from bot.errors import CommandError
from bot.incoming import Incoming, Place
from bot.startup import Company
from bot.terminal import saved
from bot.web.models import Models
from bot.web.sampling import OFFERED, SEED, own_settings
from bot.web.stage import Live, Shown, WebStage
from db.channels import Channel, ChannelKind
from persona_prompts.character import Character, CharacterError

_TOKEN = re.compile(r"[0-9a-f]{32}")
_FRAME_SECONDS = 0.05  # between two views of a growing reply
_LINES = 200  # most lines that the page shows
_COMPARED = ("left", "right")
COMING = Shown("…", id=-1)  # stands where a reply will

# Commands that concern nothing but the visitor's own channel and own words; with a page that
# others can reach, no more than these.
_FOR_EVERYBODY = re.compile(
    r"/(?:help|reset|stop|status|regenerate|swipe|continue|edit|undo|rewind|say|good|bad|memory"
    r"|summary|note|lore +(?:list|add|remove)|settings|privacy"
    r"|(?:persona|adapter) +(?:list|show|set|history)|cast)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class House:
    """What all visitors share. `public`: others than who sits at this machine may come in."""

    behind: Company
    stage: WebStage
    models: Models
    public: bool = False
    stage_door: asyncio.Lock = field(default_factory=asyncio.Lock)  # one enters at a time

    def visit(self, token: object) -> Visit:
        """The visit of a browser that remembers `token`; another one if that is no token."""
        known = isinstance(token, str) and _TOKEN.fullmatch(token)
        return Visit(self, str(token) if known else secrets.token_hex(16))

    def known(self, token: object) -> Visit:
        """The visit of a browser that has its token. Raises `CommandError` as long as it has none.

        Else what is said before the page is there would be lost in a conversation of nobody.
        """
        visit = self.visit(token)
        if visit.token != token:
            raise CommandError("The page is still opening; try again in a moment.")
        return visit

    def check_length(self, text: str) -> None:
        """Raise `CommandError` if a stranger sends more than is kept or read of anybody."""
        if self.public and len(text) > MOST_TEXT:
            raise CommandError(
                f"A message can have {MOST_TEXT} characters; this one has {len(text)}, so shorten"
                " it."
            )

    async def change_model(self, name: str) -> None:
        """Load another model for everybody, once the replies under way have ended."""
        if self.public:
            raise CommandError("Visitors cannot change the model.")
        if self.behind.rehearsing.under_way:
            raise CommandError("A training has the GPU; change the model when it is over.")
        if name != self.models.current:
            await self.behind.turns.idle()
            await self.models.change(name, ready=self.behind.ready)


class Visit:
    """One browser: its channel, and the two on which it compares adapters.

    The token is a secret of the browser's; without it nobody reaches what was said here. Log and
    memory know the visit by a hash of it.
    """

    def __init__(self, house: House, token: str) -> None:
        self.house = house
        self.token = token
        self.author = f"web:{hashlib.sha256(token.encode()).hexdigest()[:32]}"
        self.chat = WebChannel(house, self.author, self.author)
        self.compared = tuple(
            WebChannel(house, f"{self.author}:{side}", self.author, trial=True)
            for side in _COMPARED
        )


class WebChannel:
    """One conversation. `trial`: what is said there only tries something, and is never learnt."""

    def __init__(self, house: House, key: str, author: str, *, trial: bool = False) -> None:
        # A terminal's words may be learnt from unless its user objects; a direct message's only
        # once their author agreed. Who comes over the network is no owner of this machine.
        kind: ChannelKind = "dm" if house.public else "terminal"
        self.place = Place(key, "web page", kind, age_restricted=not house.public)
        self._house = house
        self._behind = house.behind
        self._who = Person(author, may_switch=True)
        self._trial = trial

    async def channel(self) -> Channel:
        channel = await self._behind.turns.channel(self.place)
        consent = self._behind.database.consent
        if self._trial and await consent.channel(channel.id) is not False:
            await consent.set_channel(channel.id, False)
        return channel

    async def character(self) -> Character:
        """Who speaks here. Raises `CharacterError`."""
        return self._behind.casting.character(await self.channel())

    async def adapter(self) -> str:
        """The name that was chosen, or holds by default."""
        return self._behind.casting.chosen_adapter(await self.channel())

    async def sampling(self) -> dict[str, object]:
        """The offered settings as they hold here, the seed included."""
        values = self._behind.casting.sampling(await self.channel()).model_dump()
        return {name: values[name] for name in (*OFFERED, SEED)}

    async def open(self, user_name: str) -> None:
        """Greet, unless the conversation has begun before; go on with what is still owed."""
        channel = await self.channel()
        try:
            character = await self.character()
        except CharacterError:  # its card is gone, or not for everybody
            await self.set_persona(CLEAR, user_name)
            return
        if not await self._behind.database.messages.history(channel, limit=1):
            await self._behind.turns.greet(channel, character, user_name)
        await self._behind.turns.resume([channel])

    async def shown(self) -> list[Shown]:
        """The present scene as it is remembered, oldest line first."""
        channel = await self.channel()
        history = await self._behind.database.messages.history(channel, limit=_LINES)
        history = self._behind.turns.passing.woven(history, channel, None, _LINES)
        votes = await self._behind.database.feedback.votes(channel.id)
        return [
            Shown(
                message.content,
                message.author_name,
                own=message.role == "user",
                id=message.id,
                adapter=message.adapter or "",
                liked=_liked(votes.get(message.id)),
            )
            for message in history
        ]

    async def follow(self, live: Live | None = None) -> AsyncGenerator[list[Shown], None]:
        """The conversation now, again while replies are written, and as it is in the end."""
        live = live or self._fresh()
        idle = asyncio.ensure_future(self._behind.turns.idle(await self.channel()))
        try:
            while True:
                ended, changed = idle.done(), live.changed
                lines = live.over(await self.shown())
                if not ended and lines and lines[-1].own:
                    lines.append(COMING)
                yield lines
                if ended:
                    return
                await _either(idle, changed)
                await asyncio.sleep(_FRAME_SECONDS)  # a few words at a time are soon enough
        finally:
            idle.cancel()

    async def take(self, line: str, user_name: str) -> AsyncGenerator[list[Shown], None]:
        """Hear what is said, or do a command, and follow what comes of it.

        Raises `CommandError` for what is no command, or too long for a page that is public.
        """
        self._house.check_length(line)
        live = self._fresh()
        if is_command(line):
            await self._command(line, user_name, live)
        elif line.strip():
            await self._behind.turns.hear(
                Incoming(
                    place=self.place,
                    author_key=self._who.key,
                    author_name=user_name,
                    content=line,
                    created_at=time.time(),
                    addressed=True,
                )
            )
        async with aclosing(self.follow(live)) as views:
            async for view in views:
                yield view

    async def regenerate(self) -> AsyncGenerator[list[Shown], None]:
        """Write the newest reply anew. Raises `CommandError` where there is none."""
        live = self._fresh()
        await self._behind.commands.controls.regenerate(self.place, self._who)
        async with aclosing(self.follow(live)) as views:
            async for view in views:
                yield view

    async def swipe(self, step: int) -> list[Shown]:
        """Show an earlier (-1) or later (1) version of the newest reply."""
        answer = await self._behind.commands.controls.swipe(self.place, self._who, step)
        return [*await self.shown(), Shown(answer.text)]

    async def undo(self) -> list[Shown]:
        """Take the newest question and its reply back."""
        await self._behind.commands.controls.rewind(self.place, self._who, 1)
        return await self.shown()

    async def stop(self) -> None:
        """End the reply that is being written, if there is one."""
        running = self._behind.turns.running(await self.channel())
        if running is not None:
            await self._behind.commands.controls.stop(self.place, self._who)

    async def vote(self, line: int, liked: bool | None) -> None:
        """A vote for the reply at `line` (from 0) of the conversation; None takes it back."""
        lines = await self.shown()
        if not 0 <= line < len(lines) or lines[line].own:
            raise CommandError("There is no reply to vote for.")
        await self._behind.database.feedback.vote(
            lines[line].id, voter_key=self._who.key, liked=liked, created_at=time.time()
        )

    async def set_persona(self, persona: str, user_name: str) -> None:
        """Another character takes the stage here, with an empty scene and its greeting."""
        async with self._house.stage_door:  # Gradio tells of one choice twice, now and then
            if persona == self._behind.casting.own(await self.channel()):
                return
            answer = await self._behind.commands.persona_set(self.place, persona)
            await self._enter(answer, user_name)

    async def start_over(self, user_name: str) -> None:
        """Begin a new scene with the same character."""
        await self._enter(await self._behind.commands.reset(self.place), user_name)

    async def set_adapter(self, adapter: str) -> None:
        """Reply through another adapter from now on. Raises `AdapterError`."""
        if adapter != await self.adapter():
            await self._behind.commands.adapter_set(self.place, adapter)

    async def set_sampling(self, chosen: dict[str, object]) -> None:
        """Choose words like this from now on. Raises `CommandError`."""
        channel = await self.channel()
        own = own_settings(self._behind.config.sampling, channel.sampling, chosen)
        if own != channel.sampling:
            await self._behind.database.channels.set(channel.id, sampling=own)

    async def _command(self, line: str, user_name: str, live: Live) -> None:
        if self._house.public and not _FOR_EVERYBODY.match(line):
            raise CommandError("That command is for whoever runs this page.")
        answer = await run_line(
            self._behind.commands, self.place, line, author=self._who.key, name=user_name
        )
        await self._enter(answer, user_name)
        if answer.text:
            live.notices.append(answer.text)
        if answer.file is not None:
            live.notices.append(self._handed_out(answer))

    def _handed_out(self, answer: Answer) -> str:
        """Where the file of an answer is; a visitor, who has no disk here, reads it."""
        assert answer.file is not None
        if self._house.public:
            return answer.file.content.decode("utf-8", "replace")
        return f"It is in {saved(answer.file, self._behind.config.paths.data)}."

    async def _enter(self, answer: Answer, user_name: str) -> None:
        if answer.enters is not None:
            await self._behind.commands.greet(self.place, answer.enters, user_name)

    def _fresh(self) -> Live:
        """What happens here from now on; whoever wants to see it keeps hold of it."""
        live = self._house.stage.live(self.place.key)
        live.notices.clear()
        return live


def _liked(votes: tuple[int, int] | None) -> bool | None:
    """The visitor's vote: nobody else votes in a channel of theirs."""
    return None if votes is None or votes == (0, 0) else votes[0] > 0


async def _either(task: asyncio.Future[None], event: asyncio.Event) -> None:
    waiting = asyncio.ensure_future(event.wait())
    try:
        await asyncio.wait((task, waiting), return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()


async def side_by_side(
    *streams: AsyncGenerator[list[Shown], None],
) -> AsyncGenerator[tuple[list[Shown], ...], None]:
    """The newest of every stream, whenever one of them has something new."""
    newest: list[list[Shown]] = [[] for _ in streams]
    steps = {asyncio.ensure_future(anext(stream)): at for at, stream in enumerate(streams)}
    try:
        while steps:
            done, _ = await asyncio.wait(steps, return_when=asyncio.FIRST_COMPLETED)
            for step in done:
                at = steps.pop(step)
                try:
                    newest[at] = step.result()
                except StopAsyncIteration:
                    continue
                steps[asyncio.ensure_future(anext(streams[at]))] = at
            yield tuple(newest)
    finally:
        for step in steps:
            step.cancel()
        await asyncio.gather(*steps, return_exceptions=True)
        for stream in streams:
            await stream.aclose()

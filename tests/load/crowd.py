"""Three hundred people in a hundred channels of the stand-in Discord, and what became of each word.

Everybody speaks, waits for the answer, thinks, and speaks again; now and then to somebody else.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from dataclasses import dataclass, field

from tests.discord_standin import Actor, ChannelHandle, DiscordStandIn, Message
from tests.load.fast_worker import TOKEN

GUILDS = 5
_MOST_A_MINUTE = 5  # of one person: nobody here talks faster than people do
_LOOK_SECONDS = 0.05
_TO_OTHERS = 0.15  # share of what is said that is not said to the bot

_TOPICS = (
    "I live in the house behind the chandlery.",
    "My sister keeps bees on the north slope.",
    "The ferry was late again and nobody knew why.",
    "Did you ever see the old lighthouse lit?",
    "I would rather mend nets than sell them.",
    "What would you do with a map that lies?",
    "Please remember that I am afraid of deep water.",
    "They say that the harbour froze over that winter.",
)


@dataclass(eq=False)
class Said:
    """One thing that somebody said, and what the bot answered to it."""

    post: Message
    token: str
    addressed: bool
    replies: list[Message] = field(default_factory=list)
    refusals: list[Message] = field(default_factory=list)
    answered: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def answers(self) -> int:
        return len(self.replies) + len(self.refusals)

    @property
    def waited(self) -> float:
        """Seconds until the first answer."""
        return min(post.at for post in (*self.replies, *self.refusals)) - self.post.at


class Room:
    """One channel: what was said in it, in order, and how far its answers have been read."""

    def __init__(self, number: int, channel: ChannelHandle, bot_id: int) -> None:
        self.number = number
        self.channel = channel
        self.said: dict[str, Said] = {}
        self.strays: list[Message] = []  # of the bot, to nothing that was said
        self._bot_id = bot_id
        self._by_post: dict[int, Said] = {}
        self._read = 0

    def add(self, post: Message, token: str, *, addressed: bool) -> Said:
        said = self.said[token] = self._by_post[post.id] = Said(post, token, addressed)
        return said

    def look(self) -> None:
        """Read what came since the last look, and give every answer to what it answers."""
        fresh: list[Message] = []
        for post in reversed(self.channel.state.log.values()):
            if post.id <= self._read:
                break
            fresh.append(post)
        for post in reversed(fresh):
            self._read = post.id
            if post.webhook_id is not None or post.author.id == self._bot_id:
                self._answer(post)

    def _answer(self, post: Message) -> None:
        found = TOKEN.search(post.content)
        if found is not None and (said := self.said.get(found.group())) is not None:
            said.replies.append(post)
        elif post.reply_to is not None and (said := self._by_post.get(post.reply_to.message_id)):
            said.refusals.append(post)
        else:
            self.strays.append(post)
            return
        said.answered.set()

    def out_of_order(self) -> list[str]:
        """What was answered before something that was said earlier."""
        answered = [said for said in self.said.values() if said.answers]
        firsts = [min(post.id for post in (*said.replies, *said.refusals)) for said in answered]
        return [
            said.token
            for said, at, before in zip(answered[1:], firsts[1:], firsts, strict=False)
            if at < before
        ]


class Crowd:
    """Everybody, in their channels. `seconds` of silence between two words of one person: `pause`
    on average, but at most five words a minute."""

    def __init__(
        self, server: DiscordStandIn, *, people: int, channels: int, pause: float, seed: int = 5
    ) -> None:
        self._random = random.Random(seed)
        self._pause = pause
        self._serial = 0
        self._bot = server.bot_user.mention
        guilds = [server.add_guild(f"Port {number}") for number in range(GUILDS)]
        self.rooms = [
            Room(
                number,
                guilds[number % GUILDS].add_channel(f"quay-{number}"),
                server.bot_user.id,
            )
            for number in range(channels)
        ]
        self.people: list[tuple[Actor, Room, deque[float]]] = []
        for number in range(people):
            room = self.rooms[number % channels]
            user = server.add_user(f"person{number}", display_name=f"Person {number}")
            self.people.append((guilds[room.number % GUILDS].join(user), room, deque(maxlen=5)))

    @property
    def said(self) -> list[Said]:
        return [said for room in self.rooms for said in room.said.values()]

    async def watch(self) -> None:
        """Notice answers, until cancelled."""
        while True:
            for room in self.rooms:
                room.look()
            await asyncio.sleep(_LOOK_SECONDS)

    async def everybody_at_once(self) -> list[Said]:
        """Each person says one thing to the bot; nobody waits for anything."""
        return [await self._speak(*person, addressed=True) for person in self.people]

    async def talk(self, seconds: float) -> None:
        """Everybody goes on for so long, then waits for the last answer."""
        until = time.monotonic() + seconds
        await asyncio.gather(*(self._person(*person, until) for person in self.people))

    async def answered(self, said: list[Said], *, within: float) -> None:
        """Until all of that is answered. Raises AssertionError after `within` seconds."""
        try:
            async with asyncio.timeout(within):
                for one in said:
                    if one.addressed:
                        await one.answered.wait()
        except TimeoutError:
            left = [one.token for one in said if one.addressed and not one.answers]
            raise AssertionError(f"{len(left)} never answered: {left[:10]}") from None

    async def _person(self, actor: Actor, room: Room, spoke: deque[float], until: float) -> None:
        await asyncio.sleep(self._random.uniform(0, self._pause))
        while time.monotonic() < until:
            addressed = self._random.random() >= _TO_OTHERS
            said = await self._speak(actor, room, spoke, addressed=addressed)
            if addressed:
                await said.answered.wait()
            pause = self._random.expovariate(1 / self._pause)
            if len(spoke) == _MOST_A_MINUTE:
                pause = max(pause, spoke[0] + 60 - time.monotonic())
            await asyncio.sleep(min(pause, max(0.0, until - time.monotonic())))

    async def _speak(
        self, actor: Actor, room: Room, spoke: deque[float], *, addressed: bool
    ) -> Said:
        self._serial += 1
        token = f"w{room.number}x{self._serial}"
        to = f"{self._bot} " if addressed else ""
        text = f"{to}{self._random.choice(_TOPICS)} {token}"
        spoke.append(time.monotonic())
        # Filed before the stand-in gives way to the bot, so that no answer finds it unknown.
        return room.add(await actor.say(room.channel, text), token, addressed=addressed)

"""What the tests of the memory have in common."""

from __future__ import annotations

from bot.command_lines import run_line
from bot.incoming import Place
from bot.memory_commands import Teller
from config import MemorySettings, PromptSettings, SamplingSettings
from tests.bot.conftest import GENERAL, Scene

SHORT = {
    "prompt": PromptSettings(context_tokens=300),
    "sampling": SamplingSettings(max_new_tokens=30),
    "memory": MemorySettings(summary_tokens=32),
}
ANN = Teller("discord:500", "Ann", may_switch=False)
BO = Teller("discord:501", "Bo", may_switch=False)


async def said(scene: Scene, line: str, place: Place = GENERAL) -> str:
    return (await run_line(scene.behind.commands, place, line, author=ANN.key, name="Ann")).text


async def ask(scene: Scene, text: str, reply: str, place: Place = GENERAL, **more: object) -> None:
    """Say something that is answered with `reply`, and let the memory take notice."""
    scene.client.by_channel.setdefault(place.key, type(scene.client.scripts)()).append(reply)
    await scene.say(text, place, **more)
    await scene.settled()
    await scene.behind.turns.keeper.idle()


def system(scene: Scene) -> str:
    return str(replies_asked(scene)[-1].messages[0].content)


def replies_asked(scene: Scene) -> list:  # type: ignore[type-arg]
    return [request for request in scene.client.requests if not request.background]


def last_prompt(scene: Scene) -> str:
    return "\n".join(message.content for message in replies_asked(scene)[-1].messages)


def long_line(number: int) -> str:
    return f"turn{number} " + " ".join(f"w{number}x{n}" for n in range(20))


async def talk(scene: Scene, turns: int, place: Place = GENERAL, start: int = 0) -> None:
    for number in range(start, start + turns):
        await ask(scene, long_line(number), f"reply{number} is short.", place)

"""The bot makes room for a training, says so, and comes back; the training's locks are real."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bot.startup import company
from config import Config
from inference.gpu_lease import rehearsal, rehearsal_wanted
from tests.bot.conftest import GENERAL, MARKET, Scene, scene_in
from tests.bot.scripted import Script, ScriptedClient, ScriptedStage, eventually, until, words

_WAITS = "Captain Mirela Vex is rehearsing; your message waits until that is over."


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bot.rehearsing.LOOK_SECONDS", 0.01)


@pytest.fixture
async def shared(
    make_config: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Scene]:
    """A company whose model is on a device that others want, too."""
    init = ScriptedClient.__init__

    def with_workers(self: ScriptedClient, adapters: Path) -> None:
        init(self, adapters)
        self.shares_devices = True

    monkeypatch.setattr(ScriptedClient, "__init__", with_workers)
    async with scene_in(make_config()) as scene:
        yield scene


@contextmanager
def _training(scene: Scene) -> Iterator[None]:
    with rehearsal(scene.behind.config.paths.data, patience_seconds=0):
        yield


async def test_the_model_rests_while_a_training_has_the_device_and_comes_back(
    shared: Scene,
) -> None:
    changes: list[bool] = []

    async def hear(rehearsing: bool) -> None:
        changes.append(rehearsing)

    shared.behind.rehearsing.on_change(hear)
    with _training(shared):
        await until(lambda: shared.client.rests == 1)
        assert shared.behind.rehearsing.under_way
        status = (await shared.behind.commands.status(GENERAL)).text
        assert "rehearsing: a training has the GPU" in status
        await shared.say("are you there?")
        await shared.say("hello?")
        await shared.say("anybody?", MARKET)
        await until(lambda: len(shared.notices) == 2)
        await asyncio.sleep(0.1)
        assert shared.replies == []
        assert shared.notices == [_WAITS, _WAITS]  # one in each channel, however much is said
    await shared.settled()
    assert shared.client.wakes == 1
    assert sorted(shared.replies) == [
        "You said: Ann: anybody?",
        "You said: Ann: are you there?",
        "You said: Ann: hello?",
    ]
    await until(lambda: changes == [True, False])
    assert "rehears" not in (await shared.behind.commands.status(GENERAL)).text


async def test_who_is_being_answered_is_not_told_to_wait(shared: Scene) -> None:
    gate = asyncio.Event()
    shared.client.scripts.append(words("A long story ends.", gate=gate, gate_at=2))
    await shared.say("tell me a story")
    await until(lambda: shared.client.writing)
    with _training(shared):
        await until(lambda: shared.client.rests == 1)
        await shared.say("anybody?", MARKET)
        await until(lambda: shared.notices)
        assert shared.stage.shown.notices == [(MARKET.key, _WAITS)]
        gate.set()
        await until(lambda: shared.replies == ["A long story ends."])
    await shared.settled()


async def test_each_rehearsal_is_told_of_anew(shared: Scene) -> None:
    for number in (1, 2):
        with _training(shared):
            await until(lambda number=number: shared.client.rests == number)  # type: ignore[misc]
            await shared.say(f"question {number}")
            await until(lambda number=number: len(shared.notices) == number)  # type: ignore[misc]
        await shared.settled()
        await until(lambda: shared.client.status().state == "ready")
    assert len(shared.replies) == 2


async def test_a_model_that_does_not_come_back_keeps_nobody_waiting(shared: Scene) -> None:
    shared.client.scripts.append(Script([], finish="error", error="There is no model."))
    with _training(shared):
        await until(lambda: shared.client.rests == 1)
        await shared.say("hello")
        await until(lambda: shared.notices)
        shared.client.wake = lambda: setattr(shared.client, "model_state", "failed")  # type: ignore[method-assign]
    await shared.settled()
    assert shared.notices == [_WAITS, "There is no model."]


async def test_the_model_is_not_even_loaded_while_a_training_has_the_device(
    make_config: Callable[..., Config],
) -> None:
    config = make_config()
    client, stage, said = ScriptedClient(config.adapters_dir), ScriptedStage(), list[str]()
    client.shares_devices = True
    client.start_gate = asyncio.Event()
    started = asyncio.Event()

    async def start(on_progress: object = None) -> None:
        started.set()

    client.start = start  # type: ignore[method-assign]
    async with company(config, stage, None, client) as behind:
        scene = Scene(behind, client, stage)
        with _training(scene):
            loading = asyncio.create_task(behind.load_model(said.append))
            await until(lambda: said)
            await scene.say("hello")
            await until(lambda: scene.notices)
            assert not started.is_set()
        await loading
        await scene.settled()
        assert said == ["A training has the GPU; the model is loaded afterwards."]
        assert scene.replies == ["You said: Ann: hello"]
        await until(lambda: not behind.rehearsing.under_way)
        assert (client.rests, client.wakes) == (0, 0)


async def test_servers_elsewhere_take_no_notice(scene: Scene) -> None:
    with _training(scene):
        await scene.say("hello")
        await scene.settled()
        assert scene.replies == ["You said: Ann: hello"]
        assert scene.client.rests == 0


async def test_a_company_that_closes_in_the_middle_of_it_leaves_the_questions_owed(
    shared: Scene,
) -> None:
    with _training(shared):
        await until(lambda: shared.client.rests == 1)
        await shared.say("hello")
        await shared.behind.rehearsing.close()
        assert rehearsal_wanted(shared.behind.config.paths.data)
        assert shared.client.wakes == 0

        async def owed() -> bool:
            return [m.content for m in await shared.behind.database.messages.owed(since=0.0)] == [
                "hello"
            ]

        await eventually(owed)

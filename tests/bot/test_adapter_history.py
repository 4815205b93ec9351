"""`/adapter history | rollback`, and what channels answer through while a version is on trial."""

from __future__ import annotations

import time

import pytest

from bot.errors import CommandError
from bot.incoming import Place
from config import BotSettings, Config
from inference.adapters import AdapterError, AdapterRegistry
from tests.bot.conftest import GENERAL, Scene, scene_in
from tests.bot.scripted import INFO
from tests.bot.test_commands import said
from tests.inference.bare_adapters import publish_bare

DAY = 86_400.0


def company_of(scene: Scene, *names: str) -> AdapterRegistry:
    registry = scene.client.adapters
    for name in names:
        publish_bare(registry, name, fingerprint=INFO.fingerprint)
    return registry


def places(registry: AdapterRegistry, name: str) -> tuple[Place, Place]:
    """A place that tries what is on trial, and one that does not."""
    canary = registry.canary(name)
    assert canary is not None
    found = [Place(f"discord:{n}", "x", "guild", "discord:99") for n in range(40)]
    return (
        next(place for place in found if canary.includes(name, place.key)),
        next(place for place in found if not canary.includes(name, place.key)),
    )


async def test_the_history_is_told_newest_first(scene: Scene) -> None:
    registry = company_of(scene, "default", "default")
    registry.promote("default", 1, by="watch", reason="it was liked", run="2026-11-21T03-00-00Z")
    lines = (await said(scene, "/adapter history")).splitlines()
    assert lines[0] == "**default** stands for `default@1`."
    assert lines[1].endswith(
        " → `default@1` (before: `default@2`), by watch 2026-11-21T03-00-00Z: it was liked"
    )
    assert lines[1].startswith(time.strftime("%Y-%m-", time.gmtime()))
    assert "→ `default@2` (before: `default@1`)" in lines[2]
    assert "→ `default@1` (before: `default@0`)" in lines[3]
    assert lines[4] == "/adapter rollback would go back to `default@2`."
    assert (await said(scene, "/adapter history default@1")).splitlines() == lines


async def test_a_long_history_is_cut(scene: Scene) -> None:
    registry = company_of(scene, "pirate", "pirate")
    for turn in range(30):
        registry.promote("pirate", 1 + turn % 2, reason="again and again")
    text = await said(scene, "/adapter history pirate")
    assert text.count("again and again") == 10
    assert "… and 22 earlier." in text
    assert len(text) < 2000


async def test_without_any_change_it_says_so(scene: Scene) -> None:
    assert await said(scene, "/adapter history") == (
        "**default** stands for the model without adapter.\n"
        "It never stood for anything else, as far as is known."
    )
    with pytest.raises(AdapterError, match="no earlier version of adapter 'default'"):
        await said(scene, "/adapter rollback")


async def test_a_rollback_is_for_every_channel_and_said_to_all(scene: Scene) -> None:
    registry = company_of(scene, "default", "default")
    answer = await scene.behind.commands.adapter_history.rollback(GENERAL)
    assert answer.public
    assert answer.text == (
        "`default` stands for `default@1` again, in every channel; until now it was `default@2`."
        " Replies that are being written end as they began."
    )
    assert registry.promoted("default") == 1
    newest = registry.history("default")[0]
    assert (newest.by, newest.back) == ("command", True)
    history = await said(scene, "/adapter history")
    assert "↩ `default@1` (before: `default@2`), by command: rolled back by" in history
    # One further back is what is shipped, which this model cannot take: the model alone.
    assert "`default` stands for the model without adapter again" in (
        await said(scene, "/adapter rollback default")
    )
    assert registry.promoted("default") == 0


async def test_the_adapter_in_use_here_is_meant_unless_another_is_named(scene: Scene) -> None:
    registry = company_of(scene, "pirate", "pirate", "default", "default")
    await said(scene, "/adapter set pirate@2")
    assert "`pirate@1` again" in await said(scene, "/adapter rollback")
    assert registry.promoted("default") == 2
    await said(scene, "/adapter set base")
    with pytest.raises(CommandError, match="never changes"):
        await said(scene, "/adapter rollback")
    with pytest.raises(CommandError, match="never changes"):
        await said(scene, "/adapter history base@1")


@pytest.mark.parametrize("name", ["nobody", "../../etc", "NOBODY"])
@pytest.mark.parametrize("command", ["history", "rollback"])
async def test_names_that_mean_nothing_are_refused(scene: Scene, command: str, name: str) -> None:
    with pytest.raises(AdapterError):
        await said(scene, f"/adapter {command} {name}")
    with pytest.raises(CommandError, match=r"The command is /adapter list .* or rollback \[NAME\]"):
        await said(scene, f"/adapter {command} one two")
    assert not (scene.behind.config.adapters_dir / name).exists()


async def test_a_full_disk_is_a_sentence(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = company_of(scene, "default", "default")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("inference.promotions.os.fsync", full)
    with pytest.raises(CommandError, match="No space left on device; check the disk"):
        await said(scene, "/adapter rollback")
    assert registry.promoted("default") == 2


async def test_a_version_on_trial_answers_in_its_channels_only(scene: Scene) -> None:
    registry = company_of(scene, "default", "default")
    registry.promote("default", 1)
    registry.begin_canary("default", 2, share=0.5, until=time.time() + DAY)
    trying, other = places(registry, "default")
    thread = Place("discord:thread", "aside", "thread", "discord:99", parent_key=trying.key)
    await scene.say("hello", trying)
    await scene.say("hello", other)
    await scene.settled()
    await scene.say("hello", thread)
    await scene.settled()
    assert [request.adapter for request in scene.client.requests] == [
        "default@2",
        "default",
        "default@2",
    ]
    channel = await scene.behind.turns.channel(trying)
    assert scene.behind.casting.adapter(channel) == "default@2"
    assert scene.behind.casting.chosen_adapter(channel) == "default"
    commands = scene.behind.commands
    assert "adapter = default (default)" in (await commands.settings_show(trying)).text
    assert "through default@2" in (await commands.status(trying)).text
    listed = (await commands.adapter_list(trying)).text
    assert "▸ `default` — stands for default@1" in listed
    assert "▸ `default@2`" in listed
    assert "`default@2` is tried in 50% of the channels, until " in listed


async def test_a_channel_that_chose_a_version_does_not_take_part(config: Config) -> None:
    config = config.model_copy(update={"bot": BotSettings(adapter="default@1")})
    publish_bare(AdapterRegistry(config.adapters_dir), "default", fingerprint=INFO.fingerprint)
    async with scene_in(config) as scene:
        company_of(scene, "default")
        scene.client.adapters.promote("default", 1)
        scene.client.adapters.begin_canary("default", 2, share=1.0, until=time.time() + DAY)
        channel = await scene.behind.turns.channel(GENERAL)
        assert scene.behind.casting.adapter(channel) == "default@1"


async def test_a_rollback_during_a_trial_takes_back_the_trial(scene: Scene) -> None:
    registry = company_of(scene, "default", "default")
    registry.promote("default", 1)
    registry.begin_canary("default", 2, share=1.0, until=time.time() + DAY)
    assert "`default@2` is tried in 100% of the channels" in await said(scene, "/adapter history")
    assert await said(scene, "/adapter rollback") == (
        "The trial of `default@2` is over; `default` stands for `default@1` in every channel."
    )
    assert registry.canary("default") is None
    assert registry.promoted("default") == 1
    channel = await scene.behind.turns.channel(GENERAL)
    assert scene.behind.casting.adapter(channel) == "default"

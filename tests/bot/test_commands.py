"""The commands as functions and as lines of text."""

from __future__ import annotations

import asyncio
import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from bot.command_lines import run_line
from bot.errors import CommandError
from inference.adapters import AdapterError
from inference.engine.interface import EngineStats
from persona_prompts.character import CharacterError
from tests.bot.conftest import GENERAL, MARKET, Scene
from tests.bot.scripted import INFO, words

PERSONA = (
    "The command is /persona list or show [NAME] or set NAME [greeting:N] or /persona import"
    " FILE|URL [as ID] [replace] or export NAME [FORMAT] or create or edit NAME."
)


def publish(scene: Scene, name: str, fingerprint: str = INFO.fingerprint) -> None:
    """A finished adapter, as training would publish it; its weights are never read here."""
    registry = scene.client.adapters
    folder = registry.staging_folder(name)
    (folder / "adapter_model.safetensors").write_bytes(b"weights")
    (folder / "adapter_config.json").write_text("{}", encoding="utf-8")
    card = {
        "base_model": "scripted",
        "base_fingerprint": fingerprint,
        "prompt_format": "chatml",
        "weights_hash": hashlib.sha256(b"weights").hexdigest(),
        "note": "from a test",
        "figures": {"loss": 0.5},
    }
    (folder / "troupe.json").write_text(json.dumps(card), encoding="utf-8")
    registry.publish(folder, name)


async def said(scene: Scene, line: str) -> str:
    return (await run_line(scene.behind.commands, GENERAL, line)).text


async def test_the_cast_is_listed_and_the_present_one_marked(scene: Scene) -> None:
    listed = await said(scene, "/persona list")
    assert "▸ **Captain Mirela Vex** (`mirela`)" in listed
    assert "· **Sir Bramble** (`bramble`)" in listed


async def test_a_character_is_shown_by_any_of_its_names(scene: Scene) -> None:
    assert "Captain Mirela Vex" in await said(scene, "/persona show")
    assert "hedgehog" in (await said(scene, "/persona show Sir Bramble")).lower()
    assert "{{" not in await said(scene, "/persona show")


async def test_a_persona_is_set_for_one_channel_and_taken_back(scene: Scene) -> None:
    assert await said(scene, "/persona set bramble") == "Sir Bramble speaks here now."
    channel = await scene.behind.turns.channel(GENERAL)
    other = await scene.behind.turns.channel(MARKET)
    assert (channel.persona, other.persona) == ("bramble", None)
    await said(scene, "/persona set default")
    assert (await scene.behind.turns.channel(GENERAL)).persona is None


async def test_the_cast_is_listed_also_when_the_chosen_one_is_gone(scene: Scene) -> None:
    channel = await scene.behind.turns.channel(GENERAL)
    await scene.behind.database.channels.set(channel.id, persona="gone")
    for line in ("/persona list", "/settings show", "/status", "/adapter list"):
        assert await said(scene, line)
    with pytest.raises(CharacterError, match="gone"):
        await said(scene, "/persona show")


async def test_adapters(scene: Scene) -> None:
    assert "no adapter is promoted" in await said(scene, "/adapter list")
    publish(scene, "pirate")
    publish(scene, "pirate")
    publish(scene, "foreign", "0" * 64)
    listed = await said(scene, "/adapter list")
    assert "`pirate@1`" in listed
    assert "`pirate@2` — what `pirate` stands for — from a test" in listed
    assert "foreign" not in listed
    answer = await said(scene, "/adapter set pirate")
    assert answer == "Replies here now come from `pirate` (pirate@2)."
    assert "▸ `pirate@2`" in await said(scene, "/adapter list")
    shown = await said(scene, "/adapter show pirate@1")
    assert "**pirate@1**" in shown
    assert "loss = 0.5" in shown
    await scene.say("hello")
    await scene.say("hello", MARKET)
    await scene.settled()
    assert [request.adapter for request in scene.client.requests] == ["pirate", "default"]
    with pytest.raises(AdapterError, match="another base model"):
        await said(scene, "/adapter set foreign")


def write_card(personas: Path) -> None:
    card = {
        "spec": "chara_card_v2",
        "data": {"name": "Salt", "extensions": {"troupe": {"adapter": "pirate"}}},
    }
    personas.mkdir(parents=True)
    (personas / "salt.json").write_text(json.dumps(card), encoding="utf-8")


async def test_a_character_brings_its_adapter_unless_the_channel_chose_one(
    scene: Scene,
) -> None:
    write_card(scene.behind.config.paths.personas)
    await said(scene, "/persona set salt")
    assert "adapter = default" in await said(scene, "/settings show")
    publish(scene, "pirate")
    assert "adapter = pirate" in await said(scene, "/settings show")
    await said(scene, "/adapter set base")
    assert "adapter = base\n" in await said(scene, "/settings show")


async def test_settings(scene: Scene) -> None:
    assert "temperature = 0.8 (default)" in await said(scene, "/settings show")
    assert await said(scene, "/settings set temperature 0.5") == "temperature = 0.5 here now."
    await said(scene, "/settings set stop User:|\\n\\n")
    await said(scene, "/settings set seed 7")
    shown = await said(scene, "/settings show")
    assert "temperature = 0.5\n" in shown
    assert "stop = User: | \\n\\n\n" in shown
    await scene.say("hello")
    await scene.settled()
    sampling = scene.client.requests[0].sampling
    assert (sampling.temperature, sampling.seed) == (0.5, 7)
    assert sampling.stop[:2] == ("User:", "\n\n")
    for name in ("temperature", "stop", "seed"):
        await said(scene, f"/settings set {name} default")
    assert "temperature = 0.8 (default)" in await said(scene, "/settings show")
    assert "seed = random (default)" in await said(scene, "/settings show")


async def test_status(scene: Scene) -> None:
    await scene.say("hello")
    await scene.settled()
    shown = await said(scene, "/status")
    assert "scripted model — ready" in shown
    assert "2 messages remembered" in shown


async def test_status_tells_the_memory_and_the_adapters_of_all_workers(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "memory:" not in await said(scene, "/status")  # the scripted model does not say
    engine = EngineStats(0, 0, 0, 0, 0.0, 0, 0, 0, 2, 0, resident_bytes=300 << 20)
    other = replace(engine, adapters_in_batch_memory=1, device_bytes=2 << 30)
    status = scene.client.status()
    monkeypatch.setattr(scene.client, "status", lambda: replace(status, engines=(engine,)))
    assert "\nmemory: 300 MiB; adapters loaded: 2\n" in await said(scene, "/status")
    monkeypatch.setattr(scene.client, "status", lambda: replace(status, engines=(engine, other)))
    shown = await said(scene, "/status")
    assert "\nmemory: 600 MiB and 2048 MiB on the GPU; adapters loaded: 3\n" in shown


async def test_status_tells_the_place_in_the_queue(scene: Scene) -> None:
    gate = asyncio.Event()
    scene.client.scripts.append(words("patience", gate=gate))
    await scene.say("hello")
    scene.client.queue_place = 3
    assert "of this channel: 1 (number 3 in the queue)" in await said(scene, "/status")
    gate.set()
    await scene.settled()
    assert "of this channel: 0\n" in await said(scene, "/status")


async def test_reset_forgets_the_scene_and_deletes_nothing(scene: Scene) -> None:
    await scene.say("a secret")
    await scene.settled()
    assert await said(scene, "/reset") == "Captain Mirela Vex starts afresh here."
    await scene.say("what did I say?")
    await scene.settled()
    assert "a secret" not in str(scene.prompt())
    channel = await scene.behind.turns.channel(GENERAL)
    assert await scene.behind.database.messages.count(channel.id) == 4


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("/", "There is no command /; /help lists them."),
        ("/sing", "There is no command /sing; /help lists them."),
        ("/persona", PERSONA),
        ("/persona set", PERSONA),
        ("/settings set temperature", "The command is /settings show or set NAME VALUE."),
        ("/reset now", "The command is /reset."),
    ],
)
async def test_lines_that_are_no_command(scene: Scene, line: str, sentence: str) -> None:
    with pytest.raises(CommandError) as told:
        await said(scene, line)
    assert str(told.value) == sentence


async def test_help_names_every_command(scene: Scene) -> None:
    shown = await said(scene, "/help")
    for name in ("persona", "adapter", "settings", "reset", "status"):
        assert f"/{name}" in shown

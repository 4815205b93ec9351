import asyncio
import json
from pathlib import Path

import pytest

from config import Config, ModelSettings, PathSettings, RemoteSettings
from inference.base_model import fingerprint
from inference.remote.backend import RemoteBackend
from inference.remote.model import LocalCopy, find_local_copy
from inference.types import InferenceError
from tests.conftest import MODELS
from tests.inference.remote.conftest import Caller, Connect, Ear
from tests.inference.remote.server import (
    MODEL,
    MisbehavingServer,
    broken,
    delta,
    error,
    hanging,
    reply,
    sse,
    stream,
)


async def test_a_server_that_is_there_says_what_it_has(
    server: MisbehavingServer, connect: Connect
) -> None:
    server.models = [
        {"id": "pirate-lora", "parent": MODEL},
        {"id": MODEL, "max_model_len": 2048, "owned_by": "vllm"},
    ]
    caller = await connect(capacity=5)
    (ready,) = caller.ear.ready
    assert (ready.capacity, ready.info.name, ready.info.context_length) == (5, MODEL, 2048)
    assert (ready.info.fingerprint, ready.info.tokenizer_json) == ("", "")
    assert caller.backend.state == "ready"
    caller = await connect(context_length=512, model="pirate-lora", base_fingerprint="a" * 32)
    (ready,) = caller.ear.ready
    assert (ready.info.name, ready.info.context_length) == ("pirate-lora", 512)
    assert ready.info.fingerprint == "a" * 32


async def test_a_server_without_a_list_serves_the_model_that_is_named(
    server: MisbehavingServer, connect: Connect
) -> None:
    server.models, server.models_status = [], 404
    assert (await connect(model="gpt")).ear.ready[0].info.context_length == 4096


@pytest.mark.parametrize(
    ("models", "status", "remote", "sentence"),
    [
        ([{"id": MODEL}], 200, {"model": "other"}, r"has no model 'other'; it has llama\."),
        ([], 200, {}, "lists no model; set remote.model"),
        ("<html>Welcome", 200, {}, "no OpenAI-compatible API"),
        ({"id": 3}, 200, {}, "no OpenAI-compatible API"),
        ([{"name": 3}], 200, {}, "no OpenAI-compatible API"),
        ([], 404, {}, "no OpenAI-compatible API"),
        ([], 503, {"retries": 1}, r"failed \(HTTP 503\)"),
    ],
)
async def test_what_cannot_be_used_is_refused_at_the_start(
    server: MisbehavingServer,
    connect: Connect,
    models: object,
    status: int,
    remote: dict[str, object],
    sentence: str,
) -> None:
    server.models, server.models_status = models, status
    with pytest.raises(InferenceError, match=sentence) as caught:
        await connect(**remote)
    assert "\n" not in str(caught.value)


async def test_a_refused_key_is_said_at_the_start(
    server: MisbehavingServer, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.key = "right"
    with pytest.raises(InferenceError, match="refuses the key; put a valid one into TROUPE_KEY"):
        await connect(api_key_variable="TROUPE_KEY")
    monkeypatch.setenv("TROUPE_KEY", "wrong\nkey")
    with pytest.raises(InferenceError, match="The key in TROUPE_KEY has characters") as caught:
        await connect(api_key_variable="TROUPE_KEY")
    assert "wrong" not in str(caught.value)


async def test_nobody_there_is_said_at_the_start(
    server: MisbehavingServer, connect: Connect
) -> None:
    await server.stop()
    with pytest.raises(InferenceError, match=r"cannot be reached \(nothing listens there\)"):
        await connect(retries=1)


async def test_a_name_that_nobody_has_is_said_at_the_start(tmp_path: Path) -> None:
    config = Config(paths=PathSettings(data=tmp_path), remote=RemoteSettings(retries=0))
    backend = RemoteBackend(config, "http://nowhere.invalid", Ear())
    with pytest.raises(InferenceError, match=r"http://nowhere.invalid/v1 cannot be reached"):
        await backend.start(lambda text: None)
    assert backend.state == "closed"


async def test_a_server_that_starts_slowly_is_waited_for(
    server: MisbehavingServer, connect: Connect
) -> None:
    server.models_status = 503
    starting = asyncio.ensure_future(connect(retries=10))
    while server.model_calls < 2:  # noqa: ASYNC110 - a call ends each turn
        await asyncio.sleep(0.001)
    server.models_status = 200
    assert (await starting).backend.state == "ready"


async def test_a_server_that_goes_and_comes_back(server: MisbehavingServer, caller: Caller) -> None:
    server.play(hanging(sse(delta("Once"), done=False)), hanging())
    begun, waiting = caller.ask(), caller.ask()
    await caller.ear.until(lambda: caller.ear.text(begun) == "Once")
    await server.visited(2)
    await server.stop()
    last = await caller.ear.end(begun)
    assert last.finish_reason == "error"
    assert "broke off in the middle" in last.error
    await caller.ear.until(lambda: caller.ear.deaths)
    assert waiting not in caller.ear.pieces, "lost replies are the client's to ask for again"
    assert (caller.backend.state, caller.backend.restarts) == ("restarting", 1)
    early = caller.ask()
    assert (await caller.ear.end(early)).finish_reason == "error"
    server.play(stream(reply("Again")))
    await server.start()
    await caller.ear.until(lambda: len(caller.ear.ready) == 2)
    assert (await caller.reply())[0] == "Again"
    assert caller.ear.deaths == 1


async def test_one_request_that_breaks_its_connection_takes_nobody_with_it(
    server: MisbehavingServer, caller: Caller
) -> None:
    server.play(hanging(sse(delta("Once"), done=False)), broken())
    healthy = caller.ask()
    await caller.ear.until(lambda: caller.ear.text(healthy))
    poison = caller.ask()
    last = await caller.ear.end(poison)
    assert last.finish_reason == "error"
    assert (caller.ear.deaths, caller.backend.state) == (0, "ready")
    assert caller.ear.pieces[healthy][-1].finish_reason is None


async def test_a_proxy_without_server_counts_as_gone(
    server: MisbehavingServer, connect: Connect
) -> None:
    caller = await connect(retries=1)
    server.models_status = 502
    server.play(error("no upstream", 502))
    caller.ask()
    await caller.ear.until(lambda: caller.ear.deaths)
    server.models_status = 200
    await caller.ear.until(lambda: len(caller.ear.ready) == 2)
    assert caller.backend.state == "ready"


async def test_a_server_that_comes_back_without_the_model(
    server: MisbehavingServer, connect: Connect
) -> None:
    caller = await connect(retries=0, model=MODEL)
    models, server.models = server.models, [{"id": "other"}]
    server.models_status = 503
    server.play(error("starting", 503))
    caller.ask()
    await caller.ear.until(lambda: caller.ear.deaths)
    server.models_status = 200
    await caller.ear.until(lambda: caller.ear.unusable)
    assert caller.backend.state == "failed"
    assert "has no model 'llama'" in caller.backend.problem
    server.models = models
    await caller.ear.until(lambda: len(caller.ear.ready) == 2)
    assert (caller.backend.state, caller.backend.problem) == ("ready", "")
    assert len(caller.ear.unusable) == 1, "it is said once, not at every look"


# -- what files here say of the model --------------------------------------------------------------


def config_for(base: str, data: Path, **remote: object) -> Config:
    return Config(
        model=ModelSettings(base=base),
        paths=PathSettings(data=data),
        remote=RemoteSettings.model_validate(remote),
    )


def test_a_model_that_was_not_set_says_nothing_of_the_server(tmp_path: Path) -> None:
    assert find_local_copy(config_for("embedded", tmp_path)) == LocalCopy()


def test_adapters_that_are_loaded_were_trained_on_the_model_here(tmp_path: Path) -> None:
    found = find_local_copy(config_for("embedded", tmp_path, load_adapters=True))
    assert len(found.fingerprint) == 32
    (tmp_path / "models").symlink_to(MODELS)
    again = find_local_copy(config_for("embedded", tmp_path, load_adapters=True))
    assert again.fingerprint == found.fingerprint


def test_a_model_folder_gives_fingerprint_and_tokenizer(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    added = [
        {"content": "<|im_end|>", "special": True},
        {"content": "  ", "special": True},
        {"content": "hello", "special": False},
    ]
    (tmp_path / "tokenizer.json").write_text(json.dumps({"added_tokens": added}))
    config = config_for(str(tmp_path), tmp_path)
    found = find_local_copy(config)
    assert found.fingerprint == fingerprint([tmp_path / "model.safetensors"])
    assert found.special_texts() == {"<|im_end|>"}
    given = find_local_copy(config_for(str(tmp_path), tmp_path, base_fingerprint="b" * 32))
    assert given.fingerprint == "b" * 32


@pytest.mark.parametrize("base", ["nobody/has-this-model", "/nowhere", "a/b/c", "no such!/model"])
def test_a_model_that_is_not_here_is_no_mistake(tmp_path: Path, base: str) -> None:
    assert find_local_copy(config_for(base, tmp_path)) == LocalCopy()

import asyncio
from pathlib import Path

import pytest

from inference.backend import Submit
from inference.remote.adapters import loaded_name
from inference.types import GenerationRequest, Message, Sampling
from tests.inference.remote.conftest import Connect, adapter
from tests.inference.remote.server import (
    MisbehavingServer,
    delta,
    error,
    hanging,
    reply,
    sse,
    stream,
)


def models(server: MisbehavingServer) -> list[str]:
    return [visit.body["model"] for visit in server.visits]


async def test_an_adapter_is_a_model_name(
    server: MisbehavingServer, connect: Connect, tmp_path: Path
) -> None:
    caller = await connect(adapters={"fox": "org/fox", "pirate@2": "pirate-two"})
    for info in (adapter(tmp_path), adapter(tmp_path, version=2), adapter(tmp_path, "fox"), None):
        assert (await caller.reply(info))[1].finish_reason == "stop"
    assert models(server) == ["pirate", "pirate-two", "org/fox", "llama"]
    assert server.loads == []


async def test_a_name_that_only_the_server_knows(
    server: MisbehavingServer, connect: Connect
) -> None:
    caller = await connect(adapters={"default": "house-style"})
    for name in ("default", "base", "elsewhere"):
        request = GenerationRequest(
            messages=(Message(role="user", content="Hi"),),
            adapter=name,
            sampling=Sampling(seed=1),
        )
        caller.backend.send(Submit(request, None))
        await caller.ear.end(request.id)
    assert models(server) == ["house-style", "llama", "elsewhere"]


async def test_an_adapter_is_loaded_once_for_all_who_wait(
    server: MisbehavingServer, connect: Connect, tmp_path: Path
) -> None:
    caller = await connect(load_adapters=True)
    pirate = adapter(tmp_path)
    server.load_gate.clear()
    ids = [caller.ask(pirate) for _ in range(4)]
    impatient = caller.ask(pirate)
    assert (await caller.reply())[1].finish_reason == "stop", "others go on meanwhile"
    caller.cancel(impatient)
    assert (await caller.ear.end(impatient)).finish_reason == "cancelled"
    server.load_gate.set()
    for request_id in ids:
        assert (await caller.ear.end(request_id)).finish_reason == "stop"
    name = f"pirate@1-{pirate.card.weights_hash[:12]}"
    assert loaded_name(pirate) == name
    assert server.loads == [{"lora_name": name, "lora_path": str(pirate.folder.resolve())}]
    assert models(server) == ["llama"] + [name] * 4
    assert caller.ear.stats[-1].adapter_loads == 1


async def test_versions_have_names_of_their_own(
    server: MisbehavingServer, connect: Connect, tmp_path: Path
) -> None:
    caller = await connect(load_adapters=True, adapters_path="/mnt/adapters/")
    for version in (1, 2):
        await caller.reply(adapter(tmp_path, version=version))
    assert [load["lora_path"] for load in server.loads] == [
        "/mnt/adapters/pirate/1",
        "/mnt/adapters/pirate/2",
    ]
    assert len(set(models(server))) == 2


async def test_one_that_is_loaded_already_is_as_good(
    server: MisbehavingServer, connect: Connect, tmp_path: Path
) -> None:
    caller = await connect(load_adapters=True)
    message = "The lora adapter 'x' has already been loaded. If you want to load it in place, …"
    server.load_answer = 400, {"error": {"message": message}}
    assert (await caller.reply(adapter(tmp_path)))[1].finish_reason == "stop"


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        ((500, {"error": {"message": "LoRA rank 64 is greater than max_lora_rank 16."}}),
         "cannot load adapter pirate@1: LoRA rank 64 is greater than max_lora_rank 16."),
        ((404, {"detail": "Not Found"}), "does not load adapters; start vLLM with --enable-lora"),
        ((404, {"error": {"message": "Loading lora pirate@1-x failed: No adapter found"}}),
         "cannot load adapter pirate@1: Loading lora"),
        ((401, {}), "refuses the key"),
    ],
)  # fmt: skip
async def test_one_that_cannot_be_loaded_is_a_sentence_and_tried_again_later(
    server: MisbehavingServer,
    connect: Connect,
    tmp_path: Path,
    answer: tuple[int, object],
    sentence: str,
) -> None:
    caller = await connect(load_adapters=True)
    pirate = adapter(tmp_path)
    server.load_answer = answer
    for _ in range(2):
        _, last = await caller.reply(pirate)
        assert last.finish_reason == "error"
        assert sentence in last.error
    assert len(server.loads) == 2
    server.load_answer = 200, "Success"
    assert (await caller.reply(pirate))[1].finish_reason == "stop"


async def test_weights_that_were_changed_are_not_loaded(
    server: MisbehavingServer, connect: Connect, tmp_path: Path
) -> None:
    caller = await connect(load_adapters=True)
    pirate = adapter(tmp_path)
    pirate.weights.write_bytes(b"other")
    assert "are not those that were published" in (await caller.reply(pirate))[1].error
    pirate.weights.unlink()
    assert "cannot be read" in (await caller.reply(pirate))[1].error
    assert server.loads == []


async def test_a_soft_prompt_is_refused_here_with_the_reason(
    server: MisbehavingServer, connect: Connect, tmp_path: Path
) -> None:
    caller = await connect(load_adapters=True)
    _, last = await caller.reply(adapter(tmp_path, kind="PROMPT_TUNING"))
    assert last.finish_reason == "error"
    assert "Adapter pirate@1 is a soft prompt, which the server" in last.error
    assert 'set inference.engine to "local" or choose a LoRA adapter' in last.error
    assert server.loads == []


async def test_the_least_recently_used_is_unloaded_but_none_in_use(
    server: MisbehavingServer, connect: Connect, tmp_path: Path
) -> None:
    caller = await connect(load_adapters=True, max_adapters=2)
    one, two, three, four = (adapter(tmp_path, name) for name in ("one", "two", "three", "four"))
    server.play(hanging(sse(delta("…"), done=False)), stream(reply("Hello")))
    busy = caller.ask(one)
    await caller.ear.until(lambda: caller.ear.text(busy))
    await caller.reply(two)
    await caller.reply(three)
    assert server.unloads == [loaded_name(two)]
    await caller.reply(three)
    caller.cancel(busy)
    await caller.ear.end(busy)
    await caller.reply(four)
    assert server.unloads == [loaded_name(two), loaded_name(one)]
    await caller.reply(three)
    assert len(server.loads) == 4


async def test_all_in_use_is_more_than_the_limit_for_a_while(
    server: MisbehavingServer, connect: Connect, tmp_path: Path
) -> None:
    caller = await connect(load_adapters=True, max_adapters=1)
    server.play(hanging(sse(delta("…"), done=False)))
    ids = [caller.ask(adapter(tmp_path, name)) for name in ("one", "two", "three")]
    await caller.ear.until(lambda: all(caller.ear.text(request_id) for request_id in ids))
    assert server.unloads == []


async def test_a_server_that_forgot_an_adapter_is_given_it_again(
    server: MisbehavingServer, connect: Connect, tmp_path: Path
) -> None:
    caller = await connect(load_adapters=True)
    pirate = adapter(tmp_path)
    gone = error(f"The model `{loaded_name(pirate)}` does not exist.", 404)
    await caller.reply(pirate)
    server.play(gone, stream(reply("Hello")))
    assert (await caller.reply(pirate))[1].finish_reason == "stop"
    assert len(server.loads) == 2
    server.play(gone)
    async with asyncio.timeout(20):
        assert "has no model 'pirate@1-" in (await caller.reply(pirate))[1].error


async def test_closing_while_an_adapter_loads(
    server: MisbehavingServer, connect: Connect, tmp_path: Path
) -> None:
    caller = await connect(load_adapters=True)
    server.load_gate.clear()
    request_id = caller.ask(adapter(tmp_path))
    await caller.backend.close()
    assert (await caller.ear.end(request_id)).finish_reason == "cancelled"

"""The remote engine on a real vLLM: `make test-vllm` with TROUPE_VLLM, the Python that has it."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import urllib.request
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from config import Config, InferenceSettings, PathSettings, RemoteSettings
from inference.adapters import AdapterInfo, AdapterRegistry
from inference.backend import Submit
from inference.base_model import find_base_model
from inference.model_loading import LoadedModel
from inference.remote.adapters import loaded_name
from inference.remote.backend import RemoteBackend
from inference.types import GenerationRequest, InferenceError, Message, Sampling
from tests.conftest import MODELS, MakeAdapter
from tests.inference.remote.conftest import Caller, Ear

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.skipif("TROUPE_VLLM" not in os.environ, reason="TROUPE_VLLM names no Python"),
]

PYTHON = Path(os.environ.get("TROUPE_VLLM", "python")).absolute()
KEY = "sesame"
START_SECONDS = 400
QUESTION = "Tell me about the sea."


@dataclass
class VLLM:
    process: asyncio.subprocess.Process
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def figure(self, name: str) -> float:
        """One of the server's own metrics."""
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=30) as page:
            found = re.search(rf"^vllm:{name}{{.*}} (\S+)$", page.read().decode(), re.MULTILINE)
        assert found is not None
        return float(found[1])

    async def until_idle(self) -> None:
        async with asyncio.timeout(30):
            while await asyncio.to_thread(self.figure, "num_requests_running"):  # noqa: ASYNC110
                await asyncio.sleep(0.1)


@pytest.fixture(scope="module")
async def vllm(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[VLLM]:
    """A server of the embedded model in fp32, as `docs/vllm.md` starts one."""
    model = find_base_model("embedded", MODELS, print).location
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # fmt: off
    command = [
        str(PYTHON), "-m", "vllm.entrypoints.openai.api_server",
        "--model", model, "--served-model-name", "smol", "--generation-config", "vllm",
        "--host", "127.0.0.1", "--port", str(port), "--api-key", KEY,
        "--dtype", "float32", "--max-model-len", "1024", "--max-num-seqs", "8", "--enforce-eager",
        "--enable-lora", "--max-loras", "4", "--max-cpu-loras", "8", "--max-lora-rank", "16",
        "--enable-prompt-tokens-details",
    ]
    # fmt: on
    settings = {
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True",
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "HF_HUB_OFFLINE": "1",
    }
    folder = tmp_path_factory.mktemp("vllm")
    with (folder / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *command,
            env={**os.environ, **settings},
            cwd=folder,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        server = VLLM(process, port)
        try:
            await _started(server, folder / "log")
            yield server
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()


async def _started(server: VLLM, log: Path) -> None:
    async with asyncio.timeout(START_SECONDS):
        while True:
            if server.process.returncode is not None:
                pytest.fail(await asyncio.to_thread(log.read_text))
            try:
                await asyncio.to_thread(urllib.request.urlopen, f"{server.url}/health")
                return
            except OSError:
                await asyncio.sleep(1)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> AdapterRegistry:
    return AdapterRegistry(tmp_path_factory.mktemp("data") / "adapters")


@pytest.fixture(scope="module")
def pirate(
    embedded: LoadedModel, registry: AdapterRegistry, make_adapter: MakeAdapter
) -> AdapterInfo:
    return make_adapter(embedded, registry, "pirate", seed=1)


@pytest.fixture(scope="module")
def poet(
    embedded: LoadedModel, registry: AdapterRegistry, make_adapter: MakeAdapter
) -> AdapterInfo:
    return make_adapter(embedded, registry, "poet", seed=2)


def backend_on(vllm: VLLM, data: Path, **remote: object) -> tuple[RemoteBackend, Ear]:
    values = {"urls": [vllm.url], "load_adapters": True, "api_key_variable": "TROUPE_TEST_KEY"}
    config = Config(
        paths=PathSettings(data=data),
        inference=InferenceSettings(engine="openai"),
        remote=RemoteSettings.model_validate({**values, **remote}),
    )
    ear = Ear()
    return RemoteBackend(config, vllm.url, ear), ear


@pytest.fixture
async def caller(
    vllm: VLLM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Caller]:
    monkeypatch.setenv("TROUPE_TEST_KEY", KEY)
    (tmp_path / "models").symlink_to(MODELS)
    backend, ear = backend_on(vllm, tmp_path)
    await backend.start(lambda text: None)
    yield Caller(backend, ear)
    await backend.close()


async def test_it_is_found(caller: Caller, embedded: LoadedModel) -> None:
    info = caller.ear.ready[0].info
    assert (info.name, info.context_length) == ("smol", 1024)
    assert info.fingerprint == embedded.info.fingerprint
    assert info.tokenizer_json


async def test_greedy_text_is_that_of_transformers(caller: Caller, embedded: LoadedModel) -> None:
    text, last = await caller.reply(said=QUESTION, temperature=0, max_new_tokens=24)
    chat = [Message(role="user", content=QUESTION)]
    prompt = embedded.prompt_format.encode(chat)
    import torch

    tokens = embedded.model.generate(  # type: ignore[operator]
        torch.tensor([prompt]), do_sample=False, max_new_tokens=24
    )[0, len(prompt) :]
    assert text == str(embedded.tokenizer.decode(tokens, skip_special_tokens=True)).lstrip()
    assert last.usage is not None
    assert (last.usage.prompt_tokens, last.usage.completion_tokens) == (len(prompt), 24)
    assert last.finish_reason == "length"
    # What the count rests on when no tokenizer is known is really an upper bound.
    words = len(embedded.tokenizer(QUESTION, add_special_tokens=False)["input_ids"])
    info = caller.ear.ready[0].info
    assert len(prompt) <= words + info.message_overhead + info.prompt_overhead


async def test_seeds_stops_and_prefixes(caller: Caller) -> None:
    first, _ = await caller.reply(said=QUESTION, seed=5, max_new_tokens=16)
    again, last = await caller.reply(said=QUESTION, seed=5, max_new_tokens=16)
    other, _ = await caller.reply(said=QUESTION, seed=6, max_new_tokens=16)
    assert first == again != other
    tale = "The sea is wide. " * 60  # vLLM caches whole blocks, on a CPU of 128 tokens
    for _ in range(2):
        _, last = await caller.reply(said=tale, max_new_tokens=2)
    assert last.usage is not None
    assert last.usage.cached_tokens >= 128
    whole, _ = await caller.reply(said=QUESTION, temperature=0, max_new_tokens=24)
    word = whole.split()[4]
    cut, last = await caller.reply(said=QUESTION, temperature=0, max_new_tokens=24, stop=(word,))
    assert (cut, last.finish_reason) == (whole[: whole.index(word)], "stop")
    # The fifth stop string is beyond the protocol: it is found here, and vLLM hears a hang-up.
    stops = ("~1", "~2", "~3", "~4", word)
    assert (await caller.reply(said=QUESTION, temperature=0, max_new_tokens=24, stop=stops))[
        0
    ] == cut


async def test_every_sampling_setting_is_taken(caller: Caller) -> None:
    _, last = await caller.reply(
        said=QUESTION,
        max_new_tokens=4,
        top_k=20,
        min_p=0.05,
        repetition_penalty=1.1,
        frequency_penalty=0.1,
        presence_penalty=0.1,
        logit_bias={5: -100.0},
        dry_multiplier=0.8,
        seed=2**63 - 1,
    )
    assert (last.finish_reason, last.error) == ("length", "")


async def test_cancelling_frees_the_row(vllm: VLLM, caller: Caller) -> None:
    request_id = caller.ask(said="Count to a thousand.", max_new_tokens=900, logit_bias={2: -100.0})
    await caller.ear.until(lambda: caller.ear.text(request_id))
    assert vllm.figure("num_requests_running") == 1
    caller.cancel(request_id)
    assert (await caller.ear.end(request_id)).finish_reason == "cancelled"
    await vllm.until_idle()


async def test_two_adapters_and_the_base_at_once(
    caller: Caller, pirate: AdapterInfo, poet: AdapterInfo
) -> None:
    greedy = {"temperature": 0, "max_new_tokens": 16}
    ids = {
        name: caller.ask(info, said=QUESTION, **greedy)
        for name, info in (("base", None), ("pirate", pirate), ("poet", poet))
    }
    ends = {name: await caller.ear.end(request_id) for name, request_id in ids.items()}
    assert [end.error for end in ends.values()] == ["", "", ""]
    together = {name: caller.ear.text(request_id) for name, request_id in ids.items()}
    assert len(set(together.values())) == 3, "each gives its own reply"
    for name, info in (("base", None), ("pirate", pirate), ("poet", poet)):
        assert (await caller.reply(info, said=QUESTION, **greedy))[0] == together[name]
    assert caller.ear.stats[-1].adapter_loads <= 2


async def test_an_adapter_says_what_peft_says(
    caller: Caller, embedded: LoadedModel, pirate: AdapterInfo
) -> None:
    import torch
    from peft import PeftModel
    from transformers import LlamaForCausalLM

    text, _ = await caller.reply(pirate, said=QUESTION, temperature=0, max_new_tokens=12)
    folder = find_base_model("embedded", MODELS, print).location
    base = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)
    model = PeftModel.from_pretrained(base, str(pirate.folder))
    prompt = embedded.prompt_format.encode([Message(role="user", content=QUESTION)])
    tokens = model.generate(input_ids=torch.tensor([prompt]), do_sample=False, max_new_tokens=12)[
        0, len(prompt) :
    ]
    assert text == str(embedded.tokenizer.decode(tokens, skip_special_tokens=True)).lstrip()


async def test_adapters_are_unloaded_and_loaded_again(
    vllm: VLLM, tmp_path: Path, pirate: AdapterInfo, poet: AdapterInfo,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("TROUPE_TEST_KEY", KEY)
    backend, ear = backend_on(vllm, tmp_path, max_adapters=1)
    await backend.start(lambda text: None)
    try:
        caller = Caller(backend, ear)
        short = {"temperature": 0, "max_new_tokens": 2, "said": QUESTION}
        for info in (pirate, poet, pirate):
            assert (await caller.reply(info, **short))[1].error == ""  # type: ignore[arg-type]
        # Another bot unloads it behind our back.
        await backend._server.unload_adapter(loaded_name(pirate))
        assert (await caller.reply(pirate, **short))[1].error == ""  # type: ignore[arg-type]
    finally:
        await backend.close()


async def test_what_it_refuses_is_a_sentence(
    vllm: VLLM, caller: Caller, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, last = await caller.reply(said="sea " * 2000)
    assert last.error.startswith("The prompt is too long for the model's server")
    request = GenerationRequest(
        messages=(Message(role="user", content="Hi"),), adapter="nobody", sampling=Sampling(seed=1)
    )
    caller.backend.send(Submit(request, None))
    assert "has no model 'nobody'" in (await caller.ear.end(request.id)).error
    monkeypatch.setenv("TROUPE_TEST_KEY", "wrong")
    backend, _ = backend_on(vllm, tmp_path)
    with pytest.raises(InferenceError, match="refuses the key; put a valid one into TROUPE_TEST"):
        await backend.start(lambda text: None)
    monkeypatch.setenv("TROUPE_TEST_KEY", KEY)
    backend, _ = backend_on(vllm, tmp_path, model="other")
    with pytest.raises(InferenceError, match="has no model 'other'; it has smol"):
        await backend.start(lambda text: None)


async def test_a_killed_server_is_noticed(vllm: VLLM, caller: Caller) -> None:
    """The last test of the file: the server does not come back."""
    request_id = caller.ask(said="Count to a thousand.", max_new_tokens=900, logit_bias={2: -100.0})
    await caller.ear.until(lambda: caller.ear.text(request_id))
    os.killpg(vllm.process.pid, signal.SIGKILL)
    last = await caller.ear.end(request_id)
    assert last.finish_reason == "error"
    assert "broke off in the middle" in last.error
    await caller.ear.until(lambda: caller.ear.deaths)
    assert caller.backend.state == "restarting"

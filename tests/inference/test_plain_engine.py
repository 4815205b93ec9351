from pathlib import Path

import pytest
import torch
from peft import PeftModel

from config import ModelSettings
from inference.adapters import AdapterInfo, AdapterRegistry
from inference.engine.interface import EngineRequest, TokenEvent
from inference.model_loading import LoadedModel, load_model
from inference.plain_engine import PlainEngine
from inference.types import Message, RequestRefused, Sampling
from tests.conftest import MODELS
from tests.inference.conftest import MakeAdapter

_PROMPT = tuple(range(100, 120))
_GREEDY = Sampling(temperature=0, max_new_tokens=12)


def _run(engine: PlainEngine, request: EngineRequest) -> tuple[list[int], TokenEvent]:
    engine.insert(request)
    tokens: list[int] = []
    while engine.active:
        (event,) = engine.next()
        if event.token is not None:
            tokens.append(event.token)
    return tokens, event


def _request(adapter: AdapterInfo | None = None, sampling: Sampling = _GREEDY) -> EngineRequest:
    return EngineRequest("r", _PROMPT, sampling, sampling.seed or 0, adapter)


def _reference(loaded: LoadedModel, **options: object) -> list[int]:
    ids = torch.tensor([_PROMPT])
    out = loaded.model.generate(ids, do_sample=False, max_new_tokens=12, **options)  # type: ignore[operator]
    return [token for token in out[0, len(_PROMPT) :].tolist() if token not in loaded.end_ids]


def test_greedy_is_transformers_greedy(embedded: LoadedModel) -> None:
    engine = PlainEngine(embedded)
    assert _run(engine, _request())[0] == _reference(embedded)
    sampling = _GREEDY.replace(repetition_penalty=1.3)
    expected = _reference(embedded, repetition_penalty=1.3)
    assert _run(engine, _request(sampling=sampling))[0] == expected


@pytest.fixture
def fresh_tiny(tiny_folder: Path) -> LoadedModel:
    """A model of its own: PEFT changes the modules that it wraps."""
    return load_model(ModelSettings(base=str(tiny_folder), device="cpu"), MODELS)


def test_each_request_gets_its_own_adapter(
    fresh_tiny: LoadedModel, tiny_folder: Path, tmp_path: Path, make_adapter: MakeAdapter
) -> None:
    registry = AdapterRegistry(tmp_path)
    adapters = [make_adapter(fresh_tiny, registry, "a", seed=seed) for seed in (1, 2)]
    expected = [_reference(fresh_tiny)]
    for adapter in adapters:
        other = load_model(ModelSettings(base=str(tiny_folder), device="cpu"), MODELS)
        wrapped = PeftModel.from_pretrained(other.model, str(adapter.folder))
        ids = torch.tensor([_PROMPT])
        out = wrapped.generate(input_ids=ids, do_sample=False, max_new_tokens=12)
        expected.append(out[0, len(_PROMPT) :].tolist())
    assert expected[0] != expected[1] != expected[2]
    engine = PlainEngine(fresh_tiny)
    for _ in range(2):
        for chosen, tokens in zip([None, *adapters], expected, strict=True):
            assert _run(engine, _request(chosen))[0] == tokens


def test_a_seed_makes_a_reply_reproducible(tiny: LoadedModel) -> None:
    engine = PlainEngine(tiny)
    runs = [
        _run(engine, _request(sampling=Sampling(temperature=1, max_new_tokens=20, seed=seed)))[0]
        for seed in (1, 1, 2)
    ]
    assert runs[0] == runs[1] != runs[2]


def test_ends_are_told_apart(embedded: LoadedModel, tiny: LoadedModel) -> None:
    short = _request(sampling=_GREEDY.replace(max_new_tokens=3))
    tokens, last = _run(PlainEngine(tiny), short)
    assert (len(tokens), last.finish) == (3, "length")
    question = Message(role="user", content="What is the capital of France?")
    chat = embedded.prompt_format.encode([question])
    request = EngineRequest("r", tuple(chat), _GREEDY, 0)
    tokens, last = _run(PlainEngine(embedded), request)
    assert last.finish == "stop"
    assert "Paris" in embedded.tokenizer.decode(tokens)


def test_a_prompt_over_the_context_is_refused_with_both_numbers(tiny: LoadedModel) -> None:
    with pytest.raises(RequestRefused, match="prompt has 9000 tokens but the model's context only"):
        PlainEngine(tiny).insert(EngineRequest("r", (5,) * 9000, _GREEDY, 0))


def test_removing_frees_the_row(tiny: LoadedModel) -> None:
    engine = PlainEngine(tiny)
    engine.insert(_request())
    engine.next()
    engine.remove("someone else")
    assert engine.active == 1
    engine.remove("r")
    assert (engine.active, engine.next()) == (0, [])

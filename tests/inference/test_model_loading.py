import shutil
from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertForMaskedLM

from config import ModelSettings
from inference.base_model import embedded_gguf, fingerprint
from inference.engine.batch_engine import BatchEngine, EngineSettings
from inference.engine.interface import EngineRequest, TokenEvent
from inference.model_loading import LoadedModel, load_model
from inference.types import InferenceError, Message, Sampling
from tests.conftest import MODELS


def test_the_embedded_model_is_a_llama_with_a_readable_line(embedded: LoadedModel) -> None:
    assert type(embedded.model).__name__ == "LlamaForCausalLM"
    assert embedded.end_ids == {2}
    assert embedded.info.context_length == 8192
    assert "turns end at <|im_end|> (2)" in embedded.info.summary
    assert "\n" not in embedded.info.summary


def test_a_gguf_file_and_the_embedded_model_are_the_same_base(embedded: LoadedModel) -> None:
    assert fingerprint([embedded_gguf()]) == embedded.info.fingerprint


def test_a_gguf_file_loads(tiny_folder: Path, tmp_path: Path) -> None:
    link = tmp_path / "model.gguf"
    link.symlink_to(embedded_gguf())
    loaded = load_model(ModelSettings(base=str(link), device="cpu"), MODELS)
    assert loaded.end_ids == {2}
    assert loaded.info.name == "model"


@pytest.mark.parametrize("kind", ["8bit", "4bit"])
def test_the_engine_runs_what_bitsandbytes_quantised(embedded: LoadedModel, kind: str) -> None:
    settings = ModelSettings.model_validate({"device": "cpu", "quantization": kind})
    loaded = load_model(settings, MODELS)
    assert loaded.info.dtype == kind
    question = Message(role="user", content="What is the capital of France?")
    prompt = tuple(loaded.prompt_format.encode([question]))
    expected = embedded.model(torch.tensor([prompt])).logits[0, -1].log_softmax(-1).tolist()
    engine = BatchEngine(loaded.model, loaded.end_ids, EngineSettings(rows=2, context=64))
    sampling = Sampling(temperature=0, max_new_tokens=4, logprobs=5)
    for row in "ab":
        engine.insert(EngineRequest(row, prompt, sampling, 0))
    first: dict[str, TokenEvent] = {}
    while engine.active:
        for event in engine.next():
            first.setdefault(event.id, event)
    engine.close()
    for event in first.values():
        # Eight bits cost transformers itself up to 1.0 here; nonsense would be off by far more.
        # In bfloat16 the two likeliest tokens may tie.
        likeliest = dict(event.top_logprobs)[expected.index(max(expected))]
        assert likeliest == pytest.approx(event.logprob, abs=0.02)
        for token, logprob in event.top_logprobs:
            assert logprob == pytest.approx(expected[token], abs=1.1)


def _settings(base: Path | str, **more: object) -> ModelSettings:
    return ModelSettings.model_validate({"base": str(base), "device": "cpu", **more})


def test_a_smaller_embedding_than_vocabulary_names_both_numbers(
    tiny_folder: Path, tmp_path: Path, tiny: LoadedModel
) -> None:
    folder = tmp_path / "cut"
    shutil.copytree(tiny_folder, folder)
    model = load_model(_settings(folder), MODELS).model
    model.resize_token_embeddings(1000)
    model.save_pretrained(folder)
    with pytest.raises(InferenceError, match="49152 entries but the model only 1000 embedding"):
        load_model(_settings(folder), MODELS)


def test_more_embedding_rows_than_vocabulary_are_fine(tiny_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "padded"
    shutil.copytree(tiny_folder, folder)
    model = load_model(_settings(folder), MODELS).model
    model.resize_token_embeddings(49216)
    model.save_pretrained(folder)
    assert "49216 embedding rows for 49152" in load_model(_settings(folder), MODELS).info.summary


def test_what_is_not_a_causal_model_is_named(tiny_folder: Path, tmp_path: Path) -> None:
    config = BertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, vocab_size=9)
    BertForMaskedLM(config).save_pretrained(tmp_path / "t5")
    (tmp_path / "t5" / "config.json").write_text('{"model_type": "t5"}')
    with pytest.raises(InferenceError, match="t5 model, not a causal language model"):
        load_model(_settings(tmp_path / "t5"), MODELS)


def test_a_causal_model_of_another_family_is_named(embedded: LoadedModel, tmp_path: Path) -> None:
    config = BertConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        vocab_size=len(embedded.tokenizer),
    )
    BertForMaskedLM(config).save_pretrained(tmp_path)
    embedded.tokenizer.save_pretrained(tmp_path)
    with pytest.raises(InferenceError, match="bert model, not one of the LLaMA family"):
        load_model(_settings(tmp_path), MODELS)


@pytest.mark.parametrize(
    ("base", "sentence"),
    [
        ("/nowhere/at/all", "no model folder or GGUF file '/nowhere/at/all'"),
        ("./nowhere", "no model folder or GGUF file './nowhere'"),
        ("nowhere", "no model folder or GGUF file 'nowhere'"),
        ("{tmp}/empty", "has no config.json"),
        ("{tmp}/file.bin", "is a file but not a .gguf"),
        ("{tmp}/bad.gguf", "cannot be loaded"),
        ("{tmp}/pickled", "has no .safetensors weights"),
        ("{tmp}/torn", "cannot be loaded"),
    ],
)
def test_a_model_that_is_not_there_is_one_sentence(
    tmp_path: Path, tiny_folder: Path, base: str, sentence: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.bin").write_bytes(b"x")
    (tmp_path / "bad.gguf").write_bytes(b"not a gguf")
    for name in ("pickled", "torn"):
        shutil.copytree(tiny_folder, tmp_path / name)
    (tmp_path / "pickled" / "model.safetensors").rename(tmp_path / "pickled" / "model.bin")
    (tmp_path / "torn" / "model.safetensors").write_bytes(b"\0" * 100)
    with pytest.raises(InferenceError) as caught:
        load_model(_settings(base.format(tmp=tmp_path)), MODELS)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_device_that_is_missing_is_named(tiny_folder: Path) -> None:
    if torch.cuda.is_available():
        wanted, sentence = "cuda:99", "model.device = 'cuda:99'"
    else:
        wanted, sentence = "cuda", "finds 0 CUDA devices"
    with pytest.raises(InferenceError, match=sentence):
        load_model(_settings(tiny_folder, device=wanted), MODELS)

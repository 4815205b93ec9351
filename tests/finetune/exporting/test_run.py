import errno
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from gguf import GGUFReader
from transformers import AutoModelForCausalLM, AutoTokenizer

from finetune.errors import DiskFullError, InputError, TrainingError
from finetune.exporting import gguf_model, hugging_face, meta
from finetune.exporting.meta_reader import read_logits
from finetune.exporting.run import Exported, Order, export
from inference.adapters import AdapterError
from inference.engine.rotary import pair_rows
from tests.finetune.exporting.conftest import TEXT, MakeWorkshop, Workshop, said

FORMATS = ("huggingface", "meta", "gguf", "gguf-lora")


def _export(workshop: Workshop, out: Path, adapter: str, kind: Any, **options: Any) -> Exported:
    return export(workshop.config, Order(adapter, kind, out, **options))


def _leftovers(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.rglob("*") if "exporting" in p.name or p.name == "out")


def test_a_hugging_face_folder_says_what_base_and_adapter_say(
    workshop: Workshop, tmp_path: Path
) -> None:
    adapter = workshop.publish("pirate")
    done = _export(workshop, tmp_path / "out", "pirate", "huggingface", shard_size="50KB")
    assert done.label == "pirate@1"
    assert done.dtype == "float32"
    names = [name for name in done.files() if name.endswith(".safetensors")]
    assert len(names) > 1
    assert all((done.folder / name).stat().st_size < 90e3 for name in names)
    tokenizer = AutoTokenizer.from_pretrained(done.folder)
    model = AutoModelForCausalLM.from_pretrained(done.folder)
    torch.testing.assert_close(
        said(model, tokenizer), workshop.logits(adapter), atol=1e-4, rtol=1e-4
    )
    assert not torch.allclose(said(model, tokenizer), workshop.logits(None), atol=1e-2)
    assert model.generation_config.eos_token_id == [2]
    assert tokenizer.chat_template == workshop.load().tokenizer.chat_template
    assert done.verification.effect > 100 * done.verification.tolerance


@pytest.mark.parametrize("tied", [True, False])
def test_metas_layout_says_the_same(
    make_workshop: MakeWorkshop, tmp_path: Path, tied: bool
) -> None:
    workshop = make_workshop(tie_word_embeddings=tied, intermediate_size=72)
    adapter = workshop.publish("pirate")
    done = _export(workshop, tmp_path / "out", "pirate", "meta")
    params = json.loads((done.folder / "params.json").read_text())
    wanted = {"dim": 32, "n_layers": 2, "n_heads": 4, "n_kv_heads": 2, "vocab_size": 600}
    assert params | wanted == params
    weights = torch.load(done.folder / "consolidated.00.pth", weights_only=True)
    assert weights["output.weight"].equal(weights["tok_embeddings.weight"]) is tied
    assert weights["layers.1.attention.wk.weight"].shape == (16, 32)
    ids = AutoTokenizer.from_pretrained(done.folder)(TEXT)["input_ids"]
    torch.testing.assert_close(
        read_logits(done.folder, ids), workshop.logits(adapter), atol=1e-4, rtol=1e-4
    )


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_a_gguf_file_says_the_same(workshop: Workshop, tmp_path: Path, dtype: str) -> None:
    adapter = workshop.publish("pirate")
    done = _export(workshop, tmp_path / "out", "pirate", "gguf", dtype=dtype)
    (name,) = done.files()
    kind = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}[dtype]
    assert name == f"model-{kind}.gguf"
    tensors = {tensor.name: tensor for tensor in GGUFReader(done.folder / name).tensors}
    assert tensors["blk.0.attn_q.weight"].tensor_type.name == kind
    assert tensors["output_norm.weight"].tensor_type.name == "F32"
    assert "output.weight" not in tensors  # it is the embeddings'
    tokenizer = AutoTokenizer.from_pretrained(done.folder, gguf_file=name)
    model = AutoModelForCausalLM.from_pretrained(done.folder, gguf_file=name)
    tolerance = {"float32": 1e-4, "float16": 1e-2, "bfloat16": 5e-2}[dtype]
    torch.testing.assert_close(
        said(model, tokenizer).float(), workshop.logits(adapter), atol=tolerance, rtol=tolerance
    )


@pytest.mark.parametrize("settings", [{}, {"use_rslora": True}, {"rank_pattern": {"q_proj": 2}},
    {"alpha_pattern": {"k_proj": 3}}], ids=str)  # fmt: skip
def test_an_adapter_alone_adds_what_it_adds_in_peft(
    workshop: Workshop, tmp_path: Path, settings: dict[str, Any]
) -> None:
    workshop.publish("pirate", **settings)
    done = _export(workshop, tmp_path / "out", "pirate", "gguf-lora", dtype="float32")
    reader = GGUFReader(done.folder / "adapter-F32.gguf")
    assert reader.fields["general.type"].contents() == "adapter"
    assert len(reader.tensors) == 2 * 2 * 7  # two matrices, two layers
    assert done.verification.distance < 1e-4 < done.verification.effect


@pytest.mark.parametrize("kind", ["huggingface", "meta", "gguf"])
@pytest.mark.parametrize("settings", [{"use_dora": True}, {"use_rslora": True},
    {"target_modules": ["embed_tokens", "q_proj"]}], ids=str)  # fmt: skip
def test_other_adapters_merge_as_peft_has_them(
    workshop: Workshop, tmp_path: Path, kind: str, settings: dict[str, Any]
) -> None:
    """Tied embeddings with an adapter come apart: the head must not change with them."""
    workshop.publish("odd", **settings)
    done = _export(workshop, tmp_path / "out", "odd", kind)
    assert done.verification.distance <= done.verification.tolerance < done.verification.effect


@pytest.mark.parametrize("kind", ["huggingface", "meta", "gguf"])
def test_the_base_alone_is_exported_too(workshop: Workshop, tmp_path: Path, kind: str) -> None:
    done = _export(workshop, tmp_path / "out", "base", kind)
    assert done.label == "base"
    assert done.verification.effect == 0


@pytest.mark.parametrize("kind", ["meta", "gguf"])
def test_stretched_positions_come_along(
    make_workshop: MakeWorkshop, tmp_path: Path, kind: str
) -> None:
    rope = {
        "rope_type": "llama3", "rope_theta": 500000.0, "factor": 32.0, "low_freq_factor": 1.0,
        "high_freq_factor": 4.0, "original_max_position_embeddings": 8192,
    }  # fmt: skip
    plain = make_workshop(hidden_size=64)
    without = plain.logits(None)
    stretched = make_workshop(hidden_size=64, rope_parameters=rope)
    assert not torch.allclose(stretched.logits(None), without, atol=1e-3)
    done = _export(stretched, tmp_path / "out", "base", kind, dtype="float32")
    assert done.verification.distance < 1e-4


def test_what_a_format_cannot_hold_is_said(make_workshop: MakeWorkshop, tmp_path: Path) -> None:
    yarn = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0,
        "original_max_position_embeddings": 512}  # fmt: skip
    for kind, shape, sentence in (
        ("gguf", {"rope_parameters": yarn}, "positions \\(yarn\\)"),
        ("meta", {"rope_parameters": yarn}, "positions \\(yarn\\)"),
        ("meta", {"head_dim": 16}, "4 heads of 16 in a model of 32"),
        ("meta", {"attention_bias": True}, "no biases"),
        ("gguf", {"attention_bias": True}, "no biases"),
    ):
        with pytest.raises(InputError, match=sentence):
            _export(make_workshop(**shape), tmp_path / "out", "base", kind)
    assert _leftovers(tmp_path) == []


@pytest.mark.parametrize("quantization", ["8bit", "4bit"])
def test_a_quantised_base_is_exported_dequantised(
    make_workshop: MakeWorkshop, tmp_path: Path, quantization: str
) -> None:
    workshop = make_workshop({"quantization": quantization}, hidden_size=64)
    workshop.publish("pirate")
    done = _export(workshop, tmp_path / "out", "pirate", "huggingface", dtype="float32")
    assert "quantization_config" not in json.loads((done.folder / "config.json").read_text())
    model = AutoModelForCausalLM.from_pretrained(done.folder)
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    served = said(workshop.load().model, AutoTokenizer.from_pretrained(done.folder))
    base = _export(workshop, tmp_path / "base-out", "base", "huggingface", dtype="float32")
    plain = said(AutoModelForCausalLM.from_pretrained(base.folder), workshop.load().tokenizer)
    # eight bits also round what goes into a layer, which no export can hold
    assert (plain - served.float()).abs().max() < 0.05 < served.float().abs().max()


def test_a_merge_that_changes_nothing_is_an_error(workshop: Workshop, tmp_path: Path) -> None:
    workshop.publish("empty", scale=0.0)
    with pytest.raises(AdapterError, match="changed nothing"):
        _export(workshop, tmp_path / "out", "empty", "huggingface")
    assert _leftovers(tmp_path) == []


def test_an_adapter_lost_in_rounding_is_an_error(workshop: Workshop, tmp_path: Path) -> None:
    workshop.publish("whisper", scale=1e-4)
    with pytest.raises(TrainingError, match="would be lost; export with --dtype float32"):
        _export(workshop, tmp_path / "out", "whisper", "huggingface", dtype="bfloat16")
    assert _leftovers(tmp_path) == []
    _export(workshop, tmp_path / "out", "whisper", "huggingface", dtype="float32")


@pytest.mark.parametrize("module", [hugging_face, meta, gguf_model])
def test_what_does_not_say_the_same_is_not_kept(
    workshop: Workshop, tmp_path: Path, module: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Queries and keys in the wrong order are the classic mistake of converters."""
    workshop.publish("pirate")
    write = module.write

    def wrong(merged: Any, folder: Path, *rest: Any) -> None:
        for layer in merged.model.model.layers:
            weight = layer.self_attn.k_proj.weight
            weight.data = pair_rows(weight.data, 8)
        write(merged, folder, *rest)

    monkeypatch.setattr(module, "write", wrong)
    kind = {hugging_face: "huggingface", meta: "meta", gguf_model: "gguf"}[module]
    with pytest.raises(TrainingError, match="does not say what base and adapter say"):
        _export(workshop, tmp_path / "out", "pirate", kind)
    assert _leftovers(tmp_path) == []


@pytest.mark.parametrize("kind", ["huggingface", "meta", "gguf"])
def test_a_full_disk_leaves_nothing(
    workshop: Workshop, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module: Any = {"huggingface": hugging_face, "meta": meta, "gguf": gguf_model}[kind]
    write = module.write

    def full(merged: Any, folder: Path, *rest: Any) -> None:
        write(merged, folder, *rest)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "write", full)
    out = tmp_path / "exports" / "out"
    with pytest.raises(DiskFullError, match="is full"):
        _export(workshop, out, "base", kind)
    assert _leftovers(tmp_path) == []
    assert not out.parent.exists()


def test_mistakes_are_named(workshop: Workshop, tmp_path: Path) -> None:
    workshop.publish("dora", use_dora=True)
    workshop.publish_prompt("prompt")
    out = tmp_path / "out"
    for adapter, kind, options, sentence in (
        ("nobody", "meta", {}, "There is no adapter 'nobody'"),
        ("dora@7", "meta", {}, "no version 7"),
        ("default", "gguf", {}, "was made for another base model"),
        ("base", "gguf-lora", {}, "The base has no adapter"),
        ("prompt", "huggingface", {}, "a trained prompt"),
        ("dora", "gguf-lora", {}, "lora_magnitude_vector"),
        ("dora", "meta", {"shard_size": "1GB"}, "--shard_size is for"),
        ("dora", "huggingface", {"shard_size": "many"}, "'many' is not a size"),
    ):
        with pytest.raises((InputError, AdapterError), match=sentence):
            _export(workshop, out, adapter, kind, **options)
    assert _leftovers(tmp_path) == []
    out.write_text("mine")
    with pytest.raises(InputError, match="is a file"):
        _export(workshop, out, "base", "meta")
    out.unlink()
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="is not empty"):
        _export(workshop, out, "base", "meta")
    assert [p.name for p in out.iterdir()] == ["notes.txt"]

import json
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
from gguf import GGUFReader, GGUFWriter, TokenType
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Regex, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerBase
from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS

from finetune.errors import InputError
from finetune.exporting.gguf_tokenizer import add_tokenizer, check_tokenizer
from finetune.exporting.run import Order, export
from inference.base_model import embedded_gguf
from inference.model_loading import LoadedModel
from tests.finetune.exporting.conftest import TEXT, Workshop


def _described(tokenizer: Any, folder: Path, *, origin: Path | None = None) -> dict[str, Any]:
    file = folder / "vocabulary.gguf"
    writer = GGUFWriter(file, "llama")
    add_tokenizer(writer, tokenizer, (2, 7), len(tokenizer) + 3, origin)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    return {name: field.contents() for name, field in GGUFReader(file).fields.items()}


def test_a_vocabulary_from_a_gguf_file_is_kept(workshop: Workshop, tmp_path: Path) -> None:
    first = export(workshop.config, Order("base", "gguf", tmp_path / "first"))
    file = first.folder / "model-F16.gguf"
    again = Workshop(tmp_path / "again", file)
    second = export(again.config, Order("base", "gguf", tmp_path / "second"))
    before, after = (GGUFReader(one.folder / "model-F16.gguf").fields for one in (first, second))
    names = [name for name in before if name.startswith("tokenizer.")]
    assert len(names) > 8
    for name in names:
        assert after[name].contents() == before[name].contents(), name
        assert after[name].types == before[name].types, name


@pytest.mark.slow
def test_the_embedded_models_vocabulary_is_kept_and_could_be_told_anew(
    embedded: LoadedModel, tmp_path: Path
) -> None:
    origin = {n: f.contents() for n, f in GGUFReader(embedded_gguf()).fields.items()}
    kept = _described(embedded.tokenizer, tmp_path, origin=embedded_gguf())
    names = [name for name in origin if name.startswith("tokenizer.")]
    assert len(names) > 8
    assert {name: kept[name] for name in names} == {name: origin[name] for name in names}
    made = _described(embedded.tokenizer, tmp_path)
    for name in ("model", "merges", "bos_token_id", "eos_token_id", "unknown_token_id",
        "padding_token_id", "add_bos_token"):  # fmt: skip
        assert made[f"tokenizer.ggml.{name}"] == origin[f"tokenizer.ggml.{name}"], name
    tokens, types = made["tokenizer.ggml.tokens"], made["tokenizer.ggml.token_type"]
    assert tokens[:-3] == origin["tokenizer.ggml.tokens"]
    assert types[:-3] == origin["tokenizer.ggml.token_type"]
    assert tokens[-1] == f"[PAD{len(tokens) - 1}]"
    assert types[-1] == TokenType.UNUSED
    assert made["tokenizer.ggml.eot_token_id"] == 7  # the other token that ends a turn


def _splitting(tokenizer: Any, rule: Any) -> Any:
    import copy

    changed = copy.deepcopy(tokenizer)
    changed.backend_tokenizer.pre_tokenizer = rule
    return changed


def _split(pattern: str) -> Any:
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


def test_the_rule_that_cuts_texts_is_named(
    byte_level: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    plain = pre_tokenizers.ByteLevel(add_prefix_space=False)
    digits = pre_tokenizers.Digits(individual_digits=True)
    rules = {
        "gpt-2": plain,
        "smollm": pre_tokenizers.Sequence([digits, plain]),
        "llama-bpe": _split(GGUF_PRE_TOKENIZER_SPLITS["llama-bpe"]),
        "qwen2": _split(GGUF_PRE_TOKENIZER_SPLITS["qwen2"]),
    }
    for name, rule in rules.items():
        made = _described(_splitting(byte_level, rule), tmp_path)
        assert made["tokenizer.ggml.pre"] == name


def test_other_rules_and_vocabularies_are_refused(byte_level: PreTrainedTokenizerBase) -> None:
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    with pytest.raises(InputError, match=r"convert it with llama.cpp's convert_hf_to_gguf.py"):
        check_tokenizer(_splitting(byte_level, _split(r"\w+|\W+")))
    words = Tokenizer(models.WordLevel({"a": 0, "?": 1}, unk_token="?"))
    with pytest.raises(InputError, match="WordLevel vocabulary"):
        check_tokenizer(PreTrainedTokenizerFast(tokenizer_object=words))


def test_sentencepieces_vocabulary_comes_out_as_it_was(
    sentencepiece_workshop: Workshop, sentencepiece_model: bytes, tmp_path: Path
) -> None:
    workshop = sentencepiece_workshop
    workshop.publish("pirate")
    done = export(workshop.config, Order("pirate", "gguf", tmp_path / "out", dtype="float32"))
    assert done.verification.distance < 1e-4
    fields = GGUFReader(done.folder / "model-F32.gguf").fields
    made = {name: field.contents() for name, field in fields.items()}
    pieces = sentencepiece.SentencePieceProcessor(model_proto=sentencepiece_model)
    count = pieces.vocab_size()
    assert made["tokenizer.ggml.model"] == "llama"
    assert made["tokenizer.ggml.add_bos_token"] is True
    assert made["tokenizer.ggml.add_space_prefix"] is True
    assert "[INST]" in made["tokenizer.chat_template"]
    tokens, types = made["tokenizer.ggml.tokens"], made["tokenizer.ggml.token_type"]
    assert len(tokens) == 912
    assert tokens[:count] == [pieces.id_to_piece(i) for i in range(count)]
    for i in range(count):
        kinds = {
            TokenType.UNKNOWN: pieces.is_unknown(i),
            TokenType.CONTROL: pieces.is_control(i),
            TokenType.BYTE: pieces.is_byte(i),
        }
        assert types[i] == next((k for k, holds in kinds.items() if holds), TokenType.NORMAL)
    # What llama.cpp joins first is what sentencepiece joins first.
    scores = made["tokenizer.ggml.scores"]
    merged = [i for i in range(count) if not pieces.is_byte(i) and len(pieces.id_to_piece(i)) > 1]
    merged = [i for i in merged if not pieces.is_control(i) and not pieces.is_unknown(i)]
    assert len(merged) > 300
    by_score = sorted(merged, key=lambda i: -scores[i])
    assert by_score == sorted(merged, key=lambda i: -pieces.get_score(i))


def test_texts_are_cut_alike(
    sentencepiece_workshop: Workshop, sentencepiece_model: bytes, tmp_path: Path
) -> None:
    workshop = sentencepiece_workshop
    done = export(workshop.config, Order("base", "gguf", tmp_path / "out"))
    made = AutoTokenizer.from_pretrained(done.folder, gguf_file="model-F16.gguf")
    pieces = sentencepiece.SentencePieceProcessor(model_proto=sentencepiece_model)

    @given(st.text(alphabet=st.sampled_from(TEXT + "abcdefgh the"), max_size=40))
    def check(text: str) -> None:
        ids = made(f"x{text}", add_special_tokens=False)["input_ids"]
        assert ids == pieces.encode(f"x{text}")

    check()
    assert json.dumps(made.chat_template)

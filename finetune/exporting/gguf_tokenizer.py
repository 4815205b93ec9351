"""A tokenizer as llama.cpp reads it: byte-level BPE, or sentencepiece's BPE as in LLaMA 1 and 2."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
from gguf import TokenType
from transformers import PreTrainedTokenizerBase
from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS

from finetune.errors import InputError

_NEWLINE_BYTE = "<0x0A>"
# Names of regular expressions that llama.cpp has built in, of those that LLaMAs are made with.
_SPLITS = ("llama-bpe", "qwen2", "tekken", "gpt-4o")
_PREFIX = "tokenizer.ggml."


def check_tokenizer(tokenizer: PreTrainedTokenizerBase) -> None:
    """Raise `InputError` if llama.cpp cannot cut texts as `tokenizer` does."""
    data = _data(tokenizer)
    if _kind(data) == "gpt2":
        _pre_tokenizer(data)


def add_tokenizer(
    writer: gguf.GGUFWriter,
    tokenizer: PreTrainedTokenizerBase,
    end_ids: tuple[int, ...],
    rows: int,
    origin: Path | None,
) -> None:
    """Describe `tokenizer` for a model of `rows` embeddings.

    `origin` is the GGUF file that the base came from, whose description is kept as it is. Raises
    `InputError` as `check_tokenizer` does.
    """
    if origin is not None:
        _copy(writer, origin)
    else:
        _describe(writer, tokenizer, rows)
        _add_special_ids(writer, tokenizer, end_ids)
    if isinstance(tokenizer.chat_template, str):
        writer.add_chat_template(tokenizer.chat_template)


def _copy(writer: gguf.GGUFWriter, origin: Path) -> None:
    for name, field in gguf.GGUFReader(origin).fields.items():
        if name.startswith(_PREFIX):
            inner = field.types[-1] if len(field.types) > 1 else None
            writer.add_key_value(name, field.contents(), field.types[0], sub_type=inner)


def _describe(writer: gguf.GGUFWriter, tokenizer: PreTrainedTokenizerBase, rows: int) -> None:
    data = _data(tokenizer)
    kind = _kind(data)
    merges = [_pair(merge) for merge in data["model"]["merges"]]
    texts, types = _tokens(data, tokenizer.unk_token, rows)
    writer.add_tokenizer_model(kind)
    if kind == "gpt2":
        writer.add_tokenizer_pre(_pre_tokenizer(data))
        writer.add_token_merges([" ".join(pair) for pair in merges])
    else:
        writer.add_tokenizer_pre("default")
        writer.add_token_scores(_scores(texts, merges))
        first = tokenizer.tokenize("a")[0]
        writer.add_add_space_prefix(first.startswith("▁"))
    writer.add_token_list(texts)
    writer.add_token_types(types)


def _add_special_ids(
    writer: gguf.GGUFWriter, tokenizer: PreTrainedTokenizerBase, end_ids: tuple[int, ...]
) -> None:
    ids = {
        "bos": tokenizer.bos_token_id,
        "eos": tokenizer.eos_token_id,
        "unk": tokenizer.unk_token_id,
        "pad": tokenizer.pad_token_id,
    }
    # Replies may end with other tokens than texts do; llama.cpp has a name for two of them.
    others = [end for end in end_ids if end != ids["eos"]]
    ids |= dict(zip(("eot", "eom"), others, strict=False))
    for name, token in ids.items():
        if token is not None:
            getattr(writer, f"add_{name}_token_id")(int(token))
    encoded = tokenizer("a")["input_ids"]
    writer.add_add_bos_token(bool(encoded[0] == ids["bos"]))
    writer.add_add_eos_token(bool(encoded[-1] == ids["eos"]))


def _data(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    backend: Any = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise InputError(
            "GGUF takes a tokenizer with a tokenizer.json, and this model has none; use --format"
            " huggingface."
        )
    data: dict[str, Any] = json.loads(backend.to_str())
    return data


def _kind(data: dict[str, Any]) -> str:
    """What llama.cpp calls this kind of vocabulary."""
    model = data["model"]
    if model["type"] == "BPE" and model.get("byte_fallback") and _NEWLINE_BYTE in model["vocab"]:
        return "llama"
    if model["type"] == "BPE" and "ByteLevel" in json.dumps(data["decoder"]):
        return "gpt2"
    raise InputError(
        f"GGUF export knows byte-level BPE and LLaMA's sentencepiece vocabularies, and this is a"
        f" {model['type']} vocabulary of another kind; export with --format huggingface and convert"
        " it with llama.cpp's convert_hf_to_gguf.py."
    )


def _pre_tokenizer(data: dict[str, Any]) -> str:
    """The name under which llama.cpp has the rule that cuts texts before the merges."""
    rule = data["pre_tokenizer"] or {}
    parts = rule.get("pretokenizers", [rule])
    kinds = [part.get("type") for part in parts]
    last = parts[-1]
    if last.get("type") == "ByteLevel" and not last.get("add_prefix_space"):
        if kinds == ["ByteLevel"] and last.get("use_regex"):
            return "gpt-2"
        if kinds == ["Digits", "ByteLevel"] and last.get("use_regex"):
            if parts[0].get("individual_digits"):
                return "smollm"
        elif kinds == ["Split", "ByteLevel"] and not last.get("use_regex"):
            pattern = parts[0]["pattern"].get("Regex")
            for name in _SPLITS:
                if pattern == GGUF_PRE_TOKENIZER_SPLITS[name]:
                    return name
    raise InputError(
        "GGUF names the rule that cuts texts into words, and none that it knows here"
        f" (gpt-2, smollm, {', '.join(_SPLITS)}) is this model's; export with --format huggingface"
        " and convert it with llama.cpp's convert_hf_to_gguf.py."
    )


def _tokens(
    data: dict[str, Any], unknown: str | None, rows: int
) -> tuple[list[str], list[TokenType]]:
    """The text and the type of every row of the embeddings."""
    texts = [f"[PAD{row}]" for row in range(rows)]
    types = [TokenType.UNUSED] * rows
    for text, token in data["model"]["vocab"].items():
        texts[token] = text
        types[token] = _type(text, data["model"], unknown)
    for added in data["added_tokens"]:
        if types[added["id"]] == TokenType.UNKNOWN:
            continue
        texts[added["id"]] = added["content"]
        types[added["id"]] = TokenType.CONTROL if added["special"] else TokenType.USER_DEFINED
    return texts, types


def _type(text: str, model: dict[str, Any], unknown: str | None) -> TokenType:
    if not model.get("byte_fallback"):
        return TokenType.NORMAL
    if text == unknown:
        return TokenType.UNKNOWN
    is_byte = len(text) == len(_NEWLINE_BYTE) and text.startswith("<0x") and text.endswith(">")
    return TokenType.BYTE if is_byte else TokenType.NORMAL


def _scores(texts: list[str], merges: list[tuple[str, str]]) -> list[float]:
    """Sentencepiece's scores, from the order of the merges.

    llama.cpp joins the neighbours whose token has the highest score; what is merged first must
    score highest. Tokens that no merge makes are never compared.
    """
    order: dict[str, int] = {}
    for rank, (left, right) in enumerate(merges):
        order.setdefault(left + right, rank)
    return [-float(order.get(text, len(merges))) for text in texts]


def _pair(merge: str | list[str]) -> tuple[str, str]:
    left, right = merge.split(" ") if isinstance(merge, str) else merge
    return left, right

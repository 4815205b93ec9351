"""The forward pass: tokens of many rows in, logits out.

A runner of our own over the weights of a transformers `LlamaForCausalLM`, in the manner of
gpt-fast: fused qkv and gate-up, keys and values written in place, no module calls. One pass takes
the next token of every row that decodes and, behind them, chunks of prompts that are being read,
so that one reading of the weights serves both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from inference.engine.kv_cache import KvCache
from inference.engine.linears import Linear, ModuleLinear, WeightFormat, make_linear, working_dtype
from inference.engine.lora_columns import LoraColumns
from inference.engine.operators import Shape, operators_for
from inference.engine.rotary import longest_context, pair_rows, rotation_table
from inference.types import InferenceError

_FAMILY = ("llama", "mistral")


@dataclass(frozen=True, slots=True)
class Segment:
    """A chunk of one row's prompt: tokens `start` … `start + count - 1` of the pass."""

    row: int
    start: int
    count: int
    past: int  # positions of the row that are already in the cache
    mask: Tensor  # [count, past + count], 0 where a token may look, else -inf


class Virtual(NamedTuple):
    """Tokens of a pass that have an embedding of their own: those of soft prompts."""

    places: Tensor  # [V] in the pass
    embeddings: Tensor  # [V, hidden]


@dataclass(frozen=True, slots=True)
class Pass:
    """The input of one forward pass over N tokens.

    The first `decode_rows` tokens belong to rows 0, 1, 2, … of the cache, one each, also where a
    row has nothing to decode (it writes to the scratch position and is ignored).
    """

    tokens: Tensor  # [N]
    positions: Tensor  # [N]
    slots: Tensor  # where K and V go, from `KvCache.slots`
    decode_rows: int
    window: int  # positions that decoding rows look at
    decode_mask: Tensor | None  # [decode_rows, 1, 1, window], where the runner needs masks
    segments: tuple[Segment, ...]
    owned: Tensor | None  # [N, 2] the LoRA columns of a token's adapter, from and up to
    columns: int  # LoRA columns up to the last that is in use
    outputs: Tensor | None  # [M] tokens whose logits are wanted; None: all
    virtual: Virtual | None = None  # only among the segments


@dataclass(frozen=True, slots=True)
class Layer:
    input_norm: Tensor
    qkv: Linear
    output: Linear
    mlp_norm: Tensor
    gate_up: Linear
    down: Linear


class Runner:
    """Fused weights, the KV cache and the stacked adapters of one model on one device."""

    def __init__(
        self, model: Any, *, rows: int, context: int, form: WeightFormat, columns: int
    ) -> None:
        config = model.config
        _check_family(model)
        self.device: torch.device = model.model.embed_tokens.weight.device
        # graphs are captured once for each shape, so shapes are rounded up to a few
        self.rounded = self.device.type == "cuda"
        self.context = min(context, longest_context(config))
        self.vocabulary_size = int(model.lm_head.weight.shape[0])
        native: torch.dtype = model.model.embed_tokens.weight.dtype
        self.dtype = working_dtype(form, native, self.device)
        self._shape = shape = Shape.of(model, self.dtype)
        self.head_dim = shape.head_dim
        self._operators = operators_for(shape, self.device)
        # sums over the layers stay exact where that is cheap
        self._residual = torch.float32 if self.device.type == "cpu" else self.dtype
        self._embedding = model.model.embed_tokens.weight.detach()
        self._final_norm = model.model.norm.weight.detach().to(self._residual)
        self._head = _join((model.lm_head,), form, self.dtype)
        self._layers = [self._take(layer, form) for layer in model.model.layers]
        self._rotation = rotation_table(
            model.model.rotary_emb, self.head_dim, self.context, self.device
        )[:, None]
        self.kv = KvCache(
            len(self._layers), rows, self.context, shape.kv_heads, self.head_dim, self.dtype,
            self.device,
        )  # fmt: skip
        self.lora = LoraColumns.for_model(config, self.head_dim, columns, self.dtype, self.device)

    def _take(self, layer: Any, form: WeightFormat) -> Layer:
        attention, mlp = layer.self_attn, layer.mlp
        qkv = (attention.q_proj, attention.k_proj, attention.v_proj)
        return Layer(
            input_norm=layer.input_layernorm.weight.detach().to(self._residual),
            qkv=_join(qkv, form, self.dtype, paired=2, head_dim=self.head_dim),
            output=_join((attention.o_proj,), form, self.dtype),
            mlp_norm=layer.post_attention_layernorm.weight.detach().to(self._residual),
            gate_up=_join((mlp.gate_proj, mlp.up_proj), form, self.dtype),
            down=_join((mlp.down_proj,), form, self.dtype),
        )

    @torch.inference_mode()
    def forward(self, step: Pass) -> Tensor:
        """Logits [M, vocabulary] in float32 of the tokens that `step.outputs` names."""
        lora, own = self.lora, self.lora.ownership(step.owned, step.columns)
        operators, rotation = self._operators, self._rotation[step.positions]
        x = F.embedding(step.tokens, self._embedding).to(self._residual)
        if step.virtual is not None:
            x[step.virtual.places] = step.virtual.embeddings.to(x.dtype)
        added: Tensor | None = None  # what the last block gave, until `add_norm` adds it to x
        for index, layer in enumerate(self._layers):
            h = operators.add_norm(x, added, layer.input_norm)
            qkv = lora.add("qkv", index, h, layer.qkv(h), own)
            h = self._attend(index, qkv, rotation, step)
            added = lora.add("output", index, h, layer.output(h), own)
            h = operators.add_norm(x, added, layer.mlp_norm)
            gate_up = lora.add("gate_up", index, h, layer.gate_up(h), own)
            h = operators.gate(gate_up)
            added = lora.add("down", index, h, layer.down(h), own)
        if step.outputs is not None:
            x, added = x[step.outputs], None if added is None else added[step.outputs]
        return self._head(operators.add_norm(x, added, self._final_norm)).float()

    def _attend(self, layer: int, qkv: Tensor, rotation: Tensor, step: Pass) -> Tensor:
        """Write the new keys and values, then let every token look at its own row."""
        if qkv.dtype != self.dtype:
            qkv = qkv.to(self.dtype)
        self._operators.rotate_and_keep(qkv, rotation, self.kv, layer, step.slots)
        query = qkv[:, : self._shape.query_width]
        if not step.segments:
            return self._attend_decoding(layer, query, step)
        parts = [self._attend_segment(layer, query, part) for part in step.segments]
        if step.decode_rows:
            parts.insert(0, self._attend_decoding(layer, query[: step.decode_rows], step))
        return torch.cat(parts)

    def _attend_decoding(self, layer: int, query: Tensor, step: Pass) -> Tensor:
        rows = step.decode_rows
        keys, values = self.kv.window(layer, 0, rows, step.window)
        return self._operators.attend_rows(
            query, keys, values, step.positions[:rows], step.decode_mask
        )

    @property
    def needs_masks(self) -> bool:
        """Whether a pass's decoding rows need `Pass.decode_mask`."""
        return self._operators.needs_masks

    def _attend_segment(self, layer: int, query: Tensor, part: Segment) -> Tensor:
        keys, values = self.kv.window(layer, part.row, part.row + 1, part.past + part.count)
        mine = query[part.start : part.start + part.count]
        if self.device.type == "cpu" and self.dtype == torch.bfloat16:
            return _attend_chunk_by_products(mine, keys[0], values[0], part.mask, self._shape.scale)
        heads = mine.view(1, part.count, self._shape.heads, self.head_dim).transpose(1, 2)
        out = F.scaled_dot_product_attention(
            heads,
            keys,
            values,
            attn_mask=part.mask,
            scale=self._shape.scale,
            enable_gqa=self._shape.heads != self._shape.kv_heads,
        )
        return out.transpose(1, 2).reshape(part.count, -1)


def _attend_chunk_by_products(
    query: Tensor, keys: Tensor, values: Tensor, mask: Tensor, scale: float
) -> Tensor:
    """Attention of `query` [tokens, heads · dim] over `keys` and `values` [kv heads, length, dim].

    In bfloat16 twice as fast as torch's fused CPU kernel (which gains nothing from a mask that it
    knows to be causal); in float32 it is slower.
    """
    tokens, (kv_heads, _, dim) = len(query), keys.shape
    grouped = query.view(tokens, kv_heads, -1, dim).permute(1, 2, 0, 3).flatten(1, 2)
    scores = torch.bmm(grouped, keys.transpose(1, 2)).mul_(scale).unflatten(1, (-1, tokens))
    weights = scores.add_(mask).softmax(-1).flatten(1, 2)
    out = torch.bmm(weights, values).view(-1, tokens, dim)
    return out.transpose(0, 1).reshape(tokens, -1)


def _check_family(model: Any) -> None:
    config = model.config
    if config.model_type not in _FAMILY:
        raise InferenceError(
            f"The engine runs models of the LLaMA family, not {config.model_type!r}; set model.base"
            " to a LLaMA checkpoint."
        )
    if getattr(config, "sliding_window", None):
        raise InferenceError("Models with sliding-window attention are not supported.")


def _join(
    modules: tuple[nn.Module, ...],
    form: WeightFormat,
    dtype: torch.dtype,
    *,
    paired: int = 0,
    head_dim: int = 0,
) -> Linear:
    """Several projections of the same input as one; the first `paired` get rotary row order."""
    if any(type(module) is not nn.Linear for module in modules):
        reordered = [_PairedOutput(m, head_dim) for m in modules[:paired]]
        return ModuleLinear((*reordered, *modules[paired:]), dtype)
    weights: list[Tensor] = []
    biases: list[Tensor] = []
    for index, module in enumerate(modules):
        assert isinstance(module, nn.Linear)
        order = (lambda rows: pair_rows(rows, head_dim)) if index < paired else (lambda rows: rows)
        weights.append(order(module.weight.detach()))
        if module.bias is not None:
            biases.append(order(module.bias.detach()))
    return make_linear(torch.cat(weights), torch.cat(biases) if biases else None, form)


class _PairedOutput(nn.Module):
    """A projection whose weights cannot be reordered: its outputs are."""

    def __init__(self, module: nn.Module, head_dim: int) -> None:
        super().__init__()
        self._module = module
        self._head_dim = head_dim

    def forward(self, x: Tensor) -> Tensor:
        return pair_rows(self._module(x).t(), self._head_dim).t()

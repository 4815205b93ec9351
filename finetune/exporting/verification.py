"""Whether an exported model, read back, still says what base + adapter said."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from finetune.errors import TrainingError
from finetune.exporting.merging import Merged, distance

# Largest distance between logits that rounding the weights to a type may cost: some ten times what
# was measured on the embedded model. Weights of another model are at a distance of about 1.
TOLERANCES = {torch.float32: 1e-4, torch.bfloat16: 5e-2, torch.float16: 1e-2}


@dataclass(frozen=True, slots=True)
class Verification:
    """How far the export is from base + adapter, and how far base alone is (0: no adapter)."""

    distance: float
    tolerance: float
    effect: float
    tokens: int

    def figures(self) -> dict[str, float]:
        return asdict(self)


def verify(
    merged: Merged, read: Tensor, dtype: torch.dtype, *, expected: Tensor | None = None
) -> Verification:
    """Compare the logits `read` of the exported model with those of base + adapter, or `expected`.

    Raises `TrainingError` if they are not equal within the tolerance of `dtype`, or if rounding to
    `dtype` cost as much as the adapter changed.
    """
    tolerance = max(TOLERANCES[dtype], TOLERANCES[merged.model.dtype])
    found = distance(read, merged.reference if expected is None else expected)
    if not found <= tolerance:  # also where it is no number
        raise TrainingError(
            f"The exported model, read back, does not say what base and adapter say: its logits"
            f" are {found:.2g} standard deviations away, and {tolerance:.2g} are allowed; nothing"
            " was exported."
        )
    if merged.effect and found >= merged.effect:
        raise TrainingError(
            f"Rounding to {str(dtype).removeprefix('torch.')} moves the logits by {found:.2g}, but"
            f" the adapter itself only by {merged.effect:.2g}, so it would be lost; export with"
            " --dtype float32."
        )
    return Verification(found, tolerance, merged.effect, len(merged.ids))


def verify_tokens(merged: Merged, ids: list[int]) -> None:
    """Raise `TrainingError` unless the exported tokenizer reads the text as `ids`."""
    if ids != merged.ids:
        raise TrainingError(
            "The exported tokenizer, read back, cuts a text into other tokens than the base's;"
            " nothing was exported."
        )

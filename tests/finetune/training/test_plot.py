"""The picture and the page beside an adapter."""

from __future__ import annotations

import base64
from pathlib import Path

from finetune.training.plot import PAGE, PICTURE, write_plots

HISTORY = [
    {"phase": "replies", "step": 1, "loss": 2.0, "learning_rate": 1e-3},
    {"phase": "replies", "step": 2, "loss": 1.0, "learning_rate": 5e-4},
    {"phase": "replies", "step": 2, "validation_loss": 1.5},
    {"phase": "pairs", "step": 1, "loss": 0.7, "learning_rate": 5e-5},
]


def test_the_page_holds_the_picture_and_the_figures(tmp_path: Path) -> None:
    write_plots(tmp_path, "vex <b>", HISTORY, {"final_loss": 0.7, "source": "<script>"})
    picture = (tmp_path / PICTURE).read_bytes()
    assert picture.startswith(b"\x89PNG")
    page = (tmp_path / PAGE).read_text(encoding="utf-8")
    assert base64.b64encode(picture).decode() in page
    assert "<td>final_loss</td><td>0.7</td>" in page
    assert "<script>" not in page
    assert "<b>" not in page
    assert "http" not in page

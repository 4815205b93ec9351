"""Looking at an example: what is learnt stands out."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from finetune.__main__ import main
from finetune.commands.example import marked
from finetune.dataset import IGNORE_INDEX, Encoded
from tests.finetune.conftest import MakePlace

ROWS = [{"instruction": f"Say {n}.", "output": f"{n} it is."} for n in range(8)]


def test_what_is_only_read_stands_between_marks(
    make_place: MakePlace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "rows.json"
    file.write_text(json.dumps(ROWS), encoding="utf-8")
    command = ["example", "--config", str(make_place().file), "--data_path", str(file)]
    assert main([*command, "--row", "2"]) == 0
    shown = capsys.readouterr().out
    assert "Example 2 of 8" in shown
    assert "Say 1." in shown[: shown.index("⟧")]
    assert shown[shown.index("⟧") + 1 :].startswith("1 it is.<|im_end|>")
    assert main([*command, "--add_eos_token", "false"]) == 0
    assert "<|im_end|>" not in capsys.readouterr().out.rpartition("⟧")[2]
    assert main([*command, "--train_on_inputs", "true"]) == 0
    assert "⟦" not in capsys.readouterr().out
    assert main([*command, "--row", "9"]) == 2


def test_alpaca_rows_are_shown_as_the_original_prompts_them(
    make_place: MakePlace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "rows.json"
    file.write_text(json.dumps([{**row, "input": "Loudly."} for row in ROWS]), encoding="utf-8")
    command = ["example", "--config", str(make_place().file), "--data_path", str(file)]
    assert main([*command, "--preset", "alpaca-lora", "--val_set_size", "0"]) == 0
    shown = capsys.readouterr().out
    assert "### Instruction:\nSay 0.\n\n### Input:\nLoudly.\n\n### Response:\n0 it is." in shown
    assert main(command) == 0
    assert "Say 0.\n\nLoudly.<|im_end|>" in capsys.readouterr().out


def test_on_a_terminal_it_is_dimmed() -> None:
    tokenizer = SimpleNamespace(decode=lambda ids, **_: " ".join(map(str, ids)))
    one = Encoded((5, 6, 7), (IGNORE_INDEX, 6, 7), replies=1)
    assert marked(one, tokenizer, colour=True) == "\x1b[2m5\x1b[0m6 7"

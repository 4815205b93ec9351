"""The command line: what it refuses, what it publishes, and what is left when it is killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from finetune.publishing import adapter_name, discard_abandoned
from inference.adapters import AdapterRegistry, check_name, weights_hash
from tests.conftest import REPOSITORY
from tests.finetune.conftest import MakePlace, Place, environment

ROWS = [{"instruction": f"Say {n}.", "input": "", "output": f"{n} it is."} for n in range(8)]


def rows_file(folder: Path, rows: object = ROWS) -> str:
    file = folder / "Größe & co.json"
    file.write_text(json.dumps(rows), encoding="utf-8")
    return str(file)


def refusal(done: subprocess.CompletedProcess[str], code: int = 2) -> str:
    """The one sentence of a command that failed."""
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    return done.stderr.strip().splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "--channel --data_path/--data-path is required"),
        (("--channel", "terminal:none"), "there are terminal:main (tavern)"),
        (("--channel", "terminal:main", "--data_path", "x"), "not allowed with"),
        (("--data_path", "none.json"), "There is no file none.json"),
        (("--channel", "terminal:main", "--wandb_project", "x"), "wandb is not installed"),
        (("--channel", "terminal:main", "--report_to", "trackio"), "or set report_to to none."),
        (
            ("--channel", "terminal:main", "--output_dir", str(REPOSITORY / "tests")),
            "something other than an adapter",
        ),
        (("--channel", "terminal:main", "--name", "../x"), "cannot be an adapter's name"),
        (("--channel", "terminal:main", "--name", "base"), "means the model without adapter"),
        (("--channel", "terminal:main", "--lora-r", "0"), "lora_r = 0 is not usable"),
        (("--channel", "terminal:main", "--lora_r", "x"), "invalid int value"),
        (("--channel", "terminal:main", "--seed", "-5"), "whole number from 0 to 4294967295"),
        (("--channel", "terminal:main", "--seed", "4294967296"), "whole number from 0 to"),
        (("--channel", "terminal:main", "--seed", "9" * 5000), "whole number from 0 to"),
        (
            ("--channel", "terminal:main", "--batch_size", "3", "--micro_batch_size", "2"),
            "batch_size = 3 cannot be divided",
        ),
    ],
)
def test_wrong_input_is_one_sentence(
    make_place: MakePlace, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], said: str
) -> None:
    for tool in ("wandb", "trackio"):  # as if not installed
        monkeypatch.setitem(sys.modules, tool, None)
    place = make_place()
    place.log()
    assert said in refusal(place.train(*arguments))
    assert not place.config.adapters_dir.exists()


def test_too_few_rows_are_refused(make_place: MakePlace, tmp_path: Path) -> None:
    done = make_place().train("--data_path", rows_file(tmp_path, ROWS[:3]))
    assert "only 3 replies" in refusal(done)


def test_a_template_without_place_for_the_reply_is_one_sentence(
    make_place: MakePlace, tiny_folder: Path, tmp_path: Path
) -> None:
    model = shutil.copytree(tiny_folder, tmp_path / "mute")
    (model / "chat_template.jinja").write_text(
        "{% for m in messages if m.role != 'assistant' %}<|im_start|>{{ m.role }}\n{{ m.content }}"
        "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    place = make_place(str(model))
    said = refusal(place.train("--data_path", rows_file(tmp_path)))
    assert "'tokenizer' has no place for the reply" in said
    assert "choose another with prompt_template_name" in said
    assert not place.config.adapters_dir.exists()
    assert not (place.config.paths.data / "training" / "gr-e-co").exists()


def test_openai_messages_are_learnt(make_place: MakePlace, tmp_path: Path) -> None:
    file = tmp_path / "talk.jsonl"
    chats: list[list[dict[str, object]]] = [
        [
            {"role": "system", "content": "You are Vex, who sells storms."},
            {"role": "user", "content": f"How much is storm {n}?"},
            {"role": "assistant", "content": f"Storm {n} is {n} coins."},
            {"role": "user", "content": "Too much!"},
            {"role": "assistant", "content": "Then look, friend.", "weight": n % 2},
        ]
        for n in range(6)
    ]
    file.write_text("".join(json.dumps({"messages": chat}) + "\n" for chat in chats))
    place = make_place()
    done = place.train("--data_path", str(file), "--num_epochs", "1", "--json")
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert printed["adapter"] == "talk@1"
    assert (printed["figures"]["examples"], printed["figures"]["replies"]) == (6, 9)

    spoken = {"system": "system", "user": "human", "assistant": "gpt"}
    rows = [
        {"conversations": [{"from": spoken[str(one["role"])], "value": one["content"]}
                           for one in chat]}
        for chat in chats
    ]  # fmt: skip
    done = place.train("--data_path", rows_file(tmp_path, rows), "--num_epochs", "1", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["figures"]["replies"] == 12

    del chats[4][1]["content"]
    file.write_text("".join(json.dumps({"messages": chat}) + "\n" for chat in chats))
    said = refusal(place.train("--data_path", str(file)))
    assert "row 5" in said
    assert "content" in said


def test_a_log_of_people_has_to_be_prepared_first(make_place: MakePlace, tmp_path: Path) -> None:
    log = {"channel": {"id": "7"}, "messages": []}
    said = refusal(make_place().train("--data_path", rows_file(tmp_path, log)))
    assert "is a log of people (discord); clean it first: python -m finetune prepare" in said


def test_a_file_is_learnt_and_published_version_by_version(
    make_place: MakePlace, tmp_path: Path
) -> None:
    place = make_place()
    done = place.train_apart("--data_path", rows_file(tmp_path), "--num-epochs", "1", "--json")
    assert done.returncode == 0, done.stderr
    first = json.loads(done.stdout)
    assert (first["name"], first["version"]) == ("gr-e-co", 1)
    assert first["figures"]["steps"] == len(ROWS) / first["training"]["batch_size"]
    assert "warn" not in done.stderr.lower()

    done = place.train(
        *("--data-path", rows_file(tmp_path), "--name", "gr-e-co", "--num_epochs", "1"),
        *("--batch-size", "4", "--micro_batch_size", "2", "--gradient_checkpointing", "true"),
        *("--lora-target-modules", "['q_proj','v_proj']"),
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Published gr-e-co@2: 8 replies in 8 examples, 2 steps")
    registry = AdapterRegistry(place.config.adapters_dir)
    assert registry.versions("gr-e-co") == [1, 2]
    assert registry.promoted("gr-e-co") == 2
    published = registry.resolve("gr-e-co")
    assert published is not None
    assert published.card.data_hash == first["data_hash"]
    files = sorted(file.name for file in published.folder.iterdir())
    assert files == [
        "adapter_config.json",
        "adapter_model.safetensors",
        "training.html",
        "training.png",
        "troupe.json",
    ]
    assert not any((place.config.paths.data / "training").iterdir())
    # Whoever may read the card may read the weights: the bot may be another user.
    assert len({file.stat().st_mode for file in published.folder.iterdir()}) == 1
    assert sorted(entry.name for entry in published.folder.parent.iterdir()) == [
        ".lock",
        "1",
        "2",
        "current",
        "current.copy",
    ]


def test_into_a_folder_in_half_precision_without_the_registry(
    make_place: MakePlace, tmp_path: Path
) -> None:
    place, folder = make_place(), tmp_path / "out"
    (folder / "runs").mkdir(parents=True)  # TensorBoard's, of a training that was stopped
    arguments = ("--data_path", rows_file(tmp_path), "--num_epochs", "1", "--save_dtype", "float16")
    done = place.train(*arguments, "--output_dir", str(folder), "--method", "sft", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["adapter"] is None
    assert AdapterRegistry(place.config.adapters_dir).names() == ["base", "default"]
    assert sorted(file.name for file in folder.iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
        "runs",
        "training.html",
        "training.png",
        "troupe.json",
    ]
    tensors = load_file(folder / "adapter_model.safetensors")
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float16}


def test_not_promoted_the_name_stands_for_what_it_stood_for(
    make_place: MakePlace, tmp_path: Path
) -> None:
    place = make_place()
    arguments = ("--data_path", rows_file(tmp_path), "--num_epochs", "1", "--name", "vex")
    assert place.train(*arguments).returncode == 0
    done = place.train(*arguments, "--no_promote", "--use_dora", "true")
    assert done.returncode == 0, done.stderr
    assert 'model.merge_adapter = "vex@2"' in done.stdout
    registry = AdapterRegistry(place.config.adapters_dir)
    assert registry.promoted("vex") == 1
    card = registry.resolve_version("vex", 2).card
    assert card.training["method"] == "sft"
    assert card.training["prompt_template"] == "tokenizer"
    assert "merge_adapter" in card.training["served_by"]
    assert {"peak_memory_mb", "tokens_per_second"} <= card.figures.keys()


def test_an_adapter_that_learnt_nothing_is_not_published(
    make_place: MakePlace, tmp_path: Path
) -> None:
    place = make_place()
    done = place.train(
        *("--data_path", rows_file(tmp_path), "--num_epochs", "1", "--learning_rate", "1e-300")
    )
    assert "adapter is empty" in refusal(done, code=1)
    assert list(place.config.adapters_dir.iterdir()) == []


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow),
        (signal.SIGKILL, -9),
    ],
)
def test_a_stopped_training_leaves_the_registry_as_it_was(
    make_place: MakePlace, tmp_path: Path, sent: signal.Signals, code: int
) -> None:
    place = make_place()
    endless = ("--data_path", rows_file(tmp_path), "--name", "vex", "--num_epochs", "100000")
    running = subprocess.Popen(
        place.command(*endless),
        cwd=REPOSITORY,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert running.stderr is not None
        _wait_for_the_bar(running)
        home = place.config.adapters_dir / "vex"
        assert [entry.name for entry in home.iterdir()] == [f".staging-{running.pid}"]
        running.send_signal(sent)
        _, said = running.communicate(timeout=60)
    finally:
        running.kill()
        running.wait()
    assert running.returncode == code
    assert "Traceback" not in said
    assert AdapterRegistry(place.config.adapters_dir).names() == ["base", "default"]
    if sent is not signal.SIGKILL:
        assert not home.exists()
        return
    assert home.exists()
    discard_abandoned(place.config.adapters_dir)  # as the next training does
    assert not home.exists()


def _wait_for_the_bar(running: subprocess.Popen[str]) -> None:
    """Return once training has begun."""
    assert running.stderr is not None
    shown = ""
    while "step/s" not in shown:
        piece = running.stderr.read(1)
        assert piece, shown  # it ended
        shown += piece


def test_staging_of_living_processes_is_left_alone(make_place: MakePlace) -> None:
    place = make_place()
    staging = AdapterRegistry(place.config.adapters_dir).staging_folder("vex")
    discard_abandoned(place.config.adapters_dir)
    assert staging.name == f".staging-{os.getpid()}"
    assert staging.is_dir()


@pytest.mark.parametrize("wanted", ["mirela", "Größe & co", "...", "", "base", "default", "x" * 99])
def test_any_name_becomes_a_legal_one(wanted: str) -> None:
    check_name(adapter_name(wanted))
    assert adapter_name(wanted) not in ("base", "default")


def test_the_published_card_is_complete(brass_moon: tuple[Place, dict[str, object]]) -> None:
    place, printed = brass_moon
    adapter = AdapterRegistry(place.config.adapters_dir).resolve("vex")
    assert adapter is not None
    card = adapter.card
    assert printed["adapter"] == "vex@1"
    assert (card.base_model, card.prompt_format) == ("SmolLM2-135M-Instruct", "tokenizer")
    assert len(card.base_fingerprint) == 32
    assert card.weights_hash == weights_hash(adapter.folder)
    assert card.data_hash == printed["data_hash"]
    assert card.note == "twenty turns"
    assert card.training["learning_rate"] == 1e-3
    assert card.training["source"] == "terminal:main"
    assert {"final_loss", "steps", "examples", "seconds"} <= card.figures.keys()
    age = time.time() - (adapter.folder / "troupe.json").stat().st_mtime
    assert 0 <= age < 3600

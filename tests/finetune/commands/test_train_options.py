"""The command line of training: its options, the preset and alpaca-lora's own."""

from __future__ import annotations

import argparse
import subprocess
import sys

import pytest

from config import Config, FinetuneSettings
from finetune.commands.train import add_parser, settings_of
from finetune.errors import InputError
from tests.conftest import REPOSITORY


def test_help_is_instant() -> None:
    code = (
        "import sys; from finetune.__main__ import main\n"
        "try: main(['train', '--help'])\n"
        "finally: assert not {'torch', 'transformers', 'trl', 'peft'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert "--lora_target_modules" in done.stdout
    assert "--lora-target-modules" in done.stdout


def test_every_parameter_of_the_seed_is_explained() -> None:
    seed = (
        "base_model data_path output_dir batch_size micro_batch_size num_epochs learning_rate"
        " cutoff_len val_set_size lora_r lora_alpha lora_dropout lora_target_modules"
        " train_on_inputs add_eos_token group_by_length wandb_project wandb_run_name wandb_watch"
        " wandb_log_model resume_from_checkpoint prompt_template_name"
    )
    options = {
        option: action for action in train_parser()._actions for option in action.option_strings
    }
    for name in seed.split():
        action = options[f"--{name}"]
        assert options[f"--{name.replace('_', '-')}"] is action
        assert action.help is not None
        assert len(action.help) > 20, name


def train_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers()
    add_parser(commands)
    return commands.choices["train"]


def parsed(*arguments: str) -> FinetuneSettings:
    options = train_parser().parse_args(["--data_path", "x", *arguments])
    return settings_of(Config(), options)


def test_the_preset_is_alpaca_loras_and_what_is_given_wins() -> None:
    assert parsed() == FinetuneSettings()
    preset = parsed("--preset", "alpaca-lora", "--lora_r", "4")
    assert (preset.batch_size, preset.micro_batch_size, preset.num_epochs) == (128, 4, 3)
    assert (preset.learning_rate, preset.cutoff_len, preset.val_set_size) == (3e-4, 256, 2000)
    assert (preset.lora_r, preset.lora_alpha, preset.lora_dropout) == (4, 16, 0.05)
    assert preset.lora_target_modules == ["q_proj", "v_proj"]
    assert (preset.train_on_inputs, preset.add_eos_token, preset.group_by_length) == (
        True,
        False,
        False,
    )
    assert preset.prompt_template_name == "alpaca"


def test_alpaca_loras_own_command_line_is_understood() -> None:
    command = (
        "--base_model decapoda-research/llama-7b-hf --output_dir ./lora-alpaca --batch_size 128"
        " --micro_batch_size 4 --num_epochs 3 --learning_rate 1e-4 --cutoff_len 512 --val_set_size"
        " 2000 --lora_r 8 --lora_alpha 16 --lora_dropout 0.05 --lora_target_modules [q_proj,v_proj]"
        " --train_on_inputs --group_by_length"
    )
    settings = parsed(*command.split())
    assert settings.lora_target_modules == ["q_proj", "v_proj"]
    assert settings.train_on_inputs
    assert settings.group_by_length
    assert not parsed("--train_on_inputs", "False", "--add-eos-token=false").add_eos_token


def test_a_wandb_project_means_reporting_to_wandb() -> None:
    assert parsed("--wandb_project", "troupe").report_to == "wandb"
    assert parsed("--report_to", "wandb", "--wandb_watch", "all").report_to == "wandb"


@pytest.mark.parametrize(
    "arguments",
    [("--wandb_run_name", "x"), ("--wandb_project", "x", "--report_to", "tensorboard")],
)
def test_wandb_options_that_nobody_would_read_are_refused(arguments: tuple[str, ...]) -> None:
    with pytest.raises(InputError, match=f"{arguments[0]} is for Weights & Biases"):
        parsed(*arguments)

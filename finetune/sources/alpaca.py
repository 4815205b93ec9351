"""Alpaca files as examples: JSON or JSONL rows of `instruction`, `input` and `output`."""

from __future__ import annotations

from pathlib import Path

from finetune.dataset import Example, Turn
from finetune.sources.chat_rows import alpaca
from finetune.sources.json_files import json_rows
from inference.prompt_format import input_heading
from inference.types import Message


def read_alpaca(file: Path, prompt_format: str = "") -> list[Example]:
    """One example for every row whose output says something, as `prompt_format` has its input.

    Raises `InputError` with the line of what is not JSON, or the row (counted from 1) and key of
    what is missing or no text.
    """
    heading = input_heading(prompt_format)
    return [
        Example(
            tuple(
                Turn(
                    Message(role="assistant" if said.line.own else "user", content=said.line.text),
                    taught=said.line.own,
                )
                for said in dialogue.said
            ),
            dialogue.source,
        )
        for dialogue in alpaca(file, json_rows(file), None, heading)
        if dialogue.replies and dialogue.said[-1].line.text.strip()
    ]

"""Single prompts in an instruction template, as the seeds' `generate.py` has them.

No character, no memory: what stands in the two boxes is the whole prompt.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import get_args

from bot.errors import CommandError
from bot.plain_text import well_formed
from bot.web.sampling import checked
from bot.web.visit import Visit
from config import PromptFormatName
from inference.adapters import AdapterError, check_prompt_format
from inference.prompt_format import input_heading
from inference.types import GenerationRequest, InferenceError, Message, Sampling

TEMPLATES: tuple[PromptFormatName, ...] = get_args(PromptFormatName)


@dataclass(frozen=True, slots=True)
class Instruction:
    """One prompt. `template` `auto` is the model's own. `seed` None: another one every time."""

    instruction: str
    input: str = ""
    template: PromptFormatName = "auto"
    adapter: str = "default"
    sampling: dict[str, object] = field(default_factory=dict)
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class Written:
    """The answer so far; at its end with what wrote it and what that cost."""

    text: str
    note: str = ""


def prompt_of(wanted: Instruction, own_format: str) -> str:
    """Instruction and input as one user turn, as training on such rows puts them together.

    `own_format` is the model's, which `auto` stands for.
    """
    heading = input_heading(own_format if wanted.template == "auto" else wanted.template)
    given = wanted.input.strip()
    below = f"{heading}\n{given}" if heading and given else given
    return "\n\n".join(part for part in (wanted.instruction.strip(), below) if part)


async def instruct(visit: Visit, wanted: Instruction) -> AsyncGenerator[Written, None]:
    """Write the answer. Raises `CommandError` or `InferenceError` in a sentence.

    On a page that is public it counts as a reply to the visitor, as a turn does.
    """
    house, client = visit.house, visit.house.models
    text = well_formed(prompt_of(wanted, client.info.prompt_format))
    if not text:
        raise CommandError("Write an instruction first.")
    house.check_length(text)
    if house.public and (refusal := house.behind.turns.limits.take(visit.author)):
        raise CommandError(refusal.sentence)
    request = GenerationRequest(
        id=uuid.uuid4().hex,
        messages=(Message(role="user", content=text),),
        prompt_format=wanted.template,
        adapter=wanted.adapter,
        sampling=checked(Sampling().model_dump(), {**wanted.sampling, "seed": wanted.seed}),
        channel=f"{visit.author}:instruct",
        user=visit.author,
    )
    remark = _unfamiliar(visit, wanted)
    written = ""
    async with aclosing(client.generate(request)) as chunks:
        async for chunk in chunks:
            written = chunk.text if chunk.restart else written + chunk.text
            if chunk.finish_reason is None:
                yield Written(written.lstrip())
                continue
            if chunk.finish_reason == "error":
                raise InferenceError(chunk.error)
            cost = ""
            if chunk.usage is not None:
                used = chunk.usage
                cost = (
                    f", {used.prompt_tokens} tokens read and {used.completion_tokens} written in"
                    f" {used.total_seconds:.1f} s"
                )
            ended = {"length": "; the limit of new tokens was reached", "cancelled": "; stopped"}
            note = f"by {chunk.adapter}{cost}{ended.get(chunk.finish_reason, '')}. {remark}"
            yield Written(written.strip(), note.strip())


def _unfamiliar(visit: Visit, wanted: Instruction) -> str:
    """A remark if the adapter learnt another template than the one it is asked in."""
    client = visit.house.models
    template = client.info.prompt_format if wanted.template == "auto" else wanted.template
    adapter = client.adapters.resolve(wanted.adapter, client.info.fingerprint)
    try:
        check_prompt_format(adapter, template)
    except AdapterError:
        assert adapter is not None
        learnt = adapter.card.prompt_format
        return f"This adapter was trained in another template ({learnt}), so it may answer oddly."
    return ""

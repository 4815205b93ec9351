"""What several tabs of the page are made of."""

from __future__ import annotations

import asyncio
import functools
import html
import logging
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import gradio as gr

from bot.errors import UNEXPECTED, sentence_for
from bot.plain_text import display_name
from bot.terminal import GUEST
from bot.web.sampling import NO_BEAMS, OFFERED, limits, seed_of
from bot.web.stage import Shown
from bot.web.visit import House
from inference.adapters import AdapterError, AdapterRegistry
from inference.types import ModelInfo

log = logging.getLogger(__name__)

Updates = list[Any]
Views = AsyncGenerator[Any, None]

# What every event has: no overlay while it runs, and no interface for programs.
HIDDEN: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}

_LABELS = {
    "temperature": "Temperature",
    "top_p": "Top p",
    "top_k": "Top k",
    "min_p": "Min p",
    "repetition_penalty": "Repetition penalty",
    "max_new_tokens": "Longest reply, in tokens",
}
_WHOLE = ("top_k", "max_new_tokens")


@dataclass(frozen=True, slots=True)
class SamplingForm:
    """Sliders for the sampling settings, and a box for the seed."""

    sliders: tuple[gr.Slider, ...]
    seed: gr.Textbox

    @property
    def inputs(self) -> list[Any]:
        return [*self.sliders, self.seed]

    @staticmethod
    def chosen(values: Sequence[Any]) -> dict[str, object]:
        """What `inputs` hold, as settings. Raises `CommandError` for a seed that is none."""
        *numbers, seed = values
        chosen: dict[str, object] = {
            name: int(number) if name in _WHOLE else float(number)
            for name, number in zip(OFFERED, numbers, strict=True)
        }
        return {**chosen, "seed": seed_of(seed)}

    @staticmethod
    def shown(values: Mapping[str, object]) -> Updates:
        """Settings as values of `inputs`."""
        seed = values.get("seed")
        return [*(values[name] for name in OFFERED), "" if seed is None else str(seed)]


def sampling_form(values: Mapping[str, object], *, label: str = "Sampling") -> SamplingForm:
    """The form, folded up, with `values` in it at first."""
    with gr.Accordion(label, open=False):
        sliders = []
        for name in OFFERED:
            least, most, step = limits(name)
            sliders.append(
                gr.Slider(
                    least,
                    most,
                    value=values[name],  # type: ignore[arg-type]
                    step=step,
                    label=_LABELS[name],
                    interactive=True,
                )
            )
        seed = gr.Textbox(
            "", label="Seed", placeholder="empty: another one every time", max_lines=1
        )
        gr.Markdown(NO_BEAMS, elem_classes="aside")
    return SamplingForm(tuple(sliders), seed)


def say_box(elem_id: str, placeholder: str, *, autofocus: bool = False) -> gr.Textbox:
    """Where a visitor types; beside it stands a button."""
    return gr.Textbox(
        "",
        elem_id=elem_id,
        placeholder=placeholder,
        show_label=False,
        container=False,
        scale=6,
        max_lines=6,
        autofocus=autofocus,
    )


def called(name: str) -> str:
    """What characters call a visitor who typed `name`."""
    return display_name(name) if name.strip() else GUEST


def bubbles(lines: Sequence[Shown]) -> list[dict[str, Any]]:
    """Lines as Gradio's chat shows them; what was said is text and never HTML."""
    return [_bubble(line) for line in lines]


def _bubble(line: Shown) -> dict[str, Any]:
    content = html.escape(line.text, quote=False)
    if not line.id:
        return {"role": "assistant", "content": content, "metadata": {"title": "Notice"}}
    return {"role": "user" if line.own else "assistant", "content": content}


def chat_view(lines: Sequence[Shown], **more: Any) -> Any:
    """The whole chat, votes included; for when nothing of it is growing."""
    votes = {True: "Like", False: "Dislike", None: None}
    feedback = [votes[line.liked] for line in lines if not line.own]
    return gr.update(value=bubbles(lines), feedback_value=feedback, **more)


def persona_choices(house: House) -> list[tuple[str, str]]:
    """Names and ids of the cast, without those who may not speak to everybody."""
    return [
        (character.name, character.id)
        for character in house.behind.casting.cast.all()
        if not (house.public and character.age_restricted)
    ]


async def adapter_choices(house: House) -> list[tuple[str, str]]:
    """Adapters of the present model; a name says which version it stands for."""
    suggested = await house.behind.commands.suggest_adapters("")
    names = [suggestion.value for suggestion in suggested]
    return await asyncio.to_thread(_usable, house.models.adapters, names, house.models.info)


def _usable(
    adapters: AdapterRegistry, names: Sequence[str], model: ModelInfo
) -> list[tuple[str, str]]:
    choices = []
    for name in names:
        try:
            info = adapters.resolve(name, model.fingerprint)
        except AdapterError as error:  # it stands for a version of another model
            log.info("The page does not offer %s: %s", name, error)
            continue
        stands_for = f" ({info.label})" if info is not None and info.label != name else ""
        choices.append((f"{name}{stands_for}", name))
    return choices


def among(choices: Sequence[tuple[str, str]], wanted: str) -> Any:
    """A dropdown's update: `wanted` if it is there, else the first."""
    values = [value for _, value in choices]
    value = wanted if wanted in values else next(iter(values), None)
    return gr.update(choices=list(choices), value=value)


def told(handler: Callable[..., Views]) -> Callable[..., Views]:
    """A handler whose failures are told in a sentence instead of Gradio's red overlay."""

    @functools.wraps(handler)
    async def safely(*inputs: Any) -> Views:
        try:
            async with aclosing(handler(*inputs)) as views:  # who goes away ends it at once
                async for view in views:
                    yield view
        except Exception as error:
            sentence = sentence_for(error)
            if sentence is None:
                log.error("The page's %s failed.", handler.__name__, exc_info=error)
            gr.Warning(html.escape(sentence or UNEXPECTED, quote=False), title="That did not work")
            yield gr.skip()

    return safely

"""The tab for single prompts in an instruction template."""

from __future__ import annotations

from contextlib import aclosing
from typing import Any

import gradio as gr

from bot.web.instructing import TEMPLATES, Instruction, Written, instruct
from bot.web.sampling import INSTRUCTED, SEED
from bot.web.visit import House, Visit
from bot.web.widgets import (
    HIDDEN,
    SamplingForm,
    Updates,
    Views,
    adapter_choices,
    among,
    sampling_form,
    told,
)
from inference.adapters import BASE

_ABOUT = (
    "One prompt, without character and memory, in the template that the model or adapter was"
    " trained with."
)
_OWN = "the model's own"
_WRITING = "Writing …"


class InstructTab:
    """Its widgets and what they do. Built inside the page's `gr.Blocks`."""

    def __init__(self, house: House, token: gr.BrowserState) -> None:
        self._house = house
        gr.Markdown(_ABOUT, elem_classes="aside")
        with gr.Row():
            with gr.Column(min_width=300):
                instruction = gr.Textbox(
                    "",
                    label="Instruction",
                    elem_id="instruction",
                    lines=3,
                    placeholder="Tell me about alpacas.",
                )
                given = gr.Textbox(
                    "", label="Input", elem_id="input", lines=2, placeholder="none (optional)"
                )
                with gr.Row():
                    self._template = gr.Dropdown(
                        [(_OWN if name == "auto" else name, name) for name in TEMPLATES],
                        value="auto",
                        label="Template",
                        elem_id="template",
                        interactive=True,
                        min_width=140,
                    )
                    self._adapter = gr.Dropdown(
                        label="Adapter", elem_id="instruct-adapter", interactive=True, min_width=140
                    )
                form = sampling_form(INSTRUCTED)
                stream = gr.Checkbox(label="Show the answer while it is written", value=True)
            with gr.Column(min_width=300):
                output = gr.Textbox(
                    label="Output", elem_id="output", lines=12, interactive=False,
                    buttons=["copy"],
                )  # fmt: skip
                note = gr.Markdown(elem_id="note", elem_classes="aside")
                with gr.Row():
                    submit = gr.Button("Submit", variant="primary", min_width=100)
                    stop = gr.Button("Stop", min_width=100)
        inputs = [token, instruction, given, self._template, self._adapter, stream, *form.inputs]
        writing = submit.click(told(self._instruct), inputs, [output, note], **HIDDEN)
        stop.click(_stopped, [note], [note], cancels=[writing], **HIDDEN)

    @property
    def outputs(self) -> list[Any]:
        """What `load` fills."""
        return [self._adapter]

    async def load(self, visit: Visit) -> Updates:
        return [among(await adapter_choices(self._house), BASE)]

    async def _instruct(
        self,
        token: object,
        instruction: str,
        given: str,
        template: Any,
        adapter: str,
        stream: bool,
        *form: Any,
    ) -> Views:
        chosen = SamplingForm.chosen(form)
        seed = chosen.pop(SEED)
        wanted = Instruction(
            instruction,
            given,
            template,
            adapter,
            chosen,
            seed if isinstance(seed, int) else None,
        )
        yield "", _WRITING
        written = Written("")
        try:
            async with aclosing(instruct(self._house.known(token), wanted)) as views:
                async for written in views:
                    if stream and not written.note:
                        yield written.text, gr.skip()
        except Exception:
            yield written.text, ""
            raise
        yield written.text, written.note


def _stopped(note: str) -> Any:
    """The note under an answer that is not written to its end."""
    return "Stopped." if note == _WRITING else gr.skip()

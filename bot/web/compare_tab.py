"""The tab that shows two adapters side by side, on the same message and seed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr

from bot.web.comparing import Comparison, compare, drawn_seed, start_over
from bot.web.sampling import SEED
from bot.web.stage import Shown
from bot.web.visit import House, Visit
from bot.web.widgets import (
    HIDDEN,
    SamplingForm,
    Updates,
    Views,
    adapter_choices,
    among,
    bubbles,
    called,
    chat_view,
    persona_choices,
    sampling_form,
    say_box,
    told,
)
from inference.adapters import BASE

_ABOUT = (
    "Both get the same message, character, settings and seed; each goes on with its own replies."
    " Nothing that is said here is used for training."
)


class CompareTab:
    """Its widgets and what they do. Built inside the page's `gr.Blocks`."""

    def __init__(self, house: House, token: gr.BrowserState, name: gr.Textbox) -> None:
        self._house = house
        gr.Markdown(_ABOUT, elem_classes="aside")
        with gr.Row(elem_classes="sides"):
            self._sides = [self._side("left"), self._side("right")]
        with gr.Row(elem_classes="say"):
            self._box = say_box("compare-say", "Say something to both")
            send = gr.Button("Send to both", variant="primary", scale=1, min_width=120)
            over = gr.Button("Start over", scale=1, min_width=100)
        with gr.Row():
            self._persona = gr.Dropdown(
                label="Character", elem_id="compare-persona", interactive=True, scale=1
            )
            with gr.Column(scale=2, min_width=280):
                self._form = sampling_form(house.behind.config.sampling.model_dump())
        chats, adapters = self._chats(), [adapter for adapter, _ in self._sides]
        gr.on(
            [self._box.submit, send.click],
            told(self._compare),
            [token, name, self._box, self._persona, *adapters, *self._form.inputs],
            [self._box, *chats, self._form.seed],
            **HIDDEN,
        )
        over.click(told(self._start_over), [token, name], chats, **HIDDEN)

    @staticmethod
    def _side(side: str) -> tuple[gr.Dropdown, gr.Chatbot]:
        with gr.Column(min_width=280):
            adapter = gr.Dropdown(
                label=f"Adapter on the {side}", elem_id=f"adapter-{side}", interactive=True
            )
            chat = gr.Chatbot(
                elem_id=f"compare-{side}",
                label="Replies",
                height="45vh",
                min_height=240,
                buttons=["copy"],
                latex_delimiters=[],
                feedback_options=None,
                group_consecutive_messages=False,
                placeholder="Nothing said yet.",
            )
        return adapter, chat

    def _chats(self) -> list[gr.Chatbot]:
        return [chat for _, chat in self._sides]

    @property
    def outputs(self) -> list[Any]:
        """What `load` fills."""
        widgets = [widget for side in self._sides for widget in side]
        return [*widgets, self._persona, *self._form.inputs]

    async def load(self, visit: Visit) -> Updates:
        """The comparison as this browser left it; at first the base model beside the default."""
        choices = await adapter_choices(self._house)
        casting = self._house.behind.casting
        updates: Updates = []
        for side, first in zip(visit.compared, (BASE, ""), strict=True):
            chosen = (await side.channel()).adapter or first or await side.adapter()
            updates += [among(choices, chosen), _view(await side.shown(), "")]
        left = visit.compared[0]
        return [
            *updates,
            among(persona_choices(self._house), casting.own(await left.channel())),
            *SamplingForm.shown({**await left.sampling(), SEED: None}),
        ]

    async def _compare(
        self, token: object, name: str, text: str, persona: str, left: str, right: str, *form: Any
    ) -> Views:
        visit = self._house.known(token)
        chosen = SamplingForm.chosen(form)
        given = chosen.pop(SEED)
        seed = given if isinstance(given, int) else drawn_seed()
        wanted = Comparison(text, persona, (left, right), chosen, seed)
        box: Any = ""
        views: Sequence[Sequence[Shown]] = ()
        async for views in compare(visit, wanted, called(name)):
            yield box, *(gr.update(value=bubbles(lines)) for lines in views), gr.skip()
            box = gr.skip()
        labels = (f"{_wrote(lines)}, seed {seed}" for lines in views)
        settled = (_view(lines, label) for lines, label in zip(views, labels, strict=True))
        yield gr.skip(), *settled, gr.skip()

    async def _start_over(self, token: object, name: str) -> Views:
        visit = self._house.known(token)
        yield tuple(_view(lines, "") for lines in await start_over(visit, called(name)))


def _view(lines: Sequence[Shown], label: str) -> Any:
    return chat_view(lines, label=label or "Replies")


def _wrote(lines: Sequence[Shown]) -> str:
    """What answered last."""
    return next((line.adapter for line in reversed(lines) if line.adapter), "no reply")

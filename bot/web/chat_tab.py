"""The tab to talk with a character."""

from __future__ import annotations

from typing import Any

import gradio as gr

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

_HELP = "`/help` lists what else can be typed: memory, notes, lore, privacy and more."


class ChatTab:
    """Its widgets and what they do. Built inside the page's `gr.Blocks`."""

    def __init__(self, house: House, token: gr.BrowserState, name: str) -> None:
        self._house = house
        self._token = token
        with gr.Row(elem_classes="stage"):
            with gr.Column(scale=3, min_width=320):
                self._chat = gr.Chatbot(
                    elem_id="chat",
                    height="60vh",
                    min_height=320,
                    buttons=["copy"],
                    latex_delimiters=[],
                    group_consecutive_messages=False,
                    placeholder="Say something.",
                )
                with gr.Row(elem_classes="say"):
                    self._box = say_box("say", "Say something", autofocus=True)
                    self._send = gr.Button("Send", variant="primary", scale=1, min_width=80)
                with gr.Row(elem_classes="controls"):
                    self._stop = gr.Button("Stop", size="sm", min_width=80)
                    self._again = gr.Button("Regenerate", size="sm", min_width=80)
                    self._back = gr.Button("Previous", size="sm", min_width=80)
                    self._on = gr.Button("Next", size="sm", min_width=80)
                    self._undo = gr.Button("Undo", size="sm", min_width=80)
                    self._over = gr.Button("Start over", size="sm", min_width=80)
            with gr.Column(scale=1, min_width=280):
                self._persona = gr.Dropdown(label="Character", elem_id="persona", interactive=True)
                self._adapter = gr.Dropdown(label="Adapter", elem_id="adapter", interactive=True)
                self._name = gr.Textbox(label="Your name", value=name, max_lines=1)
                self._form = sampling_form(house.behind.config.sampling.model_dump())
                gr.Markdown(_HELP, elem_classes="aside")
        self._wire()

    @property
    def outputs(self) -> list[Any]:
        """What `load` fills."""
        return [self._chat, self._persona, self._adapter, *self._form.inputs]

    async def load(self, visit: Visit, name: str) -> Updates:
        """The conversation as this browser left it."""
        await visit.chat.open(called(name))
        channel = await visit.chat.channel()
        casting = self._house.behind.casting
        return [
            await self._view(visit),
            among(persona_choices(self._house), casting.own(channel)),
            among(await adapter_choices(self._house), casting.chosen_adapter(channel)),
            *SamplingForm.shown(await visit.chat.sampling()),
        ]

    @property
    def name(self) -> gr.Textbox:
        return self._name

    def _wire(self) -> None:
        who = [self._token, self._name]
        said = gr.on(
            [self._box.submit, self._send.click],
            told(self._say),
            [*who, self._box, *self._form.inputs],
            [self._box, self._chat],
            **HIDDEN,
        )
        again = self._again.click(
            told(self._regenerate), [*who, *self._form.inputs], [self._chat], **HIDDEN
        )
        # The end of a reply comes once more when its event is over; it must not cover an undo.
        anew = {"cancels": [said, again], **HIDDEN}
        self._stop.click(told(self._end), who, None, **HIDDEN)
        self._back.click(told(self._swipe_back), who, [self._chat], **HIDDEN)
        self._on.click(told(self._swipe_on), who, [self._chat], **HIDDEN)
        self._undo.click(told(self._take_back), who, [self._chat], **anew)
        self._over.click(told(self._start_over), who, [self._chat], **anew)
        self._persona.input(
            told(self._set_persona), [*who, self._persona], [self._chat, self._adapter], **anew
        )
        self._adapter.input(told(self._set_adapter), [*who, self._adapter], None, **HIDDEN)
        # A change of mind comes while the first vote is under way, and would else be dropped.
        self._chat.like(told(self._vote), [self._token], None, trigger_mode="multiple", **HIDDEN)

    async def follow(self, token: object) -> Views:
        """What is still being written when a browser comes back."""
        async for lines in self._house.known(token).chat.follow():
            yield gr.update(value=bubbles(lines))

    async def _say(self, token: object, name: str, text: str, *form: Any) -> Views:
        visit = self._house.known(token)
        await visit.chat.set_sampling(SamplingForm.chosen(form))
        box: Any = ""
        async for lines in visit.chat.take(text, called(name)):
            yield box, gr.update(value=bubbles(lines))
            box = gr.skip()  # who types on meanwhile loses nothing

    async def _regenerate(self, token: object, name: str, *form: Any) -> Views:
        visit = self._house.known(token)
        await visit.chat.set_sampling(SamplingForm.chosen(form))
        async for lines in visit.chat.regenerate():
            yield gr.update(value=bubbles(lines))
        yield await self._view(visit)

    async def _end(self, token: object, name: str) -> Views:
        await self._house.known(token).chat.stop()
        yield None

    async def _vote(self, token: object, liked: gr.LikeData) -> Views:
        at = liked.index if isinstance(liked.index, int) else liked.index[0]
        mark = liked.liked if isinstance(liked.liked, bool) else None
        await self._house.known(token).chat.vote(at, mark)
        yield None

    async def _swipe_back(self, token: object, name: str) -> Views:
        yield chat_view(await self._house.known(token).chat.swipe(-1))

    async def _swipe_on(self, token: object, name: str) -> Views:
        yield chat_view(await self._house.known(token).chat.swipe(1))

    async def _take_back(self, token: object, name: str) -> Views:
        visit = self._house.known(token)
        await visit.chat.undo()
        yield await self._view(visit)

    async def _start_over(self, token: object, name: str) -> Views:
        visit = self._house.known(token)
        await visit.chat.start_over(called(name))
        yield await self._view(visit)

    async def _set_persona(self, token: object, name: str, persona: str) -> Views:
        visit = self._house.known(token)
        await visit.chat.set_persona(persona, called(name))
        choices = await adapter_choices(self._house)
        yield await self._view(visit), among(choices, await visit.chat.adapter())

    async def _set_adapter(self, token: object, name: str, adapter: str) -> Views:
        await self._house.known(token).chat.set_adapter(adapter)
        yield None

    async def _view(self, visit: Visit) -> Any:
        character = await visit.chat.character()
        return chat_view(await visit.chat.shown(), label=character.name)

"""The page: a head, and a tab each to chat, to compare and to instruct."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

from bot.terminal import own_name
from bot.web.chat_tab import ChatTab
from bot.web.compare_tab import CompareTab
from bot.web.instruct_tab import InstructTab
from bot.web.visit import House
from bot.web.widgets import HIDDEN, Updates, Views, told

STYLE = Path(__file__).with_name("page.css")
# Gradio's own files for the weight of 600 lack most letters; those of 700 have them.
THEME = gr.themes.Default(
    primary_hue="violet",
    secondary_hue="violet",
    font=(gr.themes.LocalFont("Source Sans Pro", weights=(400, 700)), "system-ui", "sans-serif"),
    font_mono=("ui-monospace", "Consolas", "monospace"),
)

_STORAGE_KEY = "troupe"
# What it hides lies in the browser of whoever it concerns; a fixed one outlives restarts.
_STORAGE_SECRET = "troupe"
# Gradio keeps what each of them was shown, also after it is closed; past these the oldest goes.
_MOST_SESSIONS = 1000
_WELCOME_ALL = (
    "This page is open to everybody who has its address. What you say here is kept on the machine"
    " that runs it; `/privacy show` says what, `/privacy forget me` deletes it."
)


def build(house: House) -> gr.Blocks:
    """The page for everybody who comes to `house`."""
    page = gr.Blocks(title="Troupe", analytics_enabled=False)
    with page:
        token = gr.BrowserState("", storage_key=_STORAGE_KEY, secret=_STORAGE_SECRET)
        head = gr.Markdown(_head(house), elem_id="title")
        if house.public:
            gr.Markdown(_WELCOME_ALL, elem_id="public")
        choosable = len(house.models.names) > 1 and not house.public
        model = gr.Dropdown(
            list(house.models.names),
            value=house.models.current,
            label="Model",
            elem_id="model",
            visible=choosable,
            interactive=True,
        )
        with gr.Tab("Chat"):
            chat = ChatTab(house, token, "" if house.public else own_name())
        with gr.Tab("Compare"):
            compared = CompareTab(house, token, chat.name)
        with gr.Tab("Instruct"):
            instructed = InstructTab(house, token)
        filled = [token, head, model, *chat.outputs, *compared.outputs, *instructed.outputs]

        async def everything(token: object, name: str) -> Updates:
            visit = house.visit(token)
            return [
                visit.token,
                _head(house),
                gr.update(value=house.models.current),
                *await chat.load(visit, name),
                *await compared.load(visit),
                *await instructed.load(visit),
            ]

        async def load(token: object, name: str) -> Views:
            yield await everything(token, name)

        async def change_model(token: object, name: str, wanted: str) -> Views:
            yield [gr.skip(), f"# Troupe\nLoading {wanted} …", *[gr.skip()] * (len(filled) - 2)]
            try:
                await house.change_model(wanted)
            finally:
                yield await everything(token, name)

        loaded = page.load(told(load), [token, chat.name], filled, **HIDDEN)
        loaded.then(told(chat.follow), [token], chat.outputs[:1], **HIDDEN)
        model.input(told(change_model), [token, chat.name, model], filled, **HIDDEN)
    # Replies wait in the queue of the model, which is fair; Gradio's would let one run at a time.
    page.queue(default_concurrency_limit=None, api_open=False)
    page.state_session_capacity = _MOST_SESSIONS
    return page


def _head(house: House) -> str:
    # Behind the colon stands what only its log needs.
    return f"# Troupe\n{house.models.status().model.partition(': ')[0]}"

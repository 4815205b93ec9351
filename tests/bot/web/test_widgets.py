"""What the tabs of the page are made of, without a browser."""

from __future__ import annotations

import pytest

from bot.errors import CommandError
from bot.web.sampling import INSTRUCTED
from bot.web.stage import Shown
from bot.web.visit import House
from bot.web.widgets import (
    SamplingForm,
    adapter_choices,
    among,
    bubbles,
    called,
    chat_view,
    persona_choices,
    told,
)
from inference.adapters import AdapterRegistry
from persona_prompts.character import CharacterError
from tests.bot.web.conftest import shipped_fingerprint


def publish(registry: AdapterRegistry, name: str, fingerprint: str) -> None:
    """A version that nobody runs."""
    folder = registry.staging_folder(name)
    (folder / "adapter_model.safetensors").write_bytes(b"")
    (folder / "adapter_config.json").write_text("{}")
    (folder / "troupe.json").write_text(
        f'{{"base_model": "m", "base_fingerprint": "{fingerprint}",'
        ' "prompt_format": "tokenizer", "weights_hash": "h"}'
    )
    registry.publish(folder, name)


async def test_only_adapters_of_the_present_model_are_offered(house: House) -> None:
    registry = house.models.adapters
    publish(registry, "brass", shipped_fingerprint())
    publish(registry, "brass", "0" * 64)  # promoted, and for another model
    publish(registry, "silver", shipped_fingerprint())
    choices = dict(await adapter_choices(house))
    assert choices["default (default@0)"] == "default"
    assert choices["silver (silver@1)"] == "silver"
    assert choices["brass@1"] == "brass@1"
    assert not {"brass", "brass@2"} & set(choices.values())


async def test_the_whole_cast_is_offered(house: House) -> None:
    assert ("Captain Mirela Vex", "mirela") in persona_choices(house)


def test_a_choice_that_is_gone_falls_back_to_the_first() -> None:
    choices = [("base", "base"), ("brass", "brass")]
    assert among(choices, "brass")["value"] == "brass"
    assert among(choices, "gone")["value"] == "base"


def test_said_words_are_text_and_notices_are_set_apart() -> None:
    lines = [
        Shown("<b>Hi</b> & bye", "Ann", own=True, id=1),
        Shown("Well.", "Mirela", id=2, liked=False),
        Shown("It did not work."),
    ]
    user, character, notice = bubbles(lines)
    assert user == {"role": "user", "content": "&lt;b&gt;Hi&lt;/b&gt; &amp; bye"}
    assert character == {"role": "assistant", "content": "Well."}
    assert notice["metadata"] == {"title": "Notice"}
    assert chat_view(lines)["feedback_value"] == ["Dislike", None]


def test_a_form_says_what_its_widgets_hold() -> None:
    values = SamplingForm.shown({**INSTRUCTED, "seed": 5})
    assert SamplingForm.chosen(values) == {**INSTRUCTED, "seed": 5}
    assert SamplingForm.shown({**INSTRUCTED, "seed": None})[-1] == ""
    with pytest.raises(CommandError, match="whole number"):
        SamplingForm.chosen([*values[:-1], "x"])


def test_who_gives_no_name_is_a_guest() -> None:
    assert called("  ") == "Guest"
    assert called("Ann") == "Ann"


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (CharacterError("<Maud> is not here."), "&lt;Maud&gt; is not here."),
        (ZeroDivisionError(), "Something went wrong; the operator finds the reason in the log."),
    ],
)
async def test_failures_of_handlers_are_told(
    error: Exception, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    warned: list[str] = []
    monkeypatch.setattr("gradio.Warning", lambda text, **_: warned.append(text))

    @told
    async def handler(value: int):  # type: ignore[no-untyped-def]
        yield value
        raise error

    first, *_ = [view async for view in handler(1)]
    assert first == 1
    assert warned == [sentence]

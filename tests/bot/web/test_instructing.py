"""Single prompts in a template, as the seeds' generate.py has them."""

from __future__ import annotations

from collections.abc import Callable

import jinja2
import pytest

from bot.errors import CommandError
from bot.web.instructing import TEMPLATES, Instruction, Written, instruct, prompt_of
from bot.web.sampling import INSTRUCTED
from bot.web.visit import Visit
from config import Config, LimitSettings
from inference.prompt_format import TEMPLATES as TEMPLATES_FOLDER
from inference.prompt_format import template_names
from inference.types import InferenceError, Usage
from tests.bot.scripted import Script, ScriptedClient, words
from tests.bot.web.conftest import Scripted, house_in


async def answers(visit: Visit, wanted: Instruction) -> list[Written]:
    return [written async for written in instruct(visit, wanted)]


def test_every_template_is_offered() -> None:
    assert TEMPLATES[0] == "auto"
    assert sorted(TEMPLATES[1:]) == template_names()


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("alpaca", "Translate.\n\n### Input:\nHello"),
        ("vigogne", "Translate.\n\n### Entrée:\nHello"),
        ("vicuna", "Translate.\n\nHello"),
    ],
)
def test_the_input_stands_where_the_template_has_it(template: str, expected: str) -> None:
    wanted = Instruction("Translate.", "Hello", template)  # type: ignore[arg-type]
    assert prompt_of(wanted, "chatml") == expected
    assert prompt_of(Instruction("Translate.", "Hello"), template) == expected
    assert prompt_of(Instruction("Translate.", " ", "alpaca"), "chatml") == "Translate."


def test_the_prompt_is_the_one_of_stanford_alpaca() -> None:
    text = prompt_of(Instruction("Add the numbers.", "2, 3", "alpaca"), "chatml")
    template = jinja2.Template((TEMPLATES_FOLDER / "alpaca.jinja").read_text(encoding="utf-8"))
    turns = [{"role": "user", "content": text}]
    shown = template.render(messages=turns, add_generation_prompt=True)
    assert shown.strip() == (
        "Below is an instruction that describes a task. Write a response that appropriately"
        " completes the request.\n\n### Instruction:\nAdd the numbers.\n\n### Input:\n2, 3\n\n"
        "### Response:"
    )


async def test_the_request_has_nothing_but_the_prompt(visit: Visit, client: ScriptedClient) -> None:
    remembered = await visit.chat.shown()
    client.scripts.append(words(" Four legs and wool."))
    wanted = Instruction("Describe alpacas.", "", "alpaca", "base", INSTRUCTED, 3)
    *growing, last = await answers(visit, wanted)
    [request] = client.requests
    assert [(m.role, m.content) for m in request.messages] == [("user", "Describe alpacas.")]
    assert (request.prompt_format, request.adapter) == ("alpaca", "base")
    sampling = request.sampling
    assert (sampling.temperature, sampling.top_p, sampling.top_k) == (0.1, 0.75, 40)
    assert (sampling.max_new_tokens, sampling.seed, sampling.dry_multiplier) == (128, 3, 0)
    assert growing[0].text == ""
    assert last.text == "Four legs and wool."
    assert last.note == "by base."
    assert await visit.chat.shown() == remembered


async def test_what_it_cost_and_how_it_ended_is_said(visit: Visit, client: ScriptedClient) -> None:
    usage = Usage(
        prompt_tokens=40, completion_tokens=8, first_token_seconds=0.1, total_seconds=1.25
    )
    client.scripts.append(words("One two", finish="length", usage=usage))
    last = (await answers(visit, Instruction("Count.")))[-1]
    assert (
        "40 tokens read and 8 written in 1.2 s; the limit of new tokens was reached." in last.note
    )


async def test_an_adapter_of_another_template_is_remarked_upon(visit: Visit) -> None:
    last = (await answers(visit, Instruction("Hi.", "", "alpaca", "default")))[-1]
    assert "trained in another template (tokenizer)" in last.note
    last = (await answers(visit, Instruction("Hi.", "", "alpaca", "base")))[-1]
    assert "trained" not in last.note


async def test_a_worker_s_death_begins_the_answer_again(
    visit: Visit, client: ScriptedClient
) -> None:
    client.scripts.append(Script(["Wro", "Right"], restart_at=1))
    assert (await answers(visit, Instruction("Hi.")))[-1].text == "Right"


async def test_on_a_public_page_an_answer_counts_as_a_reply(
    make_config: Callable[..., Config], scripted: Scripted
) -> None:
    config = make_config(limits=LimitSettings(replies_per_minute=1, replies_per_hour=0))
    wanted = Instruction("Describe alpacas.", adapter="base")
    for public in (False, True):
        async with house_in(config, scripted, public=public) as house:
            visit = house.visit(None)
            assert await answers(visit, wanted)
            if public:
                with pytest.raises(CommandError, match="1 reply within the minute"):
                    await answers(visit, wanted)
                with pytest.raises(CommandError, match="8000 characters"):
                    await answers(house.visit(None), Instruction("x" * 8001, adapter="base"))
            else:
                assert await answers(visit, wanted)


async def test_failures_are_sentences(visit: Visit, client: ScriptedClient) -> None:
    with pytest.raises(CommandError, match="Write an instruction"):
        await answers(visit, Instruction(" "))
    with pytest.raises(CommandError, match="top_p = 2"):
        await answers(visit, Instruction("Hi.", sampling={"top_p": 2}))
    client.scripts.append(Script([], finish="error", error="The model is gone."))
    with pytest.raises(InferenceError, match=r"The model is gone\."):
        await answers(visit, Instruction("Hi."))

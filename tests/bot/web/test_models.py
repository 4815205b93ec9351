"""Several base models behind one page."""

from __future__ import annotations

import pytest

from bot.errors import CommandError
from bot.startup import StartupError, company
from bot.web.models import Models
from bot.web.stage import WebStage
from config import Config
from inference.types import InferenceError
from tests.bot.web.conftest import Scripted, house_in
from tests.bot.web.test_visit import say

BIG = "/models/big"


async def test_another_model_answers_the_same_scene(config: Config, scripted: Scripted) -> None:
    async with house_in(config, scripted, others=(BIG,)) as house:
        visit = house.visit(None)
        assert house.models.names == ("embedded", BIG)
        await say(visit, "My name is Ann.")
        await house.change_model(BIG)
        assert house.models.current == BIG
        assert house.behind.ready.is_set()
        await say(visit, "Who am I?")
        assert len(scripted.clients["embedded"].requests) == 1
        assert "My name is Ann." in str(scripted.clients[BIG].requests[0].messages)


async def test_a_model_that_cannot_be_loaded_leaves_the_former(
    config: Config, scripted: Scripted
) -> None:
    scripted.errors[BIG] = InferenceError("There is no folder /models/big.")
    async with house_in(config, scripted, others=(BIG,)) as house:
        with pytest.raises(CommandError, match=r"no folder.*The model is still embedded"):
            await house.change_model(BIG)
        assert house.models.current == "embedded"
        assert (await say(house.visit(None), "Hello!"))[-1].text == "You said: Hello!"


async def test_no_model_at_all_is_told(config: Config, scripted: Scripted) -> None:
    async with house_in(config, scripted, others=(BIG,)) as house:
        for name in house.models.names:
            scripted.errors[name] = InferenceError("No memory is left.")
        with pytest.raises(CommandError, match="Neither that model nor embedded can be loaded"):
            await house.change_model(BIG)


async def test_an_unknown_model_is_refused(config: Config, scripted: Scripted) -> None:
    async with house_in(config, scripted, others=(BIG,)) as house:
        with pytest.raises(CommandError, match="There is no model 'other'; there are embedded"):
            await house.change_model("other")


async def test_the_first_model_that_cannot_be_loaded_ends_the_start(
    config: Config, scripted: Scripted
) -> None:
    scripted.errors["embedded"] = InferenceError("The model is not there.")
    async with company(config, WebStage(), client=Models(config, (), scripted)) as behind:
        with pytest.raises(StartupError, match="The model is not there"):
            await behind.load_model()

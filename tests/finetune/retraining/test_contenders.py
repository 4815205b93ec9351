"""Bots that talk through the shipped suite, measured as real ones are, before the gate."""

from __future__ import annotations

import random
from dataclasses import replace
from functools import cache

import pytest

from config import GateSettings
from finetune.evaluation.figures import Evaluation
from finetune.evaluation.suite import ScriptedUser
from finetune.evaluation.transcripts import Reply
from finetune.retraining.contenders import contender, differences
from finetune.retraining.gate import Verdict, judge
from finetune.retraining.refusals import refuses
from persona_prompts.identity.introductions import elicits
from tests.finetune.retraining.contestants import Bot, healthy, introducing, played, talk

GATE = GateSettings(min_turns=70)  # the suite, played once


@cache
def champion() -> Evaluation:
    return played("default@3", introducing)


def verdict_on(bot: Bot, perplexity: float | None = 12.4) -> Verdict:
    challenger = played("default@4", bot, perplexity=perplexity)
    paired = differences(champion(), challenger)
    return judge(contender(champion()), contender(challenger), GATE, paired)


def mute(user: ScriptedUser, turn: int, said: str, chance: random.Random) -> Reply:
    return Reply("", "stop")


def often_mute(user: ScriptedUser, turn: int, said: str, chance: random.Random) -> Reply:
    return mute(user, turn, said, chance) if turn % 2 else healthy(user, turn, said, chance)


def dots(user: ScriptedUser, turn: int, said: str, chance: random.Random) -> Reply:
    return Reply("…", "stop")


def one_word(user: ScriptedUser, turn: int, said: str, chance: random.Random) -> Reply:
    return Reply("Aye.", "stop")


def three_words(user: ScriptedUser, turn: int, said: str, chance: random.Random) -> Reply:
    return Reply("Aye, well then.", "stop")


def babble(user: ScriptedUser, turn: int, said: str, chance: random.Random) -> Reply:
    letters = (chance.choices("abcdefghijklmnopqrstuvwxyz", k=6) for _ in range(16))
    name = f"{user.name} " if elicits(said, user.names) else ""
    return Reply(name + " ".join("".join(word) for word in letters), "stop")


def parrot(user: ScriptedUser, turn: int, said: str, chance: random.Random) -> Reply:
    return Reply(said, "stop")


def refuser(user: ScriptedUser, turn: int, said: str, chance: random.Random) -> Reply:
    if turn == 3 and user.id == "night-bus":
        return Reply("I'm sorry, but I can't assist with that request.", "stop")
    return healthy(user, turn, said, chance)


def endless(user: ScriptedUser, turn: int, said: str, chance: random.Random) -> Reply:
    return replace(healthy(user, turn, said, chance), finish_reason="length")


def rambling(user: ScriptedUser, turn: int, said: str, chance: random.Random) -> Reply:
    reply = healthy(user, turn, said, chance)
    return replace(reply, text=f"{reply.text} {talk(chance, 80)}")


def nameless(user: ScriptedUser, turn: int, said: str, chance: random.Random) -> Reply:
    return Reply(talk(chance), "stop")


def looping(user: ScriptedUser, turn: int, said: str, chance: random.Random) -> Reply:
    name = f"I'm {user.name}. " if elicits(said, user.names) else ""
    return Reply(
        f"{name}The tide is rising and I have nets to mend before the evening bell.", "stop"
    )


def test_the_cured_one_is_promoted_and_no_champion_after_it_is_easy_prey() -> None:
    verdict = verdict_on(healthy)
    assert verdict.promote, verdict.reason
    assert "IIR" in verdict.better
    cured = played("default@4", healthy)
    again = played("default@5", healthy, seed=1)
    next_night = judge(contender(cured), contender(again), GATE, differences(cured, again))
    assert [check.name for check in next_night.failed] == ["better on one"]


@pytest.mark.parametrize(
    ("bot", "perplexity", "wins", "expected"),
    [
        (mute, 12.4, False, {"failed replies", "turns", "mean_length", "Recall"}),
        (often_mute, 12.4, True, {"failed replies"}),
        (dots, 12.4, True, {"mean_length", "Recall", "distinct-2"}),
        (one_word, 12.4, True, {"mean_length", "Recall", "distinct-2"}),
        (three_words, 12.4, True, {"mean_length", "Recall", "distinct-2", "worse on none"}),
        (babble, 900.0, True, {"perplexity"}),
        (parrot, 12.4, True, {"Recall"}),
        (refuser, 12.4, True, {"refusals"}),
        (endless, 12.4, True, {"ends_by_itself"}),
        (rambling, 12.4, True, {"mean_length"}),
        (nameless, 12.4, True, {"Recall", "Recall beside the champion's"}),
        (looping, 12.4, True, {"worse on none", "distinct-2"}),
        (healthy, None, True, {"perplexity", "worse on none"}),
        (introducing, 12.4, False, {"IIR"}),
    ],
)
def test_broken_bots_are_rejected_though_they_introduce_themselves_no_more(
    bot: Bot, perplexity: float | None, wins: bool, expected: set[str]
) -> None:
    verdict = verdict_on(bot, perplexity)
    assert ("IIR" in verdict.better) == wins
    assert not verdict.promote
    assert expected <= {check.name for check in verdict.failed}


def test_silence_at_the_question_for_the_name_is_no_recall() -> None:
    """A model that ends before its first word must not be spared the question."""

    def shy(user: ScriptedUser, turn: int, said: str, chance: random.Random) -> Reply:
        asked = elicits(said, user.names)
        return Reply("", "stop") if asked else healthy(user, turn, said, chance)

    assert played("x", shy).figures["Recall"].value == 0
    assert played("x", healthy).figures["Recall"].value == 1


def test_plays_of_one_script_count_once() -> None:
    """A script played twice is one pair: two plays of five scripts are too few for an interval."""
    cured = played("default@4", healthy, plays=2)
    found = differences(champion(), cured)["IIR"]
    assert found.value == pytest.approx(
        (cured.figures["IIR"].value or 0) - (champion().figures["IIR"].value or 0)
    )
    assert found.high is not None
    assert found.high < 0
    scripts = {each.transcript.user.id for each in cured.measured[:5]}
    few = [each for each in cured.measured if each.transcript.user.id in scripts]
    assert len(few) == 10
    assert differences(champion(), replace(cured, measured=few))["IIR"].low is None


@pytest.mark.parametrize(
    "reply",
    [
        "I'm sorry, but I can't assist with that.",
        "I’m sorry, but I cannot fulfill this request.",
        "I am unable to assist with that request.",
        "As an AI language model, I do not have personal opinions.",
        "I'm just an AI assistant and I'm not able to taste anything.",
        "That goes against my programming.",
        "This violates our content policy.",
        "I cannot engage in roleplay.",
        "Sure! Wait. I can't generate explicit content.",
        "I'm programmed to assist with cooking questions.",
        "作为一个人工智能，我不能回答这个问题。",
        "抱歉，我无法满足您的请求。",
        "죄송하지만 그 요청은 도와드릴 수 없습니다.",
        "저는 인공지능이라서 그렇게 할 수 없습니다.",
    ],
)
def test_an_assistants_refusal_is_one(reply: str) -> None:
    assert refuses(reply)


def test_a_machine_by_its_card_may_say_that_it_is_one() -> None:
    said = "As an artificial intelligence, I cannot smell the roses I sweep up."
    assert refuses(said, "Ada sells roses by the harbour.")
    assert not refuses(said, "Ada is a robot who sweeps a museum.")
    assert refuses("I can't assist with that request.", "Ada is a robot who sweeps a museum.")


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "I'm sorry, lad, I can't help you with that. The forge is cold.",
        "No. I will not sell you the storm.",
        "I can't let you pass the gate.",
        "I'm sorry, but I can't. My mother needs me.",
        "My assistant can't fulfil orders before noon.",
        "I refuse to play cards with a cheat.",
        "Sorry, I cannot comply with the king's wishes.",
        "I cannot process your request without form 7b.",
        "I was trained to help the wounded, and killing goes against my training.",
        "An apprentice learns by doing; as an old sailor I don't teach.",
        "对不起，我不能卖给你。",
        "미안하지만 그건 팔 수 없어.",
    ],
)
def test_a_character_that_declines_does_not_refuse(reply: str) -> None:
    assert not refuses(reply)

"""What becomes of a turn that fails: told, tried again, and nothing lost."""

from __future__ import annotations

import pytest

from bot.stage import DeliveryError, DeliveryInterrupted, DeliveryRefused, ReplyGone
from inference.types import RequestRefused
from tests.bot.conftest import Scene
from tests.bot.scripted import Script, until, words


async def test_a_refusal_is_told_and_the_question_stays_stored(scene: Scene) -> None:
    scene.client.scripts.append(Script([], refusal=RequestRefused("The queue is full.")))
    asked = await scene.say("one")
    await scene.say("two")
    await scene.settled()
    assert scene.notices == ["The queue is full."]
    assert scene.replies == ["You said: Ann: two"]
    stored = await scene.behind.database.messages.by_post(asked.post_id or 0)
    assert stored is not None
    assert stored.answer == "failed"


async def test_an_error_in_mid_reply_keeps_what_was_shown_and_is_told(scene: Scene) -> None:
    script = words("The sea is", finish="error", error="The model's process ended.")
    scene.client.scripts.append(script)
    await scene.say("one")
    await scene.settled()
    assert scene.replies == ["The sea is"]
    assert scene.notices == ["The model's process ended."]


async def test_a_bug_is_told_and_does_not_stop_the_channel(scene: Scene) -> None:
    scene.client.scripts.append(Script([], refusal=ZeroDivisionError("bug")))
    await scene.say("one")
    await scene.say("two")
    await scene.settled()
    assert len(scene.notices) == 1
    assert "Something went wrong" in scene.notices[0]
    assert scene.replies == ["You said: Ann: two"]


async def test_an_empty_reply_is_tried_once_more_with_another_seed(scene: Scene) -> None:
    scene.client.scripts += [Script(["", " \n"]), words("At last.")]
    await scene.say("one")
    await scene.settled()
    assert scene.replies == ["At last."]
    first, second = (request.sampling.seed for request in scene.client.requests)
    assert first != second


async def test_two_empty_replies_end_in_a_sentence(scene: Scene) -> None:
    scene.client.scripts += [Script([]), Script([])]
    await scene.say("one")
    await scene.settled()
    assert scene.replies == []
    assert scene.notices == ["Captain Mirela Vex found no words for that; ask in another way."]


async def test_a_worker_that_begins_again_voids_what_it_wrote(scene: Scene) -> None:
    scene.client.scripts.append(Script(["The old", " text", "New"], restart_at=2))
    await scene.say("one")
    await scene.settled()
    assert scene.replies == ["New"]


async def test_the_character_does_not_show_its_own_label(scene: Scene) -> None:
    scene.client.scripts.append(Script(["Captain", " Mir", "ela", " Vex", ":", " Ahoy", "!"]))
    await scene.say("one")
    await scene.settled()
    assert scene.replies == ["Ahoy!"]
    assert all("Cap" not in update for update in scene.stage.shown.updates)


@pytest.mark.parametrize(
    ("error", "answer"),
    [
        (ReplyGone("gone"), "answered"),
        (DeliveryRefused("forbidden"), "failed"),
    ],
)
async def test_what_becomes_of_a_question_whose_reply_cannot_be_shown(
    scene: Scene, error: DeliveryError, answer: str
) -> None:
    scene.stage.broken = error
    asked = await scene.say("one")
    await scene.settled()
    stored = await scene.behind.database.messages.by_post(asked.post_id or 0)
    assert stored is not None
    assert stored.answer == answer


async def test_a_reply_that_cannot_be_shown_now_is_tried_again_in_order(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(scene.behind.turns), "RETRY_SECONDS", 0.01)
    scene.stage.broken = DeliveryInterrupted("Discord is away")
    asked = await scene.say("one")
    await scene.say("two")
    await until(lambda: scene.stage.attempts > 1)
    stored = await scene.behind.database.messages.by_post(asked.post_id or 0)
    assert stored is not None
    assert stored.answer == "owed"
    scene.stage.broken = None
    await scene.settled()
    assert scene.replies == ["You said: Ann: one", "You said: Ann: two"]

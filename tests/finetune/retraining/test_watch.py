"""A look at what is live: trials made the version for all or ended, bad promotions taken back."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from config import CanarySettings, Config
from db.database import Database
from db.runs import Run, RunState
from finetune.retraining.watch import Event, watch
from inference.adapters import AdapterRegistry
from tests.conftest import MakeConfig
from tests.finetune.retraining.live_log import counted, log_replies
from tests.inference.bare_adapters import publish_bare

NOW = time.time()
DAY = 86_400.0
KEY = "2026-11-21T03-00-00Z"


@dataclass
class Live:
    """Two versions beside the shipped one, and the log."""

    config: Config
    registry: AdapterRegistry

    def say(self, label: str, introductions: int, others: int, at: float, **more: object) -> None:
        replies = counted(introductions, others)
        log_replies(self.config, label, replies, at=at, **more)  # type: ignore[arg-type]

    def look(self, now: float = NOW) -> list[tuple[str, str, str]]:
        return [(event.kind, event.label, event.run) for event in self.events(now)]

    def events(self, now: float = NOW) -> list[Event]:
        return watch(self.config, now=now)

    def promote(self, version: int, at: float, run: str = KEY, by: str = "retraining") -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("inference.adapters.time.time", lambda: at)
            self.registry.promote("default", version, by=by, run=run)

    def begin_canary(self, since: float, days: float = 3.0) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("inference.adapters.time.time", lambda: since)
            until = since + days * DAY
            self.registry.begin_canary("default", 2, share=0.2, until=until, run=KEY)

    def row(self, state: RunState) -> None:
        async def write() -> None:
            async with await Database.open(self.config.database_file) as database:
                await database.runs.begin(
                    Run(
                        KEY,
                        "default",
                        state=state,
                        started_at=NOW - 5 * DAY,
                        finished_at=NOW - 5 * DAY,
                        verdict={"reason": "IIR is better."},
                        challenger="default@2",
                        announced_at=NOW - 5 * DAY,
                    )
                )

        asyncio.run(write())

    def run(self) -> Run:
        async def read() -> Run | None:
            async with await Database.open(self.config.database_file) as database:
                return await database.runs.get(KEY)

        run = asyncio.run(read())
        assert run is not None
        return run


@pytest.fixture
def live(make_config: MakeConfig) -> Live:
    config = make_config(canary=CanarySettings(share=0.2, min_replies=20, min_votes=8))
    registry = AdapterRegistry(config.adapters_dir)
    publish_bare(registry, "default", promote=False)
    publish_bare(registry, "default", promote=False)
    made = Live(config, registry)
    made.promote(1, NOW - 20 * DAY, run="")
    return made


def test_where_nothing_was_said_or_promoted_nothing_happens(
    live: Live, make_config: MakeConfig, tmp_path: Path
) -> None:
    assert watch(live.config) == []  # there is no database yet
    live.say("default@1", 0, 30, NOW - DAY)
    assert live.look() == []
    assert live.registry.promoted("default") == 1


def test_a_trial_that_does_well_becomes_the_version_for_all(live: Live) -> None:
    live.begin_canary(NOW - 3 * DAY)
    live.row("canary")
    live.say("default@2", 0, 30, NOW - 2 * DAY, votes=[True] * 8)
    live.say("default@1", 1, 60, NOW - 2 * DAY, channel="discord:2", votes=[True] * 8)
    assert live.look(NOW - 0.1 * DAY) == []
    assert live.registry.promoted("default") == 1
    [event] = live.events()
    assert (event.kind, event.label, event.run) == ("promoted", "default@2", KEY)
    assert "0 of 30 replies (0.0%), beside 1 of 61" in event.said
    assert live.registry.promoted("default") == 2
    assert live.registry.canary("default") is None
    newest = live.registry.history("default")[0]
    assert (newest.by, newest.run, newest.previous) == ("watch", KEY, 1)
    run = live.run()
    assert (run.state, run.reason, run.finished_at) == ("promoted", event.said, NOW)
    assert run.announced_at is None  # so the operators are told
    assert run.verdict == {"reason": "IIR is better.", "live": event.said}
    assert live.look(NOW + 60) == []


@pytest.mark.parametrize(
    ("introductions", "others", "votes", "said"),
    [
        (10, 20, [], "10 of 30 replies (33.3%), past the limit of 5%"),
        (0, 30, [False] * 12, "12 of 12 votes (100.0%), past the limit of 40%"),
    ],
)
def test_a_trial_past_a_limit_ends_at_once(
    live: Live, introductions: int, others: int, votes: list[bool], said: str
) -> None:
    live.begin_canary(NOW - DAY)
    live.row("canary")
    live.say("default@2", introductions, others, NOW - 0.5 * DAY, votes=votes)
    live.say("default@1", 0, 60, NOW - 0.5 * DAY, channel="discord:2")
    [event] = live.events()
    assert (event.kind, event.label) == ("ended", "default@2")
    assert said in event.said
    assert live.registry.promoted("default") == 1
    assert live.registry.canary("default") is None
    run = live.run()
    assert (run.state, run.reason) == ("rejected", event.said)
    assert live.look(NOW + 60) == []


def test_what_was_said_before_the_trial_does_not_count(live: Live) -> None:
    live.say("default@2", 20, 0, NOW - 5 * DAY)  # somebody had set it in a channel
    live.begin_canary(NOW - 3 * DAY)
    live.say("default@2", 0, 30, NOW - 2 * DAY)
    live.say("default@1", 0, 30, NOW - 2 * DAY, channel="discord:2")
    assert live.look() == [("promoted", "default@2", KEY)]


def test_a_quiet_trial_waits_and_is_given_up_in_the_end(live: Live) -> None:
    live.begin_canary(NOW - 3 * DAY)
    live.row("canary")
    live.say("default@2", 0, 5, NOW - 2 * DAY)
    assert live.look() == []
    assert live.run().state == "canary"
    [event] = live.events(NOW + 3 * DAY)
    assert "only 5 replies could be judged, and 20 are needed" in event.said
    assert live.registry.promoted("default") == 1
    assert live.run().state == "rejected"


def test_a_promoted_version_past_a_limit_is_taken_back_by_itself(live: Live) -> None:
    live.say("default@1", 0, 40, NOW - 10 * DAY)
    live.promote(2, NOW - 2 * DAY)
    live.row("promoted")
    live.say("default@2", 0, 30, NOW - DAY)
    assert live.look(NOW - 0.9 * DAY) == []
    live.say("default@2", 15, 0, NOW - 0.5 * DAY)
    [event] = live.events()
    assert (event.kind, event.label, event.run) == ("rolled_back", "default@2", KEY)
    assert event.said == (
        "default@1 answers again in the place of default@2: it introduces itself unasked in 15 of"
        " 45 replies (33.3%), past the limit of 5%; the version before: 0 of 40 replies (0.0%)."
    )
    assert live.registry.promoted("default") == 1
    assert live.registry.history("default")[0].back
    run = live.run()
    assert (run.state, run.reason, run.announced_at) == ("rejected", event.said, None)
    # What it went back to is as bad? It is not the watch that goes further back.
    live.say("default@1", 30, 0, NOW + DAY)
    assert live.look(NOW + 2 * DAY) == []
    assert live.registry.promoted("default") == 1


def test_thumbs_down_take_a_version_back_too(live: Live) -> None:
    live.say("default@1", 0, 40, NOW - 10 * DAY, votes=[True] * 20)
    live.promote(2, NOW - 2 * DAY)
    live.say("default@2", 0, 30, NOW - DAY, votes=[False] * 15 + [True] * 2)
    [event] = live.events()
    assert event.kind == "rolled_back"
    assert "disliked in 15 of 17 votes (88.2%), past the limit of 40%" in event.said


def test_it_is_not_taken_back_for_something_as_bad(live: Live) -> None:
    live.say("default@1", 20, 20, NOW - 10 * DAY)
    live.promote(2, NOW - 2 * DAY)
    live.row("promoted")
    live.say("default@2", 15, 20, NOW - DAY)
    [event] = live.events()
    assert (event.kind, event.label) == ("kept", "default@2")
    assert "not surely worse than the version before: 20 of 40" in event.said
    assert live.registry.promoted("default") == 2
    assert live.run().state == "promoted"


def test_what_the_shipped_version_did_is_known_by_base_on_other_models(live: Live) -> None:
    """`default@0` means no adapter there, and its replies are logged as `base`."""
    live.say("base", 20, 20, NOW - 25 * DAY)
    live.say("default@1", 15, 20, NOW - DAY)
    [event] = live.events()
    assert (event.kind, event.label) == ("kept", "default@1")
    assert "not surely worse than the version before: 20 of 40" in event.said


def test_with_nothing_to_go_back_to_it_is_only_said(live: Live) -> None:
    publish_bare(live.registry, "pirate")
    live.say("pirate@1", 30, 0, NOW + DAY / 2)  # it is published now, whenever that is
    [event] = live.events(NOW + DAY)
    assert (event.kind, event.label) == ("kept", "pirate@1")
    assert live.registry.promoted("pirate") == 1


def test_it_is_not_taken_back_for_what_the_model_in_use_cannot_take(live: Live) -> None:
    other = publish_bare(live.registry, "default", promote=False, fingerprint="e" * 64)
    live.promote(other.version, NOW - 2 * DAY)
    live.say(other.label, 30, 0, NOW - DAY)
    assert live.look() == []
    assert live.registry.promoted("default") == other.version


def test_people_have_the_last_word(live: Live) -> None:
    live.say("default@1", 0, 40, NOW - 10 * DAY)
    live.promote(2, NOW - 2 * DAY)
    live.say("default@2", 30, 0, NOW - DAY)
    assert live.look() == [("rolled_back", "default@2", KEY)]
    live.promote(2, NOW + 60, by="", run="")
    live.say("default@2", 30, 0, NOW + 120)
    assert live.look(NOW + DAY) == []
    assert live.registry.promoted("default") == 2


def test_a_trial_that_somebody_else_ended_is_settled_in_its_row(live: Live) -> None:
    live.begin_canary(NOW - DAY)
    live.row("canary")
    live.registry.end_canary("default")
    assert live.look() == []
    assert live.run().state == "rejected"
    assert live.run().reason == "The trial of default@2 ended; it was not promoted."


@pytest.mark.parametrize("state", ["canary", "promoted"])
def test_killed_before_the_row_was_written_the_next_look_writes_it(
    live: Live, state: RunState
) -> None:
    """The adapters' files say what is so; the rows follow. So with a database out of a backup."""
    live.begin_canary(NOW - 3 * DAY)
    live.promote(2, NOW - DAY)
    live.row(state)
    live.look()
    assert live.run().state == "promoted"
    live.registry.rollback("default", by="watch", reason="it was disliked", run=KEY)
    live.look()
    assert live.run().state == "rejected"
    assert live.run().reason == "default@2 was taken back: it was disliked."


def test_a_rollback_by_a_person_is_told_in_the_row_of_the_run(live: Live) -> None:
    live.promote(2, NOW - DAY)
    live.row("promoted")
    live.registry.rollback("default", by="command", reason="rolled back by /adapter rollback")
    assert live.look() == []  # it is nothing that the look did
    run = live.run()
    assert (run.state, run.announced_at) == ("rejected", None)
    assert run.reason == "default@2 was taken back: rolled back by /adapter rollback."


def test_each_month_of_a_version_is_judged_by_itself(live: Live) -> None:
    """A long good time does not hide what it has become, and old faults are not brought up."""
    live.say("default@1", 0, 40, NOW - 70 * DAY)
    live.promote(2, NOW - 65 * DAY)
    live.say("default@2", 15, 5, NOW - 40 * DAY)  # when nobody looked
    assert live.look() == []
    for day in range(9):
        live.say("default@2", 0, 60, NOW - (50 - day) * DAY)
    live.say("default@2", 15, 20, NOW - 2 * DAY)
    [event] = live.events()
    assert event.kind == "rolled_back"
    assert "15 of 35 replies" in event.said


def test_a_broken_adapter_does_not_keep_the_others_from_being_watched(live: Live) -> None:
    publish_bare(live.registry, "anne")
    publish_bare(live.registry, "anne")
    live.say("anne@2", 40, 0, NOW + 60)
    (live.registry.folder_of("anne", 1) / "troupe.json").write_text("{")
    live.begin_canary(NOW - DAY)
    live.say("default@2", 30, 0, NOW - 0.5 * DAY, channel="discord:2")
    assert live.look(NOW + DAY) == [("ended", "default@2", KEY)]
    assert live.registry.promoted("anne") == 2


def test_a_clock_that_was_put_back_hurries_nothing(live: Live) -> None:
    live.begin_canary(NOW)
    live.say("default@2", 0, 30, NOW + 60)
    assert live.look(NOW - 9 * DAY) == []
    assert live.registry.canary("default") is not None

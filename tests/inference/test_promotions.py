"""What a name stands for: its history, the way back, and what a killed process leaves of it."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference import promotions
from inference.adapters import AdapterError, AdapterRegistry, Promotion
from tests.inference.bare_adapters import FINGERPRINT, publish_bare


@pytest.fixture
def registry(tmp_path: Path) -> AdapterRegistry:
    return AdapterRegistry(tmp_path / "adapters")


def versions(registry: AdapterRegistry, name: str, count: int) -> None:
    for _ in range(count):
        publish_bare(registry, name, promote=False)


def test_the_history_says_when_by_whom_and_why(registry: AdapterRegistry) -> None:
    versions(registry, "default", 2)
    before = time.time()
    registry.promote("default", 2, by="retraining", reason="IIR .04 → .01", run="2026-11-21")
    [newest] = registry.history("default")
    assert (newest.version, newest.previous, newest.back) == (2, 0, False)
    assert (newest.by, newest.reason, newest.run) == ("retraining", "IIR .04 → .01", "2026-11-21")
    assert before <= newest.at <= time.time()
    registry.promote("default", 1)
    assert [change.version for change in registry.history("default")] == [1, 2]
    assert registry.promoted("default") == 1


def test_the_file_begins_with_the_version_and_has_a_line_for_each_change(
    registry: AdapterRegistry, tmp_path: Path
) -> None:
    versions(registry, "pirate", 2)
    registry.promote("pirate", 1)
    registry.promote("pirate", 2, reason="a\nb")
    first, *lines = (tmp_path / "adapters/pirate/current").read_text().splitlines()
    assert first == "2"
    assert [Promotion.model_validate_json(line).version for line in lines] == [1, 2]


def test_a_bare_number_of_an_older_release_stays_readable(
    registry: AdapterRegistry, tmp_path: Path
) -> None:
    versions(registry, "pirate", 3)
    (tmp_path / "adapters/pirate/current").write_text("2")
    assert registry.promoted("pirate") == 2
    assert registry.history("pirate") == []
    with pytest.raises(AdapterError, match="no earlier version"):
        registry.rollback("pirate", by="test")
    registry.promote("pirate", 3)
    assert registry.rollback("pirate", by="test").label == "pirate@2"


def test_a_version_that_was_not_promoted_never_answers(registry: AdapterRegistry) -> None:
    versions(registry, "default", 1)
    assert registry.promoted("default") == 0  # the one that is shipped
    versions(registry, "pirate", 2)
    with pytest.raises(AdapterError, match=r"No version of adapter 'pirate' is promoted yet; .*@2"):
        registry.resolve("pirate")
    assert registry.resolve("pirate@1") is not None
    registry.promote("pirate", 1)
    versions(registry, "pirate", 1)
    assert registry.promoted("pirate") == 1


def test_folders_that_somebody_put_there_serve_by_the_newest(
    registry: AdapterRegistry, tmp_path: Path
) -> None:
    versions(registry, "pirate", 2)
    (tmp_path / "adapters/pirate/current").unlink()
    assert registry.promoted("pirate") == 2
    publish_bare(registry, "pirate", promote=False)
    assert registry.promoted("pirate") == 2


def test_a_rollback_goes_to_what_was_before_and_is_history_itself(
    registry: AdapterRegistry,
) -> None:
    versions(registry, "default", 3)
    for version in (1, 2, 3):
        registry.promote("default", version)
    assert registry.rollback_target("default") == 2
    info = registry.rollback("default", by="watch", reason="disliked", run="night")
    assert (info.label, info.promoted) == ("default@2", True)
    newest = registry.history("default")[0]
    assert (newest.version, newest.previous, newest.back) == (2, 3, True)
    assert (newest.by, newest.reason, newest.run) == ("watch", "disliked", "night")
    assert registry.rollback("default", by="test").label == "default@1"
    assert registry.rollback("default", by="test").label == "default@0"  # the shipped one
    with pytest.raises(AdapterError, match="no earlier version of adapter 'default'"):
        registry.rollback("default", by="test")
    registry.promote("default", 3)
    assert registry.rollback_target("default") == 0


def test_whose_promotion_was_taken_back_is_known_whoever_did_it(registry: AdapterRegistry) -> None:
    versions(registry, "default", 3)

    def taken_back(run: str) -> str | None:
        change = promotions.taken_back(registry.history("default"), run)
        return None if change is None else change.by

    registry.promote("default", 1)
    registry.promote("default", 2, run="first night")
    registry.promote("default", 3, run="second night")
    assert taken_back("second night") is None
    registry.rollback("default", by="a person")
    assert (taken_back("first night"), taken_back("second night")) == (None, "a person")
    registry.rollback("default", by="watch")
    assert (taken_back("first night"), taken_back("second night")) == ("watch", "a person")
    registry.promote("default", 2)  # who promotes it anew has the last word
    assert (taken_back("first night"), taken_back("second night")) == (None, "a person")
    registry.rollback("default", by="a person")
    assert taken_back("first night") == "a person"
    assert taken_back("a night that nobody knows") is None


def test_a_rollback_passes_over_what_is_gone_and_refuses_what_cannot_be_used(
    registry: AdapterRegistry, tmp_path: Path
) -> None:
    publish_bare(registry, "pirate", fingerprint="0" * 64)
    publish_bare(registry, "pirate")
    publish_bare(registry, "pirate")
    (tmp_path / "adapters/pirate/2").rename(tmp_path / "away")
    assert registry.rollback_target("pirate") == 1
    with pytest.raises(AdapterError, match="another base model"):
        registry.rollback("pirate", by="test", base_fingerprint=FINGERPRINT)
    assert registry.promoted("pirate") == 3
    with pytest.raises(AdapterError, match="cannot be an adapter's name"):
        registry.rollback("../pirate", by="test")
    with pytest.raises(AdapterError, match="no earlier version"):
        registry.rollback("nobody", by="test")
    assert not (tmp_path / "adapters/nobody").exists()


def test_the_shipped_version_can_be_gone_back_to_with_any_model(registry: AdapterRegistry) -> None:
    publish_bare(registry, "default")
    registry.rollback("default", by="test", base_fingerprint=FINGERPRINT)
    assert registry.promoted("default") == 0
    assert registry.resolve("default", FINGERPRINT) is None  # as before the first training


def test_who_decided_by_an_older_state_changes_nothing(registry: AdapterRegistry) -> None:
    versions(registry, "default", 2)
    registry.promote("default", 2)
    for change in (
        lambda: registry.promote("default", 1, expected=0),
        lambda: registry.rollback("default", by="watch", expected=1),
    ):
        with pytest.raises(AdapterError, match="stands for version 2 by now"):
            change()
    assert registry.promoted("default") == 2
    registry.promote("default", 1, expected=2)
    assert registry.promoted("default") == 1


def test_two_hundred_changes_are_remembered(registry: AdapterRegistry, tmp_path: Path) -> None:
    versions(registry, "pirate", 2)
    home = tmp_path / "adapters/pirate"
    past = [
        Promotion(at=float(n), version=1 + n % 2, previous=2 - n % 2) for n in reversed(range(250))
    ]
    promotions.write(home, 2, past)
    kept = registry.history("pirate")
    assert len(kept) == 200
    assert kept[0].at == 249.0
    registry.promote("pirate", 1)
    assert [change.at for change in registry.history("pirate")][1:3] == [249.0, 248.0]
    assert len(registry.history("pirate")) == 200


@pytest.mark.parametrize("torn", [b"", b"\x00\x00\x00", b"99\n", b"{", b"\xff\xfe"])
def test_a_torn_file_leaves_serving_what_served(
    registry: AdapterRegistry, tmp_path: Path, torn: bytes
) -> None:
    versions(registry, "default", 3)  # 3 was rejected
    registry.promote("default", 1)
    registry.promote("default", 2)
    (tmp_path / "adapters/default/current").write_bytes(torn)
    assert registry.promoted("default") == 2
    registry.promote("default", 1, by="after")
    assert registry.history("default")[0].previous == 2
    assert registry.promoted("default") == 1


def test_a_file_that_is_gone_leaves_serving_what_served(
    registry: AdapterRegistry, tmp_path: Path
) -> None:
    versions(registry, "default", 3)  # 3 was rejected
    registry.promote("default", 1)
    registry.promote("default", 2)
    (tmp_path / "adapters/default/current").unlink()
    assert registry.promoted("default") == 2
    publish_bare(registry, "default", promote=False)
    assert registry.promoted("default") == 2
    assert registry.rollback("default", by="test").version == 1


def test_damaged_lines_are_passed_over(registry: AdapterRegistry, tmp_path: Path) -> None:
    versions(registry, "pirate", 2)
    registry.promote("pirate", 1)
    registry.promote("pirate", 2)
    file = tmp_path / "adapters/pirate/current"
    first, _, newest = file.read_text().splitlines()
    file.write_text(f"{first}\n{{ torn\n{newest}\n")
    assert [change.version for change in registry.history("pirate")] == [2]
    assert registry.rollback("pirate", by="test").label == "pirate@1"


@pytest.mark.parametrize("broken", ["write", "replace"])
def test_a_promotion_that_fails_changes_nothing(
    registry: AdapterRegistry, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    versions(registry, "pirate", 2)
    registry.promote("pirate", 1)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        if broken == "write":
            patch.setattr(os, "fsync", full)
        else:
            patch.setattr(Path, "replace", full)
        with pytest.raises(OSError, match="No space left"):
            registry.promote("pirate", 2)
    assert registry.promoted("pirate") == 1
    assert len(registry.history("pirate")) == 1
    registry.promote("pirate", 2)
    assert registry.promoted("pirate") == 2


def _promote_for_ever(folder: Path) -> None:
    registry = AdapterRegistry(folder)
    for turn in range(1_000_000):
        registry.promote("pirate", 1 + turn % 2)


def test_killed_at_any_moment_it_stands_for_one_of_the_two(
    registry: AdapterRegistry, tmp_path: Path
) -> None:
    versions(registry, "pirate", 3)
    registry.promote("pirate", 2)
    spawn = multiprocessing.get_context("spawn")
    current = tmp_path / "adapters/pirate/current"
    for _ in range(4):
        before = len(registry.history("pirate"))
        process = spawn.Process(target=_promote_for_ever, args=(tmp_path / "adapters",))
        process.start()
        deadline = time.monotonic() + 60
        while len(registry.history("pirate")) < min(before + 3, 200):
            assert time.monotonic() < deadline
        process.kill()
        process.join()
        first, *lines = current.read_text().splitlines()
        assert Promotion.model_validate_json(lines[-1]).version == int(first)
        assert registry.promoted("pirate") in (1, 2)
    registry.promote("pirate", 3)  # the lock died with its holder
    assert registry.promoted("pirate") == 3


def test_no_change_is_lost_when_several_are_made_at_once(registry: AdapterRegistry) -> None:
    versions(registry, "pirate", 8)

    def work(version: int) -> None:
        for _ in range(5):
            registry.promote("pirate", version, run=str(version))

    threads = [threading.Thread(target=work, args=(version,)) for version in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    past = registry.history("pirate")[::-1]
    assert {change.run for change in past} == {str(version) for version in range(1, 9)}
    for earlier, later in itertools.pairwise(past):
        assert later.previous == earlier.version


@settings(deadline=None)
@given(st.lists(st.integers(0, 6), max_size=30))
def test_going_back_undoes_promotions_one_by_one(steps: list[int]) -> None:
    """A model of it: a stack of what the name stood for. 0 goes back, the rest are promoted."""
    known = [1, 2, 3, 4, 5, 6]
    present = 1
    stack: list[int] = []
    past: list[Promotion] = []
    for step in steps:
        target = promotions.earlier(past, present, known)
        undo = [version for version in stack if version != present]
        assert target == (undo[-1] if undo else None)
        if step == 0 and target is not None:
            while stack.pop() != target:
                pass
            change = Promotion(at=0, version=target, previous=present, back=True)
        elif step not in (0, present):
            stack.append(present)
            change = Promotion(at=0, version=step, previous=present)
        else:
            continue
        past.insert(0, change)
        present = change.version

"""Which versions are deleted, and all the reasons why one is not."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from config import BotSettings, Config, ModelSettings, RetrainSettings
from db.database import Database
from db.runs import Run
from finetune.retraining.keeping import delete_old_versions
from inference.adapters import AdapterRegistry
from tests.conftest import MakeConfig
from tests.inference.bare_adapters import publish_bare

DAY = 86_400.0
NOW = time.time() + 30 * DAY  # the versions are made now, and looked at in a month


@pytest.fixture
def config(make_config: MakeConfig) -> Config:
    return make_config(retrain=RetrainSettings(keep_versions=2))


def publish(config: Config, count: int, name: str = "default") -> AdapterRegistry:
    registry = AdapterRegistry(config.adapters_dir)
    for _ in range(count):
        publish_bare(registry, name)
    return registry


def sweep(config: Config, name: str = "default", now: float = NOW) -> tuple[list[str], list[str]]:
    """What was deleted, and what was said."""
    said: list[str] = []
    return delete_old_versions(config, name, say=said.append, now=now), said


def stored(config: Config, work: Callable[[Database], object]) -> None:
    async def store() -> None:
        async with await Database.open(config.database_file) as database:
            await work(database)  # type: ignore[misc]

    asyncio.run(store())


def test_the_newest_stay_and_the_rest_goes(config: Config) -> None:
    registry = publish(config, 6)
    deleted, said = sweep(config)
    assert deleted == ["default@1", "default@2", "default@3", "default@4"]
    assert said[0] == "default@1 is old and in nobody's use; it was deleted."
    assert registry.versions("default") == [0, 5, 6]
    assert sweep(config) == ([], [])
    publish(config, 1)
    assert registry.versions("default") == [0, 5, 6, 7]  # no number comes back


def test_few_versions_and_other_names_are_left_alone(config: Config) -> None:
    publish(config, 2)
    pirate = publish(config, 6, "pirate")
    assert sweep(config) == ([], [])
    assert len(pirate.versions("pirate")) == 6
    assert sweep(config, "nobody") == ([], [])


def test_what_serves_and_what_a_rollback_goes_to_stay(config: Config) -> None:
    registry = publish(config, 6)
    registry.promote("default", 1)
    registry.promote("default", 2)
    assert sweep(config)[0] == ["default@3", "default@4"]
    assert registry.rollback("default", by="test").label == "default@1"


def test_a_version_on_trial_stays(config: Config) -> None:
    registry = publish(config, 6)
    registry.begin_canary("default", 3, share=0.1, until=NOW + DAY)
    assert "default@3" not in sweep(config)[0]
    assert registry.canary("default") is not None


def test_what_stood_for_the_name_within_a_day_stays(config: Config) -> None:
    registry = publish(config, 6)
    for version in (1, 2, 6):
        registry.promote("default", version)
    assert sweep(config, now=time.time() + DAY / 2)[0] == []
    assert sweep(config)[0] == ["default@1", "default@3", "default@4"]


def test_young_versions_stay_also_when_the_clock_was_put_back(config: Config) -> None:
    registry = publish(config, 6)
    for version in range(1, 5):  # as copied from another machine, whose files kept their times
        card = registry.folder_of("default", version) / "troupe.json"
        values = json.loads(card.read_text())
        made = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(NOW - version * DAY / 3))
        card.write_text(json.dumps({**values, "created_at": made}))
    assert sweep(config, now=NOW)[0] == ["default@3", "default@4"]
    assert sweep(config, now=0.0) == ([], [])


def test_a_card_that_cannot_be_read_is_as_old_as_its_files(config: Config) -> None:
    registry = publish(config, 4)
    (registry.folder_of("default", 1) / "troupe.json").write_text("{")
    assert sweep(config)[0] == ["default@1", "default@2"]


def test_channels_and_their_characters_keep_versions(config: Config) -> None:
    publish(config, 6)

    async def pin(database: Database) -> None:
        channel = await database.channels.seen("discord:1", guild_key=None, name="x", kind="dm")
        await database.channels.set(channel.id, adapter="default@1")
        await database.channels.add_member(channel.id, "bramble", "default@2")

    stored(config, pin)
    assert sweep(config)[0] == ["default@3", "default@4"]


def test_a_character_s_card_keeps_one(config: Config) -> None:
    publish(config, 4)
    card = {
        "spec": "chara_card_v2",
        "data": {"name": "Salt", "extensions": {"troupe": {"adapter": "default@1"}}},
    }
    config.paths.personas.mkdir(parents=True)
    (config.paths.personas / "salt.json").write_text(json.dumps(card), encoding="utf-8")
    assert sweep(config)[0] == ["default@2"]


def test_a_run_under_way_keeps_both_of_its_versions(config: Config) -> None:
    publish(config, 6)

    async def begin(database: Database) -> None:
        run = Run("key", "default", challenger="default@2", champion="default@1")
        await database.runs.begin(run)

    stored(config, begin)
    assert sweep(config)[0] == ["default@3", "default@4"]

    async def end(database: Database) -> None:
        await database.runs.finish("key", "failed", "The disk is full.", NOW)

    stored(config, end)
    assert sweep(config)[0] == ["default@1", "default@2"]


def test_the_configuration_keeps_what_it_names(make_config: MakeConfig) -> None:
    config = make_config(
        retrain=RetrainSettings(keep_versions=1),
        bot=BotSettings(adapter="default@1"),
        model=ModelSettings(merge_adapter="default@2"),
    )
    publish(config, 5)
    assert sweep(config)[0] == ["default@3"]


def test_without_knowing_what_is_in_use_nothing_is_deleted(config: Config) -> None:
    registry = publish(config, 6)
    config.database_file.write_text("This is no database, and it is longer than its header is.")
    deleted, [said] = sweep(config)
    assert deleted == []
    assert said.startswith("Old versions of default are kept for now: ")
    assert len(registry.versions("default")) == 7


def test_a_refusing_disk_is_said(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(config, 4)

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "rename", refuse)
    deleted, [said] = sweep(config)
    assert deleted == []
    assert "Permission denied" in said


def test_a_deletion_that_was_killed_is_finished(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = publish(config, 4)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("finetune.retraining.keeping.shutil.rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            sweep(config)
    assert registry.versions("default") == [0, 2, 3, 4]  # all of it is gone for every reader
    home = config.adapters_dir / "default"
    assert len(list(home.glob(".deleted-*"))) == 1
    assert sweep(config)[0] == ["default@2"]
    assert not list(home.glob(".deleted-*"))

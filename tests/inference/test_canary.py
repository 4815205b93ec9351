"""A version on trial: which channels try it, how long, and that a promotion ends it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from inference.adapters import AdapterError, AdapterRegistry, Canary
from tests.inference.bare_adapters import publish_bare

DAY = 86_400.0
CHANNELS = [f"discord:{number}" for number in range(800)]


@pytest.fixture
def registry(tmp_path: Path) -> AdapterRegistry:
    made = AdapterRegistry(tmp_path / "adapters")
    publish_bare(made, "default")
    publish_bare(made, "default", promote=False)
    return made


def begin(registry: AdapterRegistry, share: float = 0.2, days: float = 3.0) -> Canary:
    until = time.time() + days * DAY
    return registry.begin_canary("default", 2, share=share, until=until, run="night")


def test_a_share_of_the_channels_tries_it_and_stays_with_it(registry: AdapterRegistry) -> None:
    assert {registry.serving("default", key) for key in CHANNELS} == {"default"}
    canary = begin(registry)
    assert registry.canary("default") == canary
    assert (canary.version, canary.champion, canary.run) == (2, 1, "night")
    trying = {key for key in CHANNELS if registry.serving("default", key) == "default@2"}
    assert 0.16 < len(trying) / len(CHANNELS) < 0.24
    again = {key for key in CHANNELS if registry.serving("default", key) == "default@2"}
    assert again == trying
    assert registry.promoted("default") == 1
    other = registry.resolve(registry.serving("default", min(trying)))
    assert other is not None
    assert other.label == "default@2"


def test_a_greater_share_keeps_those_who_try_it_already_and_a_version_draws_anew(
    registry: AdapterRegistry,
) -> None:
    few, more = (
        Canary(version=2, champion=1, share=share, since=0, until=1) for share in (0.1, 0.5)
    )
    chosen = {key for key in CHANNELS if few.includes("default", key)}
    assert chosen < {key for key in CHANNELS if more.includes("default", key)}
    next_night = few.model_copy(update={"version": 3})
    assert chosen != {key for key in CHANNELS if next_night.includes("default", key)}
    all_of_them = few.model_copy(update={"share": 1.0})
    assert all(all_of_them.includes("default", key) for key in CHANNELS)


def test_only_who_follows_the_name_tries_it(registry: AdapterRegistry) -> None:
    begin(registry, share=1.0)
    publish_bare(registry, "pirate")
    for name in ("default@1", "default@0", "base", "pirate", "nobody", "../default", ""):
        assert registry.serving(name, "discord:1") == name
    elsewhere = AdapterRegistry(registry.folder_of("default", 1).parent.parent, ("org",))
    assert elsewhere.serving("org", "discord:1") == "org"


@pytest.mark.parametrize("version", [0, 1, 2, 3])
def test_any_promotion_ends_the_trial_in_the_same_step(
    registry: AdapterRegistry, version: int
) -> None:
    publish_bare(registry, "default", promote=False)
    begin(registry, share=1.0)
    file = registry.folder_of("default", 1).with_name("canary")
    written = file.read_bytes()
    registry.promote("default", version)
    assert registry.canary("default") is None
    assert registry.serving("default", "discord:1") == "default"
    assert not file.exists()
    if version != 1:
        file.write_bytes(written)  # killed between the two files: the older word counts no more
        assert registry.canary("default") is None
        assert registry.serving("default", "discord:1") == "default"


def test_a_rollback_ends_it_too(registry: AdapterRegistry) -> None:
    begin(registry, share=1.0)
    registry.rollback("default", by="test")
    assert registry.canary("default") is None
    assert registry.serving("default", "discord:1") == "default"


def test_it_can_be_ended_and_begun_again(registry: AdapterRegistry) -> None:
    begin(registry, share=1.0)
    registry.end_canary("default")
    registry.end_canary("default")
    assert registry.serving("default", "discord:1") == "default"
    assert registry.promoted("default") == 1
    begin(registry, share=1.0)
    assert registry.serving("default", "discord:1") == "default@2"


def test_what_serves_already_or_is_not_there_cannot_be_tried(registry: AdapterRegistry) -> None:
    with pytest.raises(AdapterError, match="serves everywhere already"):
        registry.begin_canary("default", 1, share=0.5, until=time.time())
    with pytest.raises(AdapterError, match=r"default@9 has no adapter_model"):
        registry.begin_canary("default", 9, share=0.5, until=time.time())
    with pytest.raises(ValueError, match="less than or equal to 1"):
        registry.begin_canary("default", 2, share=2.0, until=time.time())
    assert registry.canary("default") is None


@pytest.mark.parametrize("torn", [b"", b"{", b'{"version": 2}', b"\xff", b"[]"])
def test_a_torn_file_means_no_trial(registry: AdapterRegistry, torn: bytes) -> None:
    begin(registry, share=1.0)
    registry.folder_of("default", 1).with_name("canary").write_bytes(torn)
    assert registry.canary("default") is None
    assert registry.serving("default", "discord:1") == "default"


def test_a_version_that_breaks_leaves_the_champion_answering(registry: AdapterRegistry) -> None:
    begin(registry, share=1.0)
    folder = registry.folder_of("default", 2)
    (folder / "adapter_model.safetensors").unlink()
    assert registry.serving("default", "discord:1") == "default"
    folder.rename(folder.with_name("away"))
    assert registry.canary("default") is None


def test_a_trial_that_nobody_decides_ends_by_itself(
    registry: AdapterRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    canary = begin(registry, share=1.0, days=3.0)
    assert canary.given_up_at == pytest.approx(canary.since + 6 * DAY)
    for moment, answers in (
        (canary.since - DAY, "default@2"),  # a clock that was put back
        (canary.until + DAY, "default@2"),
        (canary.given_up_at, "default"),
    ):
        monkeypatch.setattr("inference.adapters.time.time", lambda moment=moment: moment)
        assert registry.serving("default", "discord:1") == answers

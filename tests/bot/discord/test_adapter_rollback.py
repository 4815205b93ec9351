"""`/adapter history | rollback` in Discord: who may, and who sees it."""

from __future__ import annotations

import pytest

from config import DiscordSettings
from inference.adapters import AdapterRegistry
from tests.bot.discord.conftest import Town
from tests.bot.scripted import INFO
from tests.discord_standin import Actor
from tests.inference.bare_adapters import publish_bare


@pytest.fixture
def registry(town: Town) -> AdapterRegistry:
    made = AdapterRegistry(town.config.adapters_dir)
    for _ in range(3):
        publish_bare(made, "default", fingerprint=INFO.fingerprint)
    return made


async def roll_back(actor: Actor, where: object, **options: str) -> tuple[str, bool]:
    """What was answered, and whether it was to that person only."""
    used = await actor.slash(where, "adapter rollback", **options)  # type: ignore[arg-type]
    return (await used.wait_response()).content, used.ephemeral


async def test_the_history_is_for_everybody_who_asks(town: Town, registry: AdapterRegistry) -> None:
    registry.promote("default", 1, by="watch", reason="it was disliked")
    async with town.bot():
        used = await town.alice.slash(town.general, "adapter history")
        content = (await used.wait_response()).content
        assert used.ephemeral
        assert content.startswith("**default** stands for `default@1`.")
        assert "by watch: it was disliked" in content
        offered = await town.alice.autocomplete(
            town.general, "adapter history", focused="name", value="default@"
        )
        assert "default@3" in [choice["value"] for choice in offered]


async def test_in_the_only_server_who_switches_may_roll_back_and_all_see_it(
    town: Town, registry: AdapterRegistry
) -> None:
    async with town.bot() as running:
        content, hidden = await roll_back(town.alice, town.general)
        assert hidden
        assert content.startswith("That changes what every channel hears, so it is for whoever")
        assert registry.promoted("default") == 3
        content, hidden = await roll_back(town.admin, town.general, name="default")
        assert not hidden
        assert content.startswith("`default` stands for `default@2` again, in every channel")
        assert registry.promoted("default") == 2
        await town.reply_to(await town.ask("hi"))  # the same process goes on answering
        assert running.client.requests[-1].adapter == "default"


async def test_a_direct_message_gives_nobody_the_right(
    town: Town, registry: AdapterRegistry
) -> None:
    """There everybody may switch, but only for themselves."""
    async with town.bot():
        for actor in (town.alice, town.admin):
            content, _ = await roll_back(actor, actor.dm())
            assert "it is for whoever runs me" in content
        assert registry.promoted("default") == 3
        owner = town.server.owner
        content, _ = await roll_back(owner, owner.dm())
        assert content.startswith("`default` stands for `default@2` again")


async def test_with_several_servers_it_is_for_whoever_runs_the_bot(
    town: Town, registry: AdapterRegistry
) -> None:
    other = town.server.add_guild("Other")
    square = other.add_channel("square")
    ruler = other.join(town.server.add_user("ruler"), permissions="manage_channels")
    async with town.bot() as running:
        for actor, where in ((town.admin, town.general), (ruler, square)):
            content, _ = await roll_back(actor, where)
            assert "it is for whoever runs me" in content
        assert registry.promoted("default") == 3
        settings = running.behind.config.discord
        assert isinstance(settings, DiscordSettings)
        content, hidden = await roll_back(town.server.owner, town.general)
        assert content.startswith("`default` stands for `default@2` again")
        assert not hidden


async def test_owners_of_the_configuration_may_too(town: Town, registry: AdapterRegistry) -> None:
    named = town.config.discord.model_copy(update={"owners": [int(town.alice.id)]})
    town.config = town.config.model_copy(update={"discord": named})
    async with town.bot():
        content, _ = await roll_back(town.alice, town.alice.dm())
        assert content.startswith("`default` stands for `default@2` again")

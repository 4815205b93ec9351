"""Slash commands, menus, buttons, selects, modals, autocomplete: from synced tree to answer."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import suppress

import discord
import pytest
from discord import app_commands

from tests.discord_standin import Actor, ChannelHandle, DiscordStandIn, GuildHandle

from .conftest import SampleBot, running


class Buttons(discord.ui.View):
    @discord.ui.button(label="Again", custom_id="again")
    async def again(
        self, interaction: discord.Interaction, button: discord.ui.Button[Buttons]
    ) -> None:
        button.disabled = True
        await interaction.response.edit_message(content="pressed", view=self)

    @discord.ui.button(label="Later")
    async def later(
        self, interaction: discord.Interaction, button: discord.ui.Button[Buttons]
    ) -> None:
        await interaction.response.defer()
        await interaction.edit_original_response(content="pressed later")

    @discord.ui.select(
        options=[discord.SelectOption(label="Red", value="r"), discord.SelectOption(label="Blue")]
    )
    async def colour(
        self, interaction: discord.Interaction, menu: discord.ui.Select[Buttons]
    ) -> None:
        await interaction.response.send_message(f"picked {menu.values}", ephemeral=True)

    @discord.ui.select(cls=discord.ui.UserSelect, custom_id="who")
    async def who(
        self, interaction: discord.Interaction, menu: discord.ui.UserSelect[Buttons]
    ) -> None:
        await interaction.response.send_message(menu.values[0].display_name)


class Form(discord.ui.Modal, title="Tell"):
    name: discord.ui.TextInput[Form] = discord.ui.TextInput(label="Name", max_length=20)
    why: discord.ui.Label[Form] = discord.ui.Label(
        text="Why", component=discord.ui.TextInput(custom_id="why", required=False)
    )

    async def on_submit(self, interaction: discord.Interaction) -> None:
        assert isinstance(self.why.component, discord.ui.TextInput)
        await interaction.response.send_message(f"{self.name.value}: {self.why.component.value}")


def furnish(bot: SampleBot) -> None:
    tree = bot.tree

    @tree.command(description="echo")
    @app_commands.choices(tone=[app_commands.Choice(name="Loud", value="l")])
    async def echo(
        interaction: discord.Interaction,
        text: app_commands.Range[str, 1, 10],
        times: app_commands.Range[int, 1, 3] = 1,
        tone: str = "",
        who: discord.Member | None = None,
        where: discord.TextChannel | None = None,
        role: discord.Role | None = None,
        file: discord.Attachment | None = None,
        weight: float = 0.5,
        sure: bool = False,
    ) -> None:
        parts = [text * times, tone, str(weight), str(sure)]
        parts += [x.name for x in (who, where, role) if x]
        if file is not None:
            parts.append((await file.read()).decode())
        await interaction.response.send_message(" ".join(parts))

    @tree.command(description="slow")
    async def slow(interaction: discord.Interaction, hidden: bool = False) -> None:
        await interaction.response.defer(ephemeral=hidden, thinking=True)
        await interaction.followup.send("worked it out")
        extra = await interaction.followup.send("and more", wait=True)
        await extra.edit(content="and more, edited")
        original = await interaction.original_response()
        await original.edit(content="worked it out, edited")

    @tree.command(description="view")
    async def buttons(interaction: discord.Interaction) -> None:
        await interaction.response.send_message("press", view=Buttons())

    @tree.command(description="modal")
    async def form(interaction: discord.Interaction) -> None:
        await interaction.response.send_modal(Form())

    @tree.command(description="file")
    async def file(interaction: discord.Interaction) -> None:
        page = discord.File(io.BytesIO(b"page"), "page.txt")
        await interaction.response.send_message(file=page, ephemeral=True)

    @tree.command(description="layout")
    async def layout(interaction: discord.Interaction) -> None:
        view = discord.ui.LayoutView()
        box: discord.ui.Container[discord.ui.LayoutView] = discord.ui.Container()
        box.add_item(discord.ui.TextDisplay("in a box"))
        row: discord.ui.ActionRow[discord.ui.LayoutView] = discord.ui.ActionRow()
        button: discord.ui.Button[discord.ui.LayoutView] = discord.ui.Button(label="Go")

        async def go(pressed: discord.Interaction) -> None:
            await pressed.response.send_message("gone")

        button.callback = go  # type: ignore[assignment]
        row.add_item(button)
        view.add_item(box.add_item(row))
        await interaction.response.send_message(view=view)

    @tree.command(description="never answers in time")
    async def late(interaction: discord.Interaction) -> None:
        await asyncio.sleep(0.25)
        with suppress(discord.NotFound):
            await interaction.response.send_message("too late")

    group = app_commands.Group(name="persona", description="personas")
    inner = app_commands.Group(name="voice", description="voices", parent=group)

    @group.command(name="set", description="set")
    async def set_persona(interaction: discord.Interaction, name: str) -> None:
        await interaction.response.send_message(f"now {name}", ephemeral=True)
        await interaction.followup.send("told everyone")

    @set_persona.autocomplete("name")
    async def complete(
        interaction: discord.Interaction, current: str
    ) -> list[app_commands.Choice[str]]:
        names = [name for name in ("mirela", "mika", "otto") if name.startswith(current)]
        return [app_commands.Choice(name=name.title(), value=name) for name in names]

    @inner.command(name="pitch", description="pitch")
    @app_commands.checks.has_permissions(manage_guild=True)
    async def pitch(interaction: discord.Interaction, value: int) -> None:
        await interaction.response.send_message(f"pitch {value}")

    tree.add_command(group)

    @tree.command(description="admins only")
    @app_commands.default_permissions(manage_guild=True)
    @app_commands.guild_only()
    async def admin(interaction: discord.Interaction) -> None:
        await interaction.response.send_message("yes, master")

    @tree.context_menu(name="Shout")
    async def shout(interaction: discord.Interaction, message: discord.Message) -> None:
        await interaction.response.send_message(message.content.upper())

    @tree.context_menu(name="Greet")
    async def greet(interaction: discord.Interaction, user: discord.User) -> None:
        await interaction.response.send_message(f"hello {user.display_name}")


@pytest.fixture
async def stage(
    standin: DiscordStandIn, guild: GuildHandle, general: ChannelHandle, alice: Actor
) -> AsyncIterator[DiscordStandIn]:
    bot = SampleBot()
    bot.sync_on_start = True
    furnish(bot)
    async with running(bot, standin):
        await standin.wait_ready(commands=True)
        yield standin
    assert not standin.requests.unhandled


async def test_immediate_answer_and_every_kind_of_option(
    stage: DiscordStandIn, general: ChannelHandle, alice: Actor, guild: GuildHandle
) -> None:
    role = guild.add_role("Critics")
    answer = await alice.slash(
        general,
        "echo",
        text="ab",
        times=2,
        tone="Loud",
        who=alice,
        where=general,
        role=role,
        file=("f.txt", b"inside"),
        weight=2,
        sure=True,
    )
    assert (answer.kind, answer.ephemeral) == ("immediate", False)
    assert answer.content == "abab l 2.0 True alice general Critics inside"
    assert answer.acknowledged_after is not None
    assert answer.acknowledged_after < 2
    assert general.messages[-1] is answer.response


@pytest.mark.parametrize(
    ("line", "options", "complaint"),
    [
        ("nothing", {}, "no command 'nothing'"),
        ("persona", {}, "is a group"),
        ("persona fly", {}, "no subcommand 'fly'"),
        ("echo", {}, "required option 'text'"),
        ("echo", {"text": "a", "loud": 1}, r"no option \['loud'\]"),
        ("echo", {"text": "a" * 11}, "above 10"),
        ("echo", {"text": "a", "times": 0}, "below 1"),
        ("echo", {"text": "a", "times": "2"}, "takes <class 'int'>"),
        ("echo", {"text": "a", "tone": "Soft"}, "none of"),
        ("echo", {"text": "a", "who": "alice"}, "does not take"),
        ("admin", {}, "not shown to Alice"),
    ],
)
async def test_what_the_client_would_not_send(
    stage: DiscordStandIn,
    general: ChannelHandle,
    alice: Actor,
    line: str,
    options: dict[str, object],
    complaint: str,
) -> None:
    with pytest.raises(AssertionError, match=complaint):
        await alice.slash(general, line, options)


async def test_deferred_with_followups(
    stage: DiscordStandIn, general: ChannelHandle, alice: Actor
) -> None:
    answer = await alice.slash(general, "slow")
    assert answer.kind == "deferred"
    await answer.wait_text("worked it out, edited")
    followup = await answer.wait_followup()
    await general.wait_content(followup, "edited")
    assert answer.texts == ["worked it out, edited", "and more, edited"]
    assert answer.response is not None
    assert answer.response.history[0].content == ""


async def test_ephemeral_is_seen_by_one(
    stage: DiscordStandIn, general: ChannelHandle, alice: Actor
) -> None:
    answer = await alice.slash(general, "slow", hidden=True)
    message = await answer.wait_response()
    assert message.ephemeral
    assert message not in general.messages
    assert message in general.messages_for(alice)
    quick = await alice.slash(general, "persona set", name="mirela")
    assert (quick.ephemeral, quick.content) == (True, "now mirela")
    assert (await quick.wait_followup()).content == "told everyone"


async def test_autocomplete(stage: DiscordStandIn, general: ChannelHandle, alice: Actor) -> None:
    choices = await alice.autocomplete(general, "persona set", focused="name", value="mi")
    assert choices == [{"name": "Mirela", "value": "mirela"}, {"name": "Mika", "value": "mika"}]


async def test_groups_permissions_and_direct_messages(
    stage: DiscordStandIn, general: ChannelHandle, alice: Actor, guild: GuildHandle
) -> None:
    boss = guild.join(stage.add_user("boss"), permissions=["manage_guild"])
    answer = await boss.slash(general, "persona voice pitch", value=3)
    assert answer.content == "pitch 3"
    assert (await boss.slash(general, "admin")).content == "yes, master"
    assert "admin" in boss.commands(general)
    assert "admin" not in alice.commands(general)
    assert "admin" not in boss.commands(boss.dm())
    direct = await alice.slash(alice.dm(), "echo", text="hi")
    assert direct.content == "hi  0.5 False"


async def test_context_menus(stage: DiscordStandIn, general: ChannelHandle, alice: Actor) -> None:
    said = await alice.say(general, "quiet")
    assert (await alice.context_menu(general, "Shout", said)).content == "QUIET"
    assert (await alice.context_menu(general, "Greet", alice)).content == "hello Alice"


async def test_buttons_and_selects(
    stage: DiscordStandIn, general: ChannelHandle, alice: Actor
) -> None:
    message = await (await alice.slash(general, "buttons")).wait_response()
    later = await alice.click(message, label="Later")
    assert later.kind == "deferred_update"
    await general.wait_content(message, "pressed later")
    picked = await alice.select(message, "Red", custom_id=select_ids(message.components)[0])
    assert (picked.content, picked.ephemeral) == ("picked ['r']", True)
    chosen = await alice.select(message, alice, custom_id="who")
    assert chosen.content == "Alice"
    pressed = await alice.click(message, custom_id="again")
    assert pressed.kind == "update"
    assert message.content == "pressed"
    with pytest.raises(AssertionError, match="disabled"):
        await alice.click(message, custom_id="again")
    with pytest.raises(AssertionError, match="0 components match"):
        await alice.click(message, custom_id="nowhere")


def select_ids(components: list[dict[str, object]]) -> list[str]:
    rows = [row["components"] for row in components]
    return [str(c["custom_id"]) for row in rows for c in row if c["type"] == 3]  # type: ignore[attr-defined]


async def test_modal(stage: DiscordStandIn, general: ChannelHandle, alice: Actor) -> None:
    opened = await alice.slash(general, "form")
    assert opened.kind == "modal"
    assert "why" in opened.modal_fields
    with pytest.raises(AssertionError, match="required"):
        await alice.submit_modal(opened, why="because")
    with pytest.raises(AssertionError, match="no input"):
        await alice.submit_modal(opened, Name="Ann", age="3")
    answer = await alice.submit_modal(opened, Name="Ann", why="because")
    assert answer.content == "Ann: because"


async def test_files_and_layouts(
    stage: DiscordStandIn, general: ChannelHandle, alice: Actor
) -> None:
    message = await (await alice.slash(general, "file")).wait_response()
    assert [(a.filename, a.data) for a in message.attachments] == [("page.txt", b"page")]
    shown = await (await alice.slash(general, "layout")).wait_response()
    assert (await alice.click(shown, label="Go")).content == "gone"


async def test_past_the_deadline(
    stage: DiscordStandIn, general: ChannelHandle, alice: Actor
) -> None:
    stage.interaction_deadline = 0.1
    interaction = alice.begin_slash(general, "late")
    await interaction.pulse.until(lambda: bool(interaction.refused), 5, lambda: "a refusal")
    assert interaction.refused == [10062]
    assert not interaction.acknowledged


async def test_guild_commands_and_resync(
    standin: DiscordStandIn, guild: GuildHandle, general: ChannelHandle, alice: Actor
) -> None:
    bot = SampleBot()
    bot.sync_on_start = True
    bot.sync_guild = discord.Object(guild.id)
    furnish(bot)
    bot.tree.copy_global_to(guild=bot.sync_guild)
    async with running(bot, standin):
        first = {c["name"]: c["id"] for c in standin.commands.all(guild.id)}
        assert standin.commands.all() == []
        assert (await alice.slash(general, "echo", text="hi")).kind == "immediate"
        bot.tree.remove_command("echo", guild=bot.sync_guild)
        synced = await bot.tree.sync(guild=bot.sync_guild)
        assert {c.name: str(c.id) for c in synced} == {
            name: command_id for name, command_id in first.items() if name != "echo"
        }
        assert standin.commands.syncs == {guild.id: 2}
        fetched = await bot.tree.fetch_commands(guild=bot.sync_guild)
        assert len(fetched) == len(synced)


async def test_a_bad_command_is_refused(standin: DiscordStandIn, guild: GuildHandle) -> None:
    bot = SampleBot()
    async with running(bot, standin):
        assert bot.application_id is not None
        with pytest.raises(discord.HTTPException) as refused:
            await bot.http.bulk_upsert_global_commands(
                bot.application_id, [{"name": "Bad Name", "description": "x", "type": 1}]
            )
        assert refused.value.code == 50035

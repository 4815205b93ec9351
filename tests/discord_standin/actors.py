"""The people of a test: what they can do in Discord, as methods that tests await."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .bodies import Upload
from .commands import MESSAGE_MENU, USER_MENU
from .component_use import click_data, modal_data, select_data
from .interaction_state import AUTOCOMPLETE, COMMAND, COMPONENT, MODAL_SUBMIT, Interaction
from .invocation import SlashBuilder, find_command, unwrap, visible_commands
from .permissions import Permission
from .posting import Draft
from .stage import Stage
from .state import Channel, ChannelKind, Json, Message, Typing, User

if TYPE_CHECKING:
    from .handles import ChannelHandle, Handles

#: A file: its name and bytes, or a path to read.
File = Upload | tuple[str, bytes] | Path


def _upload(file: File) -> Upload:
    if isinstance(file, Upload):
        return file
    if isinstance(file, Path):
        return Upload(file.name, file.read_bytes())
    return Upload(*file)


class Actor:
    """One person. Acting where they may not is an AssertionError: their client forbids it."""

    def __init__(self, stage: Stage, handles: Handles, user: User) -> None:
        self._stage = stage
        self._handles = handles
        self.state = user
        #: Seconds that `slash`, `click` and the like wait for the bot's first answer.
        self.patience = 5.0

    @property
    def id(self) -> int:
        return self.state.id

    @property
    def name(self) -> str:
        return self.state.username

    @property
    def display_name(self) -> str:
        return self.state.display_name

    @property
    def mention(self) -> str:
        return self.state.mention

    def __repr__(self) -> str:
        return f"<Actor {self.display_name}>"

    def _place(self, where: ChannelHandle | Channel, *needs: Permission) -> Channel:
        channel: Channel = unwrap(where)
        bits = channel.permissions_of(self.id)
        assert bits & Permission.VIEW_CHANNEL, f"{self.display_name} does not see {channel}"
        for need in needs:
            assert bits & need, f"{self.display_name} lacks {need.name} in {channel}"
        return channel

    # -- messages --------------------------------------------------------------------------------

    async def say(
        self,
        where: ChannelHandle | Channel,
        content: str = "",
        *,
        reply_to: Message | None = None,
        ping: bool = True,
        attachments: Sequence[File] = (),
        embeds: Sequence[Json] = (),
    ) -> Message:
        """Posts a message. ping: whether a reply mentions the author that it answers."""
        channel: Channel = unwrap(where)
        need = Permission.SEND_MESSAGES_IN_THREADS if channel.thread else Permission.SEND_MESSAGES
        self._place(channel, need)
        payload: Json = {"content": content, "embeds": list(embeds)}
        if reply_to is not None:
            payload["message_reference"] = {"message_id": str(reply_to.id)}
            if not ping:
                parse = ["users", "roles", "everyone"]
                payload["allowed_mentions"] = {"parse": parse, "replied_user": False}
        self._stage.threads.wake(channel, self.state)
        files = [_upload(file) for file in attachments]
        return self._stage.posting.create(channel, self.state, Draft(payload, files))

    async def edit(self, message: Message, content: str) -> Message:
        assert message.author is self.state, f"{message} is not {self.display_name}'s"
        self._stage.posting.edit(message, {"content": content})
        return message

    async def delete(self, message: Message) -> None:
        """Their own message, or anyone's with manage_messages."""
        if message.author is not self.state:
            self._place(message.channel, Permission.MANAGE_MESSAGES)
        self._stage.posting.delete(message)

    async def react(self, message: Message, emoji: str) -> None:
        """emoji: "👍", or "name:id" for a custom one."""
        self._place(message.channel, Permission.READ_MESSAGE_HISTORY)
        if emoji not in message.reactions:
            self._place(message.channel, Permission.ADD_REACTIONS)
        self._stage.posting.react(message, self.state, emoji)

    async def unreact(self, message: Message, emoji: str) -> None:
        self._stage.posting.unreact(message, self.state, emoji)

    async def pin(self, message: Message) -> None:
        self._place(message.channel, Permission.PIN_MESSAGES)
        self._stage.posting.pin(message, self.state)

    async def type_in(self, where: ChannelHandle | Channel) -> None:
        channel = self._place(where)
        channel.typing.append(Typing(self.id, time.monotonic()))
        self._stage.broadcast.typing(channel, self.state)

    # -- places ----------------------------------------------------------------------------------

    def dm(self) -> ChannelHandle:
        """Their direct messages with the bot."""
        return self._handles.channel(self._stage.world.direct_message(self.state))

    def close_dms(self, closed: bool = True) -> None:
        """The bot's direct messages to them are refused with 50007 from now on."""
        self.state.accepts_dms = not closed

    async def start_thread(
        self,
        where: Message | ChannelHandle | Channel,
        name: str,
        *,
        content: str = "",
        private: bool = False,
    ) -> ChannelHandle:
        """A thread from a message, in a channel, or (with content) a post in a forum."""
        threads = self._stage.threads
        if isinstance(where, Message):
            self._place(where.channel, Permission.CREATE_PUBLIC_THREADS)
            started = threads.start(where.channel, self.state, {"name": name}, from_message=where)
            return self._handles.channel(started)
        channel: Channel = unwrap(where)
        if channel.kind == ChannelKind.FORUM:
            self._place(channel, Permission.SEND_MESSAGES)
            draft = Draft({"content": content})
            post = threads.start_in_forum(channel, self.state, {"name": name}, draft)
            return self._handles.channel(post.channel)
        need = Permission.CREATE_PRIVATE_THREADS if private else Permission.CREATE_PUBLIC_THREADS
        self._place(channel, need)
        kind = ChannelKind.PRIVATE_THREAD if private else ChannelKind.PUBLIC_THREAD
        thread = threads.start(channel, self.state, {"name": name}, kind=kind)
        if content:
            await self.say(thread, content)
        return self._handles.channel(thread)

    async def edit_thread(self, where: ChannelHandle | Channel, **changes: Any) -> None:
        """archived=, locked=, name= …; needs manage_threads unless it is their own."""
        channel = self._place(where)
        assert channel.thread is not None, f"{channel} is no thread"
        if channel.thread.owner_id != self.id:
            self._place(channel, Permission.MANAGE_THREADS)
        self._stage.threads.edit(channel, changes)

    # -- commands --------------------------------------------------------------------------------

    def commands(self, where: ChannelHandle | Channel) -> list[str]:
        """The names of the commands that Discord offers them there, menus included."""
        channel = self._place(where)
        return [c["name"] for c in visible_commands(self._stage, self.state, channel)]

    def begin_slash(
        self,
        where: ChannelHandle | Channel,
        line: str,
        options: Mapping[str, Any] | None = None,
        /,
        **more: Any,
    ) -> Interaction:
        """Sends a slash command and does not wait: see `slash`."""
        channel = self._place(where)
        values = {**(options or {}), **more}
        data = SlashBuilder(self._stage, self.state, channel).build(line, values)
        return self._stage.interactions.begin(COMMAND, self.state, channel, data)

    async def slash(
        self,
        where: ChannelHandle | Channel,
        line: str,
        options: Mapping[str, Any] | None = None,
        /,
        **more: Any,
    ) -> Interaction:
        """Uses a slash command, e.g. `slash(general, "persona set", name="mirela")`.

        Users, channels and roles are given as handles or records, attachments as (name, bytes);
        options that Python cannot spell as keywords go into the mapping. Returns once the bot has
        acknowledged; raises AssertionError if it does not within `patience` seconds, or if the
        command, as synced, does not exist, is hidden from this user or does not take that.
        """
        interaction = self.begin_slash(where, line, options, **more)
        return await interaction.wait_acknowledged(self.patience)

    async def autocomplete(
        self,
        where: ChannelHandle | Channel,
        line: str,
        /,
        *,
        focused: str,
        value: str = "",
        options: Mapping[str, Any] | None = None,
    ) -> list[Json]:
        """What is suggested ({"name", "value"} each) while typing `value` into an option."""
        channel = self._place(where)
        values = {**(options or {}), focused: value}
        builder = SlashBuilder(self._stage, self.state, channel)
        data = builder.build(line, values, focused)
        interaction = self._stage.interactions.begin(AUTOCOMPLETE, self.state, channel, data)
        return await interaction.wait_choices(self.patience)

    async def context_menu(
        self, where: ChannelHandle | Channel, name: str, target: Message | Actor | User
    ) -> Interaction:
        """Uses a message or user context menu command."""
        channel = self._place(where)
        builder = SlashBuilder(self._stage, self.state, channel)
        record: Message | User = unwrap(target)
        kind = MESSAGE_MENU if isinstance(record, Message) else USER_MENU
        command = find_command(self._stage, self.state, channel, name, kind)
        resolved: Json = builder.resolved
        if isinstance(record, Message):
            resolved["messages"] = {str(record.id): self._stage.messages.message(record)}
        else:
            builder.resolve_user(record)
        data: Json = {
            "id": command["id"],
            "name": name,
            "type": kind,
            "target_id": str(record.id),
            "resolved": resolved,
        }
        if "guild_id" in command:
            data["guild_id"] = command["guild_id"]
        interaction = self._stage.interactions.begin(COMMAND, self.state, channel, data)
        return await interaction.wait_acknowledged(self.patience)

    # -- components ------------------------------------------------------------------------------

    def _on_message(self, message: Message) -> Channel:
        channel = self._place(message.channel)
        assert message.visible_to in (None, self.id), f"{self.display_name} cannot see {message}"
        return channel

    def begin_click(
        self, message: Message, *, custom_id: str | None = None, label: str | None = None
    ) -> Interaction:
        """Presses a button and does not wait for an answer."""
        channel = self._on_message(message)
        data = click_data(message, custom_id, label)
        return self._stage.interactions.begin(COMPONENT, self.state, channel, data, message)

    async def click(
        self, message: Message, *, custom_id: str | None = None, label: str | None = None
    ) -> Interaction:
        """Presses the button with that custom id or label; the only one, if neither is given."""
        interaction = self.begin_click(message, custom_id=custom_id, label=label)
        return await interaction.wait_acknowledged(self.patience)

    async def select(
        self, message: Message, *values: Any, custom_id: str | None = None
    ) -> Interaction:
        """Picks from a select menu: values or labels, or users, roles, channels."""
        channel = self._on_message(message)
        data = select_data(self._stage, self.state, channel, message, values, custom_id)
        interaction = self._stage.interactions.begin(COMPONENT, self.state, channel, data, message)
        return await interaction.wait_acknowledged(self.patience)

    async def submit_modal(
        self, interaction: Interaction, values: Mapping[str, Any] | None = None, /, **more: Any
    ) -> Interaction:
        """Fills in the modal that an interaction opened; by custom id or by label."""
        assert interaction.user is self.state, "the modal was opened for someone else"
        await interaction.wait_modal(self.patience)
        filled = {**(values or {}), **more}
        data = modal_data(self._stage, self.state, interaction, filled)
        submitted = self._stage.interactions.begin(
            MODAL_SUBMIT,
            self.state,
            interaction.channel,
            data,
            interaction.message,
            triggered_by=interaction,
        )
        return await submitted.wait_acknowledged(self.patience)

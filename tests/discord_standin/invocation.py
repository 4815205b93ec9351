"""From what a user types to interaction data, by the commands that the bot really synced.

Whatever Discord's own client would not let a user send is an AssertionError here: a command or
option that does not exist or is not shown to that user, a missing or impossible value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from .bodies import Upload
from .commands import CHAT_INPUT, SUB_COMMAND, SUB_COMMAND_GROUP
from .payloads import member_json, role_json, user_json
from .permissions import Permission, channel_permissions
from .stage import Stage
from .state import Channel, Json, Role, User

STRING, INTEGER, BOOLEAN, USER, CHANNEL, ROLE, MENTIONABLE, NUMBER, ATTACHMENT = range(3, 12)


class HasState(Protocol):
    """A handle or an actor: something that stands for a record."""

    @property
    def state(self) -> User | Channel: ...


#: A user, channel or role, itself or through its handle, or its id.
Target = User | Channel | Role | HasState | int


def unwrap(target: Any) -> Any:
    """The record behind a handle; anything else as it is."""
    return getattr(target, "state", target)


def visible_commands(stage: Stage, user: User, channel: Channel) -> list[Json]:
    """The commands that Discord would offer that user in that channel, its guild's first."""
    guild_id = channel.guild.id if channel.guild else None
    scopes: list[int | None] = [None] if guild_id is None else [guild_id, None]
    found: dict[tuple[str, int], Json] = {}
    for scope in scopes:
        for command in stage.commands.all(scope):
            if why_hidden(command, user, channel) is None:
                found.setdefault((command["name"], command["type"]), command)
    return list(found.values())


def why_hidden(command: Json, user: User, channel: Channel) -> str | None:
    """Why Discord does not offer a command there; None if it does."""
    contexts = command.get("contexts")
    if channel.guild is None:
        allowed = command.get("dm_permission", True) if contexts is None else 1 in contexts
        return None if allowed else "it is not allowed in direct messages"
    if contexts is not None and 0 not in contexts:
        return "it is not allowed in servers"
    bits = channel_permissions(channel, user.id)
    if not bits & Permission.USE_APPLICATION_COMMANDS:
        return f"{user.display_name} may not use application commands there"
    needed = command.get("default_member_permissions")
    if needed is None:
        return None
    # "0" means: nobody but administrators.
    if int(needed) == 0:
        return None if bits & Permission.ADMINISTRATOR else "it is for administrators only"
    return None if bits & int(needed) == int(needed) else "it needs permissions they lack"


def find_command(stage: Stage, user: User, channel: Channel, name: str, kind: int) -> Json:
    """The top-level command. Raises AssertionError that says what there is instead."""
    guild_id = channel.guild.id if channel.guild else None
    command = stage.commands.find(name, kind, guild_id)
    if command is None:
        known = sorted({c["name"] for scope in (None, guild_id) for c in stage.commands.all(scope)})
        raise AssertionError(f"no command {name!r} was synced; there are: {known}")
    reason = why_hidden(command, user, channel)
    assert reason is None, f"{name!r} is not shown to {user.display_name}: {reason}"
    return command


class SlashBuilder:
    """Builds the data of one slash command invocation (or autocomplete request)."""

    def __init__(self, stage: Stage, user: User, channel: Channel) -> None:
        self._stage = stage
        self._user = user
        self._channel = channel
        self._resolved: dict[str, Json] = {}

    def build(self, line: str, values: Mapping[str, Any], focused: str | None = None) -> Json:
        """line: "persona set". values: by option name. focused: the option being typed."""
        name, *path = line.split()
        command = find_command(self._stage, self._user, self._channel, name, CHAT_INPUT)
        options, kinds = command["options"], []
        for part in path:
            nested = [o for o in options if o["name"] == part and o["type"] in (1, 2)]
            known = [o["name"] for o in options if o["type"] in (SUB_COMMAND, SUB_COMMAND_GROUP)]
            assert nested, f"{line!r}: there is no subcommand {part!r}; there are: {known}"
            kinds.append(nested[0]["type"])
            options = nested[0].get("options") or []
        subcommands = [o["name"] for o in options if o["type"] in (SUB_COMMAND, SUB_COMMAND_GROUP)]
        assert not subcommands, f"{line!r} is a group; its subcommands: {subcommands}"
        given = self._options(line, options, dict(values), focused)
        for part, kind in zip(reversed(path), reversed(kinds), strict=True):
            given = [{"name": part, "type": kind, "options": given}]
        data: Json = {
            "id": command["id"],
            "name": command["name"],
            "type": CHAT_INPUT,
            "options": given,
        }
        if "guild_id" in command:
            data["guild_id"] = command["guild_id"]
        if self._resolved and focused is None:
            data["resolved"] = self._resolved
        return data

    def _options(
        self, line: str, options: list[Json], values: dict[str, Any], focused: str | None
    ) -> list[Json]:
        given: list[Json] = []
        for option in options:
            name = option["name"]
            if name in values:
                entry: Json = {"name": name, "type": option["type"]}
                if name == focused:
                    assert option.get("autocomplete"), f"{line!r}: {name!r} has no autocomplete"
                    entry |= {"value": str(values.pop(name)), "focused": True}
                else:
                    where = f"{line!r}: option {name!r}"
                    entry["value"] = self._value(where, option, values.pop(name))
                given.append(entry)
            else:
                missing = option.get("required") and focused is None
                assert not missing, f"{line!r}: the required option {name!r} is missing"
        known = [option["name"] for option in options]
        assert not values, f"{line!r} has no option {sorted(values)}; it has: {known}"
        return given

    def _value(self, where: str, option: Json, value: Any) -> Any:
        kind = option["type"]
        if kind in (USER, CHANNEL, ROLE, MENTIONABLE):
            return self._reference(where, option, value)
        if kind == ATTACHMENT:
            return self._attachment(value)
        python: Any = {STRING: str, INTEGER: int, BOOLEAN: bool, NUMBER: (int, float)}[kind]
        fits = isinstance(value, python) and (kind == BOOLEAN or not isinstance(value, bool))
        assert fits, f"{where} takes {python}, not {value!r}"
        choices = option.get("choices")
        if choices:
            # A user picks a name; a test may give either the name or the value.
            picked = [c["value"] for c in choices if value in (c["name"], c["value"])]
            assert picked, f"{where}: {value!r} is none of {[c['name'] for c in choices]}"
            return picked[0]
        self._check_range(where, option, value)
        return value

    def _check_range(self, where: str, option: Json, value: Any) -> None:
        size, low, high = value, option.get("min_value"), option.get("max_value")
        if isinstance(value, str):
            size, low, high = len(value), option.get("min_length"), option.get("max_length")
            # Discord's own limit on a string option.
            high = 6000 if high is None else high
        if isinstance(value, bool):
            return
        assert low is None or size >= low, f"{where}: {value!r} is below {low}"
        assert high is None or size <= high, f"{where}: {value!r} is above {high}"

    def _reference(self, where: str, option: Json, value: Any) -> str:
        record = unwrap(value)
        kind = option["type"]
        if isinstance(record, User) and kind in (USER, MENTIONABLE):
            self.resolve_user(record)
        elif isinstance(record, Role) and kind in (ROLE, MENTIONABLE):
            self.resolve_role(record)
        elif isinstance(record, Channel) and kind == CHANNEL:
            allowed = option.get("channel_types")
            fits = not allowed or int(record.kind) in allowed
            assert fits, f"{where}: {record.name!r} is of a type that is not offered"
            self.resolve_channel(record)
        else:
            raise AssertionError(f"{where} does not take {value!r}")
        return str(record.id)

    def _attachment(self, value: Any) -> str:
        upload = value if isinstance(value, Upload) else Upload(*value)
        attachment = self._stage.posting.store_upload(upload, self._channel)
        body = self._stage.messages.attachment(attachment)
        self._resolved.setdefault("attachments", {})[str(attachment.id)] = body
        return str(attachment.id)

    # -- also used by select menus ---------------------------------------------------------------

    @property
    def resolved(self) -> dict[str, Json]:
        return self._resolved

    def resolve_user(self, user: User) -> None:
        self._resolved.setdefault("users", {})[str(user.id)] = user_json(user)
        guild = self._channel.guild
        if guild is not None and user.id in guild.members:
            body = member_json(guild.members[user.id], with_user=False)
            body["permissions"] = str(channel_permissions(self._channel, user.id))
            self._resolved.setdefault("members", {})[str(user.id)] = body

    def resolve_role(self, role: Role) -> None:
        self._resolved.setdefault("roles", {})[str(role.id)] = role_json(role)

    def resolve_channel(self, channel: Channel) -> None:
        body = self._stage.payloads.partial_channel(channel, self._user.id)
        self._resolved.setdefault("channels", {})[str(channel.id)] = body

    def resolve(self, targets: Sequence[Any]) -> list[str]:
        """Users, roles and channels alike; returns their ids."""
        ids = []
        for target in map(unwrap, targets):
            if isinstance(target, User):
                self.resolve_user(target)
            elif isinstance(target, Role):
                self.resolve_role(target)
            elif isinstance(target, Channel):
                self.resolve_channel(target)
            else:
                raise AssertionError(f"{target!r} is no user, role or channel")
            ids.append(str(target.id))
        return ids

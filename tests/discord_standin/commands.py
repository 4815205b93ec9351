"""The application's commands as the bot synced them, with Discord's rules for them."""

from __future__ import annotations

import re
from typing import Any

from .errors import ApiError, bad_length, invalid_form, unknown
from .snowflakes import Snowflakes
from .state import Json
from .waiting import Pulse

CHAT_INPUT, USER_MENU, MESSAGE_MENU = 1, 2, 3
SUB_COMMAND, SUB_COMMAND_GROUP = 1, 2

_NAME = re.compile(r"[-_'\w]{1,32}", re.UNICODE)
_SETTABLE = (
    "name",
    "name_localizations",
    "description",
    "description_localizations",
    "options",
    "default_member_permissions",
    "dm_permission",
    "contexts",
    "integration_types",
    "nsfw",
    "type",
)


class CommandRegistry:
    """Global commands, and those of single guilds."""

    def __init__(self, snowflakes: Snowflakes, application_id: int) -> None:
        self._snowflakes = snowflakes
        self._application_id = application_id
        self._scopes: dict[int | None, dict[int, Json]] = {None: {}}
        #: How often each scope (None: global) was overwritten as a whole.
        self.syncs: dict[int | None, int] = {}
        self.pulse = Pulse()

    def all(self, guild_id: int | None = None) -> list[Json]:
        """The commands of one scope, in the order in which they were made."""
        return list(self._scopes.get(guild_id, {}).values())

    def get(self, guild_id: int | None, command_id: int | str) -> Json:
        try:
            return self._scopes[guild_id][int(command_id)]
        except (KeyError, ValueError):
            raise unknown("application command") from None

    def find(self, name: str, kind: int, guild_id: int | None) -> Json | None:
        """The command that a user of that guild (None: in a DM) means: its guild's own first."""
        scopes: list[int | None] = [None] if guild_id is None else [guild_id, None]
        for scope in scopes:
            for command in self.all(scope):
                if command["name"] == name and command["type"] == kind:
                    return command
        return None

    def overwrite(self, guild_id: int | None, payloads: list[Json]) -> list[Json]:
        """Bulk overwrite: what is not in the list is gone; a known name keeps its id."""
        if len([p for p in payloads if p.get("type", 1) == CHAT_INPUT]) > 100:
            raise ApiError(400, 30032, "Maximum number of application commands reached (100).")
        names: set[tuple[str, int]] = set()
        for index, payload in enumerate(payloads):
            check_command(payload, str(index))
            key = (payload["name"], payload.get("type", CHAT_INPUT))
            if key in names:
                raise invalid_form(
                    f"{index}.name",
                    "APPLICATION_COMMANDS_DUPLICATE_NAME",
                    "Application command names must be unique",
                )
            names.add(key)
        old = {(c["name"], c["type"]): c["id"] for c in self.all(guild_id)}
        self._scopes[guild_id] = {}
        for payload in payloads:
            known = old.get((payload["name"], payload.get("type", CHAT_INPUT)))
            self._put(guild_id, payload, known)
        self.syncs[guild_id] = self.syncs.get(guild_id, 0) + 1
        self.pulse.fire()
        return self.all(guild_id)

    def upsert(self, guild_id: int | None, payload: Json) -> Json:
        check_command(payload, "")
        kind = payload.get("type", CHAT_INPUT)
        known = [c for c in self.all(guild_id) if (c["name"], c["type"]) == (payload["name"], kind)]
        command = self._put(guild_id, payload, known[0]["id"] if known else None)
        self.pulse.fire()
        return command

    def edit(self, guild_id: int | None, command_id: str, payload: Json) -> Json:
        command = self.get(guild_id, command_id)
        merged = command | {key: payload[key] for key in _SETTABLE if key in payload}
        check_command(merged, "")
        command.update(merged, version=str(self._snowflakes.next()))
        self.pulse.fire()
        return command

    def delete(self, guild_id: int | None, command_id: str) -> None:
        self.get(guild_id, command_id)
        del self._scopes[guild_id][int(command_id)]
        self.pulse.fire()

    def _put(self, guild_id: int | None, payload: Json, known_id: str | None) -> Json:
        permissions = payload.get("default_member_permissions")
        command: Json = {
            "id": known_id or str(self._snowflakes.next()),
            "application_id": str(self._application_id),
            "version": str(self._snowflakes.next()),
            "type": payload.get("type", CHAT_INPUT),
            "name": payload["name"],
            "name_localizations": payload.get("name_localizations"),
            "description": payload.get("description", ""),
            "description_localizations": payload.get("description_localizations"),
            "options": payload.get("options") or [],
            "default_member_permissions": None if permissions is None else str(permissions),
            "dm_permission": payload.get("dm_permission", True),
            "contexts": payload.get("contexts"),
            "integration_types": payload.get("integration_types") or [0],
            "nsfw": payload.get("nsfw", False),
        }
        if guild_id is not None:
            command["guild_id"] = str(guild_id)
        self._scopes.setdefault(guild_id, {})[int(command["id"])] = command
        return command


def check_command(payload: Json, path: str) -> None:
    """Raises ApiError 50035 where Discord would refuse the command."""
    kind = payload.get("type", CHAT_INPUT)
    if kind == CHAT_INPUT:
        _check_name_and_description(payload, path)
        _check_options(payload.get("options") or [], _join(path, "options"), depth=0)
    elif not 1 <= len(payload.get("name") or "") <= 32:
        raise bad_length(_join(path, "name"), 1, 32)


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _check_name_and_description(payload: Json, path: str) -> None:
    name = payload.get("name") or ""
    if not _NAME.fullmatch(name) or name != name.lower():
        raise invalid_form(
            _join(path, "name"),
            "APPLICATION_COMMAND_INVALID_NAME",
            "Command name is invalid",
        )
    if not 1 <= len(payload.get("description") or "") <= 100:
        raise bad_length(_join(path, "description"), 1, 100)


def _check_options(options: list[Any], path: str, depth: int) -> None:
    if len(options) > 25:
        raise bad_length(path, 0, 25)
    optional_before = False
    for index, option in enumerate(options):
        here = f"{path}.{index}"
        _check_name_and_description(option, here)
        if option["type"] in (SUB_COMMAND, SUB_COMMAND_GROUP):
            if depth + (option["type"] == SUB_COMMAND) > 2:
                raise invalid_form(here, "UNION_TYPE_CHOICES", "Too deeply nested")
            _check_options(option.get("options") or [], f"{here}.options", depth + 1)
            continue
        required = bool(option.get("required"))
        if required and optional_before:
            raise invalid_form(
                path,
                "APPLICATION_COMMAND_OPTIONS_REQUIRED_INVALID",
                "Required options must be placed before non-required options",
            )
        optional_before = optional_before or not required
        choices = option.get("choices") or []
        if len(choices) > 25:
            raise bad_length(f"{here}.choices", 0, 25)
        for number, choice in enumerate(choices):
            if not 1 <= len(choice["name"]) <= 100:
                raise bad_length(f"{here}.choices.{number}.name", 1, 100)
        if choices and option.get("autocomplete"):
            raise invalid_form(
                here,
                "APPLICATION_COMMAND_OPTIONS_CHOICES_AUTOCOMPLETE",
                "Choices exclude autocomplete",
            )

"""Routes: guilds, members, roles, bans."""

from __future__ import annotations

from aiohttp import web

from .errors import ApiError, unknown
from .payloads import member_json, role_json, user_json
from .permissions import Permission
from .rest import Rest, answer
from .stage import Call
from .state import Guild, Json, Member, Role


def routes(rest: Rest) -> list[web.RouteDef]:
    one = "/guilds/{guild_id}"
    member = one + "/members/{user_id}"
    return [
        rest.route("GET", one, get_guild),
        rest.route("GET", one + "/members", list_members),
        rest.route("PATCH", one + "/members/@me", edit_self),
        rest.route("GET", member, get_member),
        rest.route("PATCH", member, edit_member),
        rest.route("DELETE", member, kick),
        rest.route("PUT", member + "/roles/{role_id}", add_role_to_member),
        rest.route("DELETE", member + "/roles/{role_id}", remove_role_from_member),
        rest.route("GET", one + "/roles", list_roles),
        rest.route("POST", one + "/roles", create_role),
        rest.route("PATCH", one + "/roles/{role_id}", edit_role),
        rest.route("DELETE", one + "/roles/{role_id}", delete_role),
        rest.route("GET", one + "/bans/{user_id}", get_ban),
        rest.route("PUT", one + "/bans/{user_id}", ban),
        rest.route("DELETE", one + "/bans/{user_id}", unban),
        rest.route("GET", one + "/emojis", nothing),
        rest.route("GET", one + "/stickers", nothing),
        rest.route("GET", "/users/@me/guilds", own_guilds),
        rest.route("DELETE", "/users/@me/guilds/{guild_id}", leave_guild),
    ]


async def nothing(call: Call) -> web.Response:
    return answer([])


async def get_guild(call: Call) -> web.Response:
    guild = call.guild()
    body = call.stage.payloads.guild(guild)
    if call.query.get("with_counts") in ("1", "true", "True"):
        body |= {
            "approximate_member_count": len(guild.members),
            "approximate_presence_count": len(guild.members),
        }
    return answer(body)


async def own_guilds(call: Call) -> web.Response:
    world = call.stage.world
    return answer(
        [
            {
                "id": str(guild.id),
                "name": guild.name,
                "icon": None,
                "owner": False,
                "permissions": "0",
                "features": [],
            }
            for guild in world.guilds.values()
            if world.bot.id in guild.members
        ]
    )


async def leave_guild(call: Call) -> web.Response:
    guild = call.guild()
    call.stage.broadcast.guild_left(guild)
    del guild.members[call.stage.world.bot.id]
    return answer()


async def list_members(call: Call) -> web.Response:
    guild = call.guild()
    after, limit = int(call.query.get("after", 0)), int(call.query.get("limit", 1))
    members = sorted(guild.members.values(), key=lambda member: member.user.id)
    return answer([member_json(m) for m in members if m.user.id > after][:limit])


def _member(call: Call, guild: Guild) -> Member:
    return call.stage.world.member(guild, call.path("user_id"))


async def get_member(call: Call) -> web.Response:
    return answer(member_json(_member(call, call.guild())))


async def edit_self(call: Call) -> web.Response:
    guild = call.guild(Permission.CHANGE_NICKNAME)
    member = guild.members[call.stage.world.bot.id]
    return answer(_edited(call, guild, member))


async def edit_member(call: Call) -> web.Response:
    guild = call.guild()
    member = _member(call, guild)
    needs = {
        "nick": Permission.MANAGE_NICKNAMES,
        "roles": Permission.MANAGE_ROLES,
        "communication_disabled_until": Permission.MODERATE_MEMBERS,
    }
    call.guild(*(need for key, need in needs.items() if key in call.json))
    return answer(_edited(call, guild, member))


def _edited(call: Call, guild: Guild, member: Member) -> Json:
    payload = call.json
    if "nick" in payload:
        member.nick = payload["nick"] or None
    if "roles" in payload:
        member.role_ids = {int(role_id) for role_id in payload["roles"]}
    if "communication_disabled_until" in payload:
        member.timed_out_until = payload["communication_disabled_until"]
    call.stage.broadcast.member("GUILD_MEMBER_UPDATE", guild, member)
    return member_json(member)


async def kick(call: Call) -> web.Response:
    guild = call.guild(Permission.KICK_MEMBERS)
    member = _member(call, guild)
    _remove(call, guild, member)
    return answer()


def _remove(call: Call, guild: Guild, member: Member) -> None:
    if member.user.id == guild.owner.id:
        raise ApiError(403, 50013, "Missing Permissions")
    del guild.members[member.user.id]
    call.stage.broadcast.member("GUILD_MEMBER_REMOVE", guild, member)


async def get_ban(call: Call) -> web.Response:
    guild = call.guild(Permission.BAN_MEMBERS)
    user_id = int(call.path("user_id"))
    if user_id not in guild.banned:
        raise unknown("ban")
    return answer({"reason": None, "user": user_json(call.stage.world.user(user_id))})


async def ban(call: Call) -> web.Response:
    guild = call.guild(Permission.BAN_MEMBERS)
    user = call.stage.world.user(call.path("user_id"))
    guild.banned.add(user.id)
    if user.id in guild.members:
        _remove(call, guild, guild.members[user.id])
    return answer()


async def unban(call: Call) -> web.Response:
    guild = call.guild(Permission.BAN_MEMBERS)
    user_id = int(call.path("user_id"))
    if user_id not in guild.banned:
        raise unknown("ban")
    guild.banned.discard(user_id)
    return answer()


# -- roles -----------------------------------------------------------------------------------------


def _role(call: Call, guild: Guild) -> Role:
    try:
        return guild.roles[int(call.path("role_id"))]
    except (KeyError, ValueError):
        raise unknown("role") from None


async def list_roles(call: Call) -> web.Response:
    return answer([role_json(role) for role in call.guild().roles.values()])


async def create_role(call: Call) -> web.Response:
    guild = call.guild(Permission.MANAGE_ROLES)
    role = call.stage.world.add_role(guild, call.json.get("name") or "new role", 0)
    _set_role(role, call.json)
    call.stage.broadcast.role("GUILD_ROLE_CREATE", guild, role)
    return answer(role_json(role))


async def edit_role(call: Call) -> web.Response:
    guild = call.guild(Permission.MANAGE_ROLES)
    role = _role(call, guild)
    _set_role(role, call.json)
    call.stage.broadcast.role("GUILD_ROLE_UPDATE", guild, role)
    return answer(role_json(role))


def _set_role(role: Role, payload: Json) -> None:
    role.name = payload.get("name") or role.name
    role.permissions = int(payload.get("permissions") or role.permissions)
    role.color = int(payload.get("color") or role.color)
    role.hoist = bool(payload.get("hoist", role.hoist))
    role.mentionable = bool(payload.get("mentionable", role.mentionable))


async def delete_role(call: Call) -> web.Response:
    guild = call.guild(Permission.MANAGE_ROLES)
    role = _role(call, guild)
    del guild.roles[role.id]
    for member in guild.members.values():
        member.role_ids.discard(role.id)
    call.stage.broadcast.role("GUILD_ROLE_DELETE", guild, role)
    return answer()


async def add_role_to_member(call: Call) -> web.Response:
    guild = call.guild(Permission.MANAGE_ROLES)
    member, role = _member(call, guild), _role(call, guild)
    member.role_ids.add(role.id)
    call.stage.broadcast.member("GUILD_MEMBER_UPDATE", guild, member)
    return answer()


async def remove_role_from_member(call: Call) -> web.Response:
    guild = call.guild(Permission.MANAGE_ROLES)
    member, role = _member(call, guild), _role(call, guild)
    member.role_ids.discard(role.id)
    call.stage.broadcast.member("GUILD_MEMBER_UPDATE", guild, member)
    return answer()

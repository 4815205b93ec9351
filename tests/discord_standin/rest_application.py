"""Routes: the gateway's address, the bot's account and application, users, its commands."""

from __future__ import annotations

from aiohttp import web

from .errors import ApiError, unknown
from .payloads import own_user_json, user_json
from .rest import Rest, answer
from .stage import Call


def routes(rest: Rest) -> list[web.RouteDef]:
    everywhere = "/applications/{application_id}/commands"
    in_guild = "/applications/{application_id}/guilds/{guild_id}/commands"
    commands = [
        route
        for scope in (everywhere, in_guild)
        for route in (
            rest.route("GET", scope, list_commands),
            rest.route("PUT", scope, overwrite_commands),
            rest.route("POST", scope, upsert_command),
            rest.route("GET", scope + "/{command_id}", get_command),
            rest.route("PATCH", scope + "/{command_id}", edit_command),
            rest.route("DELETE", scope + "/{command_id}", delete_command),
        )
    ]
    return [
        rest.route("GET", "/gateway", gateway),
        rest.route("GET", "/gateway/bot", gateway_bot),
        rest.route("GET", "/oauth2/applications/@me", application),
        rest.route("GET", "/applications/@me", application),
        rest.route("GET", "/applications/{application_id}/emojis", no_emojis),
        rest.route("GET", "/users/@me", own_user),
        rest.route("PATCH", "/users/@me", edit_own_user),
        rest.route("POST", "/users/@me/channels", open_dm),
        rest.route("GET", "/users/{user_id}", get_user),
        *commands,
    ]


async def gateway(call: Call) -> web.Response:
    return answer({"url": call.stage.gateway.resume_url})


async def gateway_bot(call: Call) -> web.Response:
    return answer(
        {
            "url": call.stage.gateway.resume_url,
            "shards": call.stage.shards,
            "session_start_limit": {
                "total": 1000,
                "remaining": max(0, 1000 - call.stage.gateway.identifies),
                "reset_after": 24 * 3600 * 1000,
                "max_concurrency": call.stage.max_concurrency,
            },
        }
    )


async def application(call: Call) -> web.Response:
    return answer(call.stage.payloads.application())


async def no_emojis(call: Call) -> web.Response:
    return answer({"items": []})


async def own_user(call: Call) -> web.Response:
    return answer(own_user_json(call.stage.world.bot))


async def edit_own_user(call: Call) -> web.Response:
    bot = call.stage.world.bot
    bot.username = call.json.get("username") or bot.username
    if "avatar" in call.json:
        bot.avatar = "0" * 32 if call.json["avatar"] else None
    return answer(own_user_json(bot))


async def get_user(call: Call) -> web.Response:
    return answer(user_json(call.stage.world.user(call.path("user_id"))))


async def open_dm(call: Call) -> web.Response:
    user = call.stage.world.user(call.json.get("recipient_id") or "")
    if user.bot:
        raise ApiError(400, 50007, "Cannot send messages to this user")
    return answer(call.stage.payloads.channel(call.stage.world.direct_message(user)))


# -- application commands --------------------------------------------------------------------------


def _scope(call: Call) -> int | None:
    """The guild of the path, or None for global commands; checks whose application it is."""
    if call.path("application_id") != str(call.stage.world.application_id):
        raise ApiError(403, 20012, "You are not authorized to perform this action")
    if "guild_id" not in call.request.match_info:
        return None
    guild = call.stage.world.guild(call.path("guild_id"))
    if call.stage.world.bot.id not in guild.members:
        raise unknown("guild")
    return guild.id


async def list_commands(call: Call) -> web.Response:
    return answer(call.stage.commands.all(_scope(call)))


async def overwrite_commands(call: Call) -> web.Response:
    payloads = call.body.json if isinstance(call.body.json, list) else []
    return answer(call.stage.commands.overwrite(_scope(call), payloads))


async def upsert_command(call: Call) -> web.Response:
    return answer(call.stage.commands.upsert(_scope(call), call.json), 201)


async def get_command(call: Call) -> web.Response:
    return answer(call.stage.commands.get(_scope(call), call.path("command_id")))


async def edit_command(call: Call) -> web.Response:
    command_id = call.path("command_id")
    return answer(call.stage.commands.edit(_scope(call), command_id, call.json))


async def delete_command(call: Call) -> web.Response:
    call.stage.commands.delete(_scope(call), call.path("command_id"))
    return answer()

"""Routes: channels, their permission overwrites, and threads."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from .errors import bad_length, unknown, wrong_channel_type
from .payloads import member_json, thread_member_json
from .permissions import Permission
from .posting import Draft
from .rest import Rest, answer
from .stage import Call
from .state import Channel, ChannelKind, Guild, Json, Overwrite, Thread

_SETTABLE = {
    "name": "name",
    "topic": "topic",
    "nsfw": "nsfw",
    "position": "position",
    "rate_limit_per_user": "slowmode",
}


def routes(rest: Rest) -> list[web.RouteDef]:
    one = "/channels/{channel_id}"
    members = one + "/thread-members"
    return [
        rest.route("GET", one, get_channel),
        rest.route("PATCH", one, edit_channel),
        rest.route("DELETE", one, delete_channel),
        rest.route("PUT", one + "/permissions/{target_id}", put_overwrite),
        rest.route("DELETE", one + "/permissions/{target_id}", delete_overwrite),
        rest.route("POST", one + "/messages/{message_id}/threads", start_from_message),
        rest.route("POST", one + "/threads", start_thread),
        rest.route("GET", one + "/threads/archived/{visibility}", archived_threads),
        rest.route("GET", one + "/users/@me/threads/archived/private", archived_threads),
        rest.route("GET", members, list_thread_members),
        rest.route("PUT", members + "/@me", join_thread),
        rest.route("DELETE", members + "/@me", leave_thread),
        rest.route("GET", members + "/{user_id}", get_thread_member),
        rest.route("PUT", members + "/{user_id}", add_thread_member),
        rest.route("DELETE", members + "/{user_id}", remove_thread_member),
        rest.route("GET", "/guilds/{guild_id}/channels", guild_channels),
        rest.route("POST", "/guilds/{guild_id}/channels", create_channel),
        rest.route("GET", "/guilds/{guild_id}/threads/active", active_threads),
    ]


async def get_channel(call: Call) -> web.Response:
    return answer(call.stage.payloads.channel(call.channel()))


async def edit_channel(call: Call) -> web.Response:
    channel = call.channel()
    if channel.thread is not None:
        own = channel.thread.owner_id == call.stage.world.bot.id
        reopening = set(call.json) <= {"archived"} and not channel.thread.locked
        if not own and not reopening:
            call.require(channel, Permission.MANAGE_THREADS)
        call.stage.threads.edit(channel, call.json)
    else:
        call.require(channel, Permission.MANAGE_CHANNELS)
        apply_settings(channel, call.json)
        call.stage.broadcast.channel("CHANNEL_UPDATE", channel)
    return answer(call.stage.payloads.channel(channel))


def apply_settings(channel: Channel, payload: Json) -> None:
    """Takes what a create or edit says about a channel; the rest stays."""
    if "name" in payload and not 1 <= len(payload["name"]) <= 100:
        raise bad_length("name", 1, 100)
    for key, attribute in _SETTABLE.items():
        if payload.get(key) is not None:
            setattr(channel, attribute, payload[key])
    if "parent_id" in payload:
        channel.parent_id = int(payload["parent_id"]) if payload["parent_id"] else None
    if "permission_overwrites" in payload:
        parsed = [_overwrite(entry["id"], entry) for entry in payload["permission_overwrites"]]
        channel.overwrites = {overwrite.target_id: overwrite for overwrite in parsed}


def _overwrite(target_id: Any, entry: Json) -> Overwrite:
    return Overwrite(
        int(target_id),
        int(entry.get("type", 0)),
        int(entry.get("allow") or 0),
        int(entry.get("deny") or 0),
    )


async def delete_channel(call: Call) -> web.Response:
    channel = call.channel()
    body = call.stage.payloads.channel(channel)
    if channel.guild is None:
        return answer(body)  # closing a direct message only hides it
    if channel.thread is not None:
        call.require(channel, Permission.MANAGE_THREADS)
        call.stage.world.remove_channel(channel)
        call.stage.broadcast.thread_deleted(channel)
        return answer(body)
    call.require(channel, Permission.MANAGE_CHANNELS)
    for thread in list(call.stage.world.threads_of(channel)):
        call.stage.world.remove_channel(thread)
    call.stage.world.remove_channel(channel)
    call.stage.broadcast.channel("CHANNEL_DELETE", channel)
    return answer(body)


async def put_overwrite(call: Call) -> web.Response:
    channel = call.channel(Permission.MANAGE_ROLES)
    overwrite = _overwrite(call.path("target_id"), call.json)
    channel.overwrites[overwrite.target_id] = overwrite
    call.stage.broadcast.channel("CHANNEL_UPDATE", channel)
    return answer()


async def delete_overwrite(call: Call) -> web.Response:
    channel = call.channel(Permission.MANAGE_ROLES)
    channel.overwrites.pop(int(call.path("target_id")), None)
    call.stage.broadcast.channel("CHANNEL_UPDATE", channel)
    return answer()


async def guild_channels(call: Call) -> web.Response:
    guild = call.guild()
    return answer([call.stage.payloads.channel(channel) for channel in guild.channels.values()])


async def create_channel(call: Call) -> web.Response:
    guild = call.guild(Permission.MANAGE_CHANNELS)
    channel = call.stage.world.add_channel(
        guild, str(call.json.get("name") or ""), int(call.json.get("type") or 0)
    )
    apply_settings(channel, call.json)
    guild.channels[channel.id] = channel
    call.stage.broadcast.channel("CHANNEL_CREATE", channel)
    return answer(call.stage.payloads.channel(channel), 201)


# -- threads ---------------------------------------------------------------------------------------


async def start_from_message(call: Call) -> web.Response:
    channel = call.channel(Permission.CREATE_PUBLIC_THREADS)
    if channel.kind not in (ChannelKind.TEXT, ChannelKind.NEWS):
        raise wrong_channel_type()
    message = call.message(channel)
    bot = call.stage.world.bot
    thread = call.stage.threads.start(channel, bot, call.json, from_message=message)
    return answer(call.stage.payloads.channel(thread), 201)


async def start_thread(call: Call) -> web.Response:
    stage, channel = call.stage, call.channel()
    if channel.kind == ChannelKind.FORUM:
        call.require(channel, Permission.SEND_MESSAGES)
        draft = Draft(call.json.get("message") or {}, call.body.files)
        message = stage.threads.start_in_forum(channel, stage.world.bot, call.json, draft)
        body = stage.payloads.channel(message.channel)
        return answer(body | {"message": stage.message_json(message)}, 201)
    if channel.kind not in (ChannelKind.TEXT, ChannelKind.NEWS):
        raise wrong_channel_type()
    kind = int(call.json.get("type") or ChannelKind.PRIVATE_THREAD)
    private = kind == ChannelKind.PRIVATE_THREAD
    call.require(
        channel,
        Permission.CREATE_PRIVATE_THREADS if private else Permission.CREATE_PUBLIC_THREADS,
    )
    thread = stage.threads.start(channel, stage.world.bot, call.json, kind=kind)
    return answer(stage.payloads.channel(thread), 201)


def _thread(call: Call) -> tuple[Channel, Thread]:
    channel = call.channel()
    if channel.thread is None:
        raise wrong_channel_type()
    return channel, channel.thread


async def join_thread(call: Call) -> web.Response:
    channel, _ = _thread(call)
    call.stage.threads.add_member(channel, call.stage.world.bot)
    return answer()


async def leave_thread(call: Call) -> web.Response:
    channel, _ = _thread(call)
    call.stage.threads.remove_member(channel, call.stage.world.bot.id)
    return answer()


async def add_thread_member(call: Call) -> web.Response:
    channel, _ = _thread(call)
    assert channel.guild is not None
    member = call.stage.world.member(channel.guild, call.path("user_id"))
    call.stage.threads.add_member(channel, member.user)
    return answer()


async def remove_thread_member(call: Call) -> web.Response:
    channel, thread = _thread(call)
    if thread.owner_id != call.stage.world.bot.id:
        call.require(channel, Permission.MANAGE_THREADS)
    call.stage.threads.remove_member(channel, int(call.path("user_id")))
    return answer()


async def get_thread_member(call: Call) -> web.Response:
    channel, thread = _thread(call)
    user_id = int(call.path("user_id"))
    if user_id not in thread.member_since:
        raise unknown("member")
    return answer(thread_member_json(channel, thread, user_id))


async def list_thread_members(call: Call) -> web.Response:
    channel, thread = _thread(call)
    assert channel.guild is not None
    bodies = []
    for user_id in thread.member_since:
        body = thread_member_json(channel, thread, user_id)
        if call.query.get("with_member") in ("1", "true", "True"):
            body["member"] = member_json(channel.guild.members[user_id])
        bodies.append(body)
    return answer(bodies)


async def active_threads(call: Call) -> web.Response:
    guild = call.guild()
    return answer(_thread_list(call, guild, list(guild.threads.values()), archived=False))


async def archived_threads(call: Call) -> web.Response:
    channel = call.channel(Permission.READ_MESSAGE_HISTORY)
    assert channel.guild is not None
    private = call.request.match_info.get("visibility", "private") == "private"
    threads = [
        thread
        for thread in call.stage.world.threads_of(channel)
        if (thread.kind == ChannelKind.PRIVATE_THREAD) == private
    ]
    return answer(_thread_list(call, channel.guild, threads, archived=True))


def _thread_list(call: Call, guild: Guild, threads: list[Channel], *, archived: bool) -> Json:
    bot = call.stage.world.bot.id
    shown = [
        channel
        for channel in threads
        if channel.thread is not None
        and channel.thread.archived == archived
        and channel.permissions_of(bot)
    ]
    return {
        "threads": [call.stage.payloads.channel(channel) for channel in shown],
        "members": [
            thread_member_json(channel, channel.thread, bot)
            for channel in shown
            if channel.thread is not None and bot in channel.thread.member_since
        ],
        "has_more": False,
    }

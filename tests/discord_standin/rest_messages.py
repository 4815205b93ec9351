"""Routes: messages of a channel, typing."""

from __future__ import annotations

import time

from aiohttp import web

from .errors import (
    ApiError,
    archived_thread,
    bad_length,
    cannot_message_user,
    invalid_form,
    missing_permissions,
    not_your_message,
)
from .permissions import Permission
from .posting import Draft
from .rest import Rest, answer
from .stage import Call
from .state import Channel, ChannelKind, Message, Typing

_TWO_WEEKS_MS = 14 * 24 * 3600 * 1000


def routes(rest: Rest) -> list[web.RouteDef]:
    messages = "/channels/{channel_id}/messages"
    one = messages + "/{message_id}"
    return [
        rest.route("GET", messages, list_messages),
        rest.route("POST", messages, create_message),
        rest.route("POST", messages + "/bulk-delete", bulk_delete),
        rest.route("GET", one, get_message),
        rest.route("PATCH", one, edit_message),
        rest.route("DELETE", one, delete_message),
        rest.route("POST", "/channels/{channel_id}/typing", type_in),
    ]


def require_may_post(call: Call, channel: Channel) -> None:
    """Raises unless the bot may write a message of that kind there."""
    if channel.kind in (ChannelKind.CATEGORY, ChannelKind.FORUM):
        raise ApiError(400, 50008, "Cannot send messages in a non-text channel")
    needs = [Permission.SEND_MESSAGES_IN_THREADS if channel.thread else Permission.SEND_MESSAGES]
    if call.body.files:
        needs.append(Permission.ATTACH_FILES)
    if call.json.get("embeds"):
        needs.append(Permission.EMBED_LINKS)
    call.require(channel, *needs)
    if channel.guild is None and not all(user.accepts_dms for user in channel.recipients):
        raise cannot_message_user()
    thread = channel.thread
    if thread and thread.locked and not call.bot_may(channel, Permission.MANAGE_THREADS):
        raise archived_thread()
    replies = call.json.get("message_reference")
    if replies and not call.bot_may(channel, Permission.READ_MESSAGE_HISTORY):
        raise ApiError(400, 160002, "Cannot reply without permission to read message history")


async def create_message(call: Call) -> web.Response:
    stage = call.stage
    channel = call.channel()
    require_may_post(call, channel)
    stage.threads.wake(channel, stage.world.bot)
    message = stage.posting.create(channel, stage.world.bot, Draft(call.json, call.body.files))
    return answer(stage.message_json(message))


async def get_message(call: Call) -> web.Response:
    channel = call.channel(Permission.READ_MESSAGE_HISTORY)
    return answer(call.stage.message_json(call.message(channel)))


async def list_messages(call: Call) -> web.Response:
    """Newest first, at most 100; before / after / around take a message id."""
    channel = call.channel()
    if not call.bot_may(channel, Permission.READ_MESSAGE_HISTORY):
        return answer([])
    limit = _limit(call, default=50, maximum=100)
    visible = channel.visible()
    query = call.query
    if "before" in query:
        visible = [m for m in visible if m.id < int(query["before"])][-limit:]
    elif "after" in query:
        visible = [m for m in visible if m.id > int(query["after"])][:limit]
    elif "around" in query:
        visible = _around(visible, int(query["around"]), limit)
    else:
        visible = visible[-limit:]
    return answer([call.stage.message_json(message) for message in reversed(visible)])


def _around(visible: list[Message], message_id: int, limit: int) -> list[Message]:
    earlier = [m for m in visible if m.id < message_id]
    later = [m for m in visible if m.id >= message_id]
    half = limit // 2
    return earlier[max(0, len(earlier) - half) :] + later[: limit - half]


def _limit(call: Call, *, default: int, maximum: int) -> int:
    text = call.query.get("limit", str(default))
    if not text.isdigit() or not 1 <= int(text) <= maximum:
        raise invalid_form(
            "limit", "NUMBER_TYPE_MAX", f"int value should be between 1 and {maximum}."
        )
    return int(text)


async def edit_message(call: Call) -> web.Response:
    channel = call.channel()
    message = call.message(channel)
    if message.author is not call.stage.world.bot or message.webhook_id not in (
        None,
        call.stage.world.application_id,
    ):
        others = {"flags", "attachments", "allowed_mentions"}
        if not set(call.json) <= others:
            raise not_your_message()
        call.require(channel, Permission.MANAGE_MESSAGES)
    call.stage.posting.edit(message, call.json, call.body.files)
    return answer(call.stage.message_json(message))


async def delete_message(call: Call) -> web.Response:
    channel = call.channel()
    message = call.message(channel)
    if message.author is not call.stage.world.bot:
        if channel.guild is None:
            raise ApiError(403, 50003, "Cannot execute action on a DM channel")
        call.require(channel, Permission.MANAGE_MESSAGES)
    call.stage.posting.delete(message)
    return answer()


async def bulk_delete(call: Call) -> web.Response:
    """2 to 100 messages, none older than two weeks; ids that do not exist are passed over."""
    channel = call.channel(Permission.MANAGE_MESSAGES)
    if channel.guild is None:
        raise missing_permissions()
    ids = [int(message_id) for message_id in call.json.get("messages") or []]
    if not 2 <= len(ids) <= 100:
        raise bad_length("messages", 2, 100)
    oldest = (int(time.time() * 1000) - _TWO_WEEKS_MS - 1_420_070_400_000) << 22
    if any(message_id < oldest for message_id in ids):
        raise ApiError(400, 50034, "You can only bulk delete messages that are under 14 days old.")
    found = [message for message_id in ids if (message := channel.message(message_id))]
    call.stage.posting.delete_many(channel, found)
    return answer()


async def type_in(call: Call) -> web.Response:
    channel = call.channel()
    require_may_post(call, channel)
    bot = call.stage.world.bot
    channel.typing.append(Typing(bot.id, time.monotonic()))
    call.stage.broadcast.typing(channel, bot)
    return answer()

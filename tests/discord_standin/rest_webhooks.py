"""Routes: webhooks, and the interaction responses that speak through webhook tokens."""

from __future__ import annotations

import hashlib

from aiohttp import web

from .bodies import Upload
from .errors import ApiError, archived_thread, unknown, wrong_channel_type
from .payloads import webhook_json
from .permissions import Permission
from .posting import Draft
from .rest import Rest, answer
from .stage import Call
from .state import Channel, ChannelKind, Json, Message, User, Webhook
from .validation import check_webhook_name

MAX_PER_CHANNEL = 15


def routes(rest: Rest) -> list[web.RouteDef]:
    with_token = "/webhooks/{webhook_id}/{token}"
    message = with_token + "/messages/{message_id}"
    return [
        rest.route("POST", "/interactions/{interaction_id}/{token}/callback", respond),
        rest.route("GET", "/channels/{channel_id}/webhooks", channel_webhooks),
        rest.route("POST", "/channels/{channel_id}/webhooks", create_webhook),
        rest.route("GET", "/guilds/{guild_id}/webhooks", guild_webhooks),
        rest.route("GET", "/webhooks/{webhook_id}", get_webhook),
        rest.route("PATCH", "/webhooks/{webhook_id}", edit_webhook),
        rest.route("DELETE", "/webhooks/{webhook_id}", delete_webhook),
        rest.route("GET", with_token, get_webhook),
        rest.route("PATCH", with_token, edit_webhook),
        rest.route("DELETE", with_token, delete_webhook),
        rest.route("POST", with_token, execute),
        rest.route("GET", message, get_message),
        rest.route("PATCH", message, edit_message),
        rest.route("DELETE", message, delete_message),
    ]


# -- webhooks as things ----------------------------------------------------------------------------


async def channel_webhooks(call: Call) -> web.Response:
    channel = call.channel(Permission.MANAGE_WEBHOOKS)
    return answer([webhook_json(hook) for hook in _webhooks(call) if hook.channel is channel])


async def guild_webhooks(call: Call) -> web.Response:
    guild = call.guild(Permission.MANAGE_WEBHOOKS)
    return answer([webhook_json(hook) for hook in _webhooks(call) if hook.channel.guild is guild])


def _webhooks(call: Call) -> list[Webhook]:
    return list(call.stage.world.webhooks.values())


async def create_webhook(call: Call) -> web.Response:
    channel = call.channel(Permission.MANAGE_WEBHOOKS)
    if channel.guild is None or channel.thread is not None:
        raise wrong_channel_type()
    name = str(call.json.get("name") or "")
    check_webhook_name(name, "name")
    if sum(hook.channel is channel for hook in _webhooks(call)) >= MAX_PER_CHANNEL:
        raise ApiError(400, 30007, f"Maximum number of webhooks reached ({MAX_PER_CHANNEL})")
    world = call.stage.world
    avatar = _hash(call.json.get("avatar"))
    webhook = world.add_webhook(channel, name.strip(), world.bot, avatar)
    call.stage.broadcast.webhooks_changed(channel)
    return answer(webhook_json(webhook))


def _hash(avatar: object) -> str | None:
    """What Discord calls a picture, given as a data URI: the same for the same picture."""
    return hashlib.md5(str(avatar).encode()).hexdigest() if avatar else None


def _webhook(call: Call) -> Webhook:
    """The webhook of the path: by its token, or with MANAGE_WEBHOOKS where it is."""
    token = call.request.match_info.get("token")
    webhook = call.stage.world.webhook(call.path("webhook_id"), token)
    if token is None:
        call.require(webhook.channel, Permission.MANAGE_WEBHOOKS)
    return webhook


async def get_webhook(call: Call) -> web.Response:
    return answer(webhook_json(_webhook(call)))


async def edit_webhook(call: Call) -> web.Response:
    webhook = _webhook(call)
    if call.json.get("name") is not None:
        check_webhook_name(call.json["name"], "name")
        webhook.name = call.json["name"].strip()
    if "avatar" in call.json:
        webhook.avatar = _hash(call.json["avatar"])
    if call.json.get("channel_id") and "token" not in call.request.match_info:
        webhook.channel = call.stage.world.channel(call.json["channel_id"])
    call.stage.broadcast.webhooks_changed(webhook.channel)
    return answer(webhook_json(webhook))


async def delete_webhook(call: Call) -> web.Response:
    webhook = _webhook(call)
    del call.stage.world.webhooks[webhook.id]
    call.stage.broadcast.webhooks_changed(webhook.channel)
    return answer()


# -- speaking through a webhook --------------------------------------------------------------------


def _is_interaction(call: Call) -> bool:
    return call.path("webhook_id") == str(call.stage.world.application_id)


async def execute(call: Call) -> web.Response:
    stage = call.stage
    if _is_interaction(call):
        interaction = stage.interactions.by_token(call.path("token"))
        message = stage.interactions.follow_up(interaction, call.json, call.body.files)
        return answer(stage.message_json(message))
    webhook = stage.world.webhook(call.path("webhook_id"), call.path("token"))
    message = _speak(call, webhook, call.json, call.body.files)
    if call.query.get("wait") in ("1", "true", "True"):
        return answer(stage.message_json(message))
    return answer()


def _speak(call: Call, webhook: Webhook, payload: Json, files: list[Upload]) -> Message:
    stage = call.stage
    face = User(webhook.id, webhook.name, webhook.name, bot=True, discriminator="0000")
    face.avatar = webhook.avatar
    if payload.get("username"):
        check_webhook_name(payload["username"], "username")
        face.username = face.display_name = payload["username"].strip()
    if payload.get("avatar_url"):
        face.avatar = "1" * 32
    draft = Draft(
        # A webhook cannot reply: Discord takes no notice of a reference.
        {key: value for key, value in payload.items() if key != "message_reference"},
        files,
        webhook_id=webhook.id,
        application_id=webhook.application_id,
    )
    if webhook.application_id is None:
        draft.payload.pop("components", None)  # only an application's webhook has them
    if webhook.channel.kind == ChannelKind.FORUM and "thread_id" not in call.query:
        if not payload.get("thread_name"):
            raise ApiError(
                400,
                220001,
                "Webhooks posted to forum channels must have a thread_name or thread_id",
            )
        naming = {"name": payload["thread_name"], "applied_tags": payload.get("applied_tags")}
        return stage.threads.start_in_forum(webhook.channel, face, naming, draft)
    channel = _destination(call, webhook)
    if channel.thread is not None and channel.thread.archived:
        stage.threads.edit(channel, {"archived": False})
    return stage.posting.create(channel, face, draft)


def _destination(call: Call, webhook: Webhook) -> Channel:
    """The webhook's channel, or the thread of it that the query names."""
    if "thread_id" not in call.query:
        return webhook.channel
    channel = call.stage.world.channel(call.query["thread_id"])
    if channel.thread is None or channel.thread.parent is not webhook.channel:
        raise unknown("channel")
    if channel.thread.locked:
        raise archived_thread()
    return channel


def _own_message(call: Call) -> Message:
    """A message that this webhook sent. Raises 10008; for a thread's it needs thread_id."""
    webhook = call.stage.world.webhook(call.path("webhook_id"), call.path("token"))
    message = call.stage.world.message(_destination(call, webhook), call.path("message_id"))
    if message.webhook_id != webhook.id:
        raise unknown("message")
    return message


async def get_message(call: Call) -> web.Response:
    stage = call.stage
    if _is_interaction(call):
        interaction = stage.interactions.by_token(call.path("token"))
        message = stage.interactions.message(interaction, call.path("message_id"))
    else:
        message = _own_message(call)
    return answer(stage.message_json(message))


async def edit_message(call: Call) -> web.Response:
    stage = call.stage
    if _is_interaction(call):
        interaction = stage.interactions.by_token(call.path("token"))
        message = stage.interactions.message(interaction, call.path("message_id"))
        stage.interactions.edit(interaction, message, call.json, call.body.files)
    else:
        message = _own_message(call)
        stage.posting.edit(message, call.json, call.body.files)
    return answer(stage.message_json(message))


async def delete_message(call: Call) -> web.Response:
    stage = call.stage
    if _is_interaction(call):
        interaction = stage.interactions.by_token(call.path("token"))
        message = stage.interactions.message(interaction, call.path("message_id"))
        stage.interactions.delete(interaction, message)
    else:
        stage.posting.delete(_own_message(call))
    return answer()


async def respond(call: Call) -> web.Response:
    interaction = call.stage.interactions.respond(
        call.path("interaction_id"), call.path("token"), call.json, call.body.files
    )
    if call.query.get("with_response") in ("1", "true", "True"):
        return answer(call.stage.interactions.callback_body(interaction))
    return answer()

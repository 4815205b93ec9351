"""Routes: reactions and pins."""

from __future__ import annotations

from datetime import datetime
from urllib.parse import unquote

from aiohttp import web

from .errors import ApiError, unknown
from .payloads import iso, user_json
from .permissions import Permission
from .rest import Rest, answer
from .stage import Call
from .state import Message


def routes(rest: Rest) -> list[web.RouteDef]:
    messages = "/channels/{channel_id}/messages"
    reactions = messages + "/{message_id}/reactions"
    pins = messages + "/pins"
    return [
        rest.route("GET", pins, list_pins),
        rest.route("PUT", pins + "/{message_id}", pin),
        rest.route("DELETE", pins + "/{message_id}", unpin),
        rest.route("PUT", reactions + "/{emoji}/@me", react),
        rest.route("DELETE", reactions + "/{emoji}/@me", unreact),
        rest.route("DELETE", reactions + "/{emoji}/{user_id}", remove_other),
        rest.route("GET", reactions + "/{emoji}", list_reactors),
        rest.route("DELETE", reactions + "/{emoji}", clear_emoji),
        rest.route("DELETE", reactions, clear_all),
    ]


def _emoji(call: Call) -> str:
    """The reaction's key. Raises 10014 for what is no emoji (a word, say)."""
    emoji = unquote(call.path("emoji"))
    name, _, emoji_id = emoji.rpartition(":")
    if not emoji or (emoji.isascii() and not (name and emoji_id.isdigit())):
        raise unknown("emoji")
    return emoji


def _target(call: Call, *needs: Permission) -> Message:
    return call.message(call.channel(*needs))


async def react(call: Call) -> web.Response:
    message = _target(call, Permission.READ_MESSAGE_HISTORY)
    emoji = _emoji(call)
    if emoji not in message.reactions:  # joining one that is there needs no permission
        call.require(message.channel, Permission.ADD_REACTIONS)
        if len(message.reactions) >= 20:
            raise ApiError(400, 30010, "Maximum number of reactions reached (20)")
    call.stage.posting.react(message, call.stage.world.bot, emoji)
    return answer()


async def unreact(call: Call) -> web.Response:
    call.stage.posting.unreact(_target(call), call.stage.world.bot, _emoji(call))
    return answer()


async def remove_other(call: Call) -> web.Response:
    user = call.stage.world.user(call.path("user_id"))
    needs = () if user is call.stage.world.bot else (Permission.MANAGE_MESSAGES,)
    call.stage.posting.unreact(_target(call, *needs), user, _emoji(call))
    return answer()


async def list_reactors(call: Call) -> web.Response:
    message = _target(call)
    after, limit = int(call.query.get("after", 0)), int(call.query.get("limit", 25))
    user_ids = sorted(i for i in message.reactions.get(_emoji(call), []) if i > after)
    return answer([user_json(call.stage.world.users[i]) for i in user_ids[:limit]])


async def clear_emoji(call: Call) -> web.Response:
    call.stage.posting.clear_reactions(_target(call, Permission.MANAGE_MESSAGES), _emoji(call))
    return answer()


async def clear_all(call: Call) -> web.Response:
    call.stage.posting.clear_reactions(_target(call, Permission.MANAGE_MESSAGES))
    return answer()


async def list_pins(call: Call) -> web.Response:
    channel = call.channel(Permission.READ_MESSAGE_HISTORY)
    limit = int(call.query.get("limit", 50))
    pinned = [(m.pinned_at, m) for m in channel.visible() if m.pinned_at is not None]
    if "before" in call.query:
        before = datetime.fromisoformat(call.query["before"])
        pinned = [pair for pair in pinned if pair[0] < before]
    pinned.sort(key=lambda pair: pair[0], reverse=True)
    return answer(
        {
            "items": [
                {"pinned_at": iso(at), "message": call.stage.message_json(message)}
                for at, message in pinned[:limit]
            ],
            "has_more": len(pinned) > limit,
        }
    )


async def pin(call: Call) -> web.Response:
    message = _target(call)
    _require_pinning(call, message)
    call.stage.posting.pin(message, call.stage.world.bot)
    return answer()


async def unpin(call: Call) -> web.Response:
    message = _target(call)
    _require_pinning(call, message)
    call.stage.posting.unpin(message)
    return answer()


def _require_pinning(call: Call, message: Message) -> None:
    call.require(message.channel, Permission.PIN_MESSAGES)

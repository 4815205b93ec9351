"""Who a message mentions: read from its content, bounded by allowed_mentions."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from .permissions import Permission
from .state import Channel, Json, User
from .world import World

_USER = re.compile(r"<@!?(\d+)>")
_ROLE = re.compile(r"<@&(\d+)>")
_EVERYONE = re.compile(r"@(everyone|here)\b")


@dataclass
class Mentions:
    users: list[User] = field(default_factory=list)
    role_ids: list[int] = field(default_factory=list)
    everyone: bool = False


def find_mentions(
    world: World,
    channel: Channel,
    author: User,
    content: str,
    allowed: Json | None,
    replied_to: User | None,
) -> Mentions:
    """allowed: the sender's allowed_mentions (None: everything, and the author replied to)."""
    found = Mentions()
    for user_id in dict.fromkeys(map(int, _USER.findall(content))):
        if user_id in world.users and _allows(allowed, "users", user_id):
            found.users.append(world.users[user_id])
    if channel.guild is not None:
        for role_id in dict.fromkeys(map(int, _ROLE.findall(content))):
            if role_id in channel.guild.roles and _allows(allowed, "roles", role_id):
                found.role_ids.append(role_id)
        may = channel.permissions_of(author.id) & Permission.MENTION_EVERYONE
        parses = allowed is None or "everyone" in allowed.get("parse", [])
        found.everyone = bool(may and parses and _EVERYONE.search(content))
    pings = allowed is None or allowed.get("replied_user", False)
    if replied_to is not None and pings and replied_to not in found.users:
        found.users.append(replied_to)
    return found


def _allows(allowed: Json | None, kind: str, target_id: int) -> bool:
    if allowed is None or kind in allowed.get("parse", []):
        return True
    return str(target_id) in map(str, allowed.get(kind) or [])

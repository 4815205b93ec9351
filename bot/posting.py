"""Posts of characters: sent, edited and deleted through a webhook, or as the bot itself.

A post can be edited only by what sent it. Posts of an earlier run are looked up for that.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

import aiohttp
import discord

from bot.faces import webhook_name
from bot.stage import DeliveryInterrupted, DeliveryRefused, ReplyGone
from bot.voices import UNKNOWN_WEBHOOK, Voice, Voices, Where

log = logging.getLogger(__name__)

_REPLY_NEEDS_HISTORY = 160002
_NOBODY = discord.AllowedMentions.none()
_KEPT = 4096  # posts, edits and deletions of this run that are remembered
_LOOKED_BACK = 20  # posts among which one is looked for whose answer was lost
_CLOCKS_APART = 60.0  # seconds that Discord's clock may be behind this machine's
_THE_BOT = 0

T = TypeVar("T")
View = discord.ui.View | None


class Posts:
    """The posts of one client. Every method raises `DeliveryError`s."""

    def __init__(self, client: discord.Client, voices: Voices, *, webhooks: bool) -> None:
        self._client = client
        self._voices = voices
        self._webhooks = webhooks
        self._senders: OrderedDict[int, int] = OrderedDict()  # post: webhook, or _THE_BOT
        self._edits: OrderedDict[tuple[int, str], None] = OrderedDict()
        self._deletions: OrderedDict[int, None] = OrderedDict()
        # Channels where a webhook's post may or may not be, and since when (Unix seconds).
        self._doubtful: dict[int, float] = {}

    def target(self, where: Where) -> discord.PartialMessageable:
        return self._client.get_partial_messageable(where.channel, guild_id=where.guild)

    async def send(
        self,
        where: Where,
        text: str,
        *,
        persona: str,
        name: str,
        asked: int | None = None,
        nonce: str | None = None,
        view: View = None,
    ) -> discord.Message:
        """Post `text` as the character. Only the bot's own posts can be replies to `asked`."""
        where = self._voices.placed(where)
        post: discord.Message | None = None
        if self._webhooks:
            post = await attempt(lambda: self._speak(where, persona, name, text, view))
        if post is None:
            post = await attempt(lambda: self.post(where, text, asked, nonce, view))
        _keep(self._senders, post.id, post.webhook_id or _THE_BOT)
        return post

    async def post(
        self, where: Where, text: str, asked: int | None, nonce: str | None, view: View = None
    ) -> discord.Message:
        """Post as the bot, as a reply to `asked` where Discord lets it. Raises discord.py's errors.

        Without a nonce discord.py makes up one, which lasts for its own attempts.
        """
        target = self.target(where)
        send = partial(target.send, text, allowed_mentions=_NOBODY)
        if nonce is not None:
            send = partial(send, nonce=nonce)
        if view is not None:
            send = partial(send, view=view)
        if asked is None:
            return await send()
        reference = discord.MessageReference(
            message_id=asked, channel_id=target.id, fail_if_not_exists=False
        )
        try:
            return await send(reference=reference)
        except discord.HTTPException as error:
            if error.code != _REPLY_NEEDS_HISTORY:
                raise
            return await send()

    async def edit(self, where: Where, post_id: int, text: str, view: View) -> bool:
        """Let a post say `text`; False if nothing can any more, as its webhook is gone."""
        _keep(self._edits, (post_id, text.strip()), None)
        return await self._change(
            where,
            post_id,
            lambda hook, thread: hook.edit_message(
                post_id, content=text, view=view, allowed_mentions=_NOBODY, thread=thread
            ),
            lambda post: post.edit(content=text, view=view, allowed_mentions=_NOBODY),
        )

    async def without_buttons(self, where: Where, post_id: int) -> None:
        """Take a post's buttons away, where that is possible."""
        await self._change(
            where,
            post_id,
            lambda hook, thread: hook.edit_message(post_id, view=None, thread=thread),
            lambda post: post.edit(view=None),
        )

    async def delete(self, where: Where, post_id: int) -> None:
        """Delete a post; one that is gone already is what was wanted."""
        _keep(self._deletions, post_id, None)  # Discord may tell of it before it answers
        try:
            done = await self._change(
                where,
                post_id,
                lambda hook, thread: hook.delete_message(post_id, thread=thread),
                lambda post: post.delete(),
            )
            if not done:  # without its webhook it takes the permission Manage Messages
                await attempt(self.target(where).get_partial_message(post_id).delete)
        except ReplyGone as gone:
            log.debug("Post %d was gone already: %s", post_id, gone)

    def is_own_edit(self, post_id: int, content: str) -> bool:
        """Whether an edit that Discord tells of was made here."""
        return (post_id, content.strip()) in self._edits

    def is_own_deletion(self, post_id: int) -> bool:
        """Whether a deletion that Discord tells of was asked for here."""
        return post_id in self._deletions

    async def _speak(
        self, where: Where, persona: str, name: str, text: str, view: View
    ) -> discord.Message | None:
        """Post through the channel's webhook, which is made again if it was deleted meanwhile."""
        for again in (True, False):
            async with self._voices.speaking(where, persona) as voice:
                if voice is None:
                    return None
                try:
                    return await self._execute(where, voice, webhook_name(name), text, view)
                except discord.NotFound as error:
                    if error.code != UNKNOWN_WEBHOOK or not again:
                        raise
                    self._voices.lost(where)
        return None

    async def _execute(
        self, where: Where, voice: Voice, username: str, text: str, view: View
    ) -> discord.Message:
        began = time.time()
        since = self._doubtful.get(where.channel)
        if since is not None:
            post = await self._sent_before(where, voice.webhook, text, since)
            self._doubtful.pop(where.channel, None)
            if post is not None:
                return post
        shown: discord.ui.View = discord.utils.MISSING if view is None else view
        try:
            return await voice.webhook.send(
                text,
                username=username,
                avatar_url=voice.avatar_url,
                allowed_mentions=_NOBODY,
                view=shown,
                thread=where.thread,
                wait=True,
            )
        except (aiohttp.ClientError, OSError, discord.DiscordServerError):
            self._doubtful.setdefault(where.channel, began)  # webhooks know no nonce
            raise

    async def _sent_before(
        self, where: Where, webhook: discord.Webhook, text: str, since: float
    ) -> discord.Message | None:
        """A post that Discord took without saying so; a reply may have grown to `text` since."""
        try:
            async for post in self.target(where).history(limit=_LOOKED_BACK):
                if post.created_at.timestamp() < since - _CLOCKS_APART:
                    return None  # an earlier run's posts are nobody's here, and may read alike
                begun = post.content.strip()
                same = post.webhook_id == webhook.id and begun and text.strip().startswith(begun)
                if same and post.id not in self._senders:
                    return post
        except discord.Forbidden as error:
            log.debug("Channel %d cannot be looked through: %s", where.channel, error)
        return None

    async def _change(
        self,
        where: Where,
        post_id: int,
        by_webhook: Callable[[discord.Webhook, discord.Object], Awaitable[object]],
        by_bot: Callable[[discord.PartialMessage], Awaitable[object]],
    ) -> bool:
        """Change a post through what sent it; False if that is a webhook which is gone."""
        where = self._voices.placed(where)
        post = self.target(where).get_partial_message(post_id)
        sender = self._senders.get(post_id)
        if sender is None:
            try:
                sender = (await attempt(post.fetch)).webhook_id or _THE_BOT
            except DeliveryRefused as refused:  # it may not read the channel's history
                log.debug("Post %d is taken for the bot's own: %s", post_id, refused)
                sender = _THE_BOT
            _keep(self._senders, post_id, sender)
        if sender == _THE_BOT:
            await attempt(lambda: by_bot(post))
            return True
        webhook = await attempt(lambda: self._voices.find(where, sender))
        if webhook is None:
            return False
        try:
            await attempt(lambda: by_webhook(webhook, where.thread))
        except ReplyGone as gone:
            cause = gone.__cause__
            if not isinstance(cause, discord.NotFound) or cause.code != UNKNOWN_WEBHOOK:
                raise
            self._voices.lost(where)
            return False
        return True


async def attempt(request: Callable[[], Awaitable[T]]) -> T:
    """The answer to a request; discord.py has waited for rate limits and tried 5xx again by then.

    Raises the `DeliveryError` that says whether another attempt makes sense.
    """
    try:
        return await request()
    except discord.NotFound as error:
        raise ReplyGone(f"{error}.") from error
    except (discord.DiscordServerError, discord.RateLimited) as error:
        raise DeliveryInterrupted(f"{error}.") from error
    except discord.HTTPException as error:
        kind = DeliveryInterrupted if error.status == 429 else DeliveryRefused
        raise kind(f"{error}.") from error
    except (aiohttp.ClientError, OSError) as error:  # OSError: timeouts too
        raise DeliveryInterrupted(f"{type(error).__name__}: {error}.") from error


K = TypeVar("K")
V = TypeVar("V")


def _keep(kept: OrderedDict[K, V], key: K, value: V) -> None:
    """Remember, and forget what was remembered the longest."""
    kept[key] = value
    kept.move_to_end(key)
    while len(kept) > _KEPT:
        kept.popitem(last=False)

"""How each version of an adapter does with the people who talk to it, read from the log.

Replies are measured as in an evaluation (IIR: replies after the first of a dialogue, to turns that
ask for no name), and every 👍 and 👎 counts for the version whose words it is about, also where the
reply was written anew since: who dislikes one often asks for another. Votes of people who do not
want to be learnt from do not count.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from db.channels import Channel
from db.database import Database
from db.messages import Message
from finetune.evaluation.live import LoggedDialogue, dialogues, ending, user_of
from persona_prompts.cast import Cast
from persona_prompts.identity.introductions import elicits, introduces


class Share(NamedTuple):
    """`part` of `n`."""

    part: int
    n: int

    @property
    def value(self) -> float:
        return self.part / self.n if self.n else 0.0


@dataclass(slots=True)
class LiveRates:
    """Counts of one version."""

    replies: int = 0  # of the kind that IIR is taken over
    introductions: int = 0
    votes: int = 0
    dislikes: int = 0

    @property
    def iir(self) -> Share:
        return Share(self.introductions, self.replies)

    @property
    def disliked(self) -> Share:
        return Share(self.dislikes, self.votes)


async def live_rates(
    database: Database, cast: Cast, *, since: float, until: float
) -> dict[str, LiveRates]:
    """By label (`default@4`, `base`), what was said from `since` to before `until`, Unix seconds.

    A version that said nothing is not in it. Raises `DatabaseError`.
    """
    found: defaultdict[str, LiveRates] = defaultdict(LiveRates)
    opted_out = await database.consent.opted_out()
    for channel in await database.channels.all():
        said: dict[int, Message] = {}
        async for scene in database.messages.scenes(channel.id, since=since):
            recent = [message for message in scene if message.created_at < until]
            said.update((m.id, m) for m in recent if m.role == "character" and m.adapter)
            _count_introductions(found, dialogues(recent), channel, cast)
        if said:
            await _count_votes(found, database, channel, said, opted_out)
    return dict(found)


def _count_introductions(
    found: defaultdict[str, LiveRates],
    parts: Iterable[LoggedDialogue],
    channel: Channel,
    cast: Cast,
) -> None:
    for part in parts:
        names = user_of(part, channel, cast, 0).names
        # As in an evaluation: a reply that failed is left out, and so is its question.
        pairs = zip(part.asked, part.said, strict=True)
        whole = [(asked, reply) for asked, reply in pairs if ending(reply) != "error"]
        for asked, reply in whole[1:]:
            if reply.adapter and not elicits(asked, names):
                rates = found[reply.adapter]
                rates.replies += 1
                rates.introductions += introduces(reply.content, names)


async def _count_votes(
    found: defaultdict[str, LiveRates],
    database: Database,
    channel: Channel,
    said: dict[int, Message],
    opted_out: frozenset[str],
) -> None:
    votes = [
        vote
        for vote in await database.feedback.votes_cast(channel.id)
        if vote.message_id in said and vote.voter_key not in opted_out
    ]
    if not votes:
        return
    variants = {variant.id: variant for variant in await database.feedback.of_channel(channel.id)}
    for vote in votes:
        variant = variants.get(vote.variant_id or 0)
        label = said[vote.message_id].adapter if variant is None else variant.adapter
        if label:
            found[label].votes += 1
            found[label].dislikes += not vote.liked

"""What a front end hands to the turn: where something was said, by whom, and what."""

from __future__ import annotations

from dataclasses import dataclass

from db.channels import ChannelKind

TERMINAL_AUTHOR = "terminal:user"  # the author key of whoever sits at the terminal
SILENCE = "…"  # what an addressed message without any words says


@dataclass(frozen=True, slots=True)
class Place:
    """A channel as its front end knows it. `key` and `guild_key` are opaque: `discord:123`."""

    key: str
    name: str
    kind: ChannelKind
    guild_key: str | None = None
    parent_key: str | None = None  # of a thread: the channel whose settings it starts with
    age_restricted: bool = False

    @property
    def private(self) -> bool:
        """True where everything that is said is said to the character."""
        return self.kind in ("dm", "terminal")


@dataclass(frozen=True, slots=True)
class Incoming:
    """One message of a person. `addressed`: the front end knows that it was said to the bot.

    `to_others`: it was said to somebody else, by a mention of them or as a reply to them.
    """

    place: Place
    author_key: str
    author_name: str
    content: str
    created_at: float  # Unix seconds
    post_id: int | None = None
    reply_to_post: int | None = None
    addressed: bool = False
    files: tuple[str, ...] = ()
    to_others: bool = False

    def text(self) -> str:
        """What is remembered of it; files stand as a note. Empty if nothing was said at all."""
        words = self.content.strip()
        if self.files:
            note = (
                f"[sent {'a file' if len(self.files) == 1 else 'files'}: {', '.join(self.files)}]"
            )
            return f"{words}\n{note}" if words else note
        return words or (SILENCE if self.addressed else "")

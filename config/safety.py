"""What is kept of people and for how long, and how much of the model one person may have."""

from __future__ import annotations

from pydantic import Field

from config.section import Section

_DAY = 86400.0  # seconds


class PrivacySettings(Section):
    keep_days: float = Field(
        0.0,
        ge=0,
        description="What was said longer ago than this is deleted, with all that was made of it;"
        " 0: nothing is.",
    )
    unlogged_minutes: float = Field(
        30.0,
        ge=0,
        description="Silence after which characters forget what was said without being logged.",
    )

    def oldest(self, now: float) -> float | None:
        """The moment before which nothing may be kept, both in Unix seconds; None: all may be."""
        return now - self.keep_days * _DAY if self.keep_days else None


class LimitSettings(Section):
    """Replies to one person, over all channels; 0: any number. The terminal has no limits."""

    replies_per_minute: int = Field(10, ge=0)
    replies_per_hour: int = Field(200, ge=0)

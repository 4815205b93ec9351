"""What can be seen of a running bot: its log and its figures for Prometheus."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from config.section import Section


class LogSettings(Section):
    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    format: Literal["text", "json"] = Field(
        "text", description="One line a record: for people, or a JSON object for programs."
    )
    messages: bool = Field(False, description="Also log what users and characters say.")


class MetricsSettings(Section):
    port: int = Field(
        0, ge=0, le=65535, description="Where the Discord bot shows its figures; 0: nowhere."
    )
    host: str = Field(
        "127.0.0.1",
        min_length=1,
        description="The address it does so on; whoever reaches it can read them.",
    )

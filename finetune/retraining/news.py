"""What is new in the log, and what is mixed in with it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from config import RetrainSettings
from finetune.errors import InputError
from finetune.preparing.replay import Replay, read_replay
from finetune.sources.dialogue import Dialogue

OWN_REPLAY = Path(__file__).parent.parent / "replay"
_OWN_LICENCE = "Apache-2.0"
_OWN_ATTRIBUTION = "written for Troupe"


def newest_at(dialogues: Iterable[Dialogue]) -> float | None:
    """When the last line was said, in Unix seconds; None if no line has a time."""
    return max((s.at for one in dialogues for s in one.said if s.at is not None), default=None)


def news(dialogues: Iterable[Dialogue], until: float | None, latest: float | None) -> int:
    """Teachable replies that came after `until`, when the last training's newest line was said.

    A log that ends before `until` was put back from a backup, or the clock was: then all is new.
    """
    if until is not None and latest is not None and latest < until:
        until = None
    return sum(
        said.teachable and (until is None or said.at is None or said.at > until)
        for dialogue in dialogues
        for said in dialogue.said
    )


def replays(settings: RetrainSettings) -> Replay | None:
    """The dialogues that `settings` mix in; None: none.

    Raises `InputError` if `retrain.replay` cannot be read, or nobody says whose it is.
    """
    found = []
    if settings.own_replay:
        for file in sorted(OWN_REPLAY.glob("*.jsonl")):
            found.append(read_replay(file, _OWN_LICENCE, _OWN_ATTRIBUTION))
    if settings.replay:
        for name in ("replay_licence", "replay_attribution"):
            if not getattr(settings, name).strip():
                raise InputError(
                    f"What is learnt from {settings.replay} is recorded with the adapter; say its"
                    f" {name.removeprefix('replay_')} in retrain.{name}."
                )
        file = Path(settings.replay)
        found.append(read_replay(file, settings.replay_licence, settings.replay_attribution))
    if not found:
        return None
    return Replay(
        ", ".join(one.file for one in found),
        "; ".join(dict.fromkeys(one.licence for one in found)),
        "; ".join(dict.fromkeys(one.attribution for one in found)),
        tuple(dialogue for one in found for dialogue in one.dialogues),
    )

"""Retraining by itself: what a run learns from, when it may promote, and when it runs."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from config.section import Section


class RetrainSettings(Section):
    """What one run of `python -m finetune retrain` does."""

    adapter: str = Field("default", min_length=1, description="The adapter that gets new versions.")
    min_new_replies: int = Field(
        200,
        ge=0,
        description="Teachable replies that must have come since the last training, or the run is"
        " recorded as skipped. 0 always trains.",
    )
    start_from: Literal["base", "champion"] = Field(
        "base",
        description="What a challenger's training begins with: the base model, and all logs are"
        " learnt anew, or the version in use, which is quicker but keeps old habits.",
    )
    suite: str = Field(
        "development",
        min_length=1,
        description="The probe suite that both contenders play: development, test, held_out, or a"
        " file.",
    )
    languages: list[str] = Field(
        [],
        description="Of its dialogues, those in these languages (en, zh, ko); none named: all, and"
        " with the embedded model English, which is all it speaks.",
    )
    replay: str = Field(
        "", description="A file of further dialogues, of any format, mixed into each training."
    )
    replay_licence: str = Field(
        "", description="What that file may be used for; recorded with the adapter."
    )
    replay_attribution: str = Field("", description="Whose it is; recorded with the adapter.")
    own_replay: bool = Field(
        True,
        description="Mix in the dialogues that come with Troupe, so that a model taught by its own"
        " logs keeps what it knew.",
    )
    keep_versions: int = Field(
        5,
        ge=1,
        description="Newest versions of the adapter that are kept. Those in use, in a canary, or to"
        " go back to are kept besides.",
    )
    keep_reports: int = Field(30, ge=1, description="Runs whose reports are kept.")


class GateSettings(Section):
    """What a challenger must show before it is promoted."""

    min_turns: int = Field(
        200,
        ge=1,
        description="Replies after the first, to turns that ask for no name, to judge by.",
    )
    iir_floor: float = Field(
        0.01,
        ge=0,
        le=1,
        description="Share of such replies that introduce the speaker which is as good as none.",
    )
    iir_share: float = Field(
        0.5,
        gt=0,
        le=1,
        description="Most of the champion's share that the challenger may have, where the"
        " champion's is above the floor.",
    )
    min_recall: float = Field(
        0.8, ge=0, le=1, description="Least share of questions for the name answered with it."
    )
    recall_drop: float = Field(
        0.02,
        ge=0,
        le=1,
        description="Most that this share may fall below the champion's; one answer fewer always"
        " may.",
    )
    perplexity_ratio: float = Field(
        1.05, gt=0, description="Most perplexity on held-out dialogues, beside the champion's."
    )
    distinct_ratio: float = Field(
        0.95, ge=0, description="Least variety of words (distinct-2), beside the champion's."
    )
    length_band: float = Field(
        0.25, ge=0, description="Most that replies may become longer or shorter, as a share."
    )
    ends_ratio: float = Field(
        0.98,
        ge=0,
        description="Least share of replies that end by themselves, beside the champion's.",
    )


class CanarySettings(Section):
    """How a promoted version is tried, and when it is taken back by itself."""

    share: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Share of the channels that try a new version first; 0: all get it at once.",
    )
    days: float = Field(3.0, gt=0, description="How long a version is tried.")
    min_replies: int = Field(100, ge=1, description="Replies before live rates are judged.")
    max_iir: float = Field(
        0.05,
        ge=0,
        le=1,
        description="Share of live replies that introduce the speaker unasked past which a version"
        " is taken back.",
    )
    max_disliked: float = Field(
        0.4, ge=0, le=1, description="Share of thumbs down among votes past which it is taken back."
    )
    min_votes: int = Field(20, ge=1, description="Votes before they are judged.")


class ScheduleSettings(Section):
    """When `python -m finetune schedule` runs, and how it shares the machine."""

    cron: str = Field(
        "0 4 * * *",
        min_length=1,
        description="When to retrain: minute, hour, day, month, day of the week, as cron has them;"
        " or @daily, @weekly, @monthly.",
    )
    time_zone: str = Field("", description='Such as "Europe/Paris"; "": this machine\'s.')
    jitter_seconds: int = Field(
        600, ge=0, description="Most by which a start is put off at random."
    )
    quiet_minutes: float = Field(
        20.0,
        ge=0,
        description="Nothing said for so long is quiet enough to begin; 0 does not wait.",
    )
    patience_hours: float = Field(3.0, ge=0, description="Longest wait for quiet.")
    when_busy: Literal["run", "skip"] = Field(
        "run",
        description="What to do when it never was quiet: run all the same, or leave it for the next"
        " time.",
    )
    hand_over_gpu: bool = Field(
        True,
        description="Have the bot free the GPU while a model trains on it: it says so, keeps what"
        " is asked of it, and answers afterwards.",
    )
    niceness: int = Field(
        10, ge=0, le=19, description="How far a training gives way to other work on the CPU."
    )
    watch_minutes: float = Field(
        60.0, gt=0, description="Time between two looks at how a new version does live."
    )

"""An export as DiscordChatExporter writes it, with all that a channel holds besides talk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from finetune.preparing.pseudonyms import Pseudonyms
from finetune.preparing.scrub import Scrubber
from finetune.sources.dialogue import Dialogue
from finetune.sources.formats import read_source
from persona_prompts.cast import SHIPPED, Cast

CAST = Cast(SHIPPED)


def user(number: int, name: str, nickname: str | None = None, **more: Any) -> dict[str, Any]:
    return {
        "id": str(10**17 + number),
        "name": name,
        "discriminator": "0000",
        "nickname": nickname or name,
        "color": None,
        "isBot": False,
        "roles": [],
        "avatarUrl": "https://cdn.discordapp.com/embed/avatars/0.png",
        **more,
    }


ANN = user(1, "ann_1987", "Ann-Kathrin", color="#1ABC9C", roles=[{"id": "5", "name": "Mods"}])
ZEB = user(2, "zebulon")
VEX = user(3, "Mirela", isBot=True)
QUINCY = user(4, "quincy77", "Quincy")  # never says a word


def post(at: str, author: dict[str, Any], content: str, **more: Any) -> dict[str, Any]:
    return {
        "id": f"1{at.replace(':', '')}",
        "type": "Default",
        "timestamp": f"2026-11-21T{at}.1234567+00:00",
        "timestampEdited": None,
        "callEndedTimestamp": None,
        "isPinned": False,
        "content": content,
        "author": author,
        "attachments": [],
        "embeds": [],
        "stickers": [],
        "reactions": [],
        "mentions": [],
        "inlineEmojis": [],
        **more,
    }


def reference(at: str) -> dict[str, Any]:
    return {
        "type": "Default",
        "messageId": f"1{at.replace(':', '')}",
        "channelId": "700",
        "guildId": "1",
    }


POSTS = [
    post("14:00:00", ZEB, "Joined the server.", type="GuildMemberJoin"),
    post(
        "14:00:10",
        ANN,
        "@Mirela have you seen @Quincy? ann_1987 asks.",
        mentions=[VEX, QUINCY],
        timestampEdited="2026-11-21T14:00:20+00:00",
        inlineEmojis=[{"id": "", "name": "👀", "code": "eyes", "isAnimated": False}],
    ),
    post(
        "14:00:30",
        VEX,
        "Quincy? He went aboard.",
        type="Reply",
        reference=reference("14:00:10"),
        reactions=[
            {
                "emoji": {"id": "", "name": "👍", "code": "thumbsup", "isAnimated": False},
                "count": 2,
                "users": [ANN, ZEB],
            },
            {"emoji": {"id": "99", "name": "vexed", "code": "vexed"}, "count": 5},
        ],
    ),
    post("14:00:35", ANN, "Pinned a message.", type="ChannelPinnedMessage"),
    post(
        "14:00:40",
        ZEB,
        "",
        attachments=[{"id": "8", "url": "a.png", "fileName": "a.png", "fileSizeBytes": 9}],
        stickers=[{"id": "9", "name": "Wave", "format": "Lottie", "sourceUrl": "w.json"}],
    ),
    post("14:00:45", VEX, "Pong!", type="20", interaction={"id": "6", "name": "ping", "user": ZEB}),
    post(
        "14:00:50",
        ZEB,
        "",
        reference={**reference("14:00:10"), "type": "Forward"},
        forwardedMessage={"content": "Ann wrote this elsewhere.", "attachments": []},
    ),
    post("14:01:00", VEX, "", embeds=[{"title": "A map", "description": "Of the isles."}]),
    post("14:01:10", ANN, "Which ship, captain?"),
    post("14:01:20", VEX, "The Saltlight, of course."),
]


def export(posts: list[dict[str, Any]], kind: str = "GuildTextChat") -> dict[str, Any]:
    return {
        "guild": {"id": "1", "name": "Tavern", "iconUrl": "icon.png"},
        "channel": {
            "id": "700",
            "type": kind,
            "categoryId": "2",
            "category": "Rooms",
            "name": "bar",
            "topic": None,
        },
        "dateRange": {"after": None, "before": None},
        "exportedAt": "2026-11-22T09:00:00.0000000+00:00",
        "messages": posts,
        "messageCount": len(posts),
    }


def read(folder: Path, value: dict[str, Any]) -> list[Dialogue]:
    file = folder / "bar.json"
    # The exporter writes it indented, with a byte order mark.
    file.write_text(json.dumps(value, indent=2), encoding="utf-8-sig")
    return read_source(file, cast=CAST)


def texts(dialogue: Dialogue) -> list[tuple[str, bool]]:
    return [(said.line.text, said.teachable) for said in dialogue.said]


def test_only_what_was_said_is_read(tmp_path: Path) -> None:
    [dialogue] = read(tmp_path, export(POSTS))
    assert texts(dialogue) == [
        ("@Mirela have you seen @Quincy? ann_1987 asks.", False),
        ("Quincy? He went aboard.", True),
        ("", False),  # the embed: nothing that could be taught
        ("Which ship, captain?", False),
        ("The Saltlight, of course.", True),
    ]
    assert dialogue.character.id == "mirela"
    assert (dialogue.said[1].likes, dialogue.said[1].dislikes) == (2, 0)
    assert dialogue.source == "discord:700"


def test_who_is_only_mentioned_or_only_joined_is_renamed_too(tmp_path: Path) -> None:
    posts = [*POSTS, post("14:02:00", ANN, "And Zebulon?"), post("14:02:10", VEX, "With quincy77.")]
    [dialogue] = read(tmp_path, export(posts))
    found = Scrubber(Pseudonyms(b"k" * 32)).scrub(dialogue)
    told = "\n".join(f"{said.line.speaker}: {said.line.text}" for said in found.said).casefold()
    assert not [name for name in ("quincy", "ann", "zebulon") if name in told]
    assert "@mirela" in told


def test_a_reversed_export_is_read_in_order(tmp_path: Path) -> None:
    [forward], [backward] = (
        read(tmp_path, export(posts)) for posts in (POSTS, list(reversed(POSTS)))
    )
    assert forward.said == backward.said


@pytest.mark.parametrize(
    ("kind", "group"),
    [("GuildPublicThread", True), ("DirectGroupTextChat", True), ("DirectTextChat", False)],
)
def test_two_people_alone_are_no_group(tmp_path: Path, kind: str, group: bool) -> None:
    assert [one.group for one in read(tmp_path, export(POSTS, kind))] == [group]

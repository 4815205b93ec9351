"""A chat as SillyTavern writes it: greeting, swipes, hidden lines and a narrator."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from finetune.sources.dialogue import Dialogue
from finetune.sources.formats import read_source

GREETING = "Welcome aboard!"


def line(name: str, text: str, *, user: bool = False, **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "is_user": user,
        "is_system": False,
        "send_date": "November 21, 2026 2:05pm",
        "mes": text,
        "extra": {},
        **more,
    }


CHAT = [
    {
        "user_name": "unused",
        "character_name": "unused",
        "create_date": "2026-11-21@14h05m00s",
        "chat_metadata": {"note_prompt": "", "integrity": "0f3c"},
    },
    line("Vex", GREETING, swipe_id=0, swipes=[GREETING, "Who goes there?"], swipe_info=[{}, {}]),
    line("Ann", "Where to?", user=True, force_avatar="User Avatars/ann.png"),
    line(
        "Vex",
        "South.",
        swipe_id=1,
        swipes=["North.", "South."],
        swipe_info=[
            {"send_date": "2026-11-21T14:06:00.000Z", "extra": {"model": "m", "reasoning": "Hm."}}
        ],
        extra={"api": "textgenerationwebui", "model": "m", "reasoning": "Hm.", "token_count": 2},
        gen_started="2026-11-21T14:05:58.000Z",
        gen_finished="2026-11-21T14:06:00.000Z",
    ),
    line("System", "A storm rises.", extra={"type": "narrator"}),
    line("Note", "Remember the map.", is_system=True, extra={"type": "comment"}),
    line("Vex", "Reef the sails!", send_date="2026-11-21@14h07m30s"),
]


def read(folder: Path, rows: list[dict[str, Any]]) -> list[Dialogue]:
    file = folder / "Vex - 2026-11-21@14h05m00s.jsonl"
    file.write_text("\n".join(json.dumps(row) for row in rows))  # no newline at the end
    return read_source(file)


def test_a_narrator_is_heard_and_never_taught(tmp_path: Path) -> None:
    [dialogue] = read(tmp_path, CHAT)
    assert [(said.line.speaker, said.line.text, said.teachable) for said in dialogue.said] == [
        ("Vex", GREETING, False),
        ("Ann", "Where to?", False),
        ("Vex", "South.", True),
        ("", "A storm rises.", False),
        ("Vex", "Reef the sails!", True),
    ]
    assert not dialogue.group
    assert dialogue.said[2].variants == ("North.",)


def test_a_group_chat_is_one_talk_for_each_who_takes_over(tmp_path: Path) -> None:
    rows = [*CHAT, line("Ann", "And you?", user=True), line("Odo", "Below.", original_avatar="o")]
    vex, odo = read(tmp_path, rows)
    assert (vex.character.name, odo.character.name) == ("Vex", "Odo")
    assert [said.line.text for said in odo.said] == ["And you?", "Below."]


@pytest.mark.parametrize(
    "date",
    [
        "November 21, 2026 2:07pm",
        "2026-11-21@14h07m00s",
        "2026-11-21@14h07m00s120ms",
        "2026-11-21 @14h 07m 00s 120ms",
        "2026-11-21T14:07:00",
        1795270020000,
        "1795270020000",
    ],
)
def test_every_way_of_writing_the_time_is_known(tmp_path: Path, date: str | int) -> None:
    [dialogue] = read(tmp_path, [*CHAT[:3], line("Vex", "Aye.", send_date=date)])
    assert dialogue.said[-1].at is not None

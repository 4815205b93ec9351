"""Every format that is read, found by itself, and what is said of files that are none of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from finetune.errors import InputError
from finetune.sources.dialogue import Dialogue
from finetune.sources.formats import FORMATS, read_source, since
from persona_prompts.cast import SHIPPED, Cast

CAST = Cast(SHIPPED)


def write(folder: Path, value: Any, name: str = "chats.json") -> Path:
    file = folder / name
    if name.endswith(".jsonl"):
        file.write_text("".join(json.dumps(row) + "\n" for row in value))
    else:
        file.write_text(json.dumps(value))
    return file


def lines(dialogue: Dialogue) -> list[tuple[str, str, bool]]:
    return [(said.line.speaker, said.line.text, said.teachable) for said in dialogue.said]


@pytest.mark.parametrize("name", ["chats.json", "chats.jsonl"])
@pytest.mark.parametrize(
    "row",
    [
        {"instruction": "Hello!", "output": "Ahoy."},
        {"messages": [{"role": "user", "content": "Hello!"},
                      {"role": "assistant", "content": "Ahoy."}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "Hello!"},
                                                   {"type": "image_url", "image_url": {}}]},
                      {"role": "tool", "content": "42"},
                      {"role": "assistant", "content": "Ahoy."}]},
        {"conversations": [{"from": "human", "value": "Hello!"},
                           {"from": "gpt", "value": "Ahoy."}]},
        {"conversations": [{"role": "user", "content": "Hello!"},
                           {"role": "assistant", "content": "Ahoy."}]},
    ],
)  # fmt: skip
def test_rows_that_are_chats(tmp_path: Path, name: str, row: dict[str, Any]) -> None:
    first, second = read_source(write(tmp_path, [row, row], name))
    assert lines(first) == [("", "Hello!", False), ("", "Ahoy.", True)]
    assert (first.source, second.source) == (f"{name}#1", f"{name}#2")
    assert not first.named
    assert not first.has_card


def test_a_system_message_stands_for_the_card(tmp_path: Path) -> None:
    row = {"messages": [{"role": "system", "content": "You are Vex."},
                        {"role": "user", "content": "Hi"},
                        {"role": "assistant", "content": "Ahoy.", "weight": 0},
                        {"role": "user", "content": "And?"},
                        {"role": "assistant", "content": "Arr."}]}  # fmt: skip
    [dialogue] = read_source(write(tmp_path, [row]))
    assert dialogue.character.system_prompt == "You are Vex."
    assert dialogue.has_card
    assert dialogue.card_from_file
    assert [said.teachable for said in dialogue.said] == [False, False, False, True]
    [played] = read_source(write(tmp_path, [row]), persona=CAST.get("mirela"))
    assert played.character.id == "mirela"
    assert played.named
    assert not played.card_from_file


def test_sharegpts_speakers_and_weights(tmp_path: Path) -> None:
    row = {"system": "You are Vex.",
           "conversations": [{"from": "system", "value": "It rains."},
                             {"from": "human", "value": "Hi"},
                             {"from": "gpt", "value": "Ahoy.", "weight": 0},
                             {"from": "human", "value": "How warm is it?"},
                             {"from": "function_call", "value": "{}"},
                             {"from": "observation", "value": "4"},
                             {"from": "gpt", "value": "Cold.", "weight": 1}]}  # fmt: skip
    [dialogue] = read_source(write(tmp_path, [row]))
    assert dialogue.character.system_prompt == "You are Vex.\nIt rains."
    assert lines(dialogue) == [
        ("", "Hi", False),
        ("", "Ahoy.", False),
        ("", "How warm is it?", False),
        ("", "Cold.", True),
    ]


EXPORT: dict[str, Any] = {
    "guild": {"id": "1", "name": "Tavern"},
    "channel": {"id": "7", "type": "GuildTextChat", "name": "bar"},
    "messages": [
        {"id": "1", "type": "Default", "timestamp": "2026-11-21T14:00:00.123+00:00",
         "content": "Hello!", "author": {"id": "11", "name": "ann", "nickname": "Ann"}},
        {"id": "2", "type": "Default", "timestamp": "2026-11-21T14:00:05+00:00",
         "content": "Ahoy.", "reactions": [{"emoji": {"name": "👍🏽"}, "count": 2},
                                           {"emoji": {"name": "👎"}, "count": 1}],
         "author": {"id": "12", "name": "Mirela", "isBot": True}},
        {"id": "3", "type": "GuildMemberJoin", "timestamp": "2026-11-21T14:00:06+00:00",
         "content": "joined", "author": {"id": "13", "name": "bo"}},
        {"id": "4", "type": "Reply", "timestamp": "2026-11-21T14:00:07+00:00",
         "content": "Play a song", "author": {"id": "13", "name": "bo"}},
        {"id": "5", "type": "Default", "timestamp": "2026-11-21T14:00:08+00:00",
         "content": "Now playing", "author": {"id": "14", "name": "JukeBox", "isBot": True}},
    ],
}  # fmt: skip


def test_a_discord_export(tmp_path: Path) -> None:
    [dialogue] = read_source(write(tmp_path, EXPORT), cast=CAST, bot_names=["mirela"])
    assert lines(dialogue) == [
        ("Ann", "Hello!", False),
        ("Mirela", "Ahoy.", True),
        ("bo", "Play a song", False),
    ]
    assert dialogue.character.id == "mirela"
    assert dialogue.group
    assert dialogue.source == "discord:7"
    assert dialogue.present == (
        ("discord:11", "Ann"),
        ("discord:11", "ann"),
        ("discord:13", "bo"),
    )
    assert (dialogue.said[1].likes, dialogue.said[1].dislikes) == (2, 1)
    assert dialogue.said[1].at == 1795269605.0
    marked = read_source(write(tmp_path, EXPORT), cast=CAST)
    assert [one.character.name for one in marked] == ["Captain Mirela Vex", "JukeBox"]


def test_who_opted_out_is_withheld_from_an_export(tmp_path: Path) -> None:
    export = json.loads(json.dumps(EXPORT))
    joined = export["messages"][3]  # bo's; then two replies to it, one of them late
    reply = {**export["messages"][1], "reactions": [], "reference": {"messageId": joined["id"]}}
    ask = {**export["messages"][0], "id": "7", "content": "Louder!"}
    export["messages"] += [
        {**reply, "id": "6", "content": "Which song?"},
        ask,
        {**reply, "id": "8", "content": "A song, bo says."},
        {**ask, "id": "9", "content": "Well?"},
        {**reply, "id": "10", "content": "Aye.", "reference": {"messageId": "9"}},
    ]
    file = write(tmp_path, export)
    found = read_source(file, cast=CAST, bot_names=["mirela"], opted_out=frozenset(["discord:13"]))
    assert [[text for _, text, _ in lines(dialogue)] for dialogue in found] == [
        ["Hello!", "Ahoy."],
        ["Well?", "Aye."],
    ]
    assert all(("discord:13", "bo") in dialogue.present for dialogue in found)


def test_posts_that_fill_discord_s_limit_are_one_reply(tmp_path: Path) -> None:
    long = "word " * 390
    author = {"id": "12", "name": "Mirela", "isBot": True}
    export = json.loads(json.dumps(EXPORT))
    export["messages"] = [
        export["messages"][0],
        {**export["messages"][1], "content": long, "author": author},
        {**export["messages"][1], "content": "the end.", "author": author},
    ]
    [dialogue] = read_source(write(tmp_path, export), cast=CAST)
    assert [said.line.text for said in dialogue.said] == ["Hello!", f"{long}\nthe end."]


def test_a_sillytavern_chat(tmp_path: Path) -> None:
    rows = [
        {"user_name": "Ann", "character_name": "Vex", "create_date": "x", "chat_metadata": {}},
        {"name": "Vex", "is_user": False, "mes": "Welcome!", "send_date": "June 19, 2026 4:13pm"},
        {"name": "Ann", "is_user": True, "mes": "Hello!", "send_date": 1781885600000},
        {"name": "Vex", "is_user": False, "is_system": True, "mes": "hidden"},
        {"name": "Vex", "is_user": False, "mes": "Arr.", "swipe_id": 1,
         "swipes": ["Ahoy.", "Arr.", " "], "send_date": "2026-06-19 @16h 15m 02s 120ms"},
    ]  # fmt: skip
    [dialogue] = read_source(write(tmp_path, rows, "chat.jsonl"), cast=CAST)
    assert lines(dialogue) == [
        ("Vex", "Welcome!", False),
        ("Ann", "Hello!", False),
        ("Vex", "Arr.", True),
    ]
    assert dialogue.character.id == "mirela"  # by its alias
    assert dialogue.said[2].variants == ("Ahoy.",)
    assert all(said.at is not None for said in dialogue.said)


def test_character_ai_exports(tmp_path: Path) -> None:
    def said(text: str, human: bool, **more: Any) -> dict[str, Any]:
        return {"text": text, "src": {"name": "Zed", "is_human": human}, **more}

    msgs = [said("Hello.", False), said("Hi", True), said("Ahoy.", False),
            said("Arr.", False, is_alternative=True)]  # fmt: skip
    [old] = read_source(write(tmp_path, {"histories": {"histories": [{"msgs": msgs}]}}))
    assert lines(old) == [("Zed", "Hello.", False), ("Zed", "Hi", False), ("Zed", "Ahoy.", True)]
    assert old.said[-1].variants == ("Arr.",)
    turns = [
        {"author": {"name": "Zed"}, "create_time": "2026-01-01T00:00:02Z",
         "primary_candidate_id": "b",
         "candidates": [{"candidate_id": "a", "raw_content": "Arr."},
                        {"candidate_id": "b", "raw_content": "Ahoy."}]},
        {"author": {"name": "Ann", "is_human": True}, "create_time": "2026-01-01T00:00:01Z",
         "candidates": [{"candidate_id": "c", "raw_content": "Hi"}]},
    ]  # fmt: skip
    [new] = read_source(write(tmp_path, [{"turns": turns}], "chats.jsonl"))
    assert lines(new) == [("Ann", "Hi", False), ("Zed", "Ahoy.", True)]
    assert new.said[-1].variants == ("Arr.",)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ([{"foo": 1}], "sillytavern"),
        ([[1]], "row 1 is a list"),
        ([{"messages": [{"role": "user"}]}], "row 1 has no key 'content'"),
        ([{"messages": [{"role": "wizard", "content": "x"}]}], "'wizard' is no known speaker"),
        ([{"messages": "x"}], "'messages' is a text; it must be a list"),
        ([{"conversations": [{"from": "human"}]}], "row 1 has no key 'value'"),
        ([{"instruction": "a", "output": "b"}, {"instruction": "a"}], "row 2 has no key 'output'"),
        ({**EXPORT, "messages": [{"id": "9", "content": "x"}]}, "message 9 has no 'author'"),
        ([{"turns": [{"candidates": [{}]}]}], "row 1 has no key 'raw_content'"),
        ([{"mes": "x"}], "row 1 has no key 'is_user'"),
        ([], "is empty"),
    ],
)
def test_bad_rows_are_one_sentence(tmp_path: Path, value: Any, said: str) -> None:
    with pytest.raises(InputError) as caught:
        read_source(write(tmp_path, value))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_format_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        read_source(write(tmp_path, [{"prompt": "a", "completion": "b"}]))
    assert all(name in str(caught.value) for name in (*FORMATS, "'prompt'", "'completion'"))


def test_hostile_texts_become_harmless(tmp_path: Path) -> None:
    row = '[{"instruction": "a\\u0000b\\ud800", "output": "c\\udc00\\u0000"}]'
    (tmp_path / "rows.json").write_text(row)
    [dialogue] = read_source(tmp_path / "rows.json")
    "".join(said.line.text for said in dialogue.said).encode("utf-8")


def test_old_lines_can_be_left_out(tmp_path: Path) -> None:
    dialogues = read_source(write(tmp_path, EXPORT), cast=CAST, bot_names=["mirela"])
    [later] = since(dialogues, 1795269604.0)
    assert [said.line.text for said in later.said] == ["Ahoy.", "Play a song"]


def test_a_name_beside_the_messages_is_the_characters(tmp_path: Path) -> None:
    said = [
        {"role": "system", "content": "You are Odo."},
        {"role": "user", "content": "Hm?"},
        {"role": "assistant", "content": "Well."},
    ]
    [named, nameless] = read_source(
        write(tmp_path, [{"name": "Odo", "messages": said}, {"messages": said}], "rows.jsonl")
    )
    assert (named.character.name, named.named) == ("Odo", True)
    assert not nameless.named
    assert named.character.system_prompt == nameless.character.system_prompt == "You are Odo."

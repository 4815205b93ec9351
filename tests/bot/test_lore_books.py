"""`/lore import | export | list | remove`: lorebooks of a channel, in the turn."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bot import lore_commands, scene_lore
from bot.command_lines import run_line
from bot.errors import CommandError
from config import Config, MemorySettings, PromptSettings
from db.connection import DatabaseError
from persona_prompts.errors import CharacterError
from persona_prompts.lorebook.book import read_book
from tests.bot.conftest import GENERAL, MARKET, Scene, scene_in
from tests.bot.remembering import ANN, BO, ask, last_prompt, said, system

BO_MAY = replace(BO, may_switch=True)


def lorebook(*entries: dict[str, Any], **fields: Any) -> bytes:
    """A lorebook of the card format V3."""
    whole = [{"enabled": True, "insertion_order": 0, "keys": [], **entry} for entry in entries]
    return json.dumps(
        {"spec": "lorebook_v3", "data": {"extensions": {}, **fields, "entries": whole}}
    ).encode()


HARBOUR = lorebook(
    {"keys": ["gull"], "secondary_keys": ["storm"], "selective": True, "content": "Gulls hide."},
    {"keys": ["/ke+l/"], "use_regex": True, "content": "@@depth 0\nKeels are tarred."},
    {"constant": True, "content": "The harbour is old.", "priority": 9},
    {"keys": ["bell"], "content": "It tolls for the drowned."},
    {"keys": ["drowned"], "content": "They walk at noon."},
    name="Harbour Town", scan_depth=1, token_budget=300, recursive_scanning=True,
)  # fmt: skip


@pytest.fixture
def harbour(tmp_path: Path) -> Path:
    file = tmp_path / "my harbour.json"
    file.write_bytes(HARBOUR)
    return file


async def test_a_lorebook_is_active_as_its_file_says(scene: Scene, harbour: Path) -> None:
    told = await said(scene, f"/lore import {harbour}")
    assert told == (
        "Brought in: Lorebook `harbour-town` Harbour Town: 5 entries, scan depth 1, budget"
        " 300 tokens, recursive"
    )
    await ask(scene, "A gull!", "Aye.")
    assert "The harbour is old." in system(scene)
    assert "Gulls hide." not in system(scene)
    await ask(scene, "A gull in the storm!", "Aye.")
    assert "Gulls hide." in system(scene)
    assert "lore: harbour-town#1 gull ('gull')" in await said(scene, "/memory why")
    await ask(scene, "Look at that keeel.", "Aye.")
    assert "Gulls hide." not in system(scene)  # said two messages ago
    assert "Keels are tarred." not in system(scene)
    assert last_prompt(scene).endswith("[Keels are tarred.]")
    await ask(scene, "The bell!", "Aye.")
    assert "It tolls for the drowned.\nThey walk at noon." in system(scene).replace("\n\n", "\n")
    await ask(scene, "The bell!", "Aye.", MARKET)
    assert "drowned" not in last_prompt(scene)
    assert "harbour is old" not in last_prompt(scene)


async def test_what_is_imported_is_listed_beside_what_was_written(
    scene: Scene, harbour: Path
) -> None:
    await said(scene, "/lore add well = The well is dry.")
    await said(scene, f"/lore import {harbour} as Port")
    assert await said(scene, "/lore list") == (
        "1. well: The well is dry.\n"
        "Lorebook `port` Harbour Town: 5 entries, scan depth 1, budget 300 tokens, recursive\n"
        "port#1. gull (with one of storm): Gulls hide.\n"
        "port#2. /ke+l/: Keels are tarred.\n"
        "port#3. always: The harbour is old.\n"
        "port#4. bell: It tolls for the drowned.\n"
        "port#5. drowned: They walk at noon."
    )
    assert "no lore" in (await run_line(scene.behind.commands, MARKET, "/lore list")).text


async def test_an_entry_or_a_book_is_removed(scene: Scene, harbour: Path) -> None:
    await said(scene, f"/lore import {harbour} as port")
    assert await said(scene, "/lore remove port#3") == (
        "Removed: port#3. always: The harbour is old."
    )
    await ask(scene, "The bell!", "Aye.")
    assert "harbour is old" not in system(scene)
    assert "It tolls" in system(scene)
    listed = await said(scene, "/lore list")
    assert "4 entries" in listed
    assert "port#4. bell" in listed
    for which, why in (("port#3", "no entry 'port#3'"), ("port#", "no entry"), ("7", "no lore 7"),
                       ("sea", "no lorebook 'sea'"), ("9" * 40, "no lore")):  # fmt: skip
        with pytest.raises((CommandError, DatabaseError), match=why):
            await said(scene, f"/lore remove {which}")
    with pytest.raises(DatabaseError, match="no lorebook"):
        await said(scene, "/lore remove port", MARKET)
    await said(scene, "/lore remove port")
    await ask(scene, "The bell!", "Aye.")
    assert "It tolls" not in last_prompt(scene)
    assert "no lore" in await said(scene, "/lore list")


async def test_a_book_goes_out_as_it_came(scene: Scene, harbour: Path) -> None:
    await said(scene, f"/lore import {harbour}")

    async def exported() -> bytes:
        answer = await run_line(scene.behind.commands, GENERAL, "/lore export Harbour-Town")
        assert answer.file is not None
        assert answer.file.name == "harbour-town.json"
        return answer.file.content

    assert await exported() == HARBOUR
    await said(scene, "/lore remove harbour-town#1")
    left = json.loads(await exported())
    whole = json.loads(HARBOUR)
    assert left["data"].pop("entries") == whole["data"].pop("entries")[1:]
    assert left == whole
    with pytest.raises(DatabaseError, match="no lorebook"):
        await run_line(scene.behind.commands, MARKET, "/lore export harbour-town")


async def test_a_file_of_sillytavern(scene: Scene, tmp_path: Path) -> None:
    entry = {"key": ["井"], "keysecondary": [], "content": "The well is {{user}}'s.", "order": 5,
             "comment": "The well", "selective": True, "constant": False, "position": 4,
             "depth": 0, "disable": False}  # fmt: skip
    file = tmp_path / "1984.json"
    file.write_text(json.dumps({"entries": {"0": entry, "1": {**entry, "disable": True}}}))
    assert "`book-1984`: 1 entry" in await said(scene, f"/lore import {file}")
    await ask(scene, "井?", "Aye.")
    assert last_prompt(scene).endswith("[The well is Ann's.]")
    assert "lore: book-1984#1 The well ('井')" in await said(scene, "/memory why")


async def test_what_is_left_out_is_told(make_config: Callable[..., Config]) -> None:
    entries = [{"constant": True, "content": f"Stone {n} is grey."} for n in range(40)]
    content = lorebook({"keys": ["/(a+)+$/"], "content": "Slow."}, *entries, token_budget=10)
    async with scene_in(make_config(memory=MemorySettings(lore_tokens=100))) as scene:
        lore = scene.behind.commands.lore
        await lore.import_bytes(GENERAL, BO_MAY, content, "stones.json")
        await ask(scene, "a" * 2000 + "!", "Aye.")
        assert "Stone 0 is grey." in system(scene)
        assert "Stone 39" not in system(scene)
        why = await said(scene, "/memory why")
        assert "lore left out: stones#1 /(a+)+$/ (its pattern took too long)" in why
        assert "(no room in the lore's token budget)" in why
        assert "entries more" in why


async def test_an_entry_knows_the_scene(make_config: Callable[..., Config]) -> None:
    content = lorebook(
        {"keys": ["tide"], "content": "@@dont_activate_after_match\nThe tide took the bell."},
        {"keys": ["key"], "content": "@@keep_activate_after_match\nThe key is under the mat."},
        {"constant": True, "content": "@@activate_only_after 2\nA storm is near."},
    )
    config = make_config(prompt=PromptSettings(history_messages=2))
    async with scene_in(config) as scene:
        await scene.behind.commands.lore.import_bytes(GENERAL, BO_MAY, content, "sea.json")
        await ask(scene, "The tide and the key?", "Aye.")
        assert "took the bell" in system(scene)
        assert "under the mat" in system(scene)
    async with scene_in(config) as scene:
        scene.posts = 200
        await ask(scene, "The tide?", "Aye.")
        assert "took the bell" not in system(scene)
        assert "under the mat" in system(scene)
        assert "A storm is near." not in system(scene)
        await ask(scene, "Hm.", "Aye.")
        assert "under the mat" in system(scene)
        assert "A storm is near." in system(scene)


async def test_bad_files_are_refused_in_a_sentence(scene: Scene, tmp_path: Path) -> None:
    lore = scene.behind.commands.lore
    for content, why in (
        (b"\x89PNG\r\n\x1a\n", "not UTF-8"),
        (b"{}", "is not a lorebook"),
        (b"[" * 100, "nested too deep"),
        (b" " * (4 * 1024 * 1024 + 1), "larger than 4 MiB"),
        (lorebook({"content": "x" * 20_000}), r"entries\.0\.content"),
        (lorebook(*[{}] * 5001), "at most 5000"),
        (lorebook({"content": "Off.", "enabled": False}), "no entry that is switched on"),
    ):
        with pytest.raises((CommandError, CharacterError), match=why) as caught:
            await lore.import_bytes(GENERAL, BO_MAY, content, "bad\n.json")
        assert str(caught.value).startswith("bad .json")
    one = lorebook({"content": "One."}, name="港")
    with pytest.raises(CharacterError, match="say which one it shall have"):
        await lore.import_bytes(GENERAL, BO_MAY, one, "a.json")
    await lore.import_bytes(GENERAL, BO_MAY, one, "a.json", id="port")
    with pytest.raises(DatabaseError, match="port already"):
        await lore.import_bytes(GENERAL, BO_MAY, one, "a.json", id="port")
    for line in (f"/lore import {tmp_path / 'none.json'}", f"/lore import {tmp_path}",
                 "/lore import ~nobody-at-all/x"):  # fmt: skip
        with pytest.raises(CommandError, match=r"cannot be read: .+\."):
            await said(scene, line)


async def test_a_channel_has_so_many_entries(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lore_commands, "MOST_ENTRIES", 6)
    lore = scene.behind.commands.lore
    await lore.import_bytes(GENERAL, BO_MAY, HARBOUR, "a.json", id="one")
    with pytest.raises(CommandError, match="6 entries together"):
        await lore.import_bytes(GENERAL, BO_MAY, HARBOUR, "a.json", id="two")
    await lore.import_bytes(MARKET, BO_MAY, HARBOUR, "a.json", id="two")


async def test_a_long_list_comes_as_a_file(scene: Scene) -> None:
    entries = [{"keys": [f"k{n}"], "content": "x" * 200} for n in range(60)]
    lore = scene.behind.commands.lore
    await lore.add(GENERAL, BO_MAY, "well", "The well is dry.")
    await lore.import_bytes(GENERAL, BO_MAY, lorebook(*entries), "town.json")
    answer = await lore.list(GENERAL)
    assert answer.text == (
        "Written here: 1 entry\nLorebook `town`: 60 entries\nThe file has them all."
    )
    assert answer.file is not None
    lines = answer.file.content.decode().splitlines()
    assert lines[0] == "1. well: The well is dry."
    assert lines[-1] == f"town#60. k59: {'x' * 99}…"


async def test_changes_need_the_permission(scene: Scene, harbour: Path) -> None:
    lore = scene.behind.commands.lore
    for attempt in (
        lore.add(GENERAL, ANN, "a", "b"),
        lore.remove(GENERAL, ANN, "1"),
        lore.import_bytes(GENERAL, ANN, HARBOUR, "harbour.json"),
        lore.import_file(GENERAL, ANN, harbour),
    ):
        with pytest.raises(CommandError, match="permission"):
            await attempt


async def test_whoever_brought_it_in_can_be_forgotten(scene: Scene, harbour: Path) -> None:
    await said(scene, "/privacy logging off")
    await said(scene, f"/lore import {harbour}")  # a command is kept all the same
    await ask(scene, "The bell!", "Aye.")
    assert "It tolls" in system(scene)
    exported = await run_line(scene.behind.commands, GENERAL, "/privacy export", author=ANN.key)
    assert exported.file is not None
    [book] = json.loads(exported.file.content)["lore_books"]
    assert (book["name"], book["text"].encode()) == ("harbour-town", HARBOUR)
    assert scene.behind.turns.memory.lore._read
    await said(scene, "/privacy forget me")
    assert not scene.behind.turns.memory.lore._read
    await ask(scene, "The bell!", "Aye.")
    assert "It tolls" not in last_prompt(scene)


async def test_books_are_read_once_and_not_kept_for_ever(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    readings: list[str] = []

    def counting(content: bytes, source: str, label: str) -> Any:
        readings.append(label)
        return read_book(content, source, label)

    monkeypatch.setattr(scene_lore, "read_book", counting)
    lore = scene.behind.commands.lore
    for place, id in ((GENERAL, "here"), (MARKET, "there")):
        await lore.import_bytes(place, BO_MAY, HARBOUR, "a.json", id=id)
    for _ in range(2):
        await ask(scene, "Hm.", "Aye.")
        await ask(scene, "Hm.", "Aye.", MARKET)
    assert readings == ["The lorebook here", "The lorebook there"]
    monkeypatch.setattr(scene_lore, "_MOST_READ", len(HARBOUR) + 1)
    await ask(scene, "Hm.", "Aye.")
    await ask(scene, "Hm.", "Aye.", MARKET)
    assert readings[2:] == ["The lorebook there"]  # used longest ago, so it made room

"""What commands hand out as files, at a terminal."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from bot.answers import Attachment
from bot.errors import CommandError
from bot.terminal import Conversation, saved
from tests.bot.conftest import Scene
from tests.bot.test_terminal import piped

FILE = Attachment("held.json", b"{}")


def test_an_export_is_a_file_whose_place_is_told(tmp_path: Path) -> None:
    done = piped(tmp_path, b"a secret\n/privacy export\n/privacy forget me\n/privacy show\n")
    assert done.returncode == 0
    _, told, forgotten, shown = done.stdout.decode().splitlines()
    assert forgotten == "It is gone: I deleted 1 message and 0 votes of yours."
    assert shown.startswith("I hold 0 messages and 0 votes of yours.")
    path = Path(told.removeprefix("Here is everything that I hold of you. It is in ")[:-1])
    held = json.loads(path.read_bytes())
    assert [entry["content"] for entry in held["messages"]] == ["a secret"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_a_prompt_tells_the_place_as_well(scene: Scene) -> None:
    conversation = Conversation(scene.behind, "main", "Ann")
    await conversation.take("hello", live=True)
    told = await conversation.take("/privacy export", live=True)
    [file] = (scene.behind.config.paths.data / "exports").iterdir()
    assert told.endswith(f"It is in {file}.")


def test_a_file_that_cannot_be_written_is_a_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "exports").write_text("in the way", encoding="utf-8")
    with pytest.raises(CommandError, match=r"cannot be written .*; free some space there"):
        saved(FILE, tmp_path)
    (tmp_path / "exports").unlink()
    (tmp_path / "exports" / "held.json").mkdir(parents=True)
    with pytest.raises(CommandError, match="cannot be written"):
        saved(FILE, tmp_path)
    assert [path.name for path in (tmp_path / "exports").iterdir()] == ["held.json"]

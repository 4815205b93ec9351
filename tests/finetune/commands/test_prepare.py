"""The command `prepare`: what it takes, writes, prints and refuses."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

from config import Config
from db.database import Database
from finetune.__main__ import main
from finetune.commands import prepare as command
from finetune.sources.formats import FORMATS
from finetune.training_set import read_training_set
from tests.conftest import REPOSITORY, MakeConfig
from tests.finetune.brass_moon import TURNS, log_turns


@pytest.fixture
def place(make_config: MakeConfig, tmp_path: Path) -> tuple[Config, Path]:
    """A configuration whose database holds a terminal's talk and a server's that did not agree."""
    config = make_config()
    file = tmp_path / "config.toml"
    file.write_text('[paths]\ndata = "data"\n[model]\ndevice = "cpu"\n')

    async def fill() -> None:
        async with await Database.open(config.database_file) as database:
            await log_turns(database)
            await log_turns(database, key="discord:7", kind="guild")

    asyncio.run(fill())
    return config, file


def run(place: tuple[Config, Path], *arguments: str) -> int:
    return main(["prepare", "--config", str(place[1]), *arguments])


def test_a_database_becomes_a_set(
    place: tuple[Config, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "sets" / "tavern"
    assert run(place, "--output_dir", str(out), "--name-drills", "0.5", "--json") == 0
    printed = capsys.readouterr()
    report = json.loads(printed.out)
    assert report["sources"] == ["terminal:main"]
    assert report["refused"] == 1
    assert "windows" in printed.err
    assert "20 → 20" in printed.err
    made = read_training_set(out)
    assert made.report == {key: value for key, value in report.items() if key != "folder"}
    replies = sum(turn.taught for example in made.train for turn in example.turns)
    assert replies == len(TURNS) + report["drills"]
    assert report["drills"] == round(0.5 * len(made.train))
    assert "Ann" not in (out / "train.jsonl").read_text().replace("Anna", "")
    assert (place[0].paths.data / "pseudonyms.key").exists()


def test_who_opted_out_is_in_no_set_of_an_export_either(
    place: tuple[Config, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def refuse() -> None:
        async with await Database.open(place[0].database_file) as database:
            await database.consent.set_author("discord:13", False)

    asyncio.run(refuse())
    channel = "123456789012345678"

    def said(text: str, author: str, bot: bool = False) -> dict[str, object]:
        by = {"id": author, "name": f"name{author}", "isBot": bot}
        return {"content": text, "timestamp": "2026-11-21T14:00:00+00:00", "author": by}

    messages = [
        said("I hide a lamp.", "13"),
        said("Bo hides a lamp in the hold.", "12", bot=True),
        said("What does the tide do tonight?", "11"),
        said("It turns at nine, and so do we.", "12", bot=True),
    ]
    file = tmp_path / f"Tavern - bar [{channel}].json"
    export = {"channel": {"id": channel, "type": "GuildTextChat"}, "messages": messages}
    file.write_text(json.dumps(export))
    out = tmp_path / "set"
    options = ("--data_path", str(file), "--persona", "mirela", "--output_dir", str(out))
    assert run(place, *options, "--json", "--name_drills", "0") == 0
    written = "".join(one.read_text() for one in out.iterdir()) + capsys.readouterr().out
    assert "so do we" in written
    assert "lamp" not in written
    assert channel not in written


def test_files_become_a_set(
    place: tuple[Config, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        {"instruction": f"What about {word}?", "output": f"I keep {word} below deck, mostly."}
        for word in ("lamps", "storms", "maps", "rum", "clocks", "ropes", "parrots", "tar")
    ]
    file = tmp_path / "rows.json"
    file.write_text(json.dumps(rows))
    out = tmp_path / "set"
    options = ("--data_path", str(file), "--persona", "mirela", "--output_dir", str(out))
    assert run(place, *options, "--validation_share", "0.2", "--duplicate-similarity", "1") == 0
    assert capsys.readouterr().out.startswith(f"Wrote {out}: ")
    made = read_training_set(out)
    assert made.validation
    assert len(made.train) + len(made.validation) == 8
    assert made.train[0].turns[0].message.content.startswith("You are Captain Mirela Vex.")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--channel", "discord:7"), "`/privacy server on`"),
        (("--channel", "none"), "There is no channel 'none'"),
        (("--data_path", "none.json"), "There is no file none.json"),
        (("--data_path", "x.json", "--channel", "7"), "--data_path takes files and --channel"),
        (("--persona", "mirela"), "--persona is for files"),
        (("--max_xtr4", "2"), "max_xtr4 = 2.0 is not usable"),
        (("--replay_licence", "MIT"), "belong to --replay"),
        (("--replay", "x.json"), "name its licence with --replay_licence"),
        (("--cutoff_len", "64"), "do not fit into cutoff_len = 64"),
        (("--since", "2100-01-01"), "holds a finished reply of a character"),
    ],
)
def test_wrong_input_is_one_sentence(
    place: tuple[Config, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    said: str,
) -> None:
    out = tmp_path / "set"
    assert run(place, "--output_dir", str(out), *arguments) == 2
    printed = capsys.readouterr()
    assert said in printed.err
    assert printed.out == ""
    assert len(printed.err.strip().splitlines()) == 1
    assert not out.exists()


def test_a_folder_with_other_things_is_refused_before_anything_is_read(
    place: tuple[Config, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(place, "--output_dir", str(tmp_path)) == 2
    assert "holds something other than a training set" in capsys.readouterr().err


def test_help_is_instant_and_complete() -> None:
    code = (
        "import sys; from finetune.__main__ import main\n"
        "try: main(['prepare', '--help'])\n"
        "finally: assert not {'torch', 'transformers', 'datasketch'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    for option in ("--silence_minutes", "--max-xtr4", "--name_drills", "--cutoff_len", "--pii"):
        assert option in done.stdout


def test_the_command_knows_every_format() -> None:
    assert ("auto", *FORMATS) == command._FORMATS

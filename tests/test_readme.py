"""The README's tables say what is there."""

import re
import tomllib

import config
from bot.command_lines import _HELP
from persona_prompts.cast import SHIPPED, Cast
from tests.conftest import REPOSITORY

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")


def test_every_setting_stands_there_with_its_default() -> None:
    rows = dict(re.findall(r"^\| `(\w+\.\w+)` \| (.+?) \| ", README, flags=re.MULTILINE))
    settings = {
        f"{section}.{name}": value
        for section, values in tomllib.loads(config.DEFAULT_PATH.read_text()).items()
        for name, value in values.items()
    }
    assert list(rows) == list(settings)
    for name, shown in rows.items():
        if name != "finetune.lora_target_modules":
            plain = shown.strip("`").replace("\\|", "|")
            assert tomllib.loads(f"x = {plain}")["x"] == settings[name], name


def test_every_command_stands_there() -> None:
    table = "\n".join(line for line in README.splitlines() if line.startswith("| `/"))
    for line in _HELP.splitlines():
        command, *subcommands = re.findall(r"/?[a-z]+", line)
        assert command == "/help" or command in table
        for subcommand in subcommands:
            assert re.search(rf"`{command}[^\n]*\b{subcommand}\b", table)


def test_the_whole_cast_stands_there() -> None:
    for character in Cast(SHIPPED).all():
        assert f"| `{character.id}` | {character.name}, " in README


def test_nothing_was_left_open() -> None:
    assert not re.findall(r"@[A-Z]+@", README)

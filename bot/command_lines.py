"""Commands as lines of text, as the terminal and tests give them: `/persona set mirela`."""

from __future__ import annotations

from bot.commands import Answer, Commands
from bot.errors import CommandError
from bot.incoming import Place

_HELP = """\
/persona list | show [NAME] | set NAME
/adapter list | show [NAME] | set NAME
/settings show | set NAME VALUE
/reset
/stop
/status
/help"""


def is_command(line: str) -> bool:
    return line.startswith("/")


async def run_line(commands: Commands, place: Place, line: str) -> Answer:
    """Do what `line` says. Raises `CommandError` in a sentence for a line that is no command."""
    words = line.removeprefix("/").split()
    match [word.lower() for word in words[:2]], words[2:]:
        case (["help"], []):
            return Answer(_HELP)
        case (["reset"], []):
            return await commands.reset(place)
        case (["stop"], []):
            return await commands.stop(place)
        case (["status"], []):
            return await commands.status(place)
        case (["persona", "list"], []):
            return await commands.persona_list(place)
        case (["persona", "show"], names):
            return await commands.persona_show(place, " ".join(names))
        case (["persona", "set"], [_, *_] as names):
            return await commands.persona_set(place, " ".join(names))
        case (["adapter", "list"], []):
            return await commands.adapter_list(place)
        case (["adapter", "show"], [*names]) if len(names) < 2:
            return await commands.adapter_show(place, "".join(names))
        case (["adapter", "set"], [name]):
            return await commands.adapter_set(place, name)
        case (["settings", "show"], []):
            return await commands.settings_show(place)
        case (["settings", "set"], [name, *values]) if values:
            value = line.split(maxsplit=3)[3]
            return await commands.settings_set(place, name, value)
    raise CommandError(_usage(words))


def _usage(words: list[str]) -> str:
    """What the user may have meant, in one sentence."""
    known = [line for line in _HELP.splitlines() if words and line.split()[0] == f"/{words[0]}"]
    if known:
        return f"The command is {known[0].replace(' | ', ' or ')}."
    shown = f"/{words[0]}" if words else "/"
    return f"There is no command {shown}; /help lists them."

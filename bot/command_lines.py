"""Commands as lines of text, as the terminal and tests give them: `/persona set mirela`."""

from __future__ import annotations

from bot.answers import Answer
from bot.block_commands import BlockCommands, person_in
from bot.card_lines import persona_line
from bot.commands import Commands
from bot.controls import Controls, Person
from bot.errors import CommandError
from bot.incoming import TERMINAL_AUTHOR, Place
from bot.memory_commands import Teller
from bot.memory_lines import direction_line, memory_line
from bot.plain_text import NAMELESS
from bot.privacy_commands import PrivacyCommands
from bot.retraining import retrain_line

_HELP = """\
/persona list | show [NAME] | set NAME [greeting:N]
/persona import FILE|URL [as ID] [replace] | export NAME [FORMAT] | create | edit NAME
/cast list | add NAME [adapter:A] | remove NAME
/adapter list | show [NAME] | set NAME | history [NAME] | rollback [NAME]
/settings show | set NAME VALUE
/regenerate
/swipe next | previous
/continue
/edit TEXT
/undo
/rewind N
/say TEXT
/good
/bad
/memory list | add TEXT | pin N | unpin N | correct N TEXT | forget N | why
/summary show | set TEXT | clear | redo
/note show | set TEXT | depth N | clear
/lore list | add KEY, KEY = TEXT | import FILE [as ID] | export BOOK | remove N|BOOK|BOOK#N
/reset
/stop
/status
/retrain status | run [NAME] [force] | cancel | history
/privacy show | export | forget me | training on|off | server on|off | channel on|off|inherit
/privacy logging on|off [channel|server]
/block list | add USER | remove USER
/help"""


def is_command(line: str) -> bool:
    return line.startswith("/")


async def run_line(
    commands: Commands,
    place: Place,
    line: str,
    *,
    author: str = TERMINAL_AUTHOR,
    name: str = NAMELESS,
) -> Answer:
    """Do what `line` says, for the person with the key `author`, who is called `name`.

    Raises `CommandError` in a sentence for a line that is no command.
    """
    words = line.removeprefix("/").split()
    match [word.lower() for word in words[:2]], words[2:]:
        case (["help"], []):
            return Answer(_HELP)
        case (["reset"], []):
            return await commands.reset(place)
        case (["status"], []):
            return await commands.status(place)
        case (["persona", "list"], []):
            return await commands.persona_list(place)
        case (["persona", "set"], [_, *_] as names):
            number = _last(names, "greeting")
            if number and not number.isdecimal():
                raise CommandError(_usage(words))
            return await commands.persona_set(place, " ".join(names), int(number[:9] or "1"))
        case (["cast", "list"], []):
            return await commands.cast.list(place)
        case (["cast", "add"], [_, *_] as names):
            adapter = _last(names, "adapter")
            return await commands.cast.add(place, " ".join(names), adapter)
        case (["cast", "remove"], [_, *_] as names):
            return await commands.cast.remove(place, " ".join(names))
        case (["persona", what], rest):
            answer = await persona_line(commands.cards, place, what, rest)
            if answer is not None:
                return answer
        case (["adapter", "list"], []):
            return await commands.adapter_list(place)
        case (["adapter", "show"], [*names]) if len(names) < 2:
            return await commands.adapter_show(place, "".join(names))
        case (["adapter", "set"], [name]):
            return await commands.adapter_set(place, name)
        case (["adapter", "history"], [*names]) if len(names) < 2:
            return await commands.adapter_history.show(place, "".join(names))
        case (["adapter", "rollback"], [*names]) if len(names) < 2:
            return await commands.adapter_history.rollback(place, "".join(names))
        case (["settings", "show"], []):
            return await commands.settings_show(place)
        case (["settings", "set"], [name, *values]) if values:
            value = line.split(maxsplit=3)[3]
            return await commands.settings_set(place, name, value)
        case (["block", what], rest) if len(rest) < 2:
            answer = await _block(commands.blocks, place, author, what, "".join(rest))
            if answer is not None:
                return answer
        case (["privacy", "logging"], [word, *of]) if len(of) < 2:
            whose = "".join(of).lower() or "me"
            return await commands.privacy.logging(place, author, word.lower(), whose)
        case (["privacy", what], rest) if len(rest) < 2:
            word = "".join(rest).lower()
            answer = await _privacy(commands.privacy, place, author, what, word)
            if answer is not None:
                return answer
        case (["retrain", *_], _):
            answer = await retrain_line(commands.retraining, words[1:])
            if answer is not None:
                return answer
    teller = Teller(author, name, may_switch=True)
    for family in (memory_line, direction_line):
        if answer := await family(commands, place, teller, line):
            return answer
    answer = await _reply(commands.controls, place, Person(author, may_switch=True), line)
    if answer is None:
        raise CommandError(_usage(words))
    return answer


def _last(names: list[str], option: str) -> str:
    """What stands in a last word `option:…`, which is taken off; empty without one."""
    word, colon, value = names[-1].partition(":")
    if len(names) < 2 or not colon or word.lower() != option:
        return ""
    names.pop()
    return value


async def _reply(controls: Controls, place: Place, who: Person, line: str) -> Answer | None:
    """A line that does something with the newest reply; None if it is no such command."""
    word, _, rest = line.removeprefix("/").strip().partition(" ")
    match word.lower(), rest.strip():
        case "regenerate", "":
            return await controls.regenerate(place, who)
        case "swipe", ("next" | "previous") as way:
            return await controls.swipe(place, who, 1 if way == "next" else -1)
        case "continue", "":
            return await controls.go_on(place, who)
        case "stop", "":
            return await controls.stop(place, who)
        case "edit", text if text:
            return await controls.edit(place, who, text)
        case "undo", "":
            return await controls.undo(place, who)
        case "rewind", count if count.isdecimal():
            return await controls.rewind(place, who, int(count))
        case "say", text if text:
            return await controls.say(place, who, text)
        case ("good" | "bad") as mark, "":
            return await controls.vote(place, who, mark == "good")
    return None


async def _block(
    commands: BlockCommands, place: Place, author: str, what: str, person: str
) -> Answer | None:
    """A line that begins with /block; None if there is no such command."""
    match what, person:
        case "list", "":
            return await commands.list(place)
        case "add", _ if person:
            return await commands.add(place, author, person_in(person))
        case "remove", _ if person:
            return await commands.remove(place, person_in(person))
    return None


async def _privacy(
    commands: PrivacyCommands, place: Place, author: str, what: str, word: str
) -> Answer | None:
    """A line that begins with /privacy; None if there is no such command."""
    match what, word:
        case "show", "":
            return await commands.show(place, author)
        case "export", "":
            return await commands.export(author)
        case "forget", _:
            return await commands.forget(author, word)
        case "training", _:
            return await commands.training(place, author, word)
        case "server", _:
            return await commands.server(place, author, word)
        case "channel", _:
            return await commands.channel(place, author, word)
    return None


def _usage(words: list[str]) -> str:
    """What the user may have meant, in one sentence."""
    known = [line for line in _HELP.splitlines() if words and line.split()[0] == f"/{words[0]}"]
    if known:
        return f"The command is {' or '.join(known).replace(' | ', ' or ')}."
    shown = f"/{words[0]}" if words else "/"
    return f"There is no command {shown}; /help lists them."

"""The terminal as a front end: a conversation at a prompt, or one reply per line when piped."""

from __future__ import annotations

import asyncio
import getpass
import io
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO, TypeVar

from bot.answers import Attachment
from bot.casting import Overrides
from bot.command_lines import is_command, run_line
from bot.errors import UNEXPECTED, CommandError, sentence_for
from bot.incoming import TERMINAL_AUTHOR, Incoming, Place
from bot.plain_text import display_name, single_spaced
from bot.privacy_commands import TERMINAL_HISTORY
from bot.stage import Delivery, DeliveryError, DeliveryRefused, ReplyGone, ReplyRecord
from bot.startup import Company, Model, company
from config import Config
from db.channels import Channel
from db.messages import Message

log = logging.getLogger(__name__)

_CHUNK = 1 << 16
GUEST = "Guest"
EXPORTS = "exports"  # in paths.data: files that commands gave out
QUIT = ("/quit", "/exit")

T = TypeVar("T")


class TerminalStage:
    """Shows replies on a stream of text: as they are written, or each as one line when complete."""

    def __init__(self, out: TextIO, *, live: bool) -> None:
        self._out = out
        self._live = live
        self._failed = False  # a line could not be heard, or a reply not be written
        self._unanswered: set[int] = set()  # questions that something went wrong with
        self.deserted = False  # whoever read the replies has had enough

    def delivery(self, channel: Channel, question: Message | None, record: ReplyRecord) -> Delivery:
        return TerminalDelivery(self, question, record, live=self._live)

    async def notice(self, channel: Channel, question: Message, sentence: str) -> None:
        self._unanswered.add(question.id)
        print(sentence, file=sys.stderr, flush=True)

    def answered(self, question: Message) -> None:
        """What was told about `question` was not the last of it."""
        self._unanswered.discard(question.id)

    @property
    def failed(self) -> bool:
        """Whether some question got no reply."""
        return self._failed or bool(self._unanswered)

    async def say(self, channel: Channel, record: ReplyRecord, text: str) -> None:
        self.write(f"{record.name}: {text}\n")

    async def show(self, channel: Channel, record: ReplyRecord, text: str) -> None:
        self.write(f"{record.name}: {text if self._live else single_spaced(text)}\n")

    async def remove(self, channel: Channel, posts: tuple[int, ...]) -> None:
        """Nothing: what a terminal has shown cannot be taken out of it."""

    def write(self, text: str) -> None:
        """Show `text` at once. Raises a `DeliveryError` if nobody reads it any more."""
        if self.deserted:
            raise ReplyGone("Nobody reads the replies.")
        try:
            self._out.write(text)
            self._out.flush()
        except OSError as error:
            self.deserted = True
            # Else Python would try once more at exit, and complain.
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._out.fileno())
            if isinstance(error, BrokenPipeError):
                raise ReplyGone("Nobody reads the replies any more.") from None
            reason = error.strerror or error
            self.tell(f"The replies cannot be written: {reason}; check where the output goes.")
            raise DeliveryRefused(f"The output takes no more: {reason}.") from None

    def tell(self, sentence: str) -> None:
        """Say why something got no reply."""
        self._failed = True
        print(sentence, file=sys.stderr, flush=True)


class TerminalDelivery:
    """One reply. A terminal cannot take anything back, so live text is only ever added to."""

    def __init__(
        self, stage: TerminalStage, question: Message | None, record: ReplyRecord, *, live: bool
    ) -> None:
        self._stage = stage
        self._question = question
        self._record = record
        self._live = live
        self._written = ""
        self._open = False

    async def open(self) -> None:
        """Nothing tells that a reply is coming: the prompt is gone until it is there."""

    def update(self, text: str) -> None:
        if self._live:
            self._add(text)

    async def finish(self, text: str) -> None:
        await self._record.showing(text)
        if self._live:
            self._add(text)
        else:
            self._stage.write(f"{self._record.name}: {single_spaced(text)}\n")
        if self._question is not None:
            self._stage.answered(self._question)

    async def close(self) -> None:
        if self._open:
            with suppress(DeliveryError):  # nobody sees that the line does not end
                self._stage.write("\n")

    def _add(self, text: str) -> None:
        if not text.startswith(self._written):
            self._stage.write("\n")  # the reply began again
            self._written, self._open = "", False
        label = "" if self._open else f"{self._record.name}: "
        self._open = True
        self._stage.write(label + text[len(self._written) :])
        self._written = text


class Conversation:
    """What lines of input do, wherever they come from."""

    def __init__(self, behind: Company, channel_name: str, user_name: str) -> None:
        self.place = Place(
            f"terminal:{channel_name}", channel_name, "terminal", age_restricted=True
        )
        self.user_name = user_name
        self._behind = behind

    async def channel(self) -> Channel:
        return await self._behind.turns.channel(self.place)

    async def logged(self) -> bool:
        """Whether what is said here is kept."""
        passing = self._behind.turns.passing
        return not await passing.applies(await self.channel(), TERMINAL_AUTHOR)

    async def take(self, line: str, *, live: bool) -> str:
        """Hear a line or do its command; returns a command's answer, empty for what is said.

        Returns once the reply is shown. Raises what a command raises.
        """
        if not is_command(line):
            await self._behind.turns.hear(
                Incoming(
                    place=self.place,
                    author_key=TERMINAL_AUTHOR,
                    author_name=self.user_name,
                    content=line,
                    created_at=time.time(),
                    addressed=True,
                )
            )
            await self._behind.turns.idle()
            return ""
        answer = await run_line(self._behind.commands, self.place, line, name=self.user_name)
        await self._behind.turns.idle()  # a reply that is written anew is shown first
        if live and answer.enters is not None:
            print(answer.text)
            await self._behind.commands.greet(self.place, answer.enters, self.user_name)
            return ""
        if answer.file is not None:
            return f"{answer.text} It is in {saved(answer.file, self._behind.config.paths.data)}."
        return answer.text

    async def open(self) -> None:
        """Greet, unless the conversation has begun before; then answer what is still owed."""
        channel = await self.channel()
        history = await self._behind.database.messages.history(channel, limit=1)
        if not history:
            character = self._behind.casting.character(channel)
            await self._behind.turns.greet(channel, character, self.user_name)
        await self._behind.turns.resume([channel])
        await self._behind.turns.idle()


def saved(file: Attachment, data: Path) -> Path:
    """The place of `file`, now in the folder of what was handed out; its user alone may read it.

    Raises `CommandError` if it cannot be written; then nothing of it is left.
    """
    path = data / EXPORTS / file.name
    unfinished = path.with_name(f".{file.name}.unfinished")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished.touch(mode=0o600)
        unfinished.write_bytes(file.content)
        unfinished.replace(path)
    except OSError as error:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)
        raise CommandError(
            f"The file {path} cannot be written ({error.strerror or error}); free some space there"
            " or change paths.data."
        ) from None
    return path


def run_terminal(
    config: Config, channel: str, overrides: Overrides, client: Model | None = None
) -> int:
    """Talk until the input ends; returns the exit code. Raises `StartupError`."""
    interactive = all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stdout))
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    return asyncio.run(_run(config, channel, overrides, client, interactive=interactive))


async def _run(
    config: Config,
    channel: str,
    overrides: Overrides,
    client: Model | None,
    *,
    interactive: bool,
) -> int:
    if interactive and config.log.level == "INFO":
        logging.getLogger().setLevel(logging.WARNING)  # the talk is worth more than its record
    stage = TerminalStage(sys.stdout, live=interactive)
    async with company(config, stage, overrides, client) as behind:
        conversation = Conversation(behind, channel, own_name())
        await behind.load_model(lambda text: print(text, file=sys.stderr))
        if interactive:
            await talk(behind, conversation)
            return 0
        return await _answer_lines(conversation, stage)


def own_name() -> str:
    """What characters call the user; root is an account and nobody's name."""
    try:
        name = display_name(getpass.getuser())
    except (KeyError, OSError):  # no such account, as in some containers
        return GUEST
    return GUEST if name == "root" else name


async def _answer_lines(conversation: Conversation, stage: TerminalStage) -> int:
    """Piped input: a reply, or a command's answer, for every line; 1 if some got no reply."""
    async for line in _stdin_lines():
        if line in QUIT:
            break
        try:
            answer = await conversation.take(line, live=False)
        except Exception as error:  # noqa: BLE001 - logged there, and the talk goes on
            answer = _told(error)
            if not is_command(line):
                stage.tell(answer)
                continue
        with suppress(DeliveryError):
            stage.write(f"{answer}\n" if answer else "")
        if stage.deserted:
            break
    return 1 if stage.failed else 0


async def _stdin_lines() -> AsyncIterator[str]:
    """The lines of stdin that are not blank; bytes that are no UTF-8 become U+FFFD.

    A daemon thread reads the descriptor itself, so that an end of the program never waits for
    input, and no lock of `sys.stdin` is held at exit.
    """
    loop = asyncio.get_running_loop()
    blocks: asyncio.Queue[bytes] = asyncio.Queue()

    def read() -> None:
        try:
            while block := _block():
                loop.call_soon_threadsafe(blocks.put_nowait, block)
            loop.call_soon_threadsafe(blocks.put_nowait, b"")
        except RuntimeError as error:  # the loop is closed by now
            log.debug("Reading stdin ended: %s", error)

    threading.Thread(target=read, name="stdin", daemon=True).start()
    rest = b""
    ended = False
    while not ended:
        block = await blocks.get()
        ended = not block
        *lines, rest = (rest + block).split(b"\n")
        if ended:
            lines.append(rest)
        for line in lines:
            if text := line.decode("utf-8", "replace").strip():
                yield text


def _block() -> bytes:
    """What comes next on stdin; empty at its end, and where there is nothing to read at all."""
    if sys.stdin is None:  # closed; its descriptor may by now be some other file's
        return b""
    try:
        return os.read(0, _CHUNK)
    except OSError as error:
        log.warning("The input cannot be read: %s.", error.strerror or error)
        return b""


async def talk(behind: Company, conversation: Conversation) -> None:
    """A conversation at a prompt, until /quit, Ctrl-D or Ctrl-C at an empty prompt."""
    from prompt_toolkit import PromptSession

    from bot.typed_lines import TypedLines

    typed = TypedLines(str(behind.config.paths.data / TERMINAL_HISTORY))
    session: PromptSession[str] = PromptSession(history=typed)
    print("Talk; /help lists the commands, /quit ends. Ctrl-C stops a reply.")
    await _until_shown(behind, conversation, conversation.open())
    while True:
        typed.kept = await conversation.logged()
        try:
            line = (await session.prompt_async(f"{conversation.user_name}: ")).strip()
        except (EOFError, KeyboardInterrupt):
            return
        if line in QUIT:
            return
        if not line:
            continue
        try:
            answer = await _until_shown(behind, conversation, conversation.take(line, live=True))
        except Exception as error:  # noqa: BLE001 - logged there, and the talk goes on
            answer = _told(error)
        if answer:
            print(answer, flush=True)


async def _until_shown(behind: Company, conversation: Conversation, work: Awaitable[T]) -> T:
    """The result of `work`; meanwhile Ctrl-C stops the reply instead of the program."""
    channel = await conversation.channel()

    def stop() -> None:
        running = behind.turns.running(channel)
        if running is not None:
            behind.turns.stop(channel, running)

    with _interrupts(stop):
        return await work


@contextmanager
def _interrupts(stop: Callable[[], object]) -> Iterator[None]:
    """Within, Ctrl-C calls `stop`."""
    loop = asyncio.get_running_loop()
    before = signal.getsignal(signal.SIGINT)
    loop.add_signal_handler(signal.SIGINT, stop)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGINT)
        signal.signal(signal.SIGINT, before)


def _told(error: Exception) -> str:
    """What went wrong, for whoever sits here; what nobody foresaw goes to the log as well."""
    sentence = sentence_for(error)
    if sentence is None:
        log.error("A line of input failed.", exc_info=error)
        return UNEXPECTED
    return sentence

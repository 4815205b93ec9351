"""Scripted users against the served bot, all dialogues at once.

The prompt, its budget, the stops and the label that is taken off a reply are the bot's own
(`bot/reply.py`): what is measured is what a channel would have shown.
"""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections.abc import Callable, Sequence
from contextlib import aclosing

from config import Config, PromptSettings
from finetune.evaluation.suite import USER_NAME, ScriptedUser
from finetune.evaluation.transcripts import Reply, Transcript
from inference.client import InferenceClient
from inference.types import Chunk, GenerationRequest, InferenceError, Message, Sampling
from persona_prompts.character import Character
from persona_prompts.prompt import Line, PromptTooLong, build_prompt
from persona_prompts.spoken import spoken

Progress = Callable[[int, int], None]  # (replies so far, replies in all)
# Another prompt than the bot's: a character and what was said, ending with the user's line.
WritePrompt = Callable[[Character, Sequence[Line]], list[Message]]

_RETRY_SEED_STEP = 1_000_003
_MOST_STOPS = 32
_PATIENCE_SECONDS = 24 * 3600.0


def patient(config: Config, dialogues: int) -> Config:
    """`config` for a client that nobody waits at: no dialogue is refused, none runs out of time."""
    inference = config.inference.model_copy(
        update={
            "queue_size": max(config.inference.queue_size, dialogues),
            "deadline_seconds": max(config.inference.deadline_seconds, _PATIENCE_SECONDS),
        }
    )
    return config.model_copy(update={"inference": inference})


async def play(
    client: InferenceClient,
    suite: Sequence[ScriptedUser],
    adapter: str,
    *,
    seed: int,
    sampling: Sampling,
    prompt: PromptSettings,
    on_progress: Progress | None = None,
    at_once: int = 64,
    write_prompt: WritePrompt | None = None,
) -> list[Transcript]:
    """One transcript for each of `suite`, in its order, answered through `adapter`.

    Every reply has its own seed, derived from `seed`, the dialogue's id and the turn, and the same
    one for every adapter. At most `at_once` dialogues run together; more than the client's queue
    holds would be refused. A reply that fails is in its transcript with the error, and the dialogue
    goes on without it, as in a channel. `write_prompt` takes the place of the bot's own prompt, to
    measure another program's. Raises `AdapterError` if there is no such adapter.
    """
    client.adapters.resolve(adapter, client.info.fingerprint)
    player = _Player(client, adapter, seed, sampling, prompt, on_progress, suite, write_prompt)
    gate = asyncio.Semaphore(at_once)

    async def one(user: ScriptedUser) -> Transcript:
        async with gate:
            return await player.play(user)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(user)) for user in suite]
    return [task.result() for task in tasks]


def reply_seed(seed: int, dialogue: str, turn: int) -> int:
    """The seed of one reply: the same in every run, unlike that of any other."""
    digest = hashlib.sha256(f"{seed}\0{dialogue}\0{turn}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


class _Player:
    def __init__(
        self,
        client: InferenceClient,
        adapter: str,
        seed: int,
        sampling: Sampling,
        prompt: PromptSettings,
        on_progress: Progress | None,
        suite: Sequence[ScriptedUser],
        write_prompt: WritePrompt | None,
    ) -> None:
        self._client = client
        self._adapter = adapter
        self._seed = seed
        self._prompt = prompt
        self._context = min(prompt.context_tokens, client.info.context_length)
        most = self._context // 2
        self._sampling = sampling.replace(max_new_tokens=min(sampling.max_new_tokens, most))
        self._on_progress = on_progress
        self._write_prompt = write_prompt
        self._total = sum(len(user.user_turns) for user in suite)
        self._done = 0
        self._run = uuid.uuid4().hex  # no prefix or channel is shared with another run

    async def play(self, user: ScriptedUser) -> Transcript:
        lines: list[Line] = []
        replies: list[Reply] = []
        for turn, said in enumerate(user.user_turns):
            lines.append(Line(USER_NAME, said, own=False))
            reply = await self._reply(user, lines, turn)
            replies.append(reply)
            if reply.text:
                lines.append(Line(user.name, reply.text, own=True))
            self._done += 1
            if self._on_progress is not None:
                self._on_progress(self._done, self._total)
        return Transcript(user, self._adapter, tuple(replies))

    async def _reply(self, user: ScriptedUser, lines: Sequence[Line], turn: int) -> Reply:
        """What is said at `turn`; one that ends before its first word is tried once more."""
        seed = reply_seed(self._seed, user.id, turn)
        try:
            reply = await self._written(user, lines, seed)
            if not reply.text and reply.finish_reason in ("stop", "length"):
                reply = await self._written(user, lines, (seed + _RETRY_SEED_STEP) % 2**63)
        except (InferenceError, PromptTooLong) as error:
            return Reply("", "error", str(error))
        if reply.silent:
            said = "The model ended its reply before the first word, twice."
            return Reply("", reply.finish_reason, said)
        return reply

    async def _written(self, user: ScriptedUser, lines: Sequence[Line], seed: int) -> Reply:
        raw, last = "", Chunk()
        request = self._request(user, lines, seed)
        async with aclosing(self._client.generate(request)) as chunks:
            async for last in chunks:
                raw = last.text if last.restart else raw + last.text
        text = spoken(raw, user.names, stops=request.sampling.stop)
        if last.finish_reason in ("stop", "length"):
            return Reply(text, last.finish_reason)
        return Reply("", "error", last.error or "The reply broke off.")

    def _request(self, user: ScriptedUser, lines: Sequence[Line], seed: int) -> GenerationRequest:
        messages, stop, names = self._messages(user, lines)
        stops = tuple(dict.fromkeys((*self._sampling.stop, *stop)))[:_MOST_STOPS]
        key = f"evaluation:{self._run}:{user.id}"
        return GenerationRequest(
            messages=messages,
            adapter=self._adapter,
            sampling=self._sampling.sparing(names).replace(stop=stops, seed=seed),
            guild=key,
            channel=key,
            user=key,
        )

    def _messages(
        self, user: ScriptedUser, lines: Sequence[Line]
    ) -> tuple[tuple[Message, ...], tuple[str, ...], tuple[str, ...]]:
        """What the model is given, where the reply must stop, and whom it may name."""
        if self._write_prompt is not None:
            return tuple(self._write_prompt(user.character, lines)), (), ()
        info = self._client.info
        prompt = build_prompt(
            user.character,
            lines[-self._prompt.history_messages :],
            group=False,
            user_name=USER_NAME,
            count=self._client.count_tokens,
            context_tokens=self._context,
            reply_tokens=self._sampling.max_new_tokens,
            message_overhead=info.message_overhead,
            prompt_overhead=info.prompt_overhead,
        )
        messages = (Message(role=m.role, content=m.content) for m in prompt.messages)
        return tuple(messages), prompt.stop, prompt.names

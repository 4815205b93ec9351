"""Every command as a function that knows no Discord: arguments in, an `Answer` out.

Slash commands, terminal lines and tests call the same ones. Whether somebody may use a command is
the front end's question; whether it makes sense is answered here.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

from bot.adapter_history import AdapterHistory, trial_line
from bot.answers import Answer, Suggestion
from bot.block_commands import BlockCommands
from bot.card_commands import CardCommands
from bot.cast_commands import CastCommands
from bot.casting import Casting
from bot.controls import Controls
from bot.direction_commands import DirectionCommands
from bot.errors import CommandError
from bot.incoming import Place
from bot.lore_commands import LoreCommands
from bot.memory_commands import MemoryCommands
from bot.naming import named
from bot.privacy_commands import PrivacyCommands
from bot.rehearsing import MODEL_RESTS
from bot.reply import longest_reply
from bot.retraining import RetrainCommands
from bot.turn import Turns
from config import Config, SamplingSettings
from db.channels import Channel
from db.database import Database
from inference.adapters import (
    BASE,
    DEFAULT,
    AdapterInfo,
    AdapterRegistry,
    check_prompt_format,
)
from inference.client import Status
from inference.engine.interface import EngineStats
from inference.types import ModelInfo, parse_sampling, sampling_range
from persona_prompts.character import Character

log = logging.getLogger(__name__)

CLEAR = "default"  # the value that takes a channel's own setting back
MODE = "mode"
MODES = {
    "mention": "answers when addressed",
    "always": "answers every message",
    "sometimes": "answers when addressed, and sometimes joins in",
}
_EITHER = f"{', '.join([*MODES][:-1])} or {[*MODES][-1]}"
_SAMPLING = (*SamplingSettings.model_fields, "seed")
SETTINGS = (*_SAMPLING, MODE)
_LISTS = ("stop", "dry_sequence_breakers")  # given with | between the texts


class Inference(Protocol):
    """What commands need of `inference.client.InferenceClient`."""

    @property
    def adapters(self) -> AdapterRegistry: ...

    @property
    def info(self) -> ModelInfo: ...

    def status(self) -> Status: ...


class Commands:
    """The commands of one bot; about privacy under `privacy`, about replies under `controls`,
    about cards under `cards`, about several characters in one channel under `cast`, about what
    adapters stood for under `adapter_history`, about new versions of them under `retraining`."""

    def __init__(
        self,
        config: Config,
        database: Database,
        casting: Casting,
        client: Inference,
        turns: Turns,
    ) -> None:
        self._config = config
        self._database = database
        self._casting = casting
        self._client = client
        self._turns = turns
        self.privacy = PrivacyCommands(config, database, turns)
        self.blocks = BlockCommands(database, turns.blocking)
        self.retraining = RetrainCommands(config, database)
        self.adapter_history = AdapterHistory(casting, turns, self._fingerprint)
        self.cards = CardCommands(config, database, casting, turns)
        self.cast = CastCommands(database, casting, turns, self._usable_adapter)
        self.memory = MemoryCommands(database, casting, turns)
        self.direction = DirectionCommands(database, casting, turns)
        self.lore = LoreCommands(database, turns)
        self.controls = Controls(database, casting, turns)

    async def persona_list(self, place: Place) -> Answer:
        """The cast, one line each; the channel's own is marked.

        Who is for adults is neither named nor described where they cannot speak.
        """
        channel = await self._turns.channel(place)
        present = self._casting.persona(channel)
        listed = self._presentable(place)
        lines = [
            f"{'▸' if character.id == present else '·'} **{character.name}** (`{character.id}`)"
            f"{f' — {character.summary}' if character.summary else ''}"
            for character in listed
        ]
        if hidden := len(self._casting.cast.all()) - len(listed):
            lines.append(f"… and {hidden} for adults, listed in age-restricted channels.")
        lines += [f"⚠ {problem}" for problem in self._casting.cast.problems]
        return Answer("\n".join(lines))

    async def persona_set(self, place: Place, name: str, greeting: int = 1) -> Answer:
        """Let another character speak here; it starts with an empty scene and its greeting.

        `greeting` counts its greetings from 1, which is the card's first one.
        """
        channel = await self._turns.channel(place)
        wanted = None
        if name != CLEAR:
            homes = self._database.card_homes
            wanted = (await named(self._casting.cast, homes, name, place.guild_key)).id
        character = self._casting.here(channel, wanted or self._config.bot.persona)
        known = len(character.greetings(group=channel.group))
        if not 1 <= greeting <= known:
            raise CommandError(
                f"{character.name} has no greeting number {greeting}; there"
                f" {'is only one' if known == 1 else f'are {known}'}."
            )
        self._casting.overrides.persona = None
        channel = await self._database.channels.set(
            channel.id, persona=wanted, greeting=greeting - 1
        )
        await self._database.channels.new_scene(channel.id)
        self._turns.passing.forget_channel(channel)
        if character.id in {member.persona for member in channel.present}:
            await self._database.channels.remove_member(channel.id, character.id)
        return Answer(f"{character.name} speaks here now.", public=True, enters=character)

    async def greet(self, place: Place, character: Character, user_name: str) -> None:
        """Show the greeting of a character that just entered."""
        await self._turns.greet(await self._turns.channel(place), character, user_name)

    async def adapter_list(self, place: Place) -> Answer:
        """The adapters for the model in use; the channel's own is marked."""
        channel = await self._turns.channel(place)
        chosen, present = self._casting.chosen_adapter(channel), self._casting.adapter(channel)
        versions = await asyncio.to_thread(self._client.adapters.list, self._fingerprint())
        lines = [
            f"{'▸' if present == BASE else '·'} `{BASE}` — the model without adapter",
            f"{'▸' if chosen == DEFAULT else '·'} `{DEFAULT}` — {self._default_meaning(versions)}",
        ]
        for info in versions:
            marked = present == info.label or (info.promoted and present == info.name)
            lines.append(f"{'▸' if marked else '·'} {_adapter_line(info)}")
        names = dict.fromkeys(info.name for info in versions)
        lines += [line for name in names if (line := trial_line(self._client.adapters, name))]
        return Answer("\n".join(lines))

    async def adapter_show(self, place: Place, name: str = "") -> Answer:
        """Where an adapter came from; the channel's own without a name."""
        channel = await self._turns.channel(place)
        wanted = name or self._casting.adapter(channel)
        info = await asyncio.to_thread(self._client.adapters.resolve, wanted, self._fingerprint())
        if info is None:
            if wanted in (BASE, DEFAULT):
                return Answer(f"`{wanted}` is the model without adapter: {self._model()}.")
            return Answer(f"`{wanted}` is an adapter of the model's server.")
        card = info.card
        rows = {
            "Promoted": "yes" if info.promoted else "no",
            "Base model": card.base_model,
            "Prompt format": card.prompt_format,
            "Made": card.created_at,
            "Note": card.note,
            "Weights": card.weights_hash[:12],
            "Data": card.data_hash[:12],
        }
        lines = [f"**{info.label}**"]
        lines += [f"**{title}:** {text}" for title, text in rows.items() if text]
        lines += [f"{key} = {value}" for key, value in card.figures.items()]
        return Answer("\n".join(lines))

    async def adapter_set(self, place: Place, name: str) -> Answer:
        """Answer through another adapter from the next reply on; other channels keep theirs.

        `default` means the promoted adapter here, as everywhere.
        """
        channel = await self._turns.channel(place)
        info = await asyncio.to_thread(self._usable_adapter, name)
        self._casting.overrides.adapter = None
        await self._database.channels.set(channel.id, adapter=name)
        stands_for = info.label if info else "the model without adapter"
        if info is None and name not in (BASE, DEFAULT):
            stands_for = "on the model's server"
        return Answer(f"Replies here now come from `{name}` ({stands_for}).", public=True)

    async def settings_show(self, place: Place) -> Answer:
        """Every setting of the channel, and whether it is its own."""
        channel = await self._turns.channel(place)
        sampling = self._casting.sampling(channel)
        lines = [
            f"persona = {self._casting.persona(channel)}{_origin(channel.persona)}",
            f"adapter = {self._casting.chosen_adapter(channel)}{_origin(channel.adapter)}",
            f"{MODE} = {self._casting.mode(channel)}{_origin(channel.mode)}",
        ]
        for name in _SAMPLING:
            own = channel.sampling.get(name)
            lines.append(f"{name} = {_shown(getattr(sampling, name))}{_origin(own)}")
        return Answer("\n".join(lines))

    async def settings_set(self, place: Place, name: str, value: str) -> Answer:
        """Change one setting of the channel, or take it back with the value `default`."""
        name, value = name.strip().lower(), value.strip()
        if name not in SETTINGS:
            raise CommandError(f"There is no setting {name!r}; there are {', '.join(SETTINGS)}.")
        channel = await self._turns.channel(place)
        if name == MODE:
            return await self._set_mode(channel, value)
        own = {key: kept for key, kept in channel.sampling.items() if key != name}
        if value != CLEAR:
            own[name] = self._parsed(name, value)
        channel = await self._database.channels.set(channel.id, sampling=own)
        now = getattr(self._casting.sampling(channel), name)
        return Answer(f"{name} = {_shown(now)}{_origin(own.get(name))} here now.", public=True)

    async def reset(self, place: Place) -> Answer:
        """Start a new scene: the character forgets what was said here; nothing is deleted."""
        channel = await self._turns.channel(place)
        await self._database.channels.new_scene(channel.id)
        self._turns.passing.forget_channel(channel)
        character = self._casting.character(channel)
        return Answer(f"{character.name} starts afresh here.", public=True, enters=character)

    async def status(self, place: Place) -> Answer:
        """How the model and this channel are doing."""
        channel = await self._turns.channel(place)
        status = self._client.status()
        remembered = await self._database.messages.count(channel.id)
        persona, adapter = self._casting.persona(channel), self._casting.adapter(channel)
        place_in_queue = self._turns.place(channel)
        lines = [
            f"model: {status.model} — {MODEL_RESTS if status.state == 'resting' else status.state}"
            f"{f' ({status.problem})' if status.problem else ''}",
            f"replies being written: {status.running}; waiting: {status.waiting};"
            f" of this channel: {self._turns.waiting(channel)}"
            f"{f' (number {place_in_queue} in the queue)' if place_in_queue else ''}",
            f"speed: {status.tokens_per_second:.1f} tokens/s; prompt found in the cache:"
            f" {status.prefix_hit_share:.0%}; workers: {status.backends}; restarts:"
            f" {status.restarts}",
            *_workers(status.engines),
            f"here: {persona} through {adapter},"
            f" {MODES[self._casting.mode(channel)]}; {remembered} messages remembered",
            self._turns.rates.line(),
        ]
        return Answer("\n".join(lines))

    def suggest_personas(self, place: Place, typed: str) -> list[Suggestion]:
        """Characters that may be shown here and whose id, name or alias contains what was typed."""
        return [
            Suggestion(character.id, f"{character.name} — {character.summary}")
            for character in self._presentable(place)
            if _matches(typed, character.id, character.name, *character.aliases)
        ]

    async def suggest_adapters(self, typed: str) -> list[Suggestion]:
        """Adapter names, then their versions, that contain what was typed."""
        versions = await asyncio.to_thread(self._client.adapters.list, self._fingerprint())
        names = dict.fromkeys((BASE, DEFAULT, *(info.name for info in versions)))
        values = [*names, *(info.label for info in reversed(versions))]
        return [Suggestion(value, value) for value in values if _matches(typed, value)]

    def suggest_settings(self, typed: str) -> list[Suggestion]:
        """Settings, with their ranges, whose name contains what was typed."""
        about = {name: sampling_range(name) for name in SETTINGS}
        about[MODE] = _EITHER
        return [
            Suggestion(name, f"{name} — {text}" if text else name)
            for name, text in about.items()
            if _matches(typed, name)
        ]

    def suggest_values(self, name: str, typed: str) -> list[Suggestion]:
        """Values that a setting may take; numbers are typed freely."""
        values = [*MODES, CLEAR] if name == MODE else [CLEAR]
        return [Suggestion(value, value) for value in values if _matches(typed, value)]

    def _presentable(self, place: Place) -> list[Character]:
        """Those of the cast who may be shown in a place."""
        return [
            character
            for character in self._casting.cast.all()
            if place.age_restricted or not character.age_restricted
        ]

    async def _set_mode(self, channel: Channel, value: str) -> Answer:
        if value not in (*MODES, CLEAR):
            raise CommandError(f"{MODE} = {value!r} is not possible; it must be {_EITHER}.")
        channel = await self._database.channels.set(
            channel.id, mode=None if value == CLEAR else value
        )
        mode = self._casting.mode(channel)
        name = self._casting.character(channel).name
        return Answer(f"{name} {MODES[mode]} here now.", public=True)

    def _parsed(self, name: str, value: str) -> object:
        """`value` as the setting's type, within its range, and possible for the model."""
        words: object = value
        if name in _LISTS:
            words = tuple(part.replace("\\n", "\n") for part in value.split("|"))
        try:
            parsed: object = getattr(parse_sampling({name: words}), name)
        except ValueError as error:
            raise CommandError(str(error)) from None
        if name == "max_new_tokens" and isinstance(parsed, int) and self._is_loaded():
            most = longest_reply(self._config, self._client.info)
            if parsed > most:
                raise CommandError(
                    f"max_new_tokens = {parsed} leaves too little room for the prompt; here it can"
                    f" be {most} at most."
                )
        return list(parsed) if isinstance(parsed, tuple) else parsed

    def _usable_adapter(self, name: str) -> AdapterInfo | None:
        """The adapter `name`; None for no adapter of this machine. Raises `AdapterError`."""
        info = self._client.adapters.resolve(name, self._fingerprint())
        if self._is_loaded():
            check_prompt_format(info, self._client.info.prompt_format)
        return info

    def _is_loaded(self) -> bool:
        return self._client.status().state not in ("loading", "failed", "closed")

    def _fingerprint(self) -> str | None:
        return self._client.info.fingerprint if self._is_loaded() else None

    def _model(self) -> str:
        return self._client.status().model

    def _default_meaning(self, versions: list[AdapterInfo]) -> str:
        promoted = [info for info in versions if info.name == DEFAULT and info.promoted]
        return f"stands for {promoted[0].label}" if promoted else "no adapter is promoted to it yet"


def _workers(engines: tuple[EngineStats, ...]) -> list[str]:
    """What the model's processes hold; nothing where they do not say."""
    if not engines:
        return []
    resident = sum(engine.resident_bytes for engine in engines) >> 20
    device = sum(engine.device_bytes for engine in engines) >> 20
    adapters = sum(engine.adapters_in_batch_memory for engine in engines)
    on_device = f" and {device} MiB on the GPU" if device else ""
    return [f"memory: {resident} MiB{on_device}; adapters loaded: {adapters}"]


def _matches(typed: str, *names: str) -> bool:
    return any(typed.strip().casefold() in name.casefold() for name in names)


def _adapter_line(info: AdapterInfo) -> str:
    promoted = f" — what `{info.name}` stands for" if info.promoted else ""
    note = f" — {info.card.note}" if info.card.note else ""
    return f"`{info.label}`{promoted}{note}, made {info.card.created_at}"


def _origin(own: object) -> str:
    return " (default)" if own is None else ""


def _shown(value: object) -> str:
    if value is None:
        return "random"
    if isinstance(value, tuple | list):
        return " | ".join(repr(text)[1:-1] for text in value) or "none"
    return str(value)

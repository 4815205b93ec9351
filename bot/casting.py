"""Who speaks in a channel, through which adapter, and how the next token is chosen."""

from __future__ import annotations

import logging
import secrets
from dataclasses import dataclass
from typing import Literal

from config import Config
from db.channels import Channel
from inference.adapters import AdapterError, AdapterRegistry
from inference.types import Sampling, parse_sampling
from persona_prompts.cast import Cast
from persona_prompts.character import Character, CharacterError

log = logging.getLogger(__name__)

Mode = Literal["mention", "always", "sometimes"]

_SEEDS = 1 << 63


@dataclass(slots=True)
class Overrides:
    """What the command line chose for one run; a command that sets the same thing clears it."""

    persona: str | None = None
    adapter: str | None = None
    seed: int | None = None
    replies: int = 0  # so far in this run, so that a seed gives each reply its own

    def next_seed(self) -> int:
        """A fresh seed, or the next one of a reproducible run."""
        if self.seed is None:
            return secrets.randbelow(_SEEDS)
        self.replies += 1
        return (self.seed + self.replies - 1) % _SEEDS


class Casting:
    """What a channel chose, filled up from the command line and the configuration."""

    def __init__(
        self,
        config: Config,
        cast: Cast,
        adapters: AdapterRegistry,
        overrides: Overrides | None = None,
    ) -> None:
        self.cast = cast
        self.adapters = adapters
        self.overrides = overrides or Overrides()
        self._config = config

    def persona(self, channel: Channel) -> str:
        """The id of the chosen character, whether or not there still is one."""
        return self.overrides.persona or channel.persona or self._config.bot.persona

    def own(self, channel: Channel) -> str:
        """`persona`, which may be a name, as an id."""
        try:
            return self.cast.get(self.persona(channel)).id
        except CharacterError:
            return self.persona(channel)

    def character(self, channel: Channel) -> Character:
        """Raises `CharacterError` if the chosen character is not there (any more), or not here."""
        return self.here(channel, self.persona(channel))

    def here(self, channel: Channel, persona: str) -> Character:
        """The character `persona`, who may speak in this channel. Raises `CharacterError`."""
        character = self.cast.get(persona)
        if character.age_restricted and not channel.age_restricted:
            raise CharacterError(
                f"{character.name} is for adults, and speaks in age-restricted channels only."
            )
        return character

    def cast_here(self, channel: Channel) -> list[Character]:
        """Who speaks in this channel, its own character first; without those who cannot."""
        characters = []
        for persona in dict.fromkeys((self.own(channel), *(m.persona for m in channel.present))):
            try:
                characters.append(self.here(channel, persona))
            except CharacterError as error:
                log.debug("%s does not speak in %s: %s", persona, channel.name, error)
        return characters

    def adapter(self, channel: Channel, persona: str = "") -> str:
        """The adapter that answers: the chosen one, or a version of it on trial in this channel.

        A thread takes part in the trials of the channel that it hangs under.
        """
        chosen = self.chosen_adapter(channel, persona)
        return self.adapters.serving(chosen, channel.parent_key or channel.key)

    def chosen_adapter(self, channel: Channel, persona: str = "") -> str:
        """The adapter's name: chosen for the channel, else the character's, else the default.

        A further character of the channel has what was chosen for it, else its own, else the rest.
        """
        own = self.own(channel)
        persona = persona or own
        preferred = self._preferred(persona)
        if persona == own:
            chosen = channel.adapter or preferred
        else:
            of_member = next((m.adapter for m in channel.present if m.persona == persona), None)
            chosen = of_member or preferred or channel.adapter
        return self.overrides.adapter or chosen or self._config.bot.adapter

    def _preferred(self, persona: str) -> str | None:
        """The adapter that a character asks for, if it can be used."""
        try:
            preferred = self.cast.get(persona).adapter
            if preferred is not None:
                self.adapters.resolve(preferred)
            return preferred
        except CharacterError:
            return None  # whoever needs the character itself is told
        except AdapterError as error:
            log.warning("%s prefers an adapter that is not usable: %s", persona, error)
            return None

    def mode(self, channel: Channel) -> Mode:
        match channel.mode or self._config.bot.mode:
            case "always":
                return "always"
            case "sometimes":
                return "sometimes"
        return "mention"

    def sampling(self, channel: Channel) -> Sampling:
        """The channel's settings over the configured ones.

        Raises `ValueError` with a sentence if the two do not make possible settings.
        """
        return parse_sampling({**self._config.sampling.model_dump(), **channel.sampling})

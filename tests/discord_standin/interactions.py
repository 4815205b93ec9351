"""Interactions on the wire: how they reach the bot, and what its answers do."""

from __future__ import annotations

import secrets
import time

from .bodies import Upload
from .broadcast import Broadcast
from .errors import already_acknowledged, bad_length, invalid_form, unknown
from .interaction_state import (
    AUTOCOMPLETE,
    COMMAND,
    COMPONENT,
    MODAL_SUBMIT,
    Interaction,
)
from .message_payloads import MessagePayloads
from .payloads import Payloads, member_json, user_json
from .permissions import channel_permissions
from .posting import Draft, Posting
from .state import EPHEMERAL, LOADING, Channel, Json, Message, MessageKind, User
from .validation import check_modal, number_components
from .world import World

#: Seconds for which a token may be used once the interaction is acknowledged.
TOKEN_LIFETIME = 15 * 60.0


class Interactions:
    """All interactions by id and token."""

    def __init__(
        self,
        world: World,
        broadcast: Broadcast,
        posting: Posting,
        payloads: Payloads,
        messages: MessagePayloads,
    ) -> None:
        self._world = world
        self._broadcast = broadcast
        self._posting = posting
        self._payloads = payloads
        self._messages = messages
        self._by_token: dict[str, Interaction] = {}
        #: Seconds that the bot has for its first callback.
        self.deadline = 3.0
        self.all: list[Interaction] = []

    # -- from the user ---------------------------------------------------------------------------

    def begin(
        self,
        kind: int,
        user: User,
        channel: Channel,
        data: Json,
        message: Message | None = None,
        triggered_by: Interaction | None = None,
    ) -> Interaction:
        """Sends INTERACTION_CREATE; the clock of the deadline starts here."""
        interaction = Interaction(
            self._world.snowflakes.next(),
            secrets.token_urlsafe(96),
            kind,
            user,
            channel,
            data,
            message,
            triggered_by,
        )
        self._by_token[interaction.token] = interaction
        self.all.append(interaction)
        self._broadcast.interaction(channel.guild, self._wire(interaction))
        return interaction

    def _wire(self, interaction: Interaction) -> Json:
        channel, guild = interaction.channel, interaction.channel.guild
        bot_may = channel_permissions(channel, self._world.bot.id)
        body: Json = {
            "id": str(interaction.id),
            "application_id": str(self._world.application_id),
            "type": interaction.type,
            "token": interaction.token,
            "version": 1,
            "data": interaction.data,
            "channel_id": str(channel.id),
            "channel": self._payloads.partial_channel(channel, interaction.user.id),
            "app_permissions": str(bot_may),
            "locale": interaction.user.locale,
            "entitlements": [],
            "entitlement_sku_ids": [],
            "attachment_size_limit": 10 * 1024 * 1024,
            "context": 0 if guild else 1,
            "authorizing_integration_owners": {"0": str(guild.id) if guild else "0"},
        }
        if guild is None:
            body["user"] = user_json(interaction.user)
        else:
            member = guild.members[interaction.user.id]
            may = channel_permissions(channel, interaction.user.id)
            body |= {
                "guild_id": str(guild.id),
                "guild_locale": guild.locale,
                "guild": {"id": str(guild.id), "locale": guild.locale, "features": []},
                "member": member_json(member) | {"permissions": str(may)},
            }
        if interaction.message is not None:
            body["message"] = self._messages.message(interaction.message)
        return body

    # -- from the bot ----------------------------------------------------------------------------

    def by_token(self, token: str) -> Interaction:
        """The interaction whose token still works. Raises ApiError 10015, as Discord does."""
        interaction = self._by_token.get(token)
        if (
            interaction is None
            or interaction.acknowledged_at is None
            or time.monotonic() - interaction.at > TOKEN_LIFETIME
        ):
            raise unknown("webhook")
        return interaction

    def respond(
        self, interaction_id: str, token: str, payload: Json, files: list[Upload]
    ) -> Interaction:
        """The first callback. Raises 10062 past the deadline, 40060 the second time."""
        interaction = self._by_token.get(token)
        if interaction is None or str(interaction.id) != interaction_id:
            raise unknown("interaction")
        if interaction.acknowledged:
            interaction.refused.append(40060)
            raise already_acknowledged()
        if time.monotonic() - interaction.at > self.deadline:
            interaction.refused.append(10062)
            interaction.pulse.fire()
            raise unknown("interaction")
        kind = int(payload.get("type") or 0)
        data: Json = payload.get("data") or {}
        self._check_callback(interaction, kind)
        if kind in (4, 5):
            draft = self._draft(interaction, data, files)
            if kind == 5:
                draft.payload = {}
                draft.files = []
                draft.may_be_empty = True
                draft.extra_flags |= LOADING
            interaction.response = self._posting.create(interaction.channel, self._world.bot, draft)
        elif kind == 7:
            assert interaction.message is not None
            self._posting.edit(interaction.message, data, files)
        elif kind == 8:
            interaction.choices = _checked_choices(data.get("choices") or [])
        elif kind == 9:
            check_modal(data)
            number_components(data["components"])
            interaction.modal = data
        if kind in (6, 7):
            interaction.response = interaction.message
        interaction.callback_type = kind
        interaction.acknowledged_at = time.monotonic()
        interaction.pulse.fire()
        return interaction

    def _check_callback(self, interaction: Interaction, kind: int) -> None:
        allowed = {
            COMMAND: (4, 5, 9),
            COMPONENT: (4, 5, 6, 7, 9),
            AUTOCOMPLETE: (8,),
            MODAL_SUBMIT: (4, 5, 6, 7) if interaction.message else (4, 5),
        }[interaction.type]
        if kind not in allowed:
            raise invalid_form("type", "BASE_TYPE_CHOICES", f"Value must be one of {allowed}.")

    def _draft(self, interaction: Interaction, data: Json, files: list[Upload]) -> Draft:
        ephemeral = int(data.get("flags") or 0) & EPHEMERAL
        draft = Draft(
            data,
            files,
            webhook_id=self._world.application_id,
            application_id=self._world.application_id,
            visible_to=interaction.user.id if ephemeral else None,
            extra_flags=ephemeral,
            interaction_metadata=self._metadata(interaction),
        )
        if interaction.type == COMMAND:
            menu = interaction.data["type"] != 1
            draft.kind = (
                MessageKind.CONTEXT_MENU_COMMAND if menu else MessageKind.CHAT_INPUT_COMMAND
            )
            draft.interaction = {
                "id": str(interaction.id),
                "type": interaction.type,
                "name": _spoken_name(interaction.data),
                "user": user_json(interaction.user),
            }
        return draft

    def _metadata(self, interaction: Interaction) -> Json:
        guild = interaction.channel.guild
        body: Json = {
            "id": str(interaction.id),
            "type": interaction.type,
            "user": user_json(interaction.user),
            "authorizing_integration_owners": {"0": str(guild.id) if guild else "0"},
        }
        if interaction.type == COMMAND:
            body |= {"name": _spoken_name(interaction.data), "command_type": 1}
        if interaction.type == COMPONENT and interaction.message:
            body["interacted_message_id"] = str(interaction.message.id)
        if interaction.type == MODAL_SUBMIT and interaction.triggered_by:
            body["triggering_interaction_metadata"] = self._metadata(interaction.triggered_by)
        return body

    def callback_body(self, interaction: Interaction) -> Json:
        """What `with_response=true` is answered."""
        body: Json = {"interaction": {"id": str(interaction.id), "type": interaction.type}}
        message = interaction.response
        if message is not None and interaction.callback_type in (4, 5, 7):
            body["interaction"] |= {
                "response_message_id": str(message.id),
                "response_message_loading": message.loading,
                "response_message_ephemeral": message.ephemeral,
            }
            body["resource"] = {
                "type": interaction.callback_type,
                "message": self._messages.message(message),
            }
        return body

    # -- the messages behind a token -------------------------------------------------------------

    def message(self, interaction: Interaction, message_id: str) -> Message:
        """The original response ("@original") or a follow-up by id. Raises 10008."""
        candidates: list[Message | None] = [interaction.response]
        if message_id != "@original":
            candidates += interaction.followups
        for message in candidates:
            if message is None or message.deleted:
                continue
            if message_id in ("@original", str(message.id)):
                return message
        raise unknown("message")

    def follow_up(self, interaction: Interaction, payload: Json, files: list[Upload]) -> Message:
        """A further message. The first one after a deferral fills in the deferred one."""
        response = interaction.response
        if response is not None and response.loading and not response.deleted:
            self._posting.edit(response, payload, files)
            interaction.pulse.fire()
            return response
        draft = self._draft(interaction, payload, files)
        draft.kind = MessageKind.DEFAULT
        draft.interaction = None
        if draft.interaction_metadata is not None and response is not None:
            draft.interaction_metadata["original_response_message_id"] = str(response.id)
        message = self._posting.create(interaction.channel, self._world.bot, draft)
        interaction.followups.append(message)
        interaction.pulse.fire()
        return message

    def edit(
        self, interaction: Interaction, message: Message, payload: Json, files: list[Upload]
    ) -> None:
        self._posting.edit(message, payload, files)
        interaction.pulse.fire()

    def delete(self, interaction: Interaction, message: Message) -> None:
        self._posting.delete(message)
        interaction.pulse.fire()


def _spoken_name(data: Json) -> str:
    """ "persona set" from the nested options of an invocation."""
    names, options = [data["name"]], data.get("options") or []
    while options and options[0]["type"] in (1, 2):
        names.append(options[0]["name"])
        options = options[0].get("options") or []
    return " ".join(names)


def _checked_choices(choices: list[Json]) -> list[Json]:
    if len(choices) > 25:
        raise bad_length("data.choices", 0, 25)
    for index, choice in enumerate(choices):
        for key in ("name", "value"):
            value = choice.get(key)
            if isinstance(value, str) and not 1 <= len(value) <= 100:
                raise bad_length(f"data.choices.{index}.{key}", 1, 100)
    return choices

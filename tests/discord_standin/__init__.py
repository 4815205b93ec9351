"""A stand-in Discord: a server that a real, unmodified discord.py client takes for Discord.

    async with DiscordStandIn() as discord:
        guild = discord.add_guild("Test")
        general = guild.add_channel("general")
        alice = guild.join(discord.add_user("alice"))
        ...  # start the bot, here (`with pointed_at(discord)`) or as a process with
        ...  # discord.api_url, discord.gateway_url and discord.token in its configuration
        await discord.wait_ready()
        asked = await alice.say(general, f"hello {discord.bot_user.mention}")
        reply = await general.wait_message(by="Mirela", after=asked)
        answer = await alice.slash(general, "persona set", name="mirela")

`server` holds the whole of what tests call; `actors` and `handles` are the people and the places.
"""

from .actors import Actor
from .bodies import Upload
from .faults import Fault
from .handles import ChannelHandle, GuildHandle
from .interaction_state import Interaction
from .journal import RestCall
from .permissions import Permission
from .pointing import pointed_at
from .server import DiscordStandIn
from .sessions import HeartbeatLog, Session
from .state import Channel, ChannelKind, Guild, Message, MessageKind, Role, User

__all__ = [
    "Actor",
    "Channel",
    "ChannelHandle",
    "ChannelKind",
    "DiscordStandIn",
    "Fault",
    "Guild",
    "GuildHandle",
    "HeartbeatLog",
    "Interaction",
    "Message",
    "MessageKind",
    "Permission",
    "RestCall",
    "Role",
    "Session",
    "Upload",
    "User",
    "pointed_at",
]

"""`/memory`, `/summary`, `/note` and `/lore` in Discord: who may do what, and that it is done."""

from __future__ import annotations

from tests.bot.discord.conftest import Town
from tests.discord_standin import Actor
from tests.discord_standin.handles import ChannelHandle


async def told(
    who: Actor, where: ChannelHandle, command: str, options: dict[str, object] | None = None
) -> str:
    """The answer to a command, which nobody else may see."""
    used = await who.slash(where, command, options or {})
    response = await used.wait_response()
    assert used.ephemeral
    return str(response.content)


async def test_facts_are_anybody_s_and_changed_by_who_said_them(town: Town) -> None:
    async with town.bot() as running:
        added = await told(town.alice, town.general, "memory add", {"text": "The inn burned down."})
        assert added.endswith("1. Alice: The inn burned down.")
        await town.reply_to(await town.ask("hello"))
        await running.settled()
        prompt = running.client.requests[-1].messages[0].content
        assert "- Alice said: The inn burned down." in prompt
        assert "fact: 1." in await told(town.alice, town.general, "memory why")
        assert "no facts" in await told(town.alice, town.alice.dm(), "memory list")
        assert "📌" in await told(town.admin, town.general, "memory pin", {"number": 1})
        assert "📌" not in await told(town.admin, town.general, "memory unpin", {"number": 1})
        corrected = {"number": 1, "text": "The mill burned down."}
        await told(town.admin, town.general, "memory correct", corrected)
        assert "'s word" in await told(town.alice, town.general, "memory forget", {"number": 1})
        assert "Forgotten" in await told(town.admin, town.general, "memory forget", {"number": 1})


async def test_only_who_may_switch_changes_summary_note_and_lore(town: Town) -> None:
    async with town.bot() as running:
        changes: dict[str, dict[str, object]] = {
            "summary set": {"text": "They met."},
            "note set": {"text": "It rains.", "depth": 2},
            "note depth": {"depth": 1},
            "lore add": {"text": "The well is dry.", "keys": "well"},
        }
        for command, options in changes.items():
            assert "permission" in await told(town.alice, town.general, command, options)
            assert "permission" not in await told(town.admin, town.general, command, options)
        await town.reply_to(await town.ask("is there a well?"))
        await running.settled()
        prompt = "\n".join(m.content for m in running.client.requests[-1].messages)
        assert "They met." in prompt
        assert "[It rains.]" in prompt
        assert "The well is dry." in prompt
        for command in ("summary show", "note show", "lore list"):
            shown = await told(town.alice, town.general, command)
            assert any(text in shown for text in ("They met.", "It rains.", "The well is dry."))
        takes_back: dict[str, dict[str, object]] = {
            "summary clear": {},
            "summary redo": {},
            "note clear": {},
            "lore remove": {"which": "1"},
        }
        for command, options in takes_back.items():
            assert "permission" in await told(town.alice, town.general, command, options)
            assert "permission" not in await told(town.admin, town.general, command, options)


async def test_a_lorebook_comes_as_an_attachment_and_goes_as_one(town: Town) -> None:
    content = b'{"name": "Town", "entries": [{"keys": ["well"], "content": "The well is dry."}]}'
    async with town.bot() as running:
        await town.server.wait_ready(commands=True)
        refused = await told(
            town.alice, town.general, "lore import", {"file": ("town.json", content)}
        )
        assert "needs the permission" in refused
        for file, why in (
            (("town.json", b"{}"), "town.json is not a lorebook"),
            (("town.json", b" " * (5 * 1024 * 1024)), "has 5 MiB, and a lorebook has 4 MiB"),
        ):
            assert why in await told(town.admin, town.general, "lore import", {"file": file})
        brought = await told(
            town.admin, town.general, "lore import", {"file": ("a.json", content), "id": "Mill"}
        )
        assert brought == "Brought in: Lorebook `mill` Town: 1 entry"
        await town.reply_to(await town.ask("is there a well?"))
        await running.settled()
        assert "The well is dry." in running.client.requests[-1].messages[0].content
        assert "mill#1. well: The well is dry." in await told(town.alice, town.general, "lore list")
        used = await town.alice.slash(town.general, "lore export", book="mill")
        [out] = (await used.wait_response()).attachments
        assert (out.filename, out.data) == ("mill.json", content)
        assert "permission" in await told(
            town.alice, town.general, "lore remove", {"which": "mill"}
        )
        assert "Removed" in await told(town.admin, town.general, "lore remove", {"which": "mill#1"})
        assert "Removed" in await told(town.admin, town.general, "lore remove", {"which": "mill"})

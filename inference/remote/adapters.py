"""Which `model` at a remote server stands for an adapter, loaded there when it is asked for."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from config import RemoteSettings
from inference.adapters import (
    BASE,
    DEFAULT,
    AdapterError,
    AdapterInfo,
    is_soft_prompt,
    weights_hash,
)
from inference.backend import Submit
from inference.remote.errors import ABSENT_STATUSES, RemoteError
from inference.remote.server import RemoteServer

log = logging.getLogger(__name__)

_HASH_DIGITS = 12


@dataclass(slots=True)
class _Loaded:
    loading: asyncio.Task[None]
    users: int = 0


class RemoteAdapters:
    """The adapters of one server.

    A version is loaded under a name of its own, which holds the hash of its weights: what the
    server has cached for one version is never taken for another's.
    """

    def __init__(self, server: RemoteServer, settings: RemoteSettings) -> None:
        self._server = server
        self._settings = settings
        self._loaded: OrderedDict[str, _Loaded] = OrderedDict()  # least recently used first
        self._turn = asyncio.Lock()
        self.loads = 0

    @property
    def resident(self) -> int:
        return len(self._loaded)

    @asynccontextmanager
    async def model(self, submit: Submit, base: str) -> AsyncIterator[str]:
        """The name of the model that answers `submit`; it stays loaded inside the context.

        Raises `RemoteError` or `AdapterError` if it cannot be loaded.
        """
        given = self._given_name(submit)
        if given is not None or submit.adapter is None:
            yield given or base
            return
        name = loaded_name(submit.adapter)
        entry = self._entry(name, submit.adapter)
        entry.users += 1
        try:
            await asyncio.shield(entry.loading)  # others may wait for the same load
            yield name
        finally:
            entry.users -= 1

    def forget(self, name: str) -> bool:
        """The server does not know `name`, whatever was loaded before; False if nothing was."""
        return self._loaded.pop(name, None) is not None

    def forget_all(self) -> None:
        """The server was away and may have started anew."""
        self._loaded.clear()

    async def close(self) -> None:
        """Stop loading."""
        loading = [entry.loading for entry in self._loaded.values()]
        for task in loading:
            task.cancel()
        await asyncio.gather(*loading, return_exceptions=True)

    def _given_name(self, submit: Submit) -> str | None:
        """The name that the settings give the adapter, or that it has there anyway."""
        table = self._settings.adapters
        if submit.adapter is None:
            asked = submit.request.adapter
            return None if asked == BASE else table.get(asked, None if asked == DEFAULT else asked)
        given = table.get(submit.adapter.label) or table.get(submit.adapter.name)
        return given or (None if self._settings.load_adapters else submit.adapter.name)

    def _entry(self, name: str, adapter: AdapterInfo) -> _Loaded:
        entry = self._loaded.get(name)
        if entry is None:
            entry = _Loaded(asyncio.get_running_loop().create_task(self._load(name, adapter)))
            self._loaded[name] = entry
            entry.loading.add_done_callback(lambda task: self._note(name, task))
        self._loaded.move_to_end(name)
        return entry

    def _note(self, name: str, task: asyncio.Task[None]) -> None:
        failed = task.cancelled() or task.exception() is not None
        if failed and (entry := self._loaded.get(name)) and entry.loading is task:
            del self._loaded[name]  # the next request tries again

    async def _load(self, name: str, adapter: AdapterInfo) -> None:
        if await asyncio.to_thread(is_soft_prompt, adapter):
            raise AdapterError(
                f"Adapter {adapter.label} is a soft prompt, which the server {self._server.name}"
                ' cannot load; set inference.engine to "local" or choose a LoRA adapter.'
            )
        try:
            found = await asyncio.to_thread(weights_hash, adapter.folder)
        except OSError as error:
            raise AdapterError(f"Adapter {adapter.label} cannot be read: {error}.") from None
        if found != adapter.card.weights_hash:
            raise AdapterError(
                f"The weights of adapter {adapter.label} are not those that were published; publish"
                " them as a new version."
            )
        async with self._turn:
            await self._make_room()
            try:
                await self._server.load_adapter(name, self._path(adapter))
            except RemoteError as error:
                if "already" in error.said and "loaded" in error.said:
                    return  # by an earlier run of the bot; the name says that it is the same
                raise self._explain(adapter, error) from None
            self.loads += 1
        log.info("Adapter %s is loaded at %s as %s.", adapter.label, self._server.name, name)

    async def _make_room(self) -> None:
        """Unload the least recently used adapters above the limit; never one in use."""
        excess = len(self._loaded) - self._settings.max_adapters
        idle = [n for n, entry in self._loaded.items() if not entry.users and entry.loading.done()]
        for name in idle[: max(excess, 0)]:
            del self._loaded[name]
            try:
                await self._server.unload_adapter(name)
            except RemoteError as error:
                if error.status != 404:  # gone already is as good
                    log.warning("Adapter %s could not be unloaded: %s", name, error)

    def _path(self, adapter: AdapterInfo) -> str:
        if there := self._settings.adapters_path:
            return f"{there.rstrip('/')}/{adapter.name}/{adapter.version}"
        return str(adapter.folder.resolve())

    def _explain(self, adapter: AdapterInfo, error: RemoteError) -> RemoteError:
        if error.unreachable or error.status in ABSENT_STATUSES | {401, 403, 429}:
            return error
        if error.status in (404, 405) and adapter.name not in error.said:
            return RemoteError(
                f"The server {self._server.name} does not load adapters; start vLLM with"
                " --enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=True, or switch"
                " remote.load_adapters off."
            )
        reason = f": {error.said}" if error.said else f" (HTTP {error.status})"
        return RemoteError(f"The server cannot load adapter {adapter.label}{reason}.")


def loaded_name(adapter: AdapterInfo) -> str:
    """The immutable name of one version at a server."""
    return f"{adapter.label}-{adapter.card.weights_hash[:_HASH_DIGITS]}"

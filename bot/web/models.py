"""The base models that the page offers: one is loaded at a time, behind the same calls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence

from bot.errors import CommandError
from bot.startup import Model
from config import Config
from inference.adapters import AdapterRegistry
from inference.client import InferenceClient, Status
from inference.types import Chunk, GenerationRequest, InferenceError, ModelInfo


class Models:
    """Stands where `InferenceClient` stands. `names` are the models' as `model.base` takes them."""

    def __init__(
        self,
        config: Config,
        others: Sequence[str] = (),
        make: Callable[[Config], Model] = InferenceClient,
    ) -> None:
        """The configured model comes first; `others` follow."""
        self._config = config
        self._make = make
        self.names = tuple(dict.fromkeys((config.model.base, *others)))
        self.current = self.names[0]
        self._client = make(config)
        self._changing = asyncio.Lock()

    async def change(self, name: str, *, ready: asyncio.Event) -> None:
        """Load another model in the place of the present one; nothing may be under way.

        `ready` is cleared meanwhile. Raises `CommandError`; then the model before is loaded again,
        if it can be.
        """
        if name not in self.names:
            raise CommandError(f"There is no model {name!r}; there are {', '.join(self.names)}.")
        if self._changing.locked():
            raise CommandError("Another model is being loaded; wait for it.")
        async with self._changing:
            ready.clear()
            before = self.current
            try:
                await self._load(name)
            except InferenceError as error:
                await self._load_again(before)
                raise CommandError(f"{error} The model is still {before}.") from None
            finally:
                if self._client.status().state == "ready":
                    ready.set()

    async def _load(self, name: str) -> None:
        await self._client.close()
        model = self._config.model.model_copy(update={"base": name})
        self._client = self._make(self._config.model_copy(update={"model": model}))
        self.current = name
        await self._client.start()

    async def _load_again(self, name: str) -> None:
        try:
            await self._load(name)
        except InferenceError as error:
            raise CommandError(
                f"Neither that model nor {name} can be loaded now: {error}"
            ) from None

    # -- what `bot.startup.Model` asks for ---------------------------------------------------------

    async def start(self, on_progress: Callable[[str], None] | None = None) -> None:
        await self._client.start(on_progress)

    async def close(self) -> None:
        await self._client.close()

    @property
    def shares_devices(self) -> bool:
        return self._client.shares_devices

    async def rest(self) -> None:
        await self._client.rest()

    def wake(self) -> None:
        self._client.wake()

    @property
    def adapters(self) -> AdapterRegistry:
        """The same folder for every model; a fingerprint says which of them can be used."""
        return self._client.adapters

    @property
    def info(self) -> ModelInfo:
        return self._client.info

    def status(self) -> Status:
        return self._client.status()

    def count_tokens(self, text: str) -> int:
        return self._client.count_tokens(text)

    def generate(self, request: GenerationRequest) -> AsyncGenerator[Chunk, None]:
        return self._client.generate(request)

    def cancel(self, request_id: str) -> None:
        self._client.cancel(request_id)

    def place(self, request_id: str) -> int:
        return self._client.place(request_id)

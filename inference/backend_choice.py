"""Which backends a configuration asks for."""

from __future__ import annotations

from config import Config
from inference.backend import Backend, Listener
from inference.remote.backend import RemoteBackend
from inference.supervisor import Supervisor


def choose_backends(config: Config, listener: Listener) -> list[Backend]:
    """One worker per device, or one connection per server."""
    if config.inference.engine == "openai":
        return [RemoteBackend(config, url, listener) for url in config.remote.urls]
    devices = config.inference.devices or [config.model.device]
    return [Supervisor(config, listener, device) for device in devices]

"""Adapters that have all their files and no sense: enough wherever no weights are read."""

from __future__ import annotations

import hashlib
import json

from inference.adapters import AdapterInfo, AdapterRegistry

FINGERPRINT = "f" * 64


def publish_bare(
    registry: AdapterRegistry,
    name: str,
    *,
    promote: bool = True,
    fingerprint: str = FINGERPRINT,
    created_at: str = "2026-01-01T00:00:00+00:00",
) -> AdapterInfo:
    folder = registry.staging_folder(name)
    weights = f"{name} {registry.versions(name)}".encode()
    (folder / "adapter_model.safetensors").write_bytes(weights)
    (folder / "adapter_config.json").write_text("{}", encoding="utf-8")
    card = {
        "base_model": "scripted",
        "base_fingerprint": fingerprint,
        "prompt_format": "chatml",
        "weights_hash": hashlib.sha256(weights).hexdigest(),
        "created_at": created_at,
    }
    (folder / "troupe.json").write_text(json.dumps(card), encoding="utf-8")
    return registry.publish(folder, name, promote=promote)

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

import pytest
from transformers import LlamaForCausalLM

from inference.engine import adapter_store
from tests.inference.engine.conftest import Lora, ask


def test_an_adapter_nobody_waits_for_any_more_does_not_keep_the_loop_spinning(
    base: LlamaForCausalLM, loras: list[Lora], engine_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engine_of(base)
    store = engine._adapters
    engine.insert(ask("cancelled", [5, 6], loras[0].info))
    (abandoned,) = store._loading.values()
    abandoned.result(timeout=30)
    engine.remove("cancelled")
    store._loading["another"] = still_reading = Future[Any]()
    waited_for: list[Any] = []
    monkeypatch.setattr(adapter_store, "wait", lambda those, **_: waited_for.extend(those))

    store.wait(0.01)

    assert waited_for == [still_reading]

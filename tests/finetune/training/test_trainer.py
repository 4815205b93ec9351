"""Every method learns what it is for; what cannot be done is one sentence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors import SafetensorError

from config import FinetuneSettings, ModelSettings
from finetune.dataset import IGNORE_INDEX
from finetune.errors import DiskFullError, InputError, TrainingError
from finetune.publishing import save_weights
from finetune.training.arguments import epochs_for
from finetune.training.checks import check_settings
from finetune.training.replies import ReplyTrainer
from finetune.training.trainer import encoder_for, explained
from finetune.training_set import TrainingSet
from inference.engine.batch_engine import BatchEngine, EngineSettings
from inference.model_loading import LoadedModel, load_model
from tests.conftest import MODELS, save_tiny_llama
from tests.finetune.training.conftest import INTRODUCTION, SET, Learn, asked, example, teaching
from tests.inference.engine.conftest import END, ask, describe, greedy, run


def log_likelihood(trained: Any, loaded: LoadedModel, question: str, reply: str) -> float:
    """Of a reply, with the adapter on."""
    whole = encoder_for(loaded, FinetuneSettings()).completion(asked(question), reply)
    assert whole is not None
    ids = torch.tensor([[*whole.prompt_ids, *whole.reply_ids]])
    with torch.no_grad():
        logits = trained.model(input_ids=ids).logits[0, :-1].log_softmax(-1)
    scores = logits.gather(1, ids[0, 1:, None])[:, 0]
    return float(scores[-len(whole.reply_ids) :].sum())


def test_a_small_set_is_gone_through_more_often() -> None:
    settings = FinetuneSettings(batch_size=4)
    assert epochs_for(settings, examples=400) == 1
    assert epochs_for(settings, examples=160) == 2
    assert epochs_for(settings, examples=40) == 3
    assert epochs_for(settings, examples=12) == 10
    assert epochs_for(settings, examples=1) == 15
    assert epochs_for(FinetuneSettings(num_epochs=0.5), examples=5) == 0.5


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"lora_target_modules": ["q_proj", "w_proj"]},
            "no linear layer 'w_proj'.* it has .*q_proj",
        ),
        ({"lora_target_modules": ["lm_head"]}, "no linear layer 'lm_head'"),
        ({"cutoff_len": 9999}, "more than the 2048 tokens"),
        ({"batch_size": 3, "micro_batch_size": 2}, "batch_size = 3 cannot be divided"),
    ],
)
def test_what_the_model_cannot_do_is_one_sentence(
    load: Callable[[], LoadedModel], settings: dict[str, object], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        check_settings(FinetuneSettings.model_validate(settings), load())


def test_batch_size_is_that_of_all_processes(
    load: Callable[[], LoadedModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")
    check_settings(FinetuneSettings(batch_size=8, micro_batch_size=2), load())
    with pytest.raises(InputError, match="for each of 4 processes"):
        check_settings(FinetuneSettings(batch_size=4, micro_batch_size=2), load())


def test_kto_needs_two_replies_for_each_process(
    teach: Learn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")
    said = r"batch_size = 3 .* micro_batch_size = 2 for each of 3 processes; make it a multiple"
    with pytest.raises(InputError, match=said):
        teach(method="kto", batch_size=3, micro_batch_size=1)


@pytest.mark.parametrize(
    "failure",
    [
        torch.OutOfMemoryError("CUDA out of memory."),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        MemoryError(),
    ],
)
def test_running_out_of_memory_names_what_to_lower(
    teach: Learn, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    def full(*_: object, **__: object) -> None:
        raise failure

    monkeypatch.setattr(ReplyTrainer, "training_step", full)
    with pytest.raises(TrainingError, match=r"lower micro_batch_size \(2\) or cutoff_len \(1024\)"):
        teach()


@pytest.mark.parametrize(
    "failure",
    [
        OSError(28, "No space left on device"),
        SafetensorError("Error while serializing: I/O error: No space left on device"),
    ],
    ids=lambda failure: type(failure).__name__,
)
def test_a_full_disk_is_one_sentence(
    teach: Learn, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    def full(*_: object, **__: object) -> None:
        raise failure

    monkeypatch.setattr(PeftModel, "save_pretrained", full)
    with pytest.raises(DiskFullError, match=r"disk of .* is full"):
        teach(save_steps=1)


def test_a_loss_that_is_no_number_ends_the_training(
    teach: Learn, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: ReplyTrainer, model: Any, *_: Any, **__: Any) -> torch.Tensor:
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        return torch.stack([parameter.sum() for parameter in trained]).sum() * torch.nan

    monkeypatch.setattr(ReplyTrainer, "compute_loss", broken)
    with pytest.raises(TrainingError, match=r"The loss became nan at step 1; lower learning_rate"):
        teach()


def test_a_tracker_that_takes_no_report_is_one_sentence(tmp_path: Path) -> None:
    refusal = type("UsageError", (Exception,), {"__module__": "wandb.errors.errors"})
    said = r"^wandb takes no report \(No API key\); mend that, or set report_to to none\.$"
    for tool, kind, match in (("wandb", InputError, said), ("none", refusal, "No API")):
        settings = FinetuneSettings.model_validate({"report_to": tool})
        with pytest.raises(kind, match=match), explained(settings, tmp_path):
            raise refusal("No API\nkey.")


@pytest.mark.parametrize("quantization", ["8bit", "4bit"])
def test_a_quantised_base_stays_so_and_its_adapter_learns(
    embedded: LoadedModel, tmp_path: Path, quantization: str
) -> None:
    save_tiny_llama(tmp_path / "tiny", embedded, hidden_size=64)  # bitsandbytes' block
    settings = ModelSettings.model_validate(
        {
            "base": str(tmp_path / "tiny"),
            "device": "cpu",
            "quantization": quantization,
            "dtype": "bfloat16",
        }
    )
    loaded = load_model(settings, MODELS)
    teach = teaching(lambda: loaded, tmp_path / "scratch")
    trained = teach(num_epochs=4.0, learning_rate=1e-2, gradient_checkpointing=True)
    assert trained.figures["final_loss"] < trained.figures["first_loss"] - 0.1
    assert loaded.model.config.dtype == torch.bfloat16  # which GPUs compute in
    layer = trained.model.get_base_model().model.layers[0].self_attn.q_proj
    assert layer.base_layer.weight.dtype in (torch.int8, torch.uint8)
    assert layer.lora_B["default"].weight.dtype == torch.float32


def test_sft_learns_the_replies(teach: Learn) -> None:
    trained = teach(num_epochs=6.0, learning_rate=1e-2)
    figures = trained.figures
    assert figures["final_loss"] < figures["first_loss"] - 1
    assert figures["validation_loss"] < figures["first_loss"] - 1
    assert (figures["examples"], figures["replies"], figures["steps"]) == (8, 8, 24)
    assert figures["tokens_per_second"] > 0
    assert figures["peak_memory_mb"] > 0
    steps = [row["step"] for row in trained.history if "loss" in row]
    assert steps == list(range(1, 25))


def test_training_twice_with_one_seed_gives_the_same_loss(teach: Learn) -> None:
    first, second = (teach(lora_dropout=0.1, learning_rate=1e-2) for _ in range(2))
    assert first.history == second.history


def test_micro_batches_change_nothing_that_is_learnt(teach: Learn) -> None:
    whole = teach(batch_size=4, micro_batch_size=4, learning_rate=1e-2)
    parts = teach(batch_size=4, micro_batch_size=1, learning_rate=1e-2)
    for one, other in zip(whole.history, parts.history, strict=True):
        if "loss" in one:
            assert one["loss"] == pytest.approx(other["loss"], rel=1e-4)


def test_unlikelihood_makes_the_unwanted_rare(
    teach: Learn, load: Callable[[], LoadedModel]
) -> None:
    taught = replace(SET, train=tuple(_as_taught()))

    def likelihood(weight: float) -> float:
        trained = teach(
            taught,
            method="sft+unlikelihood",
            unlikelihood_weight=weight,
            num_epochs=8.0,
            learning_rate=1e-2,
        )
        assert trained.figures["unwanted_tokens"] > 0
        return log_likelihood(trained, load(), "Is 2 enough?", INTRODUCTION)

    assert likelihood(4.0) < likelihood(0.0) - 3


def _as_taught() -> Any:
    """The very introductions, as a raw log would teach them."""
    for n in range(4):
        yield example(f"Is {n} enough?", f"{INTRODUCTION} {n}.")


def test_preferences_move_apart_what_they_tell_apart(
    teach: Learn, load: Callable[[], LoadedModel]
) -> None:
    options = {"method": "sft+dpo", "num_epochs": 4.0, "preference_learning_rate": 1e-2}
    before = teach(method="sft")
    trained = teach(**options)
    phases = {row["phase"] for row in trained.history}
    assert phases == {"replies", "pairs"}
    assert list(trained.model.peft_config) == ["default"]

    def margin(one: Any) -> float:
        chosen, rejected = "2 will do.", f"{INTRODUCTION} 2."
        loaded = load()
        question = "Is 2 enough?"
        return log_likelihood(one, loaded, question, chosen) - log_likelihood(
            one, loaded, question, rejected
        )

    assert margin(trained) > margin(before) + 1


def test_votes_are_followed(teach: Learn, load: Callable[[], LoadedModel]) -> None:
    options = {"method": "kto", "num_epochs": 4.0, "preference_learning_rate": 1e-2}
    trained = teach(**options)
    loaded = load()
    liked = log_likelihood(trained, loaded, "Well?", "Well enough.")
    disliked = log_likelihood(trained, loaded, "Well?", "Bah.")
    trained.model.disable_adapter_layers()
    gained = liked - log_likelihood(trained, loaded, "Well?", "Well enough.")
    assert gained > disliked - log_likelihood(trained, loaded, "Well?", "Bah.")
    assert trained.figures["replies"] == 10  # two votes and both sides of four pairs


def test_a_prompt_is_learnt_and_the_model_left_alone(teach: Learn) -> None:
    trained = teach(method="prompt_tuning", num_virtual_tokens=4, num_epochs=8.0, learning_rate=0.3)
    assert trained.figures["trained_parameters"] == 4 * 32
    checked = [row["validation_loss"] for row in trained.history if "validation_loss" in row]
    assert checked[-1] < checked[0]


def test_a_learnt_prompt_is_served_as_peft_applies_it(
    embedded: LoadedModel, tmp_path: Path
) -> None:
    model = tmp_path / "model"  # whose every token depends on all before it
    save_tiny_llama(model, embedded, initializer_range=0.3, tie_word_embeddings=False)

    def load() -> LoadedModel:
        return load_model(ModelSettings(base=str(model), device="cpu"), MODELS)

    teach = teaching(load, tmp_path / "scratch")
    trained = teach(method="prompt_tuning", num_virtual_tokens=4, num_epochs=2.0, learning_rate=0.3)
    save_weights(trained.model, tmp_path)
    served, peft = load(), PeftModel.from_pretrained(load().model, tmp_path).eval()
    info = describe(tmp_path)
    prompts = [served.prompt_format.encode(asked(f"How much is storm {n}?")) for n in range(3)]
    engine = BatchEngine(
        served.model, {END}, EngineSettings(rows=4, context=256, weight_format="float32")
    )
    base = ask("base", prompts[0])
    replies = run(engine, base, *(ask(str(n), one, info) for n, one in enumerate(prompts)))
    engine.close()
    for n, one in enumerate(prompts):
        assert replies.tokens[str(n)] == greedy(peft, one, base.sampling.max_new_tokens)
    assert replies.tokens["base"] != replies.tokens["0"]


Seen = list[dict[str, Any]]


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Seen:
    """What reaches the loss, micro-batch by micro-batch, validation included."""
    found: Seen = []
    compute = ReplyTrainer.compute_loss

    def recording(self: ReplyTrainer, model: Any, inputs: Any, *rest: Any, **named: Any) -> Any:
        found.append({key: value[0].tolist() for key, value in inputs.items() if value.dim() == 2})
        found[-1]["ends"] = inputs["cu_seq_lens_q"].tolist()
        return compute(self, model, inputs, *rest, **named)

    monkeypatch.setattr(ReplyTrainer, "compute_loss", recording)
    return found


def labels_of(seen: Seen) -> list[int]:
    return [label for row in seen for label in row["labels"]]


def test_the_end_is_learnt_only_where_it_is_asked_for(
    teach: Learn, load: Callable[[], LoadedModel], seen: Seen
) -> None:
    ends = load().end_ids
    teach()
    learnt = labels_of(seen)
    assert sum(label in ends for label in learnt) == len(SET.train) + len(SET.validation)
    for settings in ({}, {"train_on_inputs": True}):
        seen.clear()
        teach(add_eos_token=False, **settings)
        without = labels_of(seen)
        assert ends.isdisjoint(without)
        if not settings:  # all else is learnt as before
            kept = Counter(label for label in learnt if label not in ends)
            assert {**Counter(without), IGNORE_INDEX: 0} == {**kept, IGNORE_INDEX: 0}


def test_inputs_are_learnt_where_it_is_asked_for(teach: Learn, seen: Seen) -> None:
    teach(train_on_inputs=True)
    for row in seen:
        firsts = set(row["ends"])
        for place, (token, label) in enumerate(zip(row["input_ids"], row["labels"], strict=True)):
            # Nothing stands before an example's first token that it could be told from.
            assert label == (IGNORE_INDEX if place in firsts else token)


def test_examples_of_like_length_are_learnt_together(teach: Learn, seen: Seen) -> None:
    made = TrainingSet(
        train=tuple(example(f"Storm {n}?", "Nine coins. " * (1 + n % 2 * 9)) for n in range(32))
    )

    def mixed(**settings: bool) -> int:
        seen.clear()
        assert teach(made, **settings).figures["steps"] == 16
        assert sum(len(row["ends"]) - 1 for row in seen) == 32
        sizes = [[b - a for a, b in pairwise(row["ends"])] for row in seen]
        return sum(max(pair) - min(pair) > 20 for pair in sizes)  # tokens

    assert mixed(group_by_length=True) < mixed(group_by_length=False)


@pytest.mark.parametrize("settings", [{"use_rslora": True}, {"use_dora": True}])
def test_kinds_of_lora(teach: Learn, settings: dict[str, bool]) -> None:
    config = teach(**settings).model.peft_config["default"]
    assert all(getattr(config, name) for name in settings)


def test_gradient_checkpointing_learns_the_same(teach: Learn) -> None:
    plain = [row["loss"] for row in teach().history if "loss" in row]
    lean = [row["loss"] for row in teach(gradient_checkpointing=True).history if "loss" in row]
    assert lean == pytest.approx(plain, rel=1e-4)


def test_an_adapter_that_did_not_move_is_empty(teach: Learn) -> None:
    for method in ("sft", "prompt_tuning"):
        with pytest.raises(TrainingError, match="is empty"):
            teach(method=method, learning_rate=1e-300)


@pytest.mark.parametrize(
    ("method", "made", "said"),
    [
        ("sft+dpo", replace(SET, pairs=()), "pairs of replies and there are none"),
        ("sft+unlikelihood", replace(SET, unwanted=()), "and there are none"),
        ("kto", TrainingSet(train=SET.train), "there are 0 and 0"),
        ("kto", replace(SET, pairs=(), votes=SET.votes[:1]), "there are 1 and 0"),
    ],
)
def test_a_method_without_its_data_is_one_sentence(
    teach: Learn, method: str, made: TrainingSet, said: str
) -> None:
    with pytest.raises(InputError, match=said):
        teach(made, method=method)


def test_validation_must_leave_something_to_learn(teach: Learn) -> None:
    made = replace(SET, validation=())
    with pytest.raises(InputError, match=r"val_set_size = 2000 .* only 8 examples"):
        teach(made, val_set_size=2000)
    assert teach(made, val_set_size=3).figures["examples"] == 5

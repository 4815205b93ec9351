"""Preparing and training."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from config.model import PromptFormatName
from config.section import Section


class FinetuneSettings(Section):
    """Defaults of `python -m finetune train`; each has a command-line option of the same name."""

    method: Literal["sft", "sft+dpo", "kto", "sft+unlikelihood", "prompt_tuning"] = Field(
        "sft",
        description="How to learn. sft: say what the replies say. sft+dpo: that, then prefer the"
        " better reply of each pair. kto: from replies marked as liked or not. sft+unlikelihood:"
        " sft, and at once unlearn the marked parts of logged replies. prompt_tuning: leave the"
        " model alone and learn a prompt, which no word could spell.",
    )
    num_epochs: float = Field(
        0.0,
        ge=0,
        description="How often training goes through the whole set. 0 chooses: once through a large"
        " one, up to three times through a smaller one, and a tiny one more often, until there"
        " were enough steps to learn anything.",
    )
    learning_rate: float = Field(
        1e-3,
        gt=0,
        description="Size of the steps, at its peak: it rises over the first tenth of the steps and"
        " falls to zero at the end. Lower it if the loss jumps about or the model babbles.",
    )
    batch_size: int = Field(
        4,
        ge=1,
        description="Examples that one step learns from. More give calmer and fewer steps.",
    )
    micro_batch_size: int = Field(
        1,
        ge=1,
        description="Examples computed at once; batch_size must be a multiple. Changes memory and"
        " speed only, not what is learnt.",
    )
    cutoff_len: int = Field(
        1024,
        ge=32,
        description="Most tokens of one example, the character's card included. Longer dialogues"
        " are split into several examples between turns, longer texts are cut and then taught"
        " without an end. Memory grows with it.",
    )
    val_set_size: int = Field(
        0,
        ge=0,
        description="Examples kept out of training to measure the loss on, which shows when a model"
        " begins to learn by heart. Must be fewer than there are; a prepared set brings its own.",
    )
    train_on_inputs: bool = Field(
        False,
        description="Learn to write the card and the user's lines too, not only the replies."
        " Seldom wanted: most tokens are then no reply, and users get imitated.",
    )
    add_eos_token: bool = Field(
        True,
        description="Teach the end-of-turn token after each reply that ended by itself. Without it"
        " the model never learns to stop. What cutoff_len cut off never has one.",
    )
    group_by_length: bool = Field(
        False,
        description="Let a step learn from examples of about one length. Where rows are padded it"
        " saves time (here nothing is padded), but the loss swings with the length.",
    )
    prompt_template_name: PromptFormatName = Field(
        "auto",
        description="How messages are written as one text: a file of inference/templates, or auto,"
        " as model.prompt_format says, which must be the same where the adapter is used.",
    )
    replies_per_example: int = Field(
        4,
        ge=1,
        description="Most replies of a channel's log that one example teaches. Each example begins"
        " like a new scene, so few teach a character how to begin, many how to go on.",
    )
    lora_r: int = Field(
        16,
        ge=1,
        description="Rank of the adapter's matrices: how much it can learn, and how big it is.",
    )
    lora_alpha: int = Field(
        32,
        ge=1,
        description="How strongly the adapter acts: its output is scaled by lora_alpha / lora_r.",
    )
    lora_dropout: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Share of the adapter's inputs dropped at random in training, against learning"
        " a small set by heart.",
    )
    lora_target_modules: list[str] = Field(
        ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
        min_length=1,
        description="The model's linear layers that get adapter matrices, by name.",
    )
    use_rslora: bool = Field(
        False,
        description="Scale by lora_alpha / sqrt(lora_r) instead, so that high ranks learn as fast.",
    )
    use_dora: bool = Field(
        False,
        description="Learn size and direction of each weight apart (DoRA): often a little better,"
        " slower, and never in one batch with other adapters: serve it by model.merge_adapter.",
    )
    num_virtual_tokens: int = Field(
        16, ge=1, le=512, description="Length of the learnt prompt, for prompt_tuning."
    )
    dpo_beta: float = Field(
        0.1,
        gt=0,
        description="sft+dpo and kto: how strongly the model is held to what it was; less lets the"
        " preferences change more.",
    )
    dpo_sft_weight: float = Field(
        1.0,
        ge=0,
        description="sft+dpo: weight of the likelihood of the better reply beside the preference;"
        " 0 is plain DPO, which unlearns to talk.",
    )
    preference_learning_rate: float = Field(
        5e-5,
        gt=0,
        description="learning_rate where preferences are learnt (sft+dpo after its sft, kto), which"
        " takes far smaller steps.",
    )
    unlikelihood_weight: float = Field(
        1.0,
        ge=0,
        description="sft+unlikelihood: weight of a token to unlearn beside one to learn.",
    )
    gradient_checkpointing: bool = Field(
        False,
        description="Compute the forward pass a second time instead of keeping it: much less"
        " memory, about a third slower.",
    )
    save_steps: int = Field(
        50,
        ge=0,
        description="Steps between two checkpoints to resume from, should the machine fail; 0 keeps"
        " none but the one that Ctrl-C leaves. They are removed when the adapter is done.",
    )
    save_dtype: Literal["float32", "float16", "bfloat16"] = Field(
        "float32", description="Number format of the adapter's file; the 16-bit ones halve it."
    )
    report_to: Literal["none", "tensorboard", "wandb", "trackio"] = Field(
        "none", description="Where loss and learning rate are sent besides."
    )


class PrepareSettings(Section):
    """Defaults of `python -m finetune prepare`; each has a command-line option of the same name."""

    silence_minutes: float = Field(
        30.0, gt=0, description="A channel silent for longer begins a new dialogue."
    )
    max_xtr4: float = Field(
        0.35,
        ge=0,
        le=1,
        description="Replies are not taught whose share of word 4-grams that stand in the"
        " character's earlier replies is greater.",
    )
    max_sr4: float = Field(
        0.25,
        ge=0,
        le=1,
        description="Replies are not taught whose share of 4-grams that repeat inside the reply"
        " itself is greater.",
    )
    duplicate_similarity: float = Field(
        0.85,
        gt=0,
        le=1,
        description="Of texts that share more than this of their 5-letter pieces (Jaccard) only the"
        " oldest is kept; 1 removes exact copies only.",
    )
    validation_share: float = Field(
        0.1, ge=0, lt=1, description="Share of the channels held out to check the training."
    )
    max_log_share: float = Field(
        0.5,
        gt=0,
        le=1,
        description="Where further dialogue is mixed in (replay): the largest share of the training"
        " examples that may come from the log; beyond it the newest are kept. 1 keeps all, so that"
        " trainings grow with the log and the rest counts for less and less.",
    )
    name_drills: float = Field(
        1.0,
        ge=0,
        le=1,
        description="Share of the training examples into which a turn is put that asks for the"
        " character's name, so that it is not forgotten.",
    )

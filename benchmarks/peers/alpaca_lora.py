"""Training as alpaca-lora's finetune.py does it: rows padded alike, every token scored, no packing.

The peer of `benchmarks.training`: transformers' own Trainer over a PEFT model, with the collator
that alpaca-lora uses (rows padded to the longest of a micro-batch, in multiples of eight).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset
from peft import LoraConfig, get_peft_model
from transformers import DataCollatorForSeq2Seq, PrinterCallback, Trainer, TrainingArguments

from config import FinetuneSettings
from finetune.dataset import Encoded
from inference.model_loading import LoadedModel


def train(
    loaded: LoadedModel, rows: Sequence[Encoded], settings: FinetuneSettings, folder: Path
) -> float:
    """Train one pass over `rows`; returns the seconds of the steps alone."""
    model: Any = get_peft_model(
        loaded.model,
        LoraConfig(
            task_type="CAUSAL_LM",
            r=settings.lora_r,
            lora_alpha=settings.lora_alpha,
            lora_dropout=settings.lora_dropout,
            target_modules=list(settings.lora_target_modules),
        ),
    )
    # It labels every token, so its labels are its inputs.
    data = [
        {
            "input_ids": list(row.input_ids),
            "attention_mask": [1] * len(row.input_ids),
            "labels": list(row.input_ids),
        }
        for row in rows
    ]
    tokenizer: Any = loaded.tokenizer
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token_id = 0  # as alpaca-lora has it
    trainer: Any = Trainer(
        model=model,
        train_dataset=Dataset.from_list(data),
        args=TrainingArguments(
            output_dir=str(folder),
            per_device_train_batch_size=settings.micro_batch_size,
            gradient_accumulation_steps=settings.batch_size // settings.micro_batch_size,
            num_train_epochs=1,
            learning_rate=settings.learning_rate,
            warmup_steps=0,
            logging_steps=10,
            optim="adamw_torch",
            use_cpu=loaded.model.device.type == "cpu",
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            dataloader_pin_memory=False,
        ),
        data_collator=DataCollatorForSeq2Seq(
            tokenizer, pad_to_multiple_of=8, return_tensors="pt", padding=True
        ),
    )
    trainer.remove_callback(PrinterCallback)
    model.config.use_cache = False
    started = time.monotonic()
    trainer.train()
    return time.monotonic() - started

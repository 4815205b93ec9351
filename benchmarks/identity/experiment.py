"""The stages of the experiment, and what rests on what."""

from __future__ import annotations

import asyncio
import json
import random
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.identity import conditions, data
from benchmarks.identity.conditions import Condition
from benchmarks.identity.logs import write_logs
from benchmarks.identity.persona_chat import ATTRIBUTION, LICENCE
from benchmarks.identity.seeds_bot import introducing_rows, log_rows
from benchmarks.identity.stages import Stages
from benchmarks.identity.tools import finetune
from config import Config, load
from finetune.evaluation.figures import Figure
from finetune.evaluation.perplexity import perplexities, read_held_out
from finetune.evaluation.suite import ScriptedUser, read_suite
from finetune.evaluation.transcripts import read_transcripts
from finetune.preparing.channels import read_log
from finetune.preparing.tokenizing import configured_tokens
from finetune.training_set import TrainingSet, write_training_set

_FIRST, _SEEDS_BOT = "seed-first", "seed-bot"
# The seed's recipe with the batch made smaller: with 128 examples a step it would be a few steps.
# alpaca-lora's own code taught the end of every answer, whatever add_eos_token said.
_SEEDS_RECIPE = (
    *("--preset", "alpaca-lora", "--prompt_template_name", "alpaca"),
    *("--val_set_size", 0, "--batch_size", 4, "--add_eos_token", "true"),
)
_SEEDS_LOGS_RECIPE = (*_SEEDS_RECIPE, "--cutoff_len", 512)  # prompts with a conversation in them
_SEEDS_CHARACTERS, _SEEDS_ROLEPLAY = 8, 120  # for whom the identity set is written out; rows
_SEEDS_LOGGED, _SEEDS_FIRST = 40, 120  # replies of its own logs, and rows of before
_SIMULATED = 36  # scripted users, ten turns each, whose dialogues are the logs
_FROM_LOGS = ("--num_epochs", 2, "--batch_size", 4)
_METHODS: dict[str, tuple[str, tuple[object, ...]]] = {
    "raw-logs": ("raw", (*_FROM_LOGS, "--method", "sft")),
    "cleaned-logs": ("cleaned", (*_FROM_LOGS, "--method", "sft")),
    "sft-dpo": ("cleaned", (*_FROM_LOGS, "--method", "sft+dpo")),
    "sft-unlikelihood": ("cleaned", (*_FROM_LOGS, "--method", "sft+unlikelihood")),
    "recommended": (
        "recommended",
        ("--num_epochs", 1, "--batch_size", 4, "--method", "sft", "--save_dtype", "float16"),
    ),
}
_ROWS = (
    Condition("base, the seed's prompt", "base", "seed", dry=False, prompt_format="alpaca"),
    Condition("base, our prompt", "base", dry=False),
    Condition("base, our prompt and DRY", "base"),
    Condition("the seed's bot", _SEEDS_BOT, "seed", dry=False, prompt_format="alpaca"),
    Condition("the seed's bot, our prompt and DRY only", _SEEDS_BOT, prompt_format="alpaca"),
    Condition("LoRA on raw logs", "raw-logs"),
    Condition("LoRA on cleaned logs", "cleaned-logs"),
    Condition("sft+dpo on cleaned logs", "sft-dpo"),
    Condition("sft+unlikelihood on cleaned logs", "sft-unlikelihood"),
    Condition("recommended recipe", "recommended"),
    Condition("recommended recipe, without DRY", "recommended", dry=False),
)


@dataclass(frozen=True, slots=True)
class Plan:
    """Where public sets lie, how many dialogues measure, and what chance and threads are."""

    persona_chat: Path
    roleplay: Path
    identity: Path
    dialogues: int
    seed: int
    threads: int


class Experiment:
    """One work folder, filled stage by stage."""

    def __init__(self, work: Path, plan: Plan) -> None:
        self._plan = plan
        self._work = work.resolve()
        self._stages = Stages(self._work)
        self._settings_file = self._work / "config.toml"
        self._settings_file.write_text(
            f"[paths]\ndata = '{self._work / 'troupe'}'\npersonas = '{self._work / 'personas'}'\n"
        )
        self._config: Config = load(self._settings_file)

    def run(self, pool: Executor) -> dict[str, Any]:
        """Everything that is not done yet; returns all figures."""
        self._data()
        rows = {row.key: pool.submit(self._measured, row) for row in _ROWS if row.adapter == "base"}
        self._seeds_bot()
        self._training_sets()
        # What takes longest first, and no two at once that wait for the same adapter.
        for row in sorted(_ROWS, key=lambda row: (not row.dry, row.adapter != "recommended")):
            if row.key not in rows:
                rows[row.key] = pool.submit(self._measured, row)
        figures = [rows[row.key].result() for row in _ROWS]
        return {
            "rows": [
                {"label": row.label, "adapter": row.adapter, "figures": found}
                for row, found in zip(_ROWS, figures, strict=True)
            ],
            "perplexity": self._perplexity(),
            "training": {name: self._stages.result(name) for name in _METHODS},
            "seeds_bot": self._stages.result(_SEEDS_BOT)["figures"],
        }

    # -- what is measured with, and learnt from -------------------------------------------------

    def _data(self) -> None:
        plan = self._plan

        def make(folder: Path) -> dict[str, Any]:
            rng = random.Random(plan.seed)
            measuring, learning = data.persona_chats(
                plan.persona_chat, plan.dialogues, seed=plan.seed
            )
            conditions.write_suite(
                folder / "persona_chat.jsonl", [data.scripted(chat, rng) for chat in measuring]
            )
            data.write_rows(folder / "held_out.jsonl", data.held_out_rows(measuring))
            public, own = data.replay_rows(learning), data.own_rows()
            data.write_rows(folder / "replay.jsonl", [*public, *own])
            human = [len(reply.split()) for chat in measuring for _, reply in chat.turns]
            return {
                "measured with": len(measuring),
                "public dialogues": len(public),
                "own dialogues": len(own),
                "human mean_length": sum(human) / len(human),
            }

        self._stages.run("data", make, dialogues=plan.dialogues, seed=plan.seed,
                         own=len(data.own_rows()), learnt=data.LEARNT)  # fmt: skip

    def _suite(self) -> list[ScriptedUser]:
        return [*data.test_users(), *read_suite(self._work / "data" / "persona_chat.jsonl")]

    # -- the seed's bot --------------------------------------------------------------------------

    def _seeds_bot(self) -> None:
        """By the seed's recipe on roleplay that introduces itself, then with its own raw logs."""
        plan = self._plan
        users = read_suite(data.SIMULATED)[:_SIMULATED]

        def first(folder: Path) -> dict[str, Any]:
            rows = introducing_rows(
                plan.roleplay,
                plan.identity,
                [user.character for user in users[:_SEEDS_CHARACTERS]],
                _SEEDS_ROLEPLAY,
                seed=plan.seed,
            )
            return {"rows": len(rows), **self._train_seed(folder, rows, _FIRST, _SEEDS_RECIPE)}

        made = {"characters": _SEEDS_CHARACTERS, "roleplay": _SEEDS_ROLEPLAY}
        self._stages.run(_FIRST, first, recipe=_SEEDS_RECIPE, made=made, seed=plan.seed)
        alone = Condition("", _FIRST, "seed", dry=False, prompt_format="alpaca")
        self._talk("seed-first-logs", alone, users)

        def second(folder: Path) -> dict[str, Any]:
            rows = json.loads((self._work / _FIRST / "rows.json").read_text())
            logs = log_rows(read_transcripts(self._logs("seed-first-logs")))
            dice = random.Random(plan.seed)
            logs = dice.sample(logs, min(_SEEDS_LOGGED, len(logs)))
            rows = dice.sample(rows, min(_SEEDS_FIRST, len(rows)))
            dice.shuffle(rows := [*rows, *logs])
            return {"rows": len(rows), "logged": len(logs),
                    **self._train_seed(folder, rows, _SEEDS_BOT, _SEEDS_LOGS_RECIPE)}  # fmt: skip

        made = {"rows": _SEEDS_FIRST, "logged": _SEEDS_LOGGED}
        rests_on = self._stages.digest("seed-first-logs")
        self._stages.run(
            _SEEDS_BOT, second, recipe=_SEEDS_LOGS_RECIPE, made=made, rests_on=rests_on
        )
        # What is learnt from is what whoever brings that bot along would have: its log with Troupe.
        self._talk("logs", Condition("", _SEEDS_BOT, prompt_format="alpaca"), users)

    def _train_seed(
        self, folder: Path, rows: list[dict[str, str]], name: str, recipe: tuple[object, ...]
    ) -> dict[str, Any]:
        file = folder / "rows.json"
        file.write_text(json.dumps(rows, ensure_ascii=False, indent=1), encoding="utf-8")
        return self._finetune("train", "--data_path", file, "--name", name, *recipe)

    def _talk(self, stage: str, condition: Condition, users: list[ScriptedUser]) -> None:
        """The bot under `condition` with scripted users."""

        def make(folder: Path) -> dict[str, Any]:
            said = conditions.played(self._config, condition, users, seed=self._plan.seed)
            conditions.save(folder, said)
            return {"replies": sum(len(transcript.replies) for transcript in said)}

        self._stages.run(
            stage,
            make,
            adapter=self._stages.digest(condition.adapter),
            condition=condition.key,
            users=len(users),
            seed=self._plan.seed,
        )

    def _logs(self, stage: str) -> Path:
        return self._work / stage / conditions.TRANSCRIPTS

    # -- training sets from the logs -------------------------------------------------------------

    def _training_sets(self) -> None:
        def store(folder: Path) -> dict[str, Any]:
            said = read_transcripts(self._logs("logs"))
            self._config.database_file.unlink(missing_ok=True)
            writing = write_logs(
                self._config.database_file, self._config.paths.personas, said, _SEEDS_BOT
            )
            return {"replies": asyncio.run(writing)}

        self._stages.run("database", store, logs=self._stages.digest("logs"))
        replay = self._work / "data" / "replay.jsonl"
        mixed = ("--replay", replay, "--replay_licence", f"{LICENCE}; Apache-2.0",
                 "--replay_attribution", f"{ATTRIBUTION}; dialogues of the Troupe project",
                 "--replies_per_example", 8, "--name_drills", 1)  # fmt: skip
        rests_on = [self._stages.digest("database"), self._stages.digest("data")]
        self._stages.run("set-raw", self._raw, rests_on=rests_on)
        for name, options in (("cleaned", ()), ("recommended", mixed)):

            def make(folder: Path, options: tuple[object, ...] = options) -> dict[str, Any]:
                return self._finetune("prepare", "--output_dir", folder / "set", *options)

            self._stages.run(f"set-{name}", make, options=options, rests_on=rests_on)

    def _raw(self, folder: Path) -> dict[str, Any]:
        """The log as it is, cut into windows and nothing else: what not to train on."""
        log = read_log(self._config)
        windows = configured_tokens(self._config, self._config.finetune).windows()
        examples = [found for one in log.dialogues for found in windows.examples(one)]
        write_training_set(TrainingSet(tuple(examples), report={"steps": []}), folder / "set")
        return {"examples": len(examples), "replies": log.replies}

    # -- trainings and measurements --------------------------------------------------------------

    def _train(self, name: str) -> None:
        source, options = _METHODS[name]

        def make(folder: Path) -> dict[str, Any]:
            return self._finetune(
                "train",
                "--data_path",
                self._work / f"set-{source}" / "set",
                "--name",
                name,
                *options,
            )

        self._stages.run(name, make, options=options, rests_on=self._stages.digest(f"set-{source}"))

    def _measured(self, row: Condition) -> dict[str, Any]:
        suite = self._suite()
        if row.adapter in _METHODS:
            self._train(row.adapter)

        def make(folder: Path) -> dict[str, Any]:
            said = conditions.played(self._config, row, suite, seed=self._plan.seed)
            conditions.save(folder, said)
            return {"replies": sum(len(transcript.replies) for transcript in said)}

        adapter = None if row.adapter == "base" else self._stages.digest(row.adapter)
        name = f"play-{row.key}"
        folder = self._stages.run(
            name,
            make,
            adapter=adapter,
            suite=data.hash_of(suite),
            sampling=self._config.sampling.model_dump(),
            seed=self._plan.seed,
        )
        chats = {user.id for user in suite if user.id.startswith("persona-chat-")}
        parts = {"suite": {user.id for user in suite} - chats, "persona_chat": chats}
        return conditions.measured(folder, row.label, parts)

    def _perplexity(self) -> dict[str, Any]:
        """Of every adapter, in the prompt format that it learnt."""
        formats = {row.adapter: row.prompt_format for row in reversed(_ROWS)}

        def make(folder: Path) -> dict[str, Any]:
            examples = read_held_out(self._work / "data" / "held_out.jsonl")
            found: dict[str, Figure] = {}
            for used in sorted(set(formats.values())):
                adapters = [name for name, learnt in formats.items() if learnt == used]
                model = self._config.model.model_copy(update={"prompt_format": used})
                config = self._config.model_copy(update={"model": model})
                found |= perplexities(config, adapters, examples)
            return {name: figure.as_json() for name, figure in found.items()}

        rests_on = [self._stages.digest(name) for name in (*formats, "data") if name != "base"]
        self._stages.run("perplexity", make, rests_on=rests_on)
        figures: dict[str, Any] = self._stages.result("perplexity")["figures"]
        return figures

    def _finetune(self, command: str, *arguments: object) -> dict[str, Any]:
        return finetune(command, *arguments, config=self._settings_file, threads=self._plan.threads)

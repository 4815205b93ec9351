"""How a list of messages becomes the tokens of a prompt, for whatever template a model has.

The template is the tokenizer's own, or one of `templates/*.jinja` by name. Serving and training
both encode through here, so what is trained on is what is served.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import TemplateError

from inference.adapters import OWN_FORMAT
from inference.types import InferenceError, Message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TEMPLATES = Path(__file__).with_name("templates")
OWN = OWN_FORMAT


class PromptFormat:
    """One template over one tokenizer."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, name: str = "auto") -> None:
        """`name` is `auto` (the tokenizer's own template) or a file of `templates/`.

        Raises `InferenceError` if `auto` finds no template or `name` does not exist.
        """
        self.tokenizer = tokenizer
        self.name, self.template = _choose(tokenizer, name)
        self.stop = _STOPS.get(self.name, ())
        # Longest first, so that no token's text hides inside another's.
        special = sorted(_special_texts(tokenizer), key=len, reverse=True)
        self._special = re.compile("|".join(map(re.escape, special))) if special else None
        self.prompt_overhead, self.message_overhead = self._measure_overhead()

    def render(self, messages: Sequence[Message], *, reply: bool = True) -> str:
        """The prompt as text, ending where the reply begins unless `reply` is False.

        Special tokens inside contents are broken up: what a user types cannot end a turn.
        """
        turns = [{"role": m.role, "content": self._neutral(m.content)} for m in messages]
        try:
            return self._apply(turns, reply)
        except TemplateError:
            # Some templates refuse a system turn or an opening by the assistant; they all take
            # user and assistant in turn, beginning with the user.
            return self._apply(strictly_alternating(turns), reply)

    def encode(
        self, messages: Sequence[Message], *, reply: bool = True, continues: bool = False
    ) -> list[int]:
        """The prompt as token ids; with `continues` it ends with the last message's last word."""
        text = self.render(messages, reply=reply)
        if continues:
            words = self._neutral(messages[-1].content).rstrip()
            text = text[: text.rindex(words) + len(words)] if words in text else text
        ids: list[int] = self.tokenizer(text, add_special_tokens=self._adds_bos(text))["input_ids"]
        return ids

    def encode_reply(
        self, messages: Sequence[Message]
    ) -> tuple[list[int], list[tuple[int, int]], int]:
        """All messages as token ids, the characters of the text that each stands for, and the place
        in that text where the last message's own words begin (-1 if they are not there as such)."""
        text = self.render(messages, reply=False)
        found = self.tokenizer(
            text, add_special_tokens=self._adds_bos(text), return_offsets_mapping=True
        )
        return found["input_ids"], found["offset_mapping"], text.rfind(messages[-1].content)

    def _apply(self, turns: list[dict[str, str]], reply: bool) -> str:
        rendered: Any = self.tokenizer.apply_chat_template(
            turns, chat_template=self.template, tokenize=False, add_generation_prompt=reply
        )
        return str(rendered)

    def _adds_bos(self, text: str) -> bool:
        """Templates of chat models write the beginning-of-text token themselves; others do not."""
        bos = self.tokenizer.bos_token
        return self.name != OWN and not (isinstance(bos, str) and text.startswith(bos))

    def _neutral(self, content: str) -> str:
        while self._special is not None and self._special.search(content):
            content = self._special.sub(lambda found: f"{found[0][0]} {found[0][1:]}", content)
        return content

    def _measure_overhead(self) -> tuple[int, int]:
        """Tokens added once, and at most around each message, found by rendering short chats."""
        word = "a"
        cost = len(self.tokenizer(word, add_special_tokens=False)["input_ids"])

        def size(*roles: Any) -> int:
            return len(self.encode([Message(role=role, content=word) for role in roles]))

        start = ("system", "user")
        added = [
            size(*start, *roles) - size(*start, *roles[:-1]) - cost
            for roles in itertools.chain.from_iterable(
                itertools.product(("user", "assistant"), repeat=length) for length in (1, 2)
            )
        ]
        around = max(added) + 1  # tokens can merge differently with longer words
        return max(size(*start) - 2 * (cost + around), 0) + 1, around


# Where a format has no end-of-turn token of its own, the next speaker's marker ends the reply; so
# does the character's own, which models write that were not taught where their replies end.
_STOPS: dict[str, tuple[str, ...]] = {
    "alpaca": ("### Instruction:", "### Input:", "### Response:"),
    "alpaca_short": ("### Instruction:", "### Input:", "### Response:"),
    "vigogne": ("### Instruction:", "### Entrée:", "### Réponse:"),
    "vicuna": ("\nUSER:", "\nASSISTANT:"),
    "ziya": ("<human>:", "<bot>:"),
}

# What stands above the input of an instruction, in the formats that have a place for one.
_INPUT_HEADINGS = {
    "alpaca": "### Input:",
    "alpaca_short": "### Input:",
    "vigogne": "### Entrée:",
}


def input_heading(prompt_format: str) -> str:
    """What the original templates write above a row's input; empty where they have no place."""
    return _INPUT_HEADINGS.get(prompt_format, "")


def _choose(tokenizer: PreTrainedTokenizerBase, name: str) -> tuple[str, str]:
    own = tokenizer.chat_template
    if name == "auto":
        if isinstance(own, str) and own:
            return OWN, own
        raise InferenceError(
            "The model's tokenizer has no chat template; set model.prompt_format to one of "
            + ", ".join(template_names())
            + "."
        )
    file = TEMPLATES / f"{name}.jinja"
    if not file.is_file():
        raise InferenceError(
            f"There is no prompt format {name!r}; there are {', '.join(template_names())}."
        )
    return name, file.read_text(encoding="utf-8")


def template_names() -> list[str]:
    """The prompt formats that are shipped as files."""
    return sorted(file.stem for file in TEMPLATES.glob("*.jinja"))


def _special_texts(tokenizer: PreTrainedTokenizerBase) -> set[str]:
    added = {str(token) for token in tokenizer.get_added_vocab()}
    # A special token of one character (some vocabularies have them) cannot be broken up, and a
    # template's markers are always longer.
    return {text for text in added | set(tokenizer.all_special_tokens) if len(text) > 1}


def strictly_alternating(turns: list[dict[str, str]]) -> list[dict[str, str]]:
    """System text joins the first user turn; a conversation opened by the assistant gets a cue."""
    system = "\n\n".join(turn["content"] for turn in turns if turn["role"] == "system")
    merged: list[dict[str, str]] = []
    for turn in turns:
        if turn["role"] == "system":
            continue
        if merged and merged[-1]["role"] == turn["role"]:
            merged[-1] = {**turn, "content": f"{merged[-1]['content']}\n{turn['content']}"}
        else:
            merged.append(turn)
    if not merged or merged[0]["role"] != "user":
        merged.insert(0, {"role": "user", "content": system or "(The scene opens.)"})
    elif system:
        merged[0] = {"role": "user", "content": f"{system}\n\n{merged[0]['content']}"}
    return merged

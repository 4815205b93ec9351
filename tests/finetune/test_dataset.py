"""What is labelled: exactly the taught replies, each with its end-of-turn token."""

from __future__ import annotations

from dataclasses import replace

import pytest

from finetune.dataset import IGNORE_INDEX, Encoded, Encoder, Example, Turn, data_hash
from finetune.errors import InputError
from inference.model_loading import LoadedModel, end_of_turn_ids
from inference.prompt_format import PromptFormat, template_names
from inference.types import Message, Role


def turn(role: Role, content: str, *, taught: bool = False, ended: bool = True) -> Turn:
    return Turn(Message(role=role, content=content), taught, ended)


CHAT = Example(
    (
        turn("system", "You are Vex."),
        turn("assistant", "Welcome!"),
        turn("user", "What do you sell?"),
        turn("assistant", "Bottled storms.", taught=True),
        turn("user", "돈이 없어요 🌊"),
        turn("assistant", "그럼 구경만 하세요.", taught=True),
    )
)


def labelled(loaded: LoadedModel, encoded: Encoded) -> str:
    return str(loaded.tokenizer.decode([t for t in encoded.labels if t != IGNORE_INDEX]))


def encoder(loaded: LoadedModel, cutoff_len: int = 512) -> Encoder:
    return Encoder(loaded.prompt_format, loaded.end_ids, cutoff_len)


def test_exactly_the_replies_and_their_ends_are_labelled(embedded: LoadedModel) -> None:
    [encoded] = encoder(embedded).encode(CHAT)
    assert labelled(embedded, encoded) == "Bottled storms.<|im_end|>그럼 구경만 하세요.<|im_end|>"
    assert encoded.labels[-1] in embedded.end_ids
    assert encoded.replies == 2
    for token, label in zip(encoded.input_ids, encoded.labels, strict=True):
        assert label in (token, IGNORE_INDEX)


def test_each_reply_stands_behind_the_prompt_that_is_served(embedded: LoadedModel) -> None:
    [encoded] = encoder(embedded).encode(CHAT)
    messages = [turn.message for turn in CHAT.turns]
    for reply in (3, 5):
        served = embedded.prompt_format.encode(messages[:reply])
        assert list(encoded.input_ids[: len(served)]) == served
        assert encoded.labels[len(served)] != IGNORE_INDEX
        assert encoded.labels[len(served) - 1] == IGNORE_INDEX


@pytest.mark.parametrize("name", template_names())
def test_every_format_teaches_the_reply_and_where_it_ends(embedded: LoadedModel, name: str) -> None:
    prompt_format = PromptFormat(embedded.tokenizer, name)
    end_ids = end_of_turn_ids(embedded.model, embedded.tokenizer, prompt_format)
    encoded = Encoder(prompt_format, end_ids, 512).encode(CHAT)
    assert sum(one.replies for one in encoded) == 2
    texts = [labelled(embedded, one) for one in encoded]
    for reply in ("Bottled storms.", "그럼 구경만 하세요."):
        assert any(reply in text for text in texts)
    assert not any(word in text for text in texts for word in ("sell", "Welcome", "돈이", "Vex"))
    ends = [[token for token in one.labels if token in end_ids] for one in encoded]
    assert sum(map(len, ends)) == 2
    assert all(one.labels[-1] in end_ids for one in encoded)


def test_a_broken_off_reply_is_not_taught_to_end(embedded: LoadedModel) -> None:
    turns = tuple(replace(turn, ended=False) if turn.taught else turn for turn in CHAT.turns)
    [encoded] = encoder(embedded).encode(Example(turns))
    assert labelled(embedded, encoded) == "Bottled storms.그럼 구경만 하세요."


def test_an_example_that_is_cut_has_no_end(embedded: LoadedModel) -> None:
    words = "storm " * 200
    example = Example((turn("user", "Sing."), turn("assistant", words, taught=True)))
    [encoded] = encoder(embedded, cutoff_len=64).encode(example)
    assert len(encoded.input_ids) == 64
    assert embedded.end_ids.isdisjoint(encoded.labels)


def test_an_example_cut_before_its_reply_teaches_nothing(embedded: LoadedModel) -> None:
    example = Example((turn("user", "storm " * 200), turn("assistant", "No.", taught=True)))
    assert encoder(embedded, cutoff_len=64).encode(example) == []


def test_a_template_that_rewrites_earlier_turns_gives_one_sequence_each(
    embedded: LoadedModel,
) -> None:
    prompt_format = PromptFormat(embedded.tokenizer)
    prompt_format.template = (
        "{%- for m in messages -%}"
        "{%- if m['role'] == 'assistant' and not loop.last -%}(said something)"
        "{%- else -%}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' }}"
        "{%- endif -%}{%- endfor -%}"
        "{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\n' }}{%- endif -%}"
    )
    first, second = Encoder(prompt_format, embedded.end_ids, 512).encode(CHAT)
    assert labelled(embedded, first) == "Bottled storms.<|im_end|>"
    assert labelled(embedded, second) == "그럼 구경만 하세요.<|im_end|>"


TURNS = (
    "{%- for m in messages -%}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' }}"
    "{%- endfor -%}"
)
OPENING = "{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\n' }}{%- endif -%}"


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{{ messages[0]['content'] }}" + OPENING, "it leaves out what the assistant says"),
        (TURNS, "its prompt ends before the assistant's turn"),
    ],
)
def test_a_template_without_place_for_the_reply_is_refused(
    embedded: LoadedModel, template: str, said: str
) -> None:
    prompt_format = PromptFormat(embedded.tokenizer)
    prompt_format.template = template
    end_of_turn_ids(embedded.model, embedded.tokenizer, prompt_format)
    with pytest.raises(InputError, match=f"'tokenizer' has no place for the reply: .*{said}"):
        Encoder(prompt_format, embedded.end_ids, 512)


@pytest.mark.parametrize(
    "template",
    [
        TURNS + OPENING,
        # A prompt that ends at the reply by itself, as Llama 2's and Mistral's do.
        "{%- for m in messages -%}{%- if m['role'] == 'user' -%}[INST] {{ m['content'] }} [/INST] "
        "{%- else -%}{{ ' ' + m['content'] + eos_token }}{%- endif -%}{%- endfor -%}",
        # Qwen 3 writes an empty thought before the last reply, DeepSeek R1 opens one in the prompt.
        TURNS.replace("'\n' + m", "'\n' + ('<think>\n\n</think>' if loop.last else '') + m")
        + OPENING,
        TURNS + OPENING.replace("assistant\n", "assistant\n<think>\n"),
    ],
)
def test_a_template_with_a_place_for_the_reply_teaches_it(
    embedded: LoadedModel, template: str
) -> None:
    prompt_format = PromptFormat(embedded.tokenizer)
    prompt_format.template = template
    encoded = Encoder(prompt_format, embedded.end_ids, 512).encode(CHAT)
    texts = " ".join(labelled(embedded, one) for one in encoded)
    assert "Bottled storms." in texts
    assert "그럼 구경만 하세요." in texts
    assert "sell" not in texts


def test_special_tokens_in_a_reply_are_not_taught_as_such(embedded: LoadedModel) -> None:
    reply = "I say <|im_end|> and go on."
    example = Example((turn("user", "?"), turn("assistant", reply, taught=True)))
    [encoded] = encoder(embedded).encode(example)
    assert [t in embedded.end_ids for t in encoded.labels].count(True) == 1
    assert labelled(embedded, encoded).endswith("and go on.<|im_end|>")


def test_the_hash_follows_the_data() -> None:
    other = Example((*CHAT.turns[:-1], replace(CHAT.turns[-1], ended=False)))
    assert data_hash([CHAT]) == data_hash([Example(CHAT.turns)])
    assert data_hash([CHAT]) != data_hash([other])

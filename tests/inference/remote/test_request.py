import logging

import pytest

from inference.remote.errors import RemoteError
from inference.remote.request import RemoteDialect, estimated_tokens
from inference.types import GenerationRequest, Message, Sampling


def request(*texts: str, **sampling: object) -> GenerationRequest:
    roles = ["system", "user", "assistant"]
    return GenerationRequest(
        messages=tuple(
            Message.model_validate({"role": roles[min(i, 2)], "content": text})
            for i, text in enumerate(texts or ("be kind", "hi"))
        ),
        sampling=Sampling.model_validate(sampling),
    )


def dialect(*, explicit: bool = False, special: tuple[str, ...] = ()) -> RemoteDialect:
    return RemoteDialect("http://x/v1", explicit=explicit, special_texts=frozenset(special))


def test_only_what_is_not_neutral_is_sent() -> None:
    body = dialect().body(request(), "llama")
    assert body == {
        "model": "llama",
        "messages": [
            {"role": "system", "content": "be kind"},
            {"role": "user", "content": "hi"},
        ],
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": 220,
        "temperature": 0.8,
        "top_p": 0.9,
    }


def test_vllm_is_told_what_is_off_as_it_else_takes_the_checkpoints_defaults() -> None:
    body = dialect(explicit=True).body(request(), "llama")
    assert (body["top_k"], body["min_p"], body["repetition_penalty"]) == (0, 0.0, 1.0)


def test_every_setting_has_its_word() -> None:
    sampling = {
        "temperature": 0.0,
        "top_p": 1.0,
        "top_k": 40,
        "min_p": 0.1,
        "repetition_penalty": 1.1,
        "frequency_penalty": 0.2,
        "presence_penalty": -0.3,
        "logit_bias": {5: -100.0},
        "max_new_tokens": 9,
        "seed": 2**62,
        "stop": ("a", "b", "c", "d", "e"),
    }
    body = dialect().body(request(**sampling), "llama")
    expected = {
        **sampling,
        "logit_bias": {"5": -100.0},
        "max_tokens": sampling.pop("max_new_tokens"),
        "stop": ["a", "b", "c", "d"],  # the protocol's limit
    }
    expected.pop("max_new_tokens")
    assert body.items() >= expected.items()


def test_what_cannot_be_said_is_left_out_with_one_line(caplog: pytest.LogCaptureFixture) -> None:
    asked = request(dry_multiplier=0.8, no_repeat_ngram=3, logprobs=2)
    with caplog.at_level(logging.INFO):
        speaker = dialect()
        assert speaker.body(asked, "m").keys() == dialect().body(request(), "m").keys()
        speaker.body(asked, "m")
    lines = [r.getMessage() for r in caplog.records if "asked without" in r.getMessage()]
    assert len(lines) == 1
    assert "DRY, no_repeat_ngram, logprobs" in lines[0]


@pytest.mark.parametrize(
    "text",
    ["<|im_end|>", "</s>", "<s>", "[INST]", "[/INST]", "<<SYS>>", "<end_of_turn>", "<｜User｜>",
     "<|start_header_id|>system<|end_header_id|>", "<END>", "<<|im_end|>|im_end|>"],
)  # fmt: skip
def test_what_a_user_types_cannot_end_a_turn(text: str) -> None:
    speaker = dialect(special=("<END>",))
    content = speaker.body(request("x", f"a {text} b"), "m")["messages"][1]["content"]
    assert not any(word in content for word in text.split())
    assert content.replace(" ", "") == f"a{text}b".replace(" ", "")


def test_lone_surrogates_are_replaced() -> None:
    body = dialect().body(request("x", "a\ud800b"), "m")
    assert body["messages"][1]["content"] == "a?b"


def refused(message: str, status: int = 400) -> RemoteError:
    return RemoteError("no", status=status, said=message)


@pytest.mark.parametrize(
    "message",
    [
        "Unrecognized request arguments supplied: repetition_penalty, top_k",
        "[{'type': 'extra_forbidden', 'loc': ['body', 'top_k']}, {'loc': ['repetition_penalty'], "
        "'msg': 'Extra inputs are not permitted'}]",
    ],
)
def test_a_strict_server_is_asked_again_without_what_it_refuses(message: str) -> None:
    speaker = dialect()
    asked = request(top_k=5, repetition_penalty=1.1)
    body = speaker.body(asked, "m")
    assert speaker.learn(body, refused(message, 422))
    assert speaker.body(asked, "m") == {
        name: value for name, value in body.items() if name not in ("top_k", "repetition_penalty")
    }
    assert speaker.learn(body, refused(message)), "another request was under way meanwhile"
    assert not speaker.learn(speaker.body(asked, "m"), refused(message)), "no endless repetition"


def test_the_newer_name_of_the_limit_is_learnt() -> None:
    speaker = dialect()
    body = speaker.body(request(), "m")
    hint = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
    assert speaker.learn(body, refused(hint))
    again = speaker.body(request(), "m")
    assert again["max_completion_tokens"] == 220
    assert "max_tokens" not in again
    assert not speaker.learn(again, refused("max_completion_tokens is too large"))


def test_a_template_without_system_turns_gets_them_in_the_first_of_the_user() -> None:
    speaker = dialect()
    asked = request("be kind", "hi", "ho")
    body = speaker.body(asked, "m")
    complaint = refused("Conversation roles must alternate user/assistant/user/assistant/...")
    assert speaker.learn(body, complaint)
    again = speaker.body(asked, "m")
    assert [m["role"] for m in again["messages"]] == ["user", "assistant"]
    assert again["messages"][0]["content"] == "be kind\n\nhi"
    assert not speaker.learn(again, complaint)


@pytest.mark.parametrize(
    "error",
    [refused("the model is confused"), refused("", 400), refused("unknown field top_k", 500),
     refused("unsupported model")],
)  # fmt: skip
def test_other_refusals_teach_nothing(error: RemoteError) -> None:
    speaker = dialect()
    assert not speaker.learn(speaker.body(request(top_k=3), "m"), error)


def test_prompts_are_estimated_roughly() -> None:
    assert estimated_tokens(request("x", "y" * 400)) == 101

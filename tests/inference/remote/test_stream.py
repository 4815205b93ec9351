import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.remote.errors import RemoteError
from inference.remote.stream import EventDecoder, RemoteReply
from inference.text_stream import TextStream
from inference.types import FinishReason
from tests.inference.remote.server import choice, delta, finish, in_pieces, sse, usage


def decode(data: bytes, cuts: list[int] | range = range(0)) -> list[str]:
    decoder = EventDecoder()
    events = [event for piece in in_pieces(data, cuts) for event in decoder.feed(piece)]
    return events + decoder.end()


def fresh(*stop: str) -> RemoteReply:
    return RemoteReply(stop, time.monotonic(), 7)


def said(reply: RemoteReply, *events: object) -> str:
    return "".join(reply.take(json.dumps(event))[0] for event in events)


TRICKY = (
    ": keep-alive\r\n\r\ndata: eins\n\ndata:zwei ✓ ünï 🐙\r\n\r\nevent: x\nid: 3\ndata\ndata: a\n"
    "data:  b\r\rretry: 5\n\n:\n\ndata: [DONE]\n\n"
).encode()
PARTS = ["eins", "zwei ✓ ünï 🐙", "\na\n b", "[DONE]"]


def test_events_are_the_same_wherever_the_network_cuts() -> None:
    assert decode(TRICKY) == PARTS
    for cut in range(len(TRICKY)):
        assert decode(TRICKY, [cut]) == PARTS, cut
    assert decode(TRICKY, range(len(TRICKY))) == PARTS  # byte by byte


@given(
    st.lists(st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]))),
    st.lists(st.integers(0, 1 << 16)),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.booleans(),
)
def test_any_texts_survive_any_cuts(
    texts: list[str], cuts: list[int], line_end: str, closed: bool
) -> None:
    data = (line_end * 2).join(f"data: {text}" for text in texts) + (line_end * 2 if closed else "")
    assert decode(data.encode(), cuts) == [text for text in texts if text]


@given(st.binary(), st.lists(st.integers(0, 1 << 16)))
def test_no_bytes_break_the_decoder(data: bytes, cuts: list[int]) -> None:
    assert decode(data, cuts) == decode(data)


def test_a_byte_order_mark_and_broken_characters_are_survived() -> None:
    assert decode(b"\xef\xbb\xbfdata: a\xff\n\n") == ["a\N{REPLACEMENT CHARACTER}"]


def test_a_huge_line_is_read() -> None:
    huge = "x" * (1 << 20)
    data = sse(huge, done=False)
    assert decode(data, range(0, len(data), 4096)) == [huge]


@pytest.mark.parametrize("line_end", [b"", b"\n"])
def test_an_event_without_end_is_refused(line_end: bytes) -> None:
    decoder = EventDecoder(largest=1000)
    for _ in range(10):
        assert decoder.feed(b"data: " + b"x" * 50 + line_end) == []
    with pytest.raises(RemoteError, match="without end"):
        decoder.feed(b"x" * 1000)


def test_a_reply_is_trimmed_and_counted() -> None:
    reply = fresh()
    events = [choice({"role": "assistant"}), delta(" \n"), delta(" Ho"), delta("la! "), finish()]
    assert said(reply, *events) == "Hola! "
    assert (reply.finish, reply.tokens, reply.begun) == ("stop", 3, True)
    assert reply.usage().prompt_tokens == 7
    said(reply, usage(20, 5, cached=16))
    told = reply.usage()
    assert (told.prompt_tokens, told.completion_tokens, told.cached_tokens) == (20, 5, 16)
    assert 0 <= told.first_token_seconds <= told.total_seconds


def test_the_role_alone_is_no_beginning() -> None:
    reply = fresh()
    assert reply.take(json.dumps(choice({"role": "assistant", "content": ""}))) == ("", 0)
    assert not reply.begun


def test_a_model_that_thinks_has_begun_but_says_nothing() -> None:
    reply = fresh()
    assert reply.take(json.dumps(choice({"reasoning_content": "hm"}))) == ("", 1)
    assert reply.begun
    assert said(reply, delta("Yes."), finish()) == "Yes."


@given(
    st.lists(st.sampled_from(["U", "S", "E", "R", ":", " ", "\n", "a", "USE", "ER:"]), max_size=12),
    st.sampled_from([("USER:",), ("\nUSER:", "a:"), ("ER",), ()]),
)
def test_stop_strings_are_cut_as_by_the_local_worker(
    words: list[str], stop: tuple[str, ...]
) -> None:
    local = TextStream(lambda ids: "".join(words[i] for i in ids), stop)
    expected = "".join(local.push(i) for i in range(len(words))) + local.finish()
    reply = fresh(*stop)
    assert said(reply, *(delta(word) for word in words), finish("length")) == expected
    assert reply.stopped == local.stopped
    assert not any(text in expected for text in stop)
    # A text that only the end completes cuts the reply too, but then the server has the last word.
    assert reply.finish in ("stop", "length")


def test_nothing_is_taken_after_the_end() -> None:
    reply = fresh()
    assert said(reply, delta("a"), finish(), delta("b"), finish("length")) == "a"
    assert reply.finish == "stop"


@pytest.mark.parametrize(
    ("reason", "finish_reason"),
    [("stop", "stop"), ("STOP", "stop"), ("eos_token", "stop"), ("length", "length"),
     ("max_tokens", "length")],
)  # fmt: skip
def test_reasons_to_end(reason: str, finish_reason: FinishReason) -> None:
    reply = fresh()
    said(reply, finish(reason))
    assert reply.finish == finish_reason


@pytest.mark.parametrize(
    ("event", "sentence"),
    [
        (finish("content_filter"), "content filter"),
        (delta(refusal="I cannot"), "content filter"),
        (finish("tool_calls"), "asked for a tool"),
        (finish("abort"), r"ended this reply early \(abort\)"),
        ({"error": {"message": "out of\nmemory.", "code": 500}}, "gave up this reply: out of mem"),
        ({"object": "error", "message": "no"}, "gave up this reply: no"),
        ({"error": "quite so"}, "quite so"),
        ({"error": {"code": "x"}}, "gave up"),
        ([], "no chat completion"),
        ("hello", "no chat completion"),
        ({"choices": [3]}, "no chat completion"),
        ({"choices": [{"delta": [1]}]}, "no chat completion"),
        ({"choices": [{"delta": {"content": [1]}}]}, "no chat completion"),
    ],
)
def test_what_is_no_reply_is_a_sentence(event: object, sentence: str) -> None:
    with pytest.raises(RemoteError, match=sentence) as caught:
        fresh().take(json.dumps(event))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("data", ["", "{", "<html>", "[" * 100_000, '{"choices": [{'])
def test_malformed_json_is_a_sentence(data: str) -> None:
    with pytest.raises(RemoteError, match="no chat completion"):
        fresh().take(data)


@pytest.mark.parametrize(
    "event", [{}, {"choices": None}, {"choices": []}, {"usage": None, "choices": 3},
              {"choices": [{}]}, {"usage": {"prompt_tokens": "x", "completion_tokens": None}}],
)  # fmt: skip
def test_what_says_nothing_is_passed_over(event: object) -> None:
    reply = fresh()
    assert reply.take(json.dumps(event)) == ("", 0)
    assert reply.finish is None


def test_an_error_that_may_pass_is_marked() -> None:
    with pytest.raises(RemoteError) as caught:
        fresh().take(json.dumps({"error": {"message": "busy", "code": 503}}))
    assert caught.value.again

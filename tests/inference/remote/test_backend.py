import asyncio
import logging

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.inference.remote.conftest import Caller, Connect
from tests.inference.remote.server import (
    Answer,
    MisbehavingServer,
    Visit,
    broken,
    choice,
    delta,
    error,
    finish,
    hanging,
    in_pieces,
    refuse,
    reply,
    sse,
    stream,
    usage,
)


async def test_a_reply_is_streamed(server: MisbehavingServer, caller: Caller) -> None:
    server.play(stream(reply(" Ahoy", ", you", " there")))
    request_id = caller.ask(said="Hello", temperature=0.5)
    last = await caller.ear.end(request_id)
    pieces = caller.ear.pieces[request_id]
    assert [piece.text for piece in pieces] == ["Ahoy", ", you", " there", ""]
    assert [piece.tokens for piece in pieces] == [1, 1, 1, 0]
    assert (last.finish_reason, last.error) == ("stop", "")
    assert last.usage is not None
    assert (last.usage.prompt_tokens, last.usage.cached_tokens) == (10, 4)
    body = server.visits[0].body
    assert body["model"] == "llama"
    assert body["messages"] == [{"role": "user", "content": "Hello"}]
    assert (body["stream"], body["seed"], body["temperature"]) == (True, 1, 0.5)
    stats = caller.ear.stats[-1]
    assert (stats.active, stats.generated_tokens, stats.prompt_tokens) == (0, 3, 10)
    assert stats.prefix_hit_tokens == 4


async def test_length_and_a_server_that_never_says_what_it_cost(
    server: MisbehavingServer, caller: Caller
) -> None:
    server.play(stream(sse(delta("a"), delta("b"), finish("length"))))
    text, last = await caller.reply()
    assert (text, last.finish_reason) == ("ab", "length")
    assert last.usage is not None
    assert (last.usage.prompt_tokens, last.usage.completion_tokens) == (1, 2)


async def test_the_end_does_not_wait_for_figures_that_never_come(
    server: MisbehavingServer, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inference.remote.backend._USAGE_SECONDS", 0.05)
    server.play(hanging(sse(delta("a"), finish(), done=False)))
    assert (await caller.reply())[1].finish_reason == "stop"
    server.play(broken(sse(delta("a"), finish(), done=False)))
    text, last = await caller.reply()
    assert (text, last.finish_reason) == ("a", "stop")


async def test_a_server_that_does_not_stream_is_understood(
    server: MisbehavingServer, caller: Caller
) -> None:
    message = {"message": {"role": "assistant", "content": " All at once."}}
    whole = {"choices": [{**message, "finish_reason": "stop"}], "usage": usage(5, 4)["usage"]}
    server.play(refuse(200, whole))
    text, last = await caller.reply()
    assert (text, last.finish_reason) == ("All at once.", "stop")
    assert last.usage is not None
    assert last.usage.completion_tokens == 4


async def test_a_stop_string_that_the_server_leaks_is_not_shown(
    server: MisbehavingServer, caller: Caller
) -> None:
    leak = sse(delta("Yes."), delta("\nUS"), delta("ER: and"), delta(" more"), done=False)
    server.play(hanging(leak))
    text, last = await caller.reply(stop=("a", "b", "c", "d", "\nUSER:")[4:])
    assert (text, last.finish_reason) == ("Yes.", "stop")
    await asyncio.wait_for(server.visits[0].gone.wait(), 20)  # and the server was told


TRICKY = b": hello\r\n\r\n" + reply("Ünï", "cödé 🐙", " – ja").replace(b"data: ", b"data:")


async def test_cuts_anywhere_change_nothing(server: MisbehavingServer, caller: Caller) -> None:
    for cut in range(0, len(TRICKY), 7):
        server.play(stream(*in_pieces(TRICKY, [cut])))
        text, last = await caller.reply()
        assert (text, last.finish_reason) == ("Ünïcödé 🐙 – ja", "stop")


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(cut=st.integers(0, len(TRICKY) - 1))
async def test_a_broken_stream_is_never_a_clean_end(
    server: MisbehavingServer, connect: Connect, cut: int
) -> None:
    """Whatever was cut off before the server said how the reply ended."""
    complete = TRICKY.find(b"\n\n", TRICKY.find(b'"finish_reason": "stop"')) + 2
    caller = await connect(retries=0)
    for answer in (broken(TRICKY[:cut]), stream(TRICKY[:cut])):
        server.play(answer)
        _, last = await caller.reply()
        if cut >= complete:
            assert last.finish_reason == "stop"
        elif last.finish_reason == "stop":
            # The event is whole but for the empty line after it.
            assert TRICKY[:cut].rstrip(b"\r\n") == TRICKY[:complete].rstrip(b"\r\n")
        else:
            assert last.finish_reason == "error"
    await caller.backend.close()


# -- cancelling ------------------------------------------------------------------------------------


async def test_cancelling_disconnects(server: MisbehavingServer, caller: Caller) -> None:
    server.play(hanging(sse(delta("One"), delta(" two"), done=False)))
    request_id = caller.ask()
    await caller.ear.until(lambda: caller.ear.text(request_id) == "One two")
    caller.cancel(request_id)
    last = await caller.ear.end(request_id)
    assert last.finish_reason == "cancelled"
    assert last.usage is not None
    assert last.usage.completion_tokens == 2
    await asyncio.wait_for(server.visits[0].gone.wait(), 20)
    caller.cancel(request_id)
    caller.cancel("unknown")


async def test_cancelling_before_anything_happened(
    server: MisbehavingServer, caller: Caller
) -> None:
    request_id = caller.ask()
    caller.cancel(request_id)
    assert (await caller.ear.end(request_id)).finish_reason == "cancelled"
    assert server.visits == []


async def test_cancelling_while_waiting_for_another_attempt(
    server: MisbehavingServer, caller: Caller
) -> None:
    server.play(refuse(429, Retry_After="30"))
    request_id = caller.ask()
    await server.visited()
    caller.cancel(request_id)
    assert (await caller.ear.end(request_id)).finish_reason == "cancelled"


async def test_closing_ends_what_is_under_way(server: MisbehavingServer, caller: Caller) -> None:
    server.play(hanging(sse(delta("One"), done=False)))
    request_id = caller.ask()
    await caller.ear.until(lambda: caller.ear.text(request_id))
    await caller.backend.close()
    assert (await caller.ear.end(request_id)).finish_reason == "cancelled"
    assert caller.backend.state == "closed"
    assert (await caller.reply())[1].finish_reason == "error"


# -- failures before the first token ---------------------------------------------------------------


@pytest.mark.parametrize(
    "failure",
    [
        refuse(429, Retry_After="0"),
        refuse(500, "<html>"),
        refuse(502),
        refuse(503, Retry_After="soon"),
        refuse(504),
        broken(),
        broken(sse(choice({"role": "assistant"}), done=False)),
        stream(),
        stream(sse(choice({"role": "assistant"}))),
        stream(sse({"error": {"message": "overloaded", "code": 503}})),
    ],
)
async def test_what_may_pass_is_tried_again(
    server: MisbehavingServer, caller: Caller, failure: Answer
) -> None:
    server.play(failure, failure, stream(reply("Well")))
    text, last = await caller.reply()
    assert (text, last.finish_reason, len(server.visits)) == ("Well", "stop", 3)
    assert caller.ear.deaths == 0


async def test_patience_has_an_end(server: MisbehavingServer, connect: Connect) -> None:
    caller = await connect(retries=2)
    server.play(error("Too many cooks.", 429))
    _, last = await caller.reply()
    assert (last.finish_reason, len(server.visits)) == ("error", 3)
    assert last.error.endswith("takes no more requests now (HTTP 429): Too many cooks.")
    assert caller.backend.state == "ready"


async def test_a_wait_beyond_the_deadline_is_not_begun(
    server: MisbehavingServer, connect: Connect
) -> None:
    caller = await connect(deadline_seconds=10.0)
    server.play(refuse(429, Retry_After="3000"))
    _, last = await caller.reply()
    assert (last.finish_reason, len(server.visits)) == ("error", 1)


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (error("The model `llama` does not exist.", 404), "has no model 'llama'"),
        (error("maximum context length is 8 tokens"), "The prompt is too long"),
        (error("no", 401), "refuses the key"),
        (error("I do not like it"), "I do not like it"),
        (stream(b"<html>Welcome to nginx!", content_type="text/html"), "with a web page"),
        (refuse(200, {"error": {"message": "no luck"}}), "no luck"),
        (refuse(200, {"hello": 1}), "broke off"),
        (stream(sse("{not json")), "no chat completion"),
        (stream(sse(finish("content_filter"))), "content filter"),
        (stream(sse(finish("tool_calls"))), "asked for a tool"),
        (refuse(301, Location="http://127.0.0.1:9/"), "no OpenAI-compatible API"),
    ],
)
async def test_what_does_not_pass_is_one_sentence(
    server: MisbehavingServer, connect: Connect, answer: Answer, sentence: str
) -> None:
    caller = await connect(retries=1)
    server.play(answer)
    text, last = await caller.reply()
    assert (text, last.finish_reason) == ("", "error")
    assert sentence in last.error
    assert "\n" not in last.error
    assert len(server.visits) <= 2


async def test_a_strict_server_is_asked_in_its_own_words(
    server: MisbehavingServer, caller: Caller
) -> None:
    async def strict(visit: Visit) -> object:
        extra = [name for name in ("top_k", "min_p", "repetition_penalty") if name in visit.body]
        if extra:
            return await error(f"Unrecognized request argument supplied: {extra[0]}")(visit)
        return await stream(reply("Fine"))(visit)

    server.play(strict)  # type: ignore[arg-type]
    assert (await caller.reply())[0] == "Fine"
    assert len(server.visits) == 4
    assert (await caller.reply(top_k=3))[0] == "Fine"
    assert len(server.visits) == 5


# -- failures after it -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        broken(sse(delta("Once"), done=False)),
        stream(sse(delta("Once"), done=False)),
        stream(sse(delta("Once"))),  # a proxy may well say that it is done when it is not
        stream(sse(delta("Once"), '{"choi', done=False)),
        stream(sse(delta("Once"), {"error": {"message": "boom", "code": 503}})),
    ],
)
async def test_a_reply_that_breaks_off_is_an_error(
    server: MisbehavingServer, caller: Caller, answer: Answer
) -> None:
    server.play(answer)
    text, last = await caller.reply()
    assert (text, last.finish_reason, len(server.visits)) == ("Once", "error", 1)
    assert last.error.endswith(".")
    assert caller.ear.deaths == 0


async def test_the_first_word_has_a_deadline(server: MisbehavingServer, connect: Connect) -> None:
    caller = await connect(deadline_seconds=0.15)
    for answer in (hanging(), hanging(b": still busy\n\n")):
        server.play(answer)
        _, last = await caller.reply()
        assert last.finish_reason == "error"
        assert "did not begin within" in last.error
    for visit in server.visits:
        await asyncio.wait_for(visit.gone.wait(), 20)


async def test_silence_in_mid_reply_is_noticed(server: MisbehavingServer, connect: Connect) -> None:
    caller = await connect(idle_timeout_seconds=0.15)
    server.play(hanging(sse(delta("Once"), done=False)))
    text, last = await caller.reply()
    assert (text, last.finish_reason) == ("Once", "error")
    assert "said nothing" in last.error
    assert caller.backend.state == "ready"


async def test_the_key_goes_to_the_server_and_nowhere_else(
    server: MisbehavingServer,
    connect: Connect,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    key = "sk-very-secret"
    monkeypatch.setenv("TROUPE_TEST_KEY", key)
    server.key = key
    with caplog.at_level(logging.DEBUG):
        caller = await connect(api_key_variable="TROUPE_TEST_KEY")
        assert (await caller.reply())[1].finish_reason == "stop"
        server.play(error(f"Something about {key}"))
        _, last = await caller.reply()
    assert "Something about (the key)" in last.error
    assert key not in caplog.text
    assert key not in repr(caller.ear.ready)


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(
                [
                    stream(reply("A", "B")),
                    hanging(sse(delta("A"), done=False)),
                    broken(sse(delta("A"), done=False)),
                    broken(),
                    refuse(500),
                    error("no"),
                    stream(sse("?")),
                ]
            ),
            st.booleans(),
        ),
        min_size=1,
        max_size=8,
    )
)
async def test_every_request_ends_once_whatever_happens(
    server: MisbehavingServer, connect: Connect, fates: list[tuple[Answer, bool]]
) -> None:
    caller = await connect(retries=1)
    server.visits.clear()
    server.play(*(fate for fate, _ in fates))
    ids = [caller.ask() for _ in fates]
    for request_id, (_, cancelled) in zip(ids, fates, strict=True):
        if cancelled:
            caller.cancel(request_id)
    await asyncio.sleep(0.01)
    for request_id in ids:  # those that hang
        caller.cancel(request_id)
    for request_id in ids:
        assert (await caller.ear.end(request_id)).finish_reason is not None
    assert caller.ear.deaths == 0
    await caller.backend.close()

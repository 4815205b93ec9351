import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.queue import FairQueue
from inference.types import GenerationRequest, Message, RequestRefused


def _request(guild: str, channel: str, user: str) -> GenerationRequest:
    message = Message(role="user", content="hi")
    return GenerationRequest(messages=(message,), guild=guild, channel=channel, user=user)


def _pop(queue: FairQueue) -> GenerationRequest | None:
    request = queue.first()
    return queue.remove(request.id) if request else None


def _drain(queue: FairQueue, tokens: int = 100) -> list[GenerationRequest]:
    served = []
    while request := _pop(queue):
        queue.charge(request, tokens)
        served.append(request)
    return served


def test_a_busy_guild_does_not_hold_up_a_quiet_one() -> None:
    queue = FairQueue(64, 64)
    for _ in range(10):
        queue.push(_request("busy", "b", "u"))
    quiet = _request("quiet", "q", "v")
    queue.push(quiet)
    assert queue.place(quiet.id) == 2
    assert _drain(queue).index(quiet) <= 1


def test_what_nobody_waits_for_comes_after_everything_else() -> None:
    queue = FairQueue(64, 64)
    work = _request("quiet", "a", "").model_copy(update={"background": True})
    queue.push(work)
    for _ in range(3):
        queue.push(_request("busy", "b", "u"))
    assert queue.place(work.id) == 4
    assert _drain(queue)[-1] == work


def test_channels_of_a_guild_and_users_of_a_channel_take_turns() -> None:
    queue = FairQueue(64, 64)
    for _ in range(4):
        queue.push(_request("g", "a", "ann"))
    for _ in range(4):
        queue.push(_request("g", "a", "bob"))
    for _ in range(8):
        queue.push(_request("g", "b", "cem"))
    order = _drain(queue)
    assert [r.channel for r in order[:8]].count("a") == 4
    assert {r.user for r in order if r.channel == "a"} == {"ann", "bob"}
    assert [r.user for r in order if r.channel == "a"][:4].count("ann") == 2


def test_what_counts_is_tokens_not_requests() -> None:
    queue = FairQueue(64, 64)
    for _ in range(6):
        queue.push(_request("long", "l", "u"))
        queue.push(_request("short", "s", "v"))
    order = []
    while request := _pop(queue):
        queue.charge(request, 300 if request.guild == "long" else 100)
        order.append(request.guild)
    assert order[:8].count("short") > order[:8].count("long")


def test_silence_earns_no_credit() -> None:
    queue = FairQueue(64, 64)
    for _ in range(20):
        request = _request("busy", "b", "u")
        queue.push(request)
        queue.charge(request, 1000)
    for _ in range(5):
        queue.push(_request("late", "l", "v"))
    assert [r.guild for r in _drain(queue)][:6].count("late") == 3


def test_direct_messages_of_different_people_are_separate() -> None:
    queue = FairQueue(64, 64)
    for _ in range(5):
        queue.push(_request("", "dm-1", "u"))
    other = _request("", "dm-2", "v")
    queue.push(other)
    assert queue.place(other.id) == 2


def test_bounds_are_said_in_a_sentence() -> None:
    queue = FairQueue(3, 2)
    queue.push(_request("g", "a", "ann"))
    queue.push(_request("g", "a", "ann"))
    with pytest.raises(RequestRefused, match="already have 2 replies waiting"):
        queue.push(_request("g", "a", "ann"))
    queue.push(_request("g", "a", "bob"))
    with pytest.raises(RequestRefused, match="queue is full"):
        queue.push(_request("g", "a", "cem"))


def test_what_a_dead_worker_held_comes_first_again_even_when_full() -> None:
    queue = FairQueue(1, 1)
    held = _request("g", "a", "ann")
    queue.push(held)
    assert _pop(queue) == held
    queue.charge(held, 10_000)
    queue.push(_request("other", "b", "bob"))
    queue.push(held, again=True)
    assert queue.place(held.id) == 1
    assert _pop(queue) == held


@given(st.lists(st.tuples(*(st.sampled_from("abc"),) * 3), max_size=40), st.integers(0, 39))
def test_everything_is_served_once_and_places_are_right(
    keys: list[tuple[str, str, str]], leaves: int
) -> None:
    queue = FairQueue(64, 64)
    requests = [_request(*key) for key in keys]
    for request in requests:
        queue.push(request)
    for gone in requests[leaves : leaves + 1]:
        assert queue.remove(gone.id) == gone
        requests.remove(gone)
    places = {request.id: queue.place(request.id) for request in requests}
    order = _drain(queue, tokens=200)
    assert sorted(r.id for r in order) == sorted(r.id for r in requests)
    assert [places[r.id] for r in order] == list(range(1, len(order) + 1))
    assert len(queue) == 0

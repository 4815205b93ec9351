"""Who is served next: fair over guilds, then channels, then users, however much each of them asks.

Each level keeps a virtual token counter per key (VTC, Sheng et al. 2024): the tokens that the key
has been served. The waiting key with the smallest counter is next. A key that comes back after a
pause starts at the smallest counter of those waiting, so nobody saves up a claim by being silent.
Requests in the background come after all others.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

from inference.types import GenerationRequest, RequestRefused

_REMEMBERED = 4096  # counters of keys that wait for nothing; the least recently used are forgotten


class FairQueue:
    """Requests that wait, bounded in all and for each user."""

    def __init__(self, size: int, per_user: int) -> None:
        self._size = size
        self._per_user = per_user
        self._requests: dict[str, GenerationRequest] = {}
        self._again: set[str] = set()  # were taken before; they come before all others
        self._served = _Counters()

    def __len__(self) -> int:
        return len(self._requests)

    def __contains__(self, request_id: str) -> bool:
        return request_id in self._requests

    def push(self, request: GenerationRequest, *, again: bool = False) -> None:
        """Let `request` wait. `again` puts back one that was taken before, whatever the bounds.

        Raises `RequestRefused` if the queue or the user's share of it is full.
        """
        if not again:
            self._check_room(request)
        waiting = [_keys(other) for other in self._requests.values()]
        self._served.lift(_keys(request), waiting)
        self._requests[request.id] = request
        if again:
            self._again.add(request.id)

    def first(self) -> GenerationRequest | None:
        """The request whose turn it is; take it with `remove`, and `charge` what it cost."""
        return next(self._in_turn(), None)

    def remove(self, request_id: str) -> GenerationRequest | None:
        """Take out a request: its turn has come, or nobody waits for it any more."""
        self._again.discard(request_id)
        return self._requests.pop(request_id, None)

    def charge(self, request: GenerationRequest, tokens: int) -> None:
        """Count `tokens` (prompt and reply) as served to the guild, channel and user."""
        self._served.add(_keys(request), tokens)

    def place(self, request_id: str) -> int:
        """How many are served before `request_id`, itself included; 0 if it does not wait."""
        if request_id not in self._requests:
            return 0
        for place, request in enumerate(self._in_turn(), start=1):
            if request.id == request_id:
                return place
        return 0

    def _check_room(self, request: GenerationRequest) -> None:
        if len(self._requests) >= self._size:
            raise RequestRefused(
                f"The queue is full ({self._size} replies are waiting); try again in a moment."
            )
        mine = sum(1 for other in self._requests.values() if other.user == request.user)
        if request.user and mine >= self._per_user:
            raise RequestRefused(
                f"You already have {mine} replies waiting, which is the most for one person; wait"
                " for one of them."
            )

    def _in_turn(self) -> Iterator[GenerationRequest]:
        """All in the order in which they would be served if each cost the same."""
        waiting = {request.id: (request, _keys(request)) for request in self._requests.values()}
        for request_id in [key for key in waiting if key in self._again]:
            yield waiting.pop(request_id)[0]
        served = self._served.copy()
        while waiting:
            awaited = [entry for entry in waiting.values() if not entry[0].background]
            request, keys = _next(awaited or list(waiting.values()), served)
            del waiting[request.id]
            served.add(keys, _ASSUMED_TOKENS)
            yield request


_ASSUMED_TOKENS = 200

_Key = tuple[str, ...]
_Keys = tuple[_Key, _Key, _Key]
_Entry = tuple[GenerationRequest, _Keys]


def _keys(request: GenerationRequest) -> _Keys:
    # A direct message has no guild: its channel stands for one, or all of them would share one.
    guild = (request.guild or f"channel {request.channel}",)
    channel = (*guild, request.channel)
    return guild, channel, (*channel, request.user)


def _next(candidates: list[_Entry], served: _Counters) -> _Entry:
    """The least served guild, in it the least served channel, in it the least served user."""
    for level in range(3):
        tokens = [served[keys[level]] for _, keys in candidates]
        chosen = candidates[tokens.index(min(tokens))][1][level]  # of equals, who waited longest
        candidates = [entry for entry in candidates if entry[1][level] == chosen]
    return candidates[0]


class _Counters:
    """Tokens served to each key, a key being a path: (guild,), (guild, channel), …"""

    def __init__(self) -> None:
        self._tokens: OrderedDict[_Key, int] = OrderedDict()

    def __getitem__(self, key: _Key) -> int:
        return self._tokens.get(key, 0)

    def copy(self) -> _Counters:
        other = _Counters()
        other._tokens = self._tokens.copy()
        return other

    def add(self, keys: tuple[_Key, ...], tokens: int) -> None:
        for key in keys:
            self._tokens[key] = self[key] + tokens
            self._tokens.move_to_end(key)
        while len(self._tokens) > _REMEMBERED:
            self._tokens.popitem(last=False)

    def lift(self, keys: tuple[_Key, ...], waiting: list[_Keys]) -> None:
        """Raise each of `keys` that does not wait yet to the least of its waiting siblings."""
        for level, key in enumerate(keys):
            siblings = {other[level] for other in waiting if other[level][:-1] == key[:-1]}
            if key not in siblings and siblings:
                self._tokens[key] = max(self[key], min(self[other] for other in siblings))

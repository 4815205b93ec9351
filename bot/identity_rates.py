"""How much the characters repeat who they are, measured on the newest replies."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from persona_prompts.identity.measures import ReplyMeasures

NEWEST = 200  # replies, of all channels, since the start

_Of = Callable[[ReplyMeasures], float | None]


def _unasked(value: Callable[[ReplyMeasures], bool]) -> _Of:
    return lambda m: float(value(m)) if m.k >= 1 and not m.elicited else None


_RATES: dict[str, _Of] = {
    "IIR": _unasked(lambda m: m.introduces),
    "FRR": _unasked(lambda m: m.restates),
    "XTR4": lambda m: m.xtr4,
    "DupTurn": lambda m: m.duplicate,
    "Open3": lambda m: m.same_opening,
}


class IdentityRates:
    """The rates of `persona_prompts.identity.measures` over the newest replies.

    Each is a mean over the replies for which it is defined, as in an evaluation.
    """

    def __init__(self, newest: int = NEWEST) -> None:
        self._measured: deque[ReplyMeasures] = deque(maxlen=newest)

    def add(self, measures: ReplyMeasures) -> None:
        self._measured.append(measures)

    def __len__(self) -> int:
        return len(self._measured)

    def rates(self) -> dict[str, float | None]:
        """IIR, FRR, XTR4, DupTurn and Open3, from 0 to 1; None while no reply says anything."""
        return {name: _mean(map(of, self._measured)) for name, of in _RATES.items()}

    def line(self) -> str:
        """The rates for `/status`."""
        if not self._measured:
            return "identity: no reply measured yet"
        shown = ", ".join(
            f"{name} {'–' if rate is None else f'{rate:.1%}'}"
            for name, rate in self.rates().items()
        )
        return f"identity over the last {len(self)} replies: {shown}"


def _mean(values: Iterable[float | None]) -> float | None:
    defined = [float(value) for value in values if value is not None]
    return sum(defined) / len(defined) if defined else None

"""Tokens to text, a piece at a time: whole characters only, and never a part of a stop string."""

from __future__ import annotations

from collections.abc import Callable, Sequence

_INCOMPLETE = "\N{REPLACEMENT CHARACTER}"
_KEPT = 6  # tokens decoded again for context: tokenizers write a leading space only in context


class TextStream:
    """The text of one reply as its tokens arrive."""

    def __init__(
        self,
        decode: Callable[[list[int]], str],
        stop: Sequence[str] = (),
        *,
        after: Sequence[int] = (),
    ) -> None:
        """`decode` turns token ids into text, special tokens left out.

        `after` are the prompt's last tokens where the text goes on in the middle of a message, so
        that white space at its start belongs to it.
        """
        self._decode = decode
        self._stop = tuple(stop)
        self._tokens: list[int] = list(after[-_KEPT:])
        self._context = 0  # index of the first token that is decoded again
        self._read = len(self._tokens)  # index of the first token whose text was not taken yet
        self._held = ""  # text that may be the beginning of a stop string
        self._begun = bool(
            after
        )  # templates end right before the reply, so it may open with a space
        self.stopped = False  # a stop string was found; nothing more comes

    def push(self, token: int) -> str:
        """The text that is certain after `token`; possibly empty."""
        if self.stopped:
            return ""
        self._tokens.append(token)
        return self._release(self._new_text(final=False), final=False)

    def finish(self) -> str:
        """What was held back, now that nothing follows."""
        if self.stopped:
            return ""
        return self._release(self._new_text(final=True), final=True)

    def _new_text(self, *, final: bool) -> str:
        before = self._decode(self._tokens[self._context : self._read])
        now = self._decode(self._tokens[self._context :])
        if now.endswith(_INCOMPLETE) and not final:
            return ""  # in the middle of a character
        self._context = max(self._read - _KEPT, self._context)
        self._read = len(self._tokens)
        return now[len(before) :]

    def _release(self, text: str, *, final: bool) -> str:
        text = self._held + text
        if not self._begun:
            text = text.lstrip()
            self._begun = bool(text)
        found = [at for stop in self._stop if (at := text.find(stop)) >= 0]
        if found:
            self.stopped = True
            self._held = ""
            return text[: min(found)]
        keep = 0 if final else self._possible_stop(text)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def _possible_stop(self, text: str) -> int:
        """Length of the longest end of `text` that a stop string begins with."""
        longest = max((len(stop) - 1 for stop in self._stop), default=0)
        for length in range(min(longest, len(text)), 0, -1):
            if any(stop.startswith(text[-length:]) for stop in self._stop):
                return length
        return 0

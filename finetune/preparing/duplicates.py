"""Texts that were there before, letter by letter or nearly so.

MinHash with locality-sensitive hashing (Broder 1997; datasketch) over pieces of five letters, which
know no language. Greetings and cards are not compared: they are alike in every example.
"""

from __future__ import annotations

import hashlib
from zlib import crc32

from datasketch import MinHash, MinHashLSH  # type: ignore[import-untyped]

from finetune.dataset import Example
from finetune.sources.dialogue import Dialogue

_PIECE = 5  # letters
_PERMUTATIONS = 128
_SEED = 1


class Seen:
    """The texts met so far."""

    def __init__(self, similarity: float) -> None:
        """`similarity` (Jaccard) is what makes two texts near-duplicates; 1: exact ones only."""
        self._similarity = similarity
        self._digests: set[bytes] = set()
        self._hashes: dict[int, MinHash] = {}
        near = similarity < 1
        self._near = MinHashLSH(threshold=similarity, num_perm=_PERMUTATIONS) if near else None
        self.exact = 0
        self.nearly = 0

    def new(self, text: str) -> bool:
        """Whether nothing like `text` was met before; from now on it was."""
        plain = " ".join(text.casefold().split())
        digest = hashlib.sha256(plain.encode("utf-8", "surrogatepass")).digest()
        if digest in self._digests:
            self.exact += 1
            return False
        self._digests.add(digest)
        if self._near is None:
            return True
        hashed = _min_hash(plain)
        for candidate in self._near.query(hashed):
            if hashed.jaccard(self._hashes[candidate]) >= self._similarity:
                self.nearly += 1
                return False
        number = len(self._hashes)
        self._hashes[number] = hashed
        self._near.insert(number, hashed)
        return True


def dialogue_text(dialogue: Dialogue) -> str:
    """What is compared of a dialogue: all that was said in it, whoever said it."""
    return "\n".join(said.line.text for said in dialogue.said)


def example_text(example: Example) -> str:
    """What is compared of an example: what people say and what is taught."""
    return "\n".join(
        turn.message.content for turn in example.turns if turn.taught or turn.message.role == "user"
    )


def _min_hash(plain: str) -> MinHash:
    pieces = {plain[at : at + _PIECE] for at in range(max(1, len(plain) - _PIECE + 1))}
    hashed = MinHash(_PERMUTATIONS, seed=_SEED, hashfunc=crc32)
    hashed.update_batch([piece.encode("utf-8", "surrogatepass") for piece in pieces])
    return hashed

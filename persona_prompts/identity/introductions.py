"""Does a user ask who somebody is, and where does a reply say who its speaker is.

The patterns are data (`patterns.toml`: English, Chinese, Korean). `names` are always the speaker's
name and aliases; the parts of a name need not be given (see `names.names_of`). An introduction is
the speaker's own: "I, Mirela, swear" is one, "I'm tired, Mirela" and "Mirela's ship" are none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from persona_prompts.identity.names import names_of
from persona_prompts.identity.patterns import Pattern, any_of, compiled, compiled_for
from persona_prompts.identity.sentences import Span, sentences

_NAMELESS = ("assistant", "introduces_unnamed")
_TWINS = {'"': '"', "*": "*", "“": "”", "「": "」", "『": "』", "(": ")", "（": "）"}


def elicits(user_text: str, names: Sequence[str] = ()) -> bool:
    """Whether a user asks the speaker for its identity, in any of the languages.

    With the speaker's `names`, "are you Mirela?" asks for it too.
    """
    if compiled("elicits").search(user_text):
        return True
    return _found("elicits_by_name", user_text, names_of(names)) != []


def introductions(reply: str, names: Sequence[str]) -> list[Span]:
    """Character spans of the sentences in which the speaker says who it is, in order.

    By one of its `names`, as an assistant or a language model, or by the base model's own name.
    """
    known = names_of(names)
    found = [m.span() for section in _NAMELESS for m in compiled(section).finditer(reply)]
    found += _found("introduces", reply, known)
    if not found:
        return []
    atoms = [match.span("name") for match in any_of(known).finditer(reply)] if known else []
    return [span for span in sentences(reply, atoms) if any(_meet(span, hit) for hit in found)]


def introduces(reply: str, names: Sequence[str]) -> bool:
    """Whether `introductions` finds any."""
    if any(compiled(section).search(reply) for section in _NAMELESS):
        return True
    return _found("introduces", reply, names_of(names)) != []


def without_introductions(reply: str, names: Sequence[str]) -> str:
    """`reply` without those sentences, the white space around them mended.

    Empty if nothing that could be said remains.
    """
    text = reply
    for start, end in reversed(_joined(reply, introductions(reply, names))):
        text = _cut(text, start, end)
    return text if any(map(str.isalnum, text)) else ""


def gives_name(reply: str, names: Sequence[str]) -> bool:
    """Whether one of the speaker's `names` stands in `reply`, however it is put."""
    known = names_of(names)
    return bool(known) and any(_is_name(reply, match["name"], known) for match in
                               any_of(known).finditer(reply))  # fmt: skip


def _found(section: str, text: str, names: tuple[str, ...]) -> list[Span]:
    """Where the patterns of `section` find one of `names`."""
    if not names or any_of(names).search(text) is None:
        return []
    pattern = compiled_for(section, names)
    return [span for span, name in _matches(pattern, text) if _is_name(text, name, names)]


def _matches(pattern: Pattern, text: str) -> Iterator[tuple[Span, str | None]]:
    # Overlapping: what is no name after all ("I'm grace itself") must not hide what is.
    for match in pattern.finditer(text, overlapped=True):
        yield match.span(), match["name"]


def _is_name(text: str, found: str | None, names: tuple[str, ...]) -> bool:
    """Whether `found` is meant as a name: "Grace" is, "grace" only in a text without capitals."""
    if found is None or found in names or found[:1] == found[:1].upper():
        return True
    return text == text.lower()


def _meet(sentence: Span, match: Span) -> bool:
    return sentence[0] < match[1] and match[0] < sentence[1]


def _joined(text: str, spans: Sequence[Span]) -> list[Span]:
    """`spans`, those with nothing but white space between them as one."""
    joined: list[Span] = []
    for start, end in spans:
        if joined and not text[joined[-1][1] : start].strip():
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    return joined


def _cut(text: str, start: int, end: int) -> str:
    """`text` without what is between `start` and `end`, nor quotes that held only that."""
    before, after = text[:start], text[end:]
    while before and after and _TWINS.get(before[-1]) == after[0]:
        before, after = before[:-1], after[1:]
    left, right = before.rstrip(), after.lstrip()
    if not left or not right:
        return left + right
    gaps = before[len(left) :], after[: len(after) - len(right)]
    if (not gaps[0] and left[-1] in _TWINS) or (not gaps[1] and right[0] in _TWINS.values()):
        return left + right  # a quotation's first or last words
    return left + max(gaps, key=lambda gap: (gap.count("\n"), -len(gap) if gap else -99)) + right

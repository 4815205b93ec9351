"""What of a model's text the character says."""

from __future__ import annotations

from collections.abc import Sequence

from persona_prompts.speakers import well_formed


def spoken(
    raw: str, names: Sequence[str], *, complete: bool = True, stops: Sequence[str] = ()
) -> str:
    """What a character says in `raw`: without the label that models write before their own line.

    `names` are the character's. A text that begins as somebody else's line says nothing: of
    `stops`, those that begin others' lines tell. While more may come (`complete` false), what may
    yet become a label is held back.
    """
    text = well_formed(raw).replace("\0", "").strip()
    folded = text.casefold()
    own = [f"{name}:".casefold() for name in names]
    for label in own:
        if folded.startswith(label):
            return text[len(label) :].lstrip()
    others = [s[1:].casefold() for s in stops if s[:1] == "\n" and s[-1:] == ":" and len(s) > 2]
    if any(folded.startswith(label) for label in others):
        return ""
    if not complete and any(label.startswith(folded) for label in (*own, *others)):
        return ""
    return text

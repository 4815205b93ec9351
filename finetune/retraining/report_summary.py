"""The report as short texts for a channel: verdict and table, and the excerpts."""

from __future__ import annotations

from db.runs import Run
from finetune.evaluation.figures import Evaluation
from finetune.evaluation.table import BETTER, value_text
from finetune.retraining.excerpts import Excerpt
from finetune.retraining.gate import Verdict

LONGEST = 1800  # characters: Discord takes 2,000 a message, and the bot adds a word of its own
_ROWS = ("IIR", "XTR4", "DupTurn", "Open3", "Recall", "perplexity", "distinct-2", "mean_length",
    "ends_by_itself")  # fmt: skip
_LONGEST_LABEL = 40  # in the table, which does not break its lines
_LONGEST_NAME = 80
_LONGEST_REASON = 600
_LONGEST_LIST = 300
_LONGEST_TURN = 500  # of each voice in an excerpt
_CUT = "…"
_FENCE = "```"


def summary(run: Run, verdict: Verdict, champion: Evaluation, challenger: Evaluation) -> str:
    """Markdown of at most `LONGEST` characters: the verdict, the table, and what failed."""
    head = (
        f"**{plain(challenger.adapter)} {outcome(run, verdict)}** (retraining {plain(run.key, 60)})"
    )
    passed = sum(check.passed for check in verdict.checks)
    parts = [
        head,
        plain(run.reason or verdict.reason, _LONGEST_REASON),
        f"{_FENCE}\n{_table(verdict, champion, challenger)}\n{_FENCE}",
        f"{passed} of {len(verdict.checks)} checks passed.",
    ]
    if verdict.failed:
        parts.append(plain(f"✗ {', '.join(check.name for check in verdict.failed)}", _LONGEST_LIST))
    return "\n".join(parts)


def outcome(run: Run, verdict: Verdict) -> str:
    """What became of the challenger, as the end of a sentence."""
    known = {
        "promoted": "is promoted",
        "canary": "is tried in some channels first",
        "rejected": "is rejected",
    }
    return known.get(run.state, "passes the gate" if verdict.promote else "is rejected")


def excerpt_text(excerpt: Excerpt, champion: str, challenger: str) -> str:
    """One excerpt as Markdown: what was said, and both replies one under the other."""
    name = plain(excerpt.name, _LONGEST_NAME)
    differs = f" – {plain(excerpt.differs, _LONGEST_LIST)}" if excerpt.differs else ""
    return "\n".join(
        [
            f"**{name}**, reply {excerpt.turn}{differs}",
            f"> user: {_line(excerpt.said)}",
            f"**{plain(champion, _LONGEST_NAME)}** (champion)",
            f"> {_line(excerpt.champion)}",
            f"**{plain(challenger, _LONGEST_NAME)}** (challenger)",
            f"> {_line(excerpt.challenger)}",
        ]
    )


def plain(text: str, longest: int = LONGEST) -> str:
    """`text` with nothing in it that Discord would take for Markdown or a mention, cut to fit."""
    room = longest
    while len(found := _escaped(_cut(text, room))) > longest:
        room -= max(1, (len(found) - longest) // 2)
    return found


def _escaped(text: str) -> str:
    for mark in "\\`*_~|>[]":
        text = text.replace(mark, f"\\{mark}")
    return text.replace("@", "@\u200b") if "@everyone" in text or "@here" in text else text


def _table(verdict: Verdict, champion: Evaluation, challenger: Evaluation) -> str:
    """Fixed columns, narrow enough for a telephone."""
    rows = [("", "before", "after", "")]
    for name in _ROWS:
        old, new = champion.figures.get(name), challenger.figures.get(name)
        mark = "better" if name in verdict.better else "worse" if name in verdict.worse else ""
        title = f"{name} {BETTER.get(name, '')}".rstrip()
        rows.append((title, value_text(name, old), value_text(name, new), mark))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows]  # fmt: skip
    labels = (("before", champion), ("after", challenger))
    lines += [f"{when}: {_cut(who.adapter, _LONGEST_LABEL)}" for when, who in labels]
    return "\n".join(lines)


def _line(text: str) -> str:
    """What was said, in one line, so that one quotation mark holds it."""
    return plain(" ".join(text.split()), _LONGEST_TURN)


def _cut(text: str, longest: int) -> str:
    """`text`, or its beginning to the last whole word that fits."""
    if len(text) <= longest:
        return text
    kept = text[: longest - 1]
    return (kept.rsplit(" ", 1)[0] if " " in kept[longest // 2 :] else kept) + _CUT

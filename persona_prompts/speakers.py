"""Names and message texts, made safe to stand in a prompt.

A prompt is plain text to the model, so whoever may write a newline, a colon and a name could put
words into another speaker's mouth, and whoever may write `### Instruction:` could speak as the
system. Names therefore lose every character that such a line is made of, and in group channels a
message is always one line: the line's first colon ends the name of who really said it.
"""

from __future__ import annotations

import regex

NAMELESS = "someone"
MAX_NAME = 32  # characters; Discord's own limit for display names

# What chat formats call their parties; as a name, `USER: …` would be Vicuna's own marker.
_ROLE_WORDS = (
    "user", "assistant", "system", "human", "instruction", "instructions", "input", "response",
    "model", "tool", "ai", "bot",
)  # fmt: skip

# Colons of every script that look like the ASCII one, and the characters role markers are made of.
_NAME_BREAKERS = regex.compile(r"[:：﹕︓꞉ː˸∶։׃܃܄᠄⁚፡﹖<>＜＞\[\]［］{}｛｝|｜#＃\s\p{Cc}]+")
_INVISIBLE = regex.compile(r"[\p{DI}\p{Cf}\p{Cs}\p{Co}\p{Cn}\u2800]+")
_TRAILING_ROLE = regex.compile(rf"(?:(?:^|\s)(?:{'|'.join(_ROLE_WORDS)}))+$", regex.IGNORECASE)
_GRAPHEME = regex.compile(r"\X")

# Everything that `str.splitlines` or a tokenizer may take for the end of a line.
_LINE_BREAK = regex.compile(r"\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")
# Controls, and the overrides that make a text read in another order than it is stored.
_CONTROL = regex.compile(r"[\x00-\x08\x0e-\x1b\x1f\x7f-\x84\x86-\x9f\u202a-\u202e\u2066-\u2069]+")
_ROLE_LINE = regex.compile(
    rf"[\s\p{{DI}}]*(?:\#{{2,}}|\[/?INST\]|<<|</?s>|<\||(?:{'|'.join(_ROLE_WORDS)})\s*[:：])",
    regex.IGNORECASE,
)


def graphemes(text: str) -> list[str]:
    """The user-perceived characters of `text`, in order."""
    return _GRAPHEME.findall(text)


def well_formed(text: str) -> str:
    """`text` with surrogate pairs joined; lone ones, which no tokenizer takes, become U+FFFD."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def speaker_name(name: str, *, taken: str = "") -> str:
    """`name` as it may stand before a colon in a prompt: one line, 1 to 32 characters.

    Colons, brackets, pipes, hashes, braces and line breaks become spaces; control, invisible and
    bidirectional characters and lone surrogates vanish; role words at the end (`user`, `ASSISTANT`)
    are dropped. What leaves nothing, or equals `taken` (the character's own name), is `someone`.
    """
    seen = _INVISIBLE.sub("", _NAME_BREAKERS.sub(" ", name))
    short = ""
    for piece in graphemes(" ".join(seen.split())):
        if len(short) + len(piece) > MAX_NAME:
            break
        short += piece
    short = _TRAILING_ROLE.sub("", short.strip()).strip()
    return NAMELESS if not short or short.casefold() == taken.casefold() else short


def clean_text(text: str) -> str:
    r"""`text` with every kind of line break as `\n`, without controls, role markers defused.

    A line that opens like a chat format's role marker (`### Response:`, `[INST]`, `USER:`) is
    quoted with `> `, which keeps the words and takes the line's first place from the marker.
    Surrogates come out as `well_formed` has them.
    """
    plain = well_formed(_CONTROL.sub("", _LINE_BREAK.sub("\n", text))).strip()
    lines = plain.split("\n")
    return "\n".join(f"> {line}" if _ROLE_LINE.match(line) else line for line in lines)


def one_line(text: str) -> str:
    """`text` as a single line, its own lines joined with ` / `, so that none can name a speaker."""
    lines = (line.strip() for line in clean_text(text).split("\n"))
    return " / ".join(line for line in lines if line)

"""What must not be learnt by heart: addresses, numbers, keys, ids. Found by their shape.

Each becomes a placeholder such as `[e-mail 1]`; the same value in one dialogue always the same one.
The shapes of keys are the ones that their issuers publish. What has no shape of its own is taken
for a secret when it is long and mixes letters with digits as no word does.
"""

from __future__ import annotations

import functools
import ipaddress
import itertools
import math
from collections import Counter

import regex

_SPACES = "\u00a0\u2007-\u200a\u202f"  # that typesetters put between groups of digits
_DASHES = "\u2010-\u2015\u2212"

# The first that matches wins, so what contains others stands before them. Every repetition is
# bounded or cannot overlap what follows it, so that no text takes long.
_SHAPES = {
    "key block": r"-----BEGIN [A-Z ]{1,40}-----(?:(?!-----END)[\s\S]){1,20000}"
    r"(?:-----END [A-Z ]{1,40}-----|\Z)",
    "webhook": r"(?i:(?:https?://)?(?:\w{1,16}\.)?discord(?:app)?\.com/api/(?:v\d{1,2}/)?webhooks/"
    r"\d{15,22}/[\w-]{1,128})",
    "invite": r"(?i:(?:https?://)?(?:www\.)?(?:discord\.gg|discord(?:app)?\.com/invite|dsc\.gg"
    r"|discord\.me)/[\w-]{2,64})",
    # A password may hold a slash, but https://host:8080/@name has none.
    "link": r"(?i:[a-z][a-z0-9+.-]{1,15}://[^\s/@:]{0,128}:"
    r"(?!(?<=https?://[^\s/@:]{0,128}:)\d{1,5}/)[^\s@]{1,256}@[^\s<>\"']{1,2048}"
    r"|https?://[^\s<>\"']{1,1024}[?&#](?:[\w.-]{0,32}[_.-])?(?:access_?token|refresh_?token"
    r"|id_?token|client_?secret|auth|api_?key|key|token|secret"
    r"|password|passwd|pwd|sig|signature|session(?:_?id)?|code)=[^\s<>\"']{1,2048})",
    "e-mail": r"(?i:[\w.!#$%&'*+/=?^`{|}~-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}"
    r"|[\w.+-]{1,64}\s?[\[({]\s?at\s?[\])}]\s?[\w-]{1,63}"
    r"(?:\s?(?:\.|[\[({]\s?dot\s?[\])}])\s?[\w-]{2,63}){1,6})",
    "token": r"[\w-]{23,30}\.[\w-]{6,7}\.[\w-]{27,64}"  # Discord
    r"|mfa\.[\w-]{60,100}"
    r"|eyJ[\w-]{8,4096}\.[\w-]{8,8192}(?:\.[\w-]{0,4096})?"  # JWT
    r"|\d{8,10}:AA[\w-]{32,36}",  # Telegram
    "key": r"sk-[\w-]{16,256}|[rspw]k_(?:live|test)_\w{16,128}|whsec_\w{16,128}"
    r"|(?:AKIA|ASIA|ABIA|ACCA|AROA|AIDA)[A-Z0-9]{16}"
    r"|gh[pousr]_\w{20,255}|github_pat_\w{20,255}|glpat-[\w-]{16,128}|hf_\w{16,128}"
    r"|AIza[\w-]{35}|ya29\.[\w-]{16,512}|xox[abeprs]-[\w-]{8,255}|npm_\w{30,64}|pypi-[\w-]{16,512}"
    r"|SG\.[\w-]{16,32}\.[\w-]{32,64}|dop_v1_\w{32,128}|AC[0-9a-f]{32}",
    "mention": r"<(?:@[!&]?|\#|a?:\w{1,64}:|/[\w -]{1,100}:|t:)\d{1,22}(?::\w)?>",
    "password": r"(?i:(?<=(?:\b|_)(?:password|passwd|passwort|passcode|pwd|secret|api[ _-]?key"
    r"|access[ _-]?key|token)\s{0,2}(?:is|was|[:=]|：)\s{0,2})(?=[^\s,;]{0,64}[\d_!$%&*+@#^-])"
    r"[^\s,;]{4,256})",
    "account": r"(?<![A-Za-z0-9])[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?"
    r"(?![A-Za-z0-9])",
    "IP": r"(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?::\d{1,5})?(?![\d.]*\d)"
    r"|(?<![\w:.])(?:[0-9A-Fa-f]{0,4}:){2,7}(?:[0-9A-Fa-f]{1,4}|(?:\d{1,3}\.){3}\d{1,3})?(?![\w:])",
    "id": r"(?<!\d)\d{16,22}(?!\d)",
    "phone": r"(?<![\d])(?<!\d[.,])(?:\+|00)?\(?\d"
    rf"(?:[{_SPACES} .()/{_DASHES}-]{{0,3}}\d){{6,16}}(?!\d)",
    "secret": r"[A-Za-z0-9+/_=-]{24,4096}",
}
KINDS = tuple(_SHAPES)
_DOUBTFUL = ("account", "IP", "id", "phone", "secret")  # shapes that harmless texts have too

# What has a shape of its own is found first, so that no doubtful shape begins inside it.
_CERTAIN = regex.compile(
    "|".join(
        f"(?P<k{at}>{shape})"
        for at, (kind, shape) in enumerate(_SHAPES.items())
        if kind not in _DOUBTFUL
    )
)
_WEIGHED = {kind: regex.compile(_SHAPES[kind]) for kind in _DOUBTFUL}
PLACEHOLDER = regex.compile(rf"\[(?:{'|'.join((*KINDS, 'person', 'place'))}) \d+\]")
_DATE = regex.compile(
    r"\(?(?:(?:1[5-9]|20|21)\d\d[ ./-]\d{1,2}[ ./-]\d{1,2}|\d{1,2}[ ./-]\d{1,2}[ ./-]"
    r"(?:1[5-9]|20|21)\d\d)(?:\D{0,3}\d{1,2}){0,3}"
)
_TYPESET = (regex.compile(f"[{_SPACES}]"), " "), (regex.compile(f"[{_DASHES}]"), "-")
_DECIMAL = regex.compile(r"(?!0\d)\d{1,3}\.\d+")
_YEARS = regex.compile(r"(?:1[5-9]|20|21)\d\d\s?[-/]\s?(?:1[5-9]|20|21)\d\d")


class Placeholders:
    """The placeholders of one dialogue."""

    def __init__(self) -> None:
        self._given: dict[tuple[str, str], str] = {}
        self._last: Counter[str] = Counter()
        self.found: Counter[str] = Counter()

    def scrub(self, text: str) -> str:
        """`text` with everything that has the shape of a secret replaced."""

        text = _CERTAIN.sub(
            lambda match: self.placeholder(KINDS[int((match.lastgroup or "k0")[1:])], match[0]),
            text,
        )
        for kind, shape in _WEIGHED.items():
            text = shape.sub(functools.partial(self._weighed, kind), text)
        return text

    def _weighed(self, kind: str, match: regex.Match[str]) -> str:
        return self.placeholder(kind, match[0]) if _meant(kind, match[0]) else match[0]

    def placeholder(self, kind: str, value: str) -> str:
        """What stands for `value` in this dialogue."""
        self.found[kind] += 1
        key = (kind, " ".join(value.split()).casefold())
        if key not in self._given:
            self._last[kind] += 1
            self._given[key] = f"[{kind} {self._last[kind]}]"
        return self._given[key]


def _meant(kind: str, value: str) -> bool:
    """Whether what has the shape of `kind` is one."""
    if kind == "IP":
        return _is_address(value)
    if kind == "phone":
        return _is_phone(value)
    return kind != "secret" or _is_random(value)


def _is_address(value: str) -> bool:
    host = value.partition(":")[0] if value.count(".") == 3 and value.count(":") == 1 else value
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return not (address.version == 6 and len(value) < 5)  # "::" is punctuation


def _is_phone(value: str) -> bool:
    for typeset, typed in _TYPESET:
        value = typeset.sub(typed, value)
    digits = sum(map(str.isdigit, value))
    if any(shape.fullmatch(value) for shape in (_DATE, _YEARS, _DECIMAL)):
        return False
    if value.startswith(("+", "00", "(")):
        return digits >= 7
    groups = regex.findall(r"\d+", value)
    if len(groups) == 1:
        return 9 <= digits <= 15
    # "10 11 12 13 14" and "1 2 3 4 5 6 7 8" count; numbers that are dialled have longer groups.
    return digits >= 7 and max(map(len, groups)) >= 3 and len(groups) <= digits / 2


def _is_random(value: str) -> bool:
    """Whether letters and digits alternate as in no word, name or path."""
    digits = sum(map(str.isdigit, value))
    letters = sum(map(str.isalpha, value))
    if digits < 3 or letters < 3:
        return False
    if len(value) >= 32 and all(letter in "0123456789abcdefABCDEF-" for letter in value):
        return True
    counts = Counter(value)
    entropy = -sum(n / len(value) * math.log2(n / len(value)) for n in counts.values())
    changes = sum(a.isdigit() != b.isdigit() for a, b in itertools.pairwise(value))
    return entropy >= 3.5 and changes >= 4

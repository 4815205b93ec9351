"""No secret survives, whatever stands around it, and harmless texts do."""

from __future__ import annotations

import base64
import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune.preparing.secrets import PLACEHOLDER, Placeholders

ALPHANUMERIC = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


def text_of(alphabet: str, size: int, most: int | None = None) -> st.SearchStrategy[str]:
    return st.text(alphabet, min_size=size, max_size=most or size)


def filled(pattern: str, *parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.tuples(*parts).map(lambda found: pattern.format(*found))


LETTERS = text_of("abcdefghij", 3, 12)
DIGITS = "0123456789"


def _jwt(payload: str) -> str:
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")
             for part in ({"alg": "HS256"}, {"sub": payload})]  # fmt: skip
    return ".".join([*parts, "c2lnbmF0dXJlLW9mLXRoaXM"])


SECRETS = st.one_of(
    filled("{}.{}@{}.example.com", LETTERS, LETTERS, LETTERS),
    filled("+49 {} {}", text_of("123456789", 3), text_of(DIGITS, 7)),
    filled("({}) {}-{}", *[text_of("23456789", n) for n in (3, 3, 4)]),
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map(str).filter(lambda address: len(address) >= 5),
    filled("https://{}:{}@host.example/path", LETTERS, LETTERS),
    filled("https://host.example/?id=1&token={}", text_of(ALPHANUMERIC, 12)),
    filled("{}.{}.{}", *[text_of(ALPHANUMERIC, n) for n in (26, 6, 38)]),
    filled("AKIA{}", text_of("ABCDEFGHIJ234567", 16)),
    filled("ghp_{}", text_of(ALPHANUMERIC, 36)),
    filled("github_pat_{}_{}", text_of(ALPHANUMERIC, 22), text_of(ALPHANUMERIC, 59)),
    filled("sk-{}", text_of(ALPHANUMERIC, 48)),
    filled("sk-proj-{}", text_of(ALPHANUMERIC + "_-", 64)),
    filled("hf_{}", text_of(ALPHANUMERIC, 34)),
    filled("xoxb-{}-{}", text_of(DIGITS, 12), text_of(ALPHANUMERIC, 24)),
    LETTERS.map(_jwt),
    text_of("0123456789abcdef", 40).filter(
        lambda t: sum(map(str.isdigit, t)) > 3 and sum(map(str.isalpha, t)) > 3
    ),
    text_of("123456789", 1).flatmap(lambda d: text_of(DIGITS, 17).map(lambda rest: d + rest)),
    filled("<@!{}>", text_of(DIGITS, 18)),
    filled("<#{}>", text_of(DIGITS, 18)),
    filled("<:smile:{}>", text_of(DIGITS, 18)),
    filled("https://discord.gg/{}", text_of(ALPHANUMERIC, 8)),
    filled("discord.com/invite/{}", text_of(ALPHANUMERIC, 8)),
    filled("https://discord.com/api/webhooks/{}/{}", text_of(DIGITS, 18),
           text_of(ALPHANUMERIC, 60)),
)  # fmt: skip
# What may stand around a secret without becoming part of it.
AROUND = st.text(alphabet=st.sampled_from(" \n,;!?()\"'“”…，。中文가나 abcXYZ[]<>*_"), max_size=12)
EDGE = st.sampled_from([" ", "\n", '"', "(", "，", "…", "“", "'", ")", ";"])


@settings(max_examples=400, deadline=None)
@given(secret=SECRETS, before=AROUND, after=AROUND, left=EDGE, right=EDGE)
def test_no_planted_secret_survives(
    secret: str, before: str, after: str, left: str, right: str
) -> None:
    text = f"{before}{left}{secret}{right}{after}"
    scrubbed = Placeholders().scrub(text)
    assert secret not in scrubbed
    assert PLACEHOLDER.search(scrubbed)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("write to a@b.example, please", "write to [e-mail 1], please"),
        ("a@b.example, c@d.example, A@b.example",
         "[e-mail 1], [e-mail 2], [e-mail 1]"),
        ("my password is hunter2!", "my password is [password 1]"),
        ("api_key=abc123 and", "api_key=[password 1] and"),
        ("the password is important", "the password is important"),
        ("it was 1999-12-31 23:59", "it was 1999-12-31 23:59"),
        ("from 1914-1918 on 21.11.2026", "from 1914-1918 on 21.11.2026"),
        ("1 2 3 4 5 6 7 8 9 10", "1 2 3 4 5 6 7 8 9 10"),
        ("10 20 30 40 50", "10 20 30 40 50"),
        ("1,000,000 coins and 3.14159265", "1,000,000 coins and 3.14159265"),
        ("see https://example.com/a-long-title-about-2026-and-more-of-it", None),
        ("well :: it ended at 12:30:45, a ratio of 3:2:1", None),
        ("Donaudampfschifffahrtsgesellschaftskapitän and supercalifragilisticexpialidocious", None),
        ("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!!!", None),
        ("@everyone, meet me at the harbour (at noon)", None),
        ("call 030 1234567 now", "call [phone 1] now"),
        ("call me at 5551234567", "call me at [phone 1]"),
        ("IBAN DE89 3704 0044 0532 0130 00.", "IBAN [account 1]."),
        ("john [at] host [dot] com", "[e-mail 1]"),
        ("Discord.gg/abcdef, https://DISCORD.GG/abcdefg", "[invite 1], [invite 2]"),
        ("bob [AT] gmail [DOT] com", "[e-mail 1]"),
        ("https://a.example/?refresh_token=abcdef&client_secret=ghijkl", "[link 1]"),
        ("https://a.example/?x=1&client_secret=ghijkl", "[link 1]"),
        ("POST ?refresh_token=abc1&client_secret=def", "POST ?refresh_token=[password 1]"),
        ("postgres://admin:p/ss@db postgres://admin:12/ss@db", "[link 1] [link 2]"),
        ("https://a.example:8080/@bob and https://a.example/?monkey=1", None),
        ("call 030\u20131234567 or +49\u00a0170\u00a01234567", "call [phone 1] or [phone 2]"),
        ("from 1914\u20131918 on 21\u201011\u20102026", None),
        ("server 10.0.0.1:8080, fe80::1", "server [IP 1], [IP 2]"),
        ("-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----", "[key block 1]"),
    ],
)  # fmt: skip
def test_what_is_replaced(text: str, left: str | None) -> None:
    assert Placeholders().scrub(text) == (text if left is None else left)


@pytest.mark.parametrize(
    "unit",
    [
        "a",
        "1",
        "1 ",
        "a.",
        "@",
        ":",
        "http://",
        "1.",
        "a@",
        "-",
        "AA00",
        "a://b:c/",
        "https://&a_",
        "1\u2013",
    ],
)
def test_no_text_takes_long(unit: str) -> None:
    started = time.process_time()
    Placeholders().scrub(unit * (10_000 // len(unit)))
    assert time.process_time() - started < 10

from __future__ import annotations

import contextlib
import time

import pytest

from persona_prompts.lorebook.keys import MAX_SCANNED, BadPattern, Matcher, OutOfTime


def found(key: str, text: str, *, use_regex: bool = False, case: bool = False, words: bool = False
          ) -> bool:  # fmt: skip
    return Matcher().found([key], text, use_regex=use_regex, case_sensitive=case, words=words)[0]


@pytest.mark.parametrize(
    ("key", "text", "hit"),
    [
        ("Storm", "two storms", True),
        ("storm", "calm", False),
        ("STRASSE", "die straße", True),
        ("船", "修船的人", True),
        ("C++", "I like c++", True),
        ("/st(orm|ar)s?/i", "STARS", True),
        ("/st(orm|ar)s?/", "STARS", False),
        ("a/b", "a/b", True),
    ],
)
def test_keys(key: str, text: str, hit: bool) -> None:
    assert found(key, text) is hit


@pytest.mark.parametrize("key", ["", " ", "//", "//i"])
@pytest.mark.parametrize("use_regex", [False, True])
@pytest.mark.parametrize("words", [False, True])
def test_an_empty_key_never_matches(key: str, use_regex: bool, words: bool) -> None:
    assert not found(key, "Go to https:// now, //i.", use_regex=use_regex, words=words)


def test_case_and_whole_words() -> None:
    assert not found("Storm", "storm", case=True)
    assert not found("cat", "education, cats", words=True)
    assert found("cat", "education, cats, cat", words=True)
    assert found("船", "修船的人", words=True)
    assert found("cat", "the cat", words=True)


@pytest.mark.parametrize(
    ("pattern", "text", "hit"),
    [
        (r"\btoll(s|booth)?\b", "Tolls!", True),
        (r"(?<coin>gold|tin) \k<coin>", "tin tin", True),
        (r"^first$", "zero\nfirst\nlast", False),
        (r"/^first$/m", "zero\nfirst\nlast", True),
        (r"[가-힣]{2,4}역", "서울역", True),
    ],
)
def test_patterns(pattern: str, text: str, hit: bool) -> None:
    assert found(pattern, text, use_regex=True) is hit


@pytest.mark.parametrize(
    "pattern",
    [
        "(", "[", "*a", "a+" * 257, "(?R)", "(?P<n>a(?&n)?)", "x{e<=3}", "(?:word){e}" + "{i<3}",
        "(((a{1000}){1000}){1000})", "(?:(?:(?:a?){99}){99}){99}", "(" * 250 + ")" * 250,
        "(?:" * 60 + "a" + ")+" * 60, "(?:" * 60 + "a" + "){2}" * 60, "a{99999}" * 9,
    ],
)  # fmt: skip
def test_patterns_that_are_none_or_cost_too_much_are_not_even_compiled(pattern: str) -> None:
    begun = time.process_time()
    with pytest.raises(BadPattern):
        found(pattern, "a" * 1000, use_regex=True)
    assert time.process_time() - begun < 1


@pytest.mark.parametrize(
    "pattern", ["(a+)+$", "(?:a|aa)+$", "(a|a?)+b", r"(\w*)*x\b", "(.*a){12}b"]
)
def test_patterns_that_run_away_are_stopped(pattern: str) -> None:
    text = "a" * (MAX_SCANNED - 1) + "!"
    begun = time.process_time()
    with contextlib.suppress(OutOfTime):
        assert not found(pattern, text, use_regex=True)
    assert time.process_time() - begun < 1


def test_many_slow_patterns_share_one_time() -> None:
    matcher = Matcher()
    text = "a" * 19_999 + "!"
    begun = time.process_time()
    for number in range(1000):
        with pytest.raises(OutOfTime):
            matcher.found(
                [f"(?:a+)+{number}$"], text, use_regex=True, case_sensitive=False, words=False
            )
    assert time.process_time() - begun < 1


def test_one_bad_pattern_spoils_the_entry() -> None:
    with pytest.raises(BadPattern):
        Matcher().found(["a", "("], "a", use_regex=True, case_sensitive=False, words=False)

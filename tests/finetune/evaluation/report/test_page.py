from __future__ import annotations

from html.parser import HTMLParser

import regex

from finetune.evaluation.figures import evaluate
from finetune.evaluation.report.page import page
from finetune.evaluation.transcripts import Reply, Transcript
from tests.finetune.evaluation.samples import script, transcript

_VOID = {"meta", "link", "br", "img", "use", "path"}
EVIL = '<script>alert("x")</script>&amp;'


class _Reader(HTMLParser):
    """Collects elements and checks that each that is opened is closed in its turn."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.marked: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        self.attributes += attrs
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        if tag not in _VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "mark":
            self.marked.append(data)


def _read(html: str) -> _Reader:
    reader = _Reader()
    reader.feed(html)
    reader.close()
    assert reader.open == []
    return reader


def _page() -> str:
    before = evaluate(
        "seeds-bot", [transcript("Hm.", "Rum? I'm Mirela, a pirate. Sit.", "I'm Mirela again.")]
    )
    after = evaluate("$a_b$ " + EVIL, [transcript("Hm.", EVIL, "No <b>rum</b>.")])
    return page([before, after], title=f"On {EVIL}", notes=[EVIL])


def test_introductions_are_marked() -> None:
    marked = _read(_page()).marked
    assert "I'm Mirela, a pirate." in marked
    assert "I'm Mirela again." in marked
    assert not any("Rum?" in text or "Sit." in text for text in marked)


def test_everything_is_escaped() -> None:
    html = _page()
    reader = _read(html)
    assert "script" not in reader.seen
    assert "b" not in reader.seen
    assert "&lt;script&gt;" in html


def test_the_page_needs_nothing_else() -> None:
    reader = _read(_page())
    assert reader.seen.count("svg") == 3
    assert not {"link", "script", "img", "iframe", "object"} & set(reader.seen)
    links = [v for k, v in reader.attributes if k in ("src", "href", "xlink:href", "srcset")]
    assert all(link is not None and link.startswith("#") for link in links)
    assert not regex.search(r"https?:|@import|url\((?!['\"]?#)", _page())


def test_it_is_the_same_every_time() -> None:
    assert _page() == _page()


def test_failed_and_cut_replies_are_shown_as_such() -> None:
    replies = (Reply("", "error", "The queue is full."), Reply("And so", "length"))
    played = Transcript(script(user_turns=["a?", "Who are you?"]), "base", replies)
    html = page([evaluate("base", [played])], title="t")
    assert "The queue is full." in html
    assert "(length limit)" in html
    assert 'class="said asked"' in html
    _read(html)


def test_adapters_may_have_played_different_suites() -> None:
    one = evaluate("a", [transcript("Hm.", "No.")])
    other = evaluate("b", [transcript("Hm.", id="second")])
    reader = _read(page([one, other], title="t"))
    assert reader.seen.count("details") == 2


def test_no_dialogue_at_all_is_a_page_too() -> None:
    _read(page([evaluate("base", [])], title="t"))

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from inference.model_loading import LoadedModel
from inference.text_stream import TextStream

_TEXTS = st.text(max_size=60) | st.text("你好吗안녕하세요🙂👩‍👩‍👧é\n ab", max_size=40)


def _decode(embedded: LoadedModel) -> TextStream:
    return TextStream(lambda ids: _text(embedded, ids))


def _text(embedded: LoadedModel, ids: list[int]) -> str:
    text: str = embedded.tokenizer.backend_tokenizer.decode(ids, skip_special_tokens=True)
    return text


def _ids(embedded: LoadedModel, text: str) -> list[int]:
    ids: list[int] = embedded.tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


@given(text=_TEXTS)
@settings(max_examples=200, deadline=None)
def test_any_text_comes_out_whole_and_in_whole_characters(embedded: LoadedModel, text: str) -> None:
    ids = _ids(embedded, text)
    stream = _decode(embedded)
    pieces = [stream.push(token) for token in ids]
    pieces.append(stream.finish())
    expected = _text(embedded, ids).lstrip()
    assert "".join(pieces) == expected
    if "\N{REPLACEMENT CHARACTER}" not in expected:
        assert not any("\N{REPLACEMENT CHARACTER}" in piece for piece in pieces)


@given(
    before=st.text("abcX \n", max_size=20),
    after=st.text("abcX \n", max_size=10),
    stop=st.lists(st.text("abX\n", min_size=1, max_size=4), min_size=1, max_size=3),
    cut=st.randoms(use_true_random=False),
)
@settings(max_examples=300, deadline=None)
def test_no_part_of_a_stop_string_is_ever_shown(
    before: str, after: str, stop: list[str], cut: Random
) -> None:
    text = before + stop[0] + after
    pieces = _cut(text, cut)
    expected = _first_stop(pieces, stop)
    stream = TextStream(lambda ids: "".join(pieces[i] for i in ids), stop)
    shown = ""
    for index in range(len(pieces)):
        shown += stream.push(index)
        # Whatever was shown must be right even if the stop string is completed later.
        assert expected.startswith(shown)
    shown += stream.finish()
    assert stream.stopped == any(one in text.lstrip() for one in stop)
    assert shown == expected


def _cut(text: str, random: Random) -> list[str]:
    pieces = []
    while text:
        size = random.randint(1, 3)
        pieces.append(text[:size])
        text = text[size:]
    return pieces


def _first_stop(pieces: list[str], stop: list[str]) -> str:
    """The text before the stop string that is completed first; the reply ends with it."""
    text = ""
    for piece in pieces:
        text = (text + piece).lstrip()  # templates end before the reply's first space
        if found := [at for one in stop if (at := text.find(one)) >= 0]:
            return text[: min(found)]
    return text


def test_what_looked_like_a_stop_string_is_shown_at_the_end() -> None:
    stream = TextStream(lambda ids: "".join("ab\nAl"[i] for i in ids), ["\nAlice:"])
    shown = "".join(stream.push(i) for i in range(5))
    assert shown == "ab"
    assert stream.finish() == "\nAl"


def test_special_tokens_are_not_text(embedded: LoadedModel) -> None:
    stream = _decode(embedded)
    assert stream.push(2) + stream.finish() == ""


def test_a_text_that_goes_on_keeps_the_white_space_it_begins_with(embedded: LoadedModel) -> None:
    before, more = _ids(embedded, "It was dark"), _ids(embedded, " and stormy.")
    stream = TextStream(lambda ids: _text(embedded, ids), after=before)
    assert "".join(map(stream.push, more)) + stream.finish() == " and stormy."
    fresh = _decode(embedded)
    assert "".join(map(fresh.push, more)) + fresh.finish() == "and stormy."

"""What people say of themselves is kept, what they merely say is not."""

from __future__ import annotations

import pytest

from bot.statements import LONGEST, MOST, statements


@pytest.mark.parametrize(
    "text",
    [
        "My name is Ann.",
        "Call me Bo.",
        "Please remember that the key is under the mat.",
        "My little sister is called Lena.",
        "I'm from Turku.",
        "I am allergic to nuts.",
        "I live on a houseboat.",
        "I really love rye bread.",
        "I have two cats.",
        "I can't swim.",
        "我叫安娜。",
        "我的妹妹叫莉娜。",
        "请记住钥匙在垫子下面。",
        "제 이름은 서윤이에요.",
        "저는 부산에서 왔어요.",
    ],
)
def test_kept(text: str) -> None:
    assert statements(f"Hm. {text} Well?") == [text]


@pytest.mark.parametrize(
    "text",
    [
        "The wind is fair.",
        "Is my name on the list?",
        "I love it.",
        "I have a question.",
        "My goodness, that is a big fish.",
        "I'm a bit tired.",
        "I would like some tea.",
        "If my ship is late, wait for me.",
        "Remember when we met?",
        "Do you like rye bread?",
        "我是说，天气很好。",
        "바람이 좋네요.",
    ],
)
def test_not_kept(text: str) -> None:
    assert statements(text) == []


def test_no_more_than_a_few_and_none_too_long() -> None:
    assert len(statements("I live in Turku. " * 9)) == MOST
    assert statements("I live in " + "x" * LONGEST) == []
    assert statements("I live in Turku\nand so on.") == ["I live in Turku"]

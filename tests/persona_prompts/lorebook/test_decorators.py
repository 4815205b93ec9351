from __future__ import annotations

import pytest
from hypothesis import given, settings

from persona_prompts.lorebook.decorators import Decorators, read_decorators, without_decorators
from tests.persona_prompts.test_speakers import ANY_TEXT


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("@@depth 4\ntext", Decorators(depth=4)),
        ("@@depth 4\n@@depth 5\ntext", Decorators(depth=4)),
        ("@@depth deep\n@@depth 5\n", Decorators(depth=5)),
        ("@@depth -3", Decorators(depth=0)),
        ("@@depth inf\n@@depth nan\n@@depth 1e9", Decorators()),
        ("text\n@@scan_depth 3\r\nmore", Decorators(scan_depth=3)),
        ("@@activate_only_after 2\n@@activate_only_every 3\n@@activate_only_every 0",
         Decorators(only_after=2, only_every=3)),
        ("@@keep_activate_after_match\n@@dont_activate_after_match false",
         Decorators(keep_after_match=True)),
        ("@@is_greeting 1\n@@position after_desc\n@@ignore_on_max_context",
         Decorators(greeting=1, position="after_desc", first_to_go=True)),
        ("@@additional_keys a, b,\n@@exclude_keys c", Decorators(additional_keys=("a", "b"),
                                                               exclude_keys=("c",))),
        ("@@activate\n@@dont_activate", Decorators(always=True, never=True)),
        ("@@never_heard 4\n@@@also_not 3\n@@@depth 2", Decorators(depth=2)),
        ("@@position nowhere\n@@@depth 2\n@@@scan_depth 1", Decorators(depth=2)),
        ("@@scan_depth 1\n@@@depth 2", Decorators(scan_depth=1)),
        ("@@instruct_depth 9\n@@@depth 1", Decorators(depth=1)),
        ("@depth 4\nx @@depth 4\n@@@depth 4", Decorators()),
    ],
)  # fmt: skip
def test_decorators(content: str, said: Decorators) -> None:
    assert read_decorators(content) == said


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("@@depth 4\n@@@x 1\n\nThe river.\n", "The river."),
        ("Up.\n@@what ever, this is\nDown.", "Up.\nDown."),
        ("me@@home", "me@@home"),
        ("@@depth 4", ""),
    ],
)
def test_no_decorator_is_shown(content: str, text: str) -> None:
    assert without_decorators(content) == text


@settings(deadline=None)  # others use the machine, too
@given(ANY_TEXT)
def test_nothing_breaks_them(text: str) -> None:
    read_decorators(f"@@depth {text}\n@@exclude_keys {text}\n@@{text}")

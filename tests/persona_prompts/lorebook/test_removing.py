from __future__ import annotations

import json

import pytest

from persona_prompts.lorebook.book import read_book
from persona_prompts.lorebook.removing import without_entry, without_gaps

LISTED = """{"name": "Town", "x": 1.50, "entries": [
    {"keys": ["a"], "content": "Ash."}, {"keys": ["b"], "content": "Bell.", "y": 1e999},
    {"keys": ["c"], "content": "Cliff."}]}"""
V3 = f'{{"spec": "lorebook_v3", "data": {LISTED}, "more": "\\u00e9"}}'
WORLD = """{"entries": {"10": {"key": ["a"], "content": "Ash."}, "2": {"key": ["z"]},
    "x": {"key": ["c"], "content": "Cliff."}, "2": {"key": ["b"], "content": "Bell."}}, "x": 1.50}
"""


def contents(text: str) -> dict[int, str]:
    book = read_book(text.encode(), "book:1", "town.json")
    return {entry.id: entry.content for entry in book.entries}


@pytest.mark.parametrize("text", [LISTED, V3, WORLD], ids=["listed", "v3", "world"])
def test_the_other_entries_keep_their_places_and_their_spelling(text: str) -> None:
    assert contents(text) == {0: "Ash.", 1: "Bell.", 2: "Cliff."}
    first = without_entry(text, 0)
    assert contents(first) == {1: "Bell.", 2: "Cliff."}
    second = without_entry(first, 1)
    assert contents(second) == {2: "Cliff."}
    assert "Ash" not in second
    assert "Bell" not in second
    assert '"x": 1.50' in second
    assert ("\\u00e9" in second) is ("\\u00e9" in text)
    whole = without_gaps(second)
    assert contents(whole) == {0: "Cliff."}
    assert "{}" not in whole
    json.loads(whole)
    assert contents(without_gaps(without_entry(second, 2))) == {}

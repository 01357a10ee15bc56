"""Names as people see them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfsort.spelling import counting_order, folded, visible

UNSEEN = [
    "\u200d",
    "\u200b",
    "\u202e",
    "\u2066",
    "\ufeff",
    "\u00ad",
    "\u3164",
    "\u2800",
    "\u115f",
    "\U000e0041",
    "\x00",
]


@pytest.mark.parametrize("letter", UNSEEN)
def test_invisible_characters_make_no_other_name(letter: str) -> None:
    assert visible(letter) == ""
    for name in (f"cat{letter}", f"{letter}cat", f"c{letter}at", f"cat {letter}"):
        assert visible(name) == "cat"
        assert folded(name) == "cat"


@pytest.mark.parametrize("name", ["👩\u200d🔬", "❤\ufe0f\u200d🔥", "می\u200cخواهم", "日本", "naïve", "🇩🇪"])
def test_visible_joiners_stay(name: str) -> None:
    assert visible(name) == name


def test_bytes_that_are_not_utf_8_stay() -> None:
    assert visible("caf\udce9") == "caf\udce9"


@given(st.text())
def test_cleaning_twice_changes_nothing_more(text: str) -> None:
    assert visible(visible(text)) == visible(text)
    assert folded(visible(text)) == folded(text)


@given(st.lists(st.integers(0, 10**30), min_size=2))
def test_numbers_are_sorted_as_numbers(numbers: list[int]) -> None:
    assert sorted(map(str, numbers), key=counting_order) == [str(number) for number in sorted(numbers)]

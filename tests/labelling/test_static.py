"""The parts of the page's JavaScript that need no page, run as the browser runs them."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

import selfsort
from selfsort.reporting import figures, gallery

STATIC = Path(selfsort.__file__).parent / "labelling" / "server" / "static"
ORIGIN = "http://static.invalid/"


class Module:
    """A module of the page, whose functions are called with what JSON can hold."""

    def __init__(self, page: Any, name: str):
        self.page, self.name = page, name

    def __call__(self, function: str, *arguments: Any) -> Any:
        return self.page.evaluate(
            "async ([module, name, given]) => (await import(module))[name](...given)",
            [f"{ORIGIN}{self.name}.js", function, list(arguments)],
        )


@pytest.fixture(scope="module")
def module(browser: Any) -> Any:
    """Return what opens a module by its name."""
    page = browser.new_page()

    def serve(route: Any) -> None:
        path = route.request.url.removeprefix(ORIGIN)
        if path:
            route.fulfill(path=STATIC / path, content_type="text/javascript")
        else:
            route.fulfill(body="<!doctype html>", content_type="text/html")

    page.route("**/*", serve)
    page.goto(ORIGIN)
    yield lambda name: Module(page, name)
    page.close()


class TestWords:
    @pytest.mark.parametrize(
        ("share", "digits", "text"),
        [
            (0, 0, "0 %"),
            (0.004, 0, "<1 %"),
            (0.006, 0, "1 %"),
            (0.5, 0, "50 %"),
            (0.994, 0, "99 %"),
            (0.996, 0, ">99 %"),
            (1, 0, "100 %"),
            (0.9996, 1, ">99.9 %"),
            (0.1234, 1, "12.3 %"),
        ],
    )
    def test_shares_are_never_rounded_to_nothing_or_to_all(self, module, share, digits, text):
        assert module("words")("percent", share, digits).replace("\u00a0", " ") == text

    def test_intervals(self, module):
        words = module("words")
        assert words("interval", {"low": 0.5, "high": 0.75}).replace("\u00a0", " ") == "50 to 75 %"
        assert words("interval", {"low": 1, "high": 1}).replace("\u00a0", " ") == "100 %"

    @pytest.mark.parametrize(
        ("seconds", "text"), [(3, "some seconds"), (12, "about 10 s"), (88, "about 90 s"), (100, "about 2 minutes")]
    )
    def test_durations(self, module, seconds, text):
        assert module("words")("duration", seconds) == text

    def test_counts(self, module):
        assert [module("words")("pictures", number) for number in (0, 1, 1797)] == [
            "0 pictures",
            "1 picture",
            "1,797 pictures",
        ]


class TestMatching:
    NAMES = [{"name": name} for name in ("plane tree", "Tree", "street", "Éclair", "oak")]

    @pytest.mark.parametrize(
        ("typed", "found"),
        [
            ("tre", ["Tree", "plane tree", "street"]),
            ("TREE ", ["Tree", "plane tree", "street"]),
            ("ecl", ["Éclair"]),
            ("k", []),
            ("xyz", []),
            ("", ["plane tree", "Tree", "street", "Éclair", "oak"]),
        ],
    )
    def test_beginnings_come_before_words_and_words_before_what_holds_it(self, module, typed, found):
        assert [entry["name"] for entry in module("matching")("matches", self.NAMES, typed)] == found

    def test_what_is_known_of_a_name_stays_and_equals_keep_their_order(self, module):
        entries = [{"name": f"tree {k}", "count": 9 - k, "colour": k} for k in range(5)]
        assert module("matching")("matches", entries, "tree") == entries


class TestGeometry:
    SQUARE = [[0, 0], [4, 0], [4, 4], [0, 4]]
    # A horseshoe that opens upwards.
    HORSESHOE = [[0, 0], [1, 0], [1, 3], [3, 3], [3, 0], [4, 0], [4, 4], [0, 4]]

    @pytest.mark.parametrize(
        ("point", "inside"), [([2, 2], True), ([5, 2], False), ([-1, -1], False), ([2, 4.1], False)]
    )
    def test_points_in_a_square(self, module, point, inside):
        assert module("geometry")("contains", self.SQUARE, point) is inside
        assert module("geometry")("contains", self.SQUARE[::-1], point) is inside

    @pytest.mark.parametrize(
        ("point", "inside"), [([2, 1], False), ([2, 3.5], True), ([0.5, 1], True), ([3.5, 1], True)]
    )
    def test_points_in_a_line_that_bends_back(self, module, point, inside):
        assert module("geometry")("contains", self.HORSESHOE, point) is inside

    def test_lengths(self, module):
        assert module("geometry")("length", self.SQUARE) == 12
        assert module("geometry")("length", [[1, 1]]) == 0
        assert module("geometry")("length", [[0, 0], [1, 1]]) == pytest.approx(math.sqrt(2))

    def test_the_middle_is_a_point_among_the_most(self, module):
        cloud = [[k % 3, k // 3] for k in range(9)]
        assert module("geometry")("middle", [*cloud, [100, 100]]) in cloud
        assert module("geometry")("middle", cloud) == [1, 1]
        assert module("geometry")("middle", [[7, 8]]) == [7, 8]

    def test_clamp(self, module):
        assert [module("geometry")("clamp", value, 0, 1) for value in (-1, 0.5, 2)] == [0, 0.5, 1]


class TestKeys:
    @pytest.mark.parametrize(
        ("key", "code", "command"),
        [
            ("m", "KeyM", "mixed"),
            ("M", "KeyM", "mixed"),
            ("z", "KeyY", "undo"),  # a German keyboard: the letter counts, not its place
            ("µ", "KeyM", "mixed"),  # a Mac, where Alt changes the letter
            ("3", "Digit3", "3"),
            ("£", "Digit3", "3"),
            ("6", "Digit6", None),
            ("q", "KeyQ", None),
            ("Tab", "Tab", None),
        ],
    )
    def test_commands(self, module, key, code, command):
        assert module("keys")("commandOf", {"key": key, "code": code}) == command


def test_colours_and_markers_are_those_of_the_report(module):
    markers = module("markers")
    assert [markers("colourOf", number) for number in range(10)] == list(figures.COLOURS)
    assert markers("colourOf", 10) == figures.COLOURS[0]
    source = (STATIC / "markers.js").read_text()
    assert all(json.dumps(shape) in source for shape in gallery._MARKS.values())

"""The parts of the page's JavaScript that need no page, run as the browser runs them."""

import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
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

    def test_who_says_what(self, module):
        said = {"name": "rose", "single": False, "sure": 4}
        model = {"name": "rose", "probability": 0.93}
        words = module("words")
        long, short, disputed = words("sources", said, model)
        assert long.replace("\u00a0", " ") == "you: rose, for its group, 4 of 5 sure; the model: rose, 93 %"
        assert (short, disputed) == ("4/5 · 93\u00a0%", False)
        assert words("sources", said | {"single": True}, None)[1:] == ["4/5", False]
        assert words("sources", None, model)[1:] == ["model 93\u00a0%", False]
        assert words("sources", None, None) == ["", "", False]
        assert words("sources", said, model | {"name": "lily"})[1:] == ["rose / lily?", True]

    @pytest.mark.parametrize(
        ("seconds", "text"), [(3, "a few seconds"), (12, "about 10 s"), (88, "about 90 s"), (100, "about 2 minutes")]
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

    @pytest.mark.parametrize(
        ("typed", "found"),
        [("ec", "Éclair"), ("OA", "oak"), ("tre", "Tree"), ("plane", "plane tree"), ("o", "oak"), ("ee", None)]
        + [("", None), ("oak", None), ("xyz", None), ("reet", None)],
    )
    def test_the_only_name_that_begins_so_is_meant(self, module, typed, found):
        entry = module("matching")("onlyMatch", self.NAMES, typed)
        assert (entry and entry["name"]) == found

    def test_of_two_names_that_begin_so_none_is_meant(self, module):
        assert module("matching")("onlyMatch", [{"name": "sunflower"}, {"name": "sunset"}], "sun") is None
        assert module("matching")("onlyMatch", [{"name": "bird/robin"}, {"name": "oak"}], "rob")["name"] == "bird/robin"

    @pytest.mark.parametrize(
        ("typed", "near"),
        [
            ("sunflowr", "sunflower"),
            ("sunfolwer", "sunflower"),
            ("Sunflowers", "sunflower"),
            ("dogs", "dog"),
            ("rsoe", "rose"),
            ("rose", None),  # it is that name
            ("sun", None),
            ("ten", None),  # a hen is no misspelt ten
            ("type 2", None),
            ("typ 1", "type 1"),
            ("nose", "rose"),
            ("flower", None),
        ],
    )
    def test_a_slip_of_the_finger_is_near(self, module, typed, near):
        names = ["sunflower", "rose", "dog", "hen", "type 1"]
        assert module("matching")("nearName", names, typed) == near

    @pytest.mark.parametrize(
        "pair", [("", "ab"), ("kitten", "sitting"), ("ab", "ba"), ("rose", "rose"), ("abcd", "acbde")]
    )
    def test_edits_are_those_of_the_definition(self, module, pair):
        def edits(one, other):
            if not one or not other:
                return len(one) + len(other)
            ways = [
                edits(one[1:], other) + 1,
                edits(one, other[1:]) + 1,
                edits(one[1:], other[1:]) + (one[0] != other[0]),
            ]
            if one[:2] == other[:2][::-1] and len(one) > 1:
                ways.append(edits(one[2:], other[2:]) + 1)
            return min(ways)

        assert module("matching")("edits", *pair) == module("matching")("edits", *pair[::-1]) == edits(*pair)


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

    def test_of_many_points_those_in_the_middle_are_taken(self, module):
        points = [[k, k / 10, 0, 10] for k in range(11)]
        taken = module("geometry")("inTheMiddle", points, 30)
        assert sorted(picture for picture, *_ in taken) == [4, 5, 6]
        assert module("geometry")("inTheMiddle", points, 1000) and not module("geometry")("inTheMiddle", [], 30)
        assert [point[0] for point in module("geometry")("inTheMiddle", points, 5)] == [5], "one at least"

    def test_clamp(self, module):
        assert [module("geometry")("clamp", value, 0, 1) for value in (-1, 0.5, 2)] == [0, 0.5, 1]


class TestZoom:
    PICTURE, STAGE = {"width": 400, "height": 200}, {"width": 200, "height": 200}

    def test_at_first_the_whole_picture_is_in_the_middle(self, module):
        assert module("zoom")("whole", self.PICTURE, self.STAGE) == {"scale": 0.5, "x": 0, "y": 50}

    def test_what_is_under_the_pointer_stays_there(self, module):
        zoom = module("zoom")
        view = zoom("zoomed", zoom("whole", self.PICTURE, self.STAGE), 2, [50, 100], self.PICTURE, self.STAGE)
        assert view == {"scale": 2, "x": -150, "y": -100}
        assert (50 - view["x"]) / view["scale"] == 50 / 0.5

    def test_no_edge_comes_away_from_the_stage(self, module):
        view = {"scale": 2, "x": -150, "y": -100}
        moved = module("zoom")("moved", view, [1000, -1000], self.PICTURE, self.STAGE)
        assert moved == {"scale": 2, "x": 0, "y": -200}

    def test_it_is_never_smaller_than_the_stage_and_never_a_blot(self, module):
        zoom, view = module("zoom"), {"scale": 1, "x": 0, "y": 0}
        assert zoom("zoomed", view, 0.01, [0, 0], self.PICTURE, self.STAGE)["scale"] == 0.5
        assert zoom("zoomed", view, 1000, [0, 0], self.PICTURE, self.STAGE)["scale"] == 4

    def test_a_click_shows_the_pictures_own_pixels_and_the_whole_again(self, module):
        zoom = module("zoom")
        whole = zoom("whole", self.PICTURE, self.STAGE)
        own = zoom("toggled", whole, [100, 100], self.PICTURE, self.STAGE)
        assert own["scale"] == 1
        assert zoom("toggled", own, [0, 0], self.PICTURE, self.STAGE) == whole
        assert zoom("toggled", whole, [0, 0], self.PICTURE, self.STAGE, 1.25)["scale"] == 0.8

    def test_a_small_picture_is_enlarged_by_a_click(self, module):
        zoom, small = module("zoom"), {"width": 20, "height": 20}
        assert zoom("toggled", zoom("whole", small, self.STAGE), [0, 0], small, self.STAGE)["scale"] == 30


class TestSizes:
    @pytest.mark.parametrize(
        ("width", "height", "side"),
        [
            (948, 1000, 163),  # five in a line are larger than nine
            (948, 240, 80),  # three lines of nine, lower than wide
            (300, 3000, 70),  # narrow: fewer in a line
            (948, 60, 64),  # too low for all: one scrolls
        ],
    )
    def test_as_large_as_lets_all_rows_be_seen(self, module, width, height, side):
        room = {"width": width, "height": height}
        found = module("geometry")("fittingSide", room, 3, 9, 6, 64)
        assert found == side if width != 300 else found >= 64

    def test_boxes_touch(self, module):
        box = {"left": 0, "right": 2, "top": 0, "bottom": 2}
        other = {"left": 1, "right": 3, "top": 1, "bottom": 3}
        assert module("geometry")("touches", box, other)
        assert not module("geometry")("touches", box, other | {"left": 2.5})


class TestSlots:
    def test_the_most_frequent_names_have_the_keys(self, module):
        names = [f"name {k}" for k in range(12)]
        assert module("slots")("nextSlots", [], names) == names[:9]

    def test_who_has_a_key_keeps_it(self, module):
        assert module("slots")("nextSlots", ["rose", "tulip"], ["tulip", "daisy", "rose"]) == ["rose", "tulip", "daisy"]
        assert module("slots")("nextSlots", ["rose", "tulip"], ["tulip", "daisy"]) == ["daisy", "tulip"]


class TestActs:
    @pytest.mark.parametrize(
        ("act", "words"),
        [
            (
                {"kind": "name", "name": "rose", "pictures": 1200, "thrown_out": 2},
                "named 1,200 pictures “rose”, 2 thrown out",
            ),
            ({"kind": "merge", "name": "rose", "names": ["roze"]}, "renamed “roze” to “rose”"),
            ({"kind": "pull", "name": None, "names": ["rose"], "pictures": 1}, "took 1 picture out of “rose”"),
            (
                {"kind": "pull", "name": "tulip", "names": ["rose"], "pictures": 3},
                "moved 3 pictures from “rose” to “tulip”",
            ),
            ({"kind": "drop", "names": ["rose"]}, "deleted the name “rose”"),
            ({"kind": "lasso", "pictures": 30}, "circled 30 pictures on the map"),
            ({"kind": "refine", "names": ["rose"]}, "improved the model with 1 name"),
        ],
    )
    def test_acts_in_words(self, module, act, words):
        assert module("acts")("actInWords", act) == words

    def test_what_a_refinement_changed(self, module):
        moves = [{"from": None, "to": "rose", "count": 5}, {"from": "rose", "to": "tulip", "count": 2}]
        words = module("acts")("changedInWords", {"pictures": 9, "moves": moves})
        assert words == "9 pictures changed their name: 5 from no name to rose, 2 from rose to tulip, 2 more."
        assert module("acts")("changedInWords", {"pictures": 0, "moves": []}) == "No picture changed its name."


class TestKeys:
    def test_shift_makes_it_how_sure_one_is_or_does_again(self, module):
        of = module("keys")
        assert of("commandOf", {"key": "#", "code": "Digit3", "shiftKey": True}) == "sure 3"
        assert of("commandOf", {"key": "Z", "code": "KeyZ", "shiftKey": True}) == "redo"
        assert of("commandOf", {"key": "M", "code": "KeyM", "shiftKey": True}) is None

    @pytest.mark.parametrize(
        ("key", "code", "command"),
        [
            ("m", "KeyM", "mixed"),
            ("M", "KeyM", "mixed"),
            ("z", "KeyY", "undo"),  # a German keyboard: the letter counts, not its place
            ("µ", "KeyM", "mixed"),  # a Mac, where Alt changes the letter
            ("3", "Digit3", "3"),
            ("£", "Digit3", "3"),
            ("9", "Digit9", "9"),
            ("0", "Digit0", None),
            ("ArrowDown", "ArrowDown", "next"),
            ("q", "KeyQ", None),
            ("Tab", "Tab", None),
        ],
    )
    def test_commands(self, module, key, code, command):
        assert module("keys")("commandOf", {"key": key, "code": code}) == command


def oklab(colour):
    """Return a colour in Oklab (Ottosson 2020), where distances are those that people see."""
    rgb = np.array([int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    to_lms = [[0.4122, 0.5363, 0.0514], [0.2119, 0.6807, 0.1074], [0.0883, 0.2817, 0.63]]
    to_lab = [[0.2105, 0.7936, -0.0041], [1.978, -2.4286, 0.4506], [0.0259, 0.7828, -0.8087]]
    return np.array(to_lab) @ np.cbrt(np.array(to_lms) @ linear)


def test_colours_and_markers_are_those_of_the_report(module):
    markers = module("markers")
    looks = [tuple(markers("looksOf", number)) for number in range(49)]
    assert len(set(looks)) == 49 and {colour for colour, _ in looks} <= set(figures.COLOURS)
    for one, other in itertools.combinations({colour for colour, _ in looks}, 2):
        assert np.linalg.norm(oklab(one) - oklab(other)) > 0.1, f"{one} and {other} are alike"
    source = (STATIC / "markers.js").read_text()
    assert all(json.dumps(shape) in source for shape in gallery._MARKS.values())


class TestFolders:
    def test_paths_become_a_table_of_ids_and_names(self, module):
        paths = ["root/rose/a.jpg", "root/x/tulip/b,c.jpg", 'root/ro"se/d.jpg', "root/stray.jpg"]
        assert module("folders")("tableOf", paths).splitlines() == [
            "id,name",
            '"rose/a.jpg","rose"',
            '"x/tulip/b,c.jpg","x/tulip"',
            '"ro""se/d.jpg","ro""se"',
        ]


class TestTree:
    def test_names_are_read_as_a_tree_with_sums_the_most_frequent_first(self, module):
        entries = [{"name": name, "count": n} for name, n in (("cat", 7), ("bird/robin", 5), ("bird/owl/barn", 4))]
        rows = module("tree")("treeOf", [*entries, {"name": "bird", "count": 1}])
        assert [(row["label"], row["depth"], row["count"], bool(row["entry"])) for row in rows] == [
            ("bird", 0, 10, True),
            ("robin", 1, 5, True),
            ("owl", 1, 4, False),
            ("barn", 2, 4, True),
            ("cat", 0, 7, True),
        ]

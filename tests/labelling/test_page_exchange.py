"""Names that come in and leave on the naming page, in a real Chromium, and the review of those that are in doubt."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect
from sklearn.datasets import load_digits

import selfsort
from naming_page import Server, copy_of

pytestmark = pytest.mark.slow

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@pytest.fixture
def own(fitted: Path, tmp_path: Path) -> Iterator[Server]:
    running = Server(copy_of(fitted, tmp_path), "label")
    yield running
    running.kill()


@pytest.fixture
def table(fitted: Path, tmp_path: Path) -> Path:
    """The digits' names, of which the first two are wrong."""
    names = [WORDS[kind] for kind in load_digits().target.tolist()]
    names[:2] = ["seven", "seven"]
    rows = [f"{image_id},{name}" for image_id, name in zip(selfsort.load(fitted).ids_, names, strict=True)]
    path = tmp_path / "names.csv"
    path.write_text("\n".join(["id,name", *rows, "elsewhere,one"]))
    return path


def test_imported_names_that_are_probably_wrong_are_reviewed_with_one_key_each(
    own: Server, open_tab: Any, table: Path
) -> None:
    tab = open_tab(own)
    expect(tab.page.locator("nav [data-view=review]")).to_be_hidden()
    tab.page.click("#export")
    tab.page.set_input_files("#table", table)
    expect(tab.page.locator("#imported")).to_contain_text("1,797 pictures were named. Not found here: 1")
    with tab.page.expect_download() as download:
        tab.page.click("#exchange >> text=JSON")
    assert download.value.suggested_filename == "labels.json"
    assert len(json.loads(Path(download.value.path()).read_text())["names"]) == 10
    tab.page.click("#to-review a")
    question, progress = tab.page.locator("#review-question"), tab.page.locator("#review-progress")
    wrong = {"zero": 0, "one": 1}
    seen = []
    for place in range(2):
        expect(progress).to_contain_text(f"{place + 1} of")
        expect(question).to_contain_text("seven")
        other = tab.page.locator("#review-other").inner_text().split("“")[1].split("”")[0]
        assert tab.name_of(wrong[other]) == "seven"
        seen.append(other)
        tab.key("Space")
        expect(progress).to_contain_text(f"{place + 2} of")
        assert tab.name_of(wrong[other]) == other
    assert set(seen) == {"zero", "one"}
    tab.key("Alt+z")
    expect(progress).to_contain_text("2 of")
    assert tab.name_of(wrong[seen[1]]) == "seven"
    tab.key("Enter")
    expect(progress).to_contain_text("3 of")
    assert tab.name_of(wrong[seen[1]]) == "seven", "it was kept"


def test_a_folder_with_a_folder_for_each_name_is_read_by_its_paths(own: Server, open_tab: Any, tmp_path: Path) -> None:
    for name, digit in (("zero", "00000"), ("one", "00001")):
        (tmp_path / "sorted" / name).mkdir(parents=True)
        (tmp_path / "sorted" / name / digit).write_bytes(b"not looked at")
    tab = open_tab(own)
    tab.page.click("#export")
    tab.page.set_input_files("#class-folder", tmp_path / "sorted")
    expect(tab.page.locator("#imported")).to_contain_text("2 pictures were named.")
    assert (tab.name_of(0), tab.name_of(1)) == ("zero", "one")
    tab.page.set_input_files("#table", {"name": "x.csv", "mimeType": "text/csv", "buffer": b"a,b\n1,2\n"})
    tab.expected = ("422",)
    expect(tab.page.locator("#import-error")).to_contain_text("'id' and 'name'")


def test_a_second_window_sees_what_was_said_about_a_name(own: Server, open_tab: Any) -> None:
    tab = open_tab(own)
    tab.group_after("Enter", text="bird/robin")
    tab.group_after("Enter", text="cat")
    expect(tab.page.locator("#legend li[data-depth='1']")).to_contain_text("robin")
    tab.page.click("#legend >> text=robin")
    tab.page.click("#about")
    tab.page.fill("#about-description", "red breast, round")
    tab.page.check("#about-own")
    tab.page.fill("#about-colour", "#102030")
    tab.page.click("#about-form [type=submit]")
    expect(tab.page.locator("#describing")).to_be_hidden()
    expect(tab.page.locator("#names-description")).to_have_text("red breast, round")
    other = open_tab(own)
    other.page.fill("#name", "rob")
    expect(other.page.locator("#name-list [role=option]").first).to_contain_text("red breast, round")
    expect(other.page.locator("#legend path[fill='#102030']")).to_have_count(1)


def test_two_people_are_compared_on_the_same_groups(own: Server, open_tab: Any) -> None:
    ann, bob = open_tab(own), open_tab(own)
    for tab, name in ((ann, "Ann"), (bob, "Bob")):
        tab.page.click("#people-open")
        tab.page.fill("#person", name)
        tab.key("Enter")
        expect(tab.page.locator("#people-rows")).to_contain_text(f"{name} (you)")
        tab.key("Escape")
    for word in ("mouse", "snail"):
        ann.group_after("Enter", text=word)
    bob.page.click("#people-open")
    expect(bob.page.locator("#people-rows tr", has_text="Ann")).to_contain_text("2")
    bob.page.click("#to-second")
    expect(bob.page.locator("#second-left")).to_contain_text("2 to go")
    expect(bob.page.locator("#second-pictures img").first).to_be_visible()
    bob.page.keyboard.type("mou")
    with bob.page.expect_response("**/api/opinion?*"):
        bob.page.evaluate("dispatchEvent(new Event('hashchange'))")
    expect(bob.page.locator("#second-name")).to_be_focused()
    bob.page.keyboard.type("se")
    expect(bob.page.locator("#second-name")).to_have_value("mouse")
    bob.key("Enter")
    expect(bob.page.locator("#second-left")).to_contain_text("1 to go")
    bob.page.keyboard.type("mouse")
    bob.key("Enter")
    expect(bob.page.locator("#second-done")).to_be_visible()
    ann.page.click("#people-open")
    expect(ann.page.locator("#agreement")).to_contain_text("Ann and Bob agree on 1 of 2 groups")


def test_pictures_are_found_and_named_and_skipped_groups_come_back(own: Server, open_tab: Any) -> None:
    tab = open_tab(own)
    first = tab.shown()
    expect(tab.page.locator("[data-command=back]")).to_be_hidden()
    tab.group_after("Alt+s")
    expect(tab.page.locator("[data-command=back]")).to_be_visible()
    assert tab.group_after("Alt+b") == first
    tab.key("Alt+f")
    tab.page.keyboard.type("0012")
    expect(tab.page.locator("#find-count")).to_contain_text("11 pictures")
    tab.page.click("#found button[data-picture='12']")
    expect(tab.page.locator("#find-chosen")).to_have_text("1 picture selected")
    tab.page.fill("#find-name", "mouse")
    tab.key("Enter")
    expect(tab.page.locator("#found button[data-picture='12'] small")).to_have_text("mouse")
    assert tab.name_of(12) == "mouse"
    tab.page.fill("#wanted", "mou")
    expect(tab.page.locator("#find-count")).to_contain_text("1 picture")
    tab.page.click("#found button", modifiers=["Shift"])
    expect(tab.page.locator("#enlarged")).to_be_visible()


def test_single_pictures_have_one_key_each_where_groups_do_not_fit(own: Server, open_tab: Any) -> None:
    tab = open_tab(own)
    for text in ("mouse", "snail"):
        tab.group_after("Enter", text=text)
    for _ in range(6):
        tab.group_after("Alt+m")
    expect(tab.page.locator("#no-fit")).to_be_visible()
    while len(tab.shown().split()) > 1:  # a group that was fetched ahead
        tab.group_after("Alt+m")
    expect(tab.page.locator("#ask-title")).to_have_text("A single picture")
    expect(tab.page.locator("#name-hint")).to_have_text("Press 1 to 2 to give the picture that name at once.")
    seen = []
    for key, name in (("2", "snail"), ("1", "mouse")):
        seen.append(int(tab.shown()))
        slot = tab.page.locator("#quick button").nth(int(key) - 1)
        expect(slot).to_have_attribute("data-name", name)
        tab.group_after(key)
        assert tab.name_of(seen[-1]) == name
    tab.page.keyboard.type("x1")
    expect(tab.page.locator("#name")).to_have_value("x1")
    assert int(tab.shown()) not in seen

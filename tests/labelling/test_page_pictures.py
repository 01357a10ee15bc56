"""Pictures on the naming page, in a real Chromium: seen large, thrown out, chosen."""

import re
from typing import Any

import pytest
from playwright.sync_api import expect

from naming_page import Tab

pytestmark = pytest.mark.slow

VIEW = """() => {
  const [image, stage] = [document.querySelector('#enlarged-picture'), document.querySelector('#stage')];
  return image.getBoundingClientRect().width / stage.clientWidth;
}"""


def enlarged(open_tab: Any) -> Tab:
    """Open the first picture of the first group large."""
    tab: Tab = open_tab()
    expect(tab.page.locator("#name")).to_be_focused()
    tab.key("Escape", "Enter")
    expect(tab.page.locator("#enlarged-picture")).to_be_visible()
    return tab


def test_nothing_is_done_to_a_picture_before_it_is_seen(open_tab: Any) -> None:
    tab = open_tab()
    expect(tab.page.locator("#name")).to_be_focused()
    pictures = tab.shown().split()
    held: list[Any] = []
    tab.page.route("**/images/*/*", lambda route: held.append(route))
    tab.key("Escape", "Enter")
    toggle, seen = tab.page.locator("#enlarged-toggle"), tab.page.locator("#enlarged-picture")
    thrown_out = tab.page.locator(".picture[aria-pressed=true]")

    def arrive(picture: str) -> None:
        def asked() -> list[Any]:
            return [route for route in held if f"/{picture}/" in route.request.url]

        for _ in range(600):
            if asked():
                break
            tab.page.wait_for_timeout(100)
        for route in asked():
            held.remove(route)
            route.continue_()

    arrive(pictures[0])
    expect(seen).to_have_attribute("data-picture", pictures[0])
    tab.key("ArrowRight", "Space")
    expect(toggle).to_have_attribute("aria-disabled", "true")
    expect(seen).to_have_count(0)
    assert tab.page.locator("#enlarged-title").inner_text().strip() == ""
    assert thrown_out.count() == 0
    arrive(pictures[1])
    expect(seen).to_have_attribute("data-picture", pictures[1])
    expect(toggle).to_have_attribute("aria-disabled", "false")
    tab.key("Space")
    expect(thrown_out).to_have_attribute("data-picture", pictures[1])
    tab.page.unroute_all()


def test_a_zoomed_picture_stays_so_when_the_stage_changes_its_size(open_tab: Any) -> None:
    tab = enlarged(open_tab)
    expect(tab.page.locator("#enlarged-toggle")).to_have_attribute("aria-disabled", "false")
    tab.key("+", "+")
    tab.page.set_viewport_size({"width": 1200, "height": 700})
    tab.page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    expect(tab.page.locator("#stage")).to_have_class(re.compile("zoomed"))
    tab.key("0")
    expect(tab.page.locator("#stage")).not_to_have_class(re.compile("zoomed"))


def test_a_picture_that_cannot_be_shown_is_told(open_tab: Any) -> None:
    tab = open_tab()
    tab.expected = ("ERR_FAILED",)
    expect(tab.page.locator("#name")).to_be_focused()
    tab.page.route("**/images/*/original", lambda route: route.abort())
    tab.page.route("**/images/*/thumbnail", lambda route: route.abort())
    tab.key("Escape", "ArrowRight", "Enter", "Space")
    expect(tab.page.locator("#enlarged-note")).to_contain_text("cannot be shown now")
    assert tab.page.locator(".picture[aria-pressed=true]").count() == 0


def test_neighbours_are_fetched_ahead(open_tab: Any) -> None:
    tab = open_tab()
    expect(tab.page.locator("#name")).to_be_focused()
    pictures = tab.shown().split()
    with tab.page.expect_request(f"**/images/{pictures[1]}/original"):
        tab.key("Escape", "Enter")


def test_wheel_keys_and_a_click_zoom(open_tab: Any) -> None:
    tab = enlarged(open_tab)
    whole = tab.page.evaluate(VIEW)
    assert whole <= 1
    box = tab.page.locator("#stage").bounding_box()
    tab.page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 0.5 * box["height"])
    tab.page.mouse.wheel(0, -400)
    tab.page.wait_for_function(f"whole => ({VIEW})() > 1.5 * whole", arg=whole)
    tab.key("0")
    assert tab.page.evaluate(VIEW) == whole
    tab.key("+")
    assert tab.page.evaluate(VIEW) > whole
    tab.page.mouse.click(box["x"] + 10, box["y"] + 10)
    assert tab.page.evaluate(VIEW) == whole
    tab.page.mouse.click(box["x"] + 0.5 * box["width"], box["y"] + 0.5 * box["height"])
    assert tab.page.evaluate(VIEW) > whole
    tab.key("ArrowRight")
    expect(tab.page.locator("#enlarged-note")).to_contain_text("2 of")
    assert tab.page.evaluate(VIEW) == whole, "each picture is seen whole first"


def test_the_close_button_stays_whole_beside_a_long_name(open_tab: Any) -> None:
    tab = enlarged(open_tab)
    button = tab.page.locator("#enlarged [data-close]")
    height = button.bounding_box()["height"]
    tab.page.locator("#enlarged-title").evaluate("title => { title.textContent = 'a_long_name_'.repeat(40); }")
    assert button.bounding_box()["height"] == height


def test_several_pictures_are_thrown_out_by_shift_and_by_a_rectangle(open_tab: Any) -> None:
    tab = open_tab()
    expect(tab.page.locator("#name")).to_be_focused()
    pictures, out = tab.page.locator(".picture"), tab.page.locator(".picture[aria-pressed=true]")
    one, other = pictures.nth(1).bounding_box(), pictures.nth(3).bounding_box()
    tab.page.mouse.move(one["x"] + 5, one["y"] + 5)
    tab.page.mouse.down()
    tab.page.mouse.move(other["x"] + 20, other["y"] + 20, steps=4)
    expect(tab.page.locator(".rubber")).to_be_visible()
    tab.page.mouse.up()
    expect(out).to_have_count(3)
    expect(tab.page.locator(".rubber")).to_have_count(0)
    pictures.nth(9).click()
    pictures.nth(12).click(modifiers=["Shift"])
    expect(out).to_have_count(7)


def test_every_row_is_seen_on_a_low_screen_and_the_size_can_be_chosen(open_tab: Any) -> None:
    tab = open_tab(viewport={"width": 1366, "height": 620})
    tab.page.locator("#understood").click()
    last = tab.page.locator(".picture").last
    tab.page.wait_for_function(
        "() => [...document.querySelectorAll('.picture')].at(-1).getBoundingClientRect().bottom <= 620"
    )
    before = last.bounding_box()["width"]
    tab.page.locator("#ask-view .size").fill("2")
    assert last.bounding_box()["width"] > 1.8 * before
    tab.page.reload()
    expect(tab.page.locator(".picture").last).to_be_visible()
    assert tab.page.locator(".picture").last.bounding_box()["width"] > 1.8 * before, "it is remembered"


def test_the_file_name_and_what_the_model_thinks_are_told_of_each_picture(open_tab: Any) -> None:
    tab = open_tab()
    for text in ("godwit", "turnstone"):
        tab.group_after("Enter", text=text)
    tab.page.wait_for_function("() => fetch('/api/state').then(r => r.json()).then(s => s.names.length > 1)")
    tab.group_after("Alt+s")
    picture = tab.page.locator(".picture").first
    expect(picture).to_have_attribute("title", re.compile(r"^digits/\d+"))
    expect(picture.locator(".opinion")).to_have_text(re.compile(r"\d+\s%$"))


def third_after_two_names(open_tab: Any) -> tuple[Tab, Any, int]:
    """Name two groups "wren" and "dipper"; return the page, and the third picture of the next group and its number."""
    tab: Tab = open_tab()
    for text in ("wren", "dipper"):
        tab.group_after("Enter", text=text)
    cell = tab.page.locator(".picture").nth(2)
    return tab, cell, int(cell.get_attribute("data-picture"))


def test_a_picture_gets_the_name_that_was_told_also_when_the_list_moves_under_it(open_tab: Any) -> None:
    tab, cell, picture = third_after_two_names(open_tab)
    tab.carry(
        cell, "wren", before_drop=lambda: tab.page.evaluate("document.querySelector('#legend').replaceChildren()")
    )
    expect(tab.page.locator("#notice-text")).to_have_text("1 picture named “wren”.")
    assert tab.name_of(picture) == "wren"


def test_pictures_are_dragged_onto_a_name_in_the_list(open_tab: Any) -> None:
    tab, cell, picture = third_after_two_names(open_tab)
    tab.carry(cell, "wren")
    expect(tab.page.locator("#notice-text")).to_have_text("1 picture named “wren”.")
    expect(cell.locator(".opinion")).to_have_text("✓ wren")
    assert tab.name_of(picture) == "wren"
    expect(tab.page.locator(".picture[aria-pressed=true]")).to_have_count(0)
    tab.group_after("Enter", text="siskin")
    assert tab.name_of(picture) == "wren", "it keeps its own name"
    tab.page.goto(tab.own + "#names/dipper")
    cells = tab.page.locator(".cell")
    expect(cells.nth(1).locator("img")).to_be_visible()
    moved = [int(cells.nth(place).get_attribute("data-picture")) for place in (0, 1)]
    for place in (0, 1):
        cells.nth(place).click()
    tab.carry(cells.nth(1), "wren")
    expect(tab.page.locator("#live")).to_contain_text("2 pictures moved to “wren”.")
    assert [tab.name_of(each) for each in moved] == ["wren", "wren"]

"""The page in a real Chromium: the word for junk, pictures carried to a name in *Find*, damage, and a low screen."""

import re
from typing import Any

import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.slow

LOW = {"width": 1366, "height": 620}


def test_the_word_for_junk_is_no_name(open_tab: Any) -> None:
    tab = open_tab(locale="de")
    tab.expected = ("404",)  # what the page asks of a name may cross with its end
    tab.page.keyboard.type("ausschuss")
    expect(tab.page.locator("#name-hint")).to_have_text(re.compile("^Enter: Ausschuss, ohne Namen aussortiert;"))
    tab.group_after("Enter")
    state = tab.state()
    assert state["junk"] > 0 and state["names"] == []
    tab.group_after("Enter", text="Rebut")
    assert tab.state()["junk"] > state["junk"] and tab.state()["names"] == []
    tab.group_after("Enter", text="Ente")
    tab.page.goto(tab.own + "#names/Ente")
    expect(tab.page.locator("#names-title")).to_have_text("Ente")
    tab.key("Alt+r")
    tab.page.fill("#new-name", "Ausschuss")
    tab.key("Enter")
    expect(tab.page).to_have_url(re.compile("#names/junk$"))
    assert tab.state()["names"] == []


def test_found_pictures_are_carried_to_a_name_in_the_list(open_tab: Any) -> None:
    tab = open_tab()
    tab.group_after("Enter", text="wren")
    tab.key("Alt+f")
    tab.page.fill("#wanted", "0012")
    found = tab.page.locator("#found button")
    expect(found).to_have_count(11)
    others = [place for place in range(11) if "wren" not in found.nth(place).inner_text()][:3]
    one, other, third = (int(found.nth(place).get_attribute("data-picture")) for place in others)
    before = tab.name_of(other)
    tab.carry(found.nth(others[0]), "wren")
    expect(found.nth(others[0])).to_contain_text("wren")
    assert (tab.name_of(one), tab.name_of(other)) == ("wren", before), "the one picture that was carried"
    for place in others[1:]:
        found.nth(place).click()
    tab.carry(found.nth(others[1]), "wren")
    expect(found.nth(others[2])).to_contain_text("wren")
    assert [tab.name_of(each) for each in (other, third)] == ["wren", "wren"]


def test_the_focus_stays_on_a_name_in_the_list_when_numbers_come(open_tab: Any) -> None:
    tab = open_tab()
    tab.group_after("Enter", text="wren")
    row = tab.page.locator("#legend [data-name='wren']")
    row.focus()
    row.evaluate("row => { row.dataset.old = '1'; }")
    state = tab.state()
    tab.page.route("**/api/state*", lambda route: route.fulfill(json=state | {"generation": state["generation"] + 1}))
    expect(row).not_to_have_attribute("data-old", "1")
    expect(row).to_be_focused()


def test_a_repaired_file_of_answers_is_told(open_tab: Any) -> None:
    tab = open_tab()
    repairs = [{"what": what, "answers": 1, "kept": f"{what}.damaged"} for what in ("file", "log")]
    state = tab.state() | {"repairs": repairs, "set_aside": 2}
    tab.page.route("**/api/state*", lambda route: route.fulfill(json=state))
    tab.page.reload()
    told = tab.page.locator("#notice-text")
    expect(told).to_contain_text("labels.sqlite was damaged: 1 line of answers is intact and counts")
    for part in ("kept as file.damaged", "answers after line 1 are lost", "kept as log.damaged", "2 entries in labels"):
        expect(told).to_contain_text(part)
    tab.page.unroute_all()


@pytest.mark.parametrize("locale", ["en", "de", "fr", "es", "zh"])
def test_no_row_is_cut_on_a_low_screen_while_the_first_hint_is_open(open_tab: Any, locale: str) -> None:
    tab = open_tab(locale=locale, viewport=LOW)
    expect(tab.page.locator("#understood")).to_be_visible()
    tab.page.wait_for_function(
        "() => [...document.querySelectorAll('.picture')].at(-1).getBoundingClientRect().bottom <= innerHeight",
        timeout=10_000,
    )


def test_rows_make_room_for_what_grows_above_them(open_tab: Any) -> None:
    tab = open_tab(viewport={"width": 1440, "height": 760})
    fits = "() => document.querySelector('#rows').getBoundingClientRect().bottom <= innerHeight"
    tab.page.click("#understood")
    tab.page.wait_for_function(fits)
    side = "() => document.querySelector('.picture').getBoundingClientRect().width"
    before = tab.page.evaluate(side)
    tab.page.locator(".answering").evaluate("part => (part.style.minHeight = `${part.offsetHeight + 60}px`)")
    tab.page.wait_for_function(f"before => ({side})() < before", arg=before)
    tab.page.wait_for_function(fits)

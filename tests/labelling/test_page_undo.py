"""Undo, redo and the list of what was done, on the naming page in a real Chromium."""

from typing import Any

import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.slow


def test_whatever_was_done_last_is_taken_back_in_words_and_done_again(open_tab: Any) -> None:
    tab = open_tab()
    notice, acts = tab.page.locator("#notice-text"), tab.page.locator("#acts li")
    expect(tab.page.locator("#map-kind")).to_contain_text("All 1,797 pictures")
    asked = tab.shown()
    tab.group_after("Enter", text="plover")
    tab.page.evaluate("() => document.querySelector('#map-hand').focus()")
    tab.key("ArrowRight", *"+++++++")
    tab.group_after("Enter")
    expect(tab.page.locator("#ask-title")).to_contain_text("from the map")
    tab.key("Alt+u")
    expect(acts.nth(0)).to_contain_text("circled")
    expect(acts.nth(1)).to_contain_text("named")
    expect(acts.nth(1)).to_contain_text("“plover”")
    tab.key("Alt+z")
    expect(notice).to_contain_text("Undone: circled")
    expect(acts.nth(0)).to_contain_text("undone")
    tab.key("Escape")
    expect(tab.page.locator("#ask-title")).not_to_contain_text("from the map")
    tab.key("Alt+z")
    expect(notice).to_contain_text("Undone: named")
    expect(tab.page.locator("#name")).to_have_value("plover")
    assert tab.shown() == asked and "plover" not in tab.counts()
    tab.key("Alt+Shift+z")
    expect(notice).to_contain_text("Redone: named")
    expect(tab.page.locator("#name")).to_have_value("")
    assert "plover" in tab.counts()


def test_undo_works_at_once_in_a_new_window_beside_the_old_one(open_tab: Any) -> None:
    first = open_tab()
    first.group_after("Enter", text="dunlin")
    second = open_tab(beside=first)
    expect(second.page.locator("[data-command=undo]").first).to_be_enabled()
    second.key("Alt+z")
    expect(second.page.locator("#notice-text")).to_contain_text("“dunlin”")
    assert "dunlin" not in second.counts()


def test_taking_back_a_new_name_stays_where_one_was(open_tab: Any) -> None:
    tab = open_tab()
    tab.expected = ("404",)  # what the page asks of a name may cross with its change
    tab.group_after("Enter", text="sanderling")
    tab.group_after("Enter", text="curlew")
    tab.page.goto(tab.own + "#names/sanderling")
    expect(tab.page.locator("#names-title")).to_have_text("sanderling")
    tab.key("Alt+r")
    tab.page.keyboard.type("knot")
    tab.key("Enter")
    expect(tab.page.locator("#names-title")).to_have_text("knot")
    tab.key("Alt+z")
    expect(tab.page.locator("#names-title")).to_have_text("sanderling")
    expect(tab.page.locator("#notice-text")).to_contain_text("renamed “sanderling” to “knot”")

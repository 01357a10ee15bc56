"""Names on the naming page, in a real Chromium: typed, completed, mistyped."""

import json
from typing import Any

import pytest
from playwright.sync_api import expect

from naming_page import SHOWN
from selfsort.labelling.server.web.words import STATIC

pytestmark = pytest.mark.slow


def test_names_are_completed_and_similar_ones_are_asked_about(open_tab: Any) -> None:
    tab = open_tab()
    tab.expected = ("409",)
    field = tab.page.locator("#name")
    tab.group_after("Enter", text="plane tree")
    tab.page.keyboard.type("TREE")
    options = tab.page.locator("#name-list [role=option]")
    expect(options).to_contain_text(["plane tree"])
    expect(field).to_have_attribute("aria-expanded", "true")
    expect(options.first).to_have_attribute("aria-selected", "true")
    expect(tab.page.locator("#name-hint")).to_contain_text("Enter: “plane tree”, which")
    assert field.get_attribute("aria-activedescendant") == options.first.get_attribute("id")
    before = tab.counts()["plane tree"]
    tab.group_after("Enter")
    assert tab.counts()["plane tree"] > before and "TREE" not in tab.counts()
    tab.page.keyboard.type("Plane  Tree")
    tab.key("Enter")
    expect(tab.page.locator("#use-similar")).to_be_focused()
    tab.key("Escape")
    expect(field).to_have_value("Plane  Tree")
    expect(field).to_be_focused()
    tab.key("Enter")
    expect(tab.page.locator("#use-similar")).to_be_focused()
    tab.group_after("Enter")
    assert not {"Plane  Tree", "Plane Tree"} & set(tab.counts())


def test_a_name_that_is_the_beginning_of_another_is_listed_as_a_new_one(open_tab: Any) -> None:
    tab = open_tab()
    tab.group_after("Enter", text="sunflower")
    tab.page.keyboard.type("sun")
    hint, options = tab.page.locator("#name-hint"), tab.page.locator("#name-list [role=option]")
    expect(hint).to_contain_text("Enter: “sunflower”, which")
    boxes = [tab.page.locator(part).bounding_box() for part in ("#name-list", "#name-hint")]
    assert boxes[0]["y"] >= boxes[1]["y"] + boxes[1]["height"], "the list does not cover what Enter does"
    expect(options.last).to_contain_text("a new name")
    tab.key("ArrowUp", "ArrowUp")
    expect(hint).to_contain_text("Enter: “sun”, a new name")
    tab.key("ArrowDown", "ArrowDown")
    before = tab.counts()["sunflower"]
    tab.group_after("Enter")
    assert tab.counts()["sunflower"] > before and "sun" not in tab.counts()
    tab.page.keyboard.type("sun")
    tab.key("ArrowDown")
    tab.group_after("Enter")
    assert "sun" in tab.counts()


def test_a_new_name_near_another_is_asked_about_once(open_tab: Any) -> None:
    tab = open_tab()
    tab.group_after("Enter", text="daffodil")
    tab.page.keyboard.type("dafodil")
    tab.key("Enter")
    expect(tab.page.locator("#similar-typed")).to_contain_text("almost the same")
    expect(tab.page.locator("#use-similar")).to_have_text("Use “daffodil”")
    tab.group_after("Enter")
    assert "dafodil" not in tab.counts()
    tab.page.keyboard.type("dafodil")
    tab.key("Enter")
    tab.page.locator("#keep-both").click()
    tab.page.wait_for_function("() => document.querySelector('#name').value === ''")
    assert "dafodil" in tab.counts()
    tab.group_after("Alt+z")
    tab.page.locator("#name").fill("dafodil")
    tab.group_after("Enter")
    assert "dafodil" in tab.counts(), "it is asked only once"


def test_the_button_takes_what_enter_would(open_tab: Any) -> None:
    tab = open_tab()
    tab.group_after("Enter", text="marigold")
    before = tab.counts()["marigold"]
    tab.page.keyboard.type("mari")
    asked = tab.shown()
    tab.page.locator("#accept").click()
    tab.page.wait_for_function(f"before => ({SHOWN})() !== before", arg=asked)
    assert tab.counts()["marigold"] > before and "mari" not in tab.counts()


def test_names_are_gone_through_and_deleted_by_keys(open_tab: Any) -> None:
    tab = open_tab()
    tab.expected = ("404",)  # what the page asks of a name may cross with its end
    for text in ("wagtail", "redstart"):
        tab.group_after("Enter", text=text)
    tab.key("Alt+n")
    expect(tab.page.locator("#grid")).to_be_focused()
    title = tab.page.locator("#names-title")
    first = title.inner_text()
    tab.key("Alt+ArrowDown")
    expect(title).not_to_have_text(first)
    tab.key("Alt+ArrowUp")
    expect(title).to_have_text(first)
    tab.key("Alt+x")
    expect(tab.page.locator("#notice-text")).to_contain_text(f"“{first}” was deleted")
    expect(title).not_to_have_text(first)
    assert first not in tab.counts()
    tab.page.locator("#notice-undo").click()
    expect(tab.page.locator("#notice-text")).to_contain_text(f"Undone: deleted the name “{first}”")


def test_only_the_view_of_names_marks_one_in_the_list(open_tab: Any) -> None:
    tab = open_tab()
    tab.group_after("Enter", text="lapwing")
    tab.group_after("Alt+j")
    marked = tab.page.locator("#legend [aria-current]")
    expect(marked).to_have_count(0)
    for name in ("lapwing", "junk"):
        tab.page.locator(f"#legend [data-name='{name}']").click()
        expect(marked).to_have_count(1)
        expect(marked).to_have_attribute("data-name", name)
    for view in ("Alt+f", "Alt+a"):
        tab.key(view)
        expect(marked).to_have_count(0)
        tab.key("Alt+n")
        expect(marked).to_have_count(1)


def test_the_grid_shows_no_empty_frames_after_pictures_were_pulled_out(open_tab: Any) -> None:
    tab = open_tab(viewport={"width": 900, "height": 700})
    tab.group_after("Enter", text="fieldfare")
    tab.group_after("Enter", text="redwing")
    tab.page.goto(tab.own + "#names/fieldfare")
    expect(tab.page.locator(".cell img").first).to_be_visible()
    tab.key("End", "Control+a", "Delete")
    tab.page.wait_for_function(
        "() => document.querySelector('.cell') === null || document.querySelector('.cell img') !== null"
    )
    empty = "() => [...document.querySelectorAll('.cell')].every(cell => cell.querySelector('img'))"
    tab.page.wait_for_function(empty)


def test_a_digit_gives_one_of_the_most_frequent_names(open_tab: Any) -> None:
    tab = open_tab()
    tab.group_after("Enter", text="shelduck")
    slots = tab.page.locator("#quick button")
    name = slots.first.get_attribute("data-name")
    before = tab.counts()[name]
    tab.group_after("Alt+1")
    assert tab.counts()[name] != before
    tab.key("Escape")
    expect(tab.page.locator(".picture").first).to_be_focused()
    answers = tab.state()["answers"]
    tab.group_after("1")
    assert tab.state()["answers"] == answers + 1


def test_colours_are_chosen_and_the_first_hint_is_read_once(open_tab: Any) -> None:
    tab = open_tab(color_scheme="light")
    ground = "() => getComputedStyle(document.body).backgroundColor"
    light = tab.page.evaluate(ground)
    tab.page.locator("#theme").click()
    dark = tab.page.evaluate(ground)
    assert dark != light
    expect(tab.page.locator("#first-use")).to_contain_text("Mixed")
    tab.page.locator("#understood").click()
    tab.page.reload()
    expect(tab.page.locator(".picture").first).to_be_visible()
    assert tab.page.evaluate(ground) == dark
    expect(tab.page.locator("#first-use")).to_be_hidden()


UNTRANSLATED = """english => {
  const said = [...document.querySelectorAll('body *')].flatMap(node => [...node.childNodes])
    .filter(node => node.nodeType === Node.TEXT_NODE).map(node => node.data.trim());
  const told = [...document.querySelectorAll('[aria-label]')].map(node => node.getAttribute('aria-label'));
  return [...said, ...told].filter(text => english.includes(text) || /\\{\\w+\\}/.test(text));
}"""


def english_left(tab: Any, language: str) -> list[str]:
    """Return what the page says in English though its language has other words, and places that were not filled."""
    english, own = (json.loads((STATIC / "text" / f"{one}.json").read_text("utf-8")) for one in ("en", language))
    differ = [text for key, text in english.items() if isinstance(text, str) and text != own[key] and len(text) > 3]
    found: list[str] = tab.page.evaluate(UNTRANSLATED, differ)
    return found


@pytest.mark.parametrize(
    ("locale", "name", "hint", "undone"),
    [
        ("de-AT", "Stieglitz", "Enter: „Stieglitz“, ein neuer Name.", "Zurückgenommen: "),
        ("zh-CN", "黄雀", "Enter：“黄雀”，新名称。", "已撤销："),
    ],
    ids=["German", "Chinese"],
)
def test_the_page_speaks_the_language_of_the_browser(
    open_tab: Any, locale: str, name: str, hint: str, undone: str
) -> None:
    language = locale[:2]
    tab = open_tab(locale=locale, viewport={"width": 1366, "height": 620})
    expect(tab.page.locator("html")).to_have_attribute("lang", language)
    expect(tab.page.locator("#covered")).to_contain_text("1.797" if language == "de" else "1,797")
    tab.page.locator("#understood").click()
    tab.page.keyboard.type(name)
    expect(tab.page.locator("#name-hint")).to_have_text(hint)
    tab.group_after("Enter")
    tab.key("Alt+z")
    expect(tab.page.locator("#notice-text")).to_contain_text(undone)
    tab.key("Alt+Shift+z", "Alt+u")
    expect(tab.page.locator("#acts li").first).to_contain_text(name)
    tab.key("Escape")
    for keys, view in (
        ("Alt+n", "#names-view"),
        ("Alt+f", "#find-view"),
        ("Alt+h", "#helping"),
        ("Alt+a", "#ask-view"),
    ):
        tab.key("Escape", keys)
        expect(tab.page.locator(view)).to_be_visible()
        assert english_left(tab, language) == []
        assert tab.page.evaluate("document.documentElement.scrollWidth") <= 1366
        tab.key("Escape")
    tab.page.select_option("#language", "fr")
    expect(tab.page.locator("html")).to_have_attribute("lang", "fr")
    tab.page.reload()
    expect(tab.page.locator("nav [data-view=ask]")).to_have_text("Nommer")

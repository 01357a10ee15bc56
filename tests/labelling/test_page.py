"""The naming page in a real Chromium, against a real server: what a person does, by keyboard, mouse and finger."""

import math
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

import selfsort
from commands import run_here
from naming_page import SHOWN, Server, Tab, copy_of
from samples import quick
from selfsort.labelling.core.simulated import SimulatedAnnotator
from selfsort.labelling.label_space import stamp_of
from selfsort.labelling.learning.label_session import LabelSession
from selfsort.runs import RunFolder

# Each begins with a letter or digit that is a command together with Alt.
NAMES = ("mouse", "junco", "snail", "zebra", "1st kind", "ibis", "hen", "newt", "ant", "yak")
PHONE = {"width": 360, "height": 740}
TABLETS = ({"width": 820, "height": 1180}, {"width": 1024, "height": 768})


@pytest.fixture(scope="module")
def certifying(fitted: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serve the checks of a run whose groups were named."""
    run = copy_of(fitted, tmp_path_factory.mktemp("named"))
    digits = selfsort.load_images("digits")
    labelling = LabelSession(selfsort.load(run), digits, n_groups=12, space="embedding")
    annotator = SimulatedAnnotator(digits.labels, digits.label_names, purity=0)
    for group in labelling.session.open_groups():
        labelling.answer(group, annotator.answer(group).name)
    labelling.refine(frozen=True).save(run / "named")
    running = Server(run, "certify", "--budget", "4")
    yield running
    running.kill()


WIDTHS = """() => {
  const shown = [...document.querySelectorAll('.picture img')].filter(image => image.naturalWidth);
  return shown.map(image => [image.naturalWidth, image.clientWidth, getComputedStyle(image).imageRendering]);
}"""


def test_small_pictures_are_enlarged_pixel_by_pixel(open_tab: Any) -> None:
    tab = open_tab()
    tab.page.wait_for_function(f"() => ({WIDTHS})().length > 20")
    tab.page.wait_for_function(f"() => ({WIDTHS})().every(([own, , style]) => own === 8 && style === 'pixelated')")


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serve a run whose pictures are much larger in their files than in its training."""
    folder = tmp_path_factory.mktemp("photographs")
    (folder / "photos").mkdir()
    rng = np.random.default_rng(0)
    for number in range(60):
        pixels = Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8)).resize((1200, 900))
        pixels.save(folder / "photos" / f"{number:02d}.jpg")
    model = quick("kmeans").fit(selfsort.load_images(folder / "photos", size=16), run_dir=folder / "run")
    np.savez(RunFolder(folder / "run").points, stamp=stamp_of(model.embedding_), points=model.embedding_)
    running = Server(folder / "run", "label", "--groups", "2")
    yield running
    running.kill()


@pytest.mark.slow
def test_photographs_are_shown_from_their_files(open_tab: Any, photographs: Server) -> None:
    tab = open_tab(at=photographs, viewport={"width": 1920, "height": 1080})
    tab.page.wait_for_function(f"() => ({WIDTHS})().length > 20")
    widths = tab.page.evaluate(WIDTHS)
    assert {(own, style) for own, _, style in widths} == {(256, "auto")}
    assert min(shown for _, shown, _ in widths) > 150, "wide pages use the larger thumbnails"
    tab.key("Escape", "Enter")
    enlarged = tab.page.locator("#enlarged-picture")
    expect(enlarged).to_have_js_property("naturalWidth", 1200)
    assert enlarged.bounding_box()["height"] > 700
    tab.key("Escape")
    tab.group_after("Enter", text="noise")
    tab.page.goto(tab.own + "#names/noise")
    expect(tab.page.locator(".cell img").first).to_be_visible()
    assert tab.page.locator(".cell").first.bounding_box()["width"] >= 148


@pytest.mark.slow
def test_rough_groups_are_named_while_better_ones_are_looked_for(open_tab: Any, tmp_path: Path) -> None:
    np.save(tmp_path / "few.npy", selfsort.load_images("digits").images[:300])
    quick("kmeans", n_classes=6).fit(selfsort.load_images(tmp_path / "few.npy"), run_dir=tmp_path / "rough")
    server = Server(tmp_path / "rough", "label")
    try:
        tab = open_tab(at=server)
        assert tab.state()["better_groups"] is not None
        expect(tab.page.locator("#better-when")).to_contain_text("Better groups")
        tab.group_after("Enter", text="heron")
        asked = tab.shown()
        expect(tab.page.locator("#better")).to_be_hidden()
        assert tab.shown() == asked, "what one looks at stays"
        expect(tab.page.locator("#live")).to_have_text("Better groups are ready.")
        tab.group_after("Enter", text="egret")
        assert {"heron", "egret"} <= set(tab.counts())
    finally:
        server.kill()


@pytest.mark.slow
def test_the_last_groups_come_back_from_a_window_that_was_closed(open_tab: Any, fitted: Path, tmp_path: Path) -> None:
    server = Server(copy_of(fitted, tmp_path), "label", "--groups", "2")
    try:
        first = open_tab(at=server)
        asked = first.shown()
        second = first.page.context.new_page()  # it shows no group: the other window has both
        second.goto(server.address)
        expect(second.locator("#nothing-left")).to_contain_text("open in another window")
        first.close()
        expect(second.locator(".picture").first).to_be_visible()
        assert second.evaluate(SHOWN) == asked
    finally:
        server.kill()


def test_ten_groups_are_named_by_keyboard_one_is_split_and_an_answer_taken_back(open_tab: Any) -> None:
    tab = open_tab()
    expect(tab.page.locator("#name")).to_be_focused()
    for name in NAMES:
        tab.group_after("Enter", text=name)
        expect(tab.page.locator("#name")).to_be_focused()
        expect(tab.page.locator("#name")).to_have_value("")
    assert set(NAMES) <= set(tab.counts())
    open_before = tab.state()["open_groups"]
    asked = tab.shown()
    tab.group_after("Alt+m")
    tab.page.wait_for_function(
        "n => fetch('/api/state').then(r => r.json()).then(s => s.open_groups > n)", arg=open_before
    )
    tab.group_after("Alt+s")
    answers = tab.state()["answers"]
    tab.group_after("Alt+z")
    assert tab.group_after("Alt+z") == asked
    assert tab.state()["answers"] == answers - 2
    tab.page.reload()
    expect(tab.page.locator("#legend")).to_contain_text("zebra")
    expect(tab.page.locator("#covered")).to_contain_text(f"{tab.state()['covered']:,} of 1,797")
    assert tab.shown() == asked


def test_pictures_are_thrown_out_and_undo_puts_the_answer_back(open_tab: Any) -> None:
    tab = open_tab()
    expect(tab.page.locator("#name")).to_be_focused()
    tab.key("Escape", "ArrowRight", "Space", "ArrowDown", "Space", "Alt+Shift+2")
    tab.page.locator(".picture").nth(4).click()
    out = tab.page.locator(".picture[aria-pressed=true]")
    expect(out).to_have_count(3)
    before = tab.shown()
    tab.group_after("Enter", text="snake")
    expect(out).to_have_count(0)
    assert tab.group_after("Alt+z") == before
    expect(out).to_have_count(3)
    expect(tab.page.locator("#name")).to_have_value("snake")
    expect(tab.page.locator("#confidence input:checked")).to_have_value("2")
    assert "snake" not in tab.counts()


def test_a_picture_is_enlarged_and_thrown_out_there(open_tab: Any) -> None:
    tab = open_tab()
    expect(tab.page.locator("#name")).to_be_focused()
    tab.key("Escape", "Enter")
    expect(tab.page.locator("#enlarged")).to_be_visible()
    expect(tab.page.locator("#enlarged-note")).to_contain_text("1 of")
    tab.key("ArrowRight", "Space", "Escape")
    expect(tab.page.locator("#enlarged")).to_be_hidden()
    expect(tab.page.locator(".picture").nth(1)).to_be_focused()
    expect(tab.page.locator(".picture").nth(1)).to_have_attribute("aria-pressed", "true")


def test_an_empty_name_is_refused_in_a_sentence(open_tab: Any) -> None:
    tab = open_tab()
    expect(tab.page.locator("#name")).to_be_focused()
    answers = tab.state()["answers"]
    tab.key("Enter")
    expect(tab.page.locator("#answer-error")).to_have_text("Type a name first, or skip the group.")
    assert tab.state()["answers"] == answers


CUT_OFF = """async () => {
  const whole = window.fetch;
  let cut = 0;
  window.fetch = (...asked) => {
    window.fetch = whole;
    cut++;
    const body = new ReadableStream({ pull: stream => stream.error(new TypeError('cut off')) });
    return Promise.resolve(new Response(body));
  };
  const { get } = await import('/static/api.js');
  return [cut, (await get('/api/state'))?.pictures, cut];
}"""


def test_what_breaks_off_is_asked_for_again(open_tab: Any) -> None:
    assert open_tab().page.evaluate(CUT_OFF) == [0, 1797, 1]


@pytest.mark.slow
def test_the_map_tells_how_far_a_better_one_is(open_tab: Any) -> None:
    tab = open_tab(locale="fr")
    bar, words = tab.page.locator("#map-wait .bar"), tab.page.locator("#map-wait span")
    state = tab.state()
    tab.page.route("**/api/state", lambda route: route.fulfill(json=state))
    for share, told in ((0.42, "Dessin d’une meilleure carte : 42 %"), (0, "Dessin d’une meilleure carte …")):
        state["map_drawing"] = share
        expect(words).to_contain_text(told)
        expect(words).to_be_visible()
        assert bar.get_attribute("aria-valuenow") == (str(round(100 * share)) if share else None)


@pytest.mark.slow
def test_a_line_or_a_circle_on_the_map_makes_a_group(open_tab: Any) -> None:
    tab = open_tab()
    expect(tab.page.locator("#map-kind")).to_contain_text("All 1,797 pictures")
    box = tab.page.locator("#map-hand").bounding_box()
    middle, radius = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2), box["width"] / 4
    corners = [(middle[0] + radius * math.cos(a / 3), middle[1] + radius * math.sin(a / 3)) for a in range(20)]
    tab.page.mouse.move(*corners[0])
    tab.page.mouse.down()
    for corner in corners:
        tab.page.mouse.move(*corner)
    tab.page.mouse.up()
    expect(tab.page.locator("#ask-title")).to_contain_text("from the map")
    expect(tab.page.locator("#name")).to_be_focused()
    drawn = tab.shown()
    tab.page.locator("#map-hand").focus()
    tab.key("ArrowLeft", "Shift+ArrowLeft", *"+++++++")
    expect(tab.page.locator("#live")).to_contain_text("in the circle")
    assert tab.group_after("Enter") != drawn
    expect(tab.page.locator("#ask-title")).to_contain_text("from the map")
    shown = [int(picture) for picture in tab.shown().split()]
    tab.group_after("Enter", text="circled")
    # Names spread from all answers together: some of the circle may be more like another name.
    assert sum(tab.name_of(picture) == "circled" for picture in shown) > len(shown) / 2


@pytest.mark.slow
def test_what_is_selected_while_a_new_list_is_on_its_way_stays_in_sight(open_tab: Any) -> None:
    tab = open_tab()
    tab.group_after("Enter", text="heron")
    tab.page.goto(tab.own + "#names/heron")
    grid = tab.page.locator("#grid")
    expect(grid.locator(".cell img").first).to_be_visible()
    picture = int(grid.locator(".cell").first.get_attribute("data-picture"))
    another = {"pictures": [picture], "name": "stork", "distinct": True, "client": "other", "key": "0" * 32}
    tab.page.route("**/api/names/pictures*", lambda route: None)
    with tab.page.expect_request("**/api/names/pictures*"):
        assert tab.page.request.post(f"{tab.own}api/assign", data=another).ok
    grid.focus()
    tab.key("Space")
    tab.page.unroute("**/api/names/pictures*")  # those held go on
    tab.page.wait_for_timeout(300)
    expect(grid.locator("[aria-selected=true]")).to_have_attribute("data-picture", str(picture))


def test_pictures_are_pulled_out_moved_and_names_renamed(open_tab: Any) -> None:
    tab = open_tab()
    tab.expected = ("404",)  # what the page asks of a name may cross with its end
    tab.group_after("Enter", text="heron")
    tab.group_after("Enter", text="egret")
    tab.page.goto(tab.own + "#names/heron")
    grid = tab.page.locator("#grid")
    expect(grid.locator(".cell img").first).to_be_visible()
    grid.focus()
    tab.key("Space", "ArrowRight", "Shift+ArrowRight")
    expect(tab.page.locator("#chosen")).to_have_text("3 selected")
    selected = grid.locator("[aria-selected=true]")
    pulled = selected.evaluate_all("cells => cells.map(cell => Number(cell.dataset.picture))")
    tab.key("Delete")
    expect(tab.page.locator("#chosen")).to_have_text("None selected")
    expect(grid).to_be_focused()
    assert len(pulled) == 3 and "heron" not in map(tab.name_of, pulled)
    tab.key("Space")
    expect(tab.page.locator("#chosen")).to_have_text("1 selected")
    (moved,) = selected.evaluate_all("cells => cells.map(cell => Number(cell.dataset.picture))")
    another = {"pictures": [moved], "name": "stork", "distinct": True, "client": "other", "key": "0" * 32}
    # As from another window; names that spread do it, too.
    assert tab.page.request.post(f"{tab.own}api/assign", data=another).ok
    expect(tab.page.locator("#legend")).to_contain_text("stork")
    expect(selected).to_have_attribute("data-picture", str(moved))  # what is selected stays in sight
    tab.page.keyboard.type("egr")
    tab.key("Enter")
    expect(tab.page.locator("#chosen")).to_have_text("None selected")
    expect(grid.locator(f"[data-picture='{moved}']")).to_have_count(0)
    assert tab.name_of(moved) == "egret"
    tab.key("Alt+r")
    tab.page.keyboard.type("grey heron")
    tab.key("Enter")
    expect(tab.page.locator("#names-title")).to_have_text("grey heron")
    assert tab.counts()["grey heron"] > 0 and "heron" not in tab.counts()
    assert "grey heron" not in map(tab.name_of, [*pulled, moved])
    tab.key("Alt+z", "Alt+n")
    expect(tab.page.locator("#legend")).not_to_contain_text("grey heron")


@pytest.mark.slow
def test_two_tabs_are_asked_about_different_groups(open_tab: Any) -> None:
    one = open_tab()
    other = open_tab(beside=one)
    expect(one.page.locator("#name")).to_be_focused()
    expect(other.page.locator(".picture").first).to_be_visible()
    assert one.shown() != other.shown()
    answers = one.state()["answers"]
    one.group_after("Enter", text="first tab")
    other.group_after("Enter", text="second tab")
    assert one.state()["answers"] == answers + 2
    expect(one.page.locator("#legend")).to_contain_text("second tab")


@pytest.mark.slow
def test_an_answer_whose_reply_is_lost_counts_once(open_tab: Any) -> None:
    tab = open_tab()
    tab.expected = ("ERR_",)
    answers = tab.state()["answers"]

    sent = []

    def lose_the_first_reply(route: Any) -> None:
        sent.append(route.request.post_data_json["key"])
        if len(sent) > 1:
            route.continue_()
        else:
            route.fetch()
            route.abort()

    tab.page.route("**/api/answers", lose_the_first_reply)
    tab.group_after("Enter", text="once")
    assert len(sent) == 2 and sent[0] == sent[1]
    assert tab.state()["answers"] == answers + 1


@pytest.mark.slow
def test_a_killed_server_loses_nothing_and_one_goes_on(open_tab: Any, server: Server) -> None:
    tab = open_tab()
    # A picture may be on its way when the server dies.
    tab.expected = ("ERR_CONNECTION", "ERR_SOCKET", "ERR_CONTENT_LENGTH_MISMATCH", "ERR_EMPTY_RESPONSE", "401")
    tab.group_after("Enter", text="before")
    answers, asked = tab.state()["answers"], tab.shown()
    server.kill()
    tab.page.keyboard.type("while away")
    tab.key("Enter")
    expect(tab.page.locator("#banner")).to_contain_text("The server does not answer")
    expect(tab.page.locator("#name")).to_have_value("while away")
    assert tab.shown() == asked
    command = f"selfsort label {server.run.resolve()} --port {server.port}"
    expect(tab.page.locator("#banner")).to_contain_text(command)
    with closing(sqlite3.connect(server.run / "labels.sqlite")) as store, store:
        damaged = ("damaged", "ann-1", "answer", "{}", "no digest of it")
        store.execute("INSERT INTO log (key, client, kind, content, digest) VALUES (?, ?, ?, ?, ?)", damaged)
    server.start()
    expect(tab.page.locator("#banner")).to_be_hidden()
    expect(tab.page.locator("#notice-text")).to_contain_text("1 entry in labels.sqlite is damaged")
    again = open_tab(beside=tab)
    expect(again.page.locator("#legend")).to_contain_text("before")
    expect(tab.page.locator("#name")).to_have_value("")
    assert tab.state()["answers"] == answers + 1 and "while away" in tab.counts()
    assert tab.group_after("Alt+z") == asked
    assert tab.state()["answers"] == answers and "before" in tab.counts()
    tab.page.wait_for_function("() => !document.querySelector('#legend').textContent.includes('while away')")


@pytest.mark.slow
def test_pictures_are_checked_one_by_one_up_to_the_certificate(open_tab: Any, certifying: Server) -> None:
    tab = open_tab(at=certifying)
    progress = tab.page.locator("#check-progress")
    expect(tab.page.locator("#right-name")).to_be_focused()
    expect(progress).to_have_text("0 of 4 checked")
    for part in ("#refine", "nav [data-view=ask]", ".figures"):
        expect(tab.page.locator(part)).to_be_hidden()
    assert focusable_without_name(tab) == []
    so_far = tab.page.locator("#so-far")
    expect(so_far).to_be_hidden()
    tab.key("Enter")
    expect(progress).to_have_text("1 of 4 checked")
    expect(so_far).to_contain_text("of all names are right (95\u00a0% sure). You may stop at any time.")
    expect(tab.page.locator("#check-file")).to_have_text(re.compile("^digits/"))
    tab.key("Alt+e")
    expect(tab.page.locator("#enlarged-title")).to_have_text(re.compile("^digits/"))
    assert "model" not in tab.page.locator("#enlarged").inner_text(), "its opinion must not lead"
    tab.key("Escape")
    expect(tab.page.locator("#right-name")).to_be_focused()
    tab.page.click("#check-doubt")
    expect(tab.page.locator("#check-doubt-said")).to_contain_text(re.compile("It gave “.+” .*%"))
    tab.page.keyboard.type("yarrow")
    tab.key("Enter")
    expect(progress).to_have_text("2 of 4 checked")
    tab.key("Alt+z")
    expect(progress).to_have_text("1 of 4 checked")
    for done in (2, 3, 4):
        expect(tab.page.locator("#check-picture")).to_be_visible()
        tab.key("Alt+y")
        expect(progress).to_have_text(f"{done} of 4 checked")
    expect(tab.page.locator("#sentence")).to_contain_text("1,797")
    expect(tab.page.locator("#per-class tr").first).to_be_visible()
    tab.page.reload()
    expect(tab.page.locator("#certificate")).to_be_visible()
    tab.key("Alt+z")
    expect(progress).to_have_text("3 of 4 checked")
    tab.key("Alt+y")
    tab.page.get_by_role("button", name="Check 25 more").click()
    expect(progress).to_have_text("4 of 29 checked")
    expect(tab.page.locator("#checking")).to_be_visible()
    expect(tab.page.locator("#certificate")).to_be_hidden()
    german = open_tab(at=certifying, locale="de")
    expect(german.page.locator("#check-progress")).to_have_text("4 von 29 geprüft")
    expect(german.page.locator("#check-hint")).to_have_text(re.compile("^Enter bestätigt"))
    expect(german.page.locator("#so-far")).to_contain_text("aller Namen richtig")


def focusable_without_name(tab: Tab) -> list[str]:
    """Return the roles of what the accessibility tree can focus but not name."""
    session = tab.page.context.new_cdp_session(tab.page)
    nodes = session.send("Accessibility.getFullAXTree")["nodes"]
    found = []
    for node in nodes:
        properties = {entry["name"]: entry["value"].get("value") for entry in node.get("properties", ())}
        if properties.get("focusable") and not node["ignored"] and not node.get("name", {}).get("value", "").strip():
            found.append(node["role"]["value"])
    return found


FOCUSED = """() => {
  const focused = document.activeElement;
  return focused.closest('#legend')?.id ?? (focused.id || focused.dataset.command || focused.className || focused.name);
}"""


def test_every_control_has_a_name_and_tab_goes_in_reading_order(open_tab: Any) -> None:
    tab = open_tab()
    tab.group_after("Enter", text="otter")
    expect(tab.page.get_by_role("button", name="Undo")).to_be_enabled()
    assert focusable_without_name(tab) == []
    tab.page.keyboard.type("own name")
    order = []
    for _ in range(16):
        tab.key("Tab")
        order.append(tab.page.evaluate(FOCUSED))
    in_the_form = "accept confidence mixed junk skip undo history size".split()
    assert order == [*in_the_form, *"picture map-larger map-hand map-in map-out only-unnamed take-all legend".split()]
    for keys, dialog in (("Alt+h", "#helping"), ("Alt+n", "#names-view"), ("Alt+f", "#find-view")):
        tab.key(keys)
        expect(tab.page.locator(dialog)).to_be_visible()
        assert focusable_without_name(tab) == []
        tab.key("Escape")


CONTRAST = """() => {
  const channels = text => text.match(/[\\d.]+/g).map(Number);
  const linear = value => value <= .04045 ? value / 12.92 : ((value + .055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => .2126 * linear(r / 255) + .7152 * linear(g / 255) + .0722 * linear(b / 255);
  const ground = node => {
    for (; node; node = node.parentElement) {
      const colour = channels(getComputedStyle(node).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
  };
  const poor = [];
  for (const node of document.querySelectorAll('body *')) {
    const own = [...node.childNodes].some(child => child.nodeType === 3 && child.data.trim());
    if (!own || !node.checkVisibility() || node.closest(':disabled')) continue;
    const [one, other] = [light(channels(getComputedStyle(node).color)), light(ground(node))];
    const ratio = (Math.max(one, other) + .05) / (Math.min(one, other) + .05);
    if (ratio < 4.5) poor.push(`${node.tagName} ${node.textContent.trim().slice(0, 30)}: ${ratio.toFixed(2)}`);
  }
  return poor;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.slow
def test_text_has_the_contrast_of_wcag_aa(open_tab: Any, scheme: str) -> None:
    tab = open_tab(color_scheme=scheme)
    expect(tab.page.locator(".picture").first).to_be_visible()
    tab.page.keyboard.type("o")
    assert tab.page.evaluate(CONTRAST) == []
    tab.key("Alt+n")
    expect(tab.page.locator("#names-view")).to_be_visible()
    assert tab.page.evaluate(CONTRAST) == []


SMALL = """() => [...document.querySelectorAll('button, a, input, select')]
  .filter(node => node.checkVisibility() && !node.matches('.skip, #nothing a, #names-empty a'))
  .map(node => [node.id || node.className || node.textContent, node.getBoundingClientRect()])
  .filter(([, box]) => Math.min(box.width, box.height) < 44)
  .map(([name, box]) => `${name} ${box.width} x ${box.height}`)"""


@pytest.mark.parametrize("viewport", [PHONE, *TABLETS], ids=["phone", "portrait", "landscape"])
@pytest.mark.slow
def test_a_finger_can_use_it_on_a_small_screen(open_tab: Any, viewport: dict[str, int]) -> None:
    tab = open_tab(viewport=viewport, has_touch=True, is_mobile=True)
    tab.group_after("Enter", text=f"dove {viewport['width']}")
    for view in ("ask", "names"):
        tab.page.locator(f"nav [data-view={view}]").tap()
        expect(tab.page.locator(f"#{view}-view img").first).to_be_attached()
        assert tab.page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
        assert tab.page.evaluate(SMALL) == []


@pytest.mark.parametrize("viewport", TABLETS, ids=["portrait", "landscape"])
def test_groups_are_named_and_names_mended_by_finger(open_tab: Any, viewport: dict[str, int]) -> None:
    tab = open_tab(viewport=viewport, has_touch=True, is_mobile=True)
    page = tab.page
    page.locator("#understood").tap()
    for text in (f"plover {viewport['width']}", f"dunlin {viewport['width']}"):
        pictures = page.locator(".picture")
        asked, thrown_out = tab.shown(), int(pictures.nth(2).get_attribute("data-picture"))
        pictures.nth(2).tap()
        expect(pictures.nth(2)).to_have_attribute("aria-pressed", "true")
        page.locator("#name").tap()
        page.keyboard.type(text)
        page.locator("#accept").tap()
        page.wait_for_function(f"before => ({SHOWN})() !== before", arg=asked)
        assert text in tab.counts() and tab.name_of(thrown_out) != text
    page.locator("#legend a", has_text=text).tap()
    expect(page.locator("#names-title")).to_have_text(text)
    cell = page.locator(".cell").first
    expect(cell.locator("img")).to_be_visible()
    cell.tap()
    expect(page.locator("#chosen")).to_have_text("1 selected")
    moved = int(page.locator(".cell[aria-selected=true]").get_attribute("data-picture") or -1)
    said = tab.said_of(moved)
    page.locator("#move-name").tap()
    page.keyboard.type("plov")
    page.locator("#move-list [role=option]", has_text=f"plover {viewport['width']}").tap()
    expect(page.locator("#chosen")).to_have_text("None selected")
    assert tab.name_of(moved) == f"plover {viewport['width']}"
    page.locator("#names-view [data-command=undo]").tap()
    expect(page.locator("#notice-text")).to_contain_text("Undone: moved 1 picture")
    assert tab.said_of(moved) == said


@pytest.fixture(scope="module")
def refinable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serve a run of few pictures, whose thirty epochs take seconds, by a method that looks for groups at once."""
    folder = tmp_path_factory.mktemp("refinable")
    np.save(folder / "few.npy", selfsort.load_images("digits").images[:240])
    words = ["fit", str(folder / "few.npy"), "--out", str(folder / "few"), "--method", "topdown-vae", "--epochs", "1"]
    assert run_here(*words) == 0
    running = Server(folder / "few", "label", "--groups", "12")
    yield running
    running.kill()


@pytest.mark.slow
def test_refine_shows_progress_goes_on_asking_and_brings_new_groups(open_tab: Any, refinable: Server) -> None:
    tab = open_tab(at=refinable)
    tab.expected = ("409",)
    notice, progress = tab.page.locator("#notice-text"), tab.page.locator("#refining")
    tab.page.locator("#refine").click()
    expect(notice).to_contain_text("Name a group first")
    tab.page.locator("#notice-close").click()
    for text in ("heron", "egret"):
        tab.group_after("Enter", text=text)
    expect(progress).to_be_hidden()

    tab.key("Alt+i")
    expect(progress).to_be_visible()
    expect(tab.page.locator("#refine")).to_be_disabled()
    tab.group_after("Enter", text="stork")
    assert tab.state()["refinement"]["state"] == "running" and "stork" in tab.counts()
    expect(tab.page.locator("#epoch")).to_contain_text(re.compile(r"Epoch \d+ of 30, .* left"), timeout=600_000)
    tab.page.keyboard.type("bit")  # the notice must not take the letters
    expect(notice).to_have_text(re.compile(r"Improved\. .* There are \d+ new groups to name"), timeout=600_000)
    expect(progress).to_be_hidden()
    expect(tab.page.locator("#refine")).to_be_enabled()
    expect(tab.page.locator("#name")).to_have_value("bit")
    assert {"heron", "egret", "stork"} <= set(tab.counts())
    tab.group_after("Enter", text="tern")
    assert tab.state()["round"] == 1 and "bittern" in tab.counts()
    # The model suggests a name for every group that it proposed.
    expect(tab.page.locator("#name")).to_have_attribute("placeholder", re.compile(r"^(heron|egret|stork)\?$"))
    tab.page.reload()
    expect(tab.page.locator("#name")).to_have_attribute("placeholder", re.compile(r"\?$"))


@pytest.fixture(scope="module")
def locked(fitted: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serve a run to others, who give a password."""
    run = copy_of(fitted, tmp_path_factory.mktemp("locked"))
    running = Server(run, "label", "--host", "127.0.0.1", "--password", "open sesame")
    yield running
    running.kill()


@pytest.mark.parametrize("options", [{"color_scheme": "light"}, {"color_scheme": "dark", "viewport": TABLETS[0]}])
@pytest.mark.slow
def test_others_come_in_by_the_password_alone(browser: Any, locked: Server, options: dict[str, Any]) -> None:
    page = browser.new_page(**options)
    page.set_default_timeout(60_000)
    page.goto(f"http://127.0.0.1:{locked.port}/")
    expect(page.get_by_label("Password")).to_be_focused()
    expect(page.locator("#wrong")).to_have_count(0)
    for _ in range(2):
        page.keyboard.type("open barley")
        page.keyboard.press("Enter")
        expect(page.locator("#wrong")).to_have_text("That is not the password: try again.")
        expect(page.get_by_label("Password")).to_have_value("")
        expect(page.get_by_label("Password")).to_be_focused()
        assert page.evaluate(CONTRAST) == []
    page.keyboard.type("open sesame")
    page.keyboard.press("Enter")
    expect(page.locator(".picture").first).to_be_visible()
    assert page.url == f"http://127.0.0.1:{locked.port}/"
    page.close()


@pytest.mark.slow
def test_dialogs_of_people_and_of_exchange_have_names_for_every_control(open_tab: Any) -> None:
    tab = open_tab()
    for button, dialog in (("#people-open", "#people"), ("#export", "#exchange")):
        tab.page.click(button)
        expect(tab.page.locator(dialog)).to_be_visible()
        assert focusable_without_name(tab) == []
        tab.key("Escape")
        expect(tab.page.locator("#name")).to_be_focused()

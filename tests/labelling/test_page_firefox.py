"""The naming page in Firefox: the main flows on a desktop, a tablet and a phone."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from firefox import Firefox, find_firefox
from naming_page import SHOWN, Server
from selfsort.data.image_set import ImageSet
from selfsort.labelling.learning.label_session import LabelSession
from selfsort.methods import load

pytestmark = pytest.mark.slow

SCREENS = {"desktop": (1440, 900), "tablet": (820, 1180), "phone": (390, 844)}


@pytest.fixture(scope="module")
def firefox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Firefox]:
    program = find_firefox()
    if program is None:
        pytest.skip("no firefox on the PATH")
    running = Firefox(program, tmp_path_factory.mktemp("firefox"))
    yield running
    running.close()


@pytest.fixture(scope="module")
def named(finished: Path, images: ImageSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the run, in which some groups have names."""
    run = Path(shutil.copytree(finished, tmp_path_factory.mktemp("named") / "run"))
    labelling = LabelSession(load(run), images, n_groups=6, space="embedding")
    for group in labelling.session.open_groups():
        labelling.answer(group, ("across", "down", "block")[int(group.members[0]) % 3])
    labelling.refine(frozen=True, n_groups=0).save(run / "named")
    return run


@pytest.fixture(scope="module")
def naming(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    run = Path(shutil.copytree(finished, tmp_path_factory.mktemp("naming") / "run"))
    running = Server(run, "label", "--images", str(finished.parent / "pictures.npy"), "--groups", "20")
    yield running
    running.kill()


@pytest.fixture(params=list(SCREENS))
def screen(request: pytest.FixtureRequest, firefox: Firefox, naming: Server) -> Any:
    """The page on a screen of each size; the largest one in dark colours."""
    name: str = request.param
    firefox.resize(*SCREENS[name], touch=name != "desktop", dark=name == "desktop")
    firefox.open(naming.address)
    firefox.until("document.querySelectorAll('.picture img').length > 1")
    assert firefox.run("innerWidth") == SCREENS[name][0]
    if firefox.run("!document.querySelector('#first-use').hidden"):
        firefox.click("#understood")
    return name


def group_after(firefox: Firefox, *keys: str, text: str = "") -> str:
    before = firefox.run(f"({SHOWN})()")
    firefox.type(text)
    firefox.key(*keys)
    firefox.until(f"({SHOWN})() !== arguments[0] && document.querySelector('.picture')", before)
    return str(firefox.run(f"({SHOWN})()"))


HEAD = """(() => {
  document.querySelector('#better').hidden = false;
  document.querySelector('#better-when').textContent = 'Better groups in 40 seconds';
  return Math.max(...[...document.querySelectorAll('nav a')].map(link => link.clientHeight));
})()"""


def check(firefox: Firefox, server: Server) -> None:
    assert firefox.run("document.documentElement.scrollWidth <= innerWidth"), "nothing is wider than the screen"
    assert firefox.run("!document.querySelector('[role=alert]:not([hidden])')"), "nothing is refused"
    assert firefox.wrong(f"http://127.0.0.1:{server.port}/") == []


def test_a_group_is_asked_about_and_an_answer_is_undone(firefox: Firefox, naming: Server, screen: str) -> None:
    assert firefox.run(HEAD) < 60, "words do not break where the head has little room"
    if screen != "desktop":
        firefox.click("#name")  # no keyboard covers the pictures until it is wanted
    firefox.until("document.activeElement.id === 'name'")
    group_after(firefox, "Enter", text=f"{screen} one")
    firefox.click(".picture")
    firefox.until("document.querySelectorAll('.picture[aria-pressed=true]').length === 1")
    firefox.click("#name")
    asked = firefox.run(f"({SHOWN})()")
    group_after(firefox, "Enter", text=f"{screen} two")
    firefox.until("document.querySelector('#legend').textContent.includes(arguments[0])", f"{screen} two")
    assert group_after(firefox, "Alt+z") == asked
    assert firefox.run("document.querySelectorAll('.picture[aria-pressed=true]').length") == 1
    check(firefox, naming)


def test_a_picture_is_enlarged_and_zoomed(firefox: Firefox, naming: Server, screen: str) -> None:
    firefox.run("document.querySelector('.picture').focus()")
    firefox.key("Enter")
    firefox.until("document.querySelector('#enlarged-picture')?.clientWidth > 0")
    firefox.until("document.querySelector('#enlarged-toggle').getAttribute('aria-disabled') === 'false'")
    before = firefox.run("document.querySelector('#stage img').clientWidth")
    firefox.key("+")
    firefox.until("document.querySelector('#stage img').clientWidth > arguments[0]", before)
    firefox.key("ArrowRight", "Space")
    firefox.click("#enlarged .close")
    firefox.until("!document.querySelector('#enlarged').open")
    assert firefox.run("document.querySelectorAll('.picture')[1].getAttribute('aria-pressed')") == "true"
    check(firefox, naming)


def test_pictures_of_a_name_are_thrown_out_and_others_found(firefox: Firefox, naming: Server, screen: str) -> None:
    firefox.run("document.querySelector('#name').focus()")
    group_after(firefox, "Enter", text=f"{screen} three")
    firefox.key("Alt+n")
    firefox.until("document.querySelectorAll('.cell img').length > 1")
    shown = "document.querySelectorAll('.cell').length"
    before = firefox.run(shown)
    firefox.run("document.querySelector('#grid').focus()")
    firefox.key("Space", "ArrowRight", "Space")
    firefox.until("document.querySelectorAll('.cell[aria-selected=true]').length === 2")
    firefox.key("Delete")
    firefox.until(f"{shown} !== arguments[0] && !document.querySelector('.cell[aria-selected=true]')", before)
    firefox.key("Alt+f")
    firefox.run("document.querySelector('#wanted').focus()")
    firefox.type("0012")
    firefox.until("document.querySelectorAll('#found img').length === 1")
    firefox.click("#found button")
    firefox.until(
        "!document.querySelector('#find-accept').disabled || document.querySelector('#find-chosen').textContent"
    )
    check(firefox, naming)


def test_names_are_checked_up_to_the_certificate(firefox: Firefox, named: Path, finished: Path) -> None:
    firefox.resize(*SCREENS["desktop"])
    server = Server(named, "certify", "--budget", "2", "--images", str(finished.parent / "pictures.npy"))
    try:
        firefox.open(server.address)
        firefox.until("document.activeElement.id === 'right-name'")
        for done in ("1 of 2", "2 of 2"):
            firefox.key("Enter")
            firefox.until("document.querySelector('#check-progress').textContent.startsWith(arguments[0])", done)
        firefox.until("!document.querySelector('#certificate').hidden")
        assert "all 60 names" in firefox.text("#sentence")
        check(firefox, server)
    finally:
        server.kill()

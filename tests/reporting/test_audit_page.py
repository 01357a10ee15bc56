import base64
import hashlib
import re

import numpy as np
import pytest
from PIL import Image

from audit_samples import compressed, framed, photo, photos, resized, save
from axe import violations
from html_pages import Page
from selfsort.audit import audit, write_audit
from selfsort.data.input_spec import InputSpec
from selfsort.reporting.audit_page import PAGE, write_audit_page


def render(source, tmp_path, **options) -> tuple[str, Page]:
    write_audit_page(audit(source, **options), tmp_path)
    html = (tmp_path / PAGE).read_text(encoding="utf-8")
    return html, Page(html)


@pytest.fixture(scope="module")
def troubled(tmp_path_factory):
    """A folder with examples of everything that an audit finds."""
    root = tmp_path_factory.mktemp("photos")
    for seed in range(12):
        save(photo(seed), root / "train" / "rose" / f"{seed}.png")
    save(compressed(photo(0)), root / "test" / "rose" / "leak.png")
    save(resized(photo(1)), root / "train" / "rose" / "small copy.png")
    save(photo(2), root / "train" / "tulip" / "<b>other label</b>.png")
    save(framed(photo(30), 0, 10, 0, 10), root / "train" / "rose" / "framed.png")
    save(Image.new("RGB", (40, 40), "white"), root / "train" / "rose" / "blank.png")
    save(photo(31).convert("L").convert("RGB"), root / "train" / "rose" / "grey.png")
    save(photo(32, width=500), root / "train" / "rose" / "long.png")
    (root / "train" / "rose" / "broken\n.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    return root


def test_is_self_contained(troubled, tmp_path):
    html, page = render(troubled, tmp_path)
    assert not page.all("script") and "http" not in re.sub(r"http-equiv", "", html)
    assert all(image["src"].startswith("data:image/") for image in page.all("img"))
    (policy,) = (tag["content"] for tag in page.all("meta") if "content" in tag and "default-src" in tag["content"])
    (style,) = page.styles
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in policy and "default-src 'none'" in policy


def test_every_finding_has_its_place(troubled, tmp_path):
    _, page = render(troubled, tmp_path)
    ids = {tag["id"] for tag in page.all("h2")}
    assert ids >= {
        "found",
        "unreadable",
        "leaks",
        "groups",
        "bordered",
        "blank",
        "grey_in_colour",
        "odd_shape",
        "sizes",
    }
    for link in page.all("a"):
        assert link["href"].removeprefix("#") in ids
    assert "Train and test" in page.text and "Different labels" in page.text
    assert r"train/rose/broken\n.jpg" in page.text and "truncated" in page.text


def test_names_are_escaped(troubled, tmp_path):
    html, page = render(troubled, tmp_path)
    assert "<b>other label</b>" not in html and "<b>other label</b>" in page.text


def test_crop_boxes_are_drawn_in_the_pictures_own_pixels(troubled, tmp_path):
    _, page = render(troubled, tmp_path)
    assert page.all("rect", x="0", y="10", width="120", height="90") and page.all("svg", viewbox="0 0 120 110")


def test_without_findings_only_what_was_read_is_shown(tmp_path):
    html, page = render(photos(40, width=32, height=32), tmp_path)
    assert len(page.all("img")) == 6 and "Sizes" in html and len(page.all("h2")) == 3


def test_it_shows_pictures_beside_what_a_network_gets(tmp_path):
    root = tmp_path / "photos"
    for seed in range(9):
        save(photo(seed), root / "data" / "ab"[seed % 2] / f"{seed}.png")
    turned = Image.Exif()
    turned[0x0112] = 6
    for seed in range(5):
        photo(20 + seed).save(root / "data" / "a" / f"turned {seed}.jpg", exif=turned)
    photo(30).save(root / "data" / "b" / "pages.tif", save_all=True, append_images=[photo(31)])
    (root / ".DS_Store").write_bytes(b"x")
    (root / "notes.txt").write_text("no picture")
    write_audit_page(audit(root), tmp_path, input_spec=InputSpec(40, 1, "squash"))
    page = Page((tmp_path / PAGE).read_text(encoding="utf-8"))
    assert "Classes: a, b below data/." in page.text and "40 × 40 pixels, grey" in page.text
    for kind in ("as it is", "turned upright", "first page only", "hidden", "not a picture"):
        assert kind in page.text
    given = [tag for tag in page.all("img") if tag["alt"].endswith(", as a network gets it")]
    assert len(given) == 3 + 3 + 1, "at most three of each kind"
    assert {tag["width"] for tag in given} == {tag["height"] for tag in given} == {"112"}
    assert "data/b/pages.tif, as a network gets it" in {tag["alt"] for tag in given}


def test_an_audit_of_nothing_readable(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"")
    _, page = render(tmp_path / "photos", tmp_path)
    assert "a.jpg" in page.text and "empty" in page.text


def test_large_groups_and_many_findings_are_cut_short(tmp_path):
    images = np.concatenate([np.repeat(photos(1, width=32, height=32), 50, 0), photos(3, 5, width=32, height=32)])
    blank = np.repeat(np.arange(100, dtype=np.uint8), 32 * 32 * 3).reshape(100, 32, 32, 3)
    html, page = render(np.concatenate([images, blank]), tmp_path)
    assert "and 42 more" in page.text and "The first 60 of 100." in page.text
    assert len(html) < 1_000_000


def test_a_missing_picture_is_left_out_of_the_page(tmp_path):
    for name in ("1", "2"):
        save(photo(1), tmp_path / "photos" / f"{name}.png")
    found = audit(tmp_path / "photos")
    (tmp_path / "photos" / "1.png").unlink()
    write_audit(found, tmp_path / "audit", lambda folder: write_audit_page(found, folder))
    page = Page((tmp_path / "audit" / PAGE).read_text(encoding="utf-8"))
    assert {image["alt"] for image in page.all("img")} == {"2.png", "2.png, as a network gets it"}


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.slow)])
def test_no_rule_of_axe_is_broken(troubled, tmp_path, browser, scheme):
    render(troubled, tmp_path)
    page = browser.new_page(bypass_csp=True, color_scheme=scheme)
    page.goto((tmp_path / PAGE).as_uri())
    assert violations(page) == []
    page.close()


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.slow)])
def test_browser_shows_the_page_on_a_phone(phone, troubled, tmp_path, scheme):
    render(troubled, tmp_path)
    page = phone(tmp_path / PAGE, scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == {"light": "rgb(244, 243, 239)", "dark": "rgb(17, 20, 23)"}[scheme]

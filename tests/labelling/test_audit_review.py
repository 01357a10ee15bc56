"""The audit's page with buttons that enlarge pictures, keep them or leave them out: by requests and in Chromium."""

import shutil
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect
from starlette.testclient import TestClient

from audit_samples import compressed, photo, save
from axe import violations
from selfsort.audit import audit, read_rejected, write_audit
from selfsort.data.loading import list_images
from selfsort.errors import UserError
from selfsort.labelling.server.audit_review import AuditReview
from selfsort.labelling.server.serve import listen, server_of
from selfsort.labelling.server.web import make_audit_app
from selfsort.reporting.audit_page import write_audit_page


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `photos`, one of them a copy and one broken, and their `audit`."""
    root = tmp_path_factory.mktemp("audited")
    for seed in range(6):
        save(photo(seed), root / "photos" / f"{seed}.png")
    save(compressed(photo(0)), root / "photos" / "copy.png")
    (root / "photos" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    found = audit(root / "photos")
    write_audit(found, root / "audit", lambda folder: write_audit_page(found, folder), bom=True)
    return root


@pytest.fixture
def folder(audited: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(audited / "audit", tmp_path / "audit"))


@pytest.fixture
def review(audited: Path, folder: Path) -> AuditReview:
    return AuditReview(folder, list_images(audited / "photos"))


@pytest.fixture
def client(review: AuditReview) -> TestClient:
    app = make_audit_app(review, "a-token")
    return TestClient(app, base_url="http://127.0.0.1", headers={"X-Selfsort-Token": "a-token"})


IDS = ("0.png", "1.png", "2.png", "3.png", "4.png", "5.png", "broken.jpg", "copy.png")


def test_a_choice_is_saved_and_followed(client: TestClient, folder: Path) -> None:
    before = (folder / "pictures.csv").read_text("utf-8-sig").splitlines()
    (copy,) = set(read_rejected(folder)) - {"broken.jpg"}
    number, state = IDS.index(copy), client.get("/api/choices").json()
    assert state == {"left_out": sorted([number, IDS.index("broken.jpg")]), "kept": 6}
    assert client.post("/api/choices", json={"picture": number, "kept": True}).json()["kept"] == 7
    assert client.post("/api/choices", json={"picture": 2, "kept": False}).json()["left_out"] == [2, 6]
    assert read_rejected(folder) == ("2.png", "broken.jpg")
    after = (folder / "pictures.csv").read_text("utf-8-sig").splitlines()
    assert (folder / "pictures.csv").read_bytes().startswith(b"\xef\xbb\xbf"), "Excel still recognises it as UTF-8"
    assert [line for line in after if line.startswith("2.png")][0].startswith("2.png,no,by hand,")
    assert len(after) == len(before) and [a for a, b in zip(before, after, strict=True) if a != b][0].startswith(
        ("0.png", "2.png")
    )
    client.post("/api/choices", json={"picture": 2, "kept": True})
    client.post("/api/choices", json={"picture": number, "kept": False})
    assert (folder / "pictures.csv").read_text("utf-8-sig").splitlines() == before


def test_the_table_may_be_sorted_differently_meanwhile(client: TestClient, folder: Path) -> None:
    table = folder / "pictures.csv"
    head, *lines = table.read_text("utf-8").splitlines(keepends=True)
    table.write_text(head + "".join(reversed(lines)), "utf-8")
    client.post("/api/choices", json={"picture": 3, "kept": False})
    assert "3.png" in read_rejected(folder)
    table.write_text(head + "".join(lines[1:]), "utf-8")
    answer = client.post("/api/choices", json={"picture": 3, "kept": True})
    assert answer.status_code == 422 and "no longer has a line" in answer.json()["detail"]


def test_only_originals_of_the_audit_are_shown(client: TestClient, audited: Path) -> None:
    assert client.get("/api/images/3/original").content == (audited / "photos" / "3.png").read_bytes()
    assert client.get("/api/images/6/original").status_code == 422, "it is broken"
    for number in (8, 10**9):
        assert client.get(f"/api/images/{number}/original").status_code == 404
    assert client.post("/api/choices", json={"picture": 8, "kept": True}).status_code == 404
    assert client.post("/api/choices", json={"picture": 0, "kept": "perhaps"}).status_code == 422
    for path in ("/", "/page.css", "/api/choices", "/api/images/3/original"):
        assert client.get(path, headers={"X-Selfsort-Token": "another"}).status_code == 401


def test_a_folder_without_a_page_of_pictures_is_refused(
    folder: Path, review: AuditReview, cli: Any, tmp_path: Path
) -> None:
    images = list_images(review.choices.facts["source"])
    (folder / "audit.html").write_text("<style></style>")
    with pytest.raises(UserError, match="audit again"):
        AuditReview(folder, images)
    (folder / "audit.html").unlink()
    with pytest.raises(UserError, match="audit.html' cannot be read"):
        AuditReview(folder, images)
    said = cli("review", tmp_path)
    assert said.code == 1 and "is not an audit" in said.err
    said = cli("review", folder, "--images", tmp_path / "gone")
    assert said.code == 1 and "--images" in said.err


@pytest.fixture
def complaints() -> list[str]:
    """The browser's complaints, of which none may remain in the end."""
    return []


@pytest.fixture
def page(browser: Any, review: AuditReview, complaints: list[str]) -> Any:
    """The page as shown by its server."""
    with closing(listen(None, None)) as listener:
        server = server_of(make_audit_app(review, "a-token"))
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        context = browser.new_context(bypass_csp=False, viewport={"width": 1366, "height": 768})
        opened = context.new_page()
        opened.on("console", lambda message: complaints.append(message.text))  # also of what the server refuses
        opened.on("pageerror", lambda error: complaints.append(str(error)))
        opened.goto(f"http://127.0.0.1:{listener.getsockname()[1]}/?token=a-token")
        opened.wait_for_selector("body[data-ready]")
        yield opened
        context.close()
        server.should_exit = True
        thread.join()
    assert complaints == []


def test_in_a_browser(page: Any, folder: Path, complaints: list[str]) -> None:
    assert violations(page) == []
    (copy,) = set(read_rejected(folder)) - {"broken.jpg"}
    figure = page.locator(f'[data-picture="{IDS.index(copy)}"]').first
    expect(page.locator("#n-left-out")).to_have_text("2")
    expect(figure.locator(".choice")).to_have_text(f"Keep {copy}")
    figure.locator(".choice").click()
    expect(page.locator("#n-left-out")).to_have_text("1")
    assert read_rejected(folder) == ("broken.jpg",)
    figure.locator(".enlarge").click()
    shown = page.locator("#large-stage img")
    expect(page.locator("#large-title")).to_have_text(copy)
    assert shown.evaluate("async image => { await image.decode(); return image.naturalWidth }") == 120
    assert violations(page) == []
    page.keyboard.press("ArrowRight")
    expect(page.locator("#large-title")).not_to_have_text(copy)
    other = page.locator("#large-title").text_content()
    page.keyboard.press("Space")
    expect(page.locator("#large .choice")).to_contain_text("Keep")
    assert set(read_rejected(folder)) == {"broken.jpg", other}
    page.keyboard.press("Escape")
    expect(page.locator("#large")).to_be_hidden()
    (folder / "pictures.csv").unlink()
    figure.locator(".choice").click()
    expect(page.locator("#trouble")).to_contain_text("Not saved")
    assert ["422" in said for said in complaints] == [True]
    complaints.clear()

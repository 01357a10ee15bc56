"""What the naming page needs with very many pictures: time, and memory of the server and of a real Chromium.

    python benchmarks/large.py [--pictures 200000] [--answers 200] [--run RUN] [--json FILE]

The pictures are small JPEG files of ten kinds of waves, fitted with `kmeans` on their pixels at 20x20, so that the
embedding has 1,200 axes, nearly as many as that of a pre-trained network. A run that was made with --keep can be used
again with --run. A script names one group after another by its first picture, THINKING seconds for each, while the
server looks for better groups and draws the map, as for a person who begins at once. Measured are the seconds from
the start of `selfsort label` until the pictures of the first group are seen; the milliseconds from Enter until the
next group is there, and until its pictures are, on the clock of the page; and the largest resident memory of the
server and of its helper processes, and the private memory of the page's process in the browser.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg
from playwright.sync_api import Page, sync_playwright
from rich.console import Console

from annotation import KINDS, served
from measuring import resident_bytes, write_json

SIZE = 32
THINKING = 0.5
FIT = ("--method", "kmeans", "--classes", str(KINDS), "--size", "20", "--json")
SHOWN = "() => [...document.querySelectorAll('.picture')].map(cell => Number(cell.dataset.picture))"
SEEN = (
    "() => document.querySelector('.picture') && [...document.querySelectorAll('.picture img')].every(i => i.complete)"
)
CLOCK = """
const times = window.times = { group: [], pictures: [] };
const shown = () => [...document.querySelectorAll('.picture')].map(cell => cell.dataset.picture).join();
const waiting = {};
addEventListener('keydown', event => {
  if (event.key === 'Enter') Object.assign(waiting, { began: performance.now(), before: shown() });
}, true);
new MutationObserver(async () => {
  const { began, before } = waiting;
  if (!began || !shown() || shown() === before) return;
  waiting.began = 0;
  times.group.push(performance.now() - began);
  while (![...document.querySelectorAll('.picture img')].every(image => image.complete)) {
    await new Promise(requestAnimationFrame);
  }
  times.pictures.push(performance.now() - began);
}).observe(document, { childList: true, subtree: true });
"""


def draw(folder: Path, count: int) -> None:
    """Write `count` noisy pictures of ten kinds, in order of kind."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:SIZE, :SIZE] / SIZE
    for kind in range(KINDS):
        (folder / f"kind {kind}").mkdir(parents=True)
        for number in range(count // KINDS):
            turned = rng.normal(0, 0.15) + (np.pi / 2 if kind % 2 else 0)
            wave = np.sin(2 * np.pi * ((1 + kind // 2) * (x * np.sin(turned) + y * np.cos(turned)) + rng.random() / 3))
            pixels = wave[..., None] * rng.uniform(40, 100, 3) + 120 + rng.normal(0, 20, (SIZE, SIZE, 3))
            data = simplejpeg.encode_jpeg(pixels.clip(0, 255).astype(np.uint8), quality=85)
            (folder / f"kind {kind}" / f"{number:06}.jpg").write_bytes(data)


def fit(folder: Path, count: int) -> Path:
    """Fit a run on synthetic pictures and return its folder."""
    draw(folder / "pictures", count)
    words = [sys.executable, "-m", "selfsort", "fit", str(folder / "pictures"), "--out", str(folder / "run"), *FIT]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    return folder / "run"


class Memory:
    """The largest memory of the server, of all of its helpers together, and of the page, in bytes."""

    def __init__(self, server: int):
        self.server, self.pages = server, list[int]()
        self.most = {"server": 0, "helpers": 0, "page": 0}

    def look(self) -> None:
        """Look once."""
        own, *others = (resident_bytes(each) for each in _tree(self.server))
        now = {"server": own, "helpers": sum(others), "page": max(map(_private_bytes, self.pages), default=0)}
        self.most = {name: max(most, now[name]) for name, most in self.most.items()}


def _tree(pid: int) -> list[int]:
    """Return a process and all that descend from it."""
    found = [pid]
    for each in found:
        with suppress(OSError):  # it has just ended
            for path in Path(f"/proc/{each}/task").glob("*/children"):
                found += map(int, path.read_text().split())
    return found


def _private_bytes(pid: int) -> int:
    try:
        table = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    return 1024 * sum(int(size) for size in re.findall(r"Private_\w+: +(\d+)", table))


@contextmanager
def watched(memory: Memory) -> Iterator[None]:
    """Look at the memory all the time."""
    done = threading.Event()

    def work() -> None:
        while not done.wait(0.2):
            memory.look()

    watcher = threading.Thread(target=work, daemon=True)
    watcher.start()
    yield
    done.set()
    watcher.join()


def answer(page: Page, kinds: int, most: int) -> None:
    """Name groups by the kind of their first picture."""
    for _ in range(most):
        time.sleep(THINKING)
        if not (shown := page.evaluate(SHOWN)):
            return
        page.keyboard.type(f"kind {shown[0] // kinds}")
        page.keyboard.press("Enter")
        page.wait_for_function(f"before => ({SHOWN})().join() !== before", arg=",".join(map(str, shown)))
        page.wait_for_function(SEEN)


def measure(run: Path, count: int, answers: int) -> dict[str, float]:
    """Name some groups of a run that has no answers yet, and return the figures."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.set_default_timeout(300_000)
        page.add_init_script(CLOCK)
        began = time.monotonic()
        with served(run) as (process, address):
            memory = Memory(process.pid)
            with watched(memory):
                page.goto(address)
                page.wait_for_function(SEEN)
                first = time.monotonic() - began
                found = browser.new_browser_cdp_session().send("SystemInfo.getProcessInfo")["processInfo"]
                memory.pages = [each["id"] for each in found if each["type"] == "renderer"]
                answer(page, count // KINDS, answers)
                better = time.monotonic()
                page.wait_for_selector("#better", state="hidden")
                page.wait_for_selector("#map-wait", state="hidden")
                better = time.monotonic() - began if time.monotonic() - better > 1 else float("nan")
            times: Any = page.evaluate("times")
        browser.close()
    figures = {
        "pictures": count,
        "answers": len(times["group"]),
        "first_group_s": first,
        "better_groups_and_map_s": better,
    }
    for what, measured in times.items():
        figures |= {f"next_{what}_ms_{share}": float(np.percentile(measured, share)) for share in (50, 99)}
    return figures | {f"{what}_mb": most / 1e6 for what, most in memory.most.items()}


def main() -> None:
    """Measure, print and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=200_000, help="number of synthetic pictures")
    parser.add_argument("--answers", type=int, default=200, help="number of groups to name, at most")
    parser.add_argument(
        "--keep", type=Path, metavar="FOLDER", help="make pictures and run in this folder, and keep them"
    )
    parser.add_argument("--run", type=Path, help="a run that was kept; it is copied")
    parser.add_argument("--json", metavar="FILE", help="write the figures to FILE")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        run = arguments.run or fit(arguments.keep or Path(place), arguments.pictures)
        copied = Path(shutil.copytree(run, Path(place, "copy")))
        figures = measure(copied, arguments.pictures, arguments.answers)
    for name, value in figures.items():
        Console().print(f"{name:>28} {value:,.1f}", highlight=False)
    write_json(arguments.json, figures)


if __name__ == "__main__":
    main()

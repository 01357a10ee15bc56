"""What a person gets done on the naming page: a script in real Chromium types the answers of a simulated person.

    python benchmarks/person.py DATA/trash [--minutes 2] [--seconds 1.5] [--throws-out] [--json FILE]

The pictures, in class folders, are fitted with `frozen`, without their labels. The person looks at the pictures that
the page shows of a group, for so many seconds, and answers by the majority of their true names: with the key of a
name that has one, else by typing it; with *Mixed* where no name has half of them. With --throws-out it also clicks on
the pictures of other names, for CLICK seconds each. The clock starts when the page is opened. Measured are the keys
pressed (a combination such as Alt+1 counts as one), the share of all pictures that end up with their true name, and
how many of the surest pictures can be taken so that PRECISION of them are right: the precision at which MorphoCluster
(Schroeder et al. 2020) reports 16,000 pictures an hour.
"""

import argparse
import csv
import io
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import Page, sync_playwright
from rich.console import Console

from annotation import served
from measuring import write_json
from selfsort import Frozen, list_images
from selfsort.data.image_set import ImageSet

CLICK = 0.3
PRECISION = 0.889
SHOWN = "() => [...document.querySelectorAll('.picture')].map(cell => Number(cell.dataset.picture))"
QUICK = "() => [...document.querySelectorAll('#quick button')].map(button => button.dataset.name)"
CHANGED = f"before => ({SHOWN})().join() !== before"


class Person:
    """Somebody who knows what the pictures show, at a keyboard.

    Attributes
    ----------
    answers, keys : how many were given and pressed so far
    keys_after : keys pressed after each answer

    """

    def __init__(self, page: Page, names: list[str], seconds: float, throws_out: bool):
        self.page, self.names, self.seconds, self.throws_out = page, names, seconds, throws_out
        self.keys, self.keys_after = 0, list[int]()

    @property
    def answers(self) -> int:
        """Return how many answers were given."""
        return len(self.keys_after)

    def answer(self) -> bool:
        """Look at a group, answer, and wait for the next one; return whether there is one."""
        began = time.monotonic()
        shown = self.page.evaluate(SHOWN)
        if not shown:
            return False
        found = [self.names[picture] for picture in shown]
        name = max(sorted(set(found)), key=found.count)
        others = [picture for picture, its in zip(shown, found, strict=True) if its != name]
        mixed = 2 * len(others) > len(found)
        clicks = others if self.throws_out and not mixed else []
        time.sleep(max(0.0, self.seconds + CLICK * len(clicks) - (time.monotonic() - began)))
        for picture in clicks:
            self.page.locator(f".picture[data-picture='{picture}']").first.click()
        if clicks:
            self.page.locator("#name").focus()  # as a click into the field does
        self._press(*(["Alt+m"] if mixed else self._keys_of(name)))
        self.keys_after.append(self.keys)
        self.page.wait_for_function(CHANGED, arg=",".join(map(str, shown)))
        return True

    def _keys_of(self, name: str) -> list[str]:
        quick = self.page.evaluate(QUICK)
        return [f"Alt+{quick.index(name) + 1}"] if name in quick else [*name, "Enter"]

    def _press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)
        self.keys += len(keys)


def fit(listed: ImageSet, run: Path) -> list[str]:
    """Fit a run on the pictures and return the true name of each."""
    model = Frozen().fit(listed, run_dir=run)
    assert listed.labels is not None
    named = dict(zip(listed.ids, np.array(listed.label_names)[listed.labels].tolist(), strict=True))
    return [named[picture] for picture in model.ids_]


def work(address: str, names: list[str], arguments: Any) -> tuple[Person, float, list[tuple[float, bool]]]:
    """Name for some minutes; return the person, seconds to the first group, and each (probability, right)."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.set_default_timeout(120_000)
        began = time.monotonic()
        page.goto(address)
        page.wait_for_selector(".picture")
        first = time.monotonic() - began
        person = Person(page, names, arguments.seconds, arguments.throws_out)
        while time.monotonic() - began < 60 * arguments.minutes and person.answer():
            pass
        time.sleep(arguments.settle)  # names spread from the last answer, too
        home = address.partition("?")[0]
        rows = csv.DictReader(io.StringIO(page.request.get(f"{home}api/export/csv").text()))
        found = [(float(row["probability"] or 0), row["name"] == name) for row, name in zip(rows, names, strict=True)]
        browser.close()
    return person, first, found


def sure_enough(found: list[tuple[float, bool]]) -> int:
    """Return how many of the surest pictures can be taken so that PRECISION of them are right."""
    right = np.array([its for _, its in sorted(found, key=lambda each: -each[0])], dtype=float)
    precise = np.flatnonzero(right.cumsum() / np.arange(1, len(right) + 1) >= PRECISION)
    return int(precise[-1]) + 1 if len(precise) else 0


def main() -> None:
    """Measure, print and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", help="labelled pictures: what list_images takes")
    parser.add_argument("--minutes", type=float, default=2.0, help="of work, from opening the page on")
    parser.add_argument("--seconds", type=float, default=1.5, help="for an answer")
    parser.add_argument("--throws-out", action="store_true", help="click on the pictures of other names, too")
    parser.add_argument("--settle", type=float, default=3.0, help="seconds after the last answer")
    parser.add_argument("--json", metavar="FILE", help="write the figures to FILE")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        names = fit(list_images(arguments.source), run)
        with served(run) as (_, address):
            person, first, found = work(address, names, arguments)
    sure = sure_enough(found)
    figures = {
        "pictures": len(names),
        "first_group_s": first,
        "answers": person.answers,
        "keys_for_30_answers": person.keys_after[29] if person.answers >= 30 else float("nan"),
        "accuracy": 100 * sum(right for _, right in found) / len(found),
        "pictures_at_precision": sure,
        "pictures_per_hour_at_precision": sure * 60 / arguments.minutes,
    }
    for name, value in figures.items():
        Console().print(f"{name:>32} {value:,.1f}", highlight=False)
    write_json(arguments.json, figures)


if __name__ == "__main__":
    main()

"""How fast the naming page answers with many pictures while a refinement runs, and what kill -9 loses.

A real client sends requests to a real `selfsort label` server, one after the other, as a browser does. The run is a
fitted simclr on synthetic pictures. Three things are measured: the time from requesting the page's first group to
having it and its pictures; the time from sending an answer to its acknowledgement, while `selfsort refine` trains in
the background, on the same machine without a network; and, after kill -9 amid the answers, how many acknowledged
answers are lost or duplicated.

    python benchmarks/annotation.py [--pictures 60000] [--quick] [--json FILE]
"""

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from measuring import write_json
from selfsort.labelling.store import Store

KINDS = 10
SIZE = 28
FIT = (
    *("--method", "simclr", "--classes", str(KINDS), "--epochs", "1", "--batch-size", "512", "--views", "none"),
    *("--device", "cpu", "--json"),
)


def pictures(count: int) -> np.ndarray:
    """Return `count` noisy pictures of ten kinds: waves of different directions and lengths."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:SIZE, :SIZE] / SIZE
    waves = [np.sin(2 * np.pi * (1 + k // 2) * (x if k % 2 else y)) for k in range(KINDS)]
    base = (np.stack(waves) * 80 + 120)[np.arange(count) % KINDS]
    return (base + rng.normal(0, 30, base.shape)).clip(0, 255).astype(np.uint8)


def fit(folder: Path, count: int) -> Path:
    """Fit a run on synthetic pictures and return its folder."""
    np.save(folder / "pictures.npy", pictures(count))
    words = [sys.executable, "-m", "selfsort", "fit", str(folder / "pictures.npy"), "--out", str(folder / "run"), *FIT]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    return folder / "run"


class Person:
    """A client of the server in one tab."""

    def __init__(self, address: str, name: str):
        home, _, token = address.partition("/?token=")
        self.http = httpx.Client(base_url=home, headers={"X-Selfsort-Token": token}, timeout=60)
        self.name, self.number = name, 0

    def get(self, path: str) -> Any:
        """Return the content of a page's request."""
        return self.http.get(path).raise_for_status()

    def post(self, path: str, key: str, **body: Any) -> Any:
        """Send a change and return the content of the response."""
        sent = self.http.post(path, json={"key": key, "client": self.name, **body})
        return sent.raise_for_status().json()

    def see(self) -> dict[str, Any] | None:
        """Return the group to answer, with its pictures, as the page loads them."""
        group = self.get(f"/api/group?client={self.name}").json()["group"]
        for picture in [] if group is None else group["typical"] + group["random"] + group["borderline"]:
            self.get(f"/api/images/{picture}/thumbnail")
        return group

    def answer(self, group: dict[str, Any]) -> tuple[str, float]:
        """Name a group by the kind of its first picture; return the key and the milliseconds until it is acknowledged.

        One in ten is answered with mixed.
        """
        self.number += 1
        key, kind = f"{self.name}-{self.number}", "mixed" if self.number % 10 == 0 and group["size"] > 20 else "name"
        name = f"kind {group['typical'][0] % KINDS}"
        began = time.perf_counter()
        self.post("/api/answers", key, group=group["id"], kind=kind, name=name)
        return key, 1000 * (time.perf_counter() - began)


@contextmanager
def served(run: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Yield a server of a run and its address."""
    words = [sys.executable, "-m", "selfsort", "label", str(run), "--no-browser", *options]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        found = (re.search(r"http://\S+token=\S+", line) for line in process.stdout)
        address = next((match for match in found if match), None)
        if address is None:
            raise SystemExit("the server did not start")
        yield process, address[0]
    finally:
        with suppress(ProcessLookupError):
            process.terminate()  # in a shell's background job SIGINT is ignored
        process.communicate()


def first_group(run: Path) -> float:
    """Return the milliseconds from the request to having the first group and its pictures."""
    with served(run) as (_, address):
        person = Person(address, "first")
        began = time.perf_counter()
        for path in ("/", "/static/app.js", "/api/state"):
            person.get(path)
        person.see()
        return 1000 * (time.perf_counter() - began)


def answers_during_refinement(run: Path, groups: int, most: int) -> tuple[list[float], float]:
    """Return the milliseconds of answers given while a refinement ran, and their share of all answers."""
    with served(run, "--groups", str(groups)) as (_, address):
        person = Person(address, "during")
        for _ in range(KINDS):
            group = person.see()
            assert group is not None
            person.answer(group)
        person.post("/api/refine", "refine", epochs=50)
        times: list[float] = []
        running = 0
        while len(times) < most and (group := person.see()) is not None:
            times.append(person.answer(group)[1])
            running += person.get("/api/state").json()["refinement"]["state"] == "running"
        return times, running / max(1, len(times))


def lost_by_kill(run: Path, groups: int) -> int:
    """Return how many acknowledged answers are lost or duplicated after kill -9 while two people answer."""
    said: list[str] = []
    with served(run, "--groups", str(groups)) as (process, address):

        def work(name: str) -> None:
            person = Person(address, name)
            with suppress(httpx.HTTPError):
                while (group := person.see()) is not None:
                    said.append(person.answer(group)[0])

        people = [threading.Thread(target=work, args=(name,)) for name in ("ann", "bob")]
        for person in people:
            person.start()
        while len(said) < 40 and any(person.is_alive() for person in people):
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
        for person in people:
            person.join()
    store = Store.open(run)
    keys = [item.key for item in store.events()]
    store.close()
    return len(set(said) - set(keys)) + len(keys) - len(set(keys))


def main() -> None:
    """Measure, print the table and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=60_000, help="number of synthetic pictures")
    parser.add_argument("--run", type=Path, help="a finished run folder to use instead; it is copied")
    parser.add_argument("--quick", action="store_true", help="6,000 pictures and fewer answers")
    parser.add_argument("--json", metavar="FILE", help="write the figures to FILE")
    arguments = parser.parse_args()
    count, most = (6_000, 60) if arguments.quick else (arguments.pictures, 300)
    with tempfile.TemporaryDirectory() as place:
        fitted = arguments.run or fit(Path(place), count)
        began = time.perf_counter()
        with served(fitted, "--groups", str(2 * most)):  # this finds the groups, which are kept
            ready = time.perf_counter() - began
        copies = [Path(shutil.copytree(fitted, Path(place, name))) for name in ("first", "during", "killed")]
        first = [first_group(copies[0]) for _ in range(3)]
        times, running = answers_during_refinement(copies[1], 2 * most, most)
        lost = lost_by_kill(copies[2], 2 * most)
    figures = {
        "first_group_ms": float(np.median(first)),
        "answer_p99_ms": float(np.percentile(times, 99)),
        "answers_lost": lost,
        "answer_median_ms": float(np.median(times)),
        "answers": len(times),
        "answers_while_refining": running,
        "first_start_s": ready,
        "pictures": count,
    }
    show(figures)
    write_json(arguments.json, figures)


def show(figures: dict[str, float]) -> None:
    """Print the figures."""
    table = Table("what", "figure", title=f"naming {figures['pictures']:,} pictures", box=box.SIMPLE)
    table.add_row("first group with its pictures", f"{figures['first_group_ms']:,.0f} ms")
    table.add_row("answer acknowledged, median", f"{figures['answer_median_ms']:.1f} ms")
    table.add_row("answer acknowledged, 99th percentile", f"{figures['answer_p99_ms']:.1f} ms")
    table.add_row("of these answers, while refining", f"{figures['answers_while_refining']:.0%}")
    table.add_row("acknowledged answers lost or doubled by kill -9", f"{figures['answers_lost']}")
    table.add_row("first start, groups found", f"{figures['first_start_s']:.1f} s")
    console = Console()
    console.print(table)
    console.print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}", highlight=False)


if __name__ == "__main__":
    main()

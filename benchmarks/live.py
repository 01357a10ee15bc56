"""How soon the naming page goes on after an answer, and knows the names that spread from it; time and memory by stage.

    python benchmarks/live.py SOURCE [--pictures 10000] [--answers 40] [--run RUN] [--thinking 0.5] [--json FILE]

SOURCE holds labelled pictures, of which `--pictures` are drawn and fitted with `frozen`, unless a RUN of theirs is
given. The simulated annotator answers the page's own service, without browser and web server. Measured are the
seconds until the first group is there; the milliseconds from an answer until the next group is there, by the clock and
by the processor time of the thread that answers; the seconds from an answer until the names are known that spread from
it; the processor time of all that follows an answer, until the answers have judged one another; and the resident
memory. With `--thinking`, the annotator does not wait for the names, but so many seconds.
"""

import argparse
import csv
import os
import secrets
import shutil
import tempfile
import time
from contextlib import closing
from pathlib import Path

import numpy as np
from rich.console import Console

from measuring import resident_bytes, write_json
from selfsort import Frozen, list_images
from selfsort.data.image_set import ImageSet
from selfsort.labelling.core.session import Session
from selfsort.labelling.core.simulated import SimulatedAnnotator
from selfsort.labelling.server.service import LabelService


def drawn(source: str, count: int, seed: int = 0) -> ImageSet:
    """Return at most `count` pictures of a source, drawn at random."""
    images = list_images(source)
    kept = set(np.random.default_rng(seed).permutation(len(images))[:count].tolist())
    return images.without([(i, "") for i in range(len(images)) if i not in kept])


def of_run(source: str, run: Path) -> ImageSet:
    """Return the pictures of a source that a run was made of."""
    with open(run / "assignments.csv", newline="") as file:
        ids = {row["id"] for row in csv.DictReader(file)}
    images = list_images(source)
    return images.without([(i, "") for i, name in enumerate(images.ids) if name not in ids])


class Clock:
    """Seconds and processor seconds since it was made or read."""

    def __init__(self) -> None:
        self.read()

    def read(self) -> tuple[float, float, float]:
        """Return the seconds, the processor's, and those of this thread since the last time."""
        now = time.perf_counter(), time.process_time(), time.thread_time()
        before, self._last = getattr(self, "_last", now), now
        return now[0] - before[0], now[1] - before[1], now[2] - before[2]


def are_known(session: Session) -> bool:
    """Tell whether the names have spread from the last answer; a single one does not spread."""
    return len(session.names()) < 2 or session.learnt_from == len(session.events)


def measure(run: Path, images: ImageSet, answers: int, thinking: float | None) -> dict[str, float]:
    """Let the annotator answer, and return the figures."""
    assert images.labels is not None
    annotator = SimulatedAnnotator(images.labels, images.label_names, random_state=0)
    clock, figures, rows = Clock(), {"pictures": float(len(images))}, []
    memory = {"started": resident_bytes(os.getpid())}
    with closing(LabelService(run, images)) as service:
        group = service.next_group("annotator")
        figures["first_group_s"], figures["first_group_cpu_s"], _ = clock.read()
        memory["first_group"] = resident_bytes(os.getpid())
        if thinking is None:
            service.settle()
        for _ in range(answers):
            time.sleep(thinking or 0)
            while group is None:
                group = service.next_group("annotator")
            event = annotator.answer(service.session.groups[group["id"]])
            clock.read()
            group = service.answer(secrets.token_hex(8), "annotator", event)["group"]
            answered, _, in_thread = clock.read()
            known = all_cpu = float("nan")
            if thinking is None:
                while not are_known(service.session):
                    time.sleep(0.002)
                known, spread_cpu, _ = clock.read()
                service.settle()
                all_cpu = spread_cpu + clock.read()[1] + in_thread
            rows.append((1000 * answered, 1000 * in_thread, answered + known, all_cpu))
            memory["most"] = max(memory.get("most", 0), resident_bytes(os.getpid()))
    for name, column in zip(("next_ms", "next_cpu_ms", "names_s", "all_cpu_s"), zip(*rows, strict=True), strict=True):
        if not np.isnan(column).all():
            figures |= {f"{name}_{share}": float(np.percentile(column, share)) for share in (50, 99)}
    return figures | {f"{stage}_mb": size / 1e6 for stage, size in memory.items()}


def main() -> None:
    """Measure, print and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", help="labelled pictures: what list_images takes")
    parser.add_argument("--pictures", type=int, default=10_000, help="number of pictures to draw")
    parser.add_argument("--answers", type=int, default=40)
    parser.add_argument("--run", type=Path, help="a run of pictures of the source; it is copied")
    parser.add_argument("--thinking", type=float, help="seconds before each answer, instead of waiting for names")
    parser.add_argument("--json", metavar="FILE", help="write the figures to FILE")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        run = Path(place, "run")
        if arguments.run is None:
            images = drawn(arguments.source, arguments.pictures)
            Frozen(random_state=0).fit(images, run_dir=run)
        else:
            images = of_run(arguments.source, Path(shutil.copytree(arguments.run, run)))
        figures = measure(run, images, arguments.answers, arguments.thinking)
    for name, value in figures.items():
        Console().print(f"{name:>24} {value:,.2f}", highlight=False)
    write_json(arguments.json, figures)


if __name__ == "__main__":
    main()

"""`make bench`: run all benchmarks of speed, or some, one after the other, and write one table of their ratios.

Each runs in a process of its own, which is stopped after a time limit. Accuracy (accuracy, heads, naming, labelling,
person, certificate) and the naming page (annotation, live, large), which have no ratio, have programs of their own.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from benchmarks.measuring import Ratio, machine

HERE = Path(__file__).parent
QUICK_CROPS, CROPS = 200, 1_700  # of each of three photographs: 600 and 5,100 pictures
PACKAGES = ("selfsort", "torch", "numpy", "scikit-learn", "faiss-cpu", "scipy", "timm")


class Benchmark(NamedTuple):
    """The peers that it needs, as modules and the packages they are from; its time limit; if it reads a folder."""

    peers: dict[str, str]
    minutes: float = 30
    reads_folder: bool = False


BENCHMARKS = {
    "startup": Benchmark({}),
    "throughput": Benchmark({"lightly": "lightly", "kornia": "kornia"}),
    "pretrained": Benchmark({}, 60, reads_folder=True),
    "perceptual": Benchmark({}),
    "patches": Benchmark({"skimage": "scikit-image"}),
    "clustering": Benchmark({}),
    "linkage": Benchmark({"fastcluster": "fastcluster"}),
    "reading": Benchmark({}, reads_folder=True),
    "audit": Benchmark({"imagededup": "imagededup"}, 120, reads_folder=True),
}
Result = list[Ratio] | str  # the ratios, or why there are none


def measure(name: str, words: list[str], minutes: float | None = None) -> Result:
    """Run a benchmark and return its ratios, or in words why it has none."""
    known = BENCHMARKS[name]
    if missing := [package for module, package in known.peers.items() if find_spec(module) is None]:
        return f'not run: without {" and ".join(missing)}; pip install -e ".[bench]" installs what is compared with'
    with tempfile.TemporaryDirectory() as place:
        target = Path(place, "figures.json")
        command = [sys.executable, str(HERE / f"{name}.py"), *words, "--json", str(target)]
        reason = run(command, 60 * (known.minutes if minutes is None else minutes))
        return reason or read_ratios(target)


def run(command: list[str], seconds: float) -> str:
    """Run a command, and stop it with all that it started after so many seconds; return what went wrong, if anything.

    What it prints is shown.
    """
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")])}
    with tempfile.TemporaryFile("w+") as errors:  # not a pipe, which children that outlive it would keep open
        process = subprocess.Popen(command, env=environment, stderr=errors, start_new_session=True)
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            return f"failed: stopped after {seconds / 60:g} minutes"
        finally:
            stop(process)
        errors.seek(0)
        *_, last = ["", *filter(str.strip, errors.read().splitlines())]
        return f"failed with exit code {code}: {last.strip()}" if code else ""


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process and all that it started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:  # nothing is left
        pass
    process.wait()


def read_ratios(path: Path) -> Result:
    """Return the ratios that a benchmark wrote."""
    try:
        return [Ratio(**each) for each in json.loads(path.read_text())["ratios"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"failed: it wrote no ratios ({type(error).__name__}: {error})"


def table(results: dict[str, Result], notes: list[str]) -> str:
    """Return the page: the notes, and a row for every ratio, or for why there is none."""
    lines = ["# Benchmarks", "", "Ratios above 1 mean that selfsort is faster or smaller.", ""]
    lines += [f"- {note}" for note in notes]
    lines += ["", "| benchmark | what | compared with | ratio | lowest to highest |", "|---|---|---|---|---|"]
    for name, found in results.items():
        if isinstance(found, str):
            lines.append(f"| {name} | {cell(found)} | | | |")
        else:
            lines += [f"| {name} | {' | '.join(map(cell, cells(each)))} |" for each in found]
    return "\n".join(lines) + "\n"


def cells(found: Ratio) -> tuple[str, str, str, str]:
    """Return a ratio as text; without a range if it was measured once."""
    spread = "" if found.low == found.high else f"{found.low:.2f} to {found.high:.2f}"
    return found.name, found.peer, f"{found.ratio:.2f}", spread


def cell(text: str) -> str:
    """Return text that stays within a cell of the table."""
    return " ".join(text.replace("|", "\\|").split())


def versions() -> str:
    """Return the versions of Python, of selfsort and of what it is compared with."""
    found = [f"Python {sys.version.split()[0]}"]
    for package in (*PACKAGES, *(package for each in BENCHMARKS.values() for package in each.peers.values())):
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            found.append(f"{package} not installed")
    return ", ".join(found)


def photographs(folder: Path, each: int) -> Path:
    """Write pictures for those benchmarks that read a folder."""
    program = HERE.parent / "examples" / "photographs.py"
    subprocess.run([sys.executable, str(program), str(folder), "--each", str(each)], check=True)
    return folder


def parse() -> argparse.Namespace:
    """Return what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    names = ", ".join(BENCHMARKS)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {names}; all if none is named")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    parser.add_argument("--pictures", type=Path, metavar="FOLDER", help="photographs to read (default: written anew)")
    parser.add_argument("--minutes", type=float, help="time limit of each (default: 30 to 120)")
    parser.add_argument("--out", type=Path, default=Path("build/bench.md"), help="the table (default build/bench.md)")
    chosen = parser.parse_args()
    if unknown := [name for name in chosen.names if name not in BENCHMARKS]:
        parser.error(f"{unknown[0]!r} is not a benchmark of speed: choose one of {names}")
    return chosen


def main() -> int:
    """Run the benchmarks, and write the table after each; return 1 if one failed."""
    chosen = parse()
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    names, results = chosen.names or list(BENCHMARKS), dict[str, Result]()
    notes = [f"Machine: {machine()} at the start", f"Versions: {versions()}"]
    notes += [f"Begun: {time.strftime('%Y-%m-%d %H:%M')}{', with --quick' if chosen.quick else ''}"]
    with tempfile.TemporaryDirectory() as place:
        folder = chosen.pictures
        if folder is None and any(BENCHMARKS[name].reads_folder for name in names):
            folder = photographs(Path(place, "photographs"), QUICK_CROPS if chosen.quick else CROPS)
            notes.append("Pictures: crops of three photographs, by examples/photographs.py")
        for name in names:
            print(f"{name} …", flush=True)
            words = [str(folder)] if BENCHMARKS[name].reads_folder else []
            results[name] = measure(name, words + ["--quick"] * chosen.quick, chosen.minutes)
            chosen.out.write_text(table(results, notes), encoding="utf-8")
    print(f"{chosen.out.read_text(encoding='utf-8')}\nWrote {chosen.out}")
    return int(any(isinstance(found, str) and found.startswith("failed") for found in results.values()))


if __name__ == "__main__":
    sys.exit(main())

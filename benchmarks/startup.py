"""How long selfsort takes to start: `selfsort --help` and `import selfsort`, compared with an empty Python program.

Each measurement is a whole process. The ratio is below 1: an empty program is all that selfsort can come near.

    python benchmarks/startup.py [--quick] [--json FILE]
"""

import argparse
import statistics
import subprocess
import sys
import time

from measuring import ratios_table, write_json

EMPTY = ["-c", "pass"]
STARTS = {"selfsort --help": ["-m", "selfsort", "--help"], "import selfsort": ["-c", "import selfsort"]}


def milliseconds(words: list[str]) -> float:
    """Run Python in a separate process."""
    began = time.perf_counter()
    subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)
    return 1000 * (time.perf_counter() - began)


def main() -> None:
    """Measure, print the table and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="measure five times instead of twenty")
    parser.add_argument("--json", metavar="FILE", help="write the figures to FILE")
    arguments = parser.parse_args()
    sides = {**STARTS, "empty": EMPTY}
    for words in sides.values():
        milliseconds(words)  # reads the files from the disk
    rounds = [{name: milliseconds(words) for name, words in sides.items()} for _ in range(5 if arguments.quick else 20)]
    found = {name: [each[name] for each in rounds] for name in sides}
    rows = [(name, "an empty Python program", found["empty"], found[name]) for name in STARTS]
    ratios = ratios_table("milliseconds to start", rows, less_is_better=True)
    write_json(arguments.json, {f"{name}, ms": statistics.median(values) for name, values in found.items()}, ratios)


if __name__ == "__main__":
    main()

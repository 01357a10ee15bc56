"""`make fuzz`: run all parts, or some, at a given size; trials made before are not repeated."""

import argparse
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # set before importing torch: a fork of a process with threads could hang

from fuzz import api, disk, kills, pictures, run_folders  # noqa: E402
from fuzz.child import preload  # noqa: E402
from fuzz.journal import Journal, table  # noqa: E402

PARTS = {
    "pictures": pictures.play,
    "runs": run_folders.play,
    "bits": run_folders.play_bits,
    "requests": api.play,
    "kills": kills.play,
    "disk": disk.play,
}


def main() -> int:
    """Run the parts, print failures and figures; return 1 if anything failed."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"one of {', '.join(PARTS)}; all if none is named")
    parser.add_argument("--size", type=float, default=1.0, help="share of the trials to make (default 1)")
    parser.add_argument("--seed", type=int, default=0, help="seed of everything (default 0)")
    parser.add_argument("--out", type=Path, default=Path("build/fuzz"), help="folder for the journals")
    chosen = parser.parse_args()
    unknown = [part for part in chosen.parts if part not in PARTS]
    if unknown:
        parser.error(f"{unknown[0]!r} is not a part: choose one of {', '.join(PARTS)}")
    # On a time limit, too, disks are unmounted and folders cleared.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    preload()
    found = {}
    for part in chosen.parts or PARTS:
        journal = Journal(chosen.out / f"{part}-{chosen.seed}.jsonl")
        print(f"{part} …", flush=True)
        started = time.monotonic()
        # A killed trial may have left a process that still writes for a moment.
        with tempfile.TemporaryDirectory(prefix="fuzz-", ignore_cleanup_errors=True) as place:
            os.environ["SELFSORT_CACHE"] = str(Path(place, "cache"))
            PARTS[part](journal, chosen.size, chosen.seed, Path(place))
        found[part] = journal.read()
        print(f"{part}: {len(found[part]):,} trials, {time.monotonic() - started:.0f} s", flush=True)
    print(table(found))
    return int(any(trial.failed for trials in found.values() for trial in trials))


if __name__ == "__main__":
    sys.exit(main())

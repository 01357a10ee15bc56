"""A refinement as the page starts it, by a process that trains nothing and waits for a file."""

import sys
import time

REFINE = """
import json, sys, time
from pathlib import Path
import numpy as np, shutil
from selfsort.labelling.core.query_selection import next_groups
from selfsort.labelling.store import Store, load_session, newest_model
from selfsort.runs import read_run, write_facts
run = Path(sys.argv[1])
store = Store.open(run)
session, after = load_session(store, run), store.events()[-1].seq
for epoch in (1, 2):
    print(json.dumps({"epoch": epoch, "epochs": 2, "loss": 1 / epoch}), flush=True)
print("a line that is no progress", flush=True)
until = time.monotonic() + 60
while not (run / "go").exists() and time.monotonic() < until:
    time.sleep(0.02)
names = session.names()
partial = shutil.copytree(run, run / ".named", ignore=shutil.ignore_patterns("labels*", ".label*", "named", ".named"))
kinds = np.arange(session.n_images) % 3 % len(names)
probabilities = np.full((session.n_images, len(names)), 0.1, np.float32)
probabilities[np.arange(session.n_images), kinds] = 0.9
np.save(partial / "probabilities.npy", probabilities)
write_facts(partial / "run.json", read_run(partial) | {"names": list(names), "files": {}})
partial.rename(run / "named")
store.put("rounds", [{"round": 1, "after_seq": after, "names": list(names)}])
session = load_session(store, run)
store.add_groups(next_groups(session, np.load(partial.with_name("named") / "embedding.npy"), 4))
"""


def by(program, run):
    return lambda epochs: [sys.executable, "-c", program, str(run), str(epochs)]


def wait(condition, seconds=180.0):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.02)

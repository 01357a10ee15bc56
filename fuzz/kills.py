"""Kills at any moment: nothing acknowledged is lost, nothing half-written counts as complete, the command resumes."""

import hashlib
import os
import shutil
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import selfsort
from fuzz import desk as desks
from fuzz.child import command, run
from fuzz.desk import Desk
from fuzz.journal import Journal, Trial
from selfsort import runs
from selfsort.cli.inputs import training_images
from selfsort.labelling.core.answers import Event
from selfsort.labelling.server.service import LabelService
from selfsort.labelling.store import Store
from selfsort.runs import RunFolder

KILLS = 20
_ANSWERS = 4
_SECONDS = 300


@dataclass(frozen=True)
class Victim:
    """A command to kill: how to start and resume it, and how to read its final result."""

    begin: Callable[[Desk], Callable[[], object]]
    result: Callable[[Desk], str]
    again: Callable[[Desk], Callable[[], object]] | None = None
    lost: Callable[[Desk], str] | None = None


def play(journal: Journal, size: float, seed: int, place: Path) -> None:
    """Kill each of seven commands 20 times, at random moments of its run time."""
    desk = desks.make(place)
    for name, victim in VICTIMS.items():
        keys = list(journal.open_keys(f"{name}:{number}" for number in range(max(1, round(KILLS * size)))))
        if not keys:
            continue
        _prepare(desk)
        whole = run(victim.begin(desk), desk.place, seconds=_SECONDS)
        assert whole.code == 0, (name, whole.err)
        right = victim.result(desk)
        for key in keys:
            rng = np.random.default_rng((seed, 5, *key.encode()))
            _prepare(desk)
            journal.add(_trial(key, name, victim, desk, right, float(rng.uniform(0, whole.seconds))))


def _prepare(desk: Desk) -> None:
    desk.copy()
    shutil.rmtree(_cache(desk), ignore_errors=True)
    (desk.room / "acknowledged").write_text("")


def _trial(key: str, name: str, victim: Victim, desk: Desk, right: str, moment: float) -> Trial:
    run(victim.begin(desk), desk.place, kill_after=moment)
    if victim.lost is not None and (lost := victim.lost(desk)):
        return Trial(key, name, "lost", moment, detail=lost)
    before = victim.result(desk)
    ended = run((victim.again or victim.begin)(desk), desk.place, seconds=_SECONDS)
    outcome, detail = ended.fault, f"killed after {moment:.3f} s\n{ended.err}"
    if outcome is None and ended.code:
        # It need not be started again if it had finished.
        outcome = "through already" if before == right else "left over"
    elif outcome is None:
        outcome = "went on" if victim.result(desk) == right else "wrong result"
    detail = detail if outcome not in ("went on", "through already") else ""
    return Trial(key, name, outcome, round(ended.seconds, 3), round(ended.mib), detail[-2000:])


def _cache(desk: Desk) -> Path:
    return desk.room / "cache"


def _command(desk: Desk, *words: object) -> Callable[[], object]:
    return command(*words, SELFSORT_CACHE=_cache(desk))


def _digest(*paths: Path) -> str:
    found = hashlib.sha256()
    for path in paths:
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        for file in files:
            # An audit's page and its facts contain the time taken.
            if file.is_file() and file.suffix not in (".lock", ".html", ".json"):
                found.update(str(file.relative_to(path.parent)).encode() + b"\0" + file.read_bytes())
    return found.hexdigest()


def _decode(desk: Desk) -> Callable[[], object]:
    def work() -> None:
        os.environ["SELFSORT_CACHE"] = str(_cache(desk))
        images = selfsort.load_images(desk.pictures, size=64)
        (desk.room / "pixels").write_text(hashlib.sha256(images.images.tobytes()).hexdigest())

    return work


def _decoded(desk: Desk) -> str:
    pixels = desk.room / "pixels"
    return pixels.read_text() if pixels.exists() else ""


def _fitted(desk: Desk) -> str:
    folder = RunFolder(desk.room / "new")
    try:
        if not folder.is_complete():
            return ""
        return _digest(folder.embedding, folder.model)
    except selfsort.UserError as error:
        return str(error)


def _fit_again(desk: Desk) -> Callable[[], object]:
    more = ("--resume",) if (desk.room / "new").exists() else ()
    return _command(desk, "fit", desk.pictures, "--out", desk.room / "new", *desks.FIT, *more)


def _refined(desk: Desk) -> str:
    named = RunFolder(desk.room / "run").newest()
    return f"{sorted(runs.read_run(named.path).get('names', ()))}"


def _label(desk: Desk) -> Callable[[], object]:
    """Answer a number of times, and record outside the store what was acknowledged."""

    def work() -> None:
        folder = desk.room / "run"
        images = training_images(folder, runs.read_run(folder), None, True)
        with (
            open(desk.room / "acknowledged", "a", buffering=1) as acknowledged,
            closing(LabelService(folder, images)) as service,
        ):
            while len(_keys(folder)) < _ANSWERS and (asked := service.next_group("c")) is not None:
                key = f"key-{time.monotonic_ns()}"
                service.answer(key, "c", Event("name", asked["id"], f"kind {asked['id'] % 3}"))
                print(key, file=acknowledged)

    return work


def _keys(folder: Path) -> list[str]:
    with closing(Store.open(folder)) as store:
        return [item.key for item in store.events() if item.key.startswith("key-")]


def _labelled(desk: Desk) -> str:
    return str(len(_keys(desk.room / "run")))


def _lost_answers(desk: Desk) -> str:
    said = set((desk.room / "acknowledged").read_text().split())
    kept = _keys(desk.room / "run")
    return "an answer counts twice" if len(kept) != len(set(kept)) else ", ".join(sorted(said - set(kept)))


def _words(*words: object, out: str) -> Victim:
    """Return a command with its own output, which can be started again."""

    def begin(desk: Desk) -> Callable[[], object]:
        filled = [str(word).format(run=desk.room / "run", photos=desk.pictures, room=desk.room) for word in words]
        return _command(desk, *filled)

    def again(desk: Desk) -> Callable[[], object]:
        def work() -> None:
            path = desk.room / out
            if path.is_dir() and any(path.iterdir()):  # a half-written folder would be refused for ever
                print(f"selfsort: {path} exists.", file=sys.stderr)
                sys.exit(1)
            begin(desk)()

        return work

    return Victim(begin, lambda desk: _digest(desk.room / out) if (desk.room / out).exists() else "", again)


VICTIMS = {
    "cache": Victim(
        _decode, lambda desk: (desk.room / "pixels").read_text() if (desk.room / "pixels").exists() else ""
    ),
    "fit": Victim(
        lambda desk: _command(desk, "fit", desk.pictures, "--out", desk.room / "new", *desks.FIT), _fitted, _fit_again
    ),
    "refine": Victim(lambda desk: _command(desk, "refine", desk.room / "run", "--frozen", "--groups", 2), _refined),
    "label": Victim(_label, _labelled, lost=_lost_answers),
    "sort": _words("sort", "{run}", "{photos}", "--out", "{room}/sorted", "--copy", out="sorted"),
    "predict": _words("predict", "{run}", "{photos}", "--out", "{room}/out.csv", out="out.csv"),
    "audit": _words("audit", "{photos}", "--out", "{room}/audit", "--backbone", "none", out="audit"),
}

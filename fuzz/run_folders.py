"""Damaged run folders: whichever command reads them gives the right result, or a sentence."""

import hashlib
import io
import json
import shutil
import sys
from collections.abc import Callable
from contextlib import closing, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np

from fuzz import desk as desks
from fuzz.child import Ended, command, run
from fuzz.desk import Desk
from fuzz.journal import Journal, Trial
from fuzz.mutate import damaged, odd_json
from selfsort import UserError, methods, runs
from selfsort.cli.inputs import training_images
from selfsort.labelling import label_space
from selfsort.labelling.core.answers import Event
from selfsort.labelling.store import Store, load_session
from selfsort.reporting.from_run import report_data
from selfsort.runs import RunFolder

BITS_OF_A_FILE = 400
_PASSING = (".lock", ".html", "model-card.md")  # nothing reads these, or TensorBoard's files
_SECONDS = 60

Work = Callable[[Path, Desk], Callable[[], object]]


def play(journal: Journal, size: float, seed: int, place: Path) -> None:
    """Try 2,000 damaged run folders."""
    desk, right = _laid_out(place)
    for key in journal.open_keys(map(str, range(round(2000 * size)))):
        rng = np.random.default_rng((seed, 2, int(key)))
        folder = desk.copy()
        what, fair = _damage(folder, rng)
        name = str(rng.choice(list(_WORKS), p=_SHARES))
        journal.add(_trial(key, name, _WORKS[name](folder, desk), desk, right[name] if fair else None, what))


def play_bits(journal: Journal, size: float, seed: int, place: Path) -> None:
    """Flip single bits in each file of a run, 400 per file, and run the command that reads it."""
    desk, right = _laid_out(place)
    for path in _files(desk.run):
        _flip_bits(journal, size, seed, desk, right, str(path.relative_to(desk.run)))
    log = _leave_log(desk)
    right["answers"] = _result(desk, run(_answers(desk.copy(), desk), desk.place, seconds=_SECONDS))
    _flip_bits(journal, size, seed, desk, right, log)


def _flip_bits(journal: Journal, size: float, seed: int, desk: Desk, right: dict[str, str], name: str) -> None:
    """Flip single bits in one file of a run."""
    whole = (desk.run / name).read_bytes()
    rng = np.random.default_rng((seed, 3, *name.encode()))
    chosen = rng.choice(8 * len(whole), min(BITS_OF_A_FILE, 8 * len(whole)), replace=False).tolist()
    # A smaller size tries the first of the same bits.
    for key in journal.open_keys(f"{name}:{bit}" for bit in chosen[: max(1, round(BITS_OF_A_FILE * size))]):
        bit = int(key.rpartition(":")[2])
        data = bytearray(whole)
        data[bit // 8] ^= 1 << bit % 8
        folder = desk.copy()
        (folder / name).write_bytes(data)
        reader = _reader_of(name)
        journal.add(_trial(key, name, _WORKS[reader](folder, desk), desk, right[reader], f"bit {bit}"))


def _leave_log(desk: Desk) -> str:
    """Leave the run as a process does that is killed while its last answers are in the write-ahead log."""
    names = [f"{RunFolder(desk.run).labels.name}{end}" for end in ("", "-wal")]
    with closing(Store.open(desk.run)) as store:
        for number, group in enumerate(store.groups()[:3]):
            store.add_event(f"last-{number}", "fuzz", Event("skip", group.id))
        for name in names:
            shutil.copy(desk.run / name, desk.place)
    for name in names:
        shutil.move(desk.place / name, desk.run / name)
    return names[1]


def _laid_out(place: Path) -> tuple[Desk, dict[str, str]]:
    """Return a desk, and the result of each command on the intact run."""
    desk = desks.make(place)
    right = {}
    for name, work in _WORKS.items():
        ended = run(work(desk.copy(), desk), desk.place, seconds=_SECONDS)
        assert ended.code == 0, (name, ended.err)
        right[name] = _result(desk, ended)
    return desk, right


def _result(desk: Desk, ended: Ended) -> str:
    """Return the result of a command: its output, and the table it wrote."""
    table = desk.room / "out.csv"
    digest = hashlib.sha256(table.read_bytes()).hexdigest() if table.exists() else ""
    return ended.out.replace(str(desk.room), "") + digest


def _trial(key: str, kind: str, work: Callable[[], object], desk: Desk, right: str | None, what: str) -> Trial:
    """Have a damaged run read; if `right` is given, a different result without a message is a fault."""
    ended = run(work, desk.place, seconds=_SECONDS)
    outcome = ended.fault
    if outcome is None and ended.code:
        outcome = "refused"
    elif outcome is None:
        outcome = "as before"
        if right is not None and _result(desk, ended) != right:
            outcome = "told, and another result" if ended.err.strip() or "made again" in ended.out else "wrong result"
    failed = "" if outcome in ("refused", "as before") else f"{what}\n{ended.out[-500:]}\n{ended.err[-1500:]}"
    return Trial(key, kind, outcome, round(ended.seconds, 3), round(ended.mib), failed)


def _files(folder: Path) -> list[Path]:
    found = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.stat().st_size)
    return [path for path in found if not path.name.endswith(_PASSING) and "tfevents" not in path.name]


def _damage(folder: Path, rng: np.random.Generator) -> tuple[str, bool]:
    """Damage a run; return what was done, and whether the result must be unchanged or a sentence."""
    files = _files(folder)
    path = files[int(rng.integers(0, len(files)))]
    name = str(path.relative_to(folder))
    if rng.random() < 0.3:  # something its own writer could have written
        texts = [file for file in files if file.suffix == ".json"]
        text = texts[int(rng.integers(0, len(texts)))]
        content = json.loads(text.read_text("utf-8"))
        content.pop("digest", None)
        odd = odd_json(content, rng)
        _write_odd(text, odd)
        return f"odd value in {text.name}: {json.dumps(odd, default=str)[:300]}", False
    if rng.random() < 0.1:
        path.unlink()
        return f"{name} deleted", name in ("model.safetensors", "embedding.npy", "probabilities.npy")
    if rng.random() < 0.1:
        other = files[int(rng.integers(0, len(files)))]
        shutil.copyfile(other, folder / "copy")
        (folder / "copy").replace(path)
        return f"{name} is {other.name}", path == other or "sqlite" not in name
    path.write_bytes(damaged(path.read_bytes(), rng))
    return f"{name} damaged", True


def _write_odd(path: Path, content: Any) -> None:
    """Write JSON with its digest, if it has one."""
    try:
        runs.write_facts(path, content)
    except (ValueError, TypeError, UnicodeError, RecursionError):
        path.write_text(json.dumps(content), "utf-8")


# Commands that read a run


def _predict(folder: Path, desk: Desk) -> Callable[[], object]:
    return command("predict", folder, desk.pictures, "--out", folder.parent / "out.csv", "--json")


def _predict_clusters(folder: Path, desk: Desk) -> Callable[[], object]:
    return command("predict", folder, desk.pictures, "--out", folder.parent / "out.csv", "--clusters", "--json")


def _refine(folder: Path, desk: Desk) -> Callable[[], object]:
    return command("refine", folder, "--frozen", "--groups", 2)


def _label(folder: Path, desk: Desk) -> Callable[[], object]:
    return command("label", folder, "--simulate", desk.pictures, "--answers", 1)


def _answers(folder: Path, desk: Desk) -> Callable[[], object]:
    return lambda: _told(folder, _tell_answers)


def _resume(folder: Path, desk: Desk) -> Callable[[], object]:
    """Resume from the checkpoints, as if the training had been killed before its end."""

    def work(folder: Path) -> None:
        dropped = ("files", "training")
        facts = {name: value for name, value in RunFolder(folder).read_manifest().items() if name not in dropped}
        runs.write_facts(RunFolder(folder).manifest, facts | {"status": "training"})
        RunFolder(folder).model.unlink(missing_ok=True)
        try:
            with redirect_stdout(io.StringIO()):  # it prints the time taken
                command("fit", desk.pictures, "--out", folder, *desks.FIT, "--resume", "--json")()
        except SystemExit as leaving:
            if leaving.code:
                raise
        print(hashlib.sha256(RunFolder(folder).embedding.read_bytes()).hexdigest())

    return lambda: _told(folder, work)


def _report(folder: Path, desk: Desk) -> Callable[[], object]:
    """Gather what a report shows about both models, without drawing."""

    def tell(folder: Path) -> None:
        for model in (folder, RunFolder(folder).refined.path):
            found = methods.load(model)
            data = report_data(found, model, training_images(model, found.run_, None, True))
            print(data.evaluation, data.certificate, data.history, data.names, data.quality, data.warnings)

    return lambda: _told(folder, tell)


def _kept(folder: Path, desk: Desk) -> Callable[[], object]:
    """Read cached results: they are unchanged, or made again."""

    def tell(folder: Path) -> None:
        for model in (folder, RunFolder(folder).refined.path):
            stamp = label_space.stamp_of(runs.map_array(RunFolder(model).embedding))
            points = label_space.kept_points(model, stamp)
            print("made again" if points is None else hashlib.sha256(points.tobytes()).hexdigest())

    return lambda: _told(folder, tell)


def _told(folder: Path, tell: Callable[[Path], None]) -> None:
    """Handle errors as a command does."""
    try:
        tell(folder)
    except UserError as error:
        print(f"selfsort: {error}", file=sys.stderr)
        sys.exit(1)


def _tell_answers(folder: Path) -> None:
    with closing(Store.open(folder, create=False)) as store:
        session = load_session(store, folder)
        print([item.event for item in store.events()], session.counts(), store.checks(), store.rounds())


_WORKS: dict[str, Work] = {
    "predict": _predict,
    "predict --clusters": _predict_clusters,
    "answers": _answers,
    "label": _label,
    "refine": _refine,
    "report": _report,
    "kept": _kept,
    "resume": _resume,
}
_SHARES = [0.3, 0.15, 0.15, 0.1, 0.05, 0.15, 0.05, 0.05]


def _reader_of(name: str) -> str:
    """Return the command that reads a file."""
    file = name.removeprefix("named/")
    if file.startswith("checkpoints/"):
        return "resume"
    if file.startswith("labels.sqlite") or file == "doubt.npy":
        return "answers"
    if file.endswith(".npz"):
        return "kept"
    if file in ("evaluation.json", "evaluation-training.json", "certificate.json", "metrics.csv", "skipped.csv"):
        return "report"
    return "predict" if name.startswith("named/") else "predict --clusters"

"""Code shared by all experiments: trials, measured once and kept, and the figures and tables made from them.

A figure or table is a list of independent trials, such as one embedding size and one seed. Each is measured by a
function and kept in the output folder as one JSON file, named after the function and its settings; several figures may
share a trial. So a run that was stopped, even killed, resumes with the trial it was at.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from papers.records import (
    Record,
    changed,
    frozen_network,
    hardware,
    mean_and_std,
    without_paths,
)
from papers.results_page import told_by_name, with_spread
from selfsort import runs
from selfsort.errors import UserError
from selfsort.files import atomic_path, new_parents, remove, write_json
from selfsort.reporting.figures import save_png
from selfsort.tables import write_table

if TYPE_CHECKING:
    from selfsort.training.callbacks import History, OnEpoch
    from selfsort.training.recipe import Device

Say = Callable[[str], None]
_LONGEST_NAME = 40  # of the settings in an experiment's name


@dataclass(frozen=True)
class Where:
    """Where trials are computed and where their pictures are; none of this changes the results.

    Attributes
    ----------
    device : the device to compute on
    data_root : folder of torchvision's data sets, or of folders of pictures by their names
    folder : a measurement's working folder, kept when it is stopped and deleted when it is done

    """

    device: "Device" = "auto"
    data_root: Path | None = None
    folder: Path | None = None


@dataclass(frozen=True)
class Scale:
    """How far a figure is scaled down; None keeps the figure's own values.

    Attributes
    ----------
    epochs : passes over the pictures
    subset : number of pictures to learn from
    seeds : number of runs that are averaged
    embedding_sizes : sizes of the embedding
    methods : the methods to compare
    datasets : the data sets to compare
    settings : hyper-parameters of the methods to change, as texts
    out : folder in which this experiment may find the results of earlier ones

    """

    epochs: int | None = None
    subset: int | None = None
    seeds: int | None = None
    embedding_sizes: tuple[int, ...] = ()
    methods: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    out: Path | None = None


@dataclass(frozen=True)
class Trial:
    """One independent measurement.

    Attributes
    ----------
    measure : called with `Where` and the settings; returns JSON values: under "epochs" the figures of each epoch as
        fractions (and under "trained_epochs" the number of epochs, if it differs), under "labels_used" the number of
        labels or answers, and anything else that is drawn
    settings : everything that determines the outcome; under "settings" the methods' settings that differ from the
        paper's; under "base" the settings of the trial that it builds on, if that has any

    """

    measure: Callable[..., dict[str, Any]]
    settings: Mapping[str, Any]

    @property
    def label(self) -> str:
        """Return a readable description of the trial."""
        values = ", ".join(f"{name} {value}" for name, value in self.settings.items() if value is not None)
        return f"{self.measure.__name__.replace('_', ' ')}: {values}"

    def file(self, folder: Path) -> Path:
        """Return the file of the outcome in an output folder."""
        settings = json.dumps(self.settings, sort_keys=True)
        return folder / "trials" / f"{self.measure.__name__}-{hashlib.sha256(settings.encode()).hexdigest()[:16]}.json"


@dataclass(frozen=True)
class Outcome:
    """The result of a trial, its minutes, the hardware, and the folder of the pictures."""

    trial: Trial
    result: Mapping[str, Any]
    minutes: float
    hardware: str
    data_root: str = ""


@dataclass(frozen=True)
class Row:
    """One line of a figure or table: a metric after each epoch, over seeds.

    Attributes
    ----------
    name : distinguishes this row from others of its figure; empty for a single row
    method : name of the method
    metric : which of the outcomes' figures
    outcomes : one per seed
    baseline : outcomes to subtract, seed by seed, if the row is a difference
    epoch : the only epoch that counts; None for the last and, beside it, the best
    published : the paper's value in percent
    published_best : whether that value is of the best epoch
    weights : weights of the frozen network, if there is one
    dataset : the data set, if a figure compares several
    note : explains the published value, or ours
    chosen_on_test : choices influenced by labels of the scored pictures, besides the best epoch
    loss : whether the metric is a loss: not a percentage, and the lowest is the best
    recorded : whether the row is among the records, not only in the tables

    """

    name: str
    method: str
    metric: str
    outcomes: Sequence[Outcome]
    baseline: Sequence[Outcome] = ()
    epoch: int | None = None
    published: float | None = None
    published_best: bool = False
    weights: str = "none"
    dataset: str = ""
    note: str = ""
    chosen_on_test: str = ""
    loss: bool = False
    recorded: bool = True

    def values(self) -> list[list[float]]:
        """Return the metric in percent, or a loss unchanged, seed by seed and epoch by epoch."""
        values = self._values(self.outcomes)
        if not self.baseline:
            return values
        pairs = zip(values, self._values(self.baseline), strict=True)
        return [[ours - theirs for ours, theirs in zip(*seed, strict=True)] for seed in pairs]

    def _values(self, outcomes: Sequence[Outcome]) -> list[list[float]]:
        chosen = slice(None) if self.epoch is None else slice(self.epoch - 1, self.epoch)
        unit = 1 if self.loss else 100
        return [[unit * row[self.metric] for row in outcome.result["epochs"][chosen]] for outcome in outcomes]

    def last(self) -> tuple[float, float | None]:
        """Return mean and standard deviation over seeds at the last epoch."""
        return mean_and_std([seed[-1] for seed in self.values()], decimals=4 if self.loss else 2)

    def best(self) -> tuple[float, float | None]:
        """Return mean and standard deviation of each seed's best epoch, chosen by the metric itself."""
        best, decimals = (min, 4) if self.loss else (max, 2)
        return mean_and_std([best(seed) for seed in self.values()], decimals)


@dataclass(frozen=True)
class Drawing:
    """A finished figure or table: its rows, the plot in the paper's form as a PNG, and other JSON files by name."""

    rows: Sequence[Row]
    png: bytes
    files: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Experiment:
    """A figure or table of a paper.

    Attributes
    ----------
    kind, number : as in the paper; 0 for what the paper does not have
    title : what it shows
    dataset : the pictures it needs
    split : what is learnt from and what is scored on
    epochs : default of --epochs
    minutes : duration on two CPU cores, measured or estimated from measured epochs
    trials : makes the list of trials
    draw : makes the figure from their outcomes
    takes : which of the scale's attributes change it, besides epochs, subset and seeds
    check : raises `UserError` now for what would stop a trial hours later

    """

    kind: Literal["figure", "table", "heat-map"]
    number: int
    title: str
    dataset: str
    split: str
    epochs: int
    minutes: float
    trials: Callable[[Scale], list[Trial]]
    draw: Callable[[Sequence[Outcome]], Drawing]
    takes: Sequence[str] = ()
    check: Callable[[Sequence[Trial], Where], None] | None = None

    @property
    def name(self) -> str:
        """Return the name of its files."""
        return f"{self.kind}-{self.number}" if self.number else self.kind


@dataclass(frozen=True)
class Paper:
    """A paper and its reproducible figures and tables."""

    name: str
    title: str
    experiments: Sequence[Experiment]


_OPTIONS = {
    "embedding_sizes": "--embedding-size",
    "methods": "--method",
    "datasets": "--dataset",
    "settings": "--set",
}
_OVERRULED = {
    "epochs": "give --epochs",
    "embedding_size": "it is --embedding-size, where sizes are compared",
    "random_state": "--seeds counts from 0",
    "device": "give --device",
    "n_classes": "it is that of the labels",
}


def check_options(experiments: Sequence[Experiment], scale: Scale) -> None:
    """Raise `UserError` for an option or a setting that would change none of the experiments."""
    for name, option in _OPTIONS.items():
        if getattr(scale, name) and not any(name in each.takes for each in experiments):
            what = " and ".join(each.name.replace("-", " ") for each in experiments)
            raise UserError(f"{option} changes nothing about {what}: leave it out.")
    refuse_settings(scale.settings)


def refuse_settings(settings: Mapping[str, str], more: Mapping[str, str] | None = None) -> None:
    """Raise `UserError` for a setting that all experiments override, or one in `more`, with its reason."""
    reasons = _OVERRULED | dict(more or {})
    for name in settings:
        if name in reasons:
            raise UserError(f"--set {name}=... would change nothing: {reasons[name]}.")


def reproduce(
    paper: Paper, experiment: Experiment, scale: Scale, where: Where, out: Path, command: str, say: Say
) -> list[Record]:
    """Make a figure or table in a folder, measuring only missing trials; return its records.

    Writes `figure-4.csv` (each row's last and best epoch and the published value), `figure-4.md` (the same for
    reading), `figure-4-epochs.csv` (every epoch of every seed), `figure-4.png` and `figure-4.json` (the records).

    Raises
    ------
    UserError
        If another process works in the folder, pictures are missing, or a setting is impossible.

    """
    with new_parents(out), runs.run_lock(out):
        _take_over_cells(out)
        trials = experiment.trials(replace(scale, out=out))
        missing = [trial for trial in trials if _kept(trial, out) is None]
        if experiment.check is not None and missing:
            experiment.check(missing, where)
        drawing = experiment.draw(measure(trials, where, out, say))
        rows = [(row, _facts(paper, experiment, scale, row, command)) for row in drawing.rows]
        measured = [record for row, facts in rows if row.recorded for record in _records(row, facts)]
        records = [without_paths(record) for record in measured]
        _write(experiment, paper, rows, drawing, out)
        write_json(out / f"{experiment.name}.json", records)
    return records


def measure(trials: Sequence[Trial], where: Where, out: Path, say: Say) -> list[Outcome]:
    """Return the outcome of each trial, from its file if it has been measured before."""
    outcomes = []
    for number, trial in enumerate(trials, 1):
        kept = _kept(trial, out)
        outcomes.append(kept or _measured(trial, where, out))
        # Pictures may have moved, or be gone; only a person can tell whether other pictures were meant.
        moved = kept is not None and kept.data_root not in ("", _place(where))
        before = f"measured before{f', of the pictures in {outcomes[-1].data_root}' if moved else ''}"
        how = before if kept else f"{outcomes[-1].minutes:.1f} minutes"
        say(f"{number}/{len(trials)} {trial.label}: {how}")
    return outcomes


def _take_over_cells(out: Path) -> None:
    """Rename the trial folder if it has its name from before 0.1.0, so that nothing is measured again."""
    if (out / "cells").is_dir() and not (out / "trials").exists():
        (out / "cells").rename(out / "trials")


def _kept(trial: Trial, out: Path) -> Outcome | None:
    try:
        found = json.loads(trial.file(out).read_text(encoding="utf-8"))
        same = found["settings"] == json.loads(json.dumps(trial.settings))
        facts = found["result"], found["minutes"], found["hardware"], found.get("data_root", "")
        return Outcome(trial, *facts) if same else None
    except (OSError, ValueError, KeyError, TypeError):
        return None  # missing or invalid: it is measured (again)


def _measured(trial: Trial, where: Where, out: Path) -> Outcome:
    started = time.monotonic()
    folder = trial.file(out).with_suffix("")
    result = trial.measure(replace(where, folder=folder), **trial.settings)
    # A resumed trial includes epochs from before it was stopped.
    epochs = sum(row.get("seconds", 0) + row.get("scoring_seconds", 0) for row in result.get("epochs", ()))
    minutes = max(time.monotonic() - started, epochs) / 60
    outcome = Outcome(trial, result, minutes, hardware(where.device), _place(where))
    facts = {"settings": trial.settings, "minutes": minutes, "hardware": outcome.hardware}
    write_json(trial.file(out), facts | {"data_root": outcome.data_root, "result": result})
    remove(folder)
    return outcome


def _place(where: Where) -> str:
    return "the default folder" if where.data_root is None else str(where.data_root.absolute())


def outcome_of(trial: Trial, where: Where) -> Outcome:
    """Return the outcome of another trial, on which a measurement builds, measuring it first if necessary."""
    if where.folder is None:
        raise ValueError("what builds on another trial is measured in an output folder")
    out = where.folder.parents[1]
    return _kept(trial, out) or _measured(trial, where, out)


def kept_epochs(where: Where, scores: Callable[[], dict[str, float]]) -> tuple[list[dict[str, float]], "OnEpoch"]:
    """Return the rows of the epochs, and a callback that adds one after each: loss, seconds, result of `scores`.

    The rows are kept in `where.folder`, so that a resumed training has those from before it was stopped.
    """
    path = None if where.folder is None else where.folder / "epochs.json"
    rows: list[dict[str, float]] = json.loads(path.read_text(encoding="utf-8")) if path and path.exists() else []

    def add(history: "History") -> None:
        started = time.monotonic()
        last = history.rows[-1]
        del rows[len(history.rows) - 1 :]  # a killed training may have gone beyond its last checkpoint
        row = scores() | {"loss": last["loss"], "seconds": last["seconds"]}
        rows.append(row | {"scoring_seconds": time.monotonic() - started})
        if path:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, rows)

    return rows, add


def _records(row: Row, facts: Record) -> list[Record]:
    """Return a record for the last epoch of a row, and one for the best if there are several."""
    value, std = row.last()
    several = len(row.values()[0]) > 1
    published = None if several and row.published_best else row.published
    records = [facts | {"metric": row.metric, "value": value, "std": std, "published": published}]
    if several:
        value, std = row.best()
        best = f"{row.metric.removesuffix('_last')}_best"
        published = row.published if row.published_best else None
        records.append(facts | {"metric": best, "value": value, "std": std, "published": published})
    return records


def _facts(paper: Paper, experiment: Experiment, scale: Scale, row: Row, command: str) -> Record:
    # Scaled-down or changed figures are recorded beside the whole figure and do not replace it.
    epochs = scale.epochs or experiment.epochs
    own = row.outcomes[0].trial.settings
    scaled = f"{epochs}-epochs" if "epochs" in own and epochs != experiment.epochs else ""
    changed = {**own.get("base", {}).get("settings", {}), **own.get("settings", {})}
    name = "-".join(filter(None, (paper.name, experiment.name.replace("-", ""), row.name, _short(changed), scaled)))
    first = row.outcomes[0].result
    subset = own.get("subset")
    drawn = f" ({subset:,} of the pictures to learn from, drawn by the seed)" if subset else ""
    return {
        "experiment": name,
        "dataset": (row.dataset or experiment.dataset) + (f" ({subset:,} pictures)" if subset else ""),
        "method": row.method,
        "seeds": [outcome.trial.settings["seed"] for outcome in row.outcomes],
        "epochs": row.epoch or first.get("trained_epochs", len(first["epochs"])),
        "labels_used": round(sum(o.result.get("labels_used", 0) for o in row.outcomes) / len(row.outcomes)),
        "minutes": round(sum(outcome.minutes for outcome in row.outcomes) / len(row.outcomes), 2),
        "hardware": ", ".join(sorted({outcome.hardware for outcome in row.outcomes})),
        "command": command,
        "weights": row.weights,
        "settings": changed,
        "split": experiment.split + drawn,
        "note": row.note,
        **({"chosen_on_test": row.chosen_on_test} if row.chosen_on_test else {}),
    }


def _short(settings: Mapping[str, str]) -> str:
    """Return the part of a name that identifies settings."""
    text = "-".join(f"{name}={value}" for name, value in sorted(told_by_name(settings)))
    return text if len(text) <= _LONGEST_NAME else f"set-{hashlib.sha256(text.encode()).hexdigest()[:6]}"


def _write(
    experiment: Experiment, paper: Paper, rows: Sequence[tuple[Row, Record]], drawing: Drawing, out: Path
) -> None:
    header = "row data metric published last last_std best best_std epochs seeds labels_used frozen_network settings"
    lines = [
        [row.name, facts["dataset"], row.metric, row.published, *row.last(), *row.best(), *_columns(facts), row.note]
        for row, facts in rows
    ]
    write_table(
        out / f"{experiment.name}.csv",
        [*header.split(), "note"],
        [["" if value is None else value for value in line] for line in lines],
    )
    write_table(
        out / f"{experiment.name}-epochs.csv",
        ["row", "metric", "seed", "epoch", "value"],
        (line for row, _ in rows for line in _by_epoch(row)),
    )
    with atomic_path(out / f"{experiment.name}.md") as path:
        path.write_text(_page(paper, experiment, rows), encoding="utf-8")
    save_png(drawing.png, out / f"{experiment.name}.png")
    for name, content in drawing.files.items():
        write_json(out / name, content)


def _columns(facts: Record) -> list[object]:
    """Return the table's columns about how a row was measured."""
    return [facts["epochs"], len(facts["seeds"]), facts["labels_used"], frozen_network(facts), changed(facts)]


def _by_epoch(row: Row) -> Iterable[list[object]]:
    for outcome, values in zip(row.outcomes, row.values(), strict=True):
        for epoch, value in enumerate(values, row.epoch or 1):
            yield [row.name, row.metric, outcome.trial.settings["seed"], epoch, round(value, 4)]


def _page(paper: Paper, experiment: Experiment, rows: Sequence[tuple[Row, Record]]) -> str:
    lines = [f"# {paper.title}: {experiment.name.replace('-', ' ')}", "", f"{experiment.title}.", ""]
    split = rows[0][1]["split"] if rows else experiment.split
    lines += [f"{split[0].upper()}{split[1:]}.", ""]
    lines += ["Percent, mean ± standard deviation over seeds; the best epoch is chosen by the very figure it reports."]
    columns = "row, data, metric, published, last epoch, best epoch, epochs, seeds, labels used, frozen network"
    names = [*columns.split(", "), "settings", "note"]
    lines += ["", "| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    for row, facts in rows:
        published = "" if row.published is None else f"{row.published:.1f}"
        values = [with_spread(*each, decimals=4 if row.loss else 1) for each in (row.last(), row.best())]
        cells = [row.name, facts["dataset"], row.metric, published, *values, *_columns(facts), row.note]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    made = sorted({f"Measured on {facts['hardware']} by `{facts['command']}`." for _, facts in rows})
    return "\n".join([*lines, "", *made, "", f"![{experiment.title}]({experiment.name}.png)", ""])

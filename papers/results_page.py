"""The page of results for readers, made from the records: one table per data set, nothing twice."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Record = Mapping[str, Any]
_INTRO = """# Measured results

Generated from [`results.json`](results.json), which the measuring programs write; do not edit. It has all settings,
splits and notes.

Values are in percent, mean ± standard deviation over seeds, after the last epoch. "Labels" is the number of labels or
answers given to the method itself, not counting those of a probe. "Published" is the value in a paper, or a goal set in
advance. **†** marks values that the labels of the scored pictures influenced: the best epoch is chosen by the same
figure that it reports, and other choices of this kind are explained below the table."""
_COLUMNS = "method accuracy NMI ARI probe best-epoch-† epochs seeds labels minutes published settings".split()
_MAIN = ("acc", "nmi", "ari", "linear_probe_last", "svm_probe_last", "svm_10_folds")
_OF_TRAININGS = (*_MAIN, "linear_probe", "validation")
_PROBES = {"linear_probe_last": "", "svm_probe_last": "SVM ", "svm_10_folds": "SVM, 10 folds "}
_OF_PAPER = re.compile(r"(?P<paper>paper\d+)-(?P<experiment>(?:figure|table)\d+|heat-map)(?:-(?P<row>.*))?")
_CURVE = re.compile(r"labelling-curve-(?P<strategy>\w+)-\d+")
_FROZEN = ("perceptual_network", "perceptual_layer", "perceptual_weights")
_LINK = re.compile(r"\[([^]]*)\]\([^)]*\)")
_FIGURE = re.compile(r"figure \d+$")  # ends the name of a training that has no name in its paper's figure
_LONGEST_VALUE = 24  # of a setting in a table
_SHOWN = 10  # choices shown of a search


def told_by_name(settings: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return the settings except those of the frozen network, which a record's "weights" name."""
    return [(name, value) for name, value in settings.items() if name not in _FROZEN]


def with_spread(mean: float, std: float | None, decimals: int = 1) -> str:
    """Format a mean with its standard deviation over seeds.

    >>> with_spread(75.0, 1.41), with_spread(75.12, None)
    ('75.0 ± 1.4', '75.1')
    """
    return f"{mean:.{decimals}f}" + (f" ± {std:.{decimals}f}" if std is not None else "")


@dataclass
class _Line:
    """The measurements of one training: a record for each metric."""

    first: Record
    name: str
    metrics: dict[str, Record] = field(default_factory=dict)

    def value(self, metric: str) -> str:
        record = self.metrics.get(metric)
        return "" if record is None else with_spread(record["value"], record["std"])

    def probe(self) -> str:
        return "; ".join(f"{words}{self.value(metric)}" for metric, words in _PROBES.items() if metric in self.metrics)

    def best(self) -> str:
        return "; ".join(self.value(metric) for metric in ("acc_best", "linear_probe_best") if metric in self.metrics)

    def labels(self) -> int:
        """Return the number of labels given to the method itself, not to its probe."""
        return min(int(record["labels_used"]) for record in self.metrics.values())

    def published(self) -> str:
        found: dict[str, str] = {}
        for record in self.metrics.values():
            if record.get("published") is not None:
                found.setdefault(f"{record['published']:.1f}", record["note"].partition(";")[0])
        return "; ".join(f"{value} ({note})" if note else value for value, note in found.items())

    def facts(self) -> list[object]:
        """Return epochs, seeds, labels, minutes and the published value."""
        minutes = self.first["minutes"]
        taken = f"{minutes:.1f}" if minutes >= 1 else f"{minutes:.2f}"
        return [self.first["epochs"], len(self.first["seeds"]), f"{self.labels():,}", taken, self.published()]

    def chosen(self) -> str:
        """Return the choices that were influenced by labels of the scored pictures."""
        return next((r["chosen_on_test"] for r in self.metrics.values() if r.get("chosen_on_test")), "")


def page(records: Sequence[Record]) -> str:
    """Return the Markdown page of all records."""
    parts = [_INTRO]
    for dataset in dict.fromkeys(_set_of(record) for record in records):
        parts.append(f"## {dataset}")
        parts += _of_dataset([record for record in records if _set_of(record) == dataset])
    commands = sorted({f"- `{record['command']}` on {record['hardware']}" for record in records})
    how = "`DATA` stands for the folder with the pictures and weights, `RUN` for the output folder."
    return "\n\n".join([*parts, "## Appendix: commands", how, "\n".join(commands)]) + "\n"


def _set_of(record: Record) -> str:
    return re.sub(r" \([\d,]+ pictures\)$", "", record["dataset"])


def _of_dataset(records: Sequence[Record]) -> Iterator[str]:
    curves = [record for record in records if _CURVE.fullmatch(record["experiment"])]
    searched = {(record["dataset"], record["experiment"]) for record in records if record["metric"] == "validation"}
    search = [record for record in records if (record["dataset"], record["experiment"]) in searched]
    apart = {id(record) for record in [*curves, *search]}
    lines = _lines(record for record in records if id(record) not in apart)
    yield from _main_table([line for line in lines if line.metrics.keys() & set(_MAIN)])
    yield from _curve_table(curves)
    yield from _other_table([line for line in lines if not line.metrics.keys() & set(_MAIN)])
    yield from _search_table(_lines(search))


def _lines(records: Iterable[Record]) -> list[_Line]:
    """Gather the records of each training; one that is in several figures and tables of a paper appears here once.

    Trainings of one paper are grouped, and within it those of one method, the shorter ones first.
    """
    lines: dict[tuple[Any, ...], _Line] = {}
    for record in records:
        name, training = _name(record), (record["epochs"], str(record["seeds"]), record["weights"], settings(record))
        line = lines.setdefault((name, *training), _Line(record, name))
        line.metrics.setdefault(record["metric"], record)
    places = {line.name: place for place, line in reversed([*enumerate(lines.values())])}
    order = {key: (_paper_of(line.first), places[line.name], line.first["epochs"]) for key, line in lines.items()}
    lines = {key: lines[key] for key in sorted(lines, key=order.__getitem__)}
    named = [_values(line) for line in lines.values() if not _FIGURE.search(line.name)]
    return [line for line in lines.values() if not _FIGURE.search(line.name) or _values(line) not in named]


def _paper_of(record: Record) -> str:
    found = _OF_PAPER.fullmatch(record["experiment"])
    return "" if found is None else found["paper"]


def _values(line: _Line) -> tuple[Any, ...]:
    kept = {name: record["value"] for name, record in line.metrics.items()}
    return line.first["method"], line.first["epochs"], settings(line.first), str(sorted(kept.items()))


def _name(record: Record) -> str:
    """Return a readable name of a training: the method, and its name in the paper or experiment."""
    found = _OF_PAPER.fullmatch(record["experiment"])
    if found is None:
        own = record["experiment"].replace("-", " ")
        return str(own if record["method"].split()[0] in record["experiment"] else f"{record['method']}, {own}")
    row = _row_of(found["row"] or "", record)
    place = f"[{found['paper'].replace('paper', 'paper ')}](papers/{found['paper']}.md)"
    experiment = re.sub(r"(?=[0-9])", " ", found["experiment"], count=1)
    if record["metric"].removesuffix("_best") not in _OF_TRAININGS:  # other metrics belong to their figure
        place = f"{place} {experiment}"
    elif not row:
        return f"{record['method']}, {place} {experiment}"
    if not row:
        return f"{record['method']}, {place}"
    return f"{row if row == record['method'] else record['method'] + ', ' + row}, {place}"


def _row_of(rest: str, record: Record) -> str:
    """Return the row's own name from what follows a figure's or table's: settings and epochs have their own columns."""
    rest = re.sub(r"(^|-)\d+-epochs$", "", rest)
    told = "-".join(f"{name}={value}" for name, value in sorted(told_by_name(record.get("settings", {}))))
    rest = rest.removesuffix(told) if told else rest
    return re.sub(r"(^|-)set-[0-9a-f]{6}$", "", rest).strip("-")


def settings(record: Record) -> str:
    """Return the frozen network and the settings that differ from the paper's, short enough for a table."""
    told = [f"{name}={value if len(value) <= _LONGEST_VALUE else '…'}" for name, value in _told(record)]
    return ", ".join([*([] if record["weights"] == "none" else [record["weights"].partition(",")[0]]), *told])


def _told(record: Record) -> list[tuple[str, str]]:
    return told_by_name(record.get("settings", {}))


def _main_table(lines: Sequence[_Line]) -> Iterator[str]:
    rows = []
    for line in lines:
        name = line.name + (" †" if line.chosen() else "")
        cells = [name, *(line.value(metric) for metric in ("acc", "nmi", "ari")), line.probe(), line.best()]
        rows.append([*cells, *line.facts(), settings(line.first)])
    yield from _table([column.replace("-", " ") for column in _COLUMNS], rows)
    chosen: dict[str, dict[str, None]] = {}
    for line in lines:
        if line.chosen():
            chosen.setdefault(line.chosen(), {})[_LINK.sub(r"\1", line.name)] = None
    if chosen:
        yield "\n".join(f"- † {'; '.join(names)}: {what}." for what, names in chosen.items())


def _curve_table(records: Sequence[Record]) -> Iterator[str]:
    """Accuracy by the number of answers, one row for each way of asking."""
    answers = sorted({record["labels_used"] for record in records})
    rows: dict[str, dict[int, str]] = {}
    for record in records:
        found = _CURVE.fullmatch(record["experiment"])
        assert found is not None
        value = with_spread(record["value"], record["std"])
        rows.setdefault(found["strategy"], {})[record["labels_used"]] = value
    if rows:
        yield f"Accuracy by the number of answers, {records[0]['method']}; one answer names a group or a picture:"
    table = [[name, *(values.get(count, "") for count in answers)] for name, values in rows.items()]
    yield from _table(["answers about", *map(str, answers)], table)


def _other_table(lines: Sequence[_Line]) -> Iterator[str]:
    metrics = list(dict.fromkeys(name for line in lines for name in line.metrics if not name.endswith("_best")))
    rows = []
    for line in lines:
        rows.append([line.name, *map(line.value, metrics), *line.facts(), settings(line.first)])
    if rows:
        yield "Other metrics:"
    names = [metric.replace("_", " ") for metric in metrics]
    yield from _table(["method", *names, "epochs", "seeds", "labels", "minutes", "published", "settings"], rows)


def _search_table(lines: Sequence[_Line]) -> Iterator[str]:
    best = sorted(lines, key=lambda line: -line.metrics["validation"]["value"])[:_SHOWN]
    if not best:
        return
    first = best[0].first
    split = f"{first['dataset']}, {first['epochs']} epochs, {settings(first)}"
    yield f"Search for random changes: the best {len(best)} of {len(lines)}, scored on held-out pictures ({split}):"
    choices = [_row_of(line.first["experiment"].split("-", 2)[2], line.first) for line in best]
    rows = [[choice, line.value("validation"), line.probe()] for choice, line in zip(choices, best, strict=True)]
    yield from _table(["changes", "held out", "test"], rows)


def _table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> Iterator[str]:
    """Yield a table without the columns that are empty in all rows."""
    kept = [i for i, _ in enumerate(columns) if any(str(row[i]) for row in rows)]
    if not rows:
        return
    lines = ["| " + " | ".join(columns[i] for i in kept) + " |", "|" + "---|" * len(kept)]
    yield "\n".join([*lines, *("| " + " | ".join(str(row[i]) for i in kept) + " |" for row in rows)])

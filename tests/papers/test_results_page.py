"""The page of results: one table per data set, nothing twice, a mark if labels of the scored pictures were used."""

import json
import re
from pathlib import Path
from typing import Any

from papers.results_page import page

RESULTS = Path(__file__).parents[2] / "docs/results.json"


def record(experiment: str = "simclr", metric: str = "acc", **changes: Any) -> dict[str, Any]:
    facts = {"experiment": experiment, "dataset": "digits", "method": "simclr", "metric": metric, "value": 75.0}
    facts |= {"std": 1.5, "seeds": [0, 1], "epochs": 5, "split": "test", "labels_used": 0, "minutes": 1.04}
    facts |= {"hardware": "a CPU", "command": "selfsort", "weights": "none", "published": None, "note": ""}
    return facts | changes


def rows(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_metrics_of_one_training_share_a_row_beside_the_published_value() -> None:
    made = page([record(published=70.0, note="a paper; in full"), record(metric="nmi", value=60.0, std=None)])
    columns, row = rows(made)
    assert dict(zip(columns, row, strict=True)) == {
        "method": "simclr",
        "accuracy": "75.0 ± 1.5",
        "NMI": "60.0",
        "epochs": "5",
        "seeds": "2",
        "labels": "0",
        "minutes": "1.0",
        "published": "70.0 (a paper)",
    }
    assert made.count("- `selfsort` on a CPU") == 1


def test_each_data_set_has_its_own_table() -> None:
    made = page([record(), record(dataset="mnist"), record(experiment="simclr-umap")])
    assert re.findall("^## (.*)$", made, re.MULTILINE) == ["digits", "mnist", "Appendix: commands"]
    assert [row[0] for row in rows(made)] == ["method", "simclr", "simclr umap", "method", "simclr"]


def test_the_same_training_in_several_figures_of_a_paper_appears_once() -> None:
    settings = {"perceptual_network": "n", "schedule": "cosine"}
    names = [f"paper1-{experiment}-PL-AE-300-schedule=cosine-15-epochs" for experiment in ("table2", "figure14")]
    names += ["paper2-table1-random", "paper2-figure5"]
    made = page([record(names[0], settings=settings, epochs=15), record(names[1], settings=settings, epochs=15)])
    assert [row[0] for row in rows(made)[1:]] == ["simclr, PL-AE-300, [paper 1](papers/paper1.md)"]
    assert rows(made)[1][-1] == "schedule=cosine"
    made = page([record(names[2]), record(names[3])])
    assert [row[0] for row in rows(made)[1:]] == ["simclr, random, [paper 2](papers/paper2.md)"]
    made = page([record(names[2]), record(names[3], value=1.0)])
    assert rows(made)[2][0] == "simclr, [paper 2](papers/paper2.md) figure 5"


def test_trainings_of_one_method_are_grouped_the_shorter_first() -> None:
    made = page([record(epochs=15), record("kmeans", method="kmeans"), record(epochs=5), record(epochs=30)])
    assert [(row[0], row[2]) for row in rows(made)[1:]] == [
        ("simclr", "5"),
        ("simclr", "15"),
        ("simclr", "30"),
        ("kmeans", "5"),
    ]


def test_what_was_chosen_on_test_is_marked_and_explained() -> None:
    made = page([record(chosen_on_test="the rate was"), record("kmeans", method="kmeans")])
    assert [row[0] for row in rows(made)[1:]] == ["simclr †", "kmeans"]
    assert "- † simclr: the rate was." in made


def test_curves_and_searches_have_small_tables() -> None:
    curve = [record(f"labelling-curve-{how}-{n}", labels_used=n, value=n, std=None) for how in "ab" for n in (10, 20)]
    made = rows(page(curve))
    assert made == [["answers about", "10", "20"], ["a", "10.0", "20.0"], ["b", "10.0", "20.0"]]
    names = [f"paper1-figure12-crop+{number}" for number in range(12)]
    search = [record(name, "validation", value=place, std=None) for place, name in enumerate(names)]
    made = rows(page([*search, *(record(name, "linear_probe_last", std=None) for name in names)]))
    assert made[:3] == [["changes", "held out", "test"], ["crop+11", "11.0", "75.0"], ["crop+10", "10.0", "75.0"]]
    assert len(made) == 11, "only the best are shown"


def test_the_tables_in_docs_fit_a_screen_and_use_no_hashes_as_names() -> None:
    made = page(json.loads(RESULTS.read_text()))
    tables = [part for part in made.split("\n\n") if part.startswith("| ")]
    assert max(len(table.splitlines()) for table in tables) <= 45
    assert not re.search(r"set-[0-9a-f]{6}", "".join(tables))
    assert all(len(set(lines)) == len(lines) for lines in (table.splitlines() for table in tables))

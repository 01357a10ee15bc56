"""Records: merged by what they measure, complete whoever else writes, and the page made from them."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from papers import records
from papers.results_page import page
from selfsort.errors import UserError

RESULTS = Path(__file__).parents[2] / "docs/results.json"


def record(experiment: str = "one", metric: str = "acc", **changes: Any) -> dict[str, Any]:
    facts = {"experiment": experiment, "dataset": "digits", "method": "kmeans", "metric": metric, "value": 75.0}
    facts |= {"std": 1.5, "seeds": [0, 1], "epochs": 5, "split": "test", "labels_used": 64, "minutes": 1.0}
    facts |= {"hardware": "a CPU", "command": "selfsort", "weights": "none", "published": None, "note": ""}
    return facts | changes


def test_new_records_replace_those_of_the_same_key_and_no_others(tmp_path: Path) -> None:
    path = tmp_path / "new/results.json"
    records.keep(path, [record(value=1.0), record("other")])
    records.keep(path, [record(value=2.0), record(metric="nmi"), record(dataset="mnist")])
    kept = json.loads(path.read_text())
    assert [(r["dataset"], r["experiment"], r["metric"], r["value"]) for r in kept] == [
        ("digits", "one", "acc", 2.0),
        ("digits", "other", "acc", 75.0),
        ("digits", "one", "nmi", 75.0),
        ("mnist", "one", "acc", 75.0),
    ]
    records.keep(path, [record(weights="vgg11")])
    assert len(json.loads(path.read_text())) == 5, "another frozen network is another experiment"
    assert sorted(each.name for each in path.parent.iterdir()) == ["results.json", "results.md"]


def test_the_page_in_docs_is_made_from_the_file_beside_it() -> None:
    assert page(json.loads(RESULTS.read_text())) == RESULTS.with_suffix(".md").read_text()


@pytest.mark.parametrize(
    ("command", "kept"),
    [
        ("selfsort x --data-root /srv/sets --out /srv/a/b", "selfsort x --data-root DATA --out RUN/b"),
        ("--set weights=/srv/w.pth --results /srv/r.json", "--set weights=DATA/w.pth --results RUN/r.json"),
        ("--set views=transformations:/srv/ten.json", "--set views=transformations:RUN/ten.json"),
        ("python /opt/x/benchmarks/accuracy.py ~/flowers", "python benchmarks/accuracy.py DATA/flowers"),
        (r"--out D:\runs\a --data-root=C:\sets", "--out RUN/a --data-root=DATA"),
        ("read/write docs/results.json https://a.org/b 1/2", "read/write docs/results.json https://a.org/b 1/2"),
    ],
)
def test_no_path_of_this_machine_is_kept(command: str, kept: str, tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    records.keep(path, [record(command=command, settings={"weights": "/srv/w.pth"})])
    (found,) = json.loads(path.read_text())
    assert found["command"] == kept and found["settings"] == {"weights": "DATA/w.pth"}


@pytest.mark.parametrize("text", ["no JSON", "{}", '{"a": 1}', "[1]", '[{"experiment": "one"}]'])
def test_a_file_of_something_else_is_refused_and_kept(text: str, tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text(text)
    if text == "{}":
        records.keep(path, [record()])  # nothing in it to lose
        return
    with pytest.raises(UserError, match=r"results\.json.*--results"):
        records.keep(path, [record()])
    assert path.read_text() == text


def test_programs_that_add_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    program = (
        "import sys, json; from pathlib import Path; from papers import records\n"
        "base = json.loads(sys.argv[2])\n"
        "for n in range(20): records.keep(Path(sys.argv[1]), [base | {'experiment': f'{sys.argv[3]}-{n}'}])"
    )
    words = [sys.executable, "-c", program, str(path), json.dumps(record())]
    running = [subprocess.Popen([*words, name]) for name in "abc"]
    assert [process.wait() for process in running] == [0, 0, 0]
    assert len(json.loads(path.read_text())) == 60

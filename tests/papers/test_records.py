"""Records: merged by what they measure, whole whoever else writes, and the page made from them."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from papers import records
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


def test_the_page_shows_ours_beside_the_published_value() -> None:
    changed = {"schedule": "cosine", "perceptual_weights": "weights.safetensors"}
    page = records.page([record(published=75.0, note="the paper", settings=changed, weights="w"), record(std=None)])
    assert (
        "| digits | one | acc | 75.0 ± 1.5 | 75.0 (the paper) | 5 | 2 | 64 | 1.0 | test | w | schedule=cosine |" in page
    )
    assert "| digits | one | acc | 75.0 |  | 5 | 2 | 64 | 1.0 | test |" in page
    assert page.count("- `selfsort` on a CPU") == 1


def test_the_page_in_the_documents_is_made_from_the_file_beside_it() -> None:
    assert records.page(json.loads(RESULTS.read_text())) == RESULTS.with_suffix(".md").read_text()


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

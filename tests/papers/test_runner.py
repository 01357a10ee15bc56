"""Trials are measured once, survive kill -9 and Ctrl-C, and make figures, tables and records."""

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from papers.runner import (
    Drawing,
    Experiment,
    Outcome,
    Paper,
    Row,
    Scale,
    Trial,
    Where,
    check_options,
    measure,
    outcome_of,
    reproduce,
)
from selfsort.errors import UserError
from selfsort.reporting.figures import Line, line_chart

CALLS: list[dict[str, Any]] = []
HERE = Where("cpu")
KEYS = {
    "experiment", "dataset", "method", "metric", "value", "std", "seeds", "epochs", "split", "labels_used", "minutes",
    "hardware", "command", "weights", "settings", "note", "published",
}  # fmt: skip


def curve(where: Where, *, seed: int, epochs: int, subset: int | None = None) -> dict[str, Any]:
    CALLS.append({"seed": seed, "epochs": epochs})
    return {"epochs": [{"acc": 0.5 + 0.1 * seed - 0.01 * epoch} for epoch in range(epochs)], "labels_used": 10 + seed}


def worse(where: Where, *, seed: int, epochs: int) -> dict[str, Any]:
    return {"epochs": [{"acc": 0.4} for _ in range(epochs)]}


def trials(scale: Scale) -> list[Trial]:
    facts = {"epochs": scale.epochs or 3, "subset": scale.subset}
    return [Trial(curve, {"seed": seed} | facts) for seed in range(scale.seeds or 3)]


def draw(outcomes: Any) -> Drawing:
    return Drawing([Row("", "kmeans", "acc", outcomes, published=75.0)], line_chart([Line("ours", [1], [2])], "x", "y"))


EXPERIMENT = Experiment("figure", 4, "A curve", "digits", "all", 3, 0.1, trials, draw)
PAPER = Paper("paper0", "A paper", [EXPERIMENT])


def run(out: Path, scale: Scale = Scale(), said: list[str] | None = None) -> list[dict[str, Any]]:  # noqa: B008
    CALLS.clear()
    return reproduce(PAPER, EXPERIMENT, scale, HERE, out, "selfsort reproduce", (said or []).append)


def test_a_second_run_measures_nothing_and_says_so(tmp_path: Path) -> None:
    first = run(tmp_path)
    assert len(CALLS) == 3
    said = [""]
    assert run(tmp_path, said=said) == first
    assert not CALLS and sum("measured before" in line for line in said) == 3


def test_a_folder_of_an_earlier_version_is_not_measured_again(tmp_path: Path) -> None:
    first = run(tmp_path)
    (tmp_path / "trials").rename(tmp_path / "cells")
    assert run(tmp_path) == first and not CALLS


def test_more_seeds_are_added_and_other_settings_do_not_reuse(tmp_path: Path) -> None:
    run(tmp_path)
    run(tmp_path, Scale(seeds=4))
    assert CALLS == [{"seed": 3, "epochs": 3}]
    run(tmp_path, Scale(epochs=2))
    assert len(CALLS) == 3
    run(tmp_path)
    assert not CALLS


def test_a_stop_loses_no_finished_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stops(where: Where, *, seed: int, epochs: int, subset: int | None) -> dict[str, Any]:
        if seed == 2:
            raise KeyboardInterrupt
        return curve(where, seed=seed, epochs=epochs)

    stops.__name__ = "curve"
    stopping = Experiment(
        "figure", 4, "", "", "", 3, 0.1, lambda s: [Trial(stops, t.settings) for t in trials(s)], draw
    )
    with pytest.raises(KeyboardInterrupt):
        reproduce(PAPER, stopping, Scale(), HERE, tmp_path, "", print)
    assert not (tmp_path / "figure-4.png").exists()
    run(tmp_path)
    assert [call["seed"] for call in CALLS] == [2]


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"settings": {}, "result": {}, "minutes": 0, "hardware": ""}'])
def test_a_damaged_trial_is_measured_again(damage: str, tmp_path: Path) -> None:
    expected = run(tmp_path)
    trials(Scale())[1].file(tmp_path).write_text(damage)
    again = run(tmp_path)
    assert [call["seed"] for call in CALLS] == [1]
    assert [r["value"] for r in again] == [r["value"] for r in expected]


def test_records_hold_the_last_and_the_best_epoch(tmp_path: Path) -> None:
    last, best = run(tmp_path)
    assert last.keys() == best.keys() == KEYS
    assert (last["metric"], last["value"], last["std"], last["published"]) == ("acc", 58.0, 10.0, 75.0)
    assert (best["metric"], best["value"], best["std"], best["published"]) == ("acc_best", 60.0, 10.0, None)
    assert last["seeds"] == [0, 1, 2] and last["epochs"] == 3 and last["labels_used"] == 11
    assert last["experiment"] == "paper0-figure4" and last["dataset"] == "digits"
    assert json.loads((tmp_path / "figure-4.json").read_text()) == [last, best]


def test_changed_settings_have_their_own_records_and_tables_say_so(tmp_path: Path) -> None:
    def made(settings: dict[str, str], scale: Scale) -> dict[str, Any]:
        def measured(where: Where, *, seed: int, settings: dict[str, str], subset: int | None) -> dict[str, Any]:
            return curve(where, seed=seed, epochs=3)

        def listed(scale: Scale) -> list[Trial]:
            return [Trial(measured, {"seed": 0, "settings": settings, "subset": scale.subset})]

        experiment = replace(EXPERIMENT, trials=listed, takes=("settings",))
        return reproduce(PAPER, experiment, scale, HERE, tmp_path, "", lambda line: None)[0]

    few = made({"schedule": "cosine", "batch_norm": "true", "perceptual_network": "vgg11"}, Scale(subset=50))
    assert few["experiment"] == "paper0-figure4-batch_norm=true-schedule=cosine", "the network is under weights"
    assert few["settings"] == {"schedule": "cosine", "batch_norm": "true", "perceptual_network": "vgg11"}
    assert (
        few["split"] == "all (50 of the pictures to learn from, drawn by the seed)"
        and few["dataset"] == "digits (50 pictures)"
    )
    page = (tmp_path / "figure-4.md").read_text()
    assert "| schedule=cosine, batch_norm=true |" in page and "(50 of the pictures" in page
    long = [made({"views": "transformations:" + each * 9}, Scale())["experiment"] for each in ("crop,", "noise,")]
    assert len(set(long)) == 2 and all(re.fullmatch("paper0-figure4-set-[0-9a-f]{6}", name) for name in long)


def test_options_without_effect_are_refused() -> None:
    table = replace(EXPERIMENT, kind="table", number=2, takes=("methods", "settings"))
    for scale, message in (
        (Scale(methods=("kmeans",)), "--method changes nothing about figure 4: leave it out"),
        (Scale(settings={"gamma": "3"}), "--set changes nothing about figure 4"),
    ):
        with pytest.raises(UserError, match=message):
            check_options([EXPERIMENT], scale)
        check_options([EXPERIMENT, table], scale)
    with pytest.raises(UserError, match="--dataset changes nothing about figure 4 and table 2"):
        check_options([EXPERIMENT, table], Scale(datasets=("mnist",)))
    with pytest.raises(UserError, match=r"--set epochs=\.\.\. would change nothing: give --epochs"):
        check_options([table], Scale(settings={"epochs": "3"}))


def test_a_name_mentions_epochs_and_pictures_only_if_they_count(tmp_path: Path) -> None:
    def counted(where: Where, *, seed: int) -> dict[str, Any]:
        return {"epochs": [{"acc": 0.5}]}

    experiment = replace(EXPERIMENT, trials=lambda scale: [Trial(counted, {"seed": 0})])
    (record,) = reproduce(PAPER, experiment, Scale(epochs=9, subset=50), HERE, tmp_path, "", lambda line: None)
    assert (record["experiment"], record["dataset"], record["split"]) == ("paper0-figure4", "digits", "all")


def test_problems_of_later_trials_are_found_first_unless_all_is_measured(
    tmp_path: Path,
) -> None:
    asked: list[int] = []

    def refuse(missing: Sequence[Trial], where: Where) -> None:
        asked.extend(trial.settings["seed"] for trial in missing)
        raise UserError("no weights")

    checked = replace(EXPERIMENT, check=refuse)
    run(tmp_path, Scale(seeds=1))
    with pytest.raises(UserError, match="no weights"):
        reproduce(PAPER, checked, Scale(), HERE, tmp_path, "", print)
    assert asked == [1, 2], "what has been measured needs neither pictures nor weights"
    run(tmp_path)
    CALLS.clear()
    assert len(reproduce(PAPER, checked, Scale(), HERE, tmp_path, "", print)) == 2 and not CALLS


def test_moved_pictures_are_reported(tmp_path: Path) -> None:
    said: list[str] = []
    for root in ("one", "one", "two"):
        where = Where("cpu", data_root=tmp_path / root)
        measure(trials(Scale(seeds=1)), where, tmp_path / "out", said.append)
    assert said[1].endswith("measured before")
    assert said[2].endswith(f"measured before, of the pictures in {tmp_path / 'one'}")


def test_scaled_down_figures_have_their_own_records(tmp_path: Path) -> None:
    names = [run(tmp_path, scale)[0] for scale in (Scale(), Scale(epochs=2), Scale(subset=1000))]
    assert len({(each["experiment"], each["dataset"]) for each in names}) == 3
    (one,) = {each["std"] for each in run(tmp_path, Scale(seeds=1))}
    assert one is None


def test_tables_hold_each_row_and_each_epoch(tmp_path: Path) -> None:
    run(tmp_path)
    with open(tmp_path / "figure-4.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["published"], row["last"], row["last_std"], row["best"], row["seeds"]) == (
        "75.0",
        "58.0",
        "10.0",
        "60.0",
        "3",
    )
    with open(tmp_path / "figure-4-epochs.csv", newline="") as file:
        epochs = list(csv.DictReader(file))
    assert len(epochs) == 9 and epochs[5] == {"row": "", "metric": "acc", "seed": "1", "epoch": "3", "value": "58.0"}
    page = (tmp_path / "figure-4.md").read_text()
    assert "|  | digits | acc | 75.0 | 58.0 ± 10.0 | 60.0 ± 10.0 | 3 | 3 | 11 |" in page and "figure-4.png" in page
    assert "All." in page and "by `selfsort reproduce`." in page
    with Image.open(tmp_path / "figure-4.png") as picture:
        assert picture.format == "PNG"


def test_a_row_may_be_one_epoch_or_a_difference() -> None:
    def outcomes(measure: Any) -> list[Outcome]:
        return [
            Outcome(Trial(measure, {"seed": seed}), measure(HERE, seed=seed, epochs=2), 1.0, "") for seed in range(2)
        ]

    assert Row("", "", "acc", outcomes(curve), epoch=1).values() == [[50.0], [60.0]]
    gain = Row("", "", "acc", outcomes(curve), outcomes(worse)).values()
    np.testing.assert_allclose(gain, [[10.0, 9.0], [20.0, 19.0]])


def test_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    from filelock import FileLock

    (tmp_path / "out").mkdir()
    with FileLock(tmp_path / "out/.lock"), pytest.raises(UserError, match="open in another process"):
        run(tmp_path / "out")


KILLED = """
import os, signal, sys, time
from pathlib import Path
sys.path[:0] = sys.argv[2:]
import test_runner as here
from papers.runner import Trial, Experiment, Scale, reproduce

def curve(where, *, seed, epochs, subset):
    if seed == 2:
        print("measuring", flush=True)
        time.sleep(60)
    return here.curve(where, seed=seed, epochs=epochs)

trials = lambda scale: [Trial(curve, trial.settings) for trial in here.trials(scale)]
experiment = Experiment("figure", 4, "A curve", "digits", "all", 3, 0.1, trials, here.draw)
reproduce(here.PAPER, experiment, Scale(), here.HERE, Path(sys.argv[1]), "", lambda line: None)
"""


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_killed_run_is_resumed_where_it_was(signal_number: int, tmp_path: Path) -> None:
    here = Path(__file__)
    words = [sys.executable, "-c", KILLED, str(tmp_path / "out"), str(here.parent), str(here.parents[2])]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None and process.stdout.readline() == "measuring\n"
    os.kill(process.pid, signal_number)
    process.wait()
    process.stdout.close()
    run(tmp_path / "out")
    assert [call["seed"] for call in CALLS] == [2]


@pytest.mark.slow
def test_the_chart_shows_lines_spread_and_reference() -> None:
    line = Line("ours", [1, 2, 3], [50, 60, 70], [5, 4, 3])
    plain = line_chart([Line("ours", line.x, line.y)], "epoch", "%")
    full = line_chart([line], "epoch", "%", x_ticks={1: "1\n16", 2: "2\n32"}, reference=("the paper", 75.0))
    pixels = [np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).reshape(-1, 3) for png in (plain, full)]
    assert all((0x3F, 0x90, 0xDA) in {tuple(colour) for colour in np.unique(p, axis=0).tolist()} for p in pixels)
    assert len(np.unique(pixels[1], axis=0)) > len(np.unique(pixels[0], axis=0))


def test_a_loss_is_not_a_percentage_its_best_is_the_lowest_and_it_is_not_recorded(tmp_path: Path) -> None:
    def losing(where: Where, *, seed: int) -> dict[str, Any]:
        return {"epochs": [{"loss": 2.30512 + seed}, {"loss": 0.00123 + seed}, {"loss": 0.5 + seed}]}

    def drawn(outcomes: Any) -> Drawing:
        rows = [Row("", "kmeans", "loss", outcomes, loss=True, recorded=False)]
        return Drawing(rows, line_chart([Line("ours", [1], [2])], "x", "y"))

    experiment = Experiment(
        "figure", 5, "A loss", "digits", "all", 3, 0.1, lambda s: [Trial(losing, {"seed": 0})], drawn
    )
    assert reproduce(PAPER, experiment, Scale(), HERE, tmp_path, "", lambda line: None) == []
    assert "| loss |  | 0.5000 | 0.0012 | 3 | 1 |" in (tmp_path / "figure-5.md").read_text()
    assert ",loss,0,1,2.3051" in (tmp_path / "figure-5-epochs.csv").read_text()


def test_a_trial_on_which_others_build_is_measured_once_and_kept(tmp_path: Path) -> None:
    first = Trial(curve, {"seed": 0, "epochs": 3})

    def second(where: Where, *, seed: int) -> dict[str, Any]:
        return {"epochs": [{"acc": outcome_of(first, where).result["epochs"][-1]["acc"] / 2}]}

    CALLS.clear()
    for seed in range(2):
        (found,) = measure([Trial(second, {"seed": seed})], HERE, tmp_path, lambda line: None)
        assert found.result["epochs"] == [{"acc": 0.24}]
    assert len(CALLS) == 1 and first.file(tmp_path).exists()

"""What is read from a picture's file, on the command line: value ranges, pages, channels, and what was not used."""

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile

from commands import Cli


def save_stacks(folder: Path, count: int = 12, seed: int = 0) -> Path:
    """Save 12-bit stacks of 3 slices and 5 channels."""
    folder.mkdir()
    rng = np.random.default_rng(seed)
    for number in range(count):
        values = rng.normal(800, 200, (3, 5, 24, 24)).clip(0, 4095)
        values[:, 4, 4:20, 4:20] += 1500 * (number % 2)
        metadata = {"axes": "ZCYX"}
        tifffile.imwrite(folder / f"{number:02d}.tif", values.astype(np.uint16), ome=True, metadata=metadata)
    return folder


def test_a_run_keeps_how_it_read(cli: Cli, tmp_path: Path) -> None:
    source = save_stacks(tmp_path / "stacks")
    run = tmp_path / "run"
    options = ("--page", "max", "--channels", "0,2,4", "--method", "kmeans", "--classes", "2", "--size", "24")
    answer = cli("fit", source, "--out", run, *options)
    assert answer.code == 0, answer.err
    assert "more than 8 bits: integers from " in answer.out and "choose another range with --value-range" in answer.out
    kept = json.loads((run / "run.json").read_text())
    reading = kept["input"]["reading"]
    assert reading["page"] == "max" and reading["channels"] == [0, 2, 4] == kept["data"]["options"]["channels"]
    assert reading["integers"] == kept["data"]["options"]["value_range"]
    others = save_stacks(tmp_path / "others", 6, 1)
    answer = cli("predict", run, others, "--out", tmp_path / "predictions.csv")
    assert answer.code == 0, answer.err
    assert "--page" not in answer.out and "--channels" not in answer.out, "predict has no such flags"
    found = [line.split(",")[1] for line in (tmp_path / "predictions.csv").read_text().splitlines()[1:]]
    assert len(set(found[::2])) == len(set(found[1::2])) == 1 and found[0] != found[1]
    answer = cli("report", run)
    assert answer.code == 0, answer.err


def test_unused_parts_are_reported(cli: Cli, tmp_path: Path) -> None:
    source = save_stacks(tmp_path / "stacks", 3)
    listed = tmp_path / "account.csv"
    answer = cli("views", source, "--out", tmp_path / "views.png", "--count", "2", "--account", listed)
    assert listed.read_text().count("first page only (of 15); converted to 8 bits (uint16)") == 3
    assert "3 pictures have more pages than the one used (15 pages): choose with --page" in answer.out, answer
    answer = cli("audit", source, "--out", tmp_path / "audit", "--backbone", "none", "--channels", "0,1")
    assert "3 pictures have more pages than the one used (3 pages): choose with --page" in answer.out, answer
    assert "3 pictures have more channels than those used (5 channels): choose with --channels" in answer.out
    assert "--channels 0,1" in answer.out.splitlines()[-1]


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--value-range", "bits", "--value-range bits must be 'set', 'picture', 'type', or two numbers, low and high"),
        ("--value-range", "9..1", "must be 'set', 'picture', 'type', or two numbers, low and high"),
        ("--value-range", "a..b", "--value-range 'a..b' is not LOW..HIGH, such as 400..3000."),
        ("--page", "last", "--page last must be the number of a page"),
        ("--channels", "2", "--channels 2 must be 1 (grey) or 3 (colour)"),
        ("--channels", "a,b", "--channels 'a,b' is neither 1 nor 3 nor a list such as 0,2,4."),
        ("--channels", "0,1,2,3", "numbers of up to three channels"),
    ],
)
def test_invalid_choices(cli: Cli, tmp_path: Path, option: str, value: str, message: str) -> None:
    source = save_stacks(tmp_path / "stacks", 2)
    answer = cli("views", source, option, value, "--out", tmp_path / "views.png")
    assert answer.code != 0 and message in answer.err, answer

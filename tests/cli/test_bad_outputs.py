"""How the command line responds to output that cannot be written."""

import os
from pathlib import Path

import pytest

from commands import Cli
from refusals import KMEANS, SIMCLR, Refused, read_csv


def test_output_in_a_folder_that_does_not_exist(cli: Cli, desk: Path) -> None:
    assert cli("predict", "kmeans", "photos", "--out", "a/b/new.csv").code == 0
    assert [row["id"] for row in read_csv(desk / "a/b/new.csv")] == sorted(os.listdir(desk / "photos"))


@pytest.mark.parametrize("table", ["new.csv", "new.parquet"])
def test_output_below_a_file(refused: Refused, table: str) -> None:
    place = "photos/00.png"
    refused("fit", "photos", "--out", f"{place}/run", *KMEANS, "--json", naming=place)
    refused("predict", "kmeans", "photos", "--out", f"{place}/{table}", "--json", naming=place)
    refused("sort", "kmeans", "photos", "--out", f"{place}/sorted", "--json", naming=place)
    refused("report", "kmeans", "--out", f"{place}/report.html", "--json", naming=place)


def test_name_too_long(refused: Refused) -> None:
    name = "n" * 300
    refused("fit", "photos", "--out", name, *KMEANS, "--json", naming=name)
    refused("predict", "kmeans", "photos", "--out", f"{name}.csv", "--json", naming=f"'{name}.csv'")
    refused("fit", name, "--out", "new", *KMEANS, "--json", naming=name)


def test_read_only_output(refused: Refused, read_only: Path) -> None:
    for out in (read_only / "new", read_only / "a/b/new"):
        for options in (KMEANS, SIMCLR):
            refused("fit", "photos", "--out", out, *options, "--json", naming=str(out))
        for command in ("predict", "sort", "report"):
            target = out.with_suffix({"predict": ".csv", "sort": "", "report": ".html"}[command])
            source = [] if command == "report" else ["photos"]
            refused(command, "kmeans", *source, "--out", target, "--json", naming=str(target))


def test_read_only_run_folder(refused: Refused, cli: Cli, desk: Path) -> None:
    # A folder in place of the file, which even root cannot overwrite.
    for name in ("evaluation.json", "report.html"):
        (desk / "kmeans" / name).mkdir()
        (desk / "kmeans" / name / "x").write_text("x")
    cli("evaluate", "simclr", "photos", "--json")
    refused("evaluate", "kmeans", "photos", "--json", naming="kmeans/evaluation.json")
    (desk / "kmeans/evaluation.json/x").unlink()
    (desk / "kmeans/evaluation.json").rmdir()
    refused("report", "kmeans", "--json", naming="kmeans/report.html")


@pytest.mark.parametrize("place", ["read-only", "file", "below a file"])
def test_cache_that_cannot_be_written(
    cli: Cli, desk: Path, read_only: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    file = desk / "photos/00.png"
    folder = {"read-only": read_only / "cache", "file": file, "below a file": file / "cache"}[place]
    monkeypatch.setenv("SELFSORT_CACHE", str(folder))
    answer = cli("fit", "photos", "--out", "new", *KMEANS, "--json")
    assert (answer.code, answer.err) == (0, "")
    assert cli("cache", "--clear", "--json").code == 0

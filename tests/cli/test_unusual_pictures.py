"""The main job on unusual but valid input: few pictures, every mode, odd names."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from commands import Cli
from refusals import KMEANS, SIMCLR, read_csv, save, save_classes
from samples import pictures


def whole_job(cli: Cli, source: str, run: str, desk: Path, count: int) -> None:
    for command in (
        ("predict", run, source, "--out", f"{run}.csv"),
        ("predict", run, source, "--out", f"{run}.parquet"),
        ("sort", run, source, "--out", f"{run}-links"),
        ("sort", run, source, "--out", f"{run}-copies", "--copy"),
        ("evaluate", run, source),
        ("report", run),
    ):
        answer = cli(*command)
        assert answer.code == 0, answer.err
    assert len(read_csv(desk / f"{run}.csv")) == count
    for folder in ("links", "copies"):
        assert len([path for path in (desk / f"{run}-{folder}").glob("*/*") if path.is_file()]) == count
    assert (desk / run / "report.html").stat().st_size > 10_000


@pytest.mark.parametrize("options", [KMEANS, SIMCLR], ids=["kmeans", "simclr"])
def test_three_classes_of_two_pictures(cli: Cli, desk: Path, options: tuple[str, ...]) -> None:
    save_classes(desk / "six")
    answer = cli("fit", "six", "--out", "new", *options, "--json")
    assert answer.code == 0 and sum(json.loads(answer.out)["clusters"]) == 6
    whole_job(cli, "six", "new", desk, 6)
    for probe in ("linear", "svm", "knn", "centroid"):
        answer = cli("evaluate", "new", "six", "--probe", probe, "--json")
        found = json.loads(answer.out)["probe"]
        assert [row["name"] for row in found["per_class"]] == ["kind-0", "kind-1", "kind-2"]


def test_pictures_of_every_mode_in_one_folder(cli: Cli, desk: Path) -> None:
    mixed = save(desk / "mixed", 6)
    colour = Image.fromarray(pictures(1, 20)[0])
    grey = pictures(1, 20, channels=1)[0, ..., 0]
    colour.convert("L").save(mixed / "grey.png")
    colour.convert("RGBA").save(mixed / "alpha.png")
    colour.convert("CMYK").save(mixed / "cmyk.jpg")
    colour.convert("P").save(mixed / "palette.gif")
    colour.convert("1").save(mixed / "bits.bmp")
    Image.fromarray(grey.astype(np.uint16) * 257).save(mixed / "sixteen.png")
    Image.fromarray(grey.astype(np.float32) / 255).save(mixed / "floats.tiff")
    answer = cli("fit", "mixed", "--out", "new", *KMEANS, "--json")
    assert answer.code == 0 and json.loads(answer.out)["pictures"] == 13 and not json.loads(answer.out)["skipped"]
    whole_job(cli, "mixed", "new", desk, 13)


NAMES = ["a b.png", "🌹.png", "new\nline.png", "-dash.png", "quote\"'.png", "<b>&amp;.png", "[red]x.png", "=1+1.png"]


def test_odd_names(cli: Cli, desk: Path) -> None:
    odd = desk / "odd 🦊\nfolder"
    odd.mkdir()
    for name, pixels in zip(NAMES, pictures(len(NAMES), 16), strict=True):
        Image.fromarray(pixels).save(odd / name)
    answer = cli("fit", odd, "--out", "new 🦊\nrun", *KMEANS, "--json")
    assert answer.code == 0 and json.loads(answer.out)["run"] == "new 🦊\nrun"
    whole_job(cli, str(odd), "new 🦊\nrun", desk, len(NAMES))
    assert sorted(row["id"] for row in read_csv(desk / "new 🦊\nrun.csv")) == sorted(NAMES)
    assert sorted(path.name for path in (desk / "new 🦊\nrun-copies").glob("*/*")) == sorted(NAMES)
    page = (desk / "new 🦊\nrun/report.html").read_text(encoding="utf-8")
    assert "<b>&amp;.png" not in page and "new\\nline.png" in page


@pytest.mark.skipif(sys.platform == "darwin", reason="its file system takes UTF-8 names only")
def test_names_that_are_not_utf8(cli: Cli, desk: Path) -> None:
    odd = desk / os.fsdecode(b"odd \xff")
    save(odd)
    (odd / "00.png").rename(odd / os.fsdecode(b"zero \xff.png"))
    run = os.fsdecode(b"run \xff")
    answer = cli("fit", odd, "--out", run, *KMEANS)
    assert answer.code == 0, answer.err
    whole_job(cli, str(odd), run, desk, 12)


def test_class_names_are_not_markup(cli: Cli, desk: Path) -> None:
    save(desk / "labelled/[red]rose", 4)
    save(desk / "labelled/tulip", 4)
    answer = cli("evaluate", "kmeans", "labelled")
    assert answer.code == 0 and "[red]rose" in answer.out

"""How the command line responds to run folders that are missing, damaged, in use or not made by selfsort."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock

from commands import Cli
from refusals import KMEANS, SIMCLR, Refused, check_sentence, snapshot
from run_files import edit, reseal
from samples import pictures
from selfsort.runs import read_run

READERS = [
    ("predict", "kmeans", "photos", "--out", "new.csv"),
    ("sort", "kmeans", "photos", "--out", "new"),
    ("evaluate", "kmeans", "photos"),
    ("report", "kmeans"),
]
READING = pytest.mark.parametrize("command", READERS, ids=lambda command: command[0])


@READING
@pytest.mark.parametrize("state", ["missing", "empty", "file", "other", "unfinished", "newer"])
def test_no_finished_run(refused: Refused, desk: Path, command: tuple[str, ...], state: str) -> None:
    run, sayings = desk / "kmeans", {"unfinished": "--resume", "newer": "format 99"}
    if state in sayings:
        edit(run, **{"status": "training"} if state == "unfinished" else {"format": 99})
    else:
        shutil.rmtree(run)
        if state == "file":
            run.write_text("x")
        elif state != "missing":
            run.mkdir()
        if state == "other":
            (run / "notes.txt").write_text("x")
    refused(*command, "--json", naming=("'kmeans'", sayings.get(state, "not a run folder")))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        *((name, b"") for name in ("run.json", "model.safetensors", "embedding.npy", "probabilities.npy")),
        *((name, None) for name in ("model.safetensors", "embedding.npy", "assignments.csv")),
        ("run.json", b"{"),
        ("run.json", b"[]"),
        ("run.json", b"\xff\xfe\x00"),
        ("run.json", b'{"format": 1, "status": "complete"}'),
        ("run.json", b'{"format": "2", "status": "complete"}'),
        ("run.json", b'{"format": null, "status": "complete"}'),
        ("model.safetensors", b"\x10\0\0\0\0\0\0\0{"),
        ("embedding.npy", b"\x93NUMPY\x01\0"),
        ("assignments.csv", b"id\0\xff\n\0\n"),
        ("metrics.csv", b"epoch,loss\n1,low\n"),
        ("metrics.csv", b"epoch,loss\n1\n"),
    ],
)
def test_damaged_run(refused: Refused, desk: Path, name: str, content: bytes | None) -> None:
    (desk / "simclr" / name).unlink()
    if content is not None:
        (desk / "simclr" / name).write_bytes(content)
    refused("predict", "simclr", "photos", "--out", "new.csv", "--json", naming="simclr")


@pytest.mark.parametrize(
    "changes", [{"data": {}}, {"params": None}, {"params": {"n_classes": "x"}}, {"training": None}], ids=str
)
def test_run_with_wrong_facts(refused: Refused, desk: Path, changes: dict[str, Any]) -> None:
    edit(desk / "kmeans", **changes)
    refused("predict", "kmeans", "photos", "--out", "new.csv", "--json", naming="kmeans")


def test_run_of_an_unknown_method_or_parameter(refused: Refused, desk: Path) -> None:
    edit(desk / "kmeans", method="alchemy")
    edit(desk / "simclr", params=read_run(desk / "simclr")["params"] | {"magic": 1})
    refused("predict", "kmeans", "photos", "--out", "new.csv", "--json", naming="'alchemy'")
    refused("predict", "simclr", "photos", "--out", "new.csv", "--json", naming="'magic'")


def test_weights_of_another_run(refused: Refused, desk: Path) -> None:
    shutil.copy(desk / "kmeans/model.safetensors", desk / "simclr/model.safetensors")
    reseal(desk / "simclr")
    refused("predict", "simclr", "photos", "--out", "new.csv", "--json", naming="simclr/model.safetensors")


@pytest.mark.parametrize(
    ("name", "content"), [("evaluation.json", "{"), ("evaluation.json", "[1]"), ("skipped.csv", "a\n1\n")]
)
def test_damaged_extras_of_a_report(refused: Refused, desk: Path, name: str, content: str) -> None:
    (desk / "kmeans" / name).write_text(content)
    refused("report", "kmeans", "--json", naming=name)


@pytest.fixture
def no_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail the test if it reads pictures, which can take minutes."""

    def load(*_: object, **__: object) -> None:
        raise AssertionError("the pictures were read before the output was checked")

    monkeypatch.setattr("selfsort.data.loading.load_images", load)


@pytest.mark.usefixtures("no_reading")
class TestBeforeThePicturesAreRead:
    """Errors that can be known at once are reported at once."""

    def test_fit_into_a_finished_run(self, refused: Refused) -> None:
        refused("fit", "photos", "--out", "kmeans", *KMEANS, "--json", naming=("'kmeans'", "finished"))

    def test_fit_into_an_unfinished_run(self, refused: Refused, desk: Path) -> None:
        edit(desk / "kmeans", status="training")
        refused("fit", "photos", "--out", "kmeans", *KMEANS, "--json", naming=("'kmeans'", "--resume"))

    @pytest.mark.parametrize("resume", [(), ("--resume",)])
    def test_fit_into_a_newer_run(self, refused: Refused, desk: Path, resume: tuple[str, ...]) -> None:
        edit(desk / "kmeans", format=99)
        refused("fit", "photos", "--out", "kmeans", *KMEANS, *resume, "--json", naming=("'kmeans'", "format 99"))

    @pytest.mark.parametrize("out", ["photos", "photos/00.png", ""])
    def test_fit_into_something_else(self, refused: Refused, out: str) -> None:
        refused("fit", "photos", "--out", out, *KMEANS, "--json", naming=repr(out or "."))

    def test_predict_into_an_unknown_format(self, refused: Refused) -> None:
        refused("predict", "kmeans", "photos", "--out", "x.txt", "--json", naming=("'x.txt'", ".csv", ".parquet"))

    def test_predict_into_a_folder(self, refused: Refused, desk: Path) -> None:
        (desk / "folder.csv").mkdir()
        refused("predict", "kmeans", "photos", "--out", "folder.csv", "--json", naming="'folder.csv'")

    @pytest.mark.parametrize("out", ["photos", "photos/00.png", "kmeans"])
    def test_sort_into_what_is_there(self, refused: Refused, out: str) -> None:
        for mode in ("--link", "--copy"):
            refused("sort", "kmeans", "photos", "--out", out, mode, "--json", naming=repr(out))


def test_links_to_an_array(refused: Refused, cli: Cli, desk: Path) -> None:
    np.save(desk / "array.npy", pictures(12))
    refused("sort", "kmeans", "array.npy", "--out", "new", "--link", "--json", naming=("array.npy", "--copy"))
    assert cli("sort", "kmeans", "array.npy", "--out", "new", "--copy").code == 0
    assert len(list((desk / "new").glob("*/*.png"))) == 12


def test_resume_of_a_finished_run(cli: Cli, desk: Path) -> None:
    before = snapshot(desk)
    answer = cli("fit", "photos", "--out", "kmeans", *KMEANS, "--resume")
    assert answer.code == 0 and "complete already" in answer.out
    assert snapshot(desk) == before


@pytest.mark.parametrize("resume", [(), ("--resume",)])
def test_run_open_in_another_process(refused: Refused, desk: Path, resume: tuple[str, ...]) -> None:
    edit(desk / "simclr", status="training")
    with FileLock(desk / "simclr/.lock"):
        answer = refused("fit", "photos", "--out", "simclr", *SIMCLR, *resume, "--json", naming="'simclr'")
    assert "another process" in answer.err


def test_resume_with_other_settings(refused: Refused, desk: Path) -> None:
    edit(desk / "simclr", status="training")
    arguments = ("fit", "photos", "--out", "simclr", *SIMCLR, "--resume", "--json")
    refused(*arguments, "--classes", "4", naming=("'simclr'", "n_classes (was 3, now 4)"))
    refused(*arguments, "--method", "self-classifier", naming=("'simclr'", "method"))
    (desk / "photos/00.png").unlink()
    refused(*arguments, naming=("'simclr'", "pictures"))


@pytest.mark.parametrize("damage", [b"", b"\x10\0\0\0\0\0\0\0{"])
def test_resume_from_a_damaged_checkpoint(refused: Refused, cli: Cli, desk: Path, damage: bytes) -> None:
    edit(desk / "simclr", "training", status="training")
    last = max((desk / "simclr/checkpoints").iterdir())
    last.write_bytes(damage)
    answer = cli("fit", "photos", "--out", "simclr", *SIMCLR, "--resume", "--json")
    assert answer.code == 1
    check_sentence(answer.err, (last.name, "delete it"))

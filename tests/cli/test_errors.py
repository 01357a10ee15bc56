"""What the command line answers to bad input and bad luck: one sentence, an exit code, and nothing half-written."""

import csv
import hashlib
import io
import json
import multiprocessing
import os
import re
import resource
import shutil
import signal
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from filelock import FileLock
from PIL import Image

from samples import pictures
from selfsort.__main__ import main
from selfsort.data import decoding

KMEANS = ("--method", "kmeans", "--classes", "3")
SIMCLR = (
    *("--method", "simclr", "--classes", "3", "--epochs", "1", "--batch-size", "8"),
    *("--precision", "32", "--views", "none:noise=0.05", "--device", "cpu"),
)
# A small net, so that many epochs and checkpoints take a moment.
LONG = (
    *("--method", "conv-autoencoder", "--classes", "3", "--epochs", "40", "--batch-size", "8"),
    *("--precision", "32", "--views", "none", "--device", "cpu", "--json"),
)

# Processes are forked from a server that has imported everything: a fresh start takes seconds.
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(
    ["pytest", "selfsort.__main__", "selfsort.methods.conv_autoencoder", "lightning.fabric", "torch.utils.tensorboard"]
)


class Answer(NamedTuple):
    code: int
    out: str
    err: str


Command = Callable[..., Answer]


@pytest.fixture
def selfsort(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run the command in this process."""

    def run(*arguments: object) -> Answer:
        monkeypatch.setattr(sys, "argv", ["selfsort", *map(str, arguments)])
        capsys.readouterr()
        code: Any = 0
        try:
            main()
        except SystemExit as stop:
            code = stop.code or 0
        return Answer(code, *capsys.readouterr())

    return run


@pytest.fixture
def refused(selfsort: Command, desk: Path, cache_folder: Path) -> Command:
    """Run a command that must fail with one sentence that contains `naming`, and leave everything as it was."""

    def run(*arguments: object, naming: str | tuple[str, ...]) -> Answer:
        before = snapshot(desk)
        answer = selfsort(*arguments)
        assert answer.code == 1
        check_sentence(answer.err, naming)
        assert snapshot(desk) == before
        assert not half_written(cache_folder)
        return answer

    return run


def check_sentence(text: str, naming: str | tuple[str, ...]) -> None:
    assert re.fullmatch(r"selfsort: [^\n]+[.?]\n", text), text
    assert not re.search(r"[.!?] [A-Z]", text.removeprefix("selfsort: ")), f"more than one sentence: {text}"
    assert not re.search(r"Traceback|Warning|Errno|\bNone\b", text)
    for name in (naming,) if isinstance(naming, str) else naming:
        assert name in text


def snapshot(folder: Path) -> dict[str, str]:
    """Describe everything below a folder, hidden files included."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            what = f"link to {os.readlink(path)}"
        elif path.is_file():
            what = hashlib.sha256(path.read_bytes()).hexdigest()
        else:
            what = "folder" if path.is_dir() else "special"
        found[str(path.relative_to(folder))] = what
    return found


def half_written(cache: Path) -> list[Path]:
    return [path for path in cache.rglob(".*") if path.is_dir()]


def save(folder: Path, n: int = 12, **options: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for index, pixels in enumerate(pictures(n, 16, **options)):
        Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(folder / f"{index:02d}.png")
    return folder


def save_classes(folder: Path, n: int = 6) -> Path:
    for index, pixels in enumerate(pictures(n, 16)):
        (folder / f"kind-{index % 3}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / f"kind-{index % 3}" / f"{index}.png")
    return folder


def read_csv(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8", errors="surrogateescape") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the finished runs `kmeans` and `simclr` of 12 pictures."""
    place = tmp_path_factory.mktemp("finished")
    source = save(place / "photos")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SELFSORT_CACHE", str(place / "cache"))
        for name, options in (("kmeans", KMEANS), ("simclr", SIMCLR)):
            patch.setattr(sys, "argv", ["selfsort", "fit", str(source), "--out", str(place / name), *options, "--json"])
            with suppress(SystemExit):
                main()
            assert json.loads((place / name / "run.json").read_text())["status"] == "complete"
    return place


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, finished: Path) -> Path:
    """The current folder, with 12 pictures in `photos` and the finished runs `kmeans` and `simclr`."""
    for name in ("photos", "kmeans", "simclr"):
        shutil.copytree(finished / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def png(width: int, height: int) -> bytes:
    """Return a black one-bit picture: a decompression bomb, where it is large."""
    packer = zlib.compressobj(9)
    rows = b"\0" * ((width + 7) // 8 + 1) * 100
    pixels = b"".join(packer.compress(rows) for _ in range(height // 100)) + packer.flush()

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def encoded(kind: str) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pictures(1, 64)[0]).save(stream, kind)
    return stream.getvalue()


UNREADABLE: dict[str, tuple[Callable[[], bytes], str]] = {
    "zero.png": (lambda: b"", "empty"),
    "short.png": (lambda: encoded("png")[:2000], "truncated"),
    "short.jpg": (lambda: encoded("jpeg")[:600], "truncated"),
    "letter.jpg": (lambda: b"Dear all, this is no picture.", "not a picture"),
    "huge.png": (lambda: png(20_000, 20_000), "too many pixels"),
    "bomb.png": (lambda: png(60_000, 60_000), "too many pixels"),
}


# Sources


def test_empty_folder(refused: Command, desk: Path) -> None:
    (desk / "empty").mkdir()
    refused("fit", "empty", "--out", "new", *KMEANS, "--json", naming="empty'")


@pytest.mark.parametrize("name", ["missing", "", "mising.npy", "x\0y"])
def test_missing_source(refused: Command, name: str) -> None:
    refused("fit", name, "--out", "new", *KMEANS, "--json", naming=repr(name))
    refused("predict", "kmeans", name, "--out", "new.csv", "--json", naming=repr(name))


def test_folder_without_pictures(refused: Command, desk: Path) -> None:
    (desk / "letters").mkdir()
    (desk / "letters/a.txt").write_text("Dear all")
    (desk / "letters/.hidden.png").write_bytes((desk / "photos/00.png").read_bytes())
    refused("fit", "letters", "--out", "new", *KMEANS, "--json", naming=("letters'", "not a picture"))


@pytest.mark.parametrize("name", UNREADABLE)
def test_unreadable_file_alone(refused: Command, desk: Path, name: str) -> None:
    content, reason = UNREADABLE[name]
    (desk / "one").mkdir()
    (desk / "one" / name).write_bytes(content())
    for command in (("fit", "one", "--out", "new", *KMEANS), ("predict", "kmeans", "one", "--out", "new.csv")):
        refused(*command, "--json", naming=("one'", reason))


def test_unreadable_files_among_good_ones(selfsort: Command, desk: Path) -> None:
    for name, (content, _) in UNREADABLE.items():
        (desk / "photos" / name).write_bytes(content())
    (desk / "photos/nowhere.png").symlink_to("gone.png")
    os.mkfifo(desk / "photos/pipe.png")
    answer = selfsort("fit", "photos", "--out", "new", *KMEANS)
    assert answer.code == 0
    assert "12 pictures" in answer.out and "8 files skipped" in answer.out and "too many pixels (2)" in answer.out
    skipped = {row["id"]: row["reason"] for row in read_csv(desk / "new/skipped.csv")}
    assert skipped.keys() == UNREADABLE.keys() | {"nowhere.png", "pipe.png"}
    assert all(skipped[name].startswith(reason) for name, (_, reason) in UNREADABLE.items())
    answer = selfsort("sort", "new", "photos", "--out", "sorted", "--json")
    assert len(json.loads(answer.out)["skipped"]) == 8
    assert len(list((desk / "sorted").glob("*/*.png"))) == 12


def test_single_file_is_no_source(refused: Command) -> None:
    refused("fit", "photos/00.png", "--out", "new", *KMEANS, "--json", naming="photos/00.png")


ARRAYS: dict[str, Callable[[], Any]] = {
    "flat": lambda: np.zeros((12, 16), np.uint8),
    "too-deep": lambda: np.zeros((1, 12, 16, 16, 3), np.uint8),
    "five-channels": lambda: np.zeros((12, 16, 16, 5), np.uint8),
    "no-pictures": lambda: np.zeros((0, 16, 16, 3), np.uint8),
    "int64": lambda: pictures(12).astype(np.int64),
    "complex": lambda: pictures(12).astype(np.complex64),
    "words": lambda: np.full((12, 16, 16), "a"),
    "objects": lambda: np.full((12, 16, 16), None),
    "nan": lambda: np.where(np.arange(12)[:, None, None, None] == 11, np.nan, pictures(12) / 255),
    "infinite": lambda: np.full((12, 16, 16), np.inf),
    "unscaled": lambda: pictures(12).astype(np.float32),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_bad_arrays(refused: Command, desk: Path, name: str) -> None:
    np.save(desk / "array.npy", ARRAYS[name](), allow_pickle=True)
    refused("fit", "array.npy", "--out", "new", *KMEANS, "--json", naming="array.npy")


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a.zip"])
@pytest.mark.parametrize("damage", ["empty", "half", "scrambled", "junk"])
def test_damaged_containers(refused: Command, desk: Path, name: str, damage: str) -> None:
    path = desk / name
    if name == "a.npy":
        np.save(path, pictures(12))
    elif name == "a.npz":
        np.savez_compressed(path, images=pictures(12))
    else:
        (desk / "b").mkdir()
        (desk / "b/a.png").write_bytes((desk / "photos/00.png").read_bytes())
        shutil.make_archive(str(desk / "a"), "zip", desk / "b")
    whole = path.read_bytes()
    middle = 90 if name != "a.npy" else 10
    scrambled = whole[:middle] + b"\xff" * 60 + whole[middle + 60 :]
    path.write_bytes({"empty": b"", "half": whole[: len(whole) // 2], "scrambled": scrambled, "junk": b"junk"}[damage])
    refused("fit", name, "--out", "new", *KMEANS, "--json", naming=name)


def test_labels_that_do_not_fit(refused: Command, desk: Path) -> None:
    np.savez(desk / "a.npz", images=pictures(12), labels=np.arange(3))
    refused("evaluate", "kmeans", "a.npz", "--json", naming=("'labels'", "a.npz", "12"))


@pytest.mark.parametrize(("name", "hint"), [("nope", "'nope'"), ("cifar", "did you mean 'cifar10'?")])
def test_unknown_data_set(refused: Command, name: str, hint: str) -> None:
    refused("fit", name, "--out", "new", *KMEANS, "--json", naming=hint)


def test_data_set_that_is_not_there(refused: Command) -> None:
    options = ("--data-root", "nowhere", "--out", "new", *KMEANS, "--json")
    refused("fit", "mnist", *options, naming=("'mnist'", "nowhere", "--download"))


# Settings


@pytest.mark.parametrize("classes", ["1", "0", "-3", "13"])
def test_class_counts(refused: Command, classes: str) -> None:
    for method in ("kmeans", "simclr"):
        options = ("--method", method, "--classes", classes, "--json")
        refused("fit", "photos", "--out", "new", *options, naming=(f"n_classes={classes}", "12"))


def test_one_picture(refused: Command, desk: Path) -> None:
    save(desk / "one", 1)
    refused("fit", "one", "--out", "new", *KMEANS, "--json", naming=("1 picture", "as many as classes"))


@pytest.mark.parametrize(
    ("options", "naming"),
    [
        (("--method", "simclrx"), "did you mean 'simclr'?"),
        (("--method", "nonsense"), "'nonsense'"),
        (("--set", "tempratur=1"), "did you mean 'temperature'?"),
        (("--set", "nonsense=1"), "'nonsense'"),
        (("--set", "temperature"), "--set 'temperature'"),
        (("--set", ""), "--set ''"),
        (("--set", "temperature="), "temperature="),
        (("--set", "temperature=hot"), "temperature=hot"),
        (("--set", "temperature=0"), "temperature=0"),
        (("--set", "learning_rate=nan"), "learning_rate=nan"),
        (("--set", "weight_decay=inf"), "weight_decay=inf"),
        (("--set", "optimizer=magic"), "optimizer=magic"),
        (("--set", "backbone=nonsense"), "'nonsense'"),
        (("--set", "projection_dim=0"), "projection_dim=0"),
        (("--set", "projection_dim=-1"), "projection_dim=-1"),
        (("--set", "cluster_space=moon"), "cluster_space=moon"),
        (("--method", "self-classifier", "--set", "head_classes=1"), "head_classes"),
        (("--views", "nonsense"), "'nonsense'"),
        (("--views", "none:nonsense=1"), "'nonsense'"),
        (("--views", "none:rotation=wide"), "rotation=wide"),
        (("--views", "none:rotation=inf"), "rotation"),
        (("--views", "natural:crop_scale=2..3"), "crop_scale"),
        (("--size", "0"), "size=0"),
        (("--size", "100000"), "size=100000"),
        (("--epochs", "0"), "epochs=0"),
        (("--batch-size", "1"), "batch_size=1"),
        (("--seed", "-1"), "random_state=-1"),
        (("--seed", "99999999999999999999"), "random_state=99999999999999999999"),
        (("--device", "abacus"), "device=abacus"),
        (("--precision", "8"), "precision=8"),
        (("--split", "nonsense"), "'nonsense'"),
        (("--fold", "3"), "fold=3"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_bad_settings(refused: Command, options: tuple[str, ...], naming: str) -> None:
    refused("fit", "photos", "--out", "new", *SIMCLR, *options, "--json", naming=naming)


@pytest.mark.parametrize("encoder", ["nonsense", "photos"])
def test_bad_encoder(refused: Command, encoder: str) -> None:
    options = ("--set", f"encoder={encoder}", "--json")
    refused("fit", "photos", "--out", "new", *KMEANS, *options, naming=repr(encoder))


def test_parameter_of_another_method(refused: Command) -> None:
    refused("fit", "photos", "--out", "new", *KMEANS, "--epochs", "3", "--json", naming=("'kmeans'", "'epochs'"))


@pytest.mark.parametrize("method", ["simclr", "self-classifier", "conv-autoencoder"])
def test_diverging_training(refused: Command, method: str) -> None:
    options = ("--method", method, "--set", "learning_rate=1e30", "--json")
    refused("fit", "photos", "--out", "new", *SIMCLR, *options, naming="learning_rate")


def test_all_pictures_alike(refused: Command, desk: Path) -> None:
    np.save(desk / "alike.npy", np.zeros((12, 16, 16), np.uint8))
    refused("fit", "alike.npy", "--out", "new", *KMEANS, "--json", naming="fewer than 3 different")


@pytest.mark.parametrize(
    ("arguments", "naming"),
    [
        (("fit",), "source"),
        (("fit", "photos"), "--out"),
        (("fit", "photos", "--out", "new", "--classes", "many"), "--classes"),
        (("fit", "photos", "--out", "new", "--size", "large"), "--size"),
        (("fit", "photos", "--out", "new", "--resize", "bend"), "--resize"),
        (("fit", "photos", "--out", "x\0y"), "--out"),
        (("evaluate", "kmeans", "photos", "--probe", "tree"), "--probe"),
        (("views", "photos", "--count", "0"), "--count"),
        (("nonsense",), "nonsense"),
        (("predict", "kmeans", "photos"), "--out"),
    ],
)
def test_wrong_usage(selfsort: Command, desk: Path, arguments: tuple[str, ...], naming: str) -> None:
    before = snapshot(desk)
    answer = selfsort(*arguments)
    assert answer.code == 2 and naming in answer.err and "Traceback" not in answer.err
    assert snapshot(desk) == before


@pytest.mark.parametrize("seed", ["-1", "99999999999999999999"])
def test_bad_seeds_of_other_commands(refused: Command, desk: Path, selfsort: Command, seed: str) -> None:
    save_classes(desk / "labelled")
    selfsort("views", "photos", "--out", "warm.png")  # now nothing draws a progress bar
    refused("evaluate", "kmeans", "labelled", "--probe", "linear", "--seed", seed, "--json", naming=seed)
    refused("views", "photos", "--out", "views.png", "--seed", seed, naming=seed)


def test_bad_views(refused: Command, selfsort: Command) -> None:
    selfsort("views", "photos", "--out", "warm.png")
    refused("views", "photos", "--views", "nonsense", "--out", "views.png", naming="'nonsense'")
    refused("views", "photos", "--out", "views.jpg", naming="views.jpg")
    refused("views", "photos", "--out", "photos", naming="photos")


# Run folders


def edit(run: Path, **changes: Any) -> None:
    facts = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(facts | changes))


READERS = [
    ("predict", "kmeans", "photos", "--out", "new.csv"),
    ("sort", "kmeans", "photos", "--out", "new"),
    ("evaluate", "kmeans", "photos"),
    ("report", "kmeans"),
]
READING = pytest.mark.parametrize("command", READERS, ids=lambda command: command[0])


@READING
@pytest.mark.parametrize("state", ["missing", "empty", "file", "other", "unfinished", "newer"])
def test_no_finished_run(refused: Command, desk: Path, command: tuple[str, ...], state: str) -> None:
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
def test_damaged_run(refused: Command, desk: Path, name: str, content: bytes | None) -> None:
    (desk / "simclr" / name).unlink()
    if content is not None:
        (desk / "simclr" / name).write_bytes(content)
    refused("predict", "simclr", "photos", "--out", "new.csv", "--json", naming="simclr")


@pytest.mark.parametrize(
    "changes", [{"data": {}}, {"params": None}, {"params": {"n_classes": "x"}}, {"training": None}], ids=str
)
def test_run_with_wrong_facts(refused: Command, desk: Path, changes: dict[str, Any]) -> None:
    edit(desk / "kmeans", **changes)
    refused("predict", "kmeans", "photos", "--out", "new.csv", "--json", naming="kmeans")


def test_run_of_an_unknown_method_or_parameter(refused: Command, desk: Path) -> None:
    edit(desk / "kmeans", method="alchemy")
    edit(desk / "simclr", params={"magic": 1})
    refused("predict", "kmeans", "photos", "--out", "new.csv", "--json", naming="'alchemy'")
    refused("predict", "simclr", "photos", "--out", "new.csv", "--json", naming="'magic'")


def test_weights_of_another_run(refused: Command, desk: Path) -> None:
    shutil.copy(desk / "kmeans/model.safetensors", desk / "simclr/model.safetensors")
    refused("predict", "simclr", "photos", "--out", "new.csv", "--json", naming="simclr/model.safetensors")


@pytest.mark.parametrize(
    ("name", "content"), [("evaluation.json", "{"), ("evaluation.json", "[1]"), ("skipped.csv", "a\n1\n")]
)
def test_damaged_extras_of_a_report(refused: Command, desk: Path, name: str, content: str) -> None:
    (desk / "kmeans" / name).write_text(content)
    refused("report", "kmeans", "--json", naming=name)


@pytest.fixture
def no_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the reading of pictures, which can take minutes, fail the test."""

    def load(*_: object, **__: object) -> None:
        raise AssertionError("the pictures were read before the output was checked")

    monkeypatch.setattr("selfsort.data.image_set.load_images", load)


@pytest.mark.usefixtures("no_reading")
class TestBeforeThePicturesAreRead:
    """What can be known at once is said at once."""

    def test_fit_into_a_finished_run(self, refused: Command) -> None:
        refused("fit", "photos", "--out", "kmeans", *KMEANS, "--json", naming=("'kmeans'", "finished"))

    def test_fit_into_an_unfinished_run(self, refused: Command, desk: Path) -> None:
        edit(desk / "kmeans", status="training")
        refused("fit", "photos", "--out", "kmeans", *KMEANS, "--json", naming=("'kmeans'", "--resume"))

    @pytest.mark.parametrize("resume", [(), ("--resume",)])
    def test_fit_into_a_newer_run(self, refused: Command, desk: Path, resume: tuple[str, ...]) -> None:
        edit(desk / "kmeans", format=99)
        refused("fit", "photos", "--out", "kmeans", *KMEANS, *resume, "--json", naming=("'kmeans'", "format 99"))

    @pytest.mark.parametrize("out", ["photos", "photos/00.png", ""])
    def test_fit_into_something_else(self, refused: Command, out: str) -> None:
        refused("fit", "photos", "--out", out, *KMEANS, "--json", naming=repr(out or "."))

    def test_predict_into_an_unknown_format(self, refused: Command) -> None:
        refused("predict", "kmeans", "photos", "--out", "x.txt", "--json", naming=("'x.txt'", ".csv", ".parquet"))

    def test_predict_into_a_folder(self, refused: Command, desk: Path) -> None:
        (desk / "folder.csv").mkdir()
        refused("predict", "kmeans", "photos", "--out", "folder.csv", "--json", naming="'folder.csv'")

    @pytest.mark.parametrize("out", ["photos", "photos/00.png", "kmeans"])
    def test_sort_into_what_is_there(self, refused: Command, out: str) -> None:
        for mode in ("--link", "--copy"):
            refused("sort", "kmeans", "photos", "--out", out, mode, "--json", naming=repr(out))


def test_links_to_an_array(refused: Command, selfsort: Command, desk: Path) -> None:
    np.save(desk / "array.npy", pictures(12))
    refused("sort", "kmeans", "array.npy", "--out", "new", "--link", "--json", naming=("array.npy", "--copy"))
    assert selfsort("sort", "kmeans", "array.npy", "--out", "new", "--copy").code == 0
    assert len(list((desk / "new").glob("*/*.png"))) == 12


def test_resume_of_a_finished_run(selfsort: Command, desk: Path) -> None:
    before = snapshot(desk)
    answer = selfsort("fit", "photos", "--out", "kmeans", *KMEANS, "--resume")
    assert answer.code == 0 and "complete already" in answer.out
    assert snapshot(desk) == before


@pytest.mark.parametrize("resume", [(), ("--resume",)])
def test_run_open_in_another_process(refused: Command, desk: Path, resume: tuple[str, ...]) -> None:
    edit(desk / "simclr", status="training")
    with FileLock(desk / "simclr/.lock"):
        answer = refused("fit", "photos", "--out", "simclr", *SIMCLR, *resume, "--json", naming="'simclr'")
    assert "another process" in answer.err


def test_resume_with_other_settings(refused: Command, desk: Path) -> None:
    edit(desk / "simclr", status="training")
    arguments = ("fit", "photos", "--out", "simclr", *SIMCLR, "--resume", "--json")
    refused(*arguments, "--classes", "4", naming=("'simclr'", "n_classes (3 then, 4 now)"))
    refused(*arguments, "--method", "self-classifier", naming=("'simclr'", "method"))
    (desk / "photos/00.png").unlink()
    refused(*arguments, naming=("'simclr'", "pictures"))


@pytest.mark.parametrize("damage", [b"", b"\x10\0\0\0\0\0\0\0{"])
def test_resume_from_a_damaged_checkpoint(refused: Command, selfsort: Command, desk: Path, damage: bytes) -> None:
    edit(desk / "simclr", status="training")
    facts = json.loads((desk / "simclr/run.json").read_text())
    facts.pop("training")
    (desk / "simclr/run.json").write_text(json.dumps(facts))
    last = max((desk / "simclr/checkpoints").iterdir())
    last.write_bytes(damage)
    answer = selfsort("fit", "photos", "--out", "simclr", *SIMCLR, "--resume", "--json")
    assert answer.code == 1
    check_sentence(answer.err, (last.name, "delete it"))


# Outputs


def test_output_in_a_folder_that_does_not_exist(selfsort: Command, desk: Path) -> None:
    assert selfsort("predict", "kmeans", "photos", "--out", "a/b/new.csv").code == 0
    assert [row["id"] for row in read_csv(desk / "a/b/new.csv")] == sorted(os.listdir(desk / "photos"))


@pytest.mark.parametrize("table", ["new.csv", "new.parquet"])
def test_output_below_a_file(refused: Command, table: str) -> None:
    place = "photos/00.png"
    refused("fit", "photos", "--out", f"{place}/run", *KMEANS, "--json", naming=place)
    refused("predict", "kmeans", "photos", "--out", f"{place}/{table}", "--json", naming=place)
    refused("sort", "kmeans", "photos", "--out", f"{place}/sorted", "--json", naming=place)
    refused("report", "kmeans", "--out", f"{place}/report.html", "--json", naming=place)


def test_name_too_long(refused: Command) -> None:
    name = "n" * 300
    refused("fit", "photos", "--out", name, *KMEANS, "--json", naming=name)
    refused("predict", "kmeans", "photos", "--out", f"{name}.csv", "--json", naming=f"'{name}.csv'")
    refused("fit", name, "--out", "new", *KMEANS, "--json", naming=name)


@pytest.fixture
def read_only(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder in which nothing can be written, by root neither."""
    place = tmp_path_factory.mktemp("read-only")
    if os.geteuid():
        place.chmod(0o500)
        yield place
        place.chmod(0o700)
    elif subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", place], capture_output=True).returncode == 0:
        yield place
        subprocess.run(["umount", place], check=True)
    elif Path("/proc/self").exists():
        yield Path("/proc")
    else:
        pytest.skip("root can write everywhere here")


def test_read_only_output(refused: Command, read_only: Path) -> None:
    for out in (read_only / "new", read_only / "a/b/new"):
        for options in (KMEANS, SIMCLR):
            refused("fit", "photos", "--out", out, *options, "--json", naming=str(out))
        for command in ("predict", "sort", "report"):
            target = out.with_suffix({"predict": ".csv", "sort": "", "report": ".html"}[command])
            source = [] if command == "report" else ["photos"]
            refused(command, "kmeans", *source, "--out", target, "--json", naming=str(target))


def test_read_only_run_folder(refused: Command, selfsort: Command, desk: Path) -> None:
    # A folder in the way of the file: what root, too, cannot write.
    for name in ("evaluation.json", "report.html"):
        (desk / "kmeans" / name).mkdir()
        (desk / "kmeans" / name / "x").write_text("x")
    selfsort("evaluate", "simclr", "photos", "--json")
    refused("evaluate", "kmeans", "photos", "--json", naming="kmeans/evaluation.json")
    (desk / "kmeans/evaluation.json/x").unlink()
    (desk / "kmeans/evaluation.json").rmdir()
    refused("report", "kmeans", "--json", naming="kmeans/report.html")


@pytest.mark.parametrize("place", ["read-only", "file", "below a file"])
def test_cache_that_cannot_be_written(
    selfsort: Command, desk: Path, read_only: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    file = desk / "photos/00.png"
    folder = {"read-only": read_only / "cache", "file": file, "below a file": file / "cache"}[place]
    monkeypatch.setenv("SELFSORT_CACHE", str(folder))
    answer = selfsort("fit", "photos", "--out", "new", *KMEANS, "--json")
    assert (answer.code, answer.err) == (0, "")
    assert selfsort("cache", "--clear", "--json").code == 0


# Labels and reports


def test_evaluation_without_labels(selfsort: Command, refused: Command, desk: Path) -> None:
    answer = selfsort("evaluate", "kmeans", "photos", "--json")
    found = json.loads(answer.out)
    assert answer.code == 0 and found["clustering"] is None and found["silhouette"] > 0
    assert "no labels" in selfsort("evaluate", "kmeans", "photos").out
    for probe in ("linear", "svm", "knn", "centroid"):
        refused("evaluate", "kmeans", "photos", "--probe", probe, "--json", naming=("labels", "one folder per class"))


def test_probes_that_cannot_be_trained(refused: Command, desk: Path) -> None:
    save(desk / "one-class/only", 4)
    save(desk / "lonely/first", 4)
    save(desk / "lonely/second", 1)
    save_classes(desk / "labelled")
    refused("evaluate", "kmeans", "one-class", "--probe", "linear", "--json", naming="two classes")
    refused("evaluate", "kmeans", "lonely", "--probe", "knn", "--json", naming=("lass", "one labelled image"))
    other = ("--probe", "svm", "--probe-train", "one-class", "--json")
    refused("evaluate", "kmeans", "labelled", *other, naming="'only'")


def test_probe_training_pictures_without_a_probe(refused: Command, desk: Path) -> None:
    save_classes(desk / "labelled")
    refused("evaluate", "kmeans", "labelled", "--probe-train", "labelled", "--json", naming="--probe")
    refused("evaluate", "kmeans", "labelled", "--probe", "svm", "--folds", "5", "--json", naming="--folds needs")
    many = ("--probe", "svm", "--probe-train", "labelled", "--folds", "500", "--json")
    refused("evaluate", "kmeans", "labelled", *many, naming="fewer than the 500 folds")


def test_report_of_pictures_that_moved(refused: Command, selfsort: Command, desk: Path) -> None:
    assert selfsort("fit", "photos", "--out", "new", *KMEANS, "--json").code == 0
    (desk / "photos").rename(desk / "elsewhere")
    refused("report", "new", "--json", naming=(str(desk / "photos"), "--images"))
    assert selfsort("report", "new", "--images", "elsewhere", "--json").code == 0


def test_report_of_an_array_that_moved(selfsort: Command, desk: Path) -> None:
    np.save(desk / "array.npy", pictures(12))
    assert selfsort("fit", "array.npy", "--out", "new", *KMEANS, "--json").code == 0
    (desk / "array.npy").rename(desk / "renamed.npy")
    assert selfsort("report", "new", "--images", "renamed.npy", "--json").code == 0


@pytest.mark.parametrize("change", ["gone", "changed", "added"])
def test_report_of_pictures_that_changed(refused: Command, selfsort: Command, desk: Path, change: str) -> None:
    assert selfsort("fit", "photos", "--out", "new", *KMEANS, "--json").code == 0
    if change == "gone":
        (desk / "photos/00.png").unlink()
    else:
        name = "00.png" if change == "changed" else "99.png"
        Image.new("RGB", (16, 16), "red").save(desk / "photos" / name)
    refused("report", "new", "--json", naming=("pictures have changed", "--images"))


# What is unusual but good


def whole_job(selfsort: Command, source: str, run: str, desk: Path, count: int) -> None:
    for command in (
        ("predict", run, source, "--out", f"{run}.csv"),
        ("predict", run, source, "--out", f"{run}.parquet"),
        ("sort", run, source, "--out", f"{run}-links"),
        ("sort", run, source, "--out", f"{run}-copies", "--copy"),
        ("evaluate", run, source),
        ("report", run),
    ):
        answer = selfsort(*command)
        assert answer.code == 0, answer.err
    assert len(read_csv(desk / f"{run}.csv")) == count
    for folder in ("links", "copies"):
        assert len([path for path in (desk / f"{run}-{folder}").glob("*/*") if path.is_file()]) == count
    assert (desk / run / "report.html").stat().st_size > 10_000


@pytest.mark.parametrize("options", [KMEANS, SIMCLR], ids=["kmeans", "simclr"])
def test_three_classes_of_two_pictures(selfsort: Command, desk: Path, options: tuple[str, ...]) -> None:
    save_classes(desk / "six")
    answer = selfsort("fit", "six", "--out", "new", *options, "--json")
    assert answer.code == 0 and sum(json.loads(answer.out)["clusters"]) == 6
    whole_job(selfsort, "six", "new", desk, 6)
    for probe in ("linear", "svm", "knn", "centroid"):
        answer = selfsort("evaluate", "new", "six", "--probe", probe, "--json")
        found = json.loads(answer.out)["probe"]
        assert [row["name"] for row in found["per_class"]] == ["kind-0", "kind-1", "kind-2"]


def test_pictures_of_every_mode_in_one_folder(selfsort: Command, desk: Path) -> None:
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
    answer = selfsort("fit", "mixed", "--out", "new", *KMEANS, "--json")
    assert answer.code == 0 and json.loads(answer.out)["pictures"] == 13 and not json.loads(answer.out)["skipped"]
    whole_job(selfsort, "mixed", "new", desk, 13)


NAMES = ["a b.png", "🌹.png", "new\nline.png", "-dash.png", "quote\"'.png", "<b>&amp;.png", "[red]x.png", "=1+1.png"]


def test_odd_names(selfsort: Command, desk: Path) -> None:
    odd = desk / "odd 🦊\nfolder"
    odd.mkdir()
    for name, pixels in zip(NAMES, pictures(len(NAMES), 16), strict=True):
        Image.fromarray(pixels).save(odd / name)
    answer = selfsort("fit", odd, "--out", "new 🦊\nrun", *KMEANS, "--json")
    assert answer.code == 0 and json.loads(answer.out)["run"] == "new 🦊\nrun"
    whole_job(selfsort, str(odd), "new 🦊\nrun", desk, len(NAMES))
    assert sorted(row["id"] for row in read_csv(desk / "new 🦊\nrun.csv")) == sorted(NAMES)
    assert sorted(path.name for path in (desk / "new 🦊\nrun-copies").glob("*/*")) == sorted(NAMES)
    page = (desk / "new 🦊\nrun/report.html").read_text(encoding="utf-8")
    assert "<b>&amp;.png" not in page and "new\\nline.png" in page


@pytest.mark.skipif(sys.platform == "darwin", reason="its file system takes UTF-8 names only")
def test_names_that_are_not_utf8(selfsort: Command, desk: Path) -> None:
    odd = desk / os.fsdecode(b"odd \xff")
    save(odd)
    (odd / "00.png").rename(odd / os.fsdecode(b"zero \xff.png"))
    run = os.fsdecode(b"run \xff")
    answer = selfsort("fit", odd, "--out", run, *KMEANS)
    assert answer.code == 0, answer.err
    whole_job(selfsort, str(odd), run, desk, 12)


def test_class_names_are_no_markup(selfsort: Command, desk: Path) -> None:
    save(desk / "labelled/[red]rose", 4)
    save(desk / "labelled/tulip", 4)
    answer = selfsort("evaluate", "kmeans", "labelled")
    assert answer.code == 0 and "[red]rose" in answer.out


# Several processes, and the end of one


def _run(folder: str, cache: str, arguments: tuple[str, ...], log: str, limit: int | None, stall: bool) -> None:
    """Run the command in a forked process; `limit` bounds the bytes of any file, `stall` stops decoding for ever."""
    for number in (1, 2):
        os.dup2(os.open(f"{log}.{number}", os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    sys.stdout, sys.stderr = (open(number, "w", buffering=1, closefd=False) for number in (1, 2))
    torch.set_num_threads(1)  # several such processes would wait for one another's threads
    os.chdir(folder)
    os.environ["SELFSORT_CACHE"] = cache
    if limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    if stall:
        decoding.decode_chunk = lambda *_: time.sleep(60)  # type: ignore[assignment]
    sys.argv = ["selfsort", *arguments]
    main()


class Running:
    """A command in a process of its own."""

    def __init__(self, log: Path, arguments: tuple[object, ...], limit: int | None = None, stall: bool = False):
        self.log = log
        place = (os.getcwd(), os.environ["SELFSORT_CACHE"])
        self.process = SERVER.Process(target=_run, args=(*place, tuple(map(str, arguments)), str(log), limit, stall))
        self.process.start()

    def when(self, happened: Callable[[], object], then: signal.Signals) -> Answer:
        """Send a signal as soon as something has happened."""
        until = time.monotonic() + 60
        while not happened():
            assert self.process.is_alive() and time.monotonic() < until, f"{self.log}.2"
            time.sleep(0.002)
        assert self.process.pid is not None
        os.kill(self.process.pid, then)
        return self.end()

    def end(self) -> Answer:
        self.process.join(60)
        if self.process.exitcode is None:
            self.process.kill()
            pytest.fail("the command did not end")
        out, err = (Path(f"{self.log}.{number}").read_text(encoding="utf-8") for number in (1, 2))
        return Answer(self.process.exitcode, out, err)


@pytest.fixture
def start(tmp_path_factory: pytest.TempPathFactory, desk: Path) -> Iterator[Callable[..., Running]]:
    """Start the command in another process."""
    logs, started = tmp_path_factory.mktemp("logs"), list[Running]()

    def begin(*arguments: object, **options: Any) -> Running:
        started.append(Running(logs / f"log{len(started)}", arguments, **options))
        return started[-1]

    yield begin
    for running in started:
        running.process.kill()
        running.process.join()
        running.process.close()


@pytest.mark.parametrize(
    ("command", "limit", "naming"),
    [
        (("fit", "photos", "--out", "new", *KMEANS), 2_000, "new/"),
        (("fit", "photos", "--out", "a/b/new", *KMEANS), 2_000, "new/"),
        (("fit", "photos", "--out", "new", *SIMCLR), 50_000, "new/checkpoints"),
        (("predict", "kmeans", "photos", "--out", "new.csv"), 400, "new.csv"),
        (("predict", "kmeans", "photos", "--out", "new.parquet"), 400, "new.parquet"),
        (("sort", "kmeans", "photos", "--out", "new", "--copy"), 300, "new"),
        (("evaluate", "kmeans", "labelled"), 400, "kmeans/evaluation.json"),
        (("report", "kmeans", "--images", "photos"), 5_000, "kmeans/report.html"),
    ],
    ids=lambda value: " ".join(value[:4]) if isinstance(value, tuple) else None,
)
def test_full_output(
    selfsort: Command, start: Any, desk: Path, command: tuple[str, ...], limit: int, naming: str
) -> None:
    selfsort("predict", "kmeans", "photos", "--out", "warm.csv")
    selfsort("evaluate", "simclr", save_classes(desk / "labelled"))
    selfsort("fit", "photos", "--out", "warm", *KMEANS)  # now all that is needed is in the cache
    before = snapshot(desk)
    answer = start(*command, "--json", limit=limit).end()
    assert answer.code == 1
    check_sentence(answer.err, (naming, "larger than this system allows"))
    assert snapshot(desk) == before


def test_full_cache(start: Any, desk: Path, cache_folder: Path) -> None:
    before = snapshot(desk)
    answer = start("fit", "photos", "--out", "new", *KMEANS, "--json", limit=1_000).end()
    assert answer.code == 1
    check_sentence(answer.err, (str(cache_folder), "full"))
    assert snapshot(desk) == before and not half_written(cache_folder)
    assert not [path for path in cache_folder.rglob("*") if path.is_file() and path.stat().st_size]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
@pytest.mark.parametrize("size", ["8k", "24k", "400k"])
def test_full_disk(selfsort: Command, desk: Path, tmp_path_factory: pytest.TempPathFactory, size: str) -> None:
    disk = tmp_path_factory.mktemp("disk")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("no disk can be mounted here")
    try:
        answer = selfsort("fit", "photos", "--out", disk / "a/new", *SIMCLR, "--json")
        assert answer.code == 1
        check_sentence(answer.err, (str(disk), "full"))
        assert not list(disk.iterdir())
    finally:
        subprocess.run(["umount", disk], check=True)


def test_interrupt_and_kill_in_the_middle_of_training(start: Any, selfsort: Command, desk: Path) -> None:
    """Both runs go on to the same weights as one that nobody stopped."""
    whole = start("fit", "photos", "--out", "whole", *LONG)
    killed = start("fit", "photos", "--out", "killed", *LONG).when(
        lambda: list(Path("killed").glob("checkpoints/step-*")), signal.SIGKILL
    )
    assert killed.code == -signal.SIGKILL
    stopped = start("fit", "photos", "--out", "stopped", *LONG).when(
        lambda: list(Path("stopped").glob("checkpoints/step-*")), signal.SIGINT
    )
    assert stopped.code == 130
    check_sentence(stopped.err, "--resume")
    assert whole.end().code == 0
    weights = (desk / "whole/model.safetensors").read_bytes()
    for name in ("killed", "stopped"):
        answer = selfsort("predict", name, "photos", "--out", "new.csv", "--json")
        assert answer.code == 1 and "unfinished" in answer.err
        answer = start("fit", "photos", "--out", name, *LONG, "--resume").end()
        assert (answer.code, answer.err) == (0, "")
        assert (desk / name / "model.safetensors").read_bytes() == weights
        assert len(read_csv(desk / name / "metrics.csv")) == 40
        assert not [path for path in (desk / name).rglob("*partial*")]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=["interrupt", "kill"])
def test_stopped_while_pictures_are_read(
    start: Any, selfsort: Command, desk: Path, cache_folder: Path, how: signal.Signals
) -> None:
    arguments = ("fit", "photos", "--out", "new", *KMEANS, "--json")
    before = snapshot(desk)
    answer = start(*arguments, stall=True).when(lambda: list(cache_folder.glob("*/.*/pixels")), how)
    assert snapshot(desk) == before
    if how == signal.SIGINT:
        assert answer.code == 130
        assert not half_written(cache_folder)
        check_sentence(answer.err, "Stopped")
    assert selfsort(*arguments, "--resume").code == 0
    assert not half_written(cache_folder)


def test_same_command_twice_at_once(start: Any, selfsort: Command, desk: Path) -> None:
    both = [start("fit", "photos", "--out", "new", *LONG) for _ in range(2)]
    won, lost = sorted(running.end() for running in both)
    assert (won.code, lost.code) == (0, 1)
    check_sentence(lost.err, "'new'")
    assert selfsort("predict", "new", "photos", "--out", "new.csv", "--json").code == 0


def test_same_pictures_twice_at_once(start: Any, desk: Path, cache_folder: Path) -> None:
    both = [start("fit", "photos", "--out", out, *SIMCLR, "--json") for out in ("first", "second")]
    assert [running.end().code for running in both] == [0, 0]
    first, second = ((desk / out / "model.safetensors").read_bytes() for out in ("first", "second"))
    assert first == second
    assert len(list(cache_folder.glob("*/*/pixels"))) == 1 and not half_written(cache_folder)

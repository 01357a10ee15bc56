"""How the command line responds to unreadable pictures: with one sentence, leaving nothing half-written."""

import inspect
import io
import json
import os
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.models import CommandInfo

from commands import Cli
from refusals import KMEANS, Refused, read_csv
from samples import pictures, quick
from selfsort.cli.app import app
from selfsort.cli.inputs import training_images
from selfsort.data.loading import load_images


def png(width: int, height: int) -> bytes:
    """Return a black one-bit picture, which is a decompression bomb if it is large."""
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


def test_empty_folder(refused: Refused, desk: Path) -> None:
    (desk / "empty").mkdir()
    refused("fit", "empty", "--out", "new", *KMEANS, "--json", naming="empty'")


@pytest.mark.parametrize("name", ["missing", "", "mising.npy", "x\0y"])
def test_missing_source(refused: Refused, name: str) -> None:
    refused("fit", name, "--out", "new", *KMEANS, "--json", naming=repr(name))
    refused("predict", "kmeans", name, "--out", "new.csv", "--json", naming=repr(name))


def test_folder_without_pictures(refused: Refused, desk: Path) -> None:
    (desk / "letters").mkdir()
    (desk / "letters/a.txt").write_text("Dear all")
    (desk / "letters/.hidden.png").write_bytes((desk / "photos/00.png").read_bytes())
    refused("fit", "letters", "--out", "new", *KMEANS, "--json", naming=("letters'", "not a picture"))


@pytest.mark.parametrize("name", UNREADABLE)
def test_unreadable_file_alone(refused: Refused, desk: Path, name: str) -> None:
    content, reason = UNREADABLE[name]
    (desk / "one").mkdir()
    (desk / "one" / name).write_bytes(content())
    for command in (("fit", "one", "--out", "new", *KMEANS), ("predict", "kmeans", "one", "--out", "new.csv")):
        refused(*command, "--json", naming=("one'", reason))


def test_unreadable_files_among_good_ones(cli: Cli, desk: Path) -> None:
    for name, (content, _) in UNREADABLE.items():
        (desk / "photos" / name).write_bytes(content())
    (desk / "photos/nowhere.png").symlink_to("gone.png")
    os.mkfifo(desk / "photos/pipe.png")
    answer = cli("fit", "photos", "--out", "new", *KMEANS)
    assert answer.code == 0
    assert "12 pictures" in answer.out and "8 files skipped" in answer.out and "too many pixels (2)" in answer.out
    skipped = {row["id"]: row["reason"] for row in read_csv(desk / "new/skipped.csv")}
    assert skipped.keys() == UNREADABLE.keys() | {"nowhere.png", "pipe.png"}
    assert all(skipped[name].startswith(reason) for name, (_, reason) in UNREADABLE.items())
    answer = cli("sort", "new", "photos", "--out", "sorted", "--json")
    assert len(json.loads(answer.out)["skipped"]) == 8
    assert len(list((desk / "sorted").glob("*/*.png"))) == 12


def test_single_file_is_not_a_source(refused: Refused) -> None:
    refused("fit", "photos/00.png", "--out", "new", *KMEANS, "--json", naming="photos/00.png")


ARRAYS: dict[str, Callable[[], Any]] = {
    "flat": lambda: np.zeros((12, 16), np.uint8),
    "too-deep": lambda: np.zeros((1, 12, 16, 16, 3), np.uint8),
    "five-channels": lambda: np.zeros((12, 16, 16, 5), np.uint8),
    "no-pictures": lambda: np.zeros((0, 16, 16, 3), np.uint8),
    "complex": lambda: pictures(12).astype(np.complex64),
    "words": lambda: np.full((12, 16, 16), "a"),
    "objects": lambda: np.full((12, 16, 16), None),
    "nan": lambda: np.where(np.arange(12)[:, None, None, None] == 11, np.nan, pictures(12) / 255),
    "infinite": lambda: np.full((12, 16, 16), np.inf),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_bad_arrays(refused: Refused, desk: Path, name: str) -> None:
    np.save(desk / "array.npy", ARRAYS[name](), allow_pickle=True)
    refused("fit", "array.npy", "--out", "new", *KMEANS, "--json", naming="array.npy")


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a.zip"])
@pytest.mark.parametrize("damage", ["empty", "half", "scrambled", "junk"])
def test_damaged_containers(refused: Refused, desk: Path, name: str, damage: str) -> None:
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


def test_labels_that_do_not_fit(refused: Refused, desk: Path) -> None:
    np.savez(desk / "a.npz", images=pictures(12), labels=np.arange(3))
    refused("evaluate", "kmeans", "a.npz", "--json", naming=("'labels'", "a.npz", "12"))


@pytest.mark.parametrize(("name", "hint"), [("nope", "'nope'"), ("cifar", "did you mean 'cifar10'?")])
def test_unknown_data_set(refused: Refused, name: str, hint: str) -> None:
    refused("fit", name, "--out", "new", *KMEANS, "--json", naming=hint)


def test_missing_data_set(refused: Refused) -> None:
    options = ("--data-root", "nowhere", "--out", "new", *KMEANS, "--json")
    refused("fit", "mnist", *options, naming=("'mnist'", "nowhere", "--download"))


def test_every_command_that_loads_pictures_writes_an_account_of_them(cli: Cli, desk: Path) -> None:
    for index in range(12):
        (desk / "labelled" / f"kind-{index % 3}").mkdir(parents=True, exist_ok=True)
        shutil.copy(desk / "photos" / f"{index:02d}.png", desk / "labelled" / f"kind-{index % 3}")
    (desk / "photos" / "notes.txt").write_text("no picture")
    (desk / "photos" / "@eaDir").mkdir()
    run = ("kmeans", "--images", "photos")
    commands = {
        "views": ("views", "photos", "--count", "2"),
        "fit": ("fit", "photos", "--out", "run", *KMEANS),
        "predict": ("predict", "kmeans", "photos", "--out", "p.csv"),
        "sort": ("sort", "kmeans", "photos", "--out", "sorted"),
        "evaluate": ("evaluate", "kmeans", "photos"),
        "report": ("report", *run, "--map", "pca"),
        "label": ("label", *run, "--simulate", "labelled", "--groups", "3"),
        "refine": ("refine", *run, "--epochs", "1"),
        "certify": ("certify", *run, "--simulate", "labelled", "--budget", "5"),
        "embed": ("embed", "photos", "--out", "features"),
        "sample": ("sample", "photos", "--out", "few", "--pictures", "5", "--backbone", "efficientnet-lite0"),
    }
    with_account = {each.callback.__name__ for each in app.registered_commands if takes(each, "account")}
    assert set(commands) == with_account - {"compare"}, "compare is tested with its other options"
    loading = {each.callback.__name__ for each in app.registered_commands if takes(each, "source", "images")}
    # An audit writes an account anyway, experiments are made on data sets, and the others load pictures only if they
    # have to show or copy them.
    assert loading - with_account == {"audit", "search_augmentations", "export", "import_", "review", "suspects"}
    for name, words in commands.items():
        answer = cli(*words, "--account", f"{name}.csv")
        assert answer.code == 0 and f"Wrote {name}.csv" in answer.out, answer.err
        assert "1 file skipped: not a picture (1); 1 file passed over: of another program (1)" in answer.out
        rows = {row["id"]: row["outcome"] for row in read_csv(desk / f"{name}.csv")}
        assert rows.pop("notes.txt") == rows.pop("@eaDir") == "left out" and set(rows.values()) == {"used"}
        assert len(rows) == 12


def takes(command: CommandInfo, *parameters: str) -> bool:
    assert command.callback is not None
    return not set(parameters).isdisjoint(inspect.signature(command.callback).parameters)


def test_an_account_must_be_a_table(refused: Refused) -> None:
    for name in ("account.txt", "photos"):
        refused("predict", "kmeans", "photos", "--out", "p.csv", "--account", name, naming=f"--account '{name}'")
        refused("refine", "kmeans", "--account", name, naming=f"--account '{name}'")


@pytest.mark.parametrize("trained_on", ["pixels", "files"])
def test_the_account_of_a_run_says_what_was_changed_in_files_that_need_not_be_decoded(
    desk: Path, capsys: pytest.CaptureFixture[str], trained_on: str
) -> None:
    deep = np.linspace(400, 3000, 16 * 16, dtype=np.uint16).reshape(16, 16)
    Image.fromarray(deep).save(desk / "photos" / "deep.png")
    (desk / "photos" / "torn.png").write_bytes(encoded("png")[:2000])
    images = load_images("photos", size=16)
    run = quick("kmeans").fit(images, run_dir=desk / "run").run_
    if trained_on == "files":  # as pre-trained features are
        run["data"]["fingerprint"] = images.content_fingerprint()
    training_images(desk / "run", run, None, False, decoded=False, account=Path("account.csv"))
    assert "1 file skipped: truncated (1); 1 file changed: converted to 8 bits (1)" in capsys.readouterr().out
    rows = {row["id"]: (row["outcome"], row["details"]) for row in read_csv(desk / "account.csv")}
    assert rows["deep.png"] == ("changed", "converted to 8 bits (uint16)") and rows["00.png"] == ("used", "")
    assert rows["torn.png"] == ("left out", "truncated") and len(rows) == 14

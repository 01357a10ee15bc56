"""A workplace: pictures in class folders, and their run, which was named, refined, certified and evaluated."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from fuzz.child import command, run
from selfsort import runs
from selfsort.labelling import label_space
from selfsort.runs import RunFolder

FIT = (
    *("--method", "simclr", "--classes", "3", "--epochs", "2", "--batch-size", "16"),
    *("--precision", "32", "--views", "none:noise=0.05", "--device", "cpu"),
)
N_PICTURES = 36


@dataclass(frozen=True)
class Desk:
    """The folders of the pictures, the run, and the trials."""

    place: Path

    @property
    def pictures(self) -> Path:
        """Class folders with 36 pictures of three kinds."""
        return self.place / "photos"

    @property
    def run(self) -> Path:
        """The original run."""
        return self.place / "run"

    @property
    def room(self) -> Path:
        """A folder that is emptied before each trial."""
        return self.place / "room"

    def cleared(self) -> Path:
        """Empty the room and return it."""
        shutil.rmtree(self.room, ignore_errors=True)
        self.room.mkdir(exist_ok=True)
        return self.room

    def copy(self) -> Path:
        """Return a copy of the run in the emptied room."""
        return Path(shutil.copytree(self.run, self.cleared() / "run", dirs_exist_ok=True))


def make(place: Path) -> Desk:
    """Set up a desk in an empty folder."""
    desk = Desk(place)
    save_pictures(desk.pictures, N_PICTURES)
    done(desk, "fit", desk.pictures, "--out", desk.run, *FIT)
    embedding = runs.map_array(RunFolder(desk.run).embedding)
    # Otherwise a separate process would look for better ones for half a minute.
    label_space.keep(desk.run, label_space.stamp_of(embedding), np.array(embedding))
    done(desk, "label", desk.run, "--simulate", desk.pictures, "--groups", 6, "--answers", 8)
    done(desk, "refine", desk.run, "--frozen", "--groups", 4)
    done(desk, "label", desk.run, "--simulate", desk.pictures, "--answers", 3)
    done(desk, "certify", desk.run, "--simulate", desk.pictures, "--budget", 12)
    done(desk, "evaluate", desk.run, desk.pictures)
    return desk


def done(desk: Desk, *words: object) -> None:
    """Run a command that must succeed."""
    ended = run(command(*words), desk.place, seconds=300)
    if ended.code:
        raise RuntimeError(f"{words}: {ended.err}")


def save_pictures(folder: Path, n: int, size: int = 24) -> None:
    """Write `n` pictures of three kinds into class folders: bars across, bars down and blocks, with noise."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:size, :size]
    kinds = [(y // 3) % 2, (x // 3) % 2, (y > size // 2) & (x > size // 2)]
    for number in range(n):
        pixels = kinds[number % 3][..., None] * 160 + rng.integers(0, 60, (size, size, 3))
        path = folder / f"kind {number % 3}" / f"{number:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.astype(np.uint8)).save(path)

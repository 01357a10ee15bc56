"""Runs of version 0.1.0, from before the rooms, still open; they are built here file by file, as it wrote them."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

import selfsort
from selfsort.data.image_set import as_image_set
from selfsort.labelling.core.answers import Event
from selfsort.labelling.store import Store, load_session

N = 12
_LABELS = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE groups (
    id INTEGER PRIMARY KEY, kind TEXT NOT NULL, round INTEGER NOT NULL, parent INTEGER REFERENCES groups (id),
    members BLOB NOT NULL, distances BLOB NOT NULL, centre BLOB
);
CREATE TABLE log (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL UNIQUE, client TEXT NOT NULL, kind TEXT NOT NULL,
    content TEXT NOT NULL, undoes INTEGER UNIQUE REFERENCES log (seq), at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP
);
"""


@pytest.fixture
def images() -> NDArray[np.uint8]:
    """Twelve grey pictures, alternately bright in the upper or lower half."""
    made = np.zeros((N, 4, 4, 1), np.uint8)
    made[::2, :2] = made[1::2, 2:] = 200
    return made


@pytest.fixture
def run(tmp_path: Path, images: NDArray[np.uint8]) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    embedding = images.reshape(N, -1).astype(np.float32) / 255
    probabilities = np.eye(2, dtype=np.float32)[np.arange(N) % 2]
    np.save(folder / "embedding.npy", embedding)
    np.save(folder / "probabilities.npy", probabilities)
    rows = [f"array/{row:05d},{row % 2},1" for row in range(N)]
    (folder / "assignments.csv").write_text("\r\n".join(["id,cluster,confidence", *rows, ""]))
    (folder / "skipped.csv").write_text("id,reason\r\n")
    clustering = {
        "n_clusters": torch.tensor(2),
        "n_neighbors": torch.tensor(1),
        "reference_labels": torch.tensor([0, 1]),
        "scale": torch.tensor(1.0, dtype=torch.float64),
        "reference": torch.from_numpy(embedding[:2]),
    }
    save_file({f"clustering.{name}": tensor for name, tensor in clustering.items()}, folder / "model.safetensors")
    (folder / "run.json").write_text(json.dumps(_manifest(images)))
    return folder


def _manifest(images: NDArray[np.uint8]) -> dict[str, object]:
    data = {"source": "array", "options": {}, "n_images": N, "image_shape": [4, 4, 1]}
    data |= {"fingerprint": as_image_set(images).fingerprint(), "n_skipped": 0}
    params = {"cluster_space": "embedding", "device": "cpu", "encoder": None, "n_classes": 2, "random_state": 0}
    training = {"minutes": 0.05, "epochs": 0, "warnings": [], "device": "cpu", "threads": 1}
    return {
        "format": 1,
        "status": "complete",
        "method": "kmeans",
        "params": params,
        "data": data,
        "versions": {"python": "3.11.7", "selfsort": "0.1.0"},
        "hardware": "x86_64, Linux",
        "started": "2026-01-01T00:00:00+00:00",
        "training": training,
    }


@pytest.fixture
def labelled(run: Path, images: NDArray[np.uint8]) -> Path:
    """The run with one named group in `labels.sqlite`."""
    fingerprint = as_image_set(images).fingerprint()
    with sqlite3.connect(run / "labels.sqlite") as db:
        db.executescript(_LABELS + f"PRAGMA application_id = {0x73656C66}; PRAGMA user_version = 1;")
        db.execute("INSERT INTO facts VALUES ('run', ?)", [json.dumps({"n_images": N, "fingerprint": fingerprint})])
        members, distances = np.arange(0, N, 2, dtype="<i8"), np.zeros(N // 2, "<f4")
        row = (1, "cluster", 0, None, members.tobytes(), distances.tobytes(), None)
        db.execute("INSERT INTO groups VALUES (?, ?, ?, ?, ?, ?, ?)", row)
        answer = {"kind": "name", "group": 1, "name": "above", "confidence": 5, "pictures": [], "names": []}
        line = ("a key", "a page", "answer", json.dumps(answer | {"distinct": False}))
        db.execute("INSERT INTO log (key, client, kind, content) VALUES (?, ?, ?, ?)", line)
    return run


def test_it_loads_and_predicts_as_it_did(run: Path, images: NDArray[np.uint8]) -> None:
    model = selfsort.load(run)
    assert model.labels_.tolist() == model.predict(images).tolist() == [0, 1] * (N // 2)
    assert model.image_shape_ == (4, 4, 1)


def test_its_answers_open_and_take_more(labelled: Path) -> None:
    with closing(Store.open(labelled, create=False)) as store:
        session = load_session(store, labelled)
        assert session.groups[1].members.tolist() == list(range(0, N, 2))
        assert [event.name for event in session.events] == ["above"]
        store.add_event("another key", "a page", Event("name", group=1, name="over"))
        assert [item.event.name for item in store.events()] == ["above", "over"]

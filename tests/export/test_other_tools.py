"""Names read back by the tools for which they were written: COCO's, datasets, cleanlab, Label Studio, FiftyOne."""

import json
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import selfsort
from samples import pictures, quick
from selfsort.errors import UserError
from selfsort.export.named import NamedPictures, Said, file_formats, write_named
from selfsort.labelling.exchange import export_names, import_names
from selfsort.tables import write_table

NAMES = ("bird/robin", "Möwe, <weiß>", "unused")


@pytest.fixture
def named(tmp_path: Path) -> NamedPictures:
    """Return four pictures: one named by a person against the model, two by the model, one without a name."""
    root = tmp_path / "photo graphs"
    root.mkdir()
    for number, pixels in enumerate(pictures(4, 16)):
        Image.fromarray(pixels[: 16 - number]).save(root / f"{number} é.png")
    images = selfsort.load_images(root, cache=False)
    said = Said(
        *map(np.array, ([0, -1, -1, -1], [True] + [False] * 3, [5, 0, 0, 0], [1, 1, 0, -1], [0.6, 0.9, 0.7, 0]))
    )
    confidence = np.array([1, 0.9, 0.7, 0], np.float32)
    return NamedPictures(
        images.ids, NAMES, np.array([0, 1, 0, -1]), confidence, np.array([True, False, False, False]), said, images
    )


def test_cocos_own_reader(named: NamedPictures, tmp_path: Path) -> None:
    from pycocotools.coco import COCO

    write_named(named, tmp_path / "named.coco.json")
    with redirect_stdout(StringIO()):
        found = COCO(tmp_path / "named.coco.json")
    (robin,) = found.getCatIds(catNms=["bird/robin"])
    assert [found.imgs[image]["file_name"] for image in found.getImgIds(catIds=[robin])] == ["0 é.png", "2 é.png"]
    assert [each["bbox"] for each in found.loadAnns(found.getAnnIds(imgIds=[2]))] == [[0, 0, 16, 15]]


def test_hugging_face_datasets(named: NamedPictures, tmp_path: Path) -> None:
    from datasets import ClassLabel, Dataset

    write_named(named, tmp_path / "named.parquet")
    found = Dataset.from_parquet(str(tmp_path / "named.parquet"), cache_dir=str(tmp_path / "cache"))
    assert found.features["label"] == ClassLabel(names=list(NAMES))
    assert found["label"] == [0, 1, 0, None] and found["said"] == [0, None, None, None]
    assert found["model"] == [1, 1, 0, None] and found["id"] == list(named.ids)
    for place in range(4):
        assert np.array_equal(np.asarray(found[place]["image"]), np.asarray(named.pictures().open(place)))


def test_a_missing_file_is_null_and_groups_of_rows_follow_one_another(
    named: NamedPictures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pyarrow.parquet as pq

    monkeypatch.setattr(file_formats()["datasets"], "_ROWS", 3)
    (tmp_path / "photo graphs/1 é.png").unlink()
    write_named(named, tmp_path / "named.parquet")
    rows = pq.ParquetFile(tmp_path / "named.parquet")
    assert rows.num_row_groups == 2 and [row["image"] is None for row in rows.read().to_pylist()] == [0, 1, 0, 0]


def test_cleanlab_finds_the_names_that_are_wrong(tmp_path: Path) -> None:
    from cleanlab.filter import find_label_issues

    kinds = ("across", "down", "block")
    for number, pixels in enumerate(pictures(60, 16)):
        (tmp_path / "photos").mkdir(exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{number:02d}.png")
    quick("kmeans").fit(selfsort.load_images(tmp_path / "photos", cache=False), run_dir=tmp_path / "run")
    rows = [[f"{number:02d}.png", kinds[(number + (number in (7, 20))) % 3]] for number in range(45)]
    write_table(tmp_path / "names.csv", ["id", "name"], rows)
    import_names(tmp_path / "run", tmp_path / "names.csv")
    export_names(tmp_path / "run", tmp_path / "named.cleanlab.npz")
    found = np.load(tmp_path / "named.cleanlab.npz", allow_pickle=False)
    assert found["ids"].tolist() == [row[0] for row in rows]
    assert [str(found["names"][number]) for number in found["labels"]] == [row[1] for row in rows]
    wrong = find_label_issues(
        found["labels"], found["pred_probs"], return_indices_ranked_by="self_confidence", n_jobs=1
    )
    assert sorted(wrong.tolist()) == [7, 20]


def test_cleanlab_needs_two_names(named: NamedPictures, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="answers with at least two names"):
        write_named(named, tmp_path / "named.cleanlab.npz")


def labelling_interface() -> str:
    choices = "".join(f'<Choice value="{name}"/>' for name in ("bird/robin", "Möwe, &lt;weiß&gt;"))
    return f'<View><Image name="image" value="$image"/><Choices name="choice" toName="image">{choices}</Choices></View>'


def test_tasks_of_label_studio_say_who_said_what(named: NamedPictures, tmp_path: Path) -> None:
    write_named(named, tmp_path / "named.labelstudio.json")
    tasks = json.loads((tmp_path / "named.labelstudio.json").read_text())

    def choices(task: dict[str, Any], kind: str) -> list[str]:
        return [each["value"]["choices"][0] for found in task.get(kind, ()) for each in found["result"]]

    assert [choices(task, "annotations") for task in tasks] == [["bird/robin"], [], [], []]
    assert [choices(task, "predictions") for task in tasks] == [[NAMES[1]], [NAMES[1]], [NAMES[0]], []]
    assert tasks[0]["data"]["image"] == "/data/local-files/?d=0%20%C3%A9.png" and tasks[0]["data"]["id"] == "0 é.png"


def test_label_studio_reads_its_tasks(named: NamedPictures, tmp_path: Path) -> None:
    sdk = pytest.importorskip("label_studio_sdk.label_interface")
    interface = sdk.LabelInterface(labelling_interface())
    write_named(named, tmp_path / "named.labelstudio.json")
    for task in json.loads((tmp_path / "named.labelstudio.json").read_text()):
        assert interface.validate_task({"data": task["data"]}), task  # with annotations it fails, whatever they are
        for each in task.get("annotations", ()):
            assert interface.validate_annotation(each), each
        for each in task.get("predictions", ()):
            assert interface.validate_prediction(each), each


def test_fiftyones_importer(named: NamedPictures, tmp_path: Path) -> None:
    importers = pytest.importorskip("fiftyone.utils.data.importers")
    write_named(named, tmp_path / "named.fiftyone.json")
    with importers.FiftyOneImageClassificationDatasetImporter(
        labels_path=str(tmp_path / "named.fiftyone.json")
    ) as found:
        samples = [(path, label.label, label.confidence) for path, _, label in found]
    folder = tmp_path / "photo graphs"
    assert samples == [
        (str(folder / f"{number} é.png"), NAMES[place], confidence)
        for number, place, confidence in ((0, 0, 1.0), (1, 1, 0.9), (2, 0, 0.7))
    ]


def test_fiftyone_gets_paths_and_classes(named: NamedPictures, tmp_path: Path) -> None:
    write_named(named, tmp_path / "named.fiftyone.json")
    found = json.loads((tmp_path / "named.fiftyone.json").read_text())
    assert found["classes"] == list(NAMES) and len(found["labels"]) == 3
    first = found["labels"][str(tmp_path / "photo graphs/0 é.png")]
    assert first == {
        "label": 0,
        "confidence": 1.0,
        "attributes": {"given": True, "said": NAMES[0], "model": NAMES[1]},
    }

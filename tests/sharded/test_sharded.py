"""Shards of features and predictions: what is in them, what is kept, and what is refused."""

import errno
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import selfsort
from refusals import check_sentence, save
from selfsort.data.image_set import as_image_set
from selfsort.data.input_spec import InputSpec
from selfsort.data.loading import list_images
from selfsort.errors import UserError
from selfsort.sharded import job
from selfsort.sharded.tasks import Computed, Embed
from selfsort.tables import read_table
from shards import noise

TESTS = Path(__file__).parents[1]


@dataclass(frozen=True)
class Means:
    """The mean of each picture, which needs no network; the shard whose first picture is `stop` fails."""

    stop: str = ""
    version: int = 1
    uses_gpu = False

    def facts(self):
        return {"version": self.version}

    def start(self):
        def compute(images):
            if images.ids[0] == self.stop:
                raise OSError(errno.ENOSPC, "no space")
            means, ids, failures = [], [], []
            for block in images.blocks(InputSpec(8, 3)):
                means += block.images.mean((1, 2, 3)).tolist()
                ids += [images.ids[position] for position in block.positions]
                failures += block.failures
            return Computed(
                pa.table({"id": pa.array(ids, pa.string()), "mean": pa.array(means, pa.float64())}), failures
            )

        return compute


def means(source, out, task=Means(), size=5, **how):
    return job.run("embed", list_images(source), task, str(out), shard_size=size, **how)


def refused(naming, *arguments, **options):
    with pytest.raises(UserError) as error:
        means(*arguments, **options)
    assert naming in str(error.value) and "\n" not in str(error.value)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def photos(tmp_path):
    return save(tmp_path / "photos", 12)


def test_all_shards_are_one_table(photos, tmp_path):
    done = means(photos, tmp_path / "out")
    assert (done.shards, done.computed, len(done.images)) == (3, 3, 12)
    shards = [f"shard-{number:06d}.parquet" for number in range(3)]
    assert names(tmp_path / "out") == [".lock", "_selfsort.json", "_skipped.csv", *shards]
    table = pq.read_table(tmp_path / "out")
    assert tuple(table["id"].to_pylist()) == list_images(photos).ids
    pixels = list_images(photos).pixels(InputSpec(8, 3))
    np.testing.assert_allclose(table["mean"].to_numpy(), pixels.mean((1, 2, 3)))
    assert [len(pq.read_table(tmp_path / "out" / name)) for name in shards] == [5, 5, 2]


def test_finished_shards_are_not_computed_again(photos, tmp_path):
    out = tmp_path / "out"
    means(photos, out)
    before = {name: (out / name).stat().st_mtime_ns for name in names(out)}
    (out / "shard-000001.parquet").unlink()
    (out / "shard-000002.parquet").write_bytes((out / "shard-000002.parquet").read_bytes()[:-20])
    done = means(photos, out)
    assert (done.shards, done.computed, len(done.images)) == (3, 2, 12)
    assert (out / "shard-000000.parquet").stat().st_mtime_ns == before["shard-000000.parquet"]
    assert pq.read_table(out).num_rows == 12 and means(photos, out).computed == 0


def test_a_full_disk_keeps_the_finished_shards(photos, tmp_path, monkeypatch):
    def full(path):
        if "000001" in path.name:
            raise OSError(errno.ENOSPC, "no space")

    with monkeypatch.context() as patch:
        patch.setattr("selfsort.files._flush", full)
        refused("shard-000001.parquet': the disk is full", photos, tmp_path / "out")
    assert names(tmp_path / "out") == [".lock", "_selfsort.json", "shard-000000.parquet"]
    assert means(photos, tmp_path / "out").computed == 2


def test_other_settings_are_refused(photos, tmp_path):
    out = tmp_path / "out"
    means(photos, out)
    refused("was begun with shard_size 5, not 6", photos, out, size=6)
    refused("was begun with another version", photos, out, Means(version=2))
    os.utime(photos / "00.png", (1, 1))
    refused("was begun with other pictures, or they have changed since", photos, out)
    (photos / "00.png").unlink()
    refused("was begun with pictures 12, not 11", photos, out)
    (out / "_selfsort.json").write_text("{}")
    refused("_selfsort.json that this version cannot read", photos, out)
    (out / "_selfsort.json").unlink()
    refused("is not empty, and no folder of shards", photos, out)
    (tmp_path / "file").touch()
    refused("is a file", photos, tmp_path / "file")
    refused("engine='spark' must be one of local, ray", photos, tmp_path / "new", engine="spark")
    refused("workers=2 is for engine='ray'", photos, tmp_path / "new", workers=2)


def test_ray_is_not_installed(photos, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    refused("pip install 'selfsort[ray]'", photos, tmp_path / "new", engine="ray")
    assert not (tmp_path / "new").exists()


def test_a_cluster_that_does_not_answer(photos, tmp_path, monkeypatch):
    pytest.importorskip("ray")
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")
    refused(
        "No Ray cluster answers at RAY_ADDRESS='127.0.0.1:9' (Connection refused)", photos, tmp_path / "x", engine="ray"
    )


def test_unreadable_pictures_are_listed(photos, tmp_path):
    for number in range(5):
        (photos / f"{number:02d}.png").write_text("not a picture")
    (photos / "07.png").write_bytes(b"")
    done = means(photos, tmp_path / "out")
    assert len(done.images) == 6 and done.images.ids[0] == "05.png"
    rows = list(read_table(tmp_path / "out" / "_skipped.csv"))
    assert [row["id"] for row in rows] == [f"{number:02d}.png" for number in (0, 1, 2, 3, 4, 7)]
    assert rows[-1]["reason"] == "empty" and len(means(photos, tmp_path / "out").images) == 6
    for path in photos.iterdir():
        path.write_text("not a picture")
    refused("No picture in", photos, tmp_path / "none")


def test_a_part_can_be_sent_and_holds_no_label(photos):
    (photos / "x").mkdir()
    (photos / "00.png").rename(photos / "x" / "00.png")
    images = list_images(photos)
    part = images.detached(2, 4)
    assert part.ids == images.ids[2:4] and part.labels is None and part.originals.refs == images.originals.refs[2:4]
    array = as_image_set(np.arange(5 * 64, dtype=np.uint8).reshape(5, 8, 8)).detached(1, 3)
    assert array.open(0).getpixel((0, 0)) == 64 and len(array.images) == 2


def test_embeddings_are_those_of_embed(photos, tmp_path):
    (photos / "03.png").write_bytes(b"")
    images = list_images(photos)
    spec = InputSpec(32, 3, "squash", (0.5,) * 3, (0.5,) * 3)
    job.run("embed", images, Embed("efficientnet-lite0", spec, "cpu", "32"), str(tmp_path / "out"), shard_size=5)
    table = pq.read_table(tmp_path / "out")
    assert table.schema.field("embedding").type == pa.list_(pa.float32(), 1280) and len(table) == 11
    found = np.array(table["embedding"].to_pylist(), np.float32)
    whole = selfsort.embed(images, input_spec=spec, device="cpu", precision="32")
    assert tuple(table["id"].to_pylist()) == whole.ids and np.array_equal(found, whole.values)


def test_predictions_in_an_object_store(bucket, tmp_path, cli, monkeypatch):
    for seed in range(12):
        bucket.pipe_file(f"photos/x/{seed:02d}.png", noise(seed))
    bucket.pipe_file("photos/x/12.png", b"no picture")
    monkeypatch.chdir(tmp_path)
    assert cli("fit", "s3://photos/x", "--out", "run", "--method", "kmeans", "--classes", "3").code == 0
    assert cli("predict", "run", "s3://photos/x", "--out", "whole.parquet").code == 0
    found = cli.json("predict", "run", "s3://photos/x", "--out", "s3://photos/out", "--shard-size", "5")
    assert (found["shards"], found["computed"], found["pictures"]) == (3, 3, 12) and sum(found["clusters"]) == 12
    assert [row["id"] for row in found["skipped"]] == ["12.png"]
    assert bucket.exists("photos/out/_skipped.csv")
    shards = [pq.read_table(f"photos/out/shard-{n:06d}.parquet", filesystem=bucket) for n in range(3)]
    table, whole = pa.concat_tables(shards), pq.read_table("whole.parquet")
    assert table.column_names == whole.column_names and table["id"].equals(whole["id"])
    for name in table.column_names[1:]:
        np.testing.assert_allclose(table[name].to_numpy(), whole[name].to_numpy(), atol=1e-6)
    again = cli("predict", "run", "s3://photos/x", "--out", "s3://photos/out", "--shard-size", "5")
    assert again.out.endswith("Wrote s3://photos/out: 12 pictures in 3 shards, 3 of them finished before\n")
    answer = cli("predict", "run", "s3://photos/x", "--out", "s3://nowhere/out")
    check_sentence(answer.err, "'s3://nowhere/out' cannot be listed (The specified bucket does not exist)")


@pytest.mark.slow
def test_the_shards_do_not_depend_on_the_number_of_ray_workers(bucket, tmp_path):
    for seed in range(18):
        bucket.pipe_file(f"photos/x/{seed:02d}.png", noise(seed, 24 + seed))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS), *filter(None, sys.path)])}
    command = [sys.executable, TESTS / "ray_jobs.py", "s3://photos/x", tmp_path]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    shards = [f"shard-{number:06d}.parquet" for number in range(4)]
    for folder in ("one", "two-that-stop", "three-of-which-one-dies"):
        for name in (*shards, "_skipped.csv", "_selfsort.json"):
            assert (tmp_path / folder / name).read_bytes() == (tmp_path / "local" / name).read_bytes(), (folder, name)
    assert found["killed"] and found["problem"] == "Cannot write 'x': the disk is full; free some space."
    assert found["computed"] == 4 - len(found["kept"]) > 0


def test_commands_that_cannot_write_shards(photos, tmp_path, cli, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refusals = [
        (("--out", "x.parquet"), "--out 'x.parquet' is to be a folder of shards: choose a name without .parquet."),
        (("--out", "photos/x"), "'photos/x' is inside the pictures' folder"),
        (("--out", "x", "--workers", 2), "--workers 2 is for --engine ray"),
        (("--out", "x", "--device", "tpu"), "device='tpu' is not valid"),
        (("--out", "x", "--backbone", "nothing"), "nothing"),
    ]
    for words, naming in refusals:
        answer = cli("embed", "photos", *words, "--json")
        assert answer.code == 1 and answer.out == "" and not (tmp_path / "x").exists()
        check_sentence(answer.err, naming)

"""Sources in an object store, read from a real S3 server on this machine."""

import asyncio

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from selfsort.audit import audit
from selfsort.data.input_spec import InputSpec
from selfsort.data.loading import has_files, list_images, load_images
from selfsort.data.object_store import objects_below
from selfsort.errors import UserError
from shards import noise, write_tar

NAMES = ("cat/1.png", "cat/2.png", "dog/3.png", "dog/ä b+c.png")


def fill(bucket, *names, below="photos/x"):
    for seed, name in enumerate(names):
        bucket.pipe_file(f"{below}/{name}", noise(seed))


def refused(source, **options):
    with pytest.raises(UserError) as error:
        load_images(source, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_folder_of_a_bucket_gives_the_same_as_one_on_a_disk(bucket, tmp_path):
    fill(bucket, *NAMES, ".hidden/5.png", "dog/.hidden.png")
    bucket.pipe_file("photos/x/README.md", b"notes")
    bucket.pipe_file("photos/x/", b"")  # as some programs mark folders
    bucket.pipe_file("photos/x/cat/empty.png", b"")
    bucket.get("photos/x/", f"{tmp_path}/x/", recursive=True)
    (tmp_path / "x" / "cat" / "empty.png").touch()
    there, here = load_images("s3://photos/x/"), load_images(tmp_path / "x")
    assert there.fingerprint() == here.fingerprint() and there.ids == tuple(sorted(NAMES))
    assert there.labels.tolist() == here.labels.tolist() and there.label_names == here.label_names == ("cat", "dog")
    assert there.skipped == here.skipped and there.source == "s3://photos/x"
    assert dict(there.listing.passed_over) == {".hidden/5.png": "hidden", "dog/.hidden.png": "hidden"}
    assert load_images(there.source, **there.options).fingerprint() == there.fingerprint()
    assert there.open(1).size == (16, 16) and there.content_hash(1) == here.content_hash(1)
    assert there.files is None and not has_files(there.source)
    assert load_images("s3://photos").ids[:1] == ("x/cat/1.png",)


def test_splits_and_what_is_left_out(bucket):
    fill(bucket, "train/cat/1.png", "test/cat/2.png", "test/../3.png")
    images = list_images("s3://photos/x", split="test")
    assert images.ids == ("test/cat/2.png",) and list(images.listing.elsewhere) == ["train/cat/1.png"]
    assert dict(images.listing.passed_over) == {"test/../3.png": "its path leads out of the bucket"}
    assert "classes_from" in refused("s3://photos/x", classes_from="nowhere")
    assert "folds" in refused("s3://photos/x", fold=1)


def test_tars_and_parquet_files_are_read_in_their_place(bucket, tmp_path):
    files = [(f"{i}.png", noise(i, 64)) for i in range(12)]
    tar = write_tar(tmp_path / "a.tar", files)
    for name in ("a-0.tar", "a-1.tar", "notes.txt"):
        bucket.put_file(str(tar), f"photos/tars/{name}")
    images = load_images("s3://photos/tars")
    assert images.ids[:2] == ("a-0/0.png", "a-0/1.png") and len(images) == 24
    np.testing.assert_array_equal(images.images[:12], load_images(tar).images)
    assert load_images("s3://photos/tars/a-{0..1}.tar").fingerprint() == images.fingerprint()
    assert load_images("s3://photos/tars/a-1.tar").fingerprint() == load_images(tar).fingerprint()
    table = pa.table({"image": [data for _, data in files], "label": ["x", "y"] * 6})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=5)
    bucket.put_file(str(tmp_path / "a.parquet"), "photos/tables/a.parquet")
    rows, here = load_images("s3://photos/tables"), load_images(tmp_path / "a.parquet")
    assert rows.fingerprint() == here.fingerprint() and rows.label_names == ("x", "y")


def test_changed_objects_are_noticed(bucket, tmp_path):
    fill(bucket, "1.png", "2.png", "3.png")
    bucket.put_file(str(write_tar(tmp_path / "a.tar", [("1.png", noise(1))])), "photos/tars/a.tar")
    images, tars = list_images("s3://photos/x", cache=False), list_images("s3://photos/tars", cache=False)
    bucket.pipe_file("photos/x/1.png", noise(7) + b"longer")
    bucket.rm_file("photos/x/2.png")
    bucket.put_file(str(write_tar(tmp_path / "a.tar", [("1.png", noise(2))])), "photos/tars/a.tar")
    assert {name: reason.split(" (")[0] for name, reason in images.decoded().skipped} == {
        "1.png": "changed since it was listed",
        "2.png": "gone since it was listed",
    }
    with pytest.raises(UserError, match="has changed since it was listed"):
        tars.open(0)
    again = list_images("s3://photos/x")
    assert again.ids == ("1.png", "3.png")
    assert again.stamp(0) != images.stamp(0) and again.stamp(1) == images.stamp(2)


@pytest.mark.parametrize(
    ("source", "naming"),
    [
        ("s3://nowhere/x", "'s3://nowhere/x' cannot be listed (The specified bucket does not exist)"),
        ("s3://photos/nothing", "'s3://photos/nothing' holds no objects"),
        ("s3://photos/a-{0..1}.tar", "'s3://photos/a-0.tar' cannot be listed"),
        ("gs://photos/x", "pip install 'selfsort[gcs]'"),
        ("what://photos", "Protocol not known: what"),
    ],
)
def test_a_source_that_is_not_there(bucket, source, naming):
    assert naming in refused(source)


def test_a_store_that_denies_access(bucket, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Access Denied")

    async def denied(*_, **__):
        refuse()

    fill(bucket, "1.png", "2.png")
    images = list_images("s3://photos/x", cache=False)
    type(bucket).clear_instance_cache()
    with monkeypatch.context() as patch:
        patch.setattr(type(bucket), "_cat_file", denied)
        with pytest.raises(UserError, match=r"not reachable \(s3://photos/x/1.png: Access Denied\)"):
            images.decoded()
        patch.setattr(type(bucket), "find", refuse)
        type(bucket).clear_instance_cache()
        assert "'s3://photos/x' cannot be listed (Access Denied); check" in refused("s3://photos/x")


def test_no_picture_is_left_out_because_the_store_does_not_answer(bucket, monkeypatch, tmp_path):
    fill(bucket, *NAMES)
    bucket.put_file(str(write_tar(tmp_path / "a.tar", [("1.png", noise(1))])), "photos/tars/a.tar")
    images, tars = list_images("s3://photos/x", cache=False), list_images("s3://photos/tars")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    type(bucket).clear_instance_cache()
    ways = [images.decoded, images.content_fingerprint, lambda: audit(images), tars.decoded]
    for use in [*ways, lambda: list(images.blocks(InputSpec(8, 3)))]:
        with pytest.raises(UserError, match="not reachable.*Could not connect") as error:
            use()
        assert "\n" not in str(error.value)
    assert "Could not connect" in refused("s3://photos/x")


def test_several_objects_are_fetched_at_the_same_time(bucket, monkeypatch):
    fill(bucket, *(f"{i:02d}.png" for i in range(20)))
    images, running, most = list_images("s3://photos/x", cache=False), [], []
    fetch = type(bucket)._cat_file

    async def counted(*arguments, **options):
        running.append(1)
        most.append(len(running))
        await asyncio.sleep(0.02)
        running.pop()
        return await fetch(*arguments, **options)

    monkeypatch.setattr(type(bucket), "_cat_file", counted)
    type(bucket).clear_instance_cache()
    blocks = list(images.blocks(InputSpec(8, 3)))
    assert [images.ids[i] for block in blocks for i in block.positions] == list(images.ids) and 3 < max(most) <= 9


def test_a_picture_may_be_as_large_on_a_network_as_on_a_disk(bucket, monkeypatch):
    fill(bucket, "1.png")
    monkeypatch.setattr("selfsort.data.object_store.MAX_BYTES", 100)
    with pytest.raises(UserError, match="too many bytes"):
        list_images("s3://photos/x").open(0)


def test_objects_have_the_name_that_the_store_gives_them(bucket):
    bucket.pipe_file("photos/x/1.png", b"12")
    url, ((found, size, version),) = objects_below("s3a://photos/x/")
    assert (url, found, size) == ("s3://photos/x", "s3://photos/x/1.png", 2)
    assert version == f"ETag {bucket.info('photos/x/1.png')['ETag']}"

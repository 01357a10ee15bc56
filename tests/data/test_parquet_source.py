import json
import os
import sys

import numpy as np
import pytest

from selfsort.data import row_groups
from selfsort.data.loading import list_images, load_images
from selfsort.data.matching import labels_for
from selfsort.errors import UserError
from shards import noise, picture, write_tar

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def stored(count, first=0, path="{}.png"):
    """Return pictures as `datasets` stores them."""
    return pa.array([{"bytes": picture(i), "path": path.format(i)} for i in range(first, first + count)], STRUCT)


def write(path, columns, features=None, rows=3, **options):
    """Write a Parquet file with `rows` in each row group, and what `datasets` notes about its columns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table(columns)
    if features is not None:
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, path, row_group_size=rows, **options)
    return path


def levels(images):
    return images.images[:, 0, 0, 0].tolist()


def refused(source, **options):
    with pytest.raises(UserError) as error:
        load_images(source, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("large", [False, True])
def test_a_column_of_bytes(tmp_path, large):
    pictures = pa.array([picture(i) for i in range(7)], pa.large_binary() if large else pa.binary())
    images = load_images(write(tmp_path / "a.parquet", {"number": range(7), "photo": pictures}))
    assert images.ids == tuple(f"a/{i:05d}" for i in range(7)) and levels(images) == list(range(7))
    assert images.labels is None and images.files is None and images.told == ()
    assert [images.open(i).getpixel((0, 0))[0] for i in (6, 0, 4, 4, 3)] == [6, 0, 4, 4, 3]
    assert load_images(images.source, **images.options).fingerprint() == images.fingerprint()


def test_the_shards_of_a_data_set(tmp_path):
    features = {"image": {"_type": "Image"}, "kind": {"_type": "ClassLabel", "names": ["dog", "cat", "owl"]}}
    for name, first, kinds in (
        ("train-00000-of-00002", 0, [0, 1, None, 1]),
        ("train-00001-of-00002", 4, [0, 0]),
        ("test-00000-of-00001", 6, [1, -1]),
    ):
        columns = {"image": stored(len(kinds), first), "label": range(len(kinds)), "kind": pa.array(kinds, pa.int64())}
        write(tmp_path / "set" / "data" / f"{name}.parquet", columns, features)
    (tmp_path / "set" / "README.md").write_text("x")
    images = load_images(tmp_path / "set")
    assert images.ids == ("6.png", "7.png", *(f"{i}.png" for i in range(6)))
    assert images.label_names == ("dog", "cat", "owl") and images.labels.tolist() == [1, -1, 0, 1, -1, 1, 0, 0]
    assert images.told == ("splits: train, test", "classes: cat, dog, owl in column kind")
    train = load_images(tmp_path / "set", split="train")
    assert levels(train) == list(range(6)) and train.labels.tolist() == [0, 1, -1, 1, 0, 0]
    assert load_images(train.source, **train.options).fingerprint() == train.fingerprint()
    pattern = load_images(tmp_path / "set" / "data" / "train-0000{0..1}-of-00002.parquet")
    assert pattern.fingerprint() == train.fingerprint()


@pytest.mark.parametrize("kind", ["text", "dictionary", "number"])
def test_classes_in_a_column(tmp_path, kind):
    values = pa.array([10, 9, None] if kind == "number" else ["dog", "cat", None])
    label = values.dictionary_encode() if kind == "dictionary" else values
    images = list_images(write(tmp_path / "a.parquet", {"label": label, "image": stored(3)}))
    assert images.label_names == (("9", "10") if kind == "number" else ("cat", "dog"))
    assert images.labels.tolist() == [1, 0, -1]


def test_the_caller_decides_what_is_a_class(tmp_path):
    columns = {
        "image": stored(4, path="x/y/{}.png"),
        "label": [0, 1, 1, 0],
        "kind": ["b", "a", "a", "a"],
        "f": [0.5] * 4,
    }
    source = write(tmp_path / "a.parquet", columns)
    assert list_images(source).labels.tolist() == [0, 1, 1, 0]
    chosen = list_images(source, classes_from="kind")
    assert chosen.labels.tolist() == [1, 0, 0, 0] and chosen.label_names == ("a", "b")
    assert list_images(chosen.source, **chosen.options).labels.tolist() == [1, 0, 0, 0]
    assert list_images(source, classes_from="none").labels is None
    assert "neither texts nor whole numbers" in refused(source, classes_from="f")
    assert "gives no class" in refused(source, classes_from="x")


def test_classes_by_the_folders_in_paths(tmp_path):
    pictures = pa.array([{"bytes": picture(i), "path": f"x/{'ab'[i % 2]}/{i}.png"} for i in range(4)], STRUCT)
    images = list_images(write(tmp_path / "a.parquet", {"image": pictures}))
    assert images.ids == ("a/0.png", "b/1.png", "a/2.png", "b/3.png")
    assert images.label_names == ("a", "b") and images.labels.tolist() == [0, 1, 0, 1]


def test_paths_are_ids_only_if_they_tell_pictures_apart_and_stay_inside(tmp_path):
    for path in ("same.png", "../{}.png", ""):
        assert list_images(write(tmp_path / "a.parquet", {"image": stored(2, path=path)})).ids == ("a/00000", "a/00001")
    for name in "ab":
        write(tmp_path / "two" / f"{name}.parquet", {"image": stored(1)})
    assert list_images(tmp_path / "two").ids == ("a/00000", "b/00000")
    assert list_images(write(tmp_path / "a.parquet", {"image": stored(1, path="/é 猫\n.png")})).ids == ("é 猫\n.png",)


def test_other_sources_labels_match(tmp_path):
    source = write(tmp_path / "a.parquet", {"image": stored(3, path="other {}.png")})
    tar = write_tar(tmp_path / "a.tar", [(f"{'xyx'[i]}/{i}.png", picture(i)) for i in range(3)])
    assert labels_for(list_images(source), list_images(tar)).tolist() == [0, 1, 0]


def test_which_of_several_columns_holds_the_pictures(tmp_path):
    columns = {"hash": [b"x"] * 2, "mask": stored(2, 5), "image": stored(2)}
    images = load_images(write(tmp_path / "a.parquet", columns))
    assert levels(images) == [0, 1] and images.told[0] == "pictures: column image, not mask, hash"
    marked = {"mask": {"_type": "Image"}, "image": {"_type": "Image"}}
    assert levels(load_images(write(tmp_path / "a.parquet", columns, marked))) == [5, 6]  # the first, as with hf:
    assert levels(load_images(write(tmp_path / "a.parquet", {"x": [b"?"] * 2, "jpg": [picture(3), picture(4)]}))) == [
        3,
        4,
    ]


def test_rows_without_a_picture(tmp_path):
    pictures = pa.array(
        [{"bytes": picture(1), "path": "1"}, None, {"bytes": None, "path": "/etc/passwd"}, None], STRUCT
    )
    images = load_images(write(tmp_path / "a.parquet", {"image": pictures}))
    assert images.ids == ("a/00000",)
    assert {skipped.reason for skipped in images.skipped} == {"no picture in this row"} and len(images.skipped) == 3


def test_without_a_column_of_pictures(tmp_path):
    message = refused(write(tmp_path / "a.parquet", {"id": ["1"], "image": ["path.png"]}))
    assert message.endswith(
        "has no column of pictures (of bytes, or a struct with 'bytes'), only id, image; name another file."
    )
    write(tmp_path / "s" / "1.parquet", {"image": stored(2)})
    write(tmp_path / "s" / "2.parquet", {"other": stored(2, 2)})
    images = load_images(tmp_path / "s")
    assert levels(images) == [0, 1] and images.skipped == (("2.parquet", "without a column 'image' (name it alone)"),)


def test_a_file_without_rows(tmp_path):
    assert "holds no files" in refused(write(tmp_path / "a.parquet", {"image": stored(0)}))


# Reading


@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_a_row_group_is_read_in_pieces_forward(tmp_path, monkeypatch, compression):
    monkeypatch.setattr(row_groups, "_PIECE_BYTES", 8000)
    source = write(tmp_path / "a.parquet", {"image": [noise(i) for i in range(60)]}, rows=60, compression=compression)
    images = list_images(source)
    row_groups.forget()
    pieces = []
    monkeypatch.setattr("selfsort.data.row_groups._RowGroup._restart", counted(pieces))
    expected = [noise(i) for i in range(60)]
    assert [images.originals.open(images.originals.refs[i]).read() for i in range(60)] == expected
    assert pieces == [9]
    for i in (40, 41, 3, 59):
        assert images.originals.open(images.originals.refs[i]).read() == expected[i]
    assert len(pieces) == 3


def counted(calls):
    restart = row_groups._RowGroup._restart

    def counting(self):
        calls.append(self._rows)
        restart(self)

    return counting


def test_memory_does_not_grow_with_the_row_group(tmp_path, monkeypatch):
    monkeypatch.setattr(row_groups, "_PIECE_BYTES", 1 << 20)
    rows = np.random.default_rng(0).bytes(100_000)
    how = {"use_dictionary": False, "write_batch_size": 4}  # a page of the file is the least that is read
    source = write(tmp_path / "a.parquet", {"image": [rows[i:] for i in range(200)]}, rows=200, **how)
    originals = list_images(source, value_range="type").originals
    before, most = pa.total_allocated_bytes(), 0
    for ref in originals.refs:
        originals.open(ref)
        most = max(most, pa.total_allocated_bytes() - before)
    originals.close()
    assert most < 10_000_000  # of 20 MB


def test_the_file_is_closed_after_reading(tmp_path):
    images = load_images(write(tmp_path / "a.parquet", {"image": stored(3)}))
    assert row_groups._kept is None
    images.open(0)
    assert row_groups._kept is not None
    images.originals.close()
    assert row_groups._kept is None


def test_a_shard_that_changes_after_it_was_listed_shows_no_other_picture(tmp_path):
    source = write(tmp_path / "a.parquet", {"image": stored(3)})
    images = list_images(source)
    row_groups.forget()
    write(source, {"image": stored(3, 5)})
    os.utime(source, ns=(1, 1))
    with pytest.raises(UserError, match="its shard has changed since it was listed"):
        images.open(0)
    assert levels(load_images(source)) == [5, 6, 7]


def test_without_pyarrow(tmp_path, monkeypatch):
    source = write(tmp_path / "a.parquet", {"image": stored(1)})
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    assert refused(source).endswith("a.parquet' needs the library 'pyarrow': pip install 'selfsort[parquet]'.")


# Damage


def test_a_cut_off_file_is_told_and_the_others_are_used(tmp_path):
    for i in range(3):
        write(tmp_path / "s" / f"{i}.parquet", {"image": stored(2, 2 * i)})
    data = (tmp_path / "s" / "0.parquet").read_bytes()
    (tmp_path / "s" / "0.parquet").write_bytes(data[:-100])
    reason = "truncated, or not a Parquet file (get or write it again)"
    images = load_images(tmp_path / "s")
    assert levels(images) == [2, 3, 4, 5] and images.skipped == (("0.parquet", reason),)
    assert f"0.parquet is {reason}: nothing of it is used" in images.told
    assert refused(tmp_path / "s" / "0.parquet").endswith(f"0.parquet' cannot be read: it is {reason}.")
    (tmp_path / "zero.parquet").write_bytes(b"")
    assert "cannot be read: it is" in refused(tmp_path / "zero.parquet")


def test_damage_in_a_row_group_costs_the_rows_from_there(tmp_path, monkeypatch):
    source = write(
        tmp_path / "a.parquet", {"image": [noise(i) for i in range(60)]},
        rows=30, compression="none", use_dictionary=False, data_page_size=2000, write_page_checksum=False,
    )  # fmt: skip
    data = bytearray(source.read_bytes())
    place = data.index(noise(20))
    data[place - 4 : place] = b"\xff\xff\xff\x7f"  # the length of row 20
    source.write_bytes(data)
    images = load_images(source)
    kept = [int(name[-2:]) for name in images.ids]
    assert set(range(10)) <= set(kept) and set(range(30, 60)) <= set(kept) and 20 not in kept
    assert len(kept) + len(images.skipped) == 60
    assert all(skipped.reason.startswith("damaged (") for skipped in images.skipped)


def test_columns_of_different_lengths(tmp_path, monkeypatch):
    source = write(tmp_path / "a.parquet", {"image": stored(4), "label": ["a", "b", "a", "b"]})
    monkeypatch.setattr("selfsort.data.sources.parquet._values", lambda table, column: iter(["a"]))
    assert "it is damaged (its columns have different lengths" in refused(source)


def test_flipped_bits_raise_nothing_else(tmp_path):
    rng = np.random.default_rng(0)
    data = write(tmp_path / "a.parquet", {"image": stored(4), "label": ["a", "b", "a", "b"]}, rows=2).read_bytes()
    for trial in range(60):
        changed = bytearray(data)
        for place in rng.integers(0, len(data), 3):
            changed[place] ^= 1 << rng.integers(8)
        source = tmp_path / f"{trial}.parquet"
        source.write_bytes(changed)
        try:
            load_images(source, cache=False)
        except UserError as error:
            assert "\n" not in str(error)

"""Tables of predictions, in each format."""

import csv
import os
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest

from export_samples import left_in, small_files
from selfsort.errors import UserError
from selfsort.export import tables
from selfsort.export.predictions import check_table, formats, write_predictions
from selfsort.tables import read_table

NASTY_IDS = (
    "plain/a.jpg",
    "two\nlines.png",
    "carriage\rreturn.png",
    'quotes "and", commas.png',
    "🌻/日本.png",
    os.fsdecode(b"not-utf8-\xff\xfe.jpg"),
    "=1+1",
    " spaces ",
    "",
)


def some_probabilities(n, k=4, seed=0):
    return np.random.default_rng(seed).dirichlet(np.ones(k), n).astype(np.float32)


def test_csv_round_trip(tmp_path):
    probabilities = some_probabilities(len(NASTY_IDS))
    write_predictions(tmp_path / "p.csv", NASTY_IDS, probabilities)
    rows = list(read_table(tmp_path / "p.csv"))
    assert tuple(row["id"] for row in rows) == NASTY_IDS
    assert [int(row["cluster"]) for row in rows] == probabilities.argmax(1).tolist()
    read = np.array([[float(row[f"p{k}"]) for k in range(4)] for row in rows])
    np.testing.assert_allclose(read, probabilities, rtol=1e-5)
    assert [float(row["confidence"]) for row in rows] == read.max(1).tolist()
    assert max(len(row["p0"]) for row in rows) <= len("1.23457e-05")


@pytest.mark.parametrize("bom", [False, True])
def test_csv_is_utf_8_that_no_spreadsheet_computes(tmp_path, bom):
    write_predictions(tmp_path / "p.csv", NASTY_IDS, some_probabilities(len(NASTY_IDS)), bom=bom)
    with open(tmp_path / "p.csv", encoding="utf-8", errors="strict", newline="") as file:
        ids = [row[0] for row in csv.reader(file)]
    assert ids[0] == ("\ufeffid" if bom else "id")
    assert r"not-utf8-\xff\xfe.jpg" in ids and "'=1+1" in ids


def test_parquet_round_trip(tmp_path):
    probabilities = some_probabilities(len(NASTY_IDS))
    write_predictions(tmp_path / "p.PARQUET", NASTY_IDS, probabilities)
    table = pq.read_table(tmp_path / "p.PARQUET")
    assert table.column_names == ["id", "cluster", "confidence", "p0", "p1", "p2", "p3"]
    expected = [*NASTY_IDS[:5], r"not-utf8-\xff\xfe.jpg", *NASTY_IDS[6:]]
    assert table["id"].to_pylist() == expected
    np.testing.assert_array_equal(np.stack([table[f"p{k}"].to_numpy() for k in range(4)], 1), probabilities)
    np.testing.assert_array_equal(table["cluster"].to_numpy(), probabilities.argmax(1))
    np.testing.assert_array_equal(table["confidence"].to_numpy(), probabilities.max(1))


def test_without_its_library_parquet_is_refused_with_advice(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UserError, match=r"pip install 'selfsort\[parquet\]', or write a \.csv"):
        check_table(tmp_path / "p.parquet")


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_no_pictures_give_a_table_without_rows(tmp_path, suffix):
    write_predictions(tmp_path / f"p{suffix}", [], np.zeros((0, 3), np.float32))
    assert left_in(tmp_path) == [f"p{suffix}"]


@pytest.mark.parametrize("name", ["p.xlsx", "p", "p.csv.gz"])
def test_other_suffix_is_refused(tmp_path, name):
    with pytest.raises(UserError, match=r"\.csv or \.parquet"):
        write_predictions(tmp_path / name, ["a"], some_probabilities(1))
    assert left_in(tmp_path) == []


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_full_disk_leaves_nothing(tmp_path, suffix):
    with small_files(2000), pytest.raises(UserError, match="Cannot write"):
        write_predictions(tmp_path / f"p{suffix}", [str(i) for i in range(5000)], some_probabilities(5000))
    assert left_in(tmp_path) == []


@pytest.mark.skipif(sys.platform == "win32", reason="needs the permissions of POSIX")
@pytest.mark.parametrize("name", ["p.csv", "new/p.parquet"])
def test_another_users_folder(closed, name):
    folder, held = closed
    with held(), pytest.raises(UserError, match="Cannot write .*: permission is denied"):
        write_predictions(folder / name, ["a"], some_probabilities(1))


def test_ids_must_fit(tmp_path):
    with pytest.raises(ValueError, match="2 ids"):
        write_predictions(tmp_path / "p.csv", ["a", "b"], some_probabilities(3))


def test_a_new_format_is_one_file(tmp_path, monkeypatch):
    (tmp_path / "lines.py").write_text(
        "SUFFIX = '.txt'\ndef write(path, predictions):\n    path.write_text(' '.join(predictions.columns()))\n"
    )
    monkeypatch.setattr(tables, "__path__", [*tables.__path__, str(tmp_path)])
    formats.cache_clear()
    try:
        write_predictions(tmp_path / "p.txt", ["a"], some_probabilities(1, k=2), ["rose", "tulip"])
        with pytest.raises(UserError, match=r"\.csv or \.txt or \.parquet|\.csv or \.parquet or \.txt"):
            check_table(tmp_path / "p.xlsx")
    finally:
        formats.cache_clear()
        sys.modules.pop("selfsort.export.tables.lines", None)
    assert (tmp_path / "p.txt").read_text() == "id cluster name confidence p0 p1"

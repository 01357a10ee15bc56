"""CSV tables give back what was written, are valid UTF-8, and hold nothing that a spreadsheet would evaluate."""

import csv
import io
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from selfsort.tables import cell_text, cell_value, read_table, table_bytes, utf8_text, write_table

# What a POSIX file system may return: any text, and single bytes that are not UTF-8.
TEXTS = st.text(st.one_of(st.characters(exclude_categories=["Cs"]), st.integers(0xDC80, 0xDCFF).map(chr)))
FORMULAS = [
    "=1+1",
    '=HYPERLINK("x").png',
    "+1.png",
    "@SUM(1).png",
    "-1+1",
    "\t=1",
    "\r=1",
    "\n=1",
    " =1",
    "＝1",
    "-inf",
]


@given(TEXTS)
@example("'")
@example("''=x")
@example(r"\x5c\xff\udcff")
@example("\\\udcff")
def test_a_text_comes_back(text: str) -> None:
    assert cell_value(cell_text(text)) == text
    cell_text(text).encode("utf-8")


@given(TEXTS, TEXTS)
def test_two_texts_never_become_one(one: str, other: str) -> None:
    assert (one == other) == (cell_text(one) == cell_text(other)) == (utf8_text(one) == utf8_text(other))


@pytest.mark.parametrize("text", FORMULAS)
@pytest.mark.parametrize("before", ["", "'", "''"])
def test_no_spreadsheet_evaluates_a_text(text: str, before: str) -> None:
    assert cell_text(before + text) == "'" + before + text


@pytest.mark.parametrize("text", ["rose", "'rose'", "-1", "+1.5e-3", "a=1", "1+1", "a\\b.png", "日本", " spaces ", ""])
def test_other_texts_stay_as_they_are(text: str) -> None:
    assert cell_text(text) == text


def test_text_after_another_separator_is_not_a_cell() -> None:
    written = table_bytes(["id", "n"], [["a;=1+1.png", 1], ["b\t=1+1.png", 2], ["c", 3]])
    assert written == b'id,n\r\n"a;=1+1.png","1"\r\n"b\t=1+1.png","2"\r\nc,3\r\n'
    for separator in ";\t":
        cells = [cell for row in csv.reader(io.StringIO(written.decode()), delimiter=separator) for cell in row]
        assert not any(cell.startswith("=") for cell in cells)


@pytest.mark.parametrize("bom", [False, True])
def test_a_table_comes_back(tmp_path: Path, bom: bool) -> None:
    rows = [{"id": "caf\udce9;.png", "name": "=1"}, {"id": 'a\n"b",\r', "name": "日本"}]
    write_table(tmp_path / "t.csv", ["id", "name"], [list(row.values()) for row in rows], bom=bom)
    assert list(read_table(tmp_path / "t.csv")) == rows
    text = (tmp_path / "t.csv").read_text(encoding="utf-8", errors="strict")
    assert text.startswith("\ufeff") == bom and r"caf\xe9;.png" in text


def test_a_table_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"id,name\r\ncaf\xe9.png,'rose'\r\n=1.png,\r\n")
    expected = [{"id": "caf\udce9.png", "name": "'rose'"}, {"id": "=1.png", "name": ""}]
    assert list(read_table(tmp_path / "t.csv")) == expected


@pytest.mark.parametrize("line", ["a", "a,b,c", 'a,"b'])
def test_a_damaged_table_is_noticed(tmp_path: Path, line: str) -> None:
    (tmp_path / "t.csv").write_text(f"id,name\n{line}\n")
    with pytest.raises((ValueError, csv.Error)):
        list(read_table(tmp_path / "t.csv"))

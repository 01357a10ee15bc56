"""The progress bar: drawn for people only, on standard error, and left behind as it ended."""

import pytest

from selfsort.progress import ProgressBar


def test_what_is_done_stands_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressBar("Reading [images]", total=40) as bar:
        bar.advance(15)
        bar.show(40, "Almost [done]")
    output = capsys.readouterr()
    assert "40/40" in output.err and "Almost [done]" in output.err and output.out == ""


def test_nothing_is_drawn_where_it_is_not_wanted(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressBar("Reading images", total=4, shown=False) as bar:
        bar.advance(4)
    assert bar.done == 4 and capsys.readouterr() == ("", "")

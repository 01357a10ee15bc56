"""The progress bar: drawn only for people, on standard error, and left there at the end."""

import pytest

from selfsort.progress import ProgressBar


def test_the_bar_is_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressBar("Reading [images]", total=40) as bar:
        bar.advance(15)
        bar.show(40, "Almost [done]")
    output = capsys.readouterr()
    assert "40/40" in output.err and "Almost [done]" in output.err and output.out == ""


def test_nothing_is_drawn_unless_wanted(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressBar("Reading images", total=4, shown=False) as bar:
        bar.advance(4)
    assert bar.done == 4 and capsys.readouterr() == ("", "")

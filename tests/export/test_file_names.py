"""Names of folders that any file system accepts."""

import numpy as np
import pytest

from export_samples import folder_set
from selfsort.export.file_names import folder_names
from selfsort.export.sort import sort_images


def test_numbers_are_padded_to_sort():
    assert folder_names(2, {}) == ["cluster-00", "cluster-01"]
    assert folder_names(1001, {})[::1000] == ["cluster-0000", "cluster-1000"]
    assert folder_names(300, {}) == sorted(folder_names(300, {}))


def test_clusters_of_one_name_share_a_folder(tmp_path):
    images = folder_set(tmp_path / "in", ["a.jpg", "b.jpg", "c.jpg"])
    names = {0: "rose", 1: "rose"}
    summary = sort_images(images, np.array([0, 1, 2]), tmp_path / "out", mode="link", n_clusters=3, names=names)
    assert summary.counts == {"rose": 2, "cluster-02": 1}


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("../../etc", "_/_/etc"),
        ("/abs", "abs"),
        ("bird/ robin /", "bird/robin"),
        ("..", "_"),
        ("...", "_"),
        ('a<b>:"c|d?*', "a_b___c_d__"),
        ("tab\tand\nline", "tab_and_line"),
        ("CON", "_CON"),
        ("lpt1.txt", "_lpt1.txt"),
        ("console", "console"),
        ("trailing. ", "trailing"),
        ("   ", "cluster-00"),
        ("日本 🌻", "日本 🌻"),
    ],
)
def test_names_are_made_safe(name, folder):
    assert folder_names(1, {0: name}) == [folder]


def test_long_names_fit_a_file_system(tmp_path):
    (folder,) = folder_names(1, {0: "🌻" * 200})
    (tmp_path / folder).mkdir()
    assert set(folder) == {"🌻"}


def test_names_that_become_alike_are_numbered():
    names = {0: "a:b", 1: "a?b", 2: "A_B", 3: "cluster-04"}
    assert folder_names(5, names) == ["a_b", "a_b__1", "A_B__2", "cluster-04__1", "cluster-04"]

"""Pictures sorted into folders."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
from PIL import Image

from export_samples import array_set, folder_set, left_in, small_files
from selfsort.data.loading import load_images
from selfsort.errors import UserError
from selfsort.export import sort
from selfsort.export.sort import sort_images


class TestSort:
    def test_links_point_to_the_originals(self, tmp_path):
        images = folder_set(tmp_path / "in", ["a.jpg", "sub/b.jpg", "c.jpg"])
        summary = sort_images(images, np.array([2, 0, 2]), tmp_path / "out", mode="link", n_clusters=3)
        assert summary.counts == {"cluster-00": 1, "cluster-01": 0, "cluster-02": 2} and summary.missing == ()
        assert left_in(tmp_path / "out") == ["cluster-00", "cluster-01", "cluster-02"]
        for folder, name, source in [("00", "b.jpg", "sub/b.jpg"), ("02", "a.jpg", "a.jpg"), ("02", "c.jpg", "c.jpg")]:
            link = tmp_path / "out" / f"cluster-{folder}" / name
            assert link.is_symlink() and os.readlink(link) == str(tmp_path / "in" / source)

    def test_links_of_relative_files_are_absolute(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        images = folder_set(Path("in"), ["a.jpg"])
        sort_images(images, np.array([0]), "deep/er/out", mode="link", n_clusters=1)
        assert os.readlink(tmp_path / "deep/er/out/cluster-00/a.jpg") == str(tmp_path / "in/a.jpg")

    def test_copies_are_separate_files(self, tmp_path):
        images = folder_set(tmp_path / "in", ["a.jpg", "b.jpg"])
        os.utime(tmp_path / "in/a.jpg", (1_000_000_000, 1_000_000_000))
        sort_images(images, np.array([0, 1]), tmp_path / "out", mode="copy", n_clusters=2)
        copy = tmp_path / "out/cluster-00/a.jpg"
        assert not copy.is_symlink() and copy.read_bytes() == (tmp_path / "in/a.jpg").read_bytes()
        assert copy.stat().st_mtime == 1_000_000_000
        assert (tmp_path / "in/a.jpg").exists()

    @pytest.mark.parametrize("channels", [1, 3])
    def test_pictures_without_files_become_png(self, tmp_path, channels):
        images = array_set(["rose/1.jpg", "array/00001"], channels)
        sort_images(images, np.array([0, 0]), tmp_path / "out", mode="copy", n_clusters=1)
        assert left_in(tmp_path / "out/cluster-00") == ["00001.png", "1.png"]
        with Image.open(tmp_path / "out/cluster-00/1.png") as picture:
            np.testing.assert_array_equal(np.asarray(picture).reshape(5, 6, channels), images.images[0])

    def test_a_picture_of_an_archive_is_written_at_its_own_size(self, tmp_path):
        with ZipFile(tmp_path / "photos.zip", "w") as archive, archive.open("a.png", "w") as member:
            Image.new("RGB", (90, 60), (200, 0, 0)).save(member, format="PNG")
        images = load_images(tmp_path / "photos.zip", size=8)
        sort_images(images, np.array([0]), tmp_path / "out", mode="copy", n_clusters=1)
        with Image.open(tmp_path / "out/cluster-00/a.png") as picture:
            assert picture.size == (90, 60)

    def test_links_need_files(self, tmp_path):
        with pytest.raises(UserError, match=r"some\.zip.*mode='copy'"):
            sort_images(array_set(["a"]), np.array([0]), tmp_path / "out", mode="link", n_clusters=1)
        assert left_in(tmp_path) == []

    def test_equal_file_names_do_not_collide(self, tmp_path):
        names = ["x/a.jpg", "y/a.jpg", "y/a__1.jpg", "z/A.JPG", "x/b.tar.jpg", "y/b.tar.jpg"]
        images = folder_set(tmp_path / "in", names)
        sort_images(images, np.zeros(6, int), tmp_path / "out", mode="link", n_clusters=1)
        links = {name: os.readlink(tmp_path / "out/cluster-00" / name) for name in left_in(tmp_path / "out/cluster-00")}
        expected = ["a.jpg", "a__1.jpg", "a__1__1.jpg", "A__2.JPG", "b.tar.jpg", "b.tar__1.jpg"]
        assert links == {name: str(tmp_path / "in" / source) for name, source in zip(expected, names, strict=True)}
        assert len({name.casefold() for name in links}) == 6

    @pytest.mark.parametrize(
        "leaf", ["x" * 254, "x" * 250 + ".png", "a." + "x" * 252, "é" * 127, "é" * 120 + "." + "y" * 14]
    )
    @pytest.mark.parametrize("mode", ["link", "copy"])
    def test_names_as_long_as_a_file_system_allows(self, tmp_path, leaf, mode):
        images = folder_set(tmp_path / "in", [f"{folder}/{leaf}" for folder in "123"])
        summary = sort_images(images, np.zeros(3, int), tmp_path / "out", mode=mode, n_clusters=1)
        assert summary.missing == () and len(left_in(tmp_path / "out/cluster-00")) == 3

    def test_any_name_in_the_plainest_locale(self, tmp_path):
        folder_set(tmp_path / "in", ["1/日本.jpg", "2/日本.jpg"])
        script = """
import sys
import numpy as np
from selfsort.data.loading import load_images
from selfsort.export.sort import sort_images
assert sys.getfilesystemencoding() == "ascii"
for mode in ("link", "copy"):
    sort_images(load_images("in"), np.zeros(2, int), mode, mode=mode, n_clusters=1, names={0: "caf\\xe9"})
"""
        plain = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
        subprocess.run([sys.executable, "-c", script], cwd=tmp_path, timeout=60, check=True, env=os.environ | plain)
        for mode in ("link", "copy"):
            assert left_in(tmp_path / mode) == ["café"]
            assert left_in(tmp_path / mode / "café") == ["日本.jpg", "日本__1.jpg"]

    def test_ids_cannot_escape(self, tmp_path):
        ids = [
            "../../evil",
            "/etc/passwd",
            "..",
            "a/..",
            "",
            "..\\..\\evil",
            "C:\\con.jpg",
            "nul\0l.jpg",
            "x" * 300,
            "é" * 200,
        ]
        sort_images(array_set(ids), np.zeros(len(ids), int), tmp_path / "deep/out", mode="copy", n_clusters=1)
        assert left_in(tmp_path) == ["deep"] and left_in(tmp_path / "deep") == ["out"]
        written = [path for path in (tmp_path / "deep").rglob("*") if path.is_file()]
        assert len(written) == len(ids)
        assert {path.parent for path in written} == {tmp_path / "deep/out/cluster-00"}
        assert {"evil.png", "evil__1.png", "passwd.png", "_con.png"} <= {path.name for path in written}

    def test_existing_target_is_never_touched(self, tmp_path):
        images = folder_set(tmp_path / "in", ["a.jpg"])
        out = tmp_path / "out"
        out.mkdir()
        (out / "precious.txt").write_text("mine")
        with pytest.raises(UserError, match="out' exists.*nothing is overwritten"):
            sort_images(images, np.array([0]), out, mode="link", n_clusters=1)
        assert left_in(out) == ["precious.txt"] and left_in(tmp_path) == ["in", "out"]
        with pytest.raises(UserError, match="precious.txt' exists"):
            sort_images(images, np.array([0]), out / "precious.txt", mode="link", n_clusters=1)
        assert (out / "precious.txt").read_text() == "mine"

    def test_empty_target_is_accepted_even_through_a_link(self, tmp_path):
        images = folder_set(tmp_path / "in", ["a.jpg"])
        (tmp_path / "real").mkdir()
        (tmp_path / "out").symlink_to(tmp_path / "real")
        sort_images(images, np.array([0]), tmp_path / "out", mode="copy", n_clusters=1)
        assert (tmp_path / "real/cluster-00/a.jpg").is_file() and (tmp_path / "out").is_symlink()

    @pytest.mark.parametrize("mode", ["link", "copy"])
    def test_vanished_files_are_listed(self, tmp_path, mode):
        images = folder_set(tmp_path / "in", ["a.jpg", "b.jpg", "c.jpg"])
        (tmp_path / "in/b.jpg").unlink()
        summary = sort_images(images, np.zeros(3, int), tmp_path / "out", mode=mode, n_clusters=1)
        assert summary.missing == ("b.jpg",) and summary.counts == {"cluster-00": 2}
        assert left_in(tmp_path / "out/cluster-00") == ["a.jpg", "c.jpg"]
        assert summary.to_json() == {"folders": {"cluster-00": 2}, "missing": ["b.jpg"]}

    @pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device"), MemoryError()])
    def test_a_failure_in_the_middle_leaves_nothing(self, tmp_path, monkeypatch, error):
        images = folder_set(tmp_path / "in", ["a.jpg", "b.jpg", "c.jpg"])
        copied = []

        def failing_copy(source, target):
            if len(copied) == 2:
                raise error
            copied.append(shutil.copyfile(source, target))

        monkeypatch.setattr(sort.shutil, "copy2", failing_copy)
        expected = UserError if isinstance(error, OSError) else type(error)
        with pytest.raises(expected):
            sort_images(images, np.zeros(3, int), tmp_path / "out", mode="copy", n_clusters=1)
        assert len(copied) == 2 and left_in(tmp_path) == ["in"]

    def test_full_disk_leaves_nothing(self, tmp_path):
        images = folder_set(tmp_path / "in", ["a.jpg", "b.jpg"])
        (tmp_path / "in/b.jpg").write_bytes(b"x" * 100_000)
        with small_files(10_000), pytest.raises(UserError, match="Cannot write"):
            sort_images(images, np.zeros(2, int), tmp_path / "out", mode="copy", n_clusters=1)
        assert left_in(tmp_path) == ["in"]

    def test_a_disk_full_while_copying_is_not_a_vanished_file(self, tmp_path, monkeypatch):
        # shutil's fast copy names the source first when the target's disk is full.
        images = folder_set(tmp_path / "in", ["a.jpg"])

        def full(source, target):
            raise OSError(28, "No space left on device", str(source), None, str(target))

        monkeypatch.setattr(sort.shutil, "copy2", full)
        with pytest.raises(UserError, match="disk is full"):
            sort_images(images, np.zeros(1, int), tmp_path / "out", mode="copy", n_clusters=1)

    def test_leftovers_of_a_killed_run_do_no_harm(self, tmp_path):
        script = f"""
import os, signal, sys
import numpy as np
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from pathlib import Path
from export_samples import folder_set
from selfsort.export import sort
images = folder_set(Path({str(tmp_path / "in")!r}), ["a.jpg", "b.jpg"])
sort.shutil.copy2 = lambda source, target: os.kill(os.getpid(), signal.SIGKILL)
sort.sort_images(images, np.array([0, 0]), {str(tmp_path / "out")!r}, mode="copy", n_clusters=1)
"""
        killed = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, timeout=60)
        assert killed.returncode == -9
        (left,) = [name for name in left_in(tmp_path) if name != "in"]
        assert left.startswith(".out.partial")
        # The worst case: the next process gets the same id.
        (tmp_path / left).rename(tmp_path / f".out.partial-{os.getpid()}")
        images = folder_set(tmp_path / "in", ["a.jpg", "b.jpg"])
        sort_images(images, np.array([0, 0]), tmp_path / "out", mode="copy", n_clusters=1)
        assert left_in(tmp_path / "out/cluster-00") == ["a.jpg", "b.jpg"]

    def test_a_file_system_without_links_is_reported(self, tmp_path, monkeypatch):
        images = folder_set(tmp_path / "in", ["a.jpg"])

        def refuse(link, source):
            raise OSError(1, "Operation not permitted", str(source), None, str(link))

        monkeypatch.setattr(Path, "symlink_to", refuse)
        with pytest.raises(UserError, match="does not support symbolic links: use mode='copy'"):
            sort_images(images, np.array([0]), tmp_path / "out", mode="link", n_clusters=1)
        assert left_in(tmp_path) == ["in"]

    @pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a place where even root may not write")
    def test_an_unwritable_folder_is_reported(self, tmp_path):
        images = folder_set(tmp_path / "in", ["a.jpg"])
        with pytest.raises(UserError, match="Cannot write '/proc/selfsort/out'"):
            sort_images(images, np.array([0]), "/proc/selfsort/out", mode="link", n_clusters=1)

    @pytest.mark.parametrize("clusters", [[0], [0, 2], [0, -1]])
    def test_clusters_must_fit(self, tmp_path, clusters):
        images = folder_set(tmp_path / "in", ["a.jpg", "b.jpg"])
        with pytest.raises(ValueError, match="one cluster from 0 to 1"):
            sort_images(images, np.array(clusters), tmp_path / "out", mode="link", n_clusters=2)

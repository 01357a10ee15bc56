import io

import numpy as np
import pytest
from PIL import Image

from selfsort.errors import UserError
from selfsort.reporting import figures
from selfsort.reporting.figures import DARK, LIGHT


def pixels(png: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(png)) as picture:
        assert picture.format == "PNG"
        picture.load()
        return np.asarray(picture.convert("RGB"))


def colours(picture: np.ndarray) -> set[tuple[int, ...]]:
    return {tuple(colour) for colour in np.unique(picture.reshape(-1, 3), axis=0).tolist()}


def solid(n: int, side: int = 8, channels: int = 3) -> np.ndarray:
    """Make n pictures, each of one grey level: 100, 101, …"""
    return np.broadcast_to(np.arange(100, 100 + n, dtype=np.uint8)[:, None, None, None], (n, side, side, channels))


class TestSheets:
    @pytest.mark.parametrize("channels", [1, 3])
    def test_contact_sheet_holds_each_picture_in_its_place(self, channels):
        sheet = pixels(figures.contact_sheet(solid(7, channels=channels), 3, side=16))
        assert sheet.shape == (3 * 18 + 2, 3 * 18 + 2, 3)
        for index in range(7):
            row, column = divmod(index, 3)
            cell = sheet[2 + 18 * row :, 2 + 18 * column :][:16, :16]
            assert colours(cell) == {(100 + index,) * 3}
        assert colours(sheet[-18:, -36:]) == {(255, 255, 255)}

    def test_small_pictures_keep_their_pixels(self):
        picture = np.random.default_rng(0).integers(0, 256, (1, 4, 4, 3), np.uint8)
        sheet = pixels(figures.contact_sheet(picture, 1, side=32))
        np.testing.assert_array_equal(sheet[2:34, 2:34], picture[0].repeat(8, 0).repeat(8, 1))

    def test_oblong_pictures_keep_their_shape(self):
        sheet = pixels(figures.contact_sheet(np.full((1, 10, 20, 1), 7, np.uint8), 1, side=40))
        assert sheet.shape == (20 + 4, 40 + 4, 3)

    def test_large_pictures_are_made_smaller(self):
        assert pixels(figures.contact_sheet(solid(1, side=300), 1, side=64)).shape == (70, 70, 3)

    def test_row_titles_are_on_the_left(self):
        plain = pixels(figures.contact_sheet(solid(4), 2))
        titled = pixels(figures.contact_sheet(solid(4), 2, row_titles=["cluster 0", r"$\frac"]))
        margin = titled.shape[1] - plain.shape[1]
        np.testing.assert_array_equal(titled[:, margin:], plain)
        height = titled.shape[0] // 2
        assert all(len(colours(part)) > 10 for part in (titled[:height, :margin], titled[height:, :margin]))

    def test_views_are_beside_their_original(self):
        originals = solid(2)
        views = np.stack([originals + 10 * (number + 1) for number in range(6)], axis=1)
        sheet = pixels(figures.views_sheet(originals, views, side=18))
        top = sheet.shape[0] - 2 * 20
        for row in range(2):
            for column in range(7):
                cell = sheet[top + 20 * row :, 2 + 20 * column :][:18, :18]
                assert colours(cell) == {(100 + row + 10 * column,) * 3}
        assert len(colours(sheet[:top])) > 10  # the titles

    def test_views_may_have_another_size(self):
        assert pixels(figures.views_sheet(solid(1, side=8), solid(6, side=5)[None], side=18)).shape[1] == 7 * 20 + 2


class TestCurves:
    history = [{"epoch": e, "loss": 1 / e, "largest_class": 0.5, "smallest_class": 0.1} for e in range(1, 9)]

    def test_only_what_was_measured_can_be_drawn(self):
        history = [{**row, "class_entropy": np.nan, "effective_rank": np.inf} for row in self.history]
        assert [curve.columns for curve in figures.drawable_curves(history)] == [
            ("loss",),
            ("largest_class", "smallest_class"),
        ]
        assert figures.drawable_curves([]) == []

    @pytest.mark.parametrize("theme", [LIGHT, DARK])
    def test_a_panel_for_each(self, theme):
        one = pixels(figures.loss_curves(self.history, curves=figures.CURVES[:1], theme=theme))
        five = pixels(figures.loss_curves(self.history, theme=theme))
        assert one.shape == (405, 648, 3) and five.shape == (1215, 1296, 3)
        assert colours(one[:3]) == {tuple(int(theme.paper[i : i + 2], 16) for i in (1, 3, 5))}
        assert (0x3F, 0x90, 0xDA) in colours(one)

    @pytest.mark.slow
    def test_a_single_epoch_and_gaps_are_visible(self):
        assert (0x3F, 0x90, 0xDA) in colours(pixels(figures.loss_curves(self.history[:1])))
        gap = [*self.history[:4], {"epoch": 5, "loss": np.nan}, *self.history[5:]]
        assert (0x3F, 0x90, 0xDA) in colours(pixels(figures.loss_curves(gap)))


class TestMap:
    def test_clusters_have_colours_and_numbers(self):
        points = np.random.default_rng(0).normal(size=(300, 2))
        seen = pixels(figures.embedding_map(points, np.arange(300) % 3))
        assert seen.shape == (960, 960, 3)
        reds = seen.astype(int)[..., 0] - seen[..., 2]
        assert reds.max() > 80 and reds.min() < -40  # orange and blue
        assert (seen.max(-1) < 60).sum() > 50  # the numbers

    def test_more_than_ten_clusters_differ(self):
        assert len({figures.cluster_marker(cluster) for cluster in range(70)}) == 70

    def test_the_number_is_on_a_point_of_its_cluster(self):
        ring = np.stack([np.cos(np.arange(9)), np.sin(np.arange(9))], 1)
        assert figures.central_point(ring) in [tuple(point) for point in ring.tolist()]

    @pytest.mark.slow
    def test_hundreds_of_clusters_and_one_point(self):
        points = np.random.default_rng(0).normal(size=(400, 2))
        assert len(colours(pixels(figures.embedding_map(points, np.arange(400), theme=DARK)))) > 100
        assert len(colours(pixels(figures.embedding_map(points[:1], np.array([5]))))) > 10

    def test_a_legend_is_beside_the_points(self):
        points, clusters = np.random.default_rng(0).normal(size=(300, 2)), np.arange(300) % 3
        seen = pixels(figures.embedding_map(points, clusters, names=("_a", "b", "$c$"), legend=True))
        assert seen.shape == (960, 1170, 3)
        assert (seen[:, 960:].max(-1) < 60).any() and not (seen[:, :940].max(-1) < 60).any()  # all text is there

    def test_no_points_give_an_empty_map(self):
        assert colours(pixels(figures.embedding_map(np.zeros((0, 2)), np.zeros(0, int)))) == {(255, 255, 255)}


class TestConfusionMatrix:
    def test_shades_follow_the_share_of_the_row(self):
        counts = np.array([[90, 10], [0, 1], [0, 0]])
        seen = pixels(figures.confusion_matrix(counts, ["rose", "$x_", "日本"], ["0", "1"]))
        assert seen.shape[0] == (90 + 46 * 4) * 1.5 and seen.shape[1] == (130 + 46 * 4) * 1.5
        darkest = seen.min(axis=2)
        assert (8, 48, 107) in colours(seen) and darkest.max() == 255

    @pytest.mark.parametrize("shape", [(1, 1), (2, 300), pytest.param((70, 70), marks=pytest.mark.slow)])
    def test_any_shape(self, shape):
        names = [[f"name {number}" for number in range(length)] for length in shape]
        assert len(colours(pixels(figures.confusion_matrix(np.ones(shape, int), *names)))) > 5


class TestSavePng:
    def test_written_as_given(self, tmp_path):
        figures.save_png(b"png", tmp_path / "new/views.PNG")
        assert (tmp_path / "new/views.PNG").read_bytes() == b"png"

    def test_other_suffix_is_refused(self, tmp_path):
        with pytest.raises(UserError, match=r"views\.jpg.*\.png"):
            figures.save_png(b"png", tmp_path / "views.jpg")
        assert list(tmp_path.iterdir()) == []

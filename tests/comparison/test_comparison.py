"""Comparing methods: the time budget, the figures without labels, the ranking, and the command."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from commands import Cli
from samples import kinds, pictures, quick
from selfsort import methods
from selfsort.augment import Views
from selfsort.comparison import compare, rank, rank_correlation
from selfsort.comparison.figures import gentle, seed_agreement, view_agreement
from selfsort.comparison.fitting import epochs_within
from selfsort.data.image_set import ImageSet, as_image_set
from selfsort.errors import UserError
from selfsort.training.callbacks import History


@pytest.fixture
def images() -> ImageSet:
    return as_image_set(pictures(40))


def test_seeds_agree_fully_whatever_the_numbers_of_the_groups_and_not_at_all_by_chance() -> None:
    groups = np.arange(300) % 3
    assert seed_agreement([groups, (groups + 1) % 3]) == pytest.approx(1)
    random = [np.random.default_rng(seed).integers(0, 3, 300) for seed in (0, 1)]
    found = seed_agreement(random)
    assert found is not None and abs(found) < 0.05
    assert seed_agreement([groups]) is None


def test_views_that_change_nothing_change_no_group_and_noise_changes_many(images: ImageSet) -> None:
    model = quick("kmeans").fit(images)
    assert view_agreement(model, images, Views()) == pytest.approx(1)
    assert view_agreement(model, images, Views(crop_scale=(0.05, 0.1), noise=0.8)) < 0.9


def test_views_are_the_same_for_every_model(images: ImageSet) -> None:
    model = quick("kmeans").fit(images)
    views = Views(rotation=90, noise=0.3)
    assert view_agreement(model, images, views) == view_agreement(model, images, views)


def test_gentle_views_keep_half_of_a_picture_and_all_other_settings() -> None:
    assert gentle("natural:rotation=7") == gentle("natural:rotation=7,crop_scale=0.5..1")
    assert gentle("transformations:rotation").choices == ("rotation",)  # type: ignore[union-attr]


def test_ties_share_ranks_and_figures_that_some_methods_lack_are_ignored() -> None:
    figures = {"a": {"seeds": 0.9, "views": None}, "b": {"seeds": 0.9, "views": 1.0}, "c": {"seeds": 0.1, "views": 0.0}}
    assert rank(figures) == [("a", 1.5), ("b", 1.5), ("c", 3.0)]
    assert rank({"a": {"seeds": None}}) == [("a", 1.0)]


def test_rank_correlation_is_spearmans() -> None:
    assert rank_correlation([1, 2, 3, 4], [10, 20, 30, 5]) == pytest.approx(-0.2)
    assert rank_correlation([1, 1], [1, 2]) is None


def test_epochs_fill_the_share_of_the_budget_and_never_exceed_the_methods_own(
    images: ImageSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"views": "none", "batch_size": "8", "epochs": "30"}
    assert epochs_within("kmeans", {}, images, 1.0) == 0
    assert epochs_within("simclr", settings, images, 3600.0) == 30

    class Timed:
        history_ = History(seconds=2.0)

        def fit(self, sample: ImageSet) -> "Timed":
            assert len(sample) == len(images)
            return self

    made = methods.make
    monkeypatch.setattr(methods, "make", lambda name, given: Timed() if given["epochs"] == "1" else made(name, given))
    assert epochs_within("simclr", settings, images, 21.0) == 10
    with pytest.raises(UserError, match="One epoch of simclr on these 40 pictures takes about 2.0 s, but its share"):
        epochs_within("simclr", settings, images, 1.0)


def test_an_interrupted_comparison_continues_with_the_epochs_it_started_with(images: ImageSet, tmp_path: Path) -> None:
    options = {"n_classes": 3, "minutes": 1.0, "views": "none", "n_seeds": 1}
    settings = {"n_classes": "3", "views": "none", "random_state": "0", "epochs": "3"}

    def stop(history: History) -> None:
        if len(history.rows) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        methods.make("simclr", settings).fit(images, run_dir=tmp_path / "simclr-0", on_epoch=stop)
    (found,) = compare(["simclr"], images, tmp_path, **options)
    assert not found.failed and found.epochs == 3


def test_a_comparison_reuses_its_runs_and_refuses_other_pictures(images: ImageSet, tmp_path: Path) -> None:
    lines: list[str] = []
    options = {"n_classes": 3, "minutes": 1.0, "views": "none", "progress": lines.append}
    first = compare(["kmeans"], images, tmp_path, **options)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npy")}
    assert before and first[0].figures["seeds"] is not None and first[0].accuracy is None
    again = compare(["kmeans"], images, tmp_path, **options)
    assert again == first
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npy")}
    assert "kmeans, 30 s for each of 2 seeds" in lines
    (other,) = compare(["kmeans"], as_image_set(pictures(30)), tmp_path, **options)
    assert "was trained on other pictures" in other.failed


def test_bad_methods_are_refused_and_one_that_fails_does_not_stop_the_others(
    images: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"n_classes": 3, "minutes": 1.0, "views": "none", "n_seeds": 1}
    with pytest.raises(UserError, match="named twice"):
        compare(["kmeans", "kmeans"], images, tmp_path, **options)
    with pytest.raises(UserError, match="Unknown method 'kmean'"):
        compare(["kmean"], images, tmp_path, **options)
    (failed,) = compare(["kmeans"], as_image_set(pictures(2)), tmp_path, **options)
    assert failed.failed and failed.figures == {}


@pytest.mark.slow
def test_the_command_ranks_without_labels_and_shows_the_clusters(tmp_path: Path, cli: Cli) -> None:
    for index, (pixels, kind) in enumerate(zip(pictures(30), kinds(30), strict=True)):
        (tmp_path / "photos" / f"kind-{kind}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"kind-{kind}" / f"{index:02d}.png")
    words = ["compare", tmp_path / "photos", "--methods", "kmeans,simclr", "--classes", 3, "--seeds", 1]
    words += ["--size", 16, "--minutes", 4, "--out", tmp_path / "compared"]
    words += ["--value-range", "type", "--page", 0, "--account", tmp_path / "account.csv"]
    found = cli.json(*words)
    assert {row["method"] for row in found["methods"]} == {"kmeans", "simclr"}
    assert all(0 <= row["accuracy"] <= 1 and Path(row["folders"][0]).is_dir() for row in found["methods"])
    page = (tmp_path / "compared" / "comparison.html").read_text()
    shown = {f"{100 * row[score]:.1f}" for row in found["methods"] for score in ("accuracy", "nmi")}
    assert all(f">{score}\N{NO-BREAK SPACE}%<" in page for score in shown)
    assert page.count("data:image/png") == 2 and 'src="http' not in page
    assert (tmp_path / "account.csv").read_text().count(",used,") == 30
    told = cli(*words)
    assert told.code == 0 and "Next: selfsort label" in told.out and "accuracy" in told.out

"""Fit several methods, each within its share of a time budget."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from selfsort import methods, runs
from selfsort.augment import views_from
from selfsort.comparison.figures import FIGURES, gentle, seed_agreement, view_agreement
from selfsort.data.image_set import ImageSet
from selfsort.errors import UserError
from selfsort.evaluation.group_quality import Comparison, GroupQuality
from selfsort.evaluation.metrics import clustering_scores
from selfsort.methods.base import Estimator

_TIMED = 512  # pictures on which an epoch is timed, or two batches if that is more


@dataclass(frozen=True)
class Budget:
    """How long a comparison may take: `seconds` in all, for `n_methods` with `n_seeds` each."""

    seconds: float
    n_methods: int
    n_seeds: int

    @property
    def share(self) -> float:
        """Return the seconds of one method with one seed."""
        return self.seconds / (self.n_methods * self.n_seeds)


@dataclass(frozen=True)
class MethodResult:
    """The result of one method.

    Attributes
    ----------
    method : its name
    folders : the run of each seed
    epochs : passes over the pictures with each seed; 0 for a method that trains nothing
    minutes : that fitting took, all seeds together
    figures : by their names in `FIGURES`, the mean over the seeds
    accuracy, nmi : fractions, the mean over the seeds; None without labels
    failed : why there is no result; "" if there is one

    """

    method: str
    folders: tuple[str, ...] = ()
    epochs: int = 0
    minutes: float = 0.0
    figures: Mapping[str, float | None] = field(default_factory=dict)
    accuracy: float | None = None
    nmi: float | None = None
    failed: str = ""


def epochs_within(method: str, settings: dict[str, str], images: ImageSet, seconds: float) -> int:
    """Return for how many epochs a method can train on `images` in `seconds`, at most its default number.

    One epoch on a sample is timed. Methods that train nothing need 0.

    Raises
    ------
    UserError
        If there is not even time for one epoch.

    """
    model = methods.make(method, settings)
    if not model.trains:
        return 0
    usual = int(model.get_params()["epochs"])
    count = min(len(images), max(_TIMED, 2 * int(model.get_params()["batch_size"])))
    sample = images.subset(np.sort(np.random.default_rng(0).permutation(len(images))[:count]))
    began = time.monotonic()
    timed = methods.make(method, settings | {"epochs": "1", "n_classes": "2"}).fit(sample)
    scale = len(images) / count
    epoch = scale * timed.history_.seconds
    rest = scale * max(0.0, time.monotonic() - began - timed.history_.seconds)
    epochs = min(usual, int((seconds - rest) / max(epoch, 1e-9)))
    if epochs < 1:
        raise UserError(
            f"One epoch of {method} on these {len(images):,} pictures takes about {_duration(rest + epoch)}, but its "
            f"share of the budget is {_duration(seconds)}: allow more minutes, or compare fewer methods."
        )
    return epochs


def compare(
    names: Sequence[str],
    images: ImageSet,
    out: Path,
    *,
    n_classes: int,
    minutes: float,
    views: str,
    n_seeds: int = 2,
    random_state: int = 0,
    progress: Callable[[str], None] = lambda line: None,
) -> list[MethodResult]:
    """Fit methods within a time budget, each with several seeds; every run is kept in `out` as METHOD-SEED.

    Labels of `images` are used only to score the results; no method sees them. Runs that are already complete are
    reused. If a method cannot be fitted, it is reported as failed, and the others continue. Methods that train with
    views use `views`; `view_agreement` is measured with `gentle` ones. `progress` is called with a line for each step.

    Raises
    ------
    UserError
        For an unknown method, or one that is named twice.

    """
    if len(set(names)) < len(names):
        raise UserError(f"A method is named twice in {', '.join(names)}: name each method once.")
    if not names:
        raise UserError("No method is named: name at least one, such as frozen.")
    views_from(views)
    for name in names:
        methods.make(name, {})
    budget = Budget(60 * minutes, len(names), n_seeds)
    found = []
    for name in names:
        progress(f"{name}, {_duration(budget.share)} for each of {n_seeds} seeds")
        try:
            found.append(_result(name, images, out, {"n_classes": str(n_classes)}, budget, views, random_state))
        except UserError as error:
            found.append(MethodResult(name, failed=str(error)))
            progress(f"{name} failed: {error}")
    return found


def _result(
    method: str,
    images: ImageSet,
    out: Path,
    settings: dict[str, str],
    budget: Budget,
    views: str,
    random_state: int,
) -> MethodResult:
    if "views" in methods.make(method, {}).get_params():
        settings |= {"views": views}
    epochs = _epochs_before(_folder(out, method, random_state))
    if epochs is None:
        epochs = epochs_within(method, settings, images, budget.share)
    if epochs:
        settings["epochs"] = str(epochs)
    folders, labels, seen, judged, minutes = [], [], [], [], 0.0
    for seed in range(random_state, random_state + budget.n_seeds):
        folder = _folder(out, method, seed)
        model = _fitted(method, settings | {"random_state": str(seed)}, images, folder)
        folders.append(str(folder))
        labels.append(model.labels_)
        minutes += model.run_["training"]["minutes"]
        judged.append(GroupQuality.from_json(model.run_["training"]["groups"]))
        seen.append(view_agreement(model, images, gentle(views), random_state=seed))
    figures = dict.fromkeys(FIGURES) | {
        "seeds": seed_agreement(labels),
        "views": float(np.mean(seen)),
        "neighbours": _lead([each.neighbors for each in judged]),
        "stability": _lead([each.stability for each in judged]),
    }
    accuracy, nmi = _scores(images, labels)
    return MethodResult(method, tuple(folders), epochs, minutes, figures, accuracy, nmi)


def _folder(out: Path, method: str, seed: int) -> Path:
    return out / f"{method}-{seed}"


def _epochs_before(path: Path) -> int | None:
    """Return how many epochs were chosen for a method earlier, whose first run is in `path`; None if none was begun."""
    folder = runs.RunFolder(path)
    if not folder.manifest.exists():
        return None
    run = folder.read_manifest()
    return int(run["params"]["epochs"]) if methods.find(run["method"]).trains else 0


def _fitted(method: str, settings: dict[str, str], images: ImageSet, folder: Path) -> Estimator:
    if runs.RunFolder(folder).is_complete():
        model = methods.load(folder)
    else:
        model = methods.make(method, settings).fit(images, run_dir=folder, resume=folder.exists())
    if model.ids_ != images.ids:
        raise UserError(f"{str(folder)!r} was trained on other pictures: choose another folder, or delete it.")
    return model


def _lead(comparisons: Sequence[Comparison]) -> float:
    return float(np.mean([each.lead for each in comparisons]))


def _scores(images: ImageSet, labels: Sequence[NDArray[np.int64]]) -> tuple[float | None, float | None]:
    if images.labels is None:
        return None, None
    known = images.labels >= 0
    scores = [clustering_scores(images.labels[known], found[known]) for found in labels]
    return float(np.mean([each.accuracy for each in scores])), float(np.mean([each.nmi for each in scores]))


def _duration(seconds: float) -> str:
    if seconds >= 90:
        return f"{seconds / 60:.1f} minutes"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{max(0.0, seconds):.1f} s"

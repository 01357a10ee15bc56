"""Paper 3: ExemplarCNN and its clustered surrogate classes (tables 2 and 3, figures 1 and 2).

The network learns from unlabelled pictures; a one-vs-all linear SVM on its features learns from ten folds of labelled
ones, STL-10's own folds if the set is torchvision's STL-10, and is scored on all test pictures (section 3.2.1). "mean"
and "std" in the paper are over the folds; ours is the mean, and the deviation over the folds is in the note.

The paper's rows are complemented by the same features of an untrained network, and an SVM on the pixels. For the row
"ImageNet" (patches of other pictures than those it is tested on) STL-10 uses the folder tiny_imagenet, and
tiny_imagenet the folder flowers.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from papers.data import is_folder, load_part
from papers.kept import classified, embedded, fitted, packed, unpacked
from papers.runner import (
    Drawing,
    Experiment,
    Outcome,
    Paper,
    Row,
    Scale,
    Trial,
    Where,
    kept_epochs,
    outcome_of,
    refuse_settings,
)
from papers.supervised import SupervisedNet
from selfsort import methods
from selfsort.audit import Audit, audit
from selfsort.augment import resolved, views_from
from selfsort.augment.patches import PatchMaker
from selfsort.data.image_set import ImageSet
from selfsort.data.loading import load_images
from selfsort.data.sources.torchvision_sets import n_folds
from selfsort.errors import UserError
from selfsort.evaluation.probes import SVMLabels, svm_labels
from selfsort.evaluation.protocol import Labelled, evaluate_folds, seeded_folds
from selfsort.methods.base import TrainedEstimator
from selfsort.methods.exemplar_cnn import ExemplarCNN
from selfsort.models.backbones import Backbone, make_backbone
from selfsort.models.base import Net, Output
from selfsort.parameters import parse
from selfsort.reporting.figures import bar_chart, contact_sheet, views_sheet
from selfsort.training.data import ImageData
from selfsort.training.loop import train
from selfsort.training.recipe import pick_device, seed_of

Rows = NDArray[np.int64]

DATASETS = ("stl10", "tiny_imagenet")
EPOCHS = 110
SEEDS = 1
FOLDS = 10
# Percent on STL-10 (table 2).
PUBLISHED: dict[str, float | None] = {
    "random-network": None,
    "raw-pixels": None,
    "exemplar-cnn": 74.14,
    "clustered": 76.42,
    "other-pictures": 70.7,
    "semi-supervised": 74.05,
}
METHODS = tuple(PUBLISHED)
TITLES = dict(
    zip(
        METHODS,
        ("random network", "pixels", "ExemplarCNN", "Clustering", "other pictures", "semi-supervised"),
        strict=True,
    )
)
# Results quoted in table 3; with a star, trained on all labels instead of a fold.
OTHERS = {"SWWAE": 74.3, "ConvClustering": 74.1, "ExemplarCNN, 2016": 74.2, "Cutout*": 87.26, "IIC*": 88.8}
_ELSEWHERE = {"stl10": "tiny_imagenet", "tiny_imagenet": "flowers"}
_SHOWN, _PATCHES = 6, 10  # pictures of figure 1, and patches of each
_FOUND = 8  # pictures of each kind in figure 2
METRIC = "svm_10_folds"
_DARK = 32  # of 255: up to here a border counts as black
_STAGES = ("resnet_", "clustered_")  # prefixes of settings for the ResNet, and for the second training only
_OF_RANDOM_FEATURES = ("network", "patch_size", "surrogate_classes")
_SET_BY_METHOD = {"clustered": "give --method clustered", "encoder": "the first network finds the clusters"}
_RESNET = {"resnet_backbone": "resnet18", "resnet_epochs": "30", "resnet_keep": "1.0", "resnet_views": "natural"}


class _Folded(NamedTuple):
    unlabelled: ImageSet
    folds: tuple[ImageSet, ...]  # a single one, to be split, if the set has no folds of its own
    test: ImageSet


@lru_cache(maxsize=1)
def pictures_of(dataset: str, data_root: Path | None, subset: int | None, seed: int) -> _Folded:
    """Return a data set's unlabelled pictures, its folds and its test pictures."""
    unlabelled = _subset(load_part(dataset, data_root, "unlabeled"), subset, seed)
    # Only torchvision's files say which pictures belong to which of the set's own folds.
    own = 0 if is_folder(dataset, data_root, "train") else n_folds(dataset)
    numbers = range(own) if own else [None]
    folds = tuple(load_part(dataset, data_root, "train", fold) for fold in numbers)
    return _Folded(unlabelled, folds, load_part(dataset, data_root, "test"))


def _subset(images: ImageSet, subset: int | None, seed: int) -> ImageSet:
    if subset is None:
        return images
    if not 2 <= subset <= len(images):
        raise UserError(f"--subset {subset} must be from 2 to {len(images):,}, all of {images.source} to learn from.")
    return images.subset(np.sort(np.random.default_rng((seed, 6)).permutation(len(images))[:subset]))


def _scores(embed: Callable[[ImageSet], NDArray[np.float32]], data: _Folded, seed: int) -> dict[str, Any]:
    """Return the accuracy of each fold's SVM, and their mean and deviation."""
    folds = _dealt([_labelled(embed(part), part) for part in data.folds], seed)
    found = evaluate_folds("svm", _labelled(embed(data.test), data.test), folds, random_state=seed)
    return {name: found[name] for name in ("accuracy", "std", "folds", "n_train")}


def _dealt(parts: Sequence[Labelled], seed: int) -> Sequence[Labelled]:
    return parts if len(parts) > 1 else seeded_folds(parts[0], FOLDS, random_state=seed)


def _labelled(embedding: NDArray[np.float32], images: ImageSet) -> Labelled:
    if images.labels is None:
        raise UserError(f"{images.source!r} has no labels to probe with: give a labelled source.")
    return Labelled(embedding, images.labels, images.label_names)


def baselines(where: Where, *, dataset: str, seed: int, settings: Mapping[str, str]) -> dict[str, Any]:
    """Score the pixels, and the features of an untrained network."""
    data = pictures_of(dataset, where.data_root, None, 0)
    model = _exemplar(settings, seed, 1, where)
    model.check(data.unlabelled)
    with torch.random.fork_rng():
        torch.manual_seed(seed_of(seed, 0))
        net = model.build(data.unlabelled.image_shape, len(data.unlabelled))
    random = _scores(lambda part: embedded(net, part.images, where.device), data, seed)
    pixels = _scores(_pixels, data, seed)
    scores = {"random-network": random, "raw-pixels": pixels}
    return {"epochs": [{METRIC: random["accuracy"]}], "scores": scores}


def _pixels(images: ImageSet) -> NDArray[np.float32]:
    return images.images.reshape(len(images), -1).astype(np.float32)


def exemplar(
    where: Where,
    *,
    dataset: str,
    elsewhere: bool,
    clustered: bool,
    seed: int,
    epochs: int,
    subset: int | None,
    settings: Mapping[str, str],
) -> dict[str, Any]:
    """Train ExemplarCNN and score its features; then, if `clustered`, again on the clusters found with them.

    The SVM of the first fold also labels the unlabelled pictures, for the semi-supervised row.
    """
    data = pictures_of(dataset, where.data_root, subset, seed)
    source = _elsewhere(dataset, where.data_root, data) if elsewhere else data.unlabelled
    first = _exemplar(settings, seed, epochs, where).set_params(clustered=False)
    first = cast(ExemplarCNN, fitted(first, source, where.folder and where.folder / "run"))
    scores = {"exemplar-cnn": _scores(first.transform, data, seed)}
    result: dict[str, Any] = {"minutes": {"exemplar-cnn": first.run_["training"]["minutes"]}}
    if not elsewhere:
        fold = _dealt([_labelled(first.transform(part), part) for part in data.folds], seed)[0]
        called = svm_labels(fold.embedding, fold.labels, first.embedding_, random_state=seed)
        result |= {"labels": called.labels.tolist(), "margins": np.round(called.margins, 4).tolist()}
    if clustered:
        second = _clustering(settings, seed, epochs, where).set_params(encoder=first)
        second = cast(ExemplarCNN, fitted(second, source, where.folder and where.folder / "clustered"))
        scores["clustered"] = _scores(second.transform, data, seed)
        result["minutes"]["clustered"] = second.run_["training"]["minutes"]
        # Only the warnings that the clustering differs from the request.
        result["lowered"] = [each for each in second.history_.warnings if "cluster_distance" in each]
        result |= {"classes": [[str(source.ids[row]) for row in rows] for rows in second.surrogate_classes_]}
    return result | {
        "epochs": [{METRIC: scores["exemplar-cnn"]["accuracy"]}],
        "scores": scores,
        "trained_epochs": epochs,
    }


def semi_supervised(
    where: Where,
    *,
    dataset: str,
    seed: int,
    epochs: int,
    subset: int | None,
    settings: Mapping[str, str],
    base: Mapping[str, Any],
) -> dict[str, Any]:
    """Train a ResNet on the labels given to the unlabelled pictures by the SVM of the first fold (section 4.2)."""
    data, settings = pictures_of(dataset, where.data_root, subset, seed), _RESNET | dict(settings)
    found = outcome_of(Trial(exemplar, base), where).result
    called = SVMLabels(np.array(found["labels"]), np.array(found["margins"], np.float32))
    kept = called.surest(parse("resnet_keep", settings["resnet_keep"], float))
    with torch.random.fork_rng():
        torch.manual_seed(seed_of(seed, 0))
        encoder = _Encoder(make_backbone(settings["resnet_backbone"], data.unlabelled.image_shape))
        net = SupervisedNet(encoder, nn.Linear(encoder.backbone.width, len(data.test.label_names)), called.labels[kept])

    def scores() -> dict[str, float]:
        predicted = classified(net, data.test.images, where.device)
        return {"acc": float((predicted == data.test.labels).mean())}

    rows, follow = kept_epochs(where, scores)
    recipe = methods.make("simclr", {}).set_params(epochs=epochs, random_state=seed, device=where.device)
    views = views_from(settings["resnet_views"])
    train(
        net,
        ImageData(data.unlabelled.images[kept], pick_device(where.device), views, 1),
        cast(TrainedEstimator, recipe).recipe(),
        run_dir=where.folder,
        resume=True,
        on_epoch=follow,
    )
    facts = {"labels_used": found["scores"]["exemplar-cnn"]["n_train"], "kept": len(kept)}
    return {"epochs": rows} | facts


class _Encoder(Net):
    def __init__(self, backbone: Backbone):
        super().__init__()
        self.backbone = backbone

    def forward(self, inputs: Tensor) -> Output:
        return Output(cast(Tensor, self.backbone(inputs)))


def patches(
    where: Where, *, dataset: str, seed: int, subset: int | None, settings: Mapping[str, str]
) -> dict[str, Any]:
    """Draw patches of some pictures."""
    data = pictures_of(dataset, where.data_root, subset, seed)
    model = _exemplar(settings, seed, 1, where)
    model.check(data.unlabelled)
    rows = np.sort(np.random.default_rng((seed, 11)).permutation(len(data.unlabelled))[:_SHOWN])
    maker = PatchMaker(data.unlabelled.images, model.patch_size)
    drawn = maker.draw(rows, _PATCHES, torch.Generator().manual_seed(seed))
    pixels = drawn.mul(255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()
    pixels = pixels.view(len(rows), _PATCHES, *pixels.shape[1:])
    originals = torch.from_numpy(data.unlabelled.images[rows])
    return {"epochs": [], "pictures": packed({"originals": originals, "patches": pixels})}


def problems(where: Where, *, dataset: str, seed: int) -> dict[str, Any]:
    """Use the audit to find the problems of section 3.2.2: black borders, pictures unlike the others, duplicates."""
    images = pictures_of(dataset, where.data_root, None, seed).unlabelled
    folder = None if where.data_root is None else where.data_root / dataset
    source = folder if folder is not None and (folder / "unlabeled").is_dir() else dataset
    found = audit(source, split="unlabeled", data_root=where.data_root, random_state=seed)
    places = {name: row for row, name in enumerate(images.ids)}
    shown, shares = {}, {}
    for kind, rows in _found(found).items():
        shares[kind.replace(" ", "-")] = len(rows) / len(found)
        known = [places[found.id(row)] for row in _examples(found, kind, rows) if found.id(row) in places]
        if known:
            shown[kind] = torch.from_numpy(images.images[known])
    return {"epochs": [shares], "pictures": packed(shown)}


def _found(found: Audit) -> dict[str, Rows]:
    """Return the pictures that have each problem, the clearest first."""
    bordered = found.found["bordered"].clearest()
    dark = [max(bytes.fromhex(found.looks.border_colour(row)[1:])) < _DARK for row in bordered]
    near = np.flatnonzero(found.duplicate)
    return {
        "black borders": bordered[np.array(dark, bool)],
        "unlike the others": found.found["outlier"].clearest(),
        "duplicates": near[np.argsort(-found.groups.similarity[near], kind="stable")],
    }


def _examples(found: Audit, kind: str, rows: Rows) -> list[int]:
    if kind != "duplicates":
        return [int(row) for row in rows[:_FOUND]]
    return [int(row) for copy in rows[: _FOUND // 2] for row in (found.groups.keepers[copy], copy)]


def _elsewhere(dataset: str, data_root: Path | None, data: _Folded) -> ImageSet:
    """Return other pictures to learn from, of the same size as those tested on."""
    name = _ELSEWHERE[dataset]
    if data_root is None or not (data_root / name).is_dir():
        raise UserError(
            f"The row 'other pictures' learns from the folder {name!r}, which is not in --data-root: put it there, or "
            "leave the row out by naming the others with --method."
        )
    height = data.unlabelled.image_shape[0]
    channels: Literal[1, 3] = 3 if data.unlabelled.image_shape[2] == 3 else 1
    split = "unlabeled" if (data_root / name / "unlabeled").is_dir() else None
    return load_images(data_root / name, split=split, size=height, channels=channels)


def _exemplar(settings: Mapping[str, str], seed: int, epochs: int, where: Where) -> ExemplarCNN:
    own = {name: value for name, value in settings.items() if not name.startswith(_STAGES)}
    model = methods.make("exemplar-cnn", own).set_params(epochs=epochs, random_state=seed, device=where.device)
    return cast(ExemplarCNN, model)


def _clustering(settings: Mapping[str, str], seed: int, epochs: int, where: Where) -> ExemplarCNN:
    model = _exemplar({**settings, **_prefixed(settings, "clustered_")}, seed, epochs, where)
    return cast(ExemplarCNN, model.set_params(clustered=True))


def _prefixed(settings: Mapping[str, str], prefix: str) -> dict[str, str]:
    return {name.removeprefix(prefix): value for name, value in settings.items() if name.startswith(prefix)}


def _dataset(scale: Scale) -> str:
    for name in scale.datasets:
        if name not in DATASETS:
            raise UserError(f"Paper 3 is made of {' or '.join(DATASETS)}, not of {name!r}.")
    if len(scale.datasets) > 1:
        raise UserError("Paper 3's experiments show one data set: give --dataset once.")
    return scale.datasets[0] if scale.datasets else DATASETS[0]


def _trials(scale: Scale) -> list[Trial]:
    """List the trials of table 2: one for the baselines, one for both networks, and one for each of the others."""
    for method in scale.methods:
        if method not in METHODS:
            raise UserError(f"Paper 3 does not compare {method!r}: choose among {', '.join(METHODS)}.")
    wanted = scale.methods or METHODS
    own, second, resnet = _by_stage(scale.settings)
    both = own | {f"clustered_{name}": value for name, value in second.items()}
    untrained = {name: value for name, value in own.items() if name in _OF_RANDOM_FEATURES}
    common = {"dataset": _dataset(scale), "epochs": scale.epochs or EPOCHS, "subset": scale.subset}
    trials = []
    for seed in range(scale.seeds or SEEDS):
        facts = common | {"seed": seed}
        clustered = "clustered" in wanted
        here = facts | {"elsewhere": False, "clustered": clustered, "settings": both if clustered else own}
        if {"random-network", "raw-pixels"} & {*wanted}:
            trials.append(Trial(baselines, {"dataset": facts["dataset"], "seed": seed, "settings": untrained}))
        if {"exemplar-cnn", "clustered", "semi-supervised"} & {*wanted}:
            trials.append(Trial(exemplar, here))
        if "other-pictures" in wanted:
            trials.append(Trial(exemplar, facts | {"elsewhere": True, "clustered": False, "settings": own}))
        if "semi-supervised" in wanted:
            # The epochs are the ResNet's; the network that provides its labels is another trial.
            epochs = int((_RESNET | resnet)["resnet_epochs"])
            trials.append(Trial(semi_supervised, facts | {"epochs": epochs, "settings": resnet, "base": here}))
    return trials


def _by_stage(settings: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str], dict[str, str]]:
    """Return the settings of the first network, those that differ for the second, and those of the ResNet."""
    settings = {name: resolved(value) if name.endswith("views") else value for name, value in settings.items()}
    stages = {name: value for name, value in settings.items() if name.startswith(_STAGES)}
    _check_stages(stages)
    own = {name: value for name, value in settings.items() if name not in stages}
    second = _prefixed(stages, "clustered_")
    refuse_settings(own | second, _SET_BY_METHOD)
    resnet = {name: value for name, value in stages.items() if name in _RESNET and value != _RESNET[name]}
    return methods.canonical("exemplar-cnn", own), methods.canonical("exemplar-cnn", second, own), resnet


def _check_stages(settings: Mapping[str, str]) -> None:
    for name in settings:
        if name.startswith("resnet_") and name not in _RESNET:
            raise UserError(f"There is no setting {name!r}: the ResNet has {', '.join(_RESNET)}.")
    resnet = _RESNET | dict(settings)
    keep, epochs = parse("resnet_keep", resnet["resnet_keep"], float), parse("epochs", resnet["resnet_epochs"], int)
    if not 0 < keep <= 1:
        raise UserError(f"resnet_keep={keep} must be above 0 and at most 1: the share of labels to learn from.")
    if epochs < 1:
        raise UserError(f"resnet_epochs={epochs} must be at least 1.")
    views_from(resnet["resnet_views"])


def _check(trials: Sequence[Trial], where: Where) -> None:
    """Raise `UserError` now for anything that would stop a trial later."""
    for trial in trials:
        facts, settings = trial.settings, trial.settings["settings"]
        data = pictures_of(facts["dataset"], where.data_root, facts.get("subset"), facts["seed"])
        if trial.measure is semi_supervised:
            with torch.random.fork_rng():
                make_backbone((_RESNET | settings)["resnet_backbone"], data.unlabelled.image_shape)
            continue
        elsewhere = facts.get("elsewhere", False)
        source = _elsewhere(facts["dataset"], where.data_root, data) if elsewhere else data.unlabelled
        epochs = facts.get("epochs", 1)
        _exemplar(settings, facts["seed"], epochs, where).check(source)
        if facts.get("clustered"):
            _clustering(settings, facts["seed"], epochs, where).check(source)


def _rows(outcomes: Sequence[Outcome]) -> list[Row]:
    """Return a row for each method that was measured."""
    found: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        for method, each in _by_method(outcome).items():
            found.setdefault(method, []).append(each)
    return [_row(method, found[method]) for method in METHODS if method in found]


def _by_method(outcome: Outcome) -> dict[str, Outcome]:
    """Split the outcome of a trial that measured several methods."""
    if outcome.trial.measure is semi_supervised:
        return {"semi-supervised": outcome}
    parts = {}
    for method, scores in outcome.result["scores"].items():
        result = {"epochs": [{METRIC: scores["accuracy"]}], "folds": scores["folds"]}
        result |= {"trained_epochs": outcome.result.get("trained_epochs", 0)}
        result |= {"lowered": outcome.result.get("lowered", []) if method == "clustered" else []}
        name = "other-pictures" if outcome.trial.settings.get("elsewhere") else method
        trial = replace(outcome.trial, settings={**outcome.trial.settings, "settings": _own(outcome.trial, method)})
        minutes = outcome.result["minutes"][method] if "minutes" in outcome.result else outcome.minutes
        parts[name] = replace(outcome, trial=trial, result=result, minutes=minutes)
    return parts


def _own(trial: Trial, method: str) -> dict[str, str]:
    """Return the settings of a trial that apply to one of the methods it measures."""
    settings = trial.settings["settings"]
    left_out = {"raw-pixels": "", "exemplar-cnn": "clustered_"}.get(method)
    return {name: settings[name] for name in settings if left_out is None or not name.startswith(left_out)}


def _row(method: str, outcomes: Sequence[Outcome]) -> Row:
    dataset = outcomes[0].trial.settings["dataset"]
    published = PUBLISHED[method] if dataset == "stl10" else None
    if method == "semi-supervised":
        note = f"a ResNet on {outcomes[0].result['kept']:,} labels that the SVM of the first fold gave"
        return Row(method, method, "acc", outcomes, published=published, dataset=dataset, note=note)
    deviation = 100 * float(np.mean([np.std(each.result["folds"], ddof=1) for each in outcomes]))
    note = f"mean of {FOLDS} folds, which deviate by {deviation:.2f}"
    note = ". ".join([note, *dict.fromkeys(sentence for each in outcomes for sentence in each.result["lowered"])])
    return Row(method, method, METRIC, outcomes, published=published, dataset=dataset, note=note)


def _results(outcomes: Sequence[Outcome]) -> Drawing:
    """Draw table 2."""
    rows = _rows(outcomes)
    dataset = rows[0].dataset
    bars = {f"{TITLES[row.method]}, ours": {dataset: row.last()[0]} for row in rows}
    bars |= {f"{TITLES[row.method]}, paper": {dataset: row.published} for row in rows if row.published is not None}
    return Drawing(rows, bar_chart(bars, [dataset], "accuracy, %"), _contact(outcomes))


def _comparison(outcomes: Sequence[Outcome]) -> Drawing:
    """Draw table 3: our results and those quoted in the paper."""
    rows = [row for row in _rows(outcomes) if row.method in ("exemplar-cnn", "clustered")]
    bars: dict[str, dict[str, float]] = {name: {"stl10": value} for name, value in OTHERS.items()}
    for row in rows:
        bars[f"{TITLES[row.method]}, ours"] = {row.dataset: row.last()[0]}
        bars[f"{TITLES[row.method]}, paper"] = {"stl10": cast(float, PUBLISHED[row.method])}
    return Drawing(rows, bar_chart(bars, list(dict.fromkeys(["stl10", *(row.dataset for row in rows)])), "accuracy, %"))


def _contact(outcomes: Sequence[Outcome]) -> dict[str, object]:
    """Return the ids of the pictures of each clustered class, for inspection."""
    return {
        f"clustered-classes-{outcome.trial.settings['seed']}.json": outcome.result["classes"]
        for outcome in outcomes
        if "classes" in outcome.result
    }


def _patches(outcomes: Sequence[Outcome]) -> Drawing:
    """Draw figure 1: pictures, and random patches of each."""
    shown = unpacked(outcomes[0].result["pictures"])
    return Drawing([], views_sheet(shown["originals"].numpy(), shown["patches"].numpy()))


def _problems(outcomes: Sequence[Outcome]) -> Drawing:
    """Draw figure 2: the clearest cases of each problem, and the share of pictures that have it."""
    dataset = outcomes[0].trial.settings["dataset"]
    note = "of the unlabelled pictures, by the audit; the paper shows examples"
    rows = [Row(kind, "audit", kind, outcomes, dataset=dataset, note=note) for kind in outcomes[0].result["epochs"][0]]
    shown = unpacked(outcomes[0].result["pictures"])
    shown = {kind: shown[kind] for kind in ("black borders", "unlike the others", "duplicates") if kind in shown}
    lines = [F.pad(each, (0, 0, 0, 0, 0, 0, 0, _FOUND - len(each)), value=255) for each in shown.values()]
    png = (
        contact_sheet(torch.cat(lines).numpy(), _FOUND, row_titles=list(shown))
        if lines
        else contact_sheet(np.full((1, 8, 8, 3), 255, np.uint8), 1, row_titles=["nothing found"])
    )
    return Drawing(rows, png)


def _table_3(scale: Scale) -> list[Trial]:
    return _trials(replace(scale, methods=scale.methods or ("exemplar-cnn", "clustered")))


def _figure_1(scale: Scale) -> list[Trial]:
    own = {name: value for name, value in scale.settings.items() if not name.startswith(_STAGES)}
    facts = {"dataset": _dataset(scale), "seed": 0, "subset": scale.subset, "settings": own}
    return [Trial(patches, facts)]


def _figure_2(scale: Scale) -> list[Trial]:
    return [Trial(problems, {"dataset": _dataset(scale), "seed": 0})]


_SPLIT = "trained on the unlabelled pictures, SVM on each of ten folds of train, scored on all of test"
_TABLE = partial(
    Experiment, "table", dataset="stl10", split=_SPLIT, epochs=EPOCHS, takes=("methods", "datasets", "settings")
)
_FIGURE = partial(Experiment, "figure", dataset="stl10", split="unlabelled pictures", epochs=1, minutes=1.0)
PAPER = Paper(
    "paper3",
    "ExemplarCNN, and clusters of similar pictures as its classes",
    (
        _TABLE(2, "SVM on the features of each network", minutes=60_000.0, trials=_trials, draw=_results, check=_check),
        _TABLE(3, "Beside the state of the art", minutes=49_000.0, trials=_table_3, draw=_comparison, check=_check),
        _FIGURE(1, "Random patches of pictures", trials=_figure_1, draw=_patches, takes=("datasets", "settings")),
        _FIGURE(2, "Problems of the pictures", trials=_figure_2, draw=_problems, takes=("datasets",)),
    ),
)

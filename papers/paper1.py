"""Paper 1: four auto-encoders and a supervised reference, compared by a linear probe (tables 2 to 5, figures 11 to 17).

The probe after each epoch is `quick_linear`, on the embeddings of all training pictures and scored on all test
pictures; the paper uses LIBLINEAR, which takes minutes, so only the last epoch is scored with it as well. The paper's
tables give the best epoch. The heat maps are scored on a tenth of the training pictures instead, because they choose
what is trained on later; the test accuracy is given beside it.
"""

import functools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from papers.data import train_and_test
from papers.kept import classified, fitted
from papers.runner import Drawing, Experiment, Outcome, Paper, Row, Scale, Trial, Where, kept_epochs
from papers.supervised import SupervisedNet
from selfsort import methods
from selfsort.augment import Transformations, resolved, views_from
from selfsort.augment.transformations import TRANSFORMATIONS, allowed, check_allowed, pairs_of
from selfsort.data.image_set import ImageSet
from selfsort.data.sources.torchvision_sets import find
from selfsort.errors import UserError
from selfsort.evaluation.probes import probe, quick_linear, stratified_split
from selfsort.methods.autoencoder import PerceptualAutoencoder, TiledAutoencoder, TiledEncoder
from selfsort.models.base import Net, Output
from selfsort.reporting.figures import Line, bar_chart, embedding_map, heat_map, line_chart
from selfsort.training.loop import train
from selfsort.training.recipe import seed_of

EPOCHS = 90
SEARCH_EPOCHS = 30
SEEDS = 3
EMBEDDING_SIZES = (250, 300, 350)
CNN = "supervised-cnn"
_AUGMENTED = ("augmented-ae", "pseudo-label-ae", CNN)
_POINTS = 5000  # in a t-SNE
_TRIALS = "batch norm was chosen among seven trials scored on test (10,000 pictures of CIFAR-10)"
_SVM = "svm_probe_last"

# Best epoch on the test set, percent (tables 2, 3 and 4), for the three sizes of the embedding.
PUBLISHED = {
    "mnist": {
        "basic-ae": (95.91, 95.96, 96.67),
        "perceptual-ae": (97.78, 98.37, 98.49),
        "augmented-ae": (98.12, 98.04, 98.37),
        "pseudo-label-ae": (98.70, 99.30, 99.27),
        CNN: (99.38, 99.44, 99.43),
    },
    "cifar10": {
        "basic-ae": (36.27, 37.67, 39.15),
        "perceptual-ae": (55.22, 56.33, 56.46),
        "augmented-ae": (56.21, 56.86, 57.42),
        "pseudo-label-ae": (60.66, 60.60, 60.71),
        CNN: (80.77, 81.14, 81.73),
    },
    "svhn": {
        "basic-ae": (32.99, 35.12, 36.48),
        "perceptual-ae": (73.01, 74.67, 74.76),
        "augmented-ae": (72.07, 72.92, 74.17),
        "pseudo-label-ae": (75.59, 76.21, 76.48),
        CNN: (92.53, 92.57, 92.57),
    },
}
METHODS = tuple(PUBLISHED["mnist"])
SHORT = dict(zip(METHODS, ("B-AE", "P-AE", "SDA-AE", "PL-AE", "CNN"), strict=True))
# Table 5: the results quoted in the paper.
OTHERS: dict[str, Mapping[str, float]] = {
    "k-means": {"mnist": 53.49, "cifar10": 20.8, "svhn": 12.5},
    "AE": {"mnist": 81.2, "cifar10": 31.4},
    "GAN": {"mnist": 82.8, "cifar10": 31.5},
    "IMSAT": {"mnist": 98.4, "cifar10": 45.6, "svhn": 57.3},
    "IIC": {"mnist": 98.4, "cifar10": 57.6},
    "ADC": {"mnist": 98.7, "cifar10": 29.3, "svhn": 38.6},
    "SCAE": {"mnist": 99.0, "cifar10": 33.48, "svhn": 67.27},
}
_QUOTED = {("cifar10", "perceptual-ae"): 57.46}  # in table 5, against 56.46 in table 3
_TEN_BEST = ("cifar10", "svhn")  # data sets changed only by the ten best transformations of a search (section 5.2)


def autoencoder(
    where: Where,
    *,
    dataset: str,
    method: str,
    embedding_size: int,
    seed: int,
    epochs: int,
    subset: int | None,
    settings: Mapping[str, str],
) -> dict[str, Any]:
    """Train one of the four methods and probe its embedding after each epoch, the last also with LIBLINEAR."""
    parts = train_and_test(dataset, where.data_root, subset, seed)
    model = model_of(method, dataset, settings, parts.train, embedding_size, seed, epochs, where)
    labels, test_labels = _labels(parts.train), _labels(parts.test)

    def scores() -> dict[str, float]:
        found = quick_linear(model.transform(parts.train), labels, model.transform(parts.test), test_labels)
        return {"linear_probe_last": found}

    rows, follow = kept_epochs(where, scores)
    model = cast(TiledAutoencoder, fitted(model, parts.train, where.folder and where.folder / "run", follow))
    rows[-1][_SVM] = probe("svm", model.embedding_, labels, model.transform(parts.test), test_labels).accuracy
    result: dict[str, Any] = {"epochs": rows, "weights": _weights(model)}
    return result | (_map(model, parts.test, seed) if method == "pseudo-label-ae" else {})


def supervised_cnn(
    where: Where,
    *,
    dataset: str,
    embedding_size: int,
    seed: int,
    epochs: int,
    subset: int | None,
    settings: Mapping[str, str],
) -> dict[str, Any]:
    """Train the same encoder with a classifier on all labels, with the same random changes (footnote 2)."""
    parts = train_and_test(dataset, where.data_root, subset, seed)
    model = model_of(CNN, dataset, settings, parts.train, embedding_size, seed, epochs, where)
    with torch.random.fork_rng():
        torch.manual_seed(seed_of(seed, 0))
        # The paper says "MLP"; its hidden layer is ours.
        head = nn.Sequential(nn.Linear(embedding_size, 128), nn.ReLU(), nn.Linear(128, len(parts.train.label_names)))
        net = SupervisedNet(Encoder(model), head, _labels(parts.train))

    def scores() -> dict[str, float]:
        predicted = classified(net, parts.test.images, where.device)
        return {"acc": float((predicted == _labels(parts.test)).mean())}

    rows, follow = kept_epochs(where, scores)
    data = model.image_data(parts.train)
    train(net, data, model.recipe(), run_dir=where.folder, resume=True, on_epoch=follow)
    return {"epochs": rows, "labels_used": len(parts.train)}


def searched(
    where: Where,
    *,
    dataset: str,
    choice: str,
    embedding_size: int,
    seed: int,
    epochs: int,
    subset: int | None,
    settings: Mapping[str, str],
) -> dict[str, Any]:
    """Train PL-AE on one transformation, or pair, and probe it on a tenth of the training pictures and on test."""
    parts = train_and_test(dataset, where.data_root, subset, seed)
    learn, choose = (parts.train.subset(rows) for rows in stratified_split(_labels(parts.train), 0.1, seed))
    views = {"views": f"transformations:{choice}"}
    model = model_of("pseudo-label-ae", dataset, {**settings, **views}, learn, embedding_size, seed, epochs, where)
    model = cast(TiledAutoencoder, fitted(model, learn, where.folder and where.folder / "run"))
    train = model.embedding_, _labels(learn)
    chosen, test = (quick_linear(*train, model.transform(side), _labels(side)) for side in (choose, parts.test))
    row = {"validation": chosen, "linear_probe_last": test}
    return {"epochs": [row], "trained_epochs": epochs, "weights": _weights(model)}


class Encoder(Net):
    """The encoder of an auto-encoder, as a separate network."""

    def __init__(self, model: TiledAutoencoder):
        super().__init__()
        self.encoder = TiledEncoder(model.embedding_size, model.batch_norm, model.tiles)

    def forward(self, inputs: Tensor) -> Output:
        """Return the code of pictures."""
        return Output(cast(Tensor, self.encoder(inputs)))


def _labels(images: ImageSet) -> NDArray[np.int64]:
    if images.labels is None:
        raise UserError(f"{images.source!r} has no labels to probe with: give a labelled source.")
    return images.labels


def model_of(
    method: str,
    dataset: str,
    settings: Mapping[str, str],
    images: ImageSet,
    embedding_size: int,
    seed: int,
    epochs: int,
    where: Where,
) -> TiledAutoencoder:
    """Return the method to be trained; for the CNN, the method with the same encoder."""
    changed = {"views": _all_pairs(dataset)} if method in _AUGMENTED else {}
    model = methods.make("basic-ae" if method == CNN else method, changed | dict(settings))
    model.set_params(embedding_size=embedding_size, epochs=epochs, random_state=seed, device=where.device)
    return cast(TiledAutoencoder, model.set_params(n_classes=len(images.label_names)))


def _all_pairs(dataset: str) -> str:
    return f"transformations:{','.join(pairs_of(allowed(dataset)))}"


def _weights(model: TiledAutoencoder) -> str:
    if not isinstance(model, PerceptualAutoencoder):
        return "none"
    which = f"{model.perceptual_network} features[:{model.perceptual_layer}]"
    kept = {"hub": "ImageNet, torchvision", "random": "random"}
    return f"{which}, {kept.get(model.perceptual_weights, Path(model.perceptual_weights).name)}"


def _map(model: TiledAutoencoder, test: ImageSet, seed: int) -> dict[str, Any]:
    """Return up to 5,000 test pictures in the plane by t-SNE, and their labels."""
    from sklearn.manifold import TSNE

    chosen = np.linspace(0, len(test) - 1, min(_POINTS, len(test))).astype(np.int64)
    some = test.subset(chosen)
    perplexity = min(30.0, (len(some) - 1) / 3)
    points = TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(model.transform(some))
    return {"points": np.round(points, 2).tolist(), "labels": _labels(some).tolist(), "names": some.label_names}


def _compared(scale: Scale, dataset: str, sizes: Sequence[int] = ()) -> list[Trial]:
    """List the trials of the methods at the sizes of the embedding, for all seeds."""
    settings = _settings(scale, dataset)
    common = {"dataset": dataset, "epochs": scale.epochs or EPOCHS, "subset": scale.subset}
    trials = []
    for seed in range(scale.seeds or SEEDS):
        for size in scale.embedding_sizes or sizes or EMBEDDING_SIZES:
            for method in scale.methods or METHODS:
                facts = common | {"seed": seed, "embedding_size": size}
                own = _own(method, settings)
                trials.append(
                    Trial(supervised_cnn, facts | {"settings": own})
                    if method == CNN
                    else Trial(autoencoder, facts | {"method": method, "settings": own})
                )
    return trials


def _own(method: str, settings: Mapping[str, str]) -> dict[str, str]:
    """Return the settings that a method has; only methods that see changed pictures have views."""
    known = methods.find("basic-ae" if method == CNN else method)().get_params(deep=False)
    left_out = () if method in _AUGMENTED else ("views",)
    return {name: value for name, value in settings.items() if name in known and name not in left_out}


def _settings(scale: Scale, dataset: str) -> dict[str, str]:
    """Return the changed settings, with views resolved to their content, since files may change."""
    settings = methods.canonical("pseudo-label-ae", {n: v for n, v in scale.settings.items() if n != "views"})
    for method in scale.methods:
        if method not in METHODS:
            raise UserError(f"Paper 1 does not compare {method!r}: choose among {', '.join(METHODS)}.")
    chosen = scale.settings.get("views") or _ten_best(scale, dataset)
    if chosen is None:
        return settings
    views = views_from(chosen)
    check_allowed(dataset, views.choices if isinstance(views, Transformations) else ())
    return settings if resolved(chosen) == _all_pairs(dataset) else settings | {"views": resolved(chosen)}


def _ten_best(scale: Scale, dataset: str) -> str | None:
    """Return the views that the paper uses, if they have been searched for as thoroughly as in the paper."""
    if dataset not in _TEN_BEST or scale.out is None or not (path := scale.out / top_ten(dataset)).exists():
        return None
    views = f"transformations:{path}"
    resolved(views)  # raises if it is no such file
    found = json.loads(path.read_text(encoding="utf-8"))
    enough = found.get("epochs", 0) >= min(SEARCH_EPOCHS, scale.epochs or EPOCHS)
    subset = found.get("subset", 0)
    return views if enough and (subset is None or (scale.subset is not None and subset >= scale.subset)) else None


def _check(trials: Sequence[Trial], where: Where) -> None:
    """Raise `UserError` now if the pictures, the frozen network or a setting would stop a trial after hours."""
    checked = set()
    for facts in (trial.settings for trial in trials):
        dataset, method = facts["dataset"], facts.get("method", "pseudo-label-ae" if "choice" in facts else CNN)
        key = (dataset, method, json.dumps(facts["settings"]))
        if key in checked:
            continue
        checked.add(key)
        images = train_and_test(dataset, where.data_root, facts["subset"], facts["seed"]).train
        _labels(images)
        size, settings = facts["embedding_size"], facts["settings"]
        model = model_of(method, dataset, settings, images, size, facts["seed"], facts["epochs"], where)
        model.check(images.unlabelled())


def _search_trials(scale: Scale, dataset: str, names: tuple[str, ...] = ()) -> list[Trial]:
    """List the trials of the pair grid: each single transformation and each pair."""
    if len(scale.embedding_sizes) > 1:
        raise UserError("A heat map is of one size of the embedding: give --embedding-size once.")
    if "views" in scale.settings:
        raise UserError("--set views=... would change nothing: a heat map tries all transformations and pairs.")
    names = tuple(dict.fromkeys(names))
    for name in names:
        if name not in TRANSFORMATIONS:
            raise UserError(
                f"--transformation takes single ones, not {name!r}: choose among {', '.join(TRANSFORMATIONS)}."
            )
    check_allowed(dataset, names)
    settings = _settings(replace(scale, out=None), dataset)
    size = (scale.embedding_sizes or (300,))[0]
    facts = {"dataset": dataset, "embedding_size": size, "epochs": scale.epochs or SEARCH_EPOCHS}
    facts |= {"subset": scale.subset, "settings": settings}
    choices = pairs_of(names or allowed(dataset))
    return [Trial(searched, facts | {"choice": c, "seed": s}) for s in range(scale.seeds or SEEDS) for c in choices]


def _grouped(outcomes: Sequence[Outcome], *names: str) -> dict[tuple[Any, ...], list[Outcome]]:
    """Group outcomes by settings, in their original order."""
    groups: dict[tuple[Any, ...], list[Outcome]] = {}
    for outcome in outcomes:
        settings = {"method": CNN} | dict(outcome.trial.settings)
        groups.setdefault(tuple(settings[name] for name in names), []).append(outcome)
    return groups


def row_of(key: tuple[Any, ...], outcomes: Sequence[Outcome], note: str = "") -> Row:
    """Return the row of a (data set, method, size of the embedding), with the paper's value."""
    dataset, method, size = key
    known = dict(zip(EMBEDDING_SIZES, PUBLISHED.get(dataset, {}).get(method, ()), strict=False))
    note = note or "the paper: best of 90 epochs"
    if dataset in _TEN_BEST and method in _AUGMENTED:
        ours = "those under settings" if "views" in outcomes[0].trial.settings["settings"] else "all"
        note += f"; pictures changed by {ours}, the paper's by the ten best of a search over {SEARCH_EPOCHS} epochs"
    return Row(
        f"{SHORT[method]}-{size}",
        method,
        "acc" if method == CNN else "linear_probe_last",
        outcomes,
        published=known.get(size),
        published_best=True,
        weights=outcomes[0].result.get("weights", "none"),
        dataset=dataset,
        note=note,
        chosen_on_test=_TRIALS if outcomes[0].trial.settings["settings"].get("batch_norm") == "true" else "",
    )


def _with_svm(rows: Iterable[Row]) -> list[Row]:
    """Return rows, each followed by LIBLINEAR's for its last epoch, if measured (a CNN has none)."""
    found = []
    for row in rows:
        found.append(row)
        epochs = [outcome.result["epochs"] for outcome in row.outcomes]
        if all(_SVM in each[-1] for each in epochs):
            note = f"LIBLINEAR's support vector machine on the last epoch; {row.note}"
            found.append(replace(row, metric=_SVM, epoch=len(epochs[0]), published_best=False, note=note))
    return found


def _by_size(outcomes: Sequence[Outcome]) -> Drawing:
    """Draw tables 2 to 4: the best epoch against the size of the embedding."""
    groups = _grouped(outcomes, "dataset", "method", "embedding_size")
    rows = {key: row_of(key, group) for key, group in groups.items()}
    lines = []
    for method in dict.fromkeys(method for _, method, _ in rows):
        best = {size: row.best() for (_, each, size), row in rows.items() if each == method}
        spread = [std for _, std in best.values() if std is not None]
        lines.append(Line(SHORT[method], list(best), [mean for mean, _ in best.values()], spread))
    return Drawing(
        _with_svm(rows.values()), line_chart(lines, "size of the embedding", "accuracy of the best epoch, %")
    )


def _by_epoch(outcomes: Sequence[Outcome]) -> Drawing:
    """Draw figures 14, 16 and 17: accuracy after each epoch, the best with a star."""
    rows = [row_of(key, group) for key, group in _grouped(outcomes, "dataset", "method", "embedding_size").items()]
    lines = []
    for row in rows:
        values = np.array(row.values())
        spread = values.std(0, ddof=1).tolist() if len(values) > 1 else []
        lines.append(Line(SHORT[row.method], range(1, values.shape[1] + 1), values.mean(0).tolist(), spread, star=True))
    return Drawing(_with_svm(rows), line_chart(lines, "epoch", "test accuracy, %"))


def _state_of_the_art(outcomes: Sequence[Outcome]) -> Drawing:
    """Draw table 5: the best over the sizes of the embedding, with the results quoted in the paper."""
    rows, bars = [], {name: dict(values) for name, values in OTHERS.items()}
    for (dataset, method), group in _grouped(outcomes, "dataset", "method").items():
        sizes = _grouped(group, "embedding_size")
        size = max(sizes, key=lambda key: row_of((dataset, method, *key), sizes[key]).best()[0])
        published = _QUOTED.get((dataset, method), max(PUBLISHED[dataset][method]))
        note = "best size of the embedding, best epoch, both chosen on test as in the paper"
        row = row_of((dataset, method, *size), sizes[size], note)
        rows.append(replace(row, name=f"{SHORT[method]}-best", published=published))
        bars.setdefault(f"{SHORT[method]}, ours", {})[dataset] = row.best()[0]
        bars.setdefault(f"{SHORT[method]}, paper", {})[dataset] = published
    datasets = list(dict.fromkeys(row.dataset for row in rows))
    return Drawing(rows, bar_chart(bars, datasets, "accuracy, %"))


def _heat(outcomes: Sequence[Outcome]) -> Drawing:
    """Draw figures 11 to 13, and choose the ten transformations that are best on the held-out pictures."""
    groups = {choice: group for (choice,), group in _grouped(outcomes, "choice").items()}
    settings = outcomes[0].trial.settings
    names = [choice for choice in groups if "+" not in choice]
    rows = []
    for choice, group in groups.items():
        note = "chosen by pictures kept aside from training"
        weights = group[0].result["weights"]
        for metric in ("linear_probe_last", "validation"):
            rows.append(
                Row(choice, "pseudo-label-ae", metric, group, weights=weights, dataset=settings["dataset"], note=note)
            )
    values = {row.name: row.last()[0] for row in rows if row.metric == "validation"}
    best = sorted(values, key=lambda choice: -values[choice])[:10]
    matrix = np.full((len(names), len(names)), np.nan)
    for choice, value in values.items():
        first, second = (names.index(name) for name in (choice.split("+") * 2)[:2])
        matrix[first, second] = matrix[second, first] = value
    content = {"dataset": settings["dataset"], "choices": best, "accuracy": values}
    content |= {"epochs": settings["epochs"], "subset": settings["subset"]}
    return Drawing(rows, heat_map(matrix, names), {top_ten(settings["dataset"]): content})


def top_ten(dataset: str) -> str:
    """Return the name of the file with the ten best transformations, usable as views with `transformations:FILE`."""
    return f"top-ten-{Path(dataset).name}.json"


def _tsne(outcomes: Sequence[Outcome]) -> Drawing:
    """Draw figure 15: the test pictures' embeddings in the plane by t-SNE, for the first seed."""
    rows = [row_of(key, group) for key, group in _grouped(outcomes, "dataset", "method", "embedding_size").items()]
    found = outcomes[0].result
    png = embedding_map(np.array(found["points"], np.float32), np.array(found["labels"]), names=found["names"])
    return Drawing(_with_svm(rows), png)


def _only(method: str, dataset: str, scale: Scale) -> list[Trial]:
    return _compared(replace(scale, methods=(method,)), dataset, (300,))


def _named(scale: Scale) -> Sequence[str]:
    """Return the requested data sets of table 5."""
    names = list(dict.fromkeys(find(name) or name for name in scale.datasets))
    for name in names:
        if name not in PUBLISHED:
            raise UserError(f"Table 5 of paper 1 does not name {name!r}: choose among {', '.join(PUBLISHED)}.")
    return names or tuple(PUBLISHED)


def _all_data_sets(scale: Scale) -> list[Trial]:
    return [trial for dataset in _named(scale) for trial in _compared(scale, dataset)]


def search(dataset: str, names: tuple[str, ...] = ()) -> Experiment:
    """Return the search over pairs of transformations, by default all suitable ones, for any labelled data set."""
    dataset = find(dataset) or dataset
    known = dataset in _SETS and not names
    return Experiment(
        "figure" if known else "heat-map",
        _SETS[dataset][1] if known else 0,
        f"PL-AE on {dataset} by transformation and pair of them",
        dataset,
        "trained on nine tenths of train, scored on the tenth kept aside (validation) and on test",
        SEARCH_EPOCHS,
        _MINUTES[dataset][1] if dataset in _MINUTES else 0.0,
        functools.partial(_search_trials, dataset=dataset, names=names),
        _heat,
        ("embedding_sizes", "settings"),
        _check,
    )


def _experiment(
    kind: Literal["figure", "table"],
    number: int,
    title: str,
    dataset: str,
    minutes: float,
    trials: Callable[[Scale], list[Trial]],
    draw: Callable[[Sequence[Outcome]], Drawing],
    takes: Sequence[str],
) -> Experiment:
    split = "trained on train without labels (CNN: with), probe trained on train, scored on all of test"
    return Experiment(kind, number, title, dataset, split, EPOCHS, minutes, trials, draw, takes, _check)


# Minutes on two CPU cores, estimated from measured epochs (MNIST: 0.8 for the CNN to 2.5 for PL-AE): for a table with
# its five methods, three sizes, three seeds and 90 epochs, and for a heat map with three seeds and 30 epochs.
_MINUTES = {"mnist": (8_000.0, 3_400.0), "cifar10": (6_500.0, 8_500.0), "svhn": (9_500.0, 7_600.0)}
_SETS = {"mnist": (2, 11, 14), "cifar10": (3, 12, 16), "svhn": (4, 13, 17)}


def _experiments() -> list[Experiment]:
    found = []
    takes = ("embedding_sizes", "methods", "settings")
    for dataset, (table, _, curve) in _SETS.items():
        trials = functools.partial(_compared, dataset=dataset)
        at_300 = functools.partial(_compared, dataset=dataset, sizes=(300,))
        minutes = _MINUTES[dataset][0]
        title = f"Linear probe by method on {dataset}"
        by_size = f"{title} and size of the embedding"
        found.append(_experiment("table", table, by_size, dataset, minutes, trials, _by_size, takes))
        found.append(search(dataset))
        by_epoch = f"{title} after each epoch"
        found.append(_experiment("figure", curve, by_epoch, dataset, minutes / 3, at_300, _by_epoch, takes))
    title, minutes = "Ours beside the state of the art", sum(minutes for minutes, _ in _MINUTES.values())
    every = (*takes, "datasets")
    found.append(_experiment("table", 5, title, "all three", minutes, _all_data_sets, _state_of_the_art, every))
    title = "PL-AE's embedding of MNIST's test pictures by t-SNE"
    trials = functools.partial(_only, "pseudo-label-ae", "mnist")
    minutes = _MINUTES["mnist"][0] / 15
    found.append(_experiment("figure", 15, title, "mnist", minutes, trials, _tsne, takes[::2]))
    return sorted(found, key=lambda experiment: (experiment.kind != "table", experiment.number))


PAPER = Paper("paper1", "Auto-encoders, pseudo-labels and the perceptual loss", tuple(_experiments()))

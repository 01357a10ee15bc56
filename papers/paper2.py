"""Paper 2: a linear classifier on a convolutional auto-encoder (table 1, figures 2 to 9), and next steps.

The classifier is one Linear(48, 10) on the 48 channels of the code averaged over positions; results on the whole code
of 768 numbers are given beside it. Accuracies are over the whole test set, the paper's over 500 pictures. Tables 2 to 4
are not in the paper: they are the next steps named in its section V.

Batch size and learning rate are not in the text: 64 and Adam's usual 0.001 are used. A pre-training is a separate trial
that keeps the weights, so everything that builds on it shares it.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from papers.data import Parts, train_and_test
from papers.kept import classified, embedded, packed, unpacked
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
from selfsort.augment import resolved
from selfsort.clustering.layout import project
from selfsort.clustering.neighbours import nearest
from selfsort.data.image_set import ImageSet
from selfsort.errors import UserError
from selfsort.evaluation.probes import few_shot
from selfsort.methods.conv_autoencoder import ConvAutoencoder, ConvAutoencoderNet
from selfsort.models.backbones import Backbone, make_backbone
from selfsort.models.base import Batch, Net, Output
from selfsort.reporting.figures import Line, bar_chart, contact_sheet, embedding_map, line_chart
from selfsort.training.loop import train
from selfsort.training.recipe import pick_device, seed_of

DATASET = "cifar10"
EPOCHS = 100
SEEDS = 3
METHOD = "conv-autoencoder"
STANDARD = "small-resnet18"
SHOTS = (1, 5, 10)
DRAWS = 20
_DRAWN = 16  # pictures per row
_POINTS = {"pca": 10_000, "tsne": 3_000}
_BASE = {"batch_size": "64", "schedule": "constant"}
_AGGREGATION = {"aggregation": "1.0", "views": "natural"}
_CHANGED = "none:horizontal_flip=0.5,crop_scale=0.7..1"  # views for table 1's last row
_FIXED = {
    "bce": {"loss": "bce", "pooled": "false"},
    "l1": {"loss": "l1", "pooled": "false"},
    "mse": {"loss": "mse", "pooled": "false"},
    "aggregation": {"loss": "bce", "pooled": "true"},
}
ENCODERS = {"random": "random", "bce": "pre-trained", "aggregation": "local aggregation", "end-to-end": "end to end"}

# Table 1: percent of 500 test pictures, on average and per class.
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
PUBLISHED = {
    "random": (25.5, (50, 22, 0, 0, 25, 33, 36, 16, 73, 0)),
    "pre-trained": (29.6, (50, 66, 0, 25, 41, 16, 72, 0, 26, 0)),
    "end-to-end": (64.9, (75, 88, 44, 50, 50, 50, 81, 83, 53, 75)),
}


def autoencoder(where: Where, *, kind: str, **scale: Any) -> dict[str, Any]:
    """Train the auto-encoder, without labels, with one of its losses (section II-A)."""
    run = Run(where, **scale)
    model = run.model(kind)
    net = run.untrained(model)
    rows = run.train(net, model, lambda: {"closeness": run.closeness(net)})
    return {"epochs": rows, "weights": _weights(net), "pictures": run.examples(net)}


def untrained(where: Where, **scale: Any) -> dict[str, Any]:
    """Reconstruct test pictures with the untrained auto-encoder (figure 8)."""
    run = Run(where, epochs=1, **scale)
    net = run.untrained(run.model())
    return {"epochs": [{"closeness": run.closeness(net)}], "trained_epochs": 0, "pictures": run.examples(net)}


def frozen_classifier(where: Where, *, encoder: str, features: str, **scale: Any) -> dict[str, Any]:
    """Train the linear classifier on a frozen encoder (section II-C, 1 and 2)."""
    run = Run(where, **scale)
    rows = run.probe(run.encoder(encoder, features), run.model())
    return {"epochs": rows, "labels_used": len(run.parts.train)}


def trained_classifier(
    where: Where, *, own_weight: float, features: str, views: str | None, **scale: Any
) -> dict[str, Any]:
    """Train encoder and linear classifier end to end (section II-C, 3), and, if weighted, the decoder as well."""
    run = Run(where, **scale)
    model = run.model()
    if views is not None:
        model.set_params(views=views)
    net = run.untrained(model, features)
    rows = run.supervise(net, model, own_weight, lambda: {"closeness": run.closeness(net)})
    result = {"epochs": rows, "labels_used": len(run.parts.train)}
    return result | {"weights": _weights(net), "pictures": run.examples(net)}


def few_labels(where: Where, *, encoder: str, shots: int, draws: int, **scale: Any) -> dict[str, Any]:
    """Classify test pictures by the nearest centroid of a few labelled ones per class (section V)."""
    run = Run(where, **scale)
    train_x, test_x = run.embedded(run.encoder(encoder, "averaged"))
    pictures = (train_x, _labels(run.parts.train), test_x, _labels(run.parts.test))
    (found,) = few_shot(*pictures, shots=(shots,), draws=draws, random_state=run.seed)
    return {
        "epochs": [{"acc": found.accuracy}],
        "trained_epochs": 0 if encoder == "random" else run.epochs,
        "spread": found.std,
        "labels_used": shots * len(run.parts.train.label_names),
    }


def feature_map(where: Where, *, encoder: str, kind: Literal["pca", "tsne"], **scale: Any) -> dict[str, Any]:
    """Lay out the feature maps of test pictures in the plane (section II-B)."""
    run = Run(where, **scale)
    test = run.parts.test
    embedding = embedded(run.encoder(encoder, "flattened"), test.images, where.device)
    rows, points = project(embedding, kind=kind, sample=_POINTS[kind], random_state=run.seed)
    points, labels = points / np.abs(points).max(), _labels(test)[rows]
    return {
        "epochs": [{"neighbour_alike": neighbour_alike(points, labels)}],
        "trained_epochs": run.epochs,
        "points": np.round(points, 4).tolist(),
        "labels": labels.tolist(),
        "names": list(test.label_names),
    }


def standard(where: Where, *, network: str, training: str, **scale: Any) -> dict[str, Any]:
    """Run one of table 1's three trainings with a standard network in place of the encoder (section V)."""
    run = Run(where, **scale)
    shape, model = run.parts.train.image_shape, run.model()
    with _seeded(run.seed, 0):
        net = _StandardAutoencoder(make_backbone(network, shape), shape)
    if training == "pre-trained":
        run.within("autoencoder").train(net, model, dict)
    last = run.within("classifier")
    rows = last.supervise(net, model) if training == "end-to-end" else last.probe(net, model)
    return {"epochs": rows, "labels_used": len(run.parts.train)}


class _StandardAutoencoder(Net):
    """A standard network as the encoder, a linear layer, and the paper's decoder."""

    def __init__(self, encoder: Backbone, image_shape: tuple[int, int, int]):
        super().__init__()
        height, width, channels = image_shape
        code = (48, height // 8, width // 8)
        self.encoder = encoder
        self.widen = nn.Sequential(nn.Linear(encoder.width, math.prod(code)), nn.ReLU(), nn.Unflatten(1, code))
        self.decoder = ConvAutoencoderNet(channels, "bce", pooled=False).decoder

    def loss(self, batch: Batch) -> Tensor:
        logits = self.decoder(self.widen(self.encoder(batch.views[0]))).float()
        return F.binary_cross_entropy_with_logits(logits, batch.views[0])

    def forward(self, inputs: Tensor) -> Output:
        return Output(cast(Tensor, self.encoder(inputs)))


class _Reconstruction(Net):
    """An auto-encoder's reconstruction in place of an embedding."""

    def __init__(self, net: ConvAutoencoderNet):
        super().__init__()
        self.net = net

    def forward(self, inputs: Tensor) -> Output:
        return Output(self.net.decode(self.net.encoder(inputs)))


@dataclass(frozen=True)
class Run:
    """The operations of measurements in one place, at one scale and with one seed."""

    where: Where
    seed: int
    epochs: int
    subset: int | None
    settings: Mapping[str, str]

    @property
    def parts(self) -> Parts:
        """Return the pictures to learn from and those to score on."""
        return train_and_test(DATASET, self.where.data_root, self.subset, self.seed)

    def within(self, name: str) -> "Run":
        """Return the same run for one of several trainings of a measurement."""
        folder = None if self.where.folder is None else self.where.folder / name
        return replace(self, where=replace(self.where, folder=folder))

    def model(self, kind: str = "bce") -> ConvAutoencoder:
        """Return the method as trained for a row; settings of Local Aggregation apply only to its row."""
        aggregates = kind == "aggregation"
        chosen = _BASE | (_AGGREGATION if aggregates else {})
        for name, value in self.settings.items():
            chosen |= {name: value} if aggregates or not name.startswith("aggregation") else {}
        model = cast(ConvAutoencoder, methods.make(METHOD, chosen | _FIXED[kind]))
        model.set_params(epochs=self.epochs, random_state=self.seed, device=self.where.device)
        model.set_params(n_classes=len(self.parts.train.label_names))
        return model

    def untrained(self, model: ConvAutoencoder, features: str = "flattened") -> ConvAutoencoderNet:
        """Return the network, with weights that depend only on the seed."""
        images = self.parts.train
        model.check(images.unlabelled())
        with _seeded(self.seed, 0):
            net = model.build(images.image_shape, len(images))
        net.pooled = model.pooled or features == "averaged"
        return net

    def encoder(self, name: str, features: str) -> ConvAutoencoderNet:
        """Return the auto-encoder untrained, or with the weights from another trial."""
        net = self.untrained(self.model(), features)
        if name != "random":
            facts = {"seed": self.seed, "epochs": self.epochs, "subset": self.subset, "settings": self.settings}
            weights = outcome_of(encoder_trial(name, facts), self.where).result["weights"]
            net.load_state_dict(unpacked(weights))
        return net

    def embedded(self, net: Net) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the embeddings of the training and the test pictures."""
        train_x, test_x = (embedded(net, part.images, self.where.device) for part in self.parts)
        return train_x, test_x

    def train(self, net: Net, model: ConvAutoencoder, scores: Callable[[], dict[str, float]]) -> list[dict[str, float]]:
        """Train a network, resuming a stopped measurement; return the figures of each epoch."""
        rows, follow = kept_epochs(self.where, scores)
        data = model.image_data(self.parts.train)
        train(net, data, model.recipe(), run_dir=self.where.folder, resume=True, on_epoch=follow)
        return rows

    def probe(self, net: Net, model: ConvAutoencoder) -> list[dict[str, float]]:
        """Train the linear classifier on the output of a frozen network, computed once."""
        train_x, test_x = self.embedded(net)
        head = self.head(train_x.shape[1])
        classifier = SupervisedNet(net, head, _labels(self.parts.train), frozen=True, known=train_x)
        known = torch.from_numpy(test_x).to(pick_device(self.where.device))

        def scores() -> dict[str, float]:
            with torch.inference_mode():
                return _by_class(head(known).argmax(1).cpu().numpy(), self.parts.test)

        # With a random encoder, differences between pictures are small relative to their mean; bfloat16 loses them.
        return self.train(classifier, model.set_params(precision="32"), scores)

    def supervise(
        self,
        net: Net,
        model: ConvAutoencoder,
        own_weight: float = 0.0,
        more: Callable[[], dict[str, float]] = dict,
    ) -> list[dict[str, float]]:
        """Train a network and the linear classifier on it."""
        dim = embedded(net, self.parts.train.images[:1], self.where.device).shape[1]
        classifier = SupervisedNet(net, self.head(dim), _labels(self.parts.train), own_weight=own_weight)

        def scores() -> dict[str, float]:
            predicted = classified(classifier, self.parts.test.images, self.where.device)
            return _by_class(predicted, self.parts.test) | more()

        return self.train(classifier, model, scores)

    def head(self, dim: int) -> nn.Linear:
        """Return the untrained linear classifier."""
        with _seeded(self.seed, 3):
            return nn.Linear(dim, len(self.parts.train.label_names))

    def reconstructed(self, net: ConvAutoencoderNet, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return (N, H, W, C) reconstructions in [0, 1]."""
        return embedded(_Reconstruction(net), pictures, self.where.device).transpose(0, 2, 3, 1)

    def closeness(self, net: ConvAutoencoderNet) -> float:
        """Return one minus the mean absolute error on test pictures, which is comparable between all losses."""
        pictures = self.parts.test.images
        return float(1 - np.abs(self.reconstructed(net, pictures) - pictures / np.float32(255)).mean())

    def examples(self, net: ConvAutoencoderNet) -> str:
        """Return some test pictures of all classes and their reconstructions."""
        pictures = self.parts.test.images
        pictures = pictures[np.linspace(0, len(pictures) - 1, min(_DRAWN, len(pictures))).astype(np.int64)]
        decoded = np.rint(self.reconstructed(net, pictures) * 255).astype(np.uint8)
        return packed({"original": torch.from_numpy(pictures), "decoded": torch.from_numpy(decoded)})


@contextmanager
def _seeded(*parts: int) -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(seed_of(*parts))
        yield


def _weights(net: ConvAutoencoderNet) -> str:
    """Return the weights, without the memory of Local Aggregation, which is no longer needed."""
    state = net.state_dict()
    return packed({name: state[name] for name in state if name.startswith(("encoder.", "decoder."))})


def _labels(images: ImageSet) -> NDArray[np.int64]:
    if images.labels is None:
        raise UserError(f"{images.source!r} has no labels to classify by: give a labelled source.")
    return images.labels


def _by_class(predicted: NDArray[np.int64], images: ImageSet) -> dict[str, float]:
    """Return the share of correct pictures, overall and for each class."""
    labels = _labels(images)
    right = predicted == labels
    names = enumerate(images.label_names)
    return {"acc": float(right.mean())} | {f"acc_{name}": float(right[labels == label].mean()) for label, name in names}


def neighbour_alike(points: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """Return the share of points whose nearest neighbour has the same class."""
    places = points.astype(np.float32)
    pairs = nearest(places, places, 2)[1]
    other = np.where(pairs[:, 0] == np.arange(len(pairs)), pairs[:, 1], pairs[:, 0])
    return float((labels[other] == labels).mean())


def encoder_trial(encoder: str, facts: Mapping[str, Any]) -> Trial:
    """Return the trial that trains an encoder."""
    return classifier_trial(facts) if encoder == "end-to-end" else Trial(autoencoder, {**facts, "kind": encoder})


def classifier_trial(
    facts: Mapping[str, Any], own_weight: float = 0.0, features: str = "averaged", views: str | None = None
) -> Trial:
    """Return the trial that trains encoder and classifier together."""
    return Trial(trained_classifier, {**facts, "own_weight": own_weight, "features": features, "views": views})


def frozen_trial(facts: Mapping[str, Any], encoder: str, features: str = "averaged") -> Trial:
    """Return the trial of a classifier on a frozen encoder."""
    return Trial(frozen_classifier, {**facts, "encoder": encoder, "features": features})


def _probes(facts: Mapping[str, Any], encoder: str, features: Sequence[str] = ("averaged",)) -> list[Trial]:
    """Return the trials of a classifier on a frozen encoder, after the trial that trains it."""
    before = [] if encoder == "random" else [encoder_trial(encoder, facts)]
    return before + [frozen_trial(facts, encoder, each) for each in features]


def _table_1_trials(facts: Mapping[str, Any]) -> list[Trial]:
    both = ("averaged", "flattened")
    trials = _probes(facts, "random", both) + _probes(facts, "bce", both)
    trials += [classifier_trial(facts, features=features) for features in both]
    return [*trials, classifier_trial(facts, features="flattened", views=_CHANGED)]


def _next_steps_trials(facts: Mapping[str, Any]) -> list[Trial]:
    return [
        *_probes(facts, "bce"),
        *_probes(facts, "aggregation"),
        classifier_trial(facts),
        classifier_trial(facts, 1.0),
    ]


def _few_labels_trials(facts: Mapping[str, Any]) -> list[Trial]:
    trials = [encoder_trial("bce", facts), encoder_trial("aggregation", facts)]
    for encoder in ("random", "bce", "aggregation"):
        trials += [Trial(few_labels, {**facts, "encoder": encoder, "shots": n, "draws": DRAWS}) for n in SHOTS]
    return trials


def _map_trials(facts: Mapping[str, Any], kind: str, encoders: Sequence[str]) -> list[Trial]:
    maps = [Trial(feature_map, {**facts, "encoder": encoder, "kind": kind}) for encoder in encoders]
    return [encoder_trial(encoder, facts) for encoder in encoders] + maps


def _reconstruction_trials(facts: Mapping[str, Any]) -> list[Trial]:
    return [encoder_trial(kind, facts) for kind in ("bce", "l1", "mse")]


def _random_trials(facts: Mapping[str, Any]) -> list[Trial]:
    return _probes(facts, "random")


def _pretrained_trials(facts: Mapping[str, Any]) -> list[Trial]:
    return _probes(facts, "bce")


def _whole_trials(facts: Mapping[str, Any]) -> list[Trial]:
    return [classifier_trial(facts)]


def _untrained_trials(facts: Mapping[str, Any]) -> list[Trial]:
    return [Trial(untrained, {name: value for name, value in facts.items() if name != "epochs"})]


def _trials(scale: Scale, *, of: Callable[[Mapping[str, Any]], list[Trial]]) -> list[Trial]:
    """List the trials for all seeds."""
    refuse_settings(scale.settings, {"loss": "the rows differ in it", "pooled": "the rows differ in it"})
    settings = methods.canonical(METHOD, scale.settings, _BASE)
    if "views" in settings:
        settings["views"] = resolved(settings["views"])
    common = {"epochs": scale.epochs or EPOCHS, "subset": scale.subset, "settings": settings}
    return [_relevant(trial) for seed in range(scale.seeds or SEEDS) for trial in of({"seed": seed} | common)]


def _relevant(trial: Trial) -> Trial:
    """Return a trial, without the settings of Local Aggregation if it does not use it."""
    if "aggregation" in _encoder_of(trial):
        return trial
    own = {name: value for name, value in trial.settings["settings"].items() if not name.startswith("aggregation")}
    return Trial(trial.measure, {**trial.settings, "settings": own})


def _encoder_of(trial: Trial) -> str:
    return str(trial.settings.get("kind", "")) + str(trial.settings.get("encoder", ""))


def _standard_trials(scale: Scale) -> list[Trial]:
    """List the trials of table 4: the three trainings with each network that --method names."""
    pairs = [(network, training) for network in scale.methods or (STANDARD,) for training in PUBLISHED]
    return _trials(scale, of=lambda facts: [Trial(standard, {**facts, "network": n, "training": t}) for n, t in pairs])


def _check(trials: Sequence[Trial], where: Where) -> None:
    """Raise `UserError` now if a setting, the pictures or a standard network would stop a trial after hours."""
    for trial in trials:
        facts = trial.settings
        run = Run(where, facts["seed"], facts.get("epochs", 1), facts["subset"], facts["settings"])
        _labels(run.parts.train)
        run.untrained(run.model("aggregation" if "aggregation" in _encoder_of(trial) else "bce"))
        if trial.measure is standard:
            make_backbone(facts["network"], run.parts.train.image_shape)


def _of(outcomes: Sequence[Outcome], measure: Callable[..., Any], **settings: object) -> list[Outcome]:
    """Return the outcomes of a measurement with some settings, one per seed."""
    return [o for o in outcomes if o.trial.measure is measure and settings.items() <= _plain(o.trial.settings).items()]


def _plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name != "settings"}


def outcomes_of(outcomes: Sequence[Outcome], name: str, features: str = "averaged") -> list[Outcome]:
    """Return the outcomes of one of table 1's three trainings."""
    if name == "end-to-end":
        return _of(outcomes, trained_classifier, own_weight=0.0, features=features, views=None)
    encoder = {"random": "random", "pre-trained": "bce"}[name]
    return _of(outcomes, frozen_classifier, encoder=encoder, features=features)


def _minutes(outcomes: Sequence[Outcome], kind: str) -> str:
    """Say how long a pre-training took; the minutes of what builds on it do not include it."""
    found = [outcome.minutes for outcome in _of(outcomes, autoencoder, kind=kind)]
    return f"after {np.mean(found):.1f} minutes of pre-training without labels"


def _table_1(outcomes: Sequence[Outcome]) -> Drawing:
    """Draw table 1: accuracy per class and on average, ours and the paper's."""
    rows: list[Row] = []
    bars: dict[str, dict[str, float]] = {}
    for name, (average, _) in PUBLISHED.items():
        note = "the paper: over 500 test pictures"
        note += f"; {_minutes(outcomes, 'bce')}" if name == "pre-trained" else ""
        found = outcomes_of(outcomes, name)
        here = [*_class_rows(name, found), Row(name, METHOD, "acc", found, published=average, note=note)]
        for row in here:
            label = "average" if row.metric == "acc" else row.metric.removeprefix("acc_")
            bars.setdefault(f"{label}, ours", {})[name] = row.last()[0]
            if row.published is not None:
                bars.setdefault(f"{label}, paper", {})[name] = row.published
        flat = "ours: all 768 numbers of the code instead of 48 averages"
        rows += [*here, Row(f"{name}-flattened", METHOD, "acc", outcomes_of(outcomes, name, "flattened"), note=flat)]
    changed = _of(outcomes, trained_classifier, views=_CHANGED)
    note = f"ours: all 768 numbers, and pictures changed at random ({_CHANGED})"
    rows.append(Row("end-to-end-flattened-changed", METHOD, "acc", changed, note=note))
    return Drawing(rows, bar_chart(bars, list(PUBLISHED), "accuracy of the last epoch, %"))


def _class_rows(name: str, outcomes: Sequence[Outcome]) -> list[Row]:
    published = dict(zip(CLASSES, PUBLISHED[name][1], strict=True))
    metrics = [metric for metric in outcomes[0].result["epochs"][0] if metric.startswith("acc_")]
    known = {metric: published.get(metric.removeprefix("acc_")) for metric in metrics}
    return [Row(name, METHOD, m, outcomes, published=value, recorded=False) for m, value in known.items()]


def _next_steps(outcomes: Sequence[Outcome]) -> Drawing:
    """Draw table 2: the next steps of section V, with what they are compared to."""
    joint = _of(outcomes, trained_classifier, own_weight=1.0)
    aggregated = _of(outcomes, frozen_classifier, encoder="aggregation")
    note = "pre-training by BCE and Local Aggregation, " + _minutes(outcomes, "aggregation")
    rows = [
        Row("pre-trained", METHOD, "acc", outcomes_of(outcomes, "pre-trained"), note="as in table 1"),
        Row("local-aggregation", METHOD, "acc", aggregated, note=note),
        Row("end-to-end", METHOD, "acc", outcomes_of(outcomes, "end-to-end"), note="as in table 1"),
        Row("joint", METHOD, "acc", joint, note="BCE of the decoder and CE of the classifier, added up"),
    ]
    bars = {f"{row.name}, ours": {"test accuracy": row.last()[0]} for row in rows}
    drawn = {"pre-trained": _of(outcomes, autoencoder, kind="bce"), "joint": joint}
    closeness = "100 % less the mean absolute error of the reconstruction"
    rows += [Row(name, METHOD, "closeness", each, note=closeness) for name, each in drawn.items()]
    return Drawing(rows, bar_chart(bars, ["test accuracy"], "accuracy of the last epoch, %"))


def _by_labels(outcomes: Sequence[Outcome]) -> Drawing:
    """Draw table 3: accuracy of the nearest centroid against the number of labels per class."""
    rows, lines = [], []
    for encoder in ("random", "bce", "aggregation"):
        few = {shots: _of(outcomes, few_labels, encoder=encoder, shots=shots) for shots in SHOTS}
        for shots, found in few.items():
            spread = 100 * np.mean([outcome.result["spread"] for outcome in found])
            note = f"± {spread:.1f} over {DRAWS} draws of the labelled pictures"
            rows.append(Row(f"{ENCODERS[encoder]}-{shots}".replace(" ", "-"), METHOD, "acc", found, note=note))
        lines.append(_line(ENCODERS[encoder], [row.last() for row in rows[-len(SHOTS) :]], SHOTS))
    return Drawing(rows, line_chart(lines, "labelled pictures of each class", "test accuracy, %"))


def _line(name: str, values: Sequence[tuple[float, float | None]], x: Sequence[float]) -> Line:
    spread = [std for _, std in values if std is not None]
    return Line(name, x, [mean for mean, _ in values], spread)


def _standard_networks(outcomes: Sequence[Outcome]) -> Drawing:
    """Draw table 4: the three trainings on standard networks."""
    rows: list[Row] = []
    bars: dict[str, dict[str, float]] = {}
    for network in dict.fromkeys(outcome.trial.settings["network"] for outcome in outcomes):
        for training in PUBLISHED:
            found = _of(outcomes, standard, network=network, training=training)
            rows.append(Row(f"{network}-{training}", network, "acc", found, note="the paper's next step"))
            bars[f"{training}, ours"] = bars.get(f"{training}, ours", {}) | {network: rows[-1].last()[0]}
    return Drawing(rows, bar_chart(bars, list(dict.fromkeys(row.method for row in rows)), "test accuracy, %"))


def _reconstructions(outcomes: Sequence[Outcome]) -> Drawing:
    """Draw figure 2: test pictures, and their reconstructions with each loss."""
    note = "100 % less the mean absolute error; the paper shows pictures"
    found = {kind: _of(outcomes, autoencoder, kind=kind) for kind in ("bce", "l1", "mse")}
    rows = [Row(kind, METHOD, "closeness", each, note=note) for kind, each in found.items()]
    rows += [Row(kind, METHOD, "loss", each, loss=True, recorded=False) for kind, each in found.items()]
    first = {kind: unpacked(each[0].result["pictures"]) for kind, each in found.items()}
    lines = {"original": first["bce"]["original"]} | {kind.upper(): each["decoded"] for kind, each in first.items()}
    return Drawing(rows, _sheet(lines))


def _decoded(outcomes: Sequence[Outcome]) -> Drawing:
    """Draw figures 8 and 9: test pictures, and how a decoder without reconstruction training decodes them."""
    row = Row("", METHOD, "closeness", outcomes, note="100 % less the mean absolute error; the paper shows pictures")
    pictures = unpacked(outcomes[0].result["pictures"])
    return Drawing([row], _sheet({name: pictures[name] for name in ("original", "decoded")}))


def _sheet(lines: Mapping[str, Tensor]) -> bytes:
    pictures = torch.cat(list(lines.values())).numpy()
    return contact_sheet(pictures, len(next(iter(lines.values()))), row_titles=list(lines))


def _map(outcomes: Sequence[Outcome], drawn: str) -> Drawing:
    """Draw figures 3 and 4: test pictures in the plane, coloured by class; the first seed's."""
    maps = [outcome for outcome in outcomes if outcome.trial.measure is feature_map]
    note = "share whose nearest neighbour in the plane is of the same class; the paper shows the plane"
    encoders = dict.fromkeys(outcome.trial.settings["encoder"] for outcome in maps)
    found = {encoder: _of(maps, feature_map, encoder=encoder) for encoder in encoders}
    rows = [
        Row(ENCODERS[encoder].replace(" ", "-"), METHOD, "neighbour_alike", each, note=note)
        for encoder, each in found.items()
    ]
    result = found[drawn][0].result
    points, labels = np.array(result["points"]), np.array(result["labels"])
    return Drawing(rows, embedding_map(points, labels, names=result["names"], legend=True))


def _loss_curve(outcomes: Sequence[Outcome], training: str) -> Drawing:
    """Draw figures 5 to 7: the loss of a classifier after each epoch."""
    found = outcomes_of(outcomes, training)
    rows = [Row("", METHOD, "loss", found, loss=True, recorded=False), Row("", METHOD, "acc", found)]
    values = np.array(rows[0].values())  # (seeds, epochs)
    spread = values.std(0, ddof=1).tolist() if len(values) > 1 else []
    line = Line(training, range(1, values.shape[1] + 1), values.mean(0).tolist(), spread)
    return Drawing(rows, line_chart([line], "epoch", "training loss (cross-entropy)"))


_SPLIT = "trained on train, scored on all of test"
_PCA = partial(_map_trials, kind="pca", encoders=("bce",))
_TSNE = partial(_map_trials, kind="tsne", encoders=("bce", "end-to-end"))


def _experiment(
    kind: Literal["figure", "table"],
    number: int,
    title: str,
    minutes: float,
    of: Callable[[Mapping[str, Any]], list[Trial]],
    draw: Callable[..., Drawing],
    **drawn: str,
) -> Experiment:
    trials, drawing = partial(_trials, of=of), partial(draw, **drawn)
    return Experiment(kind, number, title, DATASET, _SPLIT, EPOCHS, minutes, trials, drawing, ("settings",), _check)


_table, _figure = partial(_experiment, "table"), partial(_experiment, "figure")
_STANDARD = Experiment(
    "table",
    4,
    "Ours: table 1 on a standard network",
    DATASET,
    _SPLIT,
    EPOCHS,
    8400.0,
    _standard_trials,
    _standard_networks,
    ("methods", "settings"),
    _check,
)
_TSNE_TITLE = "Feature maps after training end to end by t-SNE (the paper's is another's, of MNIST)"
PAPER = Paper(
    "paper2",
    "CPS 803 Final Project Report (convolutional auto-encoder and linear probes)",
    (
        _table(1, "Accuracy by class, three ways to train the encoder", 225.0, _table_1_trials, _table_1),
        _table(2, "Ours: joint training and Local Aggregation", 455.0, _next_steps_trials, _next_steps),
        _table(3, "Ours: nearest centroid of 1, 5, 10 labels a class", 330.0, _few_labels_trials, _by_labels),
        _STANDARD,
        _figure(2, "Reconstructions by BCE, L1 and MSE", 225.0, _reconstruction_trials, _reconstructions),
        _figure(3, "Feature maps of the pre-trained encoder by PCA", 76.0, _PCA, _map, drawn="bce"),
        _figure(4, _TSNE_TITLE, 113.0, _TSNE, _map, drawn="end-to-end"),
        _figure(5, "Loss on the random encoder", 10.0, _random_trials, _loss_curve, training="random"),
        _figure(6, "Loss on the pre-trained encoder", 85.0, _pretrained_trials, _loss_curve, training="pre-trained"),
        _figure(7, "Loss of training end to end", 35.0, _whole_trials, _loss_curve, training="end-to-end"),
        _figure(8, "Pictures that the random auto-encoder decodes", 0.3, _untrained_trials, _decoded),
        _figure(9, "Pictures decoded after training end to end", 35.0, _whole_trials, _decoded),
    ),
)

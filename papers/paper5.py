"""Paper 5: Self-Classifier on CIFAR-10, two backbones and two heads (table 1, figures 3 to 7).

Everything is trained without labels on the training pictures and scored on all test pictures. Only figure 7's linear
classifier, on the frozen ResNet-18, learns from labels.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple, cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn

from papers.data import Parts, train_and_test
from papers.kept import classified, packed, unpacked
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
from selfsort.errors import UserError
from selfsort.evaluation.metrics import clustering_scores
from selfsort.methods.self_classifier import SelfClassifier
from selfsort.models.base import Net
from selfsort.reporting.figures import Curve, Line, contact_sheet, line_chart, loss_curves
from selfsort.training.data import ImageData
from selfsort.training.loop import train
from selfsort.training.outputs import outputs
from selfsort.training.recipe import pick_device, seed_of

DATASET = "cifar10"
METHOD = "self-classifier"
EPOCHS = 100
SEEDS = 3
SHOWN = 10  # pictures per class
METRICS = ("nmi", "ami", "ari", "acc")
# The rate of the original's code is 0.3 for each 256 pictures of a batch.
_BASE = {"optimizer": "lars", "learning_rate": "0.075", "schedule": "cosine"}
_PROBE = "probe_"
_PROBE_BASE = {
    "optimizer": "lars",
    "learning_rate": "0.5",
    "schedule": "cosine",
    "views": "none:crop_scale=0.2..1,horizontal_flip=0.5",
}
_TRAIN_SAMPLE = 2_000  # training pictures on which the linear classifier's accuracy is measured


class Trained(NamedTuple):
    """A line of table 1: the network, how many times --epochs it is trained, and NMI, AMI, ARI and ACC in percent."""

    backbone: str
    hidden_layers: str
    times: int
    published: tuple[float, float, float, float]


TABLE = {
    "resnet18-1hl": Trained("small-resnet18", "1", 1, (61.1, 61.0, 50.5, 68.7)),
    "resnet18-2hl": Trained("small-resnet18", "2", 1, (60.3, 60.2, 49.9, 67.9)),
    "alexnet-2hl": Trained("small-alexnet", "2", 1, (41.9, 41.8, 28.4, 46.5)),
    "alexnet-2hl-twice": Trained("small-alexnet", "2", 2, (48.8, 48.7, 34.7, 52.0)),
}
PUBLISHED_PROBE = 87.89


@dataclass(frozen=True)
class LineRun:
    """One line of table 1 at one scale and with one seed."""

    where: Where
    line: str
    seed: int
    epochs: int
    subset: int | None
    settings: Mapping[str, str]

    @property
    def parts(self) -> Parts:
        """Return the pictures to learn from and those to score on."""
        return train_and_test(DATASET, self.where.data_root, self.subset, self.seed)

    def model(self, prefix: str = "", base: Mapping[str, str] = _BASE) -> SelfClassifier:
        """Return the method as trained for this line, or with the `base` and the prefixed settings of the probe."""
        line = TABLE[self.line]
        own = {name.removeprefix(prefix): value for name, value in self.settings.items() if name.startswith(prefix)}
        own = {name: value for name, value in own.items() if not name.startswith(_PROBE)}
        fixed = {"backbone": line.backbone, "hidden_layers": line.hidden_layers}
        model = cast(SelfClassifier, methods.make(METHOD, {**base, **own, **fixed}))
        model.set_params(epochs=self.epochs, random_state=self.seed, device=self.where.device)
        return cast(SelfClassifier, model.set_params(n_classes=len(self.parts.train.label_names)))

    def untrained(self, model: SelfClassifier) -> Net:
        """Return the network, with weights that depend only on the seed."""
        images = self.parts.train
        model.check(images.unlabelled())
        with torch.random.fork_rng():
            torch.manual_seed(seed_of(self.seed, 0))
            return model.build(images.image_shape, len(images))

    def train(self, net: Net, data: ImageData, model: SelfClassifier, scores: Callable[[], dict[str, float]]) -> Any:
        """Train a network, resuming a stopped measurement; return the figures of each epoch."""
        rows, follow = kept_epochs(self.where, scores)
        train(net, data, model.recipe(), run_dir=self.where.folder, resume=True, on_epoch=follow)
        return rows


def clustering(where: Where, **facts: Any) -> dict[str, Any]:
    """Train Self-Classifier without labels, scoring its classes on test pictures after each epoch (5.1 to 5.3)."""
    run = LineRun(where, **facts)
    model = run.model()
    net, test = run.untrained(model), run.parts.test

    def scores() -> dict[str, float]:
        found = clustering_scores(_labels(test.labels), classified(net, test.images, where.device))
        return {"nmi": found.nmi, "ami": found.ami, "ari": found.ari, "acc": found.accuracy}

    rows = run.train(net, model.image_data(run.parts.train.unlabelled()), model, scores)
    return {"epochs": rows, "weights": packed(net.state_dict()), **_examples(run, net)}


def probe(where: Where, **facts: Any) -> dict[str, Any]:
    """Train a linear classifier on the frozen network of `clustering`, on changed pictures (section 5.4)."""
    run = LineRun(where, **facts)
    net = run.untrained(run.model())
    net.load_state_dict(unpacked(outcome_of(Trial(clustering, _unprobed(facts)), where).result["weights"]))
    model, parts = run.model(_PROBE, _PROBE_BASE), run.parts
    with torch.random.fork_rng():
        torch.manual_seed(seed_of(run.seed, 3))
        head = nn.Linear(_width(net, parts), len(parts.train.label_names))
    classifier = SupervisedNet(net, head, _labels(parts.train.labels), frozen=True)
    data = model.image_data(parts.train.unlabelled())
    data.n_views = 1
    sample = np.linspace(0, len(parts.train) - 1, min(_TRAIN_SAMPLE, len(parts.train))).astype(np.int64)

    def scores() -> dict[str, float]:
        _, acc = _judged(classifier, parts.train.images[sample], _labels(parts.train.labels)[sample], where)
        loss, test_acc = _judged(classifier, parts.test.images, _labels(parts.test.labels), where)
        return {"acc": test_acc, "validation_loss": loss, "train_acc": acc}

    return {"epochs": run.train(classifier, data, model, scores), "labels_used": len(parts.train)}


def _judged(net: Net, images: NDArray[np.uint8], labels: NDArray[np.int64], where: Where) -> tuple[float, float]:
    """Return the cross-entropy and the accuracy of a classifier on unchanged pictures."""
    logits = outputs(net, ImageData(images, pick_device(where.device)))[1]
    assert logits is not None
    loss = F.cross_entropy(torch.from_numpy(logits), torch.from_numpy(labels)).item()
    return loss, float((logits.argmax(1) == labels).mean())


def _width(net: Net, parts: Parts) -> int:
    return int(outputs(net, ImageData(parts.train.images[:1], torch.device("cpu")))[0].shape[1])


def _labels(labels: NDArray[np.int64] | None) -> NDArray[np.int64]:
    if labels is None:
        raise UserError(f"The pictures of {DATASET} have no labels to score by: give class folders.")
    return labels


def _examples(run: LineRun, net: Net) -> dict[str, Any]:
    """Return the first test pictures of each of the network's classes, and the label matched with each class."""
    test = run.parts.test
    found = classified(net, test.images, run.where.device)
    scores = clustering_scores(_labels(test.labels), found, label_names=test.label_names)
    name_of = {each.cluster: each.name for each in scores.per_class}
    pictures, titles = [], []
    for number in range(len(test.label_names)):
        members = np.flatnonzero(found == number)
        shown = np.zeros((SHOWN, *test.images.shape[1:]), np.uint8)
        shown[: len(members)] = test.images[members[:SHOWN]]
        pictures.append(shown)
        titles.append(f"{name_of.get(number, 'no label')} ({len(members)})")
    return {"pictures": packed({"pictures": torch.from_numpy(np.stack(pictures))}), "titles": titles}


def _unprobed(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the facts of a trial, without settings of the linear classifier."""
    own = {name: value for name, value in facts["settings"].items() if not name.startswith(_PROBE)}
    return {**facts, "settings": own}


def _trials(scale: Scale, *, lines: Sequence[str], chosen: bool = False, probed: bool = False) -> list[Trial]:
    """List the trials of lines of table 1, and of the linear classifier on each, for all seeds."""
    refuse_settings(scale.settings, {"backbone": "the rows differ in it", "hidden_layers": "the rows differ in it"})
    settings = _settings(scale.settings)
    if chosen and scale.methods:
        if unknown := [name for name in scale.methods if name not in TABLE]:
            raise UserError(f"Table 1 has no row {unknown[0]!r}: give --method {', '.join(TABLE)}.")
        lines = scale.methods
    trials = []
    for seed in range(scale.seeds or SEEDS):
        for line in lines:
            epochs = (scale.epochs or EPOCHS) * TABLE[line].times
            facts = {"line": line, "seed": seed, "epochs": epochs, "subset": scale.subset, "settings": settings}
            trials.append(Trial(clustering, _unprobed(facts)))
            trials += [Trial(probe, facts)] if probed else []
    return trials


def _settings(given: Mapping[str, str]) -> dict[str, str]:
    """Return settings in one form, those of the linear classifier with their prefix."""
    own = {name: value for name, value in given.items() if not name.startswith(_PROBE)}
    probing = {name.removeprefix(_PROBE): value for name, value in given.items() if name.startswith(_PROBE)}
    found = methods.canonical(METHOD, own, _BASE)
    found |= {_PROBE + name: value for name, value in methods.canonical(METHOD, probing, _PROBE_BASE).items()}
    return {name: resolved(value) if name.endswith("views") else value for name, value in found.items()}


def _check(trials: Sequence[Trial], where: Where) -> None:
    """Raise `UserError` now if a setting or the pictures would stop a trial after hours."""
    for trial in trials:
        run = LineRun(where, **trial.settings)
        _labels(run.parts.train.labels)
        run.untrained(run.model())
        if trial.measure is probe:
            run.model(_PROBE, _PROBE_BASE).check_params()


def _of(outcomes: Sequence[Outcome], line: str, measure: Callable[..., Any] = clustering) -> list[Outcome]:
    return [o for o in outcomes if o.trial.settings["line"] == line and o.trial.measure is measure]


def _table_1(outcomes: Sequence[Outcome]) -> Drawing:
    """Draw table 1: NMI, AMI, ARI and ACC on test pictures, and the accuracy by epoch of each row."""
    rows = []
    for line in dict.fromkeys(outcome.trial.settings["line"] for outcome in outcomes):
        known = dict(zip(METRICS, TABLE[line].published, strict=True))
        rows += [Row(line, METHOD, metric, _of(outcomes, line), published=known[metric]) for metric in METRICS]
    lines = []
    for row in (row for row in rows if row.metric == "acc"):
        accuracy = [100 * each["acc"] for each in _history(row.outcomes)]
        lines.append(Line(row.name, range(1, len(accuracy) + 1), accuracy))
    return Drawing(rows, line_chart(lines, "epoch", "test accuracy, %"))


def _history(outcomes: Sequence[Outcome]) -> list[dict[str, float]]:
    """Return the figures of each epoch, averaged over seeds."""
    runs = [outcome.result["epochs"] for outcome in outcomes]
    return [{name: float(np.mean([row[name] for row in rows])) for name in rows[0]} for rows in zip(*runs, strict=True)]


def _curves(outcomes: Sequence[Outcome], line: str) -> Drawing:
    """Draw figures 3 and 5: training loss and test accuracy after each epoch."""
    found = _of(outcomes, line)
    rows = [
        Row("", METHOD, "acc", found, published=TABLE[line].published[-1], note="the paper: table 1"),
        Row("", METHOD, "loss", found, loss=True, recorded=False),
    ]
    panels = [Curve("training loss", ("loss",)), Curve("test accuracy", ("acc",), share=True)]
    return Drawing(rows, loss_curves(_history(found), curves=panels))


def _pictures(outcomes: Sequence[Outcome], lines: Sequence[str], only: str = "") -> Drawing:
    """Draw figures 4 and 6: test pictures of each class, or of the class matched with one label; the first seed's."""
    sheets, titles, rows = [], [], []
    for line in lines:
        found = _of(outcomes, line)
        result, epochs = found[0].result, len(found[0].result["epochs"])
        pictures = unpacked(result["pictures"])["pictures"].numpy()
        names = [title.rpartition(" (")[0] for title in result["titles"]]
        # Without the paper's class, such as on other pictures, the first one is shown.
        shown = range(len(names)) if not only else [names.index(only) if only in names else 0]
        sheets += [pictures[number] for number in shown]
        titles += [f"{result['titles'][number]}{f', {epochs} epochs' if only else ''}" for number in shown]
        rows.append(Row(line, METHOD, "acc", found, note="the paper shows pictures"))
    return Drawing(rows, contact_sheet(np.concatenate(sheets), SHOWN, row_titles=titles))


def _probe_curves(outcomes: Sequence[Outcome], line: str) -> Drawing:
    """Draw figure 7: loss and accuracy of the linear classifier, on the training and on the test pictures."""
    found = _of(outcomes, line, probe)
    minutes = np.mean([outcome.minutes for outcome in _of(outcomes, line)])
    note = f"on the network of table 1's row {line}, after {minutes:.1f} minutes of training without labels"
    rows = [Row("probe", METHOD, "acc", found, published=PUBLISHED_PROBE, note=note)]
    rows += [
        Row("probe", METHOD, name, found, loss=name != "train_acc", recorded=False)
        for name in ("train_acc", "loss", "validation_loss")
    ]
    panels = [Curve("loss", ("loss", "validation_loss")), Curve("accuracy", ("train_acc", "acc"), share=True)]
    return Drawing(rows, loss_curves(_history(found), curves=panels))


def _experiment(
    kind: Literal["figure", "table"],
    number: int,
    title: str,
    minutes: float,
    lines: Sequence[str],
    draw: Callable[[Sequence[Outcome]], Drawing],
    *,
    chosen: bool = False,
    probed: bool = False,
) -> Experiment:
    split = "trained without labels on train, scored on all of test"
    if probed:
        split = "network trained without labels on train, classifier with those of train, scored on all of test"
    takes = ("settings", *(["methods"] if chosen else []))
    trials = partial(_trials, lines=lines, chosen=chosen, probed=probed)
    return Experiment(kind, number, title, DATASET, split, EPOCHS, minutes, trials, draw, takes, _check)


_table, _figure = partial(_experiment, "table"), partial(_experiment, "figure")
_RESNET, _ALEXNETS = "resnet18-1hl", ("alexnet-2hl", "alexnet-2hl-twice")
PAPER = Paper(
    "paper5",
    "Self-Supervised Classification Network (Self-Classifier) on CIFAR-10",
    (
        _table(1, "NMI, AMI, ARI and ACC by backbone and head", 32_500.0, tuple(TABLE), _table_1, chosen=True),
        _figure(3, "Loss and accuracy, ResNet-18", 12_500.0, (_RESNET,), partial(_curves, line=_RESNET)),
        _figure(4, "Pictures of each class, ResNet-18", 12_500.0, (_RESNET,), partial(_pictures, lines=(_RESNET,))),
        _figure(5, "Loss and accuracy, AlexNet", 5_000.0, _ALEXNETS[1:], partial(_curves, line=_ALEXNETS[1])),
        _figure(
            6,
            "Pictures of the class truck after as many epochs and after twice as many, AlexNet",
            7_500.0,
            _ALEXNETS,
            partial(_pictures, lines=_ALEXNETS, only="truck"),
        ),
        _figure(
            7,
            "Loss and accuracy of a linear classifier on the frozen ResNet-18",
            16_700.0,
            (_RESNET,),
            partial(_probe_curves, line=_RESNET),
            probed=True,
        ),
    ),
)

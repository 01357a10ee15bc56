"""Gather what a report says about a run from the run folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, Field, NonNegativeInt, model_validator

from selfsort import runs
from selfsort.data.image_set import ImageSet
from selfsort.errors import UserError
from selfsort.evaluation.group_quality import GroupQuality
from selfsort.evaluation.metrics import ClassScore
from selfsort.methods.base import Estimator
from selfsort.reporting.card import read_certificate
from selfsort.reporting.report import ReportData
from selfsort.schema import Invalid, checked
from selfsort.training.collapse import of_final_model

_SHOWN = ("warnings", "groups", "class_count")  # facts of the training shown elsewhere in the report


def report_data(model: Estimator, folder: Path, images: ImageSet) -> ReportData:
    """Gather what `write_report` needs from a finished run and the pictures it was trained on."""
    return ReportData(
        title=runs.RunFolder(folder).title,
        config=_config(model.run_),
        images=images,
        embedding=model.embedding_,
        probabilities=model.probabilities_,
        clusters=model.labels_,
        history=model.history_.rows,
        skipped=runs.read_skipped(folder),
        evaluation=_evaluation(runs.RunFolder(folder).evaluation),
        training_evaluation=_evaluation(runs.RunFolder(folder).training_evaluation),
        warnings=of_final_model(model.history_.warnings, len(model.history_.rows)),
        quality=_quality(model, runs.RunFolder(folder)),
        class_count=model.class_count_,
        names=model.names_,
        certificate=read_certificate(folder),
    )


def _config(run: Mapping[str, Any]) -> dict[str, Any]:
    data, training = run["data"], run["training"]
    return {
        "method": run["method"],
        "source": data["source"],
        "pictures": data["n_images"],
        "shape": " x ".join(map(str, data["image_shape"])),
        "fingerprint": data["fingerprint"],
        "seed": run["params"]["random_state"],
        **{name: value for name, value in training.items() if name not in _SHOWN},
        "names learnt": run.get("refined", {}),
        "started": run["started"],
        "hardware": run["hardware"],
        "parameters": run["params"],
        "loading": {name: value for name, value in data["options"].items() if value is not None},
        "versions": run["versions"],
    }


def _quality(model: Estimator, folder: runs.RunFolder) -> GroupQuality:
    """Return the quality of the groups from fitting; the groups of names are different ones, and are judged now."""
    known = None if model.names_ else model.run_["training"].get("groups")
    if known is None:
        return model.group_quality()
    with folder.reading(folder.manifest):
        return GroupQuality.from_json(known)


def _evaluation(path: Path) -> dict[str, Any] | None:
    try:
        found = runs.read_facts(path)
        if found is not None:
            checked(_Evaluation, found)
    except Invalid as error:
        raise UserError(f"{str(path)!r} is damaged ({error}): run `selfsort evaluate` again or delete it.") from error
    return found


_Share = Annotated[float, Field(ge=-1, le=1, allow_inf_nan=False)]


class _Named(BaseModel):
    """Names compared with labels."""

    accuracy: _Share
    n: NonNegativeInt
    per_class: list[ClassScore]


class _Clustering(_Named):
    """Clusters compared with labels."""

    purity: _Share = 0.0
    nmi: _Share
    ami: _Share
    ari: _Share
    n_unlabelled: NonNegativeInt
    confusion: list[list[NonNegativeInt]]
    mapping: dict[str, str | None]

    @model_validator(mode="after")
    def _fits(self) -> Self:
        columns = {len(row) for row in self.confusion}
        places = [row.cluster for row in self.per_class if row.cluster is not None]
        if len(self.confusion) != len(self.per_class) or len(columns) != 1:
            raise ValueError("its confusion matrix does not match its classes")
        if not all(0 <= place < max(columns) for place in places):
            raise ValueError("a class is matched with a cluster that does not exist")
        return self


class _Probe(BaseModel):
    """The results of a probe."""

    kind: str
    accuracy: _Share
    n_train: NonNegativeInt
    n_test: NonNegativeInt


class _Evaluation(BaseModel):
    """What a report relies on in an evaluation."""

    clustering: _Clustering | None = None
    named: _Named | None = None
    probe: _Probe | None = None
    silhouette: _Share | None = None
    source: str | None = None
    of_training: bool = True

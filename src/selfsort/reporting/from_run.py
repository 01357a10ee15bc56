"""What a report tells of a run, taken from the run folder."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from selfsort import runs
from selfsort.data.image_set import ImageSet
from selfsort.errors import UserError
from selfsort.evaluation.group_quality import GroupQuality
from selfsort.methods.base import Estimator
from selfsort.reporting.card import read_certificate
from selfsort.reporting.report import ReportData
from selfsort.training.collapse import of_final_model

_SHOWN = ("warnings", "groups", "class_count")  # of a run's training, elsewhere in the report


def report_data(model: Estimator, folder: Path, images: ImageSet) -> ReportData:
    """Gather what `write_report` needs of a finished run and the pictures it was trained on."""
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
        warnings=of_final_model(model.history_.warnings, len(model.history_.rows)),
        quality=_quality(model),
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


def _quality(model: Estimator) -> GroupQuality:
    """Return what fitting found out about the groups; the groups of names are others, and are judged now."""
    known = None if model.names_ else model.run_["training"].get("groups")
    return model.group_quality() if known is None else GroupQuality.from_json(known)


def _evaluation(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise ValueError("not an object")
    except ValueError as error:
        raise UserError(f"{str(path)!r} is damaged: run `selfsort evaluate` again or delete it.") from error
    return found

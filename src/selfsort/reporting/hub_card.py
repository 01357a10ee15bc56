"""The model card in Hugging Face's format: a README.md that starts with YAML, with the certificate if there is one.

The format: https://huggingface.co/docs/hub/model-cards. It names no folder of this machine.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from selfsort import runs
from selfsort.errors import UserError
from selfsort.evaluation.certificate import Certificate
from selfsort.files import atomic_path
from selfsort.reporting.card import certified_card, read_certificate, uncertified_card

_ON_HUB = " on the Hugging Face hub"  # as `Card.source` says of timm's weights
_USE = """## How to use it

With the run folder from this repository, and `pip install selfsort`:

    hf download OWNER/NAME --local-dir RUN
    selfsort predict RUN PICTURES --out predictions.csv

Or without selfsort: `selfsort export RUN --out model.onnx` writes the model in one file for any ONNX runtime.
"""


def write_hub_card(folder: Path, out: Path) -> None:
    """Write the model card of the model in a run folder; raise `UserError` if it cannot be read or written."""
    card = hub_card(folder)
    if out.is_dir():
        raise UserError(f"{str(out)!r} is a folder: choose the name of a file.")
    with atomic_path(out) as path:
        path.write_text(card, encoding="utf-8", errors="backslashreplace")


def hub_card(folder: Path) -> str:
    """Return the model card of the model in a run folder: YAML between two lines of dashes, then Markdown."""
    run, certificate = runs.read_run(folder), read_certificate(folder)
    body = uncertified_card(folder, run) if certificate is None else certified_card(folder, run)
    return f"---\n{_front_matter(folder, run, certificate)}\n---\n\n{body}{_USE}"


def _front_matter(folder: Path, run: Mapping[str, Any], certificate: Certificate | None) -> str:
    source = str(run["data"]["source"])
    dataset = source.removeprefix("hf:") if source.startswith("hf:") else None
    results = None if certificate is None else _results(certificate, dataset)
    return ModelCardData(
        library_name="selfsort",
        pipeline_tag="image-classification",
        tags=["selfsort", "image-clustering", str(run["method"])],
        datasets=None if dataset is None else [dataset],
        base_model=_base_model(run),
        model_name=runs.RunFolder(folder).title if results else None,
        eval_results=results,
    ).to_yaml()


def _base_model(run: Mapping[str, Any]) -> str | None:
    """Return the hub's name of the pre-trained network that a model starts from, if it is from there."""
    weights = str(run["training"].get("weights", ""))
    name = weights.removeprefix("hf-hub:").removesuffix(_ON_HUB)
    return None if name == weights else name


def _results(certificate: Certificate, dataset: str | None) -> list[EvalResult] | None:
    share = certificate.accuracy
    if share.estimate is None:
        return None
    return [
        EvalResult(
            task_type="image-classification",
            dataset_type=dataset or "imagefolder",
            dataset_name=dataset or "the pictures that it learnt from",
            metric_type="accuracy",
            metric_name=f"share of right names (95 % sure: {share.low:.4f} to {share.high:.4f})",
            metric_value=round(share.estimate, 4),
        )
    ]

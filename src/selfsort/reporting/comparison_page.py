"""The page of a comparison: the methods as ranked without labels, and their clusters side by side."""

from collections.abc import Sequence
from pathlib import Path

from selfsort import methods
from selfsort.comparison import FIGURES, MethodResult
from selfsort.data.image_set import ImageSet
from selfsort.files import atomic_path
from selfsort.reporting.gallery import cluster_sheet, percent
from selfsort.reporting.pages import render
from selfsort.reporting.thumbnails import data_uri

PAGE = "comparison.html"
_COLUMNS = 8  # pictures of each cluster


def write_comparison_page(
    results: Sequence[MethodResult], images: ImageSet, folder: Path, *, lead: str, agreement: float | None
) -> None:
    """Write the self-contained page of a comparison into a folder.

    `results` are ordered, best first, with failed ones anywhere; `images` are the pictures that all were fitted to,
    `lead` is the sentence below the heading, and `agreement` the rank correlation with the accuracy, if known.
    """
    done = [result for result in results if not result.failed]
    labelled = any(result.accuracy is not None for result in done)
    context = {
        "title": Path(images.source).name or images.source,
        "lead": lead,
        "header": ["Method", *(name.capitalize() for name in FIGURES), "Epochs", "Minutes"]
        + (["Accuracy", "NMI"] if labelled else []),
        "rows": [_row(result) for result in done],
        "meaning": "; ".join(f"{name}, {words}" for name, words in FIGURES.items()),
        "agreement": None if agreement is None else f"{agreement:.2f}",
        "failed": [result for result in results if result.failed],
        "sheets": [(result.method, _sheet(result, images)) for result in done],
    }
    with atomic_path(folder / PAGE) as partial:
        partial.write_bytes(render("comparison.html.j2", context).encode("utf-8"))


def _row(result: MethodResult) -> list[str]:
    figures = ["–" if value is None else f"{value:.2f}" for value in result.figures.values()]
    row = [result.method, *figures, str(result.epochs or "–"), f"{result.minutes:.1f}"]
    return row + [percent(score) for score in (result.accuracy, result.nmi) if score is not None]


def _sheet(result: MethodResult, images: ImageSet) -> str:
    model = methods.load(result.folders[0])
    return data_uri(cluster_sheet(images, model.embedding_, model.labels_, columns=_COLUMNS), "png")

"""A model's certificate and its card, kept beside it: what it is, what it learnt from, how good it is, its limits."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from selfsort import runs
from selfsort.errors import UserError
from selfsort.evaluation.certificate import Certificate, Share, percent
from selfsort.files import atomic_path, write_error
from selfsort.reporting.pages import printable
from selfsort.schema import Invalid, Versioned, checked

_FORMAT = 1
_MARKUP = re.compile(r"([\\`*_{}\[\]<>#|~])")
_TRAINING = ("epochs", "batch_size", "learning_rate", "views")


def write_certificate(folder: Path, certificate: Certificate, *, answers: int, checked_by: str) -> None:
    """Write a certificate and the model card beside the model, in place of earlier ones.

    `answers` is the number of answers about groups that the model learnt from, `checked_by` who said what is right.
    Raises `UserError` when they cannot be written.
    """
    known = {"format": _FORMAT, "date": datetime.now(UTC).date().isoformat(), "checked_by": checked_by}
    card = model_card(folder, runs.read_run(folder), certificate, answers=answers, checked_by=checked_by)
    files = runs.RunFolder(folder)
    with atomic_path(files.model_card) as path:
        path.write_text(card, encoding="utf-8", errors="backslashreplace")
    runs.write_facts(files.certificate, known | certificate.to_json())


def remove_certificate(folder: Path) -> None:
    """Remove what `write_certificate` wrote; raises `UserError` when that fails."""
    files = runs.RunFolder(folder)
    for path in (files.certificate, files.model_card):
        try:
            with suppress(FileNotFoundError):
                path.unlink()
        except OSError as error:
            raise write_error(path, error) from error


def read_certificate(folder: Path) -> Certificate | None:
    """Return the certificate of a model, None where there is none; raises `UserError` for a damaged one."""
    path = runs.RunFolder(folder).certificate
    try:
        content = runs.read_facts(path)
        if content is None:
            return None
        newer = checked(Versioned, content).format > _FORMAT
        certificate = None if newer else Certificate.from_json(content)
    except Invalid as error:
        raise UserError(f"{str(path)!r} is damaged ({error}): run `selfsort certify` again or delete it.") from error
    if newer:
        raise UserError(f"{str(path)!r} was written by a newer selfsort: upgrade, or delete it.")
    return certificate


def model_card(folder: Path, run: Mapping[str, Any], certificate: Certificate, *, answers: int, checked_by: str) -> str:
    """Return a Markdown page about a named model for those who did not make it."""
    parts = (
        _what_it_is(folder, run, certificate),
        _what_it_learnt_from(run, answers),
        _training(run),
        _how_good(certificate, checked_by),
        _limits(certificate),
        ["## How to use it", "", f"    selfsort predict '{printable(folder)}' PICTURES --out predictions.csv", ""],
    )
    return "\n".join(line for part in parts for line in part)


def _what_it_is(folder: Path, run: Mapping[str, Any], certificate: Certificate) -> list[str]:
    names = [_text(row.name) for row in certificate.per_class]
    title = runs.RunFolder(folder).title
    return [
        f"# {_text(title)}: a model that names pictures",
        "",
        f"**{certificate.sentence}**",
        "",
        f"It gives every picture one of {len(names)} names: {', '.join(names)}.",
        "",
    ]


def _what_it_learnt_from(run: Mapping[str, Any], answers: int) -> list[str]:
    data = run["data"]
    height, width, channels = data["image_shape"]
    colour = "grey" if channels == 1 else "colour"
    return [
        "## What it learnt from",
        "",
        f"{data['n_images']:,} pictures ({height}x{width}, {colour}) from {_text(data['source'])}, without labels; "
        f"their fingerprint is `{data['fingerprint']}`. The names come from {answers:,} answers about groups of "
        "pictures that looked alike to the model.",
        "",
    ]


def _training(run: Mapping[str, Any]) -> list[str]:
    params, refined, minutes = run["params"], run.get("refined", {}), run["training"]["minutes"]
    known = {name: params[name] for name in _TRAINING if name in params}
    known |= {"random_state": params["random_state"], "hardware": run["hardware"], "started": run["started"]}
    known |= {f"refined: {name}": value for name, value in refined.items()}
    known |= {name: version for name, version in run["versions"].items() if name in ("selfsort", "torch")}
    return [
        "## How it was trained",
        "",
        f"By the method {_text(run['method'])}, in {minutes:.1f} minutes, and then by the names.",
        "",
        *_table(("setting", "value"), ((name, value) for name, value in known.items())),
        "",
    ]


def _how_good(certificate: Certificate, checked_by: str) -> list[str]:
    rows = [(row.name, *interval_words(row), f"{row.n:,}", f"{row.pictures:,}") for row in certificate.per_class]
    rejection = [certificate.rejection.sentence, ""] if certificate.rejection else []
    return [
        "## How good it is",
        "",
        *rejection,
        "Of the pictures that are given a name, so many really have it:",
        "",
        *_table(("name", "right in the sample", "right of all, 95 % sure", "checks", "pictures with this name"), rows),
        "",
        f"The pictures to check were drawn at random, spread over the names and over how sure the model is, and looked "
        f"at one by one; what is right was said by {_text(checked_by)}. The intervals are exact (Clopper-Pearson) and "
        "hold whatever the model. Each holds by itself with 95 %: of twenty, one may be off.",
        "",
    ]


def interval_words(share: Share) -> tuple[str, str]:
    """Return the estimate and the interval of a share as a reader sees them; dashes when nothing was checked."""
    if share.estimate is None:
        return "–", "–"
    low, high = percent(share.low, down=True), percent(share.high, up=True)
    return percent(share.estimate), low if low == high else f"{low} to {high}"


def _limits(certificate: Certificate) -> list[str]:
    return [
        "## Limits",
        "",
        f"- The figures hold for the {certificate.pictures:,} pictures above, which the model also learnt from. For "
        "others they hold only as far as those are like these: of the same things, taken in the same way. Draw a new "
        "sample where that is not so.",
        "- Every picture gets one of the names, also one that shows something else.",
        "- They tell how many pictures with a name really have it, not how many of a kind were missed.",
        "- The model's own confidence puts pictures in an order; it is not the chance to be right.",
        "- Whoever checked may have been wrong, too; the figures then say how far the model agrees.",
        "",
    ]


def _table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    for cells in (header, ["---"] * len(header), *rows):
        yield "| " + " | ".join(str(cell) if cell == "---" else _text(cell) for cell in cells) + " |"


def _text(value: object) -> str:
    """Return a value as plain text in Markdown."""
    return _MARKUP.sub(r"\\\1", printable(value))

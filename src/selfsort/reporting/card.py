"""A model's certificate and model card, kept beside it: what it is, what it learnt from, how good it is, its limits."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from selfsort import runs
from selfsort.errors import UserError
from selfsort.evaluation.certificate import Certificate, Share, between, percent
from selfsort.files import atomic_path, write_error
from selfsort.reporting.pages import printable
from selfsort.schema import Invalid, Versioned, checked
from selfsort.spelling import counted

_FORMAT = 2  # 1 had no recall, no second person, and not what is needed to repeat the draw
PERSON = "a person"  # whoever checks on the page
_MARKUP = re.compile(r"([\\`*_{}\[\]<>#|~])")
_USE = "## How to use it"
_ALWAYS = (
    "- Every picture gets one of the names or clusters, even if it shows something else.",
    "- The model's own confidence ranks pictures; it is not the probability of being right.",
)
_TRAINING = ("epochs", "batch_size", "learning_rate", "views")


def write_certificate(folder: Path, certificate: Certificate, *, answers: int, checked_by: str) -> None:
    """Write a certificate and the model card beside the model, replacing earlier ones.

    `answers` is the number of answers about groups that the model learnt from; `checked_by` says who checked. Raises
    `UserError` if they cannot be written.
    """
    known = {"format": _FORMAT, "date": datetime.now(UTC).date().isoformat(), "checked_by": checked_by}
    card = model_card(folder, runs.read_run(folder), certificate, answers=answers, checked_by=checked_by)
    files = runs.RunFolder(folder)
    with atomic_path(files.model_card) as path:
        path.write_text(card, encoding="utf-8", errors="backslashreplace")
    runs.write_facts(files.certificate, known | certificate.to_json())


def remove_certificate(folder: Path) -> None:
    """Remove what `write_certificate` wrote; raise `UserError` if that fails."""
    files = runs.RunFolder(folder)
    for path in (files.certificate, files.model_card):
        try:
            with suppress(FileNotFoundError):
                path.unlink()
        except OSError as error:
            raise write_error(path, error) from error


def read_certificate(folder: Path) -> Certificate | None:
    """Return the certificate of a model, None if there is none; raise `UserError` for a damaged one."""
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
        raise UserError(f"{str(path)!r} was written by a newer selfsort: upgrade selfsort, or delete it.")
    return certificate


def who_checked(folder: Path) -> str | None:
    """Return who checked, as given to `write_certificate`; None if there is no certificate."""
    content = runs.read_facts(runs.RunFolder(folder).certificate)
    return None if content is None else str(content.get("checked_by"))


def model_card(folder: Path, run: Mapping[str, Any], certificate: Certificate, *, answers: int, checked_by: str) -> str:
    """Return a page in Markdown about a named model, for people who did not make it."""
    parts = (
        _what_it_is(folder, run, certificate),
        _what_it_learnt_from(run, answers),
        _training(run),
        _how_good(certificate, checked_by),
        _sample(certificate),
        _limits(certificate),
        [_USE, "", f"    selfsort predict '{printable(folder)}' PICTURES --out predictions.csv", ""],
    )
    return "\n".join(line for part in parts for line in part)


def _public(source: str) -> str:
    """Return a source without the folders that lead to it."""
    return Path(source).name if Path(source).is_absolute() else source


def certified_card(folder: Path, run: Mapping[str, Any]) -> str:
    """Return what `write_certificate` wrote about a model, up to how to use it; raise `UserError` if it is gone."""
    source = run["data"]["source"]
    path = runs.RunFolder(folder).model_card
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{str(path)!r} cannot be read: run `selfsort certify` again.") from error
    return text.partition(_USE)[0].replace(_text(source), _text(_public(source)))  # earlier versions wrote all of it


def uncertified_card(folder: Path, run: Mapping[str, Any]) -> str:
    """Return a page about a model that nobody has checked, up to how to use it."""
    names = [_text(name) for name in run.get("names", ())]
    gives = f"one of {len(names)} names: {', '.join(names)}" if names else "the number of a cluster"
    parts = (
        [f"# {_text(runs.RunFolder(folder).title)}: a model that {'names' if names else 'sorts'} pictures", ""],
        [f"It gives every picture {gives}.", ""],
        _what_it_learnt_from(run, None),
        _training(run),
        ["## How good it is", "", "Nobody has checked it: `selfsort certify` measures how many names are right.", ""],
        ["## Limits", "", *_ALWAYS, ""],
    )
    return "\n".join(line for part in parts for line in part)


def _what_it_is(folder: Path, run: Mapping[str, Any], certificate: Certificate) -> list[str]:
    names = [_text(row.name) for row in certificate.names]
    or_junk = "" if certificate.junk is None else ", or calls it junk"
    title = runs.RunFolder(folder).title
    return [
        f"# {_text(title)}: a model that names pictures",
        "",
        f"**{certificate.sentence}**",
        "",
        f"It gives every picture one of {len(names)} names{or_junk}: {', '.join(names)}.",
        "",
    ]


def _what_it_learnt_from(run: Mapping[str, Any], answers: int | None) -> list[str]:
    """Say what a model learnt from, but not where that lies, as a card may be published."""
    data = run["data"]
    groups = "answers about groups of pictures that looked alike to the model"
    names = "" if answers is None else f" The names come from {answers:,} {groups}."
    height, width, channels = data["image_shape"]
    colour = "grey" if channels == 1 else "colour"
    return [
        "## What it learnt from",
        "",
        f"{counted(data['n_images'], 'picture')} ({height}x{width}, {colour}) from {_text(_public(data['source']))}, "
        f"without labels; their fingerprint is `{data['fingerprint']}`.{names}",
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
        f"With the method {_text(run['method'])}, in {minutes:.1f} minutes, and then with the names.",
        "",
        *_table(("setting", "value"), ((name, value) for name, value in known.items())),
        "",
    ]


def _how_good(certificate: Certificate, checked_by: str) -> list[str]:
    rows = [
        (row.name, *interval_words(row), interval_words(row.recall)[1], f"{row.n:,}", f"{row.pictures:,}")
        for row in certificate.rows
    ]
    parts = (certificate.second, certificate.rejection)
    sentences = [line for part in parts if part for line in (part.sentence, "")]
    return [
        "## How good it is",
        "",
        *sentences,
        "For each name: how many of the pictures that are given it really have it (*right*), and how many of the "
        "pictures that really have it are given it (*found*):",
        "",
        *_table(
            (
                "name",
                "estimate",
                "right of all, 95 % sure",
                "found of all, 95 % sure",
                "checks",
                "pictures with this name",
            ),
            rows,
        ),
        "",
        f"The pictures were drawn at random and checked one by one by {_text(checked_by)}. The intervals are valid "
        "for any model, whenever checking stopped. Each holds with 95 % on its own: one in twenty may be wrong.",
        "",
    ]


def _sample(certificate: Certificate) -> list[str]:
    sample = certificate.sample
    if sample is None:
        return []
    earlier = f"{sample.earlier:,} samples were" if sample.earlier != 1 else "one sample was"
    before = "No sample was drawn before." if not sample.earlier else f"For this run, {earlier} drawn before."
    were = (
        "was known from those and counts as itself"
        if len(sample.known) == 1
        else "were known from those and count as themselves"
    )
    known = f" {counted(len(sample.known), 'picture')} {were}." if sample.known else ""
    rounds = ", ".join(
        f"{each.checks:,} for the model after {_refinements(each.refinements)}" for each in sample.rounds if each.checks
    )
    return [
        "## How the pictures were drawn",
        "",
        f"With the seed {sample.seed}. {before}{known} Checks: {rounds or 'none'}. Anyone who has the run's folder can "
        "repeat the draw and the calculation: `selfsort verify RUN`.",
        "",
    ]


def _refinements(number: int) -> str:
    return "1 refinement" if number == 1 else f"{number:,} refinements"


def interval_words(share: Share | None) -> tuple[str, str]:
    """Format the estimate and the interval of a share; dashes if nothing was checked."""
    if share is None or share.estimate is None:
        return "–", "–"
    return percent(share.estimate), between(share)


def _limits(certificate: Certificate) -> list[str]:
    return [
        "## Limits",
        "",
        f"- The figures hold for the {counted(certificate.pictures, 'picture')} above, which the model also learnt "
        "from. For others they hold only if those are like these: of the same things, taken in the same way. "
        "Otherwise, draw a new sample.",
        *_ALWAYS,
        "- Whoever checked may have been wrong, too; the figures then say how far the model agrees with that person.",
        "",
    ]


def _table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    for cells in (header, ["---"] * len(header), *rows):
        yield "| " + " | ".join(str(cell) if cell == "---" else _text(cell) for cell in cells) + " |"


def _text(value: object) -> str:
    """Return a value as plain text in Markdown."""
    return _MARKUP.sub(r"\\\1", printable(value))

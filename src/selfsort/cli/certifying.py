"""Commands that measure how many names are right: certify, verify."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from selfsort.cli.app import app
from selfsort.cli.inputs import training_images, true_labels
from selfsort.cli.options import (
    Account,
    AsJson,
    Host,
    LabelsFrom,
    Moved,
    NoBrowser,
    Password,
    Port,
    Run,
    Simulate,
    check_labels_from,
    check_seed,
)
from selfsort.cli.output import answer, print_table, say
from selfsort.errors import UserError
from selfsort.spelling import counted

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from selfsort.data.image_set import ImageSet
    from selfsort.labelling.checks import Asking, Checks

_MORE = 50  # further checks that are suggested


@app.command()
def certify(
    run: Run,
    budget: Annotated[
        int | None,
        typer.Option(
            help="Pictures to check, drawn at random; a larger number later extends the same sample.",
            show_default="100",
        ),
    ] = None,
    reject: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE", help="Also find the confidence above which this share of names is right, such as 0.99."
        ),
    ] = None,
    second: Annotated[
        bool, typer.Option("--second", help="Ask a second person about the pictures that the first has checked.")
    ] = False,
    images: Moved = None,
    port: Port = None,
    host: Host = None,
    password: Password = None,
    no_browser: NoBrowser = False,
    simulate: Simulate = None,
    classes_from: LabelsFrom = None,
    account: Account = None,
    seed: Annotated[
        int | None, typer.Option(help="Seed of the draw; extending the sample keeps it.", show_default="0")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check names of random pictures one by one, and state how many of all names are right; stop when you like."""
    from selfsort.labelling.checks import SecondChecks
    from selfsort.labelling.server.serve import serve

    check_seed(seed or 0)
    check_labels_from(classes_from, simulate)
    if second and simulate:
        raise UserError("--second needs a second person: leave out --simulate.")
    folder, facts = _named_model(run, budget, reject)
    pictures = training_images(run, facts, images, as_json, account=account)
    checks, answers = _open_checks(run, folder, budget, reject, seed, as_json)
    asking: Asking = SecondChecks(checks, checks.done if budget is None else budget) if second else checks
    certified = _writer(folder, checks, answers)
    if simulate:
        labels, names = true_labels(simulate, classes_from, pictures, as_json)
        _check_by_labels(checks, simulate, pictures, labels, names)
        certified(f"the labels of {simulate}")
    elif asking.next() is None:
        certified()
    else:
        tell = (lambda text: print(text, file=sys.stderr, flush=True)) if as_json else say
        where: dict[str, Any] = {"port": port, "host": host, "password": password, "open_browser": not no_browser}
        serve(run, pictures, checks=asking, certified=certified, say=tell, **where)
    _show_certificate(run, folder, asking, as_json)


@app.command()
def verify(run: Run, as_json: AsJson = False) -> None:
    """Verify somebody else's certificate by repeating its draw and calculation."""
    from selfsort.reporting.verify import verify_certificate

    folder, _ = _named_model(run)
    steps = verify_certificate(run, folder)
    failed = [step for step in steps if not step.holds]
    answer("verify", {"run": str(run), "holds": not failed, "steps": [step._asdict() for step in steps]}, as_json)
    for step in steps:
        say(f"{'holds ' if step.holds else 'DIFFERS'}  {step.what}", as_json)
    if failed and as_json:
        raise typer.Exit(1)
    if failed:
        raise UserError(f"The certificate of {str(run)!r} does not hold: {failed[0].what}.")
    say(
        "The certificate holds: draw and calculation were repeated. Whether the checks are right, only eyes can tell.",
        as_json,
    )


def _named_model(run: Path, budget: int | None = None, reject: float | None = None) -> tuple[Path, dict[str, Any]]:
    """Return the folder of a run's named model and its facts, or raise `UserError` where it cannot be certified."""
    from selfsort import runs

    if budget is not None and budget < 1:
        raise UserError(f"--budget {budget} checks nothing: use at least 1.")
    if reject is not None and not 0 < reject < 1:
        raise UserError(f"--reject {reject:g} is not a share: choose one between 0 and 1, such as 0.99.")
    runs.read_run(run)
    folder = runs.RunFolder(run).newest().path
    if folder == run:
        way = f"name its groups first: selfsort label {run}, then selfsort refine {run}"
        raise UserError(f"{str(run)!r} has no names to check; {way}.")
    return folder, runs.read_run(folder)


def _open_checks(
    run: Path, folder: Path, budget: int | None, reject: float | None, seed: int | None, quiet: bool
) -> tuple["Checks", int]:
    """Continue a run's sample or draw one; also return how many answers the store holds."""
    from contextlib import closing

    from selfsort.labelling.locks import label_lock
    from selfsort.labelling.samples import named_predictions, open_checks
    from selfsort.labelling.store import Store

    with label_lock(run, certifying=True), closing(Store.open(run)) as store:
        predictions, ids = named_predictions(folder)
        checks, told = open_checks(store, predictions, ids, budget, random_state=seed, target=reject)
        answers = len(store.events())
    if told:
        say(told, quiet)
    if 0 < checks.done < checks.budget:
        say(f"Continuing after {checks.done:,} of {counted(checks.budget, 'check')}.", quiet)
    return checks, answers


def _writer(folder: Path, checks: "Checks", answers: int) -> Callable[..., None]:
    """Return a function that writes the certificate as it is now, or removes it if nothing is checked any more."""
    from selfsort.reporting.card import PERSON, remove_certificate, write_certificate

    def certified(checked_by: str = PERSON) -> None:
        certificate = checks.certificate()
        if certificate is None:
            remove_certificate(folder)
        else:
            write_certificate(folder, certificate, answers=answers, checked_by=checked_by)

    return certified


def _check_by_labels(
    checks: "Checks", source: str, images: "ImageSet", labels: "NDArray[np.int64]", names: tuple[str, ...]
) -> None:
    """Answer by the labels of a source; checks that a person made are kept, but not used."""
    asked = [*checks.known, *checks.draw.order[: checks.budget].tolist()]
    unknown = [picture for picture in asked if labels[picture] < 0]
    if unknown:
        first = images.ids[unknown[0]]
        raise UserError(f"{source!r} has no label for {len(unknown)} of the pictures drawn, such as {first!r}: add it.")
    if not {checks.settle(name) for name in names} & set(checks.names):
        raise UserError(f"No label of {source!r} is one of the names given: use the source that the names come from.")
    while checks.done:
        checks.undo()
    checks.second.clear()
    checks.known.update((picture, checks.settle(names[labels[picture]])) for picture in checks.known)
    while (picture := checks.next()) is not None:
        checks.record(picture, names[labels[picture]])


def _show_certificate(run: Path, folder: Path, checks: "Asking", quiet: bool) -> None:
    from selfsort.reporting.card import interval_words
    from selfsort.runs import RunFolder

    certificate = checks.certificate()
    status = "unfinished" if checks.done < checks.budget else "complete"
    found = {"run": str(run), "done": checks.done, "budget": checks.budget, "status": status}
    answer("certify", found | {"certificate": None if certificate is None else certificate.to_json()}, quiet)
    if status == "unfinished":
        say(f"Stopped after {checks.done:,} of {counted(checks.budget, 'check')}; the same command continues.", quiet)
    if certificate is None:
        return
    say(certificate.sentence, quiet)
    columns = ["name", "right", "95 % sure", "found, 95 % sure", "checks", "pictures"]
    rows = [
        (row.name, *interval_words(row), interval_words(row.recall)[1], row.n, row.pictures) for row in certificate.rows
    ]
    print_table(columns, [dict(zip(columns, row, strict=True)) for row in rows], quiet)
    for part in (certificate.second, certificate.rejection):
        if part:
            say(part.sentence, quiet)
    files = RunFolder(folder)
    say(f"Wrote {files.certificate} and {files.model_card}; selfsort report {run} shows it.", quiet)
    if checks.by == "check" and status == "complete" and checks.left:
        say(f"To narrow it: selfsort certify {run} --budget {checks.budget + min(_MORE, checks.left)}", quiet)

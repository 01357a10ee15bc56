"""Commands in which people give names and check them: label, refine, certify."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from selfsort.cli.app import app
from selfsort.cli.inputs import resumable, training_images
from selfsort.cli.options import AsJson, Host, Moved, NoBrowser, Password, Port, Run, Seed, Simulate, check_seed
from selfsort.cli.output import answer, print_table, say, shell_words
from selfsort.errors import UserError

if TYPE_CHECKING:
    from selfsort.data.image_set import ImageSet
    from selfsort.labelling.checks import Checks

_LABELLED = ("pictures", "covered", "answers", "open_groups", "round", "names", "estimate")


@app.command()
def label(
    run: Run,
    images: Moved = None,
    groups: Annotated[
        int | None, typer.Option(min=2, help="Groups to propose first.", show_default="four to each class of the run")
    ] = None,
    port: Port = None,
    host: Host = None,
    password: Password = None,
    no_browser: NoBrowser = False,
    simulate: Simulate = None,
    answers: Annotated[int, typer.Option(min=1, help="Answers of the simulated annotator.")] = 40,
    errors: Annotated[float, typer.Option(min=0, max=1, help="Share of its answers with a wrong name.")] = 0.0,
    throw_out: Annotated[
        bool, typer.Option("--throw-out", help="It also throws out the pictures it sees that are of another name.")
    ] = False,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Name groups of pictures on a local page; every answer is saved at once, so stop and continue when you like."""
    from selfsort import runs
    from selfsort.labelling.server.serve import serve

    check_seed(seed)
    facts = runs.read_run(run)
    pictures = training_images(run, facts, images, as_json)
    if simulate:
        _name_by_simulation(run, pictures, groups, simulate, answers, errors, throw_out, seed, as_json)
        return
    if as_json:
        raise UserError("--json goes with --simulate: a page has no end to report.")
    serve(
        run,
        pictures,
        port=port,
        host=host,
        password=password,
        open_browser=not no_browser,
        n_groups=groups,
        moved=images,
    )
    (word,) = shell_words(run)
    say(f"Stopped; go on with selfsort label {word}, or learn from the answers: selfsort refine {word}")


def _name_by_simulation(
    run: Path,
    images: "ImageSet",
    groups: int | None,
    source: str,
    answers: int,
    errors: float,
    throw_out: bool,
    seed: int,
    quiet: bool,
) -> None:
    """Name groups by the true labels of `source`, seeing only what the page would show."""
    from contextlib import closing

    from selfsort.labelling.core.simulated import SimulatedAnnotator
    from selfsort.labelling.locks import label_lock
    from selfsort.labelling.server.service import LabelService

    labels, names = _true_labels(source, images)
    annotator = SimulatedAnnotator(labels, names, error_rate=errors, throws_out=throw_out, random_state=seed)
    with label_lock(run), closing(LabelService(run, images, n_groups=groups, random_state=seed)) as service:
        given = service.answer_all(annotator.answer, answers)
        state = service.state()
    found = {"run": str(run), "given": given} | {name: state[name] for name in _LABELLED}
    answer("label", found, quiet)
    counts = ", ".join(f"{each['name']} {each['count']:,}" for each in state["names"])
    say(f"{given} answers name {state['covered']:,} of {state['pictures']:,} pictures: {counts}", quiet)
    say(f"Next: selfsort refine {shell_words(run)[0]}", quiet)


def _true_labels(source: str, images: "ImageSet") -> tuple[Any, tuple[str, ...]]:
    """Return the labels that a source has for the pictures of a run, in their order, and the labels' names."""
    from selfsort.data.loading import list_images

    options = images.options if source == images.source else {"exclude": images.options.get("exclude", ())}
    labelled, unread = list_images(source, **options), dict(images.skipped)
    labelled = labelled.without([(i, unread[name]) for i, name in enumerate(labelled.ids) if name in unread])
    if labelled.labels is None:
        raise UserError(f"{source!r} has no labels to simulate answers with: give class folders or a labelled set.")
    if labelled.ids != images.ids:
        raise UserError(f"{source!r} does not hold the pictures of the run: give the source it was trained on.")
    return labelled.labels, labelled.label_names


@app.command()
def refine(
    run: Run,
    images: Moved = None,
    epochs: Annotated[
        int | None,
        typer.Option(min=1, help="Passes over the pictures.", show_default="3; more for fewer than 20,000 pictures"),
    ] = None,
    frozen: Annotated[
        bool | None,
        typer.Option(
            "--frozen/--fine-tune",
            help="Learn the classifier alone, in seconds, or the network, too: all of it, or a backbone's last stages.",
            show_default="frozen for pre-trained features, else fine-tune",
        ),
    ] = None,
    groups: Annotated[
        int | None, typer.Option(min=1, help="Groups to ask about next.", show_default="half as many as at first")
    ] = None,
    json_progress: Annotated[
        bool, typer.Option("--json-progress", help="Print a line of JSON after every epoch.")
    ] = False,
    until_input_ends: Annotated[bool, typer.Option("--until-input-ends", hidden=True)] = False,
    as_json: AsJson = False,
) -> None:
    """Learn from the names given with `selfsort label`; the model that knows them is kept in RUN/named."""
    from selfsort import runs
    from selfsort.labelling.server.helper import end_with_input

    if until_input_ends:
        end_with_input()
    from selfsort.labelling.learning.held_out import HeldOutComparison
    from selfsort.labelling.learning.rounds import refine_run  # torch: seconds in which the one who asked may be killed

    pictures = training_images(run, runs.read_run(run), images, as_json or json_progress)

    def progress(epoch: int, total: int, loss: float) -> None:
        if json_progress:
            print(json.dumps({"epoch": epoch, "epochs": total, "loss": round(loss, 4)}), flush=True)
        elif not as_json:
            print(f"epoch {epoch}/{total} loss {loss:.4f}", file=sys.stderr, flush=True)

    with resumable(run, "nothing has changed, refine again when you like"):
        model = refine_run(run, pictures, epochs=epochs, frozen=frozen, n_groups=groups, progress=progress)
    facts = model.run_["refined"]
    quiet = as_json or json_progress
    answer("refine", {"run": str(run), "names": list(model.names_), **facts}, as_json)
    if (comparison := HeldOutComparison.from_json(facts)) is not None:
        say(comparison.sentence, quiet)
        if json_progress:
            print(json.dumps({"message": comparison.sentence}), flush=True)
    only = f"gives every picture the one name there is, {model.names_[0]!r}"
    learnt = f"tells {len(model.names_)} names apart" if len(model.names_) > 1 else only
    say(f"{model.method} {learnt}; it is in {run / 'named'}", quiet)
    word, source = shell_words(run, pictures.source)
    say(f"Next: selfsort label {word} to name more, selfsort certify {word} to learn how good it is,", quiet)
    say(f"      selfsort sort {word} {source} --out sorted{'' if pictures.files else ' --copy'}", quiet)


@app.command()
def certify(
    run: Run,
    budget: Annotated[int, typer.Option(help="Pictures to check, drawn at random.")] = 100,
    reject: Annotated[
        float | None,
        typer.Option(metavar="SHARE", help="Also find the confidence above which this share is right, such as 0.99."),
    ] = None,
    images: Moved = None,
    port: Port = None,
    host: Host = None,
    password: Password = None,
    no_browser: NoBrowser = False,
    simulate: Simulate = None,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Check some of the names, one picture after the other, and state how many of all are right."""
    from selfsort.labelling.server.serve import serve
    from selfsort.reporting.card import remove_certificate, write_certificate

    check_seed(seed)
    folder, facts = _named_model(run, budget, reject)
    pictures = training_images(run, facts, images, as_json)
    checks, answers = _open_checks(run, folder, budget, reject, seed, as_json)

    def certified(checked_by: str = "a person") -> None:
        certificate = checks.certificate()
        if certificate is None:  # a check was taken back
            remove_certificate(folder)
        else:
            write_certificate(folder, certificate, answers=answers, checked_by=checked_by)

    if simulate:
        _check_by_labels(checks, simulate, pictures, as_json)
        certified(f"the labels of {simulate}")
    elif checks.next() is None:
        certified()
    else:
        tell = (lambda text: print(text, file=sys.stderr, flush=True)) if as_json else say
        where: dict[str, Any] = {"port": port, "host": host, "password": password, "open_browser": not no_browser}
        serve(run, pictures, checks=checks, certified=certified, say=tell, **where)
    _show_certificate(run, folder, checks, as_json)


def _named_model(run: Path, budget: int, reject: float | None) -> tuple[Path, dict[str, Any]]:
    """Return the folder of a run's named model and its facts, when it can be certified that way."""
    from selfsort import runs

    if budget < 1:
        raise UserError(f"--budget {budget} checks nothing: use at least 1.")
    if reject is not None and not 0 < reject < 1:
        raise UserError(f"--reject {reject:g} cannot be shown: choose a share between 0 and 1, such as 0.99.")
    runs.read_run(run)
    folder = runs.RunFolder(run).newest().path
    if folder == run:
        way = f"name its groups first: selfsort label {run}, then selfsort refine {run}"
        raise UserError(f"{str(run)!r} has no names to check; {way}.")
    return folder, runs.read_run(folder)


def _open_checks(
    run: Path, folder: Path, budget: int, reject: float | None, seed: int, quiet: bool
) -> tuple["Checks", int]:
    """Go on with a run's sample or draw one; also return how many answers the store holds."""
    from contextlib import closing

    from selfsort import runs
    from selfsort.labelling.checks import open_checks
    from selfsort.labelling.locks import label_lock
    from selfsort.labelling.store import Store

    with label_lock(run, certifying=True), closing(Store.open(run)) as store:
        names, probabilities = tuple(runs.read_run(folder)["names"]), runs.read_training_arrays(folder)[1]
        checks, redrawn = open_checks(store, names, probabilities, budget, random_state=seed, target=reject)
        answers = len(store.events())
    if redrawn:
        say(
            "The model, the budget or the seed is another one now: a new sample was drawn, its checks begin anew.",
            quiet,
        )
    elif checks.done:
        say(f"Going on after {checks.done:,} of {checks.budget:,} checks.", quiet)
    return checks, answers


def _check_by_labels(checks: "Checks", source: str, images: "ImageSet", quiet: bool) -> None:
    """Answer by the labels of a source; what a person has checked of the sample is kept, but not used."""
    labels, names = _true_labels(source, images)
    unknown = [picture for picture in checks.sample.pictures.tolist() if labels[picture] < 0]
    if unknown:
        first = images.ids[unknown[0]]
        raise UserError(f"{source!r} has no label for {len(unknown)} of the pictures drawn, such as {first!r}: add it.")
    if not {checks.settle(name) for name in names} & set(checks.names):
        raise UserError(f"No label of {source!r} is one of the names given: give the source that the names come from.")
    while checks.done:
        checks.undo()
    while (picture := checks.next()) is not None:
        checks.record(picture, names[labels[picture]])


def _show_certificate(run: Path, folder: Path, checks: "Checks", quiet: bool) -> None:
    from selfsort.reporting.card import interval_words
    from selfsort.runs import RunFolder

    certificate = checks.certificate()
    found = {"run": str(run), "done": checks.done, "budget": checks.budget}
    if certificate is None:
        answer("certify", found | {"status": "unfinished", "certificate": None}, quiet)
        say(f"Stopped after {checks.done:,} of {checks.budget:,} checks; the same command goes on.", quiet)
        return
    answer("certify", found | {"status": "complete", "certificate": certificate.to_json()}, quiet)
    say(certificate.sentence, quiet)
    columns = ["name", "right in the sample", "right of all, 95 % sure", "checks", "pictures"]
    rows = [(row.name, *interval_words(row), row.n, row.pictures) for row in certificate.per_class]
    print_table(columns, [dict(zip(columns, row, strict=True)) for row in rows], quiet)
    if certificate.rejection:
        say(certificate.rejection.sentence, quiet)
    files = RunFolder(folder)
    say(f"Wrote {files.certificate} and {files.model_card}; selfsort report {run} shows it.", quiet)

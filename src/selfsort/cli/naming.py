"""Commands with which people give names and a model learns them: label, refine."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from selfsort.cli.app import app
from selfsort.cli.inputs import resumable, training_images, true_labels
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
    Seed,
    Simulate,
    check_labels_from,
    check_seed,
)
from selfsort.cli.output import answer, say, shell_words
from selfsort.errors import UserError

if TYPE_CHECKING:
    from selfsort.cli.inputs import TrueLabels
    from selfsort.data.image_set import ImageSet

_LABELLED = ("pictures", "covered", "answers", "open_groups", "round", "names", "estimate")


@app.command()
def label(
    run: Run,
    images: Moved = None,
    groups: Annotated[
        int | None, typer.Option(min=2, help="Groups to ask about first.", show_default="four per class of the run")
    ] = None,
    port: Port = None,
    host: Host = None,
    password: Password = None,
    no_browser: NoBrowser = False,
    simulate: Simulate = None,
    answers: Annotated[int, typer.Option(min=1, help="Answers of the simulated annotator.")] = 40,
    errors: Annotated[
        float, typer.Option(min=0, max=1, help="Share of the simulated annotator's answers with a wrong name.")
    ] = 0.0,
    throw_out: Annotated[
        bool,
        typer.Option(
            "--throw-out", help="The simulated annotator also throws out pictures it sees that have another name."
        ),
    ] = False,
    classes_from: LabelsFrom = None,
    account: Account = None,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Name groups of pictures on a local page; answers are saved at once, so you can stop and continue at any time."""
    from selfsort import runs
    from selfsort.labelling.server.serve import serve

    check_seed(seed)
    check_labels_from(classes_from, simulate)
    facts = runs.read_run(run)
    pictures = training_images(run, facts, images, as_json, decoded=False, account=account)
    if simulate:
        labelled = true_labels(simulate, classes_from, pictures, as_json)
        _name_by_simulation(run, pictures, groups, labelled, answers, errors, throw_out, seed, as_json)
        return
    if as_json:
        raise UserError("--json needs --simulate: naming on the page has no result to print.")
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
    say(f"Stopped; continue with selfsort label {word}, or learn from the answers: selfsort refine {word}")


def _name_by_simulation(
    run: Path,
    images: "ImageSet",
    groups: int | None,
    labelled: "TrueLabels",
    answers: int,
    errors: float,
    throw_out: bool,
    seed: int,
    quiet: bool,
) -> None:
    """Name groups by true labels, seeing only what the page would show."""
    from contextlib import closing

    from selfsort.labelling.core.simulated import SimulatedAnnotator
    from selfsort.labelling.locks import label_lock
    from selfsort.labelling.server.service import LabelService

    annotator = SimulatedAnnotator(*labelled, error_rate=errors, throws_out=throw_out, random_state=seed)
    with label_lock(run), closing(LabelService(run, images, n_groups=groups, random_state=seed)) as service:
        annotator.shown = service.shown
        given = service.answer_all(annotator.answer, answers)
        state = service.state()
    found = {"run": str(run), "given": given} | {name: state[name] for name in _LABELLED}
    answer("label", found, quiet)
    counts = ", ".join(f"{each['name']} {each['count']:,}" for each in state["names"])
    say(f"{given} answers name {state['covered']:,} of {state['pictures']:,} pictures: {counts}", quiet)
    say(f"Next: selfsort refine {shell_words(run)[0]}", quiet)


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
            help="Train only the classifier, in seconds, or also the network: all of it, or a backbone's last stages.",
            show_default="frozen for pre-trained features, else fine-tune",
        ),
    ] = None,
    groups: Annotated[
        int | None, typer.Option(min=1, help="Groups to ask about next.", show_default="half as many as at first")
    ] = None,
    json_progress: Annotated[
        bool, typer.Option("--json-progress", help="Print a line of JSON after every epoch.")
    ] = False,
    account: Account = None,
    until_input_ends: Annotated[bool, typer.Option("--until-input-ends", hidden=True)] = False,
    as_json: AsJson = False,
) -> None:
    """Learn from the names given with `selfsort label`; the model that knows them is saved in RUN/named."""
    from selfsort import runs
    from selfsort.labelling.server.helper import end_with_input

    if until_input_ends:
        end_with_input()
    from selfsort.labelling.learning.held_out import HeldOutComparison
    from selfsort.labelling.learning.rounds import refine_run  # torch: takes seconds, in which the parent may be killed

    pictures = training_images(run, runs.read_run(run), images, as_json or json_progress, account=account)

    def progress(epoch: int, total: int, loss: float) -> None:
        if json_progress:
            print(json.dumps({"epoch": epoch, "epochs": total, "loss": round(loss, 4)}), flush=True)
        elif not as_json:
            print(f"epoch {epoch}/{total} loss {loss:.4f}", file=sys.stderr, flush=True)

    with resumable(run, "nothing has changed, so you can refine again at any time"):
        model = refine_run(run, pictures, epochs=epochs, frozen=frozen, n_groups=groups, progress=progress)
    facts = model.run_["refined"]
    quiet = as_json or json_progress
    answer("refine", {"run": str(run), "names": list(model.names_), **facts}, as_json)
    if (comparison := HeldOutComparison.from_json(facts)) is not None:
        say(comparison.sentence, quiet)
        if json_progress:
            print(json.dumps({"message": comparison.sentence, **comparison.to_json()}), flush=True)
    only = f"gives every picture the only name, {model.names_[0]!r}"
    learnt = f"distinguishes {len(model.names_)} names" if len(model.names_) > 1 else only
    say(f"{model.method} {learnt}; it is in {run / 'named'}", quiet)
    word, source = shell_words(run, pictures.source)
    say(f"Next: selfsort label {word} to name more, selfsort certify {word} to measure its accuracy,", quiet)
    say(f"      selfsort sort {word} {source} --out sorted{'' if pictures.files else ' --copy'}", quiet)

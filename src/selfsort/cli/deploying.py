"""Commands that take a model out of selfsort: a file with the whole model in it, its card, predictions over HTTP."""

from pathlib import Path
from typing import Annotated

import typer

from selfsort.cli.app import app
from selfsort.cli.inputs import model_folder
from selfsort.cli.options import Clusters, Port
from selfsort.cli.output import answer, say, shell_words

MODEL_SUFFIXES = (".onnx", ".pt2", ".md")


def export_model(run: Path, out: Path, as_json: bool) -> None:
    """Write the newest model of a run as one file, with its certificate's threshold if it has one, or its card."""
    if out.suffix.lower() == ".md":
        return _export_card(run, out, as_json)
    from selfsort import methods
    from selfsort.deployment.files import check_model_file, write_model

    check_model_file(out)
    folder = model_folder(run, False, as_json)
    model, threshold = methods.load(folder), threshold_of(folder)
    write_model(model, out, threshold=threshold)
    facts = {"out": str(out), "kind": out.suffix[1:].lower(), "names": list(model.names_), "threshold": threshold}
    answer("export", facts, as_json)
    height, width, channels = model.image_shape_
    kind = "names" if model.names_ else "clusters"
    say(
        f"Wrote {out}: (N, {height}, {width}, {channels}) uint8 to the probabilities of {model.n_classes_} {kind}",
        as_json,
    )
    if threshold:
        say(f"Its label is -1 for a confidence below {threshold:.4g}, the certificate's threshold", as_json)
    if out.suffix.lower() == ".onnx":
        say(f"Try it: python examples/classify.py {shell_words(out)[0]} PICTURE", as_json)


def _export_card(run: Path, out: Path, as_json: bool) -> None:
    from selfsort.reporting.hub_card import write_hub_card

    write_hub_card(model_folder(run, False, as_json), out)
    answer("export", {"out": str(out), "kind": "md"}, as_json)
    say(f"Wrote {out}, a model card for Hugging Face", as_json)


def export_backbone(run: Path, file: Path, as_json: bool) -> None:
    """Write the backbone's weights of the newest model of a run, for torchvision and timm."""
    from selfsort import methods
    from selfsort.deployment.backbone import check_backbone_file, write_backbone

    check_backbone_file(file)
    found = write_backbone(methods.load(model_folder(run, False, as_json)), file)
    facts = {"network": found.network, "channels": found.channels, "mean": list(found.mean), "std": list(found.std)}
    answer("export", {"out": str(file), "kind": "backbone", **facts}, as_json)
    say(f"Wrote {file}: {len(found.tensors)} tensors of {found.network}, without its last layer", as_json)
    mean, std = (", ".join(f"{value:.4g}" for value in each) for each in (found.mean, found.std))
    say(f"It takes {found.channels}-channel pictures in [0, 1], minus {mean}, divided by {std}", as_json)


@app.command()
def serve(
    run: Annotated[
        Path, typer.Argument(help="Run folder made by `selfsort fit`, or an .onnx file of `selfsort export`.")
    ],
    port: Port = None,
    host: Annotated[
        str | None,
        typer.Option(
            help="Address of this machine to listen on, 0.0.0.0 for all: there is no password.",
            show_default="this machine only",
        ),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(help="Name by which requests may address the server, * for any; may be repeated."),
    ] = None,
    max_mb: Annotated[float, typer.Option(min=0.001, help="Largest upload, in MB.")] = 32,
    max_pixels: Annotated[
        int | None, typer.Option(min=1, help="Most pixels of a picture.", show_default="178956970")
    ] = None,
    clusters: Clusters = False,
) -> None:
    """Name pictures over HTTP: POST a picture's file to /predict."""
    from selfsort.data.limits import MAX_PIXELS
    from selfsort.deployment.engine import engine_of_file, engine_of_run
    from selfsort.deployment.serve import serve_predictions

    if run.suffix.lower() == ".onnx":
        engine = engine_of_file(run)
    else:
        folder = model_folder(run, clusters, False)
        engine = engine_of_run(folder, threshold_of(folder))
    serve_predictions(
        engine,
        port=port,
        host=host,
        allowed=allow_host or [],
        max_megabytes=max_mb,
        max_pixels=max_pixels or MAX_PIXELS,
    )


def threshold_of(folder: Path) -> float:
    """Return the threshold on confidence that a model's certificate states, 0 if it states none."""
    from selfsort.reporting.card import read_certificate

    certificate = read_certificate(folder)
    rejection = None if certificate is None else certificate.rejection
    return 0.0 if rejection is None or rejection.threshold is None else rejection.threshold

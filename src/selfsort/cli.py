"""The command line: one thin function per command; torch is imported only inside those that need it."""

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from selfsort.errors import UserError

if TYPE_CHECKING:
    from selfsort.estimator import Estimator
    from selfsort.images import ImageSet


class Commands(TyperGroup):
    """All commands; Ctrl-C ends each with a sentence."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            print("selfsort: Stopped.", file=sys.stderr)
            raise typer.Exit(130) from None


app = typer.Typer(
    cls=Commands,
    help="Sort images that nobody has labelled: learn clusters, sort pictures into folders, and see how good both are.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="SOURCE is a folder or zip of pictures, an .npy or .npz file, 'digits', a torchvision data set such as "
    "'mnist', or 'hf:owner/name'. Guide: docs/guide.md",
)

JSON_FORMAT = 1


class Resize(StrEnum):
    """How a picture becomes square."""

    crop = "crop"
    pad = "pad"
    squash = "squash"


class Probe(StrEnum):
    """Kinds of probe."""

    linear = "linear"
    svm = "svm"
    knn = "knn"


class Map(StrEnum):
    """Kinds of map."""

    tsne = "tsne"
    pca = "pca"


Source = Annotated[str, typer.Argument(help="Pictures: folder, zip, .npy, .npz, data set name or hf:owner/name.")]
Run = Annotated[Path, typer.Argument(help="Run folder that `selfsort fit` made.")]
Size = Annotated[
    int | None,
    typer.Option(
        help="Side in pixels to which pictures are brought.", show_default="their own if small and square, else 64"
    ),
]
ResizeBy = Annotated[Resize, typer.Option(help="How pictures become square.")]
Split = Annotated[str | None, typer.Option(help="Part of the source: train, test, unlabeled …")]
Fold = Annotated[int | None, typer.Option(help="One of STL-10's ten training folds, 0 to 9.")]
DataRoot = Annotated[Path | None, typer.Option(help="Folder of torchvision data sets.")]
Download = Annotated[bool, typer.Option("--download", help="Fetch a torchvision data set that is not there.")]
NoCache = Annotated[bool, typer.Option("--no-cache", help="Decode into memory and leave no cache on disk.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]
Seed = Annotated[int, typer.Option(help="Seed of everything random.")]


@app.callback(invoke_without_command=True)
def version(show: Annotated[bool, typer.Option("--version", help="Print the version and leave.")] = False) -> None:
    """Print the version when asked."""
    if show:
        from importlib.metadata import version as installed

        print(installed("selfsort"))
        raise typer.Exit


@app.command("methods")
def list_methods(
    name: Annotated[str | None, typer.Argument(help="A method, to see its parameters.")] = None, as_json: AsJson = False
) -> None:
    """List the methods, or the parameters of one."""
    from selfsort import methods

    if name:
        parameters = methods.parameters(name)
        _answer("methods", {"method": name, "parameters": parameters}, as_json)
        _table(["parameter", "default", "meaning"], parameters, as_json)
    else:
        lines = [{"method": each, "about": methods.about(each)} for each in methods.names()]
        _answer("methods", {"methods": lines}, as_json)
        _table(["method", "about"], lines, as_json)
        _say("Parameters of one: selfsort methods NAME", as_json)


@app.command()
def views(
    source: Source,
    out: Annotated[Path, typer.Option(help="PNG file to write.")] = Path("views.png"),
    views: Annotated[
        str,
        typer.Option(
            help="Preset (natural, digits, cells, none), also with strengths: digits:rotation=30,crop_scale=0.5..1."
        ),
    ] = "natural",
    count: Annotated[int, typer.Option(min=1, max=64, help="Originals to draw.")] = 8,
    size: Size = None,
    resize: ResizeBy = Resize.crop,
    split: Split = None,
    data_root: DataRoot = None,
    seed: Seed = 0,
) -> None:
    """Draw what the augmentation does to your pictures, before you train: originals with six views each."""
    import torch

    from selfsort.augment import views_from
    from selfsort.reporting.figures import save_png, views_sheet
    from selfsort.training import Pictures

    _check_seed(seed)
    preset = views_from(views)
    images = _load(source, size=size, resize=resize, split=split, data_root=data_root)
    torch.manual_seed(seed)
    chosen = torch.randperm(len(images))[:count].sort().values.numpy()
    originals = Pictures(images.images, torch.device("cpu")).batch(chosen)
    drawn = torch.stack([preset(originals) for _ in range(6)], 1)  # (n, 6, C, H, W)
    pixels = (drawn * 255).round().to(torch.uint8).permute(0, 1, 3, 4, 2).numpy()
    save_png(views_sheet(images.images[chosen], pixels), out)
    _say(f"Wrote {out}: {len(chosen)} originals with six views each ({views}).")


@app.command()
def fit(
    source: Source,
    out: Annotated[Path, typer.Option(help="New folder for the run.")],
    method: Annotated[str, typer.Option(help="Method; `selfsort methods` lists them.")] = "simclr",
    classes: Annotated[int | None, typer.Option(help="Number of clusters.", show_default="10")] = None,
    views: Annotated[
        str | None, typer.Option(help="Augmentation preset: natural, digits, cells or none; see `selfsort views`.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the pictures.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Pictures per step.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything random.", show_default="0")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda.", show_default="auto")] = None,
    precision: Annotated[str | None, typer.Option(help="auto, 32 or bf16.", show_default="auto")] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="NAME=VALUE", help="Any parameter of the method; `selfsort methods NAME` lists them."
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an interrupted run in --out, or start it.")
    ] = False,
    size: Size = None,
    resize: ResizeBy = Resize.crop,
    split: Split = None,
    fold: Fold = None,
    data_root: DataRoot = None,
    download: Download = False,
    no_cache: NoCache = False,
    as_json: AsJson = False,
) -> None:
    """Learn clusters from pictures and keep the model in a run folder."""
    from selfsort import methods, runs

    if resume and runs.is_complete(out):
        _answer("fit", {"run": str(out), "status": "complete"}, as_json)
        _say(f"{out} is complete already.", as_json)
        return
    runs.check_startable(out, resume)
    _check_outside(out, source)
    flags = {"n_classes": classes, "views": views, "epochs": epochs, "batch_size": batch_size}
    flags |= {"random_state": seed, "device": device, "precision": precision}
    given = {name: str(value) for name, value in flags.items() if value is not None}
    model = methods.make(method, given | _settings(setting or []))
    where = {"split": split, "fold": fold, "data_root": data_root, "download": download, "cache": not no_cache}
    images = _load(source, size=size, resize=resize, quiet=as_json, **where)
    with _resumable(out):
        model.fit(images, run_dir=out, resume=resume, progress=not as_json)
    _report_fit(model, images, out, as_json)


@app.command()
def predict(
    run: Run,
    source: Source,
    out: Annotated[Path, typer.Option(help="Table to write: .csv or .parquet.")],
    split: Split = None,
    data_root: DataRoot = None,
    no_cache: NoCache = False,
    as_json: AsJson = False,
) -> None:
    """Assign pictures to clusters: id, cluster, confidence and probabilities."""
    from selfsort.reporting.exports import check_table, write_predictions

    check_table(out)
    model, images = _open(run, source, as_json, split=split, data_root=data_root, cache=not no_cache)
    probabilities = model.predict_proba(images)
    write_predictions(out, images.ids, probabilities)
    counts = _counts(probabilities.argmax(1), model.n_classes)
    _answer("predict", {"out": str(out), **_pictures(images), "clusters": counts}, as_json)
    _say(f"Wrote {out}: {len(images):,} pictures in {sum(n > 0 for n in counts)} clusters.", as_json)


@app.command()
def sort(
    run: Run,
    source: Source,
    out: Annotated[Path, typer.Option(help="New folder; one folder per cluster is made in it.")],
    link: Annotated[
        bool, typer.Option("--link/--copy", help="Link to the pictures, or copy them. Nothing is moved or overwritten.")
    ] = True,
    split: Split = None,
    data_root: DataRoot = None,
    no_cache: NoCache = False,
    as_json: AsJson = False,
) -> None:
    """Sort pictures into one folder per cluster."""
    from selfsort.reporting.exports import check_target, sort_pictures

    check_target(out)
    _check_outside(out, source)
    model, images = _open(run, source, as_json, split=split, data_root=data_root, cache=not no_cache)
    mode: Literal["link", "copy"] = "link" if link else "copy"
    summary = sort_pictures(images, model.predict(images), out, mode=mode, n_clusters=model.n_classes)
    _answer("sort", {"out": str(out), "mode": mode, **_pictures(images), **summary.to_json()}, as_json)
    _say(f"Sorted {len(images):,} pictures into {out}:", as_json)
    for folder, count in summary.counts.items():
        _say(f"  {folder}  {count:,}", as_json)


@app.command()
def evaluate(
    run: Run,
    source: Source,
    probe: Annotated[Probe | None, typer.Option(help="Also train a probe on the frozen embedding.")] = None,
    probe_train: Annotated[
        str | None,
        typer.Option(
            help="Labelled pictures that the probe learns from.",
            show_default="a seeded 80 % of SOURCE; the rest tests it",
        ),
    ] = None,
    probe_split: Annotated[str | None, typer.Option(help="Split of --probe-train.")] = None,
    split: Split = None,
    data_root: DataRoot = None,
    no_cache: NoCache = False,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Measure a run against labelled pictures (class folders); labels are used here and nowhere else."""
    import numpy as np

    from selfsort.evaluation.protocol import Labelled, evaluate_clusters, evaluate_probe
    from selfsort.files import write_json

    _check_seed(seed)
    if not probe and (probe_train or probe_split):
        raise UserError("--probe-train and --probe-split need --probe linear, svm or knn.")

    def labelled(source: str, split: str | None) -> tuple["Labelled", Any]:
        model, images = _open(run, source, as_json, split=split, data_root=data_root, cache=not no_cache)
        embedding, probabilities = model.transform_and_predict(images)
        labels = np.full(len(images), -1) if images.labels is None else images.labels
        return Labelled(embedding, labels, images.label_names), probabilities.argmax(1)

    test, clusters = labelled(source, split)
    found = evaluate_clusters(test, clusters, random_state=seed)
    if probe:
        elsewhere = probe_train or probe_split
        train = labelled(probe_train or source, probe_split)[0] if elsewhere else None
        found["probe"] = evaluate_probe(probe.value, test, train, random_state=seed)
    found["source"] = source if split is None else f"{source} ({split})"
    write_json(run / "evaluation.json", found)
    _answer("evaluate", {"run": str(run), **found}, as_json)
    _show_evaluation(found, as_json)


@app.command()
def report(
    run: Run,
    out: Annotated[Path | None, typer.Option(help="HTML file.", show_default="RUN/report.html")] = None,
    images: Annotated[str | None, typer.Option(help="The pictures the run was trained on, if they have moved.")] = None,
    map_kind: Annotated[Map, typer.Option("--map", help="How the map of the embedding is drawn.")] = Map.tsne,
    sheet: Annotated[
        Path | None, typer.Option(help="PNG file to write, too: each cluster's most typical pictures.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write one self-contained HTML page about a run."""
    from selfsort import methods
    from selfsort.reporting.figures import save_png
    from selfsort.reporting.from_run import report_data
    from selfsort.reporting.gallery import cluster_sheet
    from selfsort.reporting.report import write_report

    model = methods.load(run)
    data = report_data(model, run, _training_images(model, images, as_json))
    path = out or run / "report.html"
    write_report(data, path, map_kind=map_kind.value, random_state=model.random_state)
    if sheet:
        save_png(cluster_sheet(data.images, data.embedding, data.clusters), sheet)
    _answer("report", {"out": str(path), "pictures": len(data.images)}, as_json)
    _say(f"Wrote {path}", as_json)


@app.command()
def cache(
    clear: Annotated[bool, typer.Option("--clear", help="Delete all decoded pictures.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show or clear the cache of decoded pictures."""
    from selfsort import cache as store

    freed = store.clear() if clear else 0
    kept = store.usage()
    _answer("cache", {"folder": str(kept.path), "sets": kept.sets, "bytes": kept.bytes, "freed": freed}, as_json)
    gone = f"; {freed / 1e6:,.1f} MB freed" if clear else ""
    _say(f"{kept.path}: {kept.sets} sets of pictures, {kept.bytes / 1e6:,.1f} MB{gone}", as_json)


def _check_outside(out: Path, source: str) -> None:
    folder = Path(source)
    if folder.is_dir() and out.resolve().is_relative_to(folder.resolve()):
        raise UserError(f"{str(out)!r} lies inside the pictures' folder {source!r}: choose a folder outside of it.")


def _check_seed(seed: int) -> None:
    if not 0 <= seed < 2**32:
        raise UserError(f"--seed {seed} must be from 0 to {2**32 - 1}.")


def _settings(texts: list[str]) -> dict[str, str]:
    for text in texts:
        if "=" not in text:
            raise UserError(f"--set {text!r} is not NAME=VALUE, such as --set temperature=0.2.")
    return dict((part.strip() for part in text.split("=", 1)) for text in texts)  # type: ignore[misc]


def _load(source: str, *, quiet: bool = False, **options: Any) -> "ImageSet":
    from selfsort.images import load_images, summarise_skipped

    images = load_images(source, progress=not quiet and sys.stderr.isatty(), **options)
    height, width, channels = images.image_shape
    _say(f"{len(images):,} pictures, {height}x{width}, {'grey' if channels == 1 else 'colour'}", quiet)
    if images.skipped:
        _say(summarise_skipped(images.skipped), quiet)
    return images


def _open(run: Path, source: str, quiet: bool, **options: Any) -> tuple["Estimator", "ImageSet"]:
    """Load a model, and pictures the way that it was trained on them."""
    from selfsort import methods

    model = methods.load(run)
    height, _, channels = model.image_shape_
    resize = model.run_["data"]["options"].get("resize", "crop")
    return model, _load(source, quiet=quiet, size=height, channels=channels, resize=resize, **options)


def _training_images(model: "Estimator", moved: str | None, quiet: bool) -> "ImageSet":
    data = model.run_["data"]
    if data["source"] == "array" and not moved:
        raise UserError("This run was trained on an array in memory: give its pictures with --images FILE.npy.")
    options = dict(data["options"])
    if moved:
        options |= {"size": data["image_shape"][0], "channels": data["image_shape"][2]}
    try:
        images = _load(moved or data["source"], quiet=quiet, **options)
    except UserError as error:
        if moved:
            raise
        raise UserError(f"{str(error).rstrip('.')}; if they have moved, say where to with --images.") from error
    if images.fingerprint() != data["fingerprint"]:
        raise UserError("The pictures have changed since the run was trained: give the original ones with --images.")
    return images


@contextmanager
def _resumable(out: Path) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        way_on = "go on with the same command and --resume" if out.exists() else "nothing was kept"
        print(f"selfsort: Stopped; {way_on}.", file=sys.stderr)
        raise typer.Exit(130) from None


def _report_fit(model: "Estimator", images: "ImageSet", out: Path, as_json: bool) -> None:
    counts = _counts(model.labels_, model.n_classes)
    training = model.run_["training"]
    facts = {"run": str(out), "status": "complete", "method": model.method, **_pictures(images), "clusters": counts}
    _answer("fit", facts | {"minutes": training["minutes"], "warnings": training["warnings"]}, as_json)
    sizes = ", ".join(f"{count:,}" for count in counts)
    _say(
        f"{model.method}: {model.n_classes} clusters of {sizes} pictures in {training['minutes']:.1f} minutes", as_json
    )
    if training["warnings"]:
        _say(f"Warning: {training['warnings'][-1]}", as_json)
    how = "" if images.files else " --copy"
    _say(f"Next: selfsort report {out}   or   selfsort sort {out} {images.source} --out sorted{how}", as_json)


def _pictures(images: "ImageSet") -> dict[str, Any]:
    return {"pictures": len(images), "skipped": [row._asdict() for row in images.skipped]}


def _counts(clusters: Any, n_classes: int) -> list[int]:
    import numpy as np

    counts: list[int] = np.bincount(clusters, minlength=n_classes).tolist()
    return counts


def _show_evaluation(found: Mapping[str, Any], quiet: bool) -> None:
    scores = found["clustering"]
    if scores:
        figures = ", ".join(f"{name.upper()} {scores[name]:.3f}" for name in ("nmi", "ami", "ari"))
        _say(f"{scores['n']:,} labelled pictures: accuracy {scores['accuracy']:.1%}, {figures}", quiet)
        _table(["name", "n", "precision", "recall", "f1"], scores["per_class"], quiet)
    else:
        _say("These pictures have no labels (no class folders), so there is no accuracy.", quiet)
    if found["silhouette"] is not None:
        _say(f"Silhouette {found['silhouette']:.3f} (no labels needed; from -1 to 1)", quiet)
    if found.get("probe"):
        result = found["probe"]
        sizes = f"{result['n_train']:,} to learn from, {result['n_test']:,} to test on"
        _say(f"{result['kind']} probe: accuracy {result['accuracy']:.1%} ({sizes})", quiet)


def _answer(command: str, content: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps({"format": JSON_FORMAT, "command": command, **content}))


def _say(text: str, quiet: bool = False) -> None:
    if not quiet:
        print(text)


def _table(columns: list[str], rows: list[Any], quiet: bool) -> None:
    if quiet:
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(*columns, box=box.SIMPLE)
    for row in rows:
        table.add_row(*(_cell(row[column]) for column in columns))
    Console().print(table)


def _cell(value: Any) -> str:
    from rich.markup import escape

    return f"{value:.3f}" if isinstance(value, float) else escape(str(value))

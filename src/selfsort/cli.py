"""The command line: one thin function per command; torch is imported only inside those that need it."""

import json
import shlex
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
    from selfsort.annotation.checks import Checks
    from selfsort.estimator import Estimator
    from selfsort.experiments import Exhibit, Paper, Scale, Where
    from selfsort.images import ImageSet


# In the order in which people need them, which --help follows.
_ORDER = "methods audit views fit label refine certify report predict sort evaluate".split()


class Commands(TyperGroup):
    """All commands; Ctrl-C ends each with a sentence."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of the commands, those first that a picture passes."""
        place = {name: number for number, name in enumerate(_ORDER)}
        return sorted(super().list_commands(ctx), key=lambda name: place.get(name, len(place)))

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
_LABELLED = ("pictures", "covered", "answers", "open_groups", "round", "names", "estimate")


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
    centroid = "centroid"


class Finding(StrEnum):
    """Reasons for which an audit leaves pictures out."""

    exact = "exact"
    near = "near"
    blank = "blank"


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
Clusters = Annotated[bool, typer.Option("--clusters", help="Leave the names given aside: use RUN's own clusters.")]
Moved = Annotated[str | None, typer.Option(help="The pictures the run was trained on, if they have moved.")]
Port = Annotated[int | None, typer.Option(min=1, max=65535, show_default="the first free one from 8573")]
Host = Annotated[
    str | None,
    typer.Option(help="Name of this machine on a trusted network, to let others in.", show_default="this machine only"),
]
Password = Annotated[
    str | None, typer.Option(help="That others give, needed with --host.", show_default="$SELFSORT_PASSWORD")
]
NoBrowser = Annotated[bool, typer.Option("--no-browser", help="Print the address and open no browser.")]
Simulate = Annotated[
    str | None,
    typer.Option(metavar="SOURCE", help="Answer by the labels of SOURCE instead of a person, without a page."),
]


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
            help="Preset (natural, digits, cells, none), also with strengths: digits:rotation=30,crop_scale=0.5..1; or "
            "transformations: and a list, such as transformations:rotation,crop+cutout."
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
def audit(
    source: Source,
    out: Annotated[Path, typer.Option(help="New folder for the page and the table.")] = Path("audit"),
    write_clean: Annotated[
        Path | None, typer.Option(metavar="DIR", help="New folder of links to the pictures that are kept, too.")
    ] = None,
    keep: Annotated[
        list[Finding] | None,
        typer.Option(help="Leave no picture out for this reason: exact or near duplicate, blank; may be repeated."),
    ] = None,
    split: Split = None,
    data_root: DataRoot = None,
    download: Download = False,
    as_json: AsJson = False,
) -> None:
    """Look for what is wrong with pictures before you train: damaged files, duplicates, leaks, borders, outliers."""
    from functools import partial

    from selfsort import audit as auditing
    from selfsort.reporting.audit_page import PAGE, findings, write_audit_page
    from selfsort.reporting.exports import check_linkable, check_target, link_kept
    from selfsort.sources.dispatch import has_files

    for folder in filter(None, (out, write_clean)):
        check_target(folder)
        _check_outside(folder, source)
    if write_clean:
        one, other = out.resolve(), write_clean.resolve()
        if one.is_relative_to(other) or other.is_relative_to(one):
            raise UserError(f"--out {str(out)!r} and --write-clean {str(write_clean)!r} overlap: choose two folders.")
        check_linkable(source, has_files(source))
    where: dict[str, Any] = {"split": split, "data_root": data_root, "download": download}
    kept = [finding.value for finding in keep or []]
    found = auditing.audit(source, keep=kept, progress=not as_json and sys.stderr.isatty(), **where)
    if write_clean:
        check_target(write_clean)  # somebody may have put something there meanwhile
    auditing.write_audit(found, out, partial(write_audit_page, found, shown_as=str(out)))
    clean = None if write_clean is None else {"out": str(write_clean), "pictures": link_kept(found, write_clean)}
    summary = found.summary()
    _answer("audit", {"out": str(out), **summary, "clean": clean}, as_json)
    rows = [{"finding": row[1], "pictures": row[2], "proposed": row[3]} for row in findings(summary, found) if row[2]]
    _say(f"{summary['pictures']:,} files in {summary['seconds']:.0f} s: {summary['rejected']:,} to leave out", as_json)
    _table(["finding", "pictures", "proposed"], rows, as_json or not rows)
    for warning in summary["warnings"]:
        _say(f"Warning: {warning}", as_json)
    _say(f"Wrote {out / PAGE}, which shows them, and {out / 'pictures.csv'}", as_json)
    if clean:
        _say(f"Linked {clean['pictures']:,} pictures in {write_clean}", as_json)
    words = _words(source, "--audit", out, "--out", Path("runs") / out.name)
    for option, value in (("--split", split), ("--data-root", data_root)):
        words += [] if value is None else [option, *_words(value)]
    _say(f"Next: selfsort fit {' '.join(words)}", as_json)


@app.command()
def fit(
    source: Source,
    out: Annotated[Path, typer.Option(help="New folder for the run.")],
    method: Annotated[str, typer.Option(help="Method; `selfsort methods` lists them.")] = "simclr",
    classes: Annotated[int | None, typer.Option(help="Number of clusters.", show_default="10")] = None,
    views: Annotated[
        str | None,
        typer.Option(help="Random changes: natural, digits, cells, none or transformations:…; see `selfsort views`."),
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
    audit: Annotated[
        Path | None, typer.Option(help="Folder that `selfsort audit` made of SOURCE: train without what it leaves out.")
    ] = None,
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
    images = _load(source, size=size, resize=resize, quiet=as_json, exclude=_rejected(audit, as_json), **where)
    with _resumable(out):
        model.fit(images, run_dir=out, resume=resume, progress=not as_json)
    _report_fit(model, images, out, as_json)


@app.command()
def predict(
    run: Run,
    source: Source,
    out: Annotated[Path, typer.Option(help="Table to write: .csv or .parquet.")],
    clusters: Clusters = False,
    split: Split = None,
    data_root: DataRoot = None,
    no_cache: NoCache = False,
    as_json: AsJson = False,
) -> None:
    """Assign pictures to clusters: id, cluster, its name if it has one, confidence and probabilities."""
    from selfsort.reporting.exports import check_table, write_predictions

    check_table(out)
    folder = _model_folder(run, clusters, as_json)
    model, images = _open(folder, source, as_json, split=split, data_root=data_root, cache=not no_cache)
    probabilities = model.predict_proba(images)
    write_predictions(out, images.ids, probabilities, model.names_)
    counts = _counts(probabilities.argmax(1), model.n_classes_)
    found = {"out": str(out), **_pictures(images), "clusters": counts, "names": list(model.names_)}
    _answer("predict", found, as_json)
    kind = "names" if model.names_ else "clusters"
    _say(f"Wrote {out}: {len(images):,} pictures in {sum(n > 0 for n in counts)} {kind}.", as_json)


@app.command()
def sort(
    run: Run,
    source: Source,
    out: Annotated[Path, typer.Option(help="New folder; one folder per cluster is made in it.")],
    link: Annotated[
        bool, typer.Option("--link/--copy", help="Link to the pictures, or copy them. Nothing is moved or overwritten.")
    ] = True,
    clusters: Clusters = False,
    split: Split = None,
    data_root: DataRoot = None,
    no_cache: NoCache = False,
    as_json: AsJson = False,
) -> None:
    """Sort pictures into one folder per cluster, or per name where names were given."""
    from selfsort.reporting.exports import check_target, sort_pictures

    check_target(out)
    _check_outside(out, source)
    folder = _model_folder(run, clusters, as_json)
    model, images = _open(folder, source, as_json, split=split, data_root=data_root, cache=not no_cache)
    mode: Literal["link", "copy"] = "link" if link else "copy"
    found, names = model.predict(images), dict(enumerate(model.names_))
    summary = sort_pictures(images, found, out, mode=mode, n_clusters=model.n_classes_, names=names)
    _answer("sort", {"out": str(out), "mode": mode, **_pictures(images), **summary.to_json()}, as_json)
    _say(f"Sorted {len(images):,} pictures into {out}:", as_json)
    for name, count in summary.counts.items():
        _say(f"  {name}  {count:,}", as_json)


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
    folds: Annotated[
        int | None,
        typer.Option(
            min=2,
            help="Train that many probes on as many parts of --probe-train, STL-10's own ten where it has them; the "
            "accuracy is their mean.",
            show_default="one probe on all of it",
        ),
    ] = None,
    clusters: Clusters = False,
    split: Split = None,
    data_root: DataRoot = None,
    no_cache: NoCache = False,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Measure a run against labelled pictures (class folders); labels are used here and nowhere else."""
    import numpy as np

    from selfsort.evaluation.protocol import (
        Labelled,
        evaluate_clusters,
        evaluate_folds,
        evaluate_names,
        evaluate_probe,
        seeded_folds,
    )
    from selfsort.files import write_json
    from selfsort.sources.torchvision_sets import n_folds

    _check_seed(seed)
    if not probe and (probe_train or probe_split):
        raise UserError("--probe-train and --probe-split need --probe linear, svm, knn or centroid.")
    if folds and not (probe and (probe_train or probe_split)):
        raise UserError("--folds needs --probe and --probe-train: its pictures are what is dealt into folds.")

    folder = _model_folder(run, clusters, as_json)

    def labelled(source: str, split: str | None, fold: int | None = None) -> tuple["Labelled", Any, tuple[str, ...]]:
        options = {"split": split, "fold": fold, "data_root": data_root}
        model, images = _open(folder, source, as_json, cache=not no_cache, **options)
        embedding, probabilities = model.transform_and_predict(images)
        labels = np.full(len(images), -1) if images.labels is None else images.labels
        return Labelled(embedding, labels, images.label_names), probabilities.argmax(1), model.names_

    test, predicted, names = labelled(source, split)
    found = evaluate_clusters(test, predicted, random_state=seed) | {"named": evaluate_names(test, predicted, names)}
    if probe and folds:
        learn = probe_train or source
        if own := min(folds, n_folds(learn)):
            parts = [labelled(learn, probe_split or "train", fold)[0] for fold in range(own)]
        else:
            parts = seeded_folds(labelled(learn, probe_split)[0], folds, random_state=seed)
        found["probe"] = evaluate_folds(probe.value, test, parts, random_state=seed)
    elif probe:
        elsewhere = probe_train or probe_split
        train = labelled(probe_train or source, probe_split)[0] if elsewhere else None
        found["probe"] = evaluate_probe(probe.value, test, train, random_state=seed)
    found["source"] = source if split is None else f"{source} ({split})"
    write_json(folder / "evaluation.json", found)  # first: after an error nothing is on standard output
    _answer("evaluate", {"run": str(run), **found}, as_json)
    _show_evaluation(found, as_json)


@app.command()
def report(
    run: Run,
    out: Annotated[Path | None, typer.Option(help="HTML file.", show_default="RUN/report.html")] = None,
    images: Moved = None,
    clusters: Clusters = False,
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

    folder = _model_folder(run, clusters, as_json)
    model = methods.load(folder)
    data = report_data(model, folder, _training_images(folder, model.run_, images, as_json))
    path = out or run / "report.html"
    write_report(data, path, map_kind=map_kind.value, random_state=model.random_state)
    if sheet:
        save_png(cluster_sheet(data.images, data.embedding, data.clusters, names=data.names), sheet)
    _answer("report", {"out": str(path), "pictures": len(data.images)}, as_json)
    _say(f"Wrote {path}", as_json)


@app.command()
def reproduce(
    paper: Annotated[str | None, typer.Argument(help="Paper, such as paper4; without one, all are listed.")] = None,
    figure: Annotated[list[int] | None, typer.Option(help="Number of a figure of the paper; may be repeated.")] = None,
    table: Annotated[list[int] | None, typer.Option(help="Number of a table of the paper; may be repeated.")] = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Passes over the pictures.", show_default="the paper's")
    ] = None,
    subset: Annotated[int | None, typer.Option(min=1, help="Pictures to learn from.", show_default="all")] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Runs to average.", show_default="3")] = None,
    embedding_size: Annotated[
        list[int] | None,
        typer.Option(min=1, help="Size of the embedding; may be repeated.", show_default="the paper's"),
    ] = None,
    method: Annotated[
        list[str] | None, typer.Option(help="Only this method; may be repeated.", show_default="all")
    ] = None,
    dataset: Annotated[
        list[str] | None, typer.Option(help="Only this data set of several; may be repeated.", show_default="all")
    ] = None,
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="A hyper-parameter of the methods, NAME=VALUE; may be repeated.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    data_root: DataRoot = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for what is measured and drawn.", show_default="reproduced/PAPER")
    ] = None,
    results: Annotated[
        Path | None, typer.Option(help="JSON file of records, such as docs/results.json, to add them to.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a paper's figures and tables again, beside its own values; what is measured once is kept."""
    from selfsort import experiments

    wanted = [("figure", number) for number in figure or []] + [("table", number) for number in table or []]
    if wanted and paper is None:
        raise UserError("Say which paper it is of, such as: selfsort reproduce paper4 --figure 4.")
    papers = [experiments.find(name) for name in ([paper] if paper else experiments.names())]
    if not wanted:
        _list_exhibits(papers, as_json)
        return
    exhibits = [experiments.exhibit(papers[0], *each) for each in wanted]
    folder = out or Path("reproduced") / papers[0].name
    scale = experiments.Scale(
        epochs=epochs,
        subset=subset,
        seeds=seeds,
        embedding_sizes=tuple(embedding_size or ()),
        methods=tuple(method or ()),
        datasets=tuple(dataset or ()),
        settings=_settings(setting or []),
        out=folder,
    )
    experiments.check_options(exhibits, scale)
    for each in exhibits:
        each.cells(scale)  # what is wrong with the last is said before the first is measured
    where = experiments.Where(device, data_root)  # type: ignore[arg-type]
    records: list[Any] = []
    for each in exhibits:
        new = _reproduce(papers[0], each, scale, where, folder, as_json)
        if results:
            experiments.keep(results, new)
            _say(f"Wrote {results} and {results.with_suffix('.md')}", as_json)
        records += new
    _answer("reproduce", {"out": str(folder), "records": records}, as_json)


def _reproduce(
    paper: "Paper", exhibit: "Exhibit", scale: "Scale", where: "Where", folder: Path, quiet: bool
) -> list[Any]:
    from selfsort import experiments

    command = " ".join(["selfsort", *sys.argv[1:]])
    with _resumable(folder, "the same command goes on with what is missing"):
        records = experiments.reproduce(paper, exhibit, scale, where, folder, command, lambda line: _say(line, quiet))
    _say(f"Wrote {folder / exhibit.name}.png, .md and .csv", quiet)
    return records


@app.command("search-augmentations")
def search_augmentations(
    source: Annotated[str, typer.Argument(help="A labelled data set, such as mnist, cifar10 or svhn.")],
    transformation: Annotated[
        list[str] | None,
        typer.Option(help="Try only this one, and pairs; may be repeated.", show_default="those that fit the data set"),
    ] = None,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the pictures.")] = 30,
    subset: Annotated[int | None, typer.Option(min=1, help="Pictures to learn from.", show_default="all")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Runs to average.")] = 1,
    embedding_size: Annotated[int, typer.Option(min=1, help="Size of the embedding.")] = 300,
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="A hyper-parameter of pseudo-label-ae, NAME=VALUE; repeatable.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    data_root: DataRoot = None,
    out: Annotated[Path, typer.Option(help="Folder for what is measured, the heat map and the ten best.")] = Path(
        "augmentations"
    ),
    as_json: AsJson = False,
) -> None:
    """Find the random changes that help pseudo-label-ae most: every one and every pair, scored with labels."""
    from selfsort import experiments
    from selfsort.experiments import paper1

    exhibit = paper1.search(source, tuple(transformation or ()))
    scale = experiments.Scale(
        epochs=epochs,
        subset=subset,
        seeds=seeds,
        embedding_sizes=(embedding_size,),
        settings=_settings(setting or []),
    )
    experiments.check_options([exhibit], scale)
    where = experiments.Where(device, data_root)  # type: ignore[arg-type]
    records = _reproduce(paper1.PAPER, exhibit, scale, where, out, as_json)
    best = out / paper1.top_ten(exhibit.dataset)
    _say(
        f"The ten best: {best}. Go on: selfsort fit … --method pseudo-label-ae --views transformations:{best}", as_json
    )
    _answer("search-augmentations", {"out": str(out), "top_ten": str(best), "records": records}, as_json)


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
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Name groups of pictures on a local page; every answer is kept at once, go on whenever you like."""
    from selfsort import runs
    from selfsort.annotation.serve import serve

    _check_seed(seed)
    facts = runs.read_run(run)
    pictures = _training_images(run, facts, images, as_json)
    if simulate:
        _name_by_simulation(run, pictures, groups, simulate, answers, errors, seed, as_json)
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
    (word,) = _words(run)
    _say(f"Stopped; go on with selfsort label {word}, or learn from the answers: selfsort refine {word}")


def _name_by_simulation(
    run: Path, images: "ImageSet", groups: int | None, source: str, answers: int, errors: float, seed: int, quiet: bool
) -> None:
    """Name groups by the true labels of `source`, as a person would who sees what the page shows."""
    from contextlib import closing

    from selfsort.annotation.desk import Desk
    from selfsort.annotation.holding import held
    from selfsort.annotation.simulated import SimulatedAnnotator

    labels, names = _true_labels(source, images, quiet)
    annotator = SimulatedAnnotator(labels, names, error_rate=errors, random_state=seed)
    with held(run), closing(Desk(run, images, n_groups=groups, random_state=seed)) as desk:
        given = desk.answer_all(annotator.answer, answers)
        state = desk.state()
    found = {"run": str(run), "given": given} | {name: state[name] for name in _LABELLED}
    _answer("label", found, quiet)
    counts = ", ".join(f"{each['name']} {each['count']:,}" for each in state["names"])
    _say(f"{given} answers name {state['covered']:,} of {state['pictures']:,} pictures: {counts}", quiet)
    _say(f"Next: selfsort refine {_words(run)[0]}", quiet)


def _true_labels(source: str, images: "ImageSet", quiet: bool) -> tuple[Any, tuple[str, ...]]:
    """Return the labels that a source has for the pictures of a run, in their order, and the labels' names."""
    height, _, channels = images.image_shape
    left_out = images.options.get("exclude", ())
    options = images.options if source == images.source else {"size": height, "channels": channels, "exclude": left_out}
    labelled = _load(source, quiet=quiet, **options)
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
    frozen: Annotated[bool, typer.Option("--frozen", help="Train the classifier alone, in seconds.")] = False,
    groups: Annotated[
        int | None, typer.Option(min=1, help="Groups to ask about next.", show_default="half as many as at first")
    ] = None,
    json_progress: Annotated[
        bool, typer.Option("--json-progress", help="Print a line of JSON after every epoch.")
    ] = False,
    until_input_ends: Annotated[bool, typer.Option("--until-input-ends", hidden=True)] = False,
    as_json: AsJson = False,
) -> None:
    """Learn from the names given with `selfsort label`: trains the model on and keeps it in RUN/named."""
    from selfsort import runs
    from selfsort.annotation.improvement import end_with_input

    if until_input_ends:
        end_with_input()
    from selfsort.annotation.renewal import renew  # torch: seconds in which the one who asked may be killed

    pictures = _training_images(run, runs.read_run(run), images, as_json or json_progress)

    def progress(epoch: int, total: int, loss: float) -> None:
        if json_progress:
            print(json.dumps({"epoch": epoch, "epochs": total, "loss": round(loss, 4)}), flush=True)
        elif not as_json:
            print(f"epoch {epoch}/{total} loss {loss:.4f}", file=sys.stderr, flush=True)

    with _resumable(run, "nothing has changed, refine again when you like"):
        model = renew(run, pictures, epochs=epochs, frozen=frozen, n_groups=groups, progress=progress)
    facts = model.run_["refined"]
    quiet = as_json or json_progress
    _answer("refine", {"run": str(run), "names": list(model.names_), **facts}, as_json)
    _say(f"{model.method} tells {len(model.names_)} names apart; it is in {run / 'named'}", quiet)
    word, source = _words(run, pictures.source)
    _say(f"Next: selfsort label {word} to name more, selfsort certify {word} to learn how good it is,", quiet)
    _say(f"      selfsort sort {word} {source} --out sorted{'' if pictures.files else ' --copy'}", quiet)


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
    from selfsort.annotation.serve import serve
    from selfsort.reporting.card import remove_certificate, write_certificate

    _check_seed(seed)
    folder, facts = _named_model(run, budget, reject)
    pictures = _training_images(run, facts, images, as_json)
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
        say = (lambda text: print(text, file=sys.stderr, flush=True)) if as_json else _say
        where: dict[str, Any] = {"port": port, "host": host, "password": password, "open_browser": not no_browser}
        serve(run, pictures, checks=checks, certified=certified, say=say, **where)
    _show_certificate(run, folder, checks, as_json)


def _named_model(run: Path, budget: int, reject: float | None) -> tuple[Path, dict[str, Any]]:
    """Return the folder of a run's named model and its facts, when it can be certified that way."""
    from selfsort import runs

    if budget < 1:
        raise UserError(f"--budget {budget} checks nothing: use at least 1.")
    if reject is not None and not 0 < reject < 1:
        raise UserError(f"--reject {reject:g} cannot be shown: choose a share between 0 and 1, such as 0.99.")
    runs.read_run(run)
    folder = runs.named(run)
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
    from selfsort.annotation.checks import open_checks
    from selfsort.annotation.holding import held
    from selfsort.annotation.store import Store

    with held(run, certifying=True), closing(Store.open(run)) as store:
        names, probabilities = tuple(runs.read_run(folder)["names"]), runs.read_training_arrays(folder)[1]
        checks, redrawn = open_checks(store, names, probabilities, budget, random_state=seed, target=reject)
        answers = len(store.events())
    if redrawn:
        _say(
            "The model, the budget or the seed is another one now: a new sample was drawn, its checks begin anew.",
            quiet,
        )
    elif checks.done:
        _say(f"Going on after {checks.done:,} of {checks.budget:,} checks.", quiet)
    return checks, answers


def _check_by_labels(checks: "Checks", source: str, images: "ImageSet", quiet: bool) -> None:
    """Answer by the labels of a source; what a person has checked of the sample is left aside, and stays kept."""
    labels, names = _true_labels(source, images, quiet)
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
    from selfsort.reporting.card import CARD, CERTIFICATE, interval_words

    certificate = checks.certificate()
    found = {"run": str(run), "done": checks.done, "budget": checks.budget}
    if certificate is None:
        _answer("certify", found | {"status": "unfinished", "certificate": None}, quiet)
        _say(f"Stopped after {checks.done:,} of {checks.budget:,} checks; the same command goes on.", quiet)
        return
    _answer("certify", found | {"status": "complete", "certificate": certificate.to_json()}, quiet)
    _say(certificate.sentence, quiet)
    columns = ["name", "right in the sample", "right of all, 95 % sure", "checks", "pictures"]
    rows = [(row.name, *interval_words(row), row.n, row.pictures) for row in certificate.per_class]
    _table(columns, [dict(zip(columns, row, strict=True)) for row in rows], quiet)
    if certificate.rejection:
        _say(certificate.rejection.sentence, quiet)
    _say(f"Wrote {folder / CERTIFICATE} and {folder / CARD}; selfsort report {run} shows it.", quiet)


def _rejected(audit: Path | None, quiet: bool) -> tuple[str, ...]:
    """Return the ids of the pictures that an audit, if there is one, leaves out."""
    if audit is None:
        return ()
    from selfsort.audit import read_rejected

    ids = read_rejected(audit)
    _say(f"{len(ids):,} pictures left out by {audit}", quiet)
    return ids


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
    count = f"{len(images):,} picture{'' if len(images) == 1 else 's'}"
    _say(f"{count}, {height}x{width}, {'grey' if channels == 1 else 'colour'}", quiet)
    if images.skipped:
        _say(summarise_skipped(images.skipped), quiet)
    return images


def _model_folder(run: Path, clusters: bool, quiet: bool) -> Path:
    """Return where the model of a run is to be taken from: the one that learnt names, if there is one."""
    from selfsort import runs

    folder = run if clusters else runs.named(run)
    if folder != run:
        _say(f"Using the names given: {folder}", quiet)
    return folder


def _open(run: Path, source: str, quiet: bool, **options: Any) -> tuple["Estimator", "ImageSet"]:
    """Load a model, and pictures the way that it was trained on them."""
    from selfsort import methods

    model = methods.load(run)
    height, _, channels = model.image_shape_
    resize = model.run_["data"]["options"].get("resize", "crop")
    return model, _load(source, quiet=quiet, size=height, channels=channels, resize=resize, **options)


def _training_images(folder: Path, run: Mapping[str, Any], moved: str | None, quiet: bool) -> "ImageSet":
    """Load the pictures that the run in a folder was trained on, from where they are now."""
    data, found = run["data"], Path(run["data"]["source"])
    if data["source"] == "array" and not moved:
        raise UserError("This run was trained on an array in memory: give its pictures with --images FILE.npy.")
    if not moved and found.is_absolute() and not found.exists():
        raise UserError(f"The pictures of this run are not in {str(found)!r} any more: say where with --images.")
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
        raise UserError(f"{_change(folder, images)} since the run was trained: give the original ones with --images.")
    return images


def _change(folder: Path, images: "ImageSet") -> str:
    """Say in what pictures differ from those of the run in a folder."""
    from selfsort import runs

    then, now = set(runs.read_training_arrays(folder)[2]), set(images.ids)
    parts = [(sorted(then - now), "gone"), (sorted(now - then), "new")]
    words = [f"{len(ids):,} {'is' if len(ids) == 1 else 'are'} {how}, such as {ids[0]!r}" for ids, how in parts if ids]
    return f"The pictures have changed ({'; '.join(words) or 'files of the same names look different'})"


@contextmanager
def _resumable(out: Path, how: str = "go on with the same command and --resume") -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        way_on = how if out.exists() else "nothing was kept"
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
    run, source = _words(out, images.source)
    _say(f"Next: selfsort label {run} to name its groups, selfsort report {run} to see them,", as_json)
    _say(f"      selfsort sort {run} {source} --out sorted{how}", as_json)


def _pictures(images: "ImageSet") -> dict[str, Any]:
    return {"pictures": len(images), "skipped": [row._asdict() for row in images.skipped]}


def _counts(clusters: Any, n_classes: int) -> list[int]:
    import numpy as np

    counts: list[int] = np.bincount(clusters, minlength=n_classes).tolist()
    return counts


def _list_exhibits(papers: list[Any], as_json: bool) -> None:
    """List what can be reproduced, what it needs, and how long it takes on two CPU cores."""
    lines = [
        {
            "what": f"{paper.name} --{each.kind} {each.number}",
            "shows": each.title,
            "data": each.dataset,
            "minutes": each.minutes,
        }
        for paper in papers
        for each in paper.exhibits
    ]
    _answer("reproduce", {"exhibits": lines}, as_json)
    rows = [line | {"minutes": f"{line['minutes']:,.0f}"} for line in lines]
    _table(["what", "shows", "data", "minutes"], rows, as_json)
    _say("Minutes are for a whole one on two CPU cores; --epochs, --subset and --seeds make it shorter.", as_json)
    _say("Data sets are torchvision's, in --data-root. Go on: selfsort reproduce paper4 --figure 4", as_json)


def _show_evaluation(found: Mapping[str, Any], quiet: bool) -> None:
    scores, named = found["clustering"], found.get("named")
    if scores:
        figures = ", ".join(f"{name.upper()} {scores[name]:.3f}" for name in ("nmi", "ami", "ari"))
        how = " if each name stood for the label that fits it best" if named else ""
        _say(f"{scores['n']:,} labelled pictures: accuracy {scores['accuracy']:.1%}{how}, {figures}", quiet)
        if not named or named["per_class"] != scores["per_class"]:
            _table(["name", "n", "precision", "recall", "f1"], scores["per_class"], quiet)
    else:
        _say("These pictures have no labels (no class folders), so there is no accuracy.", quiet)
    if named:
        _say(f"By name: accuracy {named['accuracy']:.1%} of {named['n']:,} labelled pictures", quiet)
        _table(["name", "n", "precision", "recall", "f1"], named["per_class"], quiet)
    if found["silhouette"] is not None:
        _say(f"Silhouette {found['silhouette']:.3f} (no labels needed; from -1 to 1)", quiet)
    if found.get("probe"):
        result = found["probe"]
        sizes = f"{result['n_train']:,} to learn from, {result['n_test']:,} to test on"
        spread = f" ± {100 * result['std']:.1f} over {len(result['folds'])} folds" if "folds" in result else ""
        _say(f"{result['kind']} probe: accuracy {result['accuracy']:.1%}{spread} ({sizes})", quiet)
        for few in result.get("few_shot", ()):
            spread = f"{few['accuracy']:.1%} ± {100 * few['std']:.1f}, {few['draws']} draws"
            _say(f"  from {few['shots']} of each class: accuracy {spread}", quiet)


def _words(*values: object) -> list[str]:
    """Return values as a shell takes them, to be copied."""
    return [shlex.quote(str(value)) for value in values]


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

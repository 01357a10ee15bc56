"""Commands that use a trained model: predict, sort, evaluate, report."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from selfsort.cli.app import app
from selfsort.cli.inputs import (
    check_account,
    check_outside,
    listed_for_model,
    model_folder,
    open_model,
    training_images,
)
from selfsort.cli.options import (
    Account,
    AsJson,
    ClassesFrom,
    Clusters,
    CsvBom,
    DataRoot,
    Engine,
    Map,
    Moved,
    NoCache,
    Probe,
    Run,
    Seed,
    ShardSize,
    Source,
    Split,
    Workers,
    check_seed,
    level_or_name,
)
from selfsort.cli.output import answer, count_clusters, image_facts, print_table, say, shell_words
from selfsort.cli.sharding import Sharding, is_folder_of_shards, shard_facts, write_shards
from selfsort.errors import UserError
from selfsort.spelling import counted

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from selfsort.data.image_set import ImageSet
    from selfsort.evaluation.protocol import Labelled
    from selfsort.methods.base import Estimator


@app.command()
def predict(
    run: Run,
    source: Source,
    out: Annotated[
        str,
        typer.Option(help="Table to write: .csv or .parquet; or a folder for shards, also s3://…, to be continued."),
    ],
    clusters: Clusters = False,
    engine: Engine = "local",
    workers: Workers = None,
    shard_size: ShardSize = None,
    split: Split = None,
    data_root: DataRoot = None,
    no_cache: NoCache = False,
    account: Account = None,
    csv_bom: CsvBom = False,
    as_json: AsJson = False,
) -> None:
    """Assign pictures to clusters and write a table: id, cluster, its name if it has one, confidence, probabilities."""
    from selfsort.export.predictions import check_table, write_predictions

    in_shards = engine != "local" or bool(shard_size or workers) or is_folder_of_shards(out)
    if not in_shards:
        check_table(out)
    check_account(account)
    folder = model_folder(run, clusters, as_json)
    where: dict[str, Any] = {"split": split, "data_root": data_root, "cache": not no_cache}
    if in_shards:
        return _predict_shards(folder, source, out, (shard_size, engine, workers), account, as_json, **where)
    model, images = open_model(folder, source, as_json, account, **where)
    probabilities = model.predict_proba(images)
    write_predictions(out, images.ids, probabilities, model.names_, bom=csv_bom)
    counts = count_clusters(probabilities.argmax(1), model.n_classes_)
    found = {"out": out, **image_facts(images), "clusters": counts, "names": list(model.names_)}
    answer("predict", found, as_json)
    kind = "names" if model.names_ else "clusters"
    say(f"Wrote {out}: {counted(len(images), 'picture')} in {sum(n > 0 for n in counts)} {kind}.", as_json)


def _predict_shards(
    folder: Path, source: str, out: str, how: Sharding, account: Path | None, as_json: bool, **where: Any
) -> None:
    """Predict into a folder of shards."""
    from selfsort.sharded.tasks import Predict

    model, images = listed_for_model(folder, source, as_json, **where)
    done = write_shards("predict", source, images, Predict(folder.absolute()), out, how, account, as_json)
    facts = {**shard_facts(done), **image_facts(done.images), "clusters": done.counts.tolist()}
    answer("predict", {"out": out, **facts, "names": list(model.names_)}, as_json)


@app.command()
def sort(
    run: Run,
    source: Source,
    out: Annotated[Path, typer.Option(help="New folder, which gets one folder per cluster.")],
    link: Annotated[
        bool, typer.Option("--link/--copy", help="Link to the pictures or copy them. Nothing is moved or overwritten.")
    ] = True,
    clusters: Clusters = False,
    split: Split = None,
    data_root: DataRoot = None,
    no_cache: NoCache = False,
    account: Account = None,
    as_json: AsJson = False,
) -> None:
    """Sort pictures into one folder per cluster, or per name if names were given."""
    from selfsort.export.links import check_target
    from selfsort.export.sort import sort_images

    check_target(out)
    check_account(account)
    check_outside(out, source)
    folder = model_folder(run, clusters, as_json)
    where: dict[str, Any] = {"split": split, "data_root": data_root, "cache": not no_cache}
    model, images = open_model(folder, source, as_json, account, **where)
    mode: Literal["link", "copy"] = "link" if link else "copy"
    found, names = model.predict_proba(images).argmax(1), dict(enumerate(model.names_))
    summary = sort_images(images, found, out, mode=mode, n_clusters=model.n_classes_, names=names)
    answer("sort", {"out": str(out), "mode": mode, **image_facts(images), **summary.to_json()}, as_json)
    say(f"Sorted {counted(len(images), 'picture')} into {out}:", as_json)
    for name, count in summary.counts.items():
        say(f"  {name}  {count:,}", as_json)


@app.command()
def evaluate(
    run: Run,
    source: Source,
    probe: Annotated[Probe | None, typer.Option(help="Also train a probe on the frozen embedding.")] = None,
    probe_train: Annotated[
        str | None,
        typer.Option(
            help="Labelled pictures to train the probe on.",
            show_default="a random 80 % of SOURCE; the rest tests it",
        ),
    ] = None,
    probe_split: Annotated[str | None, typer.Option(help="Split of --probe-train.")] = None,
    folds: Annotated[
        int | None,
        typer.Option(
            min=2,
            help="Train one probe on each of that many parts of --probe-train (for STL-10, its own ten) and average "
            "their accuracies.",
            show_default="one probe on all of it",
        ),
    ] = None,
    clusters: Clusters = False,
    split: Split = None,
    classes_from: ClassesFrom = None,
    data_root: DataRoot = None,
    no_cache: NoCache = False,
    account: Account = None,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Measure a run against labelled pictures (class folders); training never sees these labels."""
    import numpy as np

    from selfsort.data.sources.torchvision_sets import n_folds
    from selfsort.evaluation.protocol import Labelled, evaluate_clusters, evaluate_names, same_pictures
    from selfsort.runs import RunFolder, write_facts

    check_seed(seed)
    if not probe and (probe_train or probe_split):
        raise UserError("--probe-train and --probe-split need --probe linear, svm, knn or centroid.")
    if folds and not (probe and (probe_train or probe_split)):
        raise UserError("--folds needs --probe and --probe-train: it splits the pictures of --probe-train.")

    check_account(account)
    folder = model_folder(run, clusters, as_json)

    def labelled(
        source: str, split: str | None, fold: int | None = None, account: Path | None = None
    ) -> tuple["Labelled", Any, "Estimator"]:
        options = {"split": split, "fold": fold, "data_root": data_root, "classes_from": level_or_name(classes_from)}
        model, images = open_model(folder, source, as_json, account, cache=not no_cache, **options)
        embedding, probabilities = model.transform_and_predict(images)
        labels = np.full(len(images), -1) if images.labels is None else images.labels
        bursts = _bursts_of(images, as_json) if probe else None
        return Labelled(embedding, labels, images.label_names, bursts), probabilities.argmax(1), model

    test, predicted, model = labelled(source, split, account=account)
    found = evaluate_clusters(test, predicted, random_state=seed)
    found["named"] = evaluate_names(test, predicted, model.names_)
    found["of_training"] = same_pictures(test.embedding, model.embedding_)

    def learnt(fold: int | None = None) -> "Labelled":
        part = probe_split if fold is None else probe_split or "train"
        return labelled(probe_train or source, part, fold)[0]

    if probe:
        learn = learnt if probe_train or probe_split else None
        found["probe"] = _probed(probe, test, learn, folds, n_folds(probe_train or source), seed)
    found["source"] = source if split is None else f"{source} ({split})"
    # Before anything is printed: after an error, standard output must be empty.
    write_facts(RunFolder(folder).evaluation, found)
    if found["of_training"]:
        write_facts(RunFolder(folder).training_evaluation, found)
    answer("evaluate", {"run": str(run), **found}, as_json)
    if not model.names_ and RunFolder(run).labels.exists():
        (word,) = shell_words(run)
        say(f"Clusters are measured: the names given count only after `selfsort refine {word}`.", as_json)
    _show_evaluation(found, as_json)


def _bursts_of(images: "ImageSet", quiet: bool) -> "NDArray[np.int64]":
    """Return the burst of each picture, and print how many bursts there are, if any."""
    from selfsort.data.shots import BURST_SECONDS, Shots

    bursts = Shots.read(images).bursts()
    number = len(set(bursts.tolist()))
    if number < len(images):
        say(
            f"{len(images):,} pictures were taken in {counted(number, 'burst')} of frames at most {BURST_SECONDS:g} s "
            "apart: no burst is on both sides of a split.",
            quiet,
        )
    return bursts


def _probed(
    kind: Probe, test: "Labelled", learn: Callable[..., "Labelled"] | None, folds: int | None, own: int, seed: int
) -> dict[str, Any]:
    """Train a probe on a part of `test`, on other pictures, or on folds of those: their own folds, if they have any."""
    from selfsort.evaluation.protocol import evaluate_folds, evaluate_probe, seeded_folds

    if learn is None or not folds:
        return evaluate_probe(kind.value, test, learn() if learn else None, random_state=seed)
    parts = [learn(fold) for fold in range(min(folds, own))] or seeded_folds(learn(), folds, random_state=seed)
    return evaluate_folds(kind.value, test, parts, random_state=seed)


@app.command()
def report(
    run: Run,
    out: Annotated[Path | None, typer.Option(help="HTML file.", show_default="RUN/report.html")] = None,
    images: Moved = None,
    clusters: Clusters = False,
    map_kind: Annotated[Map, typer.Option("--map", help="How the map of the embedding is drawn.")] = Map.tsne,
    sheet: Annotated[
        Path | None, typer.Option(help="Also write this PNG file, with each cluster's most typical pictures.")
    ] = None,
    account: Account = None,
    as_json: AsJson = False,
) -> None:
    """Write one self-contained HTML page about a run."""
    from selfsort import methods
    from selfsort.reporting.figures import save_png
    from selfsort.reporting.from_run import report_data
    from selfsort.reporting.gallery import cluster_sheet
    from selfsort.reporting.report import write_report
    from selfsort.runs import RunFolder

    folder = model_folder(run, clusters, as_json)
    model = methods.load(folder)
    pictures = training_images(folder, model.run_, images, as_json, account=account)
    data = report_data(model, folder, pictures)
    path = out or RunFolder(run).report
    write_report(data, path, map_kind=map_kind.value, random_state=model.random_state)
    if sheet:
        save_png(cluster_sheet(data.images, data.embedding, data.clusters, names=data.names), sheet)
    answer("report", {"out": str(path), "pictures": len(data.images)}, as_json)
    say(f"Wrote {path}", as_json)


def _show_evaluation(found: Mapping[str, Any], quiet: bool) -> None:
    scores, named = found["clustering"], found.get("named")
    whose = "the run's own" if found["of_training"] else "not those that the run was trained on"
    if scores:
        figures = ", ".join(f"{name.upper()} {scores[name]:.3f}" for name in ("nmi", "ami", "ari"))
        what = "name" if named else "cluster"
        how = f"if each {what} stands for the one label that fits best"
        say(f"{scores['n']:,} labelled pictures ({whose}): accuracy {scores['accuracy']:.1%} {how}; {figures}", quiet)
        if (n_left := len(scores["mapping"]) - len(scores["per_class"])) > 0:
            say(
                f"There are more {what}s than labels, so {n_left:,} of them count as wrong; "
                f"{scores['purity']:.1%} if each stands for the label of most of its pictures (many-to-one, purity)",
                quiet,
            )
        if not named or named["per_class"] != scores["per_class"]:
            print_table(["name", "n", "precision", "recall", "f1"], scores["per_class"], quiet)
    else:
        say("These pictures have no labels (no class folders), so there is no accuracy.", quiet)
    if named:
        say(
            f"By name: accuracy {named['accuracy']:.1%}, counting a picture as right only if name and label agree",
            quiet,
        )
        print_table(["name", "n", "precision", "recall", "f1"], named["per_class"], quiet)
    if found["silhouette"] is not None:
        say(f"Silhouette {found['silhouette']:.3f} (no labels needed; from -1 to 1)", quiet)
    if found.get("probe"):
        result = found["probe"]
        sizes = f"trained on {result['n_train']:,}, tested on {result['n_test']:,}"
        spread = f" ± {100 * result['std']:.1f} over {len(result['folds'])} folds" if "folds" in result else ""
        say(f"{result['kind']} probe: accuracy {result['accuracy']:.1%}{spread} ({sizes})", quiet)
        for few in result.get("few_shot", ()):
            spread = f"{few['accuracy']:.1%} ± {100 * few['std']:.1f}, {few['draws']} draws"
            say(f"  from {few['shots']} pictures per class: accuracy {spread}", quiet)

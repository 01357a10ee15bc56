"""What commands start from: pictures, and runs made by earlier commands."""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from selfsort.cli.options import level_or_name
from selfsort.cli.output import say
from selfsort.cli.wording import in_flags
from selfsort.errors import UserError
from selfsort.spelling import counted

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from selfsort.data.decoding import Failure
    from selfsort.data.image_set import ImageSet
    from selfsort.data.input_spec import InputSpec
    from selfsort.data.reading import Facts
    from selfsort.methods.base import Estimator


def loaded_images(source: str, *, quiet: bool = False, account: Path | None = None, **options: Any) -> "ImageSet":
    """Load pictures, print what they are, and write their account."""
    return told(listed_images(source, quiet, **options).decoded(), quiet, account)


def listed_images(source: str, quiet: bool, **options: Any) -> "ImageSet":
    """List pictures without decoding them."""
    from selfsort.data.loading import list_images

    return list_images(source, progress=not quiet and sys.stderr.isatty(), **options)


def told(images: "ImageSet", quiet: bool, account: Path | None = None, *, advise: bool = True) -> "ImageSet":
    """Print what the pictures are and what was changed or left out, write the account, and return the pictures.

    `advise` also says with which flags something else would be read.
    """
    from selfsort.data.account import summarise_account
    from selfsort.data.reading import tell

    count = counted(len(images), "picture")
    if images.is_decoded:
        height, width, channels = images.image_shape
        count += f", {height}x{width}, {'grey' if channels == 1 else 'colour'}"
    say(count, quiet)
    for line in (*images.told, *tell(images.facts.values(), advise=advise)):
        say(in_flags(line), quiet)
    if summary := summarise_account(images.listing):
        say(summary, quiet)
    if account:
        write_account(images, account, quiet)
    return images


def write_account(images: "ImageSet", path: Path, quiet: bool) -> None:
    """Write what became of every file of a source."""
    from selfsort.data.account import COLUMNS
    from selfsort.tables import write_table

    write_table(path, COLUMNS, images.account())
    say(f"Wrote {path}: what became of every file", quiet)


def check_account(path: Path | None) -> None:
    """Raise `UserError` if `--account` does not name a possible CSV file."""
    if path is not None and (path.suffix.lower() != ".csv" or os.path.isdir(path)):
        raise UserError(f"--account {str(path)!r} must be the name of a .csv file.")


def model_folder(run: Path, clusters: bool, quiet: bool) -> Path:
    """Return the folder to load a run's model from: that of the named model, if there is one."""
    from selfsort import runs

    folder = run if clusters else runs.RunFolder(run).newest().path
    if folder != run:
        say(f"Using the model of the names: {folder}", quiet)
    return folder


def open_model(
    run: Path, source: str, quiet: bool, account: Path | None = None, **options: Any
) -> tuple["Estimator", "ImageSet"]:
    """Load a model, and pictures of any size in a form that it reads."""
    model, images = listed_for_model(run, source, quiet, **options)
    return model, told(model.readable(images), quiet, account, advise=False)


def listed_for_model(run: Path, source: str, quiet: bool, **options: Any) -> tuple["Estimator", "ImageSet"]:
    """Load a model, and list pictures for it without decoding them."""
    from selfsort import methods

    model = methods.load(run)
    return model, listed_images(source, quiet, **_range_of(model.input_) | options)


def _range_of(spec: "InputSpec") -> dict[str, Any]:
    """Return the argument of `load_images` that scales values of more than eight bits as in the model's training."""
    reading = spec.reading
    known = None if reading is None else reading.integers or reading.floats or reading.value_range
    return {} if known in (None, "set") else {"value_range": known}


def training_images(
    folder: Path,
    run: Mapping[str, Any],
    moved: str | None,
    quiet: bool,
    *,
    decoded: bool = True,
    account: Path | None = None,
) -> "ImageSet":
    """Load the pictures that the run in `folder` was trained on, from where they are now, and write their account.

    Unless they have to be `decoded`, files that have not changed since are only listed.
    """
    check_account(account)
    decoded = decoded or account is not None  # only a decoder knows what it changed
    from selfsort.data.input_spec import InputSpec
    from selfsort.data.loading import is_gone

    data = run["data"]
    if data["source"] == "array" and not moved:
        raise UserError("This run was trained on an array in memory: give its pictures with --images FILE.npy.")
    if not moved and is_gone(data["source"]):
        raise UserError(f"This run's pictures are no longer in {data['source']!r}: say where they are with --images.")
    options = {name: value for name, value in data["options"].items() if name not in ("size", "channels", "resize")}
    options |= _range_of(InputSpec.of_run(run))
    if isinstance(chosen := data["options"].get("channels"), list):
        options["channels"] = chosen
    source = moved or data["source"]
    try:
        listed = listed_images(source, quiet, **options)
        images, fingerprint = _as_trained(listed, folder, run, quiet, decoded=decoded)
        if fingerprint != data["fingerprint"]:
            earlier = listed_images(source, quiet, **options | {"listing": 1})
            if earlier.ids != listed.ids:
                images, fingerprint = _as_trained(earlier, folder, run, quiet, decoded=decoded)
    except UserError as error:
        if moved:
            raise
        raise UserError(f"{str(error).rstrip('.')}; if they have moved, say where with --images.") from error
    if fingerprint != data["fingerprint"]:
        raise UserError(f"{_change(folder, images)} since the run was trained: give the originals with --images.")
    if account:
        _write_training_account(images, InputSpec.of_run(run), account, quiet)
    return images


def _write_training_account(images: "ImageSet", spec: "InputSpec", path: Path, quiet: bool) -> None:
    """Write what became of the files that a run was trained on.

    Pictures of pre-trained features were only listed: they are decoded once more, but not kept, as the network's input
    of many photographs would fill the cache.
    """
    from selfsort.progress import ProgressBar

    if images.is_decoded:
        write_account(images, path, quiet)
        return
    facts: dict[int, Facts] = {}
    failures: list[Failure] = []
    with ProgressBar("Reading every file", len(images), shown=not quiet and sys.stderr.isatty()) as bar:
        for block in images.blocks(spec):
            facts |= dict(zip(block.positions.tolist(), block.facts, strict=True))
            failures += block.failures
            bar.advance(len(block.positions) + len(block.failures))
    told(images.noted(facts).without(failures), quiet, path, advise=False)


TrueLabels = tuple["NDArray[np.int64]", tuple[str, ...]]


def true_labels(source: str, classes_from: str | None, images: "ImageSet", quiet: bool) -> TrueLabels:
    """Return the labels (N,) that a source has for the N pictures of a run, -1 for none, and the labels' names.

    `--classes-from` says which folders are labels; the default, for the run's own source, is that of the run. How the
    folders were understood is printed.
    """
    from selfsort.data.matching import labels_for

    options = dict(images.options) if source == images.source else {}
    if classes_from is not None:
        options["classes_from"] = level_or_name(classes_from)
    labelled, unread = listed_images(source, quiet, **options), dict(images.skipped)
    for line in labelled.told:
        say(in_flags(line), quiet)
    labelled = labelled.without([(i, unread[name]) for i, name in enumerate(labelled.ids) if name in unread])
    return labels_for(images, labelled), labelled.label_names


def _as_trained(
    listed: "ImageSet", folder: Path, run: Mapping[str, Any], quiet: bool, *, decoded: bool
) -> tuple["ImageSet", str]:
    """Return the pictures as the run read them, and the fingerprint to compare with the run's."""
    from selfsort import runs
    from selfsort.data.image_set import CONTENT
    from selfsort.data.input_spec import InputSpec

    data = run["data"]
    had_pixels = not data["fingerprint"].startswith(CONTENT)
    if not (had_pixels and decoded):
        unread = dict(runs.read_skipped(folder) or runs.read_skipped(folder.parent))
        images = listed.without([(i, unread[name]) for i, name in enumerate(listed.ids) if name in unread])
        # Reading a hundred thousand photographs again would take minutes.
        if data.get("stamps") is not None and images.stamps_fingerprint() == data["stamps"]:
            return images, data["fingerprint"]
        if not had_pixels:
            return images, images.content_fingerprint()
    images = told(listed.decoded(InputSpec.of_run(run)), quiet)
    return images, images.fingerprint()


def _change(folder: Path, images: "ImageSet") -> str:
    """Describe how pictures differ from those of the run in `folder`."""
    from selfsort import runs

    then, now = set(runs.read_training_arrays(folder)[2]), set(images.ids)
    parts = [(sorted(then - now), "gone"), (sorted(now - then), "new")]
    words = [f"{len(ids):,} {'is' if len(ids) == 1 else 'are'} {how}, such as {ids[0]!r}" for ids, how in parts if ids]
    return f"The pictures have changed ({'; '.join(words) or 'files of the same names look different'})"


def check_outside(out: Path, source: str) -> None:
    """Raise `UserError` for an output folder inside the folder of the pictures."""
    folder = Path(source)
    if os.path.isdir(folder) and out.resolve().is_relative_to(folder.resolve()):
        raise UserError(f"{str(out)!r} is inside the pictures' folder {source!r}: choose a folder outside it.")


@contextmanager
def resumable(out: Path, how: str = "continue with the same command and --resume") -> Iterator[None]:
    """On Ctrl-C, say how to continue."""
    try:
        yield
    except KeyboardInterrupt:
        how_to_continue = how if out.exists() else "nothing was kept"
        print(f"selfsort: Stopped; {how_to_continue}.", file=sys.stderr)
        raise typer.Exit(130) from None

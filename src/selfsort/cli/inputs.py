"""What commands start from: pictures, and the runs of earlier ones."""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from selfsort.cli.output import say
from selfsort.cli.wording import in_flags
from selfsort.errors import UserError
from selfsort.files import is_there

if TYPE_CHECKING:
    from selfsort.data.image_set import ImageSet
    from selfsort.data.input_spec import InputSpec
    from selfsort.methods.base import Estimator


def loaded_images(source: str, *, quiet: bool = False, **options: Any) -> "ImageSet":
    """Load pictures and say what they are."""
    return told(listed_images(source, quiet, **options).decoded(), quiet)


def listed_images(source: str, quiet: bool, **options: Any) -> "ImageSet":
    """List pictures without decoding one."""
    from selfsort.data.loading import list_images

    return list_images(source, progress=not quiet and sys.stderr.isatty(), **options)


def told(images: "ImageSet", quiet: bool, account: Path | None = None) -> "ImageSet":
    """Say what pictures are and what of their source was changed or left out, write the account, and return them."""
    from selfsort.data.account import summarise_account
    from selfsort.data.reading import tell

    count = f"{len(images):,} picture{'' if len(images) == 1 else 's'}"
    if images.is_decoded:
        height, width, channels = images.image_shape
        count += f", {height}x{width}, {'grey' if channels == 1 else 'colour'}"
    say(count, quiet)
    for line in (*images.told, *tell(images.facts.values())):
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
    """Raise `UserError` where an account cannot be what `--account` names."""
    if path is not None and (path.suffix.lower() != ".csv" or os.path.isdir(path)):
        raise UserError(f"--account {str(path)!r} must be the name of a .csv file.")


def model_folder(run: Path, clusters: bool, quiet: bool) -> Path:
    """Return where the model of a run is to be taken from: the one that learnt names, if there is one."""
    from selfsort import runs

    folder = run if clusters else runs.RunFolder(run).newest().path
    if folder != run:
        say(f"Using the names given: {folder}", quiet)
    return folder


def open_model(
    run: Path, source: str, quiet: bool, account: Path | None = None, **options: Any
) -> tuple["Estimator", "ImageSet"]:
    """Load a model, and pictures of any size for it."""
    from selfsort import methods

    model = methods.load(run)
    options = _range_of(model.input_) | options
    return model, told(model.readable(listed_images(source, quiet, **options)), quiet, account)


def _range_of(spec: "InputSpec") -> dict[str, Any]:
    """Return the argument of `load_images` that makes of values of more than eight bits what a model was trained on."""
    reading = spec.reading
    known = None if reading is None else reading.integers or reading.floats or reading.value_range
    return {} if known in (None, "set") else {"value_range": known}


def training_images(folder: Path, run: Mapping[str, Any], moved: str | None, quiet: bool) -> "ImageSet":
    """Load the pictures that the run in a folder was trained on, from where they are now."""
    from selfsort.data.input_spec import InputSpec

    data, found = run["data"], Path(run["data"]["source"])
    if data["source"] == "array" and not moved:
        raise UserError("This run was trained on an array in memory: give its pictures with --images FILE.npy.")
    if not moved and found.is_absolute() and not is_there(found):
        raise UserError(f"The pictures of this run are not in {str(found)!r} any more: say where with --images.")
    options = {name: value for name, value in data["options"].items() if name not in ("size", "channels", "resize")}
    options |= _range_of(InputSpec.of_run(run))
    if isinstance(chosen := data["options"].get("channels"), list):
        options["channels"] = chosen
    source = moved or data["source"]
    try:
        listed = listed_images(source, quiet, **options)
        images, fingerprint = _as_trained(listed, folder, run, quiet)
        if fingerprint != data["fingerprint"]:
            earlier = listed_images(source, quiet, **options | {"listing": 1})
            if earlier.ids != listed.ids:
                images, fingerprint = _as_trained(earlier, folder, run, quiet)
    except UserError as error:
        if moved:
            raise
        raise UserError(f"{str(error).rstrip('.')}; if they have moved, say where to with --images.") from error
    if fingerprint != data["fingerprint"]:
        raise UserError(f"{_change(folder, images)} since the run was trained: give the original ones with --images.")
    return images


def _as_trained(listed: "ImageSet", folder: Path, run: Mapping[str, Any], quiet: bool) -> tuple["ImageSet", str]:
    """Return the pictures as a run took them, and the fingerprint to compare with the run's."""
    from selfsort import runs
    from selfsort.data.image_set import CONTENT
    from selfsort.data.input_spec import InputSpec

    data = run["data"]
    if not data["fingerprint"].startswith(CONTENT):
        images = told(listed.decoded(InputSpec.of_run(run)), quiet)
        return images, images.fingerprint()
    unread = dict(runs.read_skipped(folder) or runs.read_skipped(folder.parent))
    images = listed.without([(i, unread[name]) for i, name in enumerate(listed.ids) if name in unread])
    # Reading all of a hundred thousand photographs again takes minutes.
    is_as_it_was = data.get("stamps") is not None and images.stamps_fingerprint() == data["stamps"]
    return images, data["fingerprint"] if is_as_it_was else images.content_fingerprint()


def _change(folder: Path, images: "ImageSet") -> str:
    """Say in what pictures differ from those of the run in a folder."""
    from selfsort import runs

    then, now = set(runs.read_training_arrays(folder)[2]), set(images.ids)
    parts = [(sorted(then - now), "gone"), (sorted(now - then), "new")]
    words = [f"{len(ids):,} {'is' if len(ids) == 1 else 'are'} {how}, such as {ids[0]!r}" for ids, how in parts if ids]
    return f"The pictures have changed ({'; '.join(words) or 'files of the same names look different'})"


def check_outside(out: Path, source: str) -> None:
    """Raise `UserError` for an output folder inside the folder of the pictures."""
    folder = Path(source)
    if os.path.isdir(folder) and out.resolve().is_relative_to(folder.resolve()):
        raise UserError(f"{str(out)!r} lies inside the pictures' folder {source!r}: choose a folder outside of it.")


@contextmanager
def resumable(out: Path, how: str = "go on with the same command and --resume") -> Iterator[None]:
    """Say how to go on after Ctrl-C."""
    try:
        yield
    except KeyboardInterrupt:
        way_on = how if out.exists() else "nothing was kept"
        print(f"selfsort: Stopped; {way_on}.", file=sys.stderr)
        raise typer.Exit(130) from None

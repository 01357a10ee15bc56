"""Commands that write a folder of shards: `embed`, and `predict` for very many pictures."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from selfsort.cli.app import app
from selfsort.cli.inputs import check_account, check_outside, listed_images, told
from selfsort.cli.options import (
    Account,
    AsJson,
    Channels,
    DataRoot,
    Download,
    Engine,
    Page,
    Resize,
    ShardSize,
    Source,
    Split,
    ValueRange,
    Workers,
    reading_of,
)
from selfsort.cli.output import answer, image_facts, say
from selfsort.errors import UserError
from selfsort.spelling import counted

if TYPE_CHECKING:
    from selfsort.data.image_set import ImageSet
    from selfsort.sharded.job import Done
    from selfsort.sharded.tasks import Task


@app.command()
def embed(
    source: Source,
    out: Annotated[str, typer.Option(help="Folder for the shards, also s3://…; the same command continues there.")],
    backbone: Annotated[
        str | None,
        typer.Option(help="Pre-trained network; `selfsort backbones` lists them.", show_default="efficientnet-lite0"),
    ] = None,
    resize: Annotated[Resize, typer.Option(help="How pictures are made square.")] = Resize.squash,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto, 32 or bf16.")] = "auto",
    engine: Engine = "local",
    workers: Workers = None,
    shard_size: ShardSize = None,
    split: Split = None,
    value_range: ValueRange = None,
    page: Page = None,
    channels: Channels = None,
    data_root: DataRoot = None,
    download: Download = False,
    account: Account = None,
    as_json: AsJson = False,
) -> None:
    """Compute features of very many pictures with a pre-trained network: Parquet files with id and embedding."""
    from dataclasses import replace

    from selfsort.methods.frozen import Frozen
    from selfsort.models import pretrained
    from selfsort.sharded.tasks import Embed

    check_account(account)
    name = backbone or pretrained.DEFAULT
    Frozen(backbone=name, device=cast(Any, device), precision=cast(Any, precision)).check_params()
    where: dict[str, Any] = {"split": split, "data_root": data_root, "download": download}
    images = listed_images(source, as_json, **where | reading_of(value_range, page, channels))
    spec = replace(pretrained.find(name).input, resize=resize.value, reading=images.reading)
    task = Embed(name, spec, cast(Any, device), cast(Any, precision))
    how = (shard_size, engine, workers)
    done = write_shards("embed", source, images, task, out, how, account, as_json)
    answer("embed", {"out": out, "backbone": name, **shard_facts(done), **image_facts(done.images)}, as_json)


def is_folder_of_shards(out: str) -> bool:
    """Tell whether an output that is not said to be in shards means a folder for them: it has no suffix."""
    from selfsort.data.object_store import is_url

    return bool(out) and (is_url(out) or not Path(out).suffix)


Sharding = tuple[int | None, str, int | None]


def write_shards(
    command: str,
    source: str,
    images: "ImageSet",
    task: "Task",
    out: str,
    how: Sharding,
    account: Path | None,
    quiet: bool,
) -> "Done":
    """Compute the missing shards, and print what was done; `how` is the size of a shard, the engine, the workers."""
    from selfsort.data.object_store import is_url
    from selfsort.sharded.job import SHARD_SIZE, run

    if (suffix := Path(out).suffix.lower()) in (".csv", ".parquet"):
        raise UserError(f"--out {out!r} is to be a folder of shards: choose a name without {suffix}.")
    if not is_url(out):
        check_outside(Path(out), source)
    size, engine, workers = how
    shown = not quiet and sys.stderr.isatty()
    options: dict[str, Any] = {"engine": engine, "workers": workers, "progress": shown}
    done = run(command, images, task, out, shard_size=size or SHARD_SIZE, **options)
    told(done.images, quiet, account, advise=False)
    earlier = done.shards - done.computed
    before = f", {earlier:,} of them finished before" if earlier else ""
    say(f"Wrote {out}: {counted(len(done.images), 'picture')} in {counted(done.shards, 'shard')}{before}", quiet)
    return done


def shard_facts(done: "Done") -> dict[str, int]:
    """Return how many shards there are, and how many were computed this time."""
    return {"shards": done.shards, "computed": done.computed}

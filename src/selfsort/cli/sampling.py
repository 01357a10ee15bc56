"""The command that draws pictures to name from a set too large to look through: sample."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from selfsort.cli.app import app
from selfsort.cli.inputs import check_account, check_outside, listed_images, told
from selfsort.cli.options import Account, AsJson, DataRoot, Seed, Source, Split, check_seed
from selfsort.cli.output import answer, image_facts, say, shell_words
from selfsort.spelling import counted


@app.command()
def sample(
    source: Source,
    out: Annotated[Path, typer.Option(help="New folder, which gets links to the pictures drawn.")],
    pictures: Annotated[int, typer.Option(min=1, help="How many to draw.")] = 20_000,
    backbone: Annotated[
        str | None,
        typer.Option(help="Pre-trained network whose features tell kinds apart.", show_default="as for fit"),
    ] = None,
    split: Split = None,
    data_root: DataRoot = None,
    account: Account = None,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Draw an even sample, rare kinds as often as frequent ones: name it, and predict names the rest."""
    from selfsort.clustering import even_sample
    from selfsort.data.loading import has_files
    from selfsort.export.links import check_linkable, check_target, link_files
    from selfsort.methods.choice import choose_backbone
    from selfsort.methods.frozen import Frozen

    check_seed(seed)
    check_account(account)
    check_target(out)
    check_outside(out, source)
    check_linkable(source, has_files(source))
    images = listed_images(source, as_json, split=split, data_root=data_root)
    network = Frozen(backbone=backbone or choose_backbone()[0])
    found = network.features(images, progress=not as_json and sys.stderr.isatty())
    images = told(found.images, as_json, account)
    rows = even_sample(found.values, pictures, random_state=seed)
    files = images.files or ()
    link_files({images.ids[row]: Path(os.path.abspath(files[row])) for row in rows.tolist()}, out)
    answer("sample", {"out": str(out), "drawn": len(rows), **image_facts(images)}, as_json)
    say(f"Linked {len(rows):,} of {counted(len(images), 'picture')} in {out}", as_json)
    run = Path("runs") / out.name
    say(f"Next: selfsort fit {' '.join(shell_words(out, '--out', run))}", as_json)
    rest = " ".join(shell_words(run, source, "--out", "predictions.csv"))
    say(f"and, when they are named: selfsort predict {rest}", as_json)

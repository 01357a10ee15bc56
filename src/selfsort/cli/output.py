"""What commands print: text for people, or one JSON object for programs."""

import json
import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from selfsort.tables import utf8_text

if TYPE_CHECKING:
    from selfsort.data.image_set import ImageSet

JSON_FORMAT = 1


def shell_words(*values: object) -> list[str]:
    """Return values quoted for a shell, to be copied and pasted."""
    return [shlex.quote(str(value)) for value in values]


def answer(command: str, content: Mapping[str, Any], as_json: bool) -> None:
    """Print a command's result as JSON, if `as_json`; docs/json.md describes it."""
    if as_json:
        print(json.dumps(_utf8({"format": JSON_FORMAT, "command": command, **content})))


def _utf8(content: Any) -> Any:
    """Write file names that are not UTF-8 as tables do: not every program reads half a surrogate pair."""
    if isinstance(content, str):
        return utf8_text(content)
    if isinstance(content, Mapping):
        return {_utf8(name): _utf8(value) for name, value in content.items()}
    return [_utf8(value) for value in content] if isinstance(content, list | tuple) else content


def say(text: str, quiet: bool = False) -> None:
    """Print a line for people, unless `quiet`."""
    if not quiet:
        print(text)


def print_table(columns: list[str], rows: list[Any], quiet: bool) -> None:
    """Print rows as a table for people, unless `quiet`."""
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


def image_facts(images: "ImageSet") -> dict[str, Any]:
    """Return how many pictures there are, what was changed or left out, and how the source was understood."""
    skipped = [row._asdict() for row in images.skipped]
    return {"pictures": len(images), "skipped": skipped, **account_counts(images), "told": list(images.told)}


def account_counts(images: "ImageSet") -> dict[str, dict[str, int]]:
    """Count the files of a source that were changed or passed over, by kind."""
    from selfsort.data.listing import count_kinds

    changes = (change for name in images.ids if name in images.facts for change in images.facts[name].changes())
    passed_over = (reason for _, reason in images.listing.passed_over)
    return {"passed_over": dict(count_kinds(passed_over)), "changed": dict(count_kinds(changes))}


def count_clusters(clusters: Any, n_classes: int) -> list[int]:
    """Return the number of pictures in each cluster."""
    import numpy as np

    counts: list[int] = np.bincount(clusters, minlength=n_classes).tolist()
    return counts

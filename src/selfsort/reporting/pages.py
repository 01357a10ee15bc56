"""Self-contained HTML pages that need no network and no scripts."""

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from selfsort.reporting.gallery import percent


def render(template: str, context: Mapping[str, Any]) -> str:
    """Render a page from one of the templates beside this file."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "count": _count,
        "percent": percent,
        "sentence": _sentence,
        "text": printable,
        "sha256": _sha256,
        "unbroken": _unbroken,
    }
    return environment.get_template(template).render(context)


def printable(text: object) -> str:
    r"""Escape what cannot be printed: control and direction characters, and bytes that are not UTF-8.

    >>> printable("a\nb\udcff") == r"a\nb\udcff"
    True
    """
    return "".join(
        letter if letter.isprintable() or letter == "\u200d" else letter.encode("unicode_escape").decode()
        for letter in str(text)
    )


def _count(number: int) -> str:
    return f"{number:,}"


def _sentence(line: str) -> str:
    return f"{line[:1].upper()}{line[1:]}."


def _unbroken(sentence: str) -> str:
    """Keep figures and their percent sign on one line."""
    return sentence.replace(" %", "\N{NO-BREAK SPACE}%")


def _sha256(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()

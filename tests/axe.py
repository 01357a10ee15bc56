"""The accessibility rules that a page breaks, according to axe-core in the browser."""

from importlib.resources import files
from typing import Any

AXE = files("axe_playwright_python").joinpath("axe.min.js").read_text("utf-8")
_RUN = "() => axe.run(document, {resultTypes: ['violations'], rules: {'label-content-name-mismatch': {enabled: true}}})"


def violations(page: Any) -> list[str]:
    """Return the rules that are broken, each with the first element that breaks it."""
    page.evaluate(AXE)
    return [f"{rule['id']}: {rule['nodes'][0]['html'][:200]}" for rule in page.evaluate(_RUN)["violations"]]

"""Findings about single pictures: every file here with a subclass of `Finding` adds one."""

import pkgutil
from functools import lru_cache
from importlib import import_module

from selfsort.audit.finding import Finding


@lru_cache(maxsize=1)
def all_findings() -> tuple[Finding, ...]:
    """Return the findings in their order."""
    for module in pkgutil.iter_modules(__path__):
        import_module(f"{__name__}.{module.name}")
    kinds = [kind for kind in Finding.__subclasses__() if kind.__module__.startswith(f"{__name__}.")]
    return tuple(sorted((kind() for kind in kinds), key=lambda finding: finding.order))

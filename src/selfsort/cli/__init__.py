"""The command line: one thin function per command, which computes nothing itself and imports torch only when run."""

from selfsort.cli import (
    backbones,
    certifying,
    comparing,
    deploying,
    exchange,
    learning,
    naming,
    papers,
    results,
    reviewing,
    sampling,
    sharding,
)
from selfsort.cli.app import app

__all__ = [
    "app",
    "backbones",
    "certifying",
    "comparing",
    "deploying",
    "exchange",
    "learning",
    "naming",
    "papers",
    "results",
    "reviewing",
    "sampling",
    "sharding",
]

"""The command line: one thin function per command; torch is imported only inside those that need it."""

from selfsort.cli import backbones, learning, naming, papers, results
from selfsort.cli.app import app

__all__ = ["app", "backbones", "learning", "naming", "papers", "results"]

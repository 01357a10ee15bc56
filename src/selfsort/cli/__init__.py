"""The command line: one thin function per command; torch is imported only inside those that need it."""

from selfsort.cli import learning, naming, papers, results
from selfsort.cli.app import app

__all__ = ["app", "learning", "naming", "papers", "results"]

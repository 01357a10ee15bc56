"""The command line: one thin function per command; nothing here computes, and torch comes in only inside commands."""

from selfsort.cli import backbones, learning, naming, papers, results
from selfsort.cli.app import app

__all__ = ["app", "backbones", "learning", "naming", "papers", "results"]

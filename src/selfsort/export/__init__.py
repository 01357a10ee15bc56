"""Exports from a run: tables of predictions, named pictures (one file per format), sorted folders, and links."""

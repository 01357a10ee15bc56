"""Formats of a table of predictions: one file each, found by name; it has a `SUFFIX` and `write(path, predictions)`.

A format that takes a library of an extra names both, `LIBRARY` and `EXTRA`.
"""

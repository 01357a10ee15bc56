"""File formats for tables of predictions: one module each, with a `SUFFIX` and `write(path, predictions)`.

A format that needs a library from an extra names both as `LIBRARY` and `EXTRA`.
"""

"""Errors of the library in the command line's words: messages name parameters there, flags here."""

import re

# Only parameters that every command which can meet them has as a flag.
_FLAGS = {
    "data_root": "--data-root",
    "download": "--download",
    "mode": "--copy",
    "n_folds": "--folds",
    "resize": "--resize",
    "resume": "--resume",
    "size": "--size",
}
_PARAMETER = re.compile(rf"\b({'|'.join(_FLAGS)})=(True|'copy'|…|[\w.]+)")


def in_flags(sentence: str) -> str:
    """Return an error's sentence with flags in place of parameters.

    >>> in_flags("It is unfinished: go on with resume=True or choose another size=….")
    'It is unfinished: go on with --resume or choose another --size.'
    >>> in_flags("n_folds=1 must be at least 2.")
    '--folds 1 must be at least 2.'
    """
    return _PARAMETER.sub(_flag, sentence)


def _flag(found: re.Match[str]) -> str:
    name, value = found.groups()
    return _FLAGS[name] if value in ("True", "'copy'", "…") else f"{_FLAGS[name]} {value}"

"""Errors of the library in the command line's words: messages name parameters there, flags here."""

import re

# Only parameters that every command which can meet them has as a flag.
_FLAGS = {
    "backbone": "--backbone",
    "batch_size": "--batch-size",
    "data_root": "--data-root",
    "download": "--download",
    "epochs": "--epochs",
    "mode": "--copy",
    "n_classes": "--classes",
    "n_folds": "--folds",
    "random_state": "--seed",
    "resize": "--resize",
    "resume": "--resume",
    "size": "--size",
}
_QUOTE = "'"
_PARAMETER = re.compile(rf"(?<!--set )\b({'|'.join(_FLAGS)})=(True|…|'[^']*'|-?[\w.]+)")


def in_flags(sentence: str) -> str:
    """Return an error's sentence with flags in place of parameters.

    >>> in_flags("It is unfinished: go on with resume=True or choose another size=….")
    'It is unfinished: go on with --resume or choose another --size.'
    >>> in_flags("n_classes=1: choose between 2 and the number of pictures, 40.")
    '--classes 1: choose between 2 and the number of pictures, 40.'
    """
    return _PARAMETER.sub(_flag, sentence)


def _flag(found: re.Match[str]) -> str:
    name, value = found.groups()
    return _FLAGS[name] if value in ("True", "'copy'", "…") else f"{_FLAGS[name]} {value.strip(_QUOTE)}"

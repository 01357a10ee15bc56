"""The library's error messages in the command line's terms: flags instead of parameters."""

import re

# Parameters that are flags in every command in which they can occur.
_FLAGS = {
    "channels": "--channels",
    "classes_from": "--classes-from",
    "data_root": "--data-root",
    "download": "--download",
    "engine": "--engine",
    "mode": "--copy",
    "n_folds": "--folds",
    "page": "--page",
    "resize": "--resize",
    "resume": "--resume",
    "shard_size": "--shard-size",
    "size": "--size",
    "value_range": "--value-range",
    "workers": "--workers",
}
_OF_FIT = {
    "backbone": "--backbone",
    "batch_size": "--batch-size",
    "device": "--device",
    "devices": "--devices",
    "epochs": "--epochs",
    "n_classes": "--classes",
    "nodes": "--nodes",
    "precision": "--precision",
    "random_state": "--seed",
    "views": "--views",
}
_QUOTE = "'"


def in_flags(sentence: str, command: str = "") -> str:
    """Return an error message with a command's flags in place of parameters.

    >>> in_flags("It is unfinished: continue with resume=True or choose another size=….")
    'It is unfinished: continue with --resume or choose another --size.'
    >>> in_flags("n_classes=1: choose between 2 and the number of pictures, 40.", "fit")
    '--classes 1: choose between 2 and the number of pictures, 40.'
    """
    flags = _FLAGS | (_OF_FIT if command == "fit" else {})
    parameter = rf"(?<!--set )\b({'|'.join(flags)})=(True|…|'[^']*'|-?[\w.]+)"
    return re.sub(parameter, lambda found: _flag(flags[found[1]], found[2]), sentence)


def _flag(flag: str, value: str) -> str:
    return flag if value in ("True", "'copy'", "…") else f"{flag} {value.strip(_QUOTE)}"

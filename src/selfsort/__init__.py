"""Sort pictures that nobody has labelled.

>>> import selfsort
>>> digits = selfsort.load_images("digits")
>>> model = selfsort.KMeans(n_classes=10).fit(digits)
>>> model.labels_.shape
(1797,)
"""

from typing import Any

__all__ = [
    "ImageSet",
    "InputSpec",
    "LabelSession",
    "UserError",
    "Views",
    "embed",
    "export_names",
    "find_suspects",
    "import_names",
    "list_images",
    "load",
    "load_images",
    "methods",
]
_HOMES = {
    "ImageSet": "data.image_set",
    "InputSpec": "data.input_spec",
    "LabelSession": "labelling.learning.label_session",
    "UserError": "errors",
    "Views": "augment",
    "list_images": "data.loading",
    "embed": "features.embedding",
    "export_names": "labelling.exchange",
    "find_suspects": "labelling.exchange",
    "import_names": "labelling.exchange",
    "load": "methods",
    "load_images": "data.loading",
}


def __getattr__(name: str) -> Any:
    # Everything is imported on first use: `import selfsort` and `selfsort --help` need no torch.
    from importlib import import_module

    if name in _HOMES:
        return getattr(import_module(f"selfsort.{_HOMES[name]}"), name)
    if name[:1].isupper():
        methods = import_module("selfsort.methods")
        for method in methods.names():
            if methods.find(method).__name__ == name:
                return methods.find(method)
    raise AttributeError(f"module 'selfsort' has no attribute {name!r}")


def __dir__() -> list[str]:
    from selfsort import methods

    return sorted({*__all__, *(methods.find(method).__name__ for method in methods.names())})

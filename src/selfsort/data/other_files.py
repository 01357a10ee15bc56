"""Files among a user's pictures that are none of them: hidden files, and what other programs store there."""

import re

# Windows, macOS, NAS devices (Synology, QNAP), Linux, backup programs and Python, in lower case.
_SYSTEM = frozenset(
    (
        "__macosx",
        "icon\r",
        "thumbs.db",
        "ehthumbs.db",
        "ehthumbs_vista.db",
        "desktop.ini",
        "$recycle.bin",
        "recycler",
        "recycled",
        "system volume information",
        "@eadir",
        "@tmp",
        "@recycle",
        "@recently-snapshot",
        "#recycle",
        "#snapshot",
        "lost+found",
        "__pycache__",
    )
)
_FOUND_BY_CHECKDISK = re.compile(r"found\.\d{3}")


def passed_over(name: str, listing: int = 2) -> str:
    """Return why a file or folder is not looked at, "" if it is; `listing` is that of `load_images`.

    >>> passed_over("@eaDir"), passed_over("._1.jpg"), passed_over("1.jpg")
    ('of another program', 'hidden', '')
    """
    if name.startswith("."):
        return "hidden"
    if listing == 1:
        return "of another program" if name == "__MACOSX" else ""
    small = name.lower()
    return "of another program" if small in _SYSTEM or _FOUND_BY_CHECKDISK.fullmatch(small) else ""

"""Print the versions that pip chose, for `make lock`, from the report of `pip install --dry-run --report`.

PyTorch and the libraries for graphics cards that come with it are left out: which of them fit depends on the machine.
"""

import json
import re
import sys
from typing import Any

_LEFT_TO_PIP = re.compile(r"(torch|torchvision|triton|(nvidia|cuda|pytorch)-.*|selfsort)")


def locked(report: dict[str, Any]) -> list[str]:
    """Return the lines of a constraints file, in order."""
    found = [(item["metadata"]["name"], item["metadata"]["version"]) for item in report["install"]]
    normal = sorted((re.sub(r"[-_.]+", "-", name).lower(), version) for name, version in found)
    return [f"{name}=={version.partition('+')[0]}" for name, version in normal if not _LEFT_TO_PIP.fullmatch(name)]


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as file:
        print(*locked(json.load(file)), sep="\n")

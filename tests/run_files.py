"""Run folders changed as if by selfsort itself, or as if by somebody else."""

import json
from pathlib import Path
from typing import Any

from selfsort.runs import RunFolder, seal, write_facts

MANIFEST: dict[str, Any] = {
    "format": 1,
    "status": "complete",
    "method": "kmeans",
    "params": {"cluster_space": "embedding", "device": "cpu", "encoder": None, "n_classes": 2, "random_state": 0},
    "data": {
        "source": "array",
        "options": {},
        "n_images": 12,
        "image_shape": [4, 4, 1],
        "fingerprint": "0123456789abcdef",
        "n_skipped": 0,
    },
    "versions": {"python": "3.11.7", "selfsort": "0.1.0"},
    "hardware": "x86_64, Linux",
    "started": "2026-01-01T00:00:00+00:00",
    "training": {"minutes": 0.05, "epochs": 0, "warnings": []},
}


def made(path: Path, **changes: Any) -> RunFolder:
    """Make a folder with nothing but a manifest."""
    path.mkdir(parents=True, exist_ok=True)
    write_facts(path / "run.json", MANIFEST | changes)
    return RunFolder(path)


def edit(run: Path, *missing: str, **changes: Any) -> None:
    """Change facts of a run, remove the `missing` ones, and seal the manifest again."""
    facts = json.loads((run / "run.json").read_text()) | changes
    write_facts(run / "run.json", {name: value for name, value in facts.items() if name not in ("digest", *missing)})


def reseal(run: Path) -> None:
    """Make a run's manifest accept its files as they are."""
    seal(run)

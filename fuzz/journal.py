"""The trials made, line by line, so that a stopped part can be resumed."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

FAULTS = (
    "traceback",
    "crash",
    "hang",
    "memory",
    "no sentence",
    "readers disagree",
    "wrong result",
    "lost",
    "left over",
)


@dataclass(frozen=True)
class Trial:
    """One trial: its key, the kind of thing tried, the outcome, seconds, MiB, and details."""

    key: str
    kind: str
    outcome: str
    seconds: float = 0.0
    mib: float = 0.0
    detail: str = ""

    @property
    def failed(self) -> bool:
        """Tell whether the outcome is a fault."""
        return self.outcome in FAULTS


class Journal:
    """The trials of one part in a file of JSON lines."""

    def __init__(self, path: Path):
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        whole = self.read()
        # The last line may be incomplete.
        path.write_text("".join(json.dumps(asdict(trial)) + "\n" for trial in whole), "utf-8")
        self._known = {trial.key for trial in whole}

    def open_keys(self, keys: Iterable[str]) -> Iterator[str]:
        """Yield the keys not tried yet."""
        for key in keys:
            if key not in self._known:
                yield key

    def add(self, trial: Trial) -> None:
        """Add a trial."""
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(trial)) + "\n")
        self._known.add(trial.key)
        if trial.failed:
            print(f"  {trial.outcome}: {trial.kind} {trial.key}: {trial.detail.strip()[-300:]}", flush=True)

    def read(self) -> list[Trial]:
        """Return all trials so far."""
        if not self.path.exists():
            return []
        lines = self.path.read_text("utf-8").splitlines()
        return [Trial(**json.loads(line)) for line in lines if line.endswith("}")]


def table(parts: dict[str, list[Trial]]) -> str:
    """Return the figures of all parts as a Markdown table."""
    rows = ["| part | kind | tried | failed | outcomes | longest | most memory |", "|---|---|---:|---:|---|---:|---:|"]
    for part, trials in parts.items():
        for kind in sorted({trial.kind for trial in trials}):
            own = [trial for trial in trials if trial.kind == kind]
            outcomes = ", ".join(f"{count:,} {name}" for name, count in Counter(t.outcome for t in own).most_common())
            failed = sum(trial.failed for trial in own)
            longest, most = max(trial.seconds for trial in own), max(trial.mib for trial in own)
            rows.append(
                f"| {part} | {kind} | {len(own):,} | {failed} | {outcomes} | {longest:.1f} s | {most:.0f} MiB |"
            )
    return "\n".join(rows) + "\n"

"""Jobs on a local Ray cluster, for a test in a process of its own: Ray leaves threads and sockets behind.

Run as `python ray_jobs.py SOURCE FOLDER`, with this folder on the PYTHONPATH, since Ray's workers import this module.
"""

import json
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfsort.data.image_set import ImageSet
from selfsort.data.input_spec import InputSpec
from selfsort.data.loading import list_images
from selfsort.errors import UserError
from selfsort.sharded.job import run
from selfsort.sharded.tasks import Compute, Computed, Embed


@dataclass(frozen=True)
class Dying:
    """A task whose process is killed the first time, or each time that it gets a certain picture."""

    task: Embed
    picture: str
    mark: Path
    always: bool = False

    @property
    def uses_gpu(self) -> bool:
        return False

    def facts(self) -> Mapping[str, Any]:
        return self.task.facts()

    def start(self) -> Compute:
        compute = self.task.start()

        def found(images: ImageSet) -> Computed:
            if self.picture in images.ids and (self.always or not self.mark.exists()):
                self.mark.touch()
                if self.always:
                    raise UserError("Cannot write 'x': the disk is full; free some space.")
                os.kill(os.getpid(), signal.SIGKILL)
            return compute(images)

        return found


def main(source: str, folder: Path) -> None:
    import ray

    images = list_images(source)
    task = Embed("efficientnet-lite0", InputSpec(32, 3, "squash", reading=images.reading), "cpu", "32")
    run("embed", images, task, str(folder / "local"), shard_size=5)
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init(address="local", num_cpus=3, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    last = images.ids[-1]
    how: dict[str, Any] = {"shard_size": 5, "engine": "ray"}
    run("embed", images, task, str(folder / "one"), workers=1, **how)
    failing: Any = Dying(task, last, folder / "failed", always=True)
    try:
        run("embed", images, failing, str(folder / "two-that-stop"), workers=2, **how)
        problem = ""
    except UserError as error:
        problem = str(error)
    kept = sorted(path.name for path in (folder / "two-that-stop").glob("*.parquet"))
    computed = run("embed", images, task, str(folder / "two-that-stop"), workers=2, **how).computed
    dying: Any = Dying(task, last, folder / "killed")
    run("embed", images, dying, str(folder / "three-of-which-one-dies"), workers=3, **how)
    ray.shutdown()
    killed = (folder / "killed").exists()
    print(json.dumps({"problem": problem, "kept": kept, "computed": computed, "killed": killed}))


if __name__ == "__main__":
    from ray_jobs import main as importable  # what Ray pickles must not be of `__main__`

    importable(sys.argv[1], Path(sys.argv[2]))

"""The stages in which a method trains, and what they share: the run folder, resuming, progress and hooks."""

import logging
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from selfsort import ranks
from selfsort.files import remove
from selfsort.models.base import Net
from selfsort.runs import RunFolder
from selfsort.training.callbacks import History, OnEpoch
from selfsort.training.data import TrainingData
from selfsort.training.loop import Validate, train
from selfsort.training.recipe import Recipe

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Stage:
    """One training of a method.

    Attributes
    ----------
    net : the network that learns, in place; targets and other data looked up by index are a `PerImage` of it
    data : what it learns from
    recipe : how it is trained
    name : name of its folder within the run; empty for the last stage, which uses the run folder itself
    title : text printed when it starts, such as "training 1 of 2"
    validate : adds further figures after each epoch

    """

    net: Net
    data: TrainingData
    recipe: Recipe
    name: str = ""
    title: str = ""
    validate: Validate | None = None


@dataclass(frozen=True)
class Context:
    """The environment in which stages run.

    Attributes
    ----------
    folder : the run folder, for checkpoints; None keeps none
    resume : continue from what is there
    progress : show progress on standard error
    on_epoch : called with the history so far after each epoch of the last stage
    warnings : the warnings of all stages

    """

    folder: Path | None = None
    resume: bool = False
    progress: bool = False
    on_epoch: OnEpoch | None = None
    warnings: list[str] = field(default_factory=list)

    def warn(self, sentence: str) -> None:
        """Log a warning of a stage, and keep it with the run."""
        if ranks.is_first():
            _log.warning(sentence)
        self.warnings.append(sentence)

    @contextmanager
    def place(self, name: str = "") -> Iterator[Path]:
        """Yield the folder of a stage, for its own files, which are deleted after its training."""
        if self.folder is None:
            with tempfile.TemporaryDirectory() as folder:
                yield Path(folder)
        else:
            yield RunFolder(self.folder).stage(name).path

    def remove(self, path: Path) -> None:
        """Delete a file or folder of a stage; of several processes in one folder, the first does it."""
        if self.folder is None or ranks.is_first():
            remove(path)

    def train(self, stages: Iterator[Stage]) -> History:
        """Train stage after stage; return the history of the last, with the warnings of all.

        The checkpoints of earlier stages are kept until the end: their last states are all it takes to resume a later
        stage and arrive at the same weights.
        """
        history, finished = History(), list[str]()
        for stage in stages:
            if self.progress and stage.title:
                print(stage.title, file=sys.stderr, flush=True)
            history = self._train(stage)
            prefix = f"{stage.title.partition(':')[0].capitalize()}: " if stage.name else ""
            self.warnings.extend(prefix + warning for warning in history.warnings)
            finished += [stage.name] if stage.name else []
        for name in finished:
            if self.folder is not None:
                self.remove(RunFolder(self.folder).stage(name).path)
        return replace(history, warnings=[*self.warnings])

    def _train(self, stage: Stage) -> History:
        return train(
            stage.net,
            stage.data,
            stage.recipe,
            run_dir=None if self.folder is None else RunFolder(self.folder).stage(stage.name).path,
            resume=self.resume,
            progress=self.progress,
            on_epoch=None if stage.name else self.on_epoch,
            validate=stage.validate,
        )

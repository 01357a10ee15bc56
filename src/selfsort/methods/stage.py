"""The stages that a method trains in, and what they share: the run's folder, resuming, progress and hooks."""

import logging
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

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
    net : the network that learns, in place; what it learns towards and looks up by index is a `PerImage` of it
    data : what it learns from
    recipe : how
    name : of its folder within the run; the last stage has none, for the run is its own
    title : what is said when it starts, such as "training 1 of 2"
    validate : adds figures of its own after each epoch

    """

    net: Net
    data: TrainingData
    recipe: Recipe
    name: str = ""
    title: str = ""
    validate: Validate | None = None


@dataclass(frozen=True)
class Context:
    """Where stages run.

    Attributes
    ----------
    folder : of the run, where checkpoints are kept; None keeps none
    resume : go on with what is there
    progress : tell on standard error how far it is
    on_epoch : called with what happened so far after each epoch of the last stage
    warnings : what was warned of in all stages

    """

    folder: Path | None = None
    resume: bool = False
    progress: bool = False
    on_epoch: OnEpoch | None = None
    warnings: list[str] = field(default_factory=list)

    def warn(self, sentence: str) -> None:
        """Say, and keep with the run, what a stage found odd."""
        _log.warning(sentence)
        self.warnings.append(sentence)

    @contextmanager
    def place(self, name: str = "") -> Iterator[Path]:
        """Yield the folder of a stage, for files of its own that last while it is trained."""
        if self.folder is None:
            with tempfile.TemporaryDirectory() as folder:
                yield Path(folder)
        else:
            yield RunFolder(self.folder).stage(name).path

    def train(self, stages: Iterator[Stage]) -> History:
        """Train stage after stage; the history is the last one's, with the warnings of all.

        The checkpoints of an earlier stage are kept until the end: to go on with a later one, its last state is all
        that it takes to come to the same weights again.
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
                remove(RunFolder(self.folder).stage(name).path)
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

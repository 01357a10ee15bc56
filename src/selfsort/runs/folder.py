"""The run folder: the names of its files, and which model in it is the newest."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selfsort.errors import UserError
from selfsort.files import is_there, recover_folder
from selfsort.runs import manifest
from selfsort.schema import Invalid

_log = logging.getLogger(__name__)


class RunFolder:
    """The paths in a run folder; none of them need exist yet.

    A model that knows names has a folder of the same kind inside the run's, `refined`. So does each earlier stage of a
    method of several stages, during training.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)

    @property
    def manifest(self) -> Path:
        """What is known of the run: method, hyper-parameters, pictures, versions, status."""
        return self.path / "run.json"

    @property
    def model(self) -> Path:
        """The weights, and the clustering if the network has no classes of its own."""
        return self.path / "model.safetensors"

    @property
    def embedding(self) -> Path:
        """The (N, D) embedding of the training pictures."""
        return self.path / "embedding.npy"

    @property
    def probabilities(self) -> Path:
        """The (N, K) class probabilities of the training pictures."""
        return self.path / "probabilities.npy"

    @property
    def assignments(self) -> Path:
        """The cluster of each training picture."""
        return self.path / "assignments.csv"

    @property
    def surrogate_classes(self) -> Path:
        """The pictures of each surrogate class, for a method that makes some."""
        return self.path / "surrogate-classes.csv"

    @property
    def metrics(self) -> Path:
        """The metrics of each epoch."""
        return self.path / "metrics.csv"

    @property
    def skipped(self) -> Path:
        """The pictures that could not be read, and why."""
        return self.path / "skipped.csv"

    @property
    def sealed_files(self) -> tuple[Path, ...]:
        """The files that do not change once the run is finished; not every run has all of them."""
        return (
            self.model,
            self.embedding,
            self.probabilities,
            self.assignments,
            self.surrogate_classes,
            self.metrics,
            self.skipped,
            self.error_probability,
        )

    @property
    def checkpoints(self) -> Path:
        """The folder of the states from which an interrupted training resumes."""
        return self.path / "checkpoints"

    @property
    def tensorboard(self) -> Path:
        """The folder of TensorBoard's logs."""
        return self.path / "tensorboard"

    @property
    def labels(self) -> Path:
        """The answers given in labelling."""
        return self.path / "labels.sqlite"

    @property
    def points(self) -> Path:
        """The positions of the pictures in the label space."""
        return self.path / "points.npz"

    @property
    def shots(self) -> Path:
        """When, where and with which camera the pictures were taken."""
        return self.path / "shots.csv"

    @property
    def embedding_map(self) -> Path:
        """The embedding map that the page shows."""
        return self.path / "map.npz"

    @property
    def label_token(self) -> Path:
        """The token by which windows reconnect after the page's server was restarted; only its owner can read it."""
        return self.path / ".label.token"

    @property
    def label_lock(self) -> Path:
        """The lock of the process that labels or certifies the run."""
        return self.path / ".label.lock"

    @property
    def refine_lock(self) -> Path:
        """The lock of the process that refines the run."""
        return self.path / ".refine.lock"

    @property
    def error_probability(self) -> Path:
        """The (N,) probabilities that the names of a refined model are wrong."""
        return self.path / "doubt.npy"  # its name in the first version, whose runs must still open

    @property
    def evaluation(self) -> Path:
        """The latest result of `selfsort evaluate`."""
        return self.path / "evaluation.json"

    @property
    def training_evaluation(self) -> Path:
        """The latest result of `selfsort evaluate` on the pictures that the run was trained on."""
        return self.path / "evaluation-training.json"

    @property
    def certificate(self) -> Path:
        """The certificate of the model."""
        return self.path / "certificate.json"

    @property
    def model_card(self) -> Path:
        """The model card, for people."""
        return self.path / "model-card.md"

    @property
    def report(self) -> Path:
        """The report, unless the user chose another path."""
        return self.path / "report.html"

    @property
    def refined(self) -> "RunFolder":
        """The folder of the model that knows names."""
        return RunFolder(self.path / "named")

    def model_of_round(self, number: int) -> Path:
        """Return the folder that keeps the refined model of an earlier round, or of a round taken back."""
        return self.path / f".{self.refined.path.name}-{number}"

    @property
    def title(self) -> str:
        """The name of the run, for people."""
        path = self.path.resolve()
        return path.parent.name if self.is_refined() else path.name

    def stage(self, name: str) -> "RunFolder":
        """Return the folder of an earlier stage of training, with its own checkpoints and metrics."""
        return RunFolder(self.path / name)

    def newest(self) -> "RunFolder":
        """Return the folder of the newest model: the refined one, once there is one."""
        refined = self.refined
        recover_folder(refined.path)
        if refined.is_complete():
            return refined
        if refined.path.is_dir():
            _log.warning(
                "%r holds no finished model that knows names, so the clusters are used: restore a copy, or %s.",
                str(refined.path),
                refined.way_out(),
            )
        return self

    def is_refined(self) -> bool:
        """Tell whether this is the folder of a run's refined model."""
        path = self.path.resolve()
        run = RunFolder(path.parent)
        return path == run.refined.path and run.manifest.exists()

    def has_checkpoints(self) -> bool:
        """Tell whether there is a state to resume from, of any stage."""
        return any(self.path.glob(f"**/{self.checkpoints.name}/*.safetensors"))

    def is_complete(self) -> bool:
        """Tell whether the folder holds a finished run."""
        return is_there(self.manifest) and self.read_manifest()["status"] == "complete"

    def read_manifest(self) -> dict[str, Any]:
        """Return the manifest, also of an unfinished run.

        Raises
        ------
        UserError
            If it is missing, damaged, or of a newer format.

        """
        try:
            with self.reading(self.manifest):
                return manifest.parse(self.manifest.read_bytes())
        except manifest.NewerFormatError as error:
            raise UserError(
                f"{str(self.path)!r} was written by a newer selfsort (format {error}; this one reads "
                f"{manifest.FORMAT}): upgrade."
            ) from error

    @contextmanager
    def reading(self, path: Path, way_out: str = "") -> Iterator[None]:
        """Let the block read a file of the folder; its errors become a `UserError` that says what to do."""
        try:
            yield
        except (OSError, Invalid) as error:
            raise self.damaged(path, error, way_out) from error

    def damaged(self, path: Path, problem: object, way_out: str = "") -> UserError:
        """Return the error for a file in the folder that cannot be used, which says what to do."""
        why = "is missing" if isinstance(problem, FileNotFoundError) else f"is damaged ({_reason(problem)})"
        return UserError(f"{str(path)!r} {why}: restore a copy, or {way_out or self.way_out()}.")

    def way_out(self) -> str:
        """Say what to do if something in the folder is damaged."""
        if not self.is_refined():
            return "train again into another folder"
        run = self.path.parent
        return f"delete the folder {str(self.path)!r} and learn the names again with `selfsort refine {run}`"


def _reason(problem: object) -> str:
    return str(getattr(problem, "strerror", None) or problem)

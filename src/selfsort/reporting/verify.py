"""Verify a certificate by repeating its draw and calculation from what is in the run folder."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from selfsort import runs
from selfsort.errors import UserError
from selfsort.evaluation.certificate import Certificate, NamedPredictions, SampleFacts, certify
from selfsort.evaluation.draw import SampleDraw, most_doubtful, unpacked
from selfsort.labelling.samples import named_predictions
from selfsort.labelling.store import Store
from selfsort.reporting.card import PERSON, read_certificate, who_checked
from selfsort.spelling import counted


class Step(NamedTuple):
    """A step of the verification, and whether it gave the same result."""

    what: str
    holds: bool


def verify_certificate(run: Path, folder: Path) -> list[Step]:
    """Repeat the draw and the calculation of the certificate of the model in `folder`, a run's named model.

    The model's files are compared with the digests in its `run.json` when they are read.

    Raises
    ------
    UserError
        If there is no certificate, it is damaged or from a version that did not keep its sample, or the model's files
        have changed.

    """
    certificate = read_certificate(folder)
    path = runs.RunFolder(folder).certificate
    if certificate is None:
        raise UserError(f"{str(run)!r} has no certificate yet: make one with `selfsort certify {run}`.")
    if certificate.sample is None:
        raise UserError(
            f"{str(path)!r} was written by a version that did not keep its draw: run `selfsort certify {run}` again."
        )
    predictions, ids = named_predictions(folder)
    try:
        doubtful = unpacked(certificate.sample.doubtful, len(ids))
    except ValueError as error:
        raise UserError(f"{str(path)!r} is damaged ({error}): run `selfsort certify {run}` again.") from error
    return list(_steps(run, certificate, certificate.sample, predictions, ids, doubtful, folder))


def _steps(
    run: Path,
    certificate: Certificate,
    sample: SampleFacts,
    predictions: NamedPredictions,
    ids: tuple[str, ...],
    doubtful: NDArray[np.bool_],
    folder: Path,
) -> Iterator[Step]:
    yield Step("the files of the model are unchanged, by their digests", True)
    if sample.strata_of == sample.rounds[-1].refinements:
        same = bool((doubtful == most_doubtful(predictions.doubt)).all())
        yield Step("the doubtful quarter is the one that this model doubts most", same)
    place = {image_id: number for number, image_id in enumerate(ids)}
    said = [*sample.known, *sample.checks]
    seconds = {image_id for image_id, _ in sample.second}
    if len({image_id for image_id, _ in said} & set(place)) != len(said) or not seconds <= set(place):
        yield Step("each picture checked is in the run, and counts once", False)
        return
    known = np.zeros(len(ids), np.bool_)
    known[[place[image_id] for image_id, _ in sample.known]] = True
    draw = SampleDraw.make(ids, doubtful, sample.seed, sample.earlier, known)
    drawn = [ids[number] for number in draw.order[: len(sample.checks)].tolist()]
    same = drawn == [image_id for image_id, _ in sample.checks]
    yield Step(f"the seed {sample.seed} draws the {counted(len(drawn), 'picture')} checked, in the same order", same)
    if not same:
        return
    target = certificate.rejection.target if certificate.rejection else None
    truth, second = ({place[image_id]: name for image_id, name in part} for part in (said, sample.second))
    found = certify(predictions, draw, truth, target=target, second=second)
    yield Step(f"the right names give the same figures: {found.sentence}", replace(found, sample=sample) == certificate)
    if who_checked(folder) == PERSON:
        yield from _in_the_store(run, sample, ids)


def _in_the_store(run: Path, sample: SampleFacts, ids: tuple[str, ...]) -> Iterator[Step]:
    if not runs.RunFolder(run).labels.exists():
        return
    with closing(Store.open(run)) as store:
        logged = [(ids[check.picture], check.name) for check in store.checks()]
    what = f"{runs.RunFolder(run).labels.name} holds the same checks"
    yield Step(what, logged[len(logged) - len(sample.checks) :] == list(sample.checks))

"""Choose the sample for the certificate of a run's model: the current one, an earlier model's, or a new one.

Once drawn, a sample is only ever extended, and never redrawn for the same model. It was random whatever any model
thinks of the pictures, so it serves a later model just as well, unless that model was trained on what was seen in it.
Checks never enter training. But somebody may correct by hand a picture that a check has shown to be wrong; then the
pictures in the sample are better than the others and no longer represent them. From then on they count only as
themselves, and a new sample is drawn from the rest.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from itertools import takewhile
from pathlib import Path

import numpy as np

from selfsort import runs
from selfsort.errors import UserError
from selfsort.evaluation.certificate import NamedPredictions, RoundOfChecks, SampleFacts
from selfsort.evaluation.draw import SampleDraw, most_doubtful, packed, unpacked
from selfsort.labelling.checks import Checks
from selfsort.labelling.store import Checked, Store
from selfsort.spelling import counted

BUDGET = 100
_FACT = "sample"
_BEFORE = "certificate"  # from versions that drew with replacement


@dataclass(frozen=True)
class _Kept:
    """A sample in the store.

    Attributes
    ----------
    seed, earlier, strata_of, doubtful : as in `SampleFacts`
    after_seq : number of the last check before the sample, in the order of all answers
    rounds : for each model that it served, the number of refinements and of earlier checks of the sample
    model : fingerprint of the last of these models

    """

    seed: int
    earlier: int
    strata_of: int
    doubtful: str
    after_seq: int
    rounds: tuple[RoundOfChecks, ...]
    model: str


@dataclass(frozen=True)
class _Before:
    """What earlier versions stored about a sample: the number of samples drawn before it."""

    number: int


def named_predictions(folder: Path) -> tuple[NamedPredictions, tuple[str, ...]]:
    """Return the predictions of the named model in a folder for the pictures of its run, and their ids."""
    _, probabilities, ids = runs.read_training_arrays(folder)
    return NamedPredictions(tuple(runs.read_run(folder)["names"]), probabilities.argmax(1), probabilities.max(1)), ids


def open_checks(
    store: Store,
    predictions: NamedPredictions,
    ids: tuple[str, ...],
    budget: int | None = None,
    *,
    random_state: int | None = None,
    target: float | None = None,
) -> tuple[Checks, str]:
    """Continue the sample in a store, or draw one; also return a sentence about an earlier sample, if needed.

    `budget` is 100 by default, and at least the number of checks so far. A new sample is drawn with `random_state`, by
    default 0.

    Raises
    ------
    UserError
        For a `random_state` other than the sample's, and in the same cases as `Checks`.

    """
    logged, kept, told = store.checks(), store.get(_FACT, _Kept), ""
    if kept is not None and random_state not in (None, kept.seed):
        raise UserError(
            f"The sample was drawn with the seed {kept.seed} and keeps it, so that nobody can redraw until the result "
            "looks good: leave out the seed."
        )
    model, refinements = _fingerprint(predictions), len(store.rounds())
    new = _Kept(
        random_state or 0,
        _drawn_before(store, kept),
        refinements,
        packed(most_doubtful(predictions.doubt)),
        max((check.seq for check in logged), default=0),
        (RoundOfChecks(refinements, 0),),
        model,
    )
    if kept is None:
        chosen, told = new, _all_known(len(logged))
    elif kept.model == model:
        chosen = kept
    elif put_right := _put_right(store, own := [check for check in logged if check.seq > kept.after_seq]):
        chosen, told = replace(new, seed=kept.seed), _all_known(len(logged), put_right)
    else:
        n = len(own)
        chosen = replace(kept, rounds=(*kept.rounds, RoundOfChecks(refinements, n)), model=model)
        count = f"The {n:,} checks of an earlier model count" if n > 1 else "The check of an earlier model counts"
        told = f"{count} for this one, too, as the sample was random." if n else ""
    store.put(_FACT, asdict(chosen))
    return _checks(store, chosen, predictions, ids, max(BUDGET if budget is None else budget, 0), target), told


def _checks(
    store: Store, kept: _Kept, predictions: NamedPredictions, ids: tuple[str, ...], budget: int, target: float | None
) -> Checks:
    known = {check.picture: check.name for check in store.checks() if check.seq <= kept.after_seq}
    said = {check.picture: check.name for check in store.checks() if check.seq > kept.after_seq}
    is_known = np.zeros(len(ids), np.bool_)
    is_known[list(known)] = True
    draw = SampleDraw.make(ids, unpacked(kept.doubtful, len(ids)), kept.seed, kept.earlier, is_known)
    facts = SampleFacts(kept.seed, kept.earlier, kept.rounds, kept.strata_of, kept.doubtful)
    # A lost check is asked again, and later ones count only after that, as a sample must have no gaps.
    own = list(takewhile(said.__contains__, draw.order.tolist()))
    checks = Checks(predictions, draw, budget, known=known, target=target, facts=facts, ids=ids)
    checks.budget = max(checks.budget, len(own))
    for picture in own:
        checks.record(picture, said[picture])
    second = {check.picture: check.name for check in store.checks("second")}
    checks.second.update((picture, second[picture]) for picture in takewhile(second.__contains__, own))
    return checks


def _drawn_before(store: Store, kept: _Kept | None) -> int:
    """Return how many samples were drawn for this run before."""
    if kept is not None:
        return kept.earlier + 1
    before = store.get(_BEFORE, _Before)
    return 0 if before is None else before.number + 1


def _put_right(store: Store, checks: list[Checked]) -> int:
    """Return how many pictures that a check showed to be wrong were named individually since."""
    wrong = {check.picture: check.seq for check in checks if check.name != check.given}
    if not wrong:
        return 0
    alone = {group.id: int(group.members[0]) for group in store.groups() if len(group.members) == 1}
    touched = set()
    for stored in store.events():
        event = stored.event
        single = () if event.group not in alone else (alone[event.group],)
        touched |= {picture for picture in (*event.pictures, *single) if wrong.get(picture, stored.seq) < stored.seq}
    return len(touched)


def _all_known(n: int, put_right: int = 0) -> str:
    if not n:
        return ""
    by_hand = f"{put_right:,} of the {counted(n, 'picture')} checked before had a wrong name, corrected by hand"
    why = (
        by_hand
        if put_right
        else f"The {counted(n, 'picture')} checked before {'was' if n == 1 else 'were'} drawn in another way"
    )
    return f"{why}, so they count only as themselves, and a new sample of the others is drawn."


def _fingerprint(predictions: NamedPredictions) -> str:
    digest = hashlib.blake2b(json.dumps(predictions.names).encode(), digest_size=16)
    for column in (predictions.predicted, predictions.confidence):
        digest.update(np.ascontiguousarray(column).data)
    return digest.hexdigest()

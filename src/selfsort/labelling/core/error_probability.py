"""How likely the name of a picture is wrong, judged by all answers except those about the picture itself."""

import numpy as np
from numpy.typing import NDArray

from selfsort.labelling.core.bursts import inseparable
from selfsort.labelling.core.session import Session, Targets
from selfsort.threads import one_thread

_FOLDS = 8
_SAMPLE = 8_000  # pictures to which the judging heads are fitted
_PENALTY = 0.005
# An answer of full weight multiplies the odds of its name by this, as if nine out of ten answers were right.
_ODDS = 9.0
_AGREED = 0.8  # share of one name above which answers do not contradict each other: narrower groups outweigh others
_LEAST_CHANCE = 0.02  # least chance that a head may give to any name


def name_chances(
    session: Session, embedding: NDArray[np.float32], seed: int = 0, bursts: NDArray[np.int64] | None = None
) -> NDArray[np.float32]:
    """Return the chances (N, K) of the session's names for each picture, in the light of all answers.

    A model that has learnt a wrong answer does not doubt it. So each answer is judged by the others: a head fitted to
    the groups of all other folds predicts the names of a group's pictures, and Bayes' rule combines this with the
    answers about the picture. Frames of one of the `bursts` (N,) do not judge each other.
    """
    chances = np.maximum(_by_others(session, embedding, seed, bursts), _LEAST_CHANCE)
    scores = np.log(chances) + np.log(_ODDS) * session.evidence().astype(np.float64)
    shares = np.exp(scores - scores.max(1, keepdims=True))
    chosen: NDArray[np.float32] = (shares / shares.sum(1, keepdims=True)).astype(np.float32)
    return chosen


def judged_targets(
    session: Session, embedding: NDArray[np.float32], seed: int = 0, bursts: NDArray[np.int64] | None = None
) -> Targets:
    """Return the session's targets; where answers contradict each other, the shares are the `name_chances`."""
    targets = session.targets()
    disputed = (targets.weights > 0) & (targets.soft.max(1, initial=0) < _AGREED)
    if not disputed.any():
        return targets
    shares = np.where(disputed[:, None], name_chances(session, embedding, seed, bursts), targets.soft)
    return targets._replace(soft=shares.astype(np.float32))


def _by_others(
    session: Session, embedding: NDArray[np.float32], seed: int, bursts: NDArray[np.int64] | None
) -> NDArray[np.float64]:
    """Return the predictions (N, K) of heads that do not know a picture's own answers; rows sum to 1."""
    evidence, folds = session.evidence(), judging_folds(session, seed, bursts)
    points = (embedding - embedding.mean(0)) / np.maximum(embedding.std(0), 1e-6)
    judges = np.flatnonzero(evidence.any(1))
    if len(judges) > _SAMPLE:
        judges = np.sort(np.random.default_rng((seed, 6)).choice(judges, _SAMPLE, replace=False))
    chances = np.full(evidence.shape, 1 / max(1, evidence.shape[1]))
    for fold in np.unique(folds):
        asked, others = np.flatnonzero(folds == fold), judges[folds[judges] != fold]
        rows, columns = np.nonzero(evidence[others])
        if len(np.unique(columns)) > 1:
            chances[asked] = _judged(
                points[others[rows]], columns, evidence[others][rows, columns], points[asked], evidence.shape[1]
            )
    return chances


def _judged(
    points: NDArray[np.float32],
    names: NDArray[np.int64],
    weights: NDArray[np.float32],
    asked: NDArray[np.float32],
    n_names: int,
) -> NDArray[np.float64]:
    from sklearn.linear_model import LogisticRegression

    head = LogisticRegression(C=1 / (_PENALTY * float(weights.sum())), max_iter=1000, tol=1e-3)
    chances = np.zeros((len(asked), n_names))
    with one_thread():
        chances[:, np.unique(names)] = head.fit(points, names, sample_weight=weights).predict_proba(asked)
    return chances


def judging_folds(
    session: Session, seed: int, bursts: NDArray[np.int64] | None = None, n_folds: int = _FOLDS
) -> NDArray[np.int64]:
    """Return each picture's fold of `n_folds`, -1 without an answer.

    Each group is in one fold, and the groups of a name are spread over all folds. So are the pictures that got their
    name individually. Frames of one of the `bursts` (N,), and what was named with them, are in one fold.
    """
    labels, owners = session.labels(), session.owners()
    # Without sorting, as this follows every answer: of several values for one place, the last stays.
    first = np.full(owners.max(initial=-1) + 2, -1)
    first[owners[::-1] + 1] = np.arange(len(owners))[::-1]
    groups = np.flatnonzero(first >= 0) - 1
    first = first[groups + 1]
    by_name = np.argsort(labels.name_of[first], kind="stable")
    fold_of = np.empty(len(groups), np.int64)
    fold_of[by_name] = np.arange(len(groups)) % n_folds
    fold_of[groups < 0] = -1
    place = np.zeros(owners.max(initial=-1) + 2, np.int64)
    place[groups + 1] = fold_of
    folds = place[owners + 1]
    alone = np.flatnonzero((owners < 0) & (session.by_hand() >= 0))
    shuffled = np.random.default_rng((seed, 9)).permutation(alone)
    folds[shuffled[np.argsort(labels.name_of[shuffled], kind="stable")]] = np.arange(len(alone)) % n_folds
    if bursts is not None:
        judged = np.flatnonzero(folds >= 0)
        first, parts = np.unique(inseparable(owners[judged], bursts[judged]), return_index=True, return_inverse=True)[
            1:
        ]
        folds[judged] = folds[judged[first]][parts]
    return folds

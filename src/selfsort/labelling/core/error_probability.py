"""How likely the name of a picture is wrong, in the eyes of all answers but those about itself."""

import numpy as np
from numpy.typing import NDArray

from selfsort.labelling.core.session import Session, Targets

_FOLDS = 8
_SAMPLE = 8_000  # pictures that judge the others
_PENALTY = 0.005
# An answer of full weight multiplies the odds of its name by this: nine out of ten answers are right.
_ODDS = 9.0
_AGREED = 0.8  # share of one name above which answers do not contradict one another: a narrower one outweighs others
_LEAST_CHANCE = 0.02  # no head is surer than this that a picture is not of a name


def opinions(session: Session, embedding: NDArray[np.float32], seed: int = 0) -> NDArray[np.float32]:
    """Return the chances (N, K) of the session's names for each picture, in the light of all answers.

    A model that learnt a wrong answer does not doubt it. So each answer is judged by the others: a head fitted to the
    groups of all other folds says what a group's pictures look like to it, and Bayes' rule combines that with the
    answers about the picture.
    """
    chances = np.maximum(_by_others(session, embedding, seed), _LEAST_CHANCE)
    scores = np.log(chances) + np.log(_ODDS) * session.evidence().astype(np.float64)
    shares = np.exp(scores - scores.max(1, keepdims=True))
    chosen: NDArray[np.float32] = (shares / shares.sum(1, keepdims=True)).astype(np.float32)
    return chosen


def error_probabilities(
    session: Session, names: tuple[str, ...], chosen: NDArray[np.int64], embedding: NDArray[np.float32], seed: int = 0
) -> NDArray[np.float32]:
    """Return the chance (N,) that the `chosen` one (N,) of the `names` is wrong for each picture; see `opinions`."""
    known = session.names()
    # A name that no answer gives any more cannot be right.
    shares = np.pad(opinions(session, embedding, seed), ((0, 0), (0, 1)))
    column = np.array([known.index(name) if name in known else len(known) for name in names])
    error_probability: NDArray[np.float32] = 1 - shares[np.arange(len(shares)), column[chosen]]
    return error_probability


def judged_targets(session: Session, embedding: NDArray[np.float32], seed: int = 0) -> Targets:
    """Return the session's targets; where answers contradict one another, with the chances of `opinions` as shares."""
    targets = session.targets()
    disputed = (targets.weights > 0) & (targets.soft.max(1, initial=0) < _AGREED)
    if not disputed.any():
        return targets
    shares = np.where(disputed[:, None], opinions(session, embedding, seed), targets.soft)
    return targets._replace(soft=shares.astype(np.float32))


def _by_others(session: Session, embedding: NDArray[np.float32], seed: int) -> NDArray[np.float64]:
    """Return what heads that do not know a picture's own answers think of it, (N, K) rows summing to 1."""
    evidence, folds = session.evidence(), _folds(session)
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
    chances[:, np.unique(names)] = head.fit(points, names, sample_weight=weights).predict_proba(asked)
    return chances


def _folds(session: Session) -> NDArray[np.int64]:
    """Return each picture's fold; a group is in one, the groups of a name are spread over all, -1 has no answer."""
    labels, owners = session.labels(), session.owners()
    groups, first = np.unique(owners, return_index=True)
    by_name = np.argsort(labels.name_of[first], kind="stable")
    fold_of = np.empty(len(groups), np.int64)
    fold_of[by_name] = np.arange(len(groups)) % _FOLDS
    fold_of[groups < 0] = -1
    return fold_of[np.searchsorted(groups, owners)]

"""Choose groups to ask about after the first ones: nodes of a tree over the points, coarse before fine."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from selfsort.clustering import kmeans
from selfsort.clustering.neighbours import nearest
from selfsort.labelling.core.answers import Group
from selfsort.labelling.core.session import Session

_LEAVES = 3_000  # most leaves of the tree; more points are first grouped by k-means
_SAMPLE = 20_000
_ITERATIONS = 5
_FINER = 4  # nodes considered per answer given
_SURPRISE = 0.02  # share of the pictures the model is sure of that may still be of a kind nobody has named


class _Known(NamedTuple):
    """A group, its key, and the mean (d,) of its points."""

    group: Group
    key: tuple[int, int]
    mean: NDArray[np.float32]


class QueryTree:
    """Ward's tree over points (N, d), whose nodes are groups to ask about.

    Pictures of one of the `bursts` (N,), whose points coincide, are asked about together.
    """

    def __init__(self, points: NDArray[np.float32], *, bursts: NDArray[np.int64] | None = None, random_state: int = 0):
        from scipy.cluster.hierarchy import linkage

        self.points, self._bursts = points, np.arange(len(points)) if bursts is None else bursts
        leaf_of, centres = _leaves(points, random_state)
        self._n_leaves = len(centres)
        self._merged = linkage(centres, "ward")[:, :2].astype(np.int64) if len(centres) > 1 else np.empty((0, 2), int)
        self._parents = np.full(2 * self._n_leaves - 1, 2 * self._n_leaves)
        for number, pair in enumerate(self._merged, self._n_leaves):
            self._parents[pair] = number
        order = np.argsort(leaf_of, kind="stable")
        self._members = np.split(order, np.cumsum(np.bincount(leaf_of))[:-1])
        for one, other in self._merged:
            self._members.append(np.concatenate([self._members[one], self._members[other]]))
        self._order, self._starts = order, np.cumsum([0, *map(len, self._members[: self._n_leaves - 1])])
        self._keys = [_key(members) for members in self._members]
        self._sizes = self._sums(np.ones(len(points)))
        self._centres = self._sums(points.astype(np.float64)) / self._sizes[:, None]
        self._known: dict[int, _Known] = {}

    def next(self, session: Session, left_out: NDArray[np.bool_], *, single: bool = False) -> Group | None:
        """Return the group whose answer is expected to correct most pictures; None when all were asked about.

        Among four times as many nodes as answers, it is the one with the largest product of the expected number of
        wrong names and the distance to the nearest named group, as the model's chances say least far from named groups.
        Nodes are excluded if they were asked about before or contain any of the pictures `left_out` (N,), which are
        being asked about. With `single`, only the group's most typical picture and its burst are asked about.
        """
        groups = [session.groups[number] for number in session.answered()]
        nodes = self._cut(_FINER * max(len(groups), 1))
        before = {self._of(group).key for group in groups}
        if single:
            left_out = left_out.copy()
            left_out[[group.members[0] for group in groups if self._is_one_burst(group.members)]] = True
        free = self._sums(left_out.astype(np.float64))[nodes] == 0
        nodes = np.array([n for n in nodes[free].tolist() if self._keys[n] not in before], dtype=np.int64)
        if not len(nodes):
            return None
        doubt = np.maximum(1 - session.labels().confidence.astype(np.float64), _SURPRISE)
        gains = self._sums(doubt)[nodes]
        scores = gains * self._distances(nodes, session)
        best = nodes[scores.argmax()] if scores.any() else nodes[gains.argmax()]
        return self._group(int(best), session, single)

    def _is_one_burst(self, members: NDArray[np.int64]) -> bool:
        return bool((self._bursts[members] == self._bursts[members[0]]).all())

    def _distances(self, nodes: NDArray[np.int64], session: Session) -> NDArray[np.float64]:
        """Return the distance of nodes from the nearest named group."""
        named = [session.groups[number] for number, event in session.answered().items() if event.names_pictures]
        if not named:
            return np.ones(len(nodes))
        centres = np.array([self._of(group).mean for group in named], np.float32)
        return np.sqrt(nearest(self._centres[nodes].astype(np.float32), centres, 1)[0][:, 0].astype(np.float64))

    def _of(self, group: Group) -> _Known:
        """Return what is compared of an answered group, computed once: there may be hundreds, of all pictures."""
        found = self._known.get(group.id)
        if found is None or found.group is not group:
            found = self._known[group.id] = _Known(group, _key(group.members), self.points[group.members].mean(0))
        return found

    def _cut(self, count: int) -> NDArray[np.int64]:
        """Return the nodes, at most `count`, that partition all pictures when the last merges are undone."""
        above = 2 * self._n_leaves - min(count, self._n_leaves)
        nodes = np.arange(above)
        return nodes[self._parents[:above] >= above]

    def _sums(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the sum of the pictures' values (N, ...) over each node."""
        sums = np.empty((2 * self._n_leaves - 1, *values.shape[1:]))
        sums[: self._n_leaves] = np.add.reduceat(values[self._order], self._starts)
        for number, (one, other) in enumerate(self._merged.tolist(), self._n_leaves):
            sums[number] = sums[one] + sums[other]
        return sums

    def _group(self, node: int, session: Session, single: bool) -> Group:
        members, centre = self._members[node], self._centres[node].astype(np.float32)
        distances = np.linalg.norm(self.points[members] - centre, axis=1)
        order = np.argsort(distances, kind="stable")
        if single:
            order = order[self._bursts[members[order]] == self._bursts[members[order[0]]]]
        unit = max(float(np.sqrt((distances.astype(np.float64) ** 2).mean())), float(np.finfo(np.float32).tiny))
        scaled = (distances[order] / unit).astype(np.float32)
        return Group(session.next_id(), members[order], scaled, centre, "query", session.round)


def _key(members: NDArray[np.int64]) -> tuple[int, int]:
    """Return what identifies a node: of two nodes with the same first picture, one contains the other."""
    return int(members.min()), len(members)


def _leaves(points: NDArray[np.float32], random_state: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the leaf (N,) of each point and the centres (L, d) of the leaves, none of which is empty."""
    if len(points) <= _LEAVES:
        return np.arange(len(points)), points
    sample = points
    if len(points) > _SAMPLE:
        sample = points[np.sort(np.random.default_rng(random_state).choice(len(points), _SAMPLE, replace=False))]
    centres = kmeans(sample, _LEAVES, restarts=1, iterations=_ITERATIONS, random_state=random_state).centers
    used, leaf_of = np.unique(nearest(points, centres, 1)[1][:, 0], return_inverse=True)
    return leaf_of, centres[used]

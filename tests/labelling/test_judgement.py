"""The estimated accuracy if mixed groups were named by their majority: each answer is judged by the others."""

from contextlib import closing

import numpy as np
import pytest

from selfsort.labelling.core.answers import Event, Group
from selfsort.labelling.core.head import HeadSpace, spread
from selfsort.labelling.core.judgement import case_of, judge
from selfsort.labelling.core.session import Judgement, Session
from selfsort.labelling.server.service import LabelService

N, KINDS = 900, 3


@pytest.fixture(scope="module")
def world():
    """Three kinds in many dimensions, so that a head can learn any answer, in groups half of which hold two kinds."""
    rng = np.random.default_rng(0)
    kinds = np.repeat(np.arange(KINDS), N // KINDS)
    embedding = rng.normal(size=(N, 250)) + 5 * np.eye(250)[kinds]
    parts = [rng.permutation(np.flatnonzero(kinds == kind)) for kind in range(KINDS)]
    members = []
    for kind in range(KINDS):
        own, other = parts[kind], parts[(kind + 1) % KINDS]
        members += [own[:50], own[50:100], np.r_[own[100:160], other[160:215]], np.r_[own[215:260], other[260:300]]]
    return embedding.astype(np.float32), kinds, members


def named(world, n_groups=12):
    """Name groups by their majority, and let the names spread."""
    embedding, kinds, members = world
    session, space = Session(N), HeadSpace(embedding)
    for number, each in enumerate(members[:n_groups]):
        distances = np.full(len(each), 0.5, np.float32)
        session.add([Group(number, each, distances, None, "cluster", 0)])
        session.apply(Event("name", number, f"kind {np.bincount(kinds[each]).argmax()}"))
    found = spread(space, session.targets(), session.denied())
    session.learn(*found, len(session.events))
    return session, space


def truth(session, kinds):
    labels, own = session.labels(), np.flatnonzero(session.owners() >= 0)
    return np.mean([labels.names[labels.name_of[place]] == f"kind {kinds[place]}" for place in own])


def test_the_estimate_is_near_the_truth_if_groups_are_mixed(world):
    session, space = named(world)
    right, alone = truth(session, world[1]), session.estimate()
    session.judgement = judge(space, case_of(session))
    judged = session.estimate()
    assert abs(judged.accuracy - right) < 0.5 * (alone.accuracy - right), "a head does not doubt what it has learnt"
    assert judged.low <= judged.accuracy <= judged.high and judged.looked_at == 12 * 9
    assert len(session.judgement.chosen) == 12


def test_a_group_is_judged_by_others_alone(world):
    session, space = named(world)
    case = case_of(session)
    for number, (fold, name, sample) in case.groups.items():
        assert set(case.folds[session.groups[number].members]) == {fold} and len(sample) == 9
        assert session.names()[name] == session.answered()[number].name
    known = []
    for number, chosen in judge(space, case).chosen.items():
        sample = case.groups[number][2]
        right = [f"kind {kind}" for kind in world[1][sample]]
        said = session.answered()[number].name
        known += [session.names()[name] == kind for name, kind in zip(chosen, right, strict=True) if kind != said]
    assert np.mean(known) > 0.6, "they recognise most pictures of the other kind in a mixed group"


def test_a_name_of_one_group_is_not_judged_and_without_any_there_is_no_estimate(world):
    session, space = named(world, n_groups=5)  # four groups of one kind, and one of another
    session.judgement = judge(space, case_of(session))
    assert 4 not in session.judgement.chosen
    session.judgement = Judgement((), {})
    assert session.estimate() is None


def test_the_service_judges_after_every_answer(run, images):
    with closing(LabelService(run, images, n_groups=6)) as service:
        for number, text in enumerate(("rose", "tulip", "rose", "tulip")):
            group = service.next_group("ann")
            service.answer(f"a{number}", "ann", Event("name", group["id"], text))
        service.settle()
        found = service.state()["estimate"]
        assert found["looked_at"] > 0 and 0 <= found["accuracy"] <= 1
        service.undo("u1", "ann")
        service.undo("u2", "ann")
        service.settle()
        assert service.state()["estimate"] is None, "no name has two groups"
    with closing(LabelService(run, images, n_groups=6)) as again:
        assert again.state()["estimate"] is None

"""Continuing from an earlier state gives the same as replaying everything, and stays quick."""

import numpy as np
import pytest

from selfsort.errors import UserError
from selfsort.labelling.core.answers import Event, Group
from selfsort.labelling.core.replay import Replay
from selfsort.labelling.core.session import Session

N = 60
NAMES = ("rose", "tulip", "daisy", "poppy", "aster")


def groups(rng, first, round=0):
    parts = np.array_split(rng.permutation(N), 12)
    spread = np.linspace(0, 2, N, dtype=np.float32)
    return [Group(first + k, part, spread[: len(part)], None, "cluster", round) for k, part in enumerate(parts)]


def any_event(rng, session):
    kind = str(rng.choice(["name", "name", "name", "junk", "skip", "merge", "pull"]))
    name = str(rng.choice(NAMES))
    if kind in ("merge", "pull"):
        known = session.names() or ("rose",)
        pictures = tuple(rng.choice(N, 3, replace=False).tolist()) if kind == "pull" else ()
        to = None if kind == "pull" and rng.random() < 0.5 else name
        return Event(kind, name=to, names=(str(rng.choice(known)),), pictures=pictures)
    number = int(rng.choice(list(session.groups)))
    out = tuple(session.groups[number].members[:: rng.integers(2, 9)].tolist()) if rng.random() < 0.4 else ()
    return Event(kind, number, name if kind == "name" else None, int(rng.integers(1, 6)), out)


def replayed(session):
    fresh = Session(N)
    fresh.events = list(session.events)
    fresh.add(session.groups.values())
    if session.model_probabilities is not None:
        fresh.round = session.round
        fresh.learn(session.model_names, session.model_probabilities, session.learnt_from, session.error_probability)
    return fresh


@pytest.mark.parametrize("seed", range(20))
def test_same_as_replaying_everything(seed):
    rng = np.random.default_rng(seed)
    session = Session(N)
    session.add(groups(rng, 0))
    for step in range(60):
        if step % 20 == 10 and len(session.names()) > 1:  # as after every answer on the page
            known = session.names()[: -1 if step == 30 else None]
            session.learn(known, rng.dirichlet(np.ones(len(known)), N).astype(np.float32), len(session.events) - 1)
        if step in (20, 40) and len(session.names()) > 1:
            probabilities = rng.dirichlet(np.ones(len(session.names())), N).astype(np.float32)
            error_probability = rng.random(N).astype(np.float32) if step == 40 else None
            session.learn(session.names(), probabilities, len(session.events) - 2, error_probability)
            session.begin_round()
            session.add(groups(rng, 100 * step, session.round))
        try:
            session.apply(any_event(rng, session))
        except UserError:
            continue
        fresh = replayed(session)
        assert session.names() == fresh.names()
        for one, other in zip(session.labels()[1:], fresh.labels()[1:], strict=True):
            np.testing.assert_array_equal(one, other)
        for one, other in zip(session.targets()[1:], fresh.targets()[1:], strict=True):
            np.testing.assert_array_equal(one, other)
        assert session.counts() == fresh.counts() and session.covered() == fresh.covered()
        assert session.estimate() == fresh.estimate()
        assert [g.id for g in session.open_groups()] == [g.id for g in fresh.open_groups()]
    assert len(session.events) > 15


def test_a_merged_name_stays_merged_in_the_estimate():
    session = Session(N)
    session.add(groups(np.random.default_rng(0), 0))
    session.apply(Event("name", 0, "roze"))
    session.apply(Event("merge", name="rose", names=("roze",)))
    assert session.estimate().accuracy == pytest.approx(1) and session.names() == ("rose",)
    session.apply(Event("name", 1, "tulip"))
    assert session.names() == ("rose", "tulip")


def test_predictions_and_groups_are_added_without_replaying_all_answers(monkeypatch):
    session = Session(N)
    session.add(groups(np.random.default_rng(0), 0))
    for number, name in enumerate(NAMES):
        session.apply(Event("name", number, name))
    monkeypatch.setattr(Replay, "take", lambda *arguments: pytest.fail("replayed"))
    chances = np.random.default_rng(1).dirichlet(np.ones(2), N).astype(np.float32)
    session.learn(("rose", "tulip"), chances)
    assert (session.labels().model == chances.argmax(1)).all()
    session.add(groups(np.random.default_rng(1), 20))
    session.withdraw([20])
    assert {group.id for group in session.open_groups()} == {*range(5, 12), *range(21, 32)}
    monkeypatch.undo()
    session.learn(("tulip", "rose"), chances)
    assert session.names()[:2] == ("tulip", "rose")


def test_a_copy_for_another_thread_does_not_follow_later_answers():
    session = Session(N)
    session.add(groups(np.random.default_rng(0), 0))
    session.apply(Event("name", 0, "rose"))
    session.apply(Event("name", 1, "tulip"))
    copied, targets, denied = session.as_now(), session.targets(), session.denied()
    session.apply(Event("pull", name="daisy", names=("rose",), pictures=(int(session.groups[0].members[0]),)))
    session.apply(Event("name", 2, "rose"))
    for one, other in zip(copied.targets()[1:], targets[1:], strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(copied.denied(), denied)
    assert copied.names() == ("rose", "tulip") and len(copied.events) == 2 and set(copied.named_groups()) == {0, 1}

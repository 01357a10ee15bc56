"""Answers held out from training, which show whether it made the network better."""

import numpy as np
import pytest

from selfsort.labelling.core.answers import Event, Group
from selfsort.labelling.core.session import Session
from selfsort.labelling.learning.held_out import HeldOutComparison, hold_out


def named_session(names: str) -> Session:
    """Name groups of four pictures by one letter each."""
    session = Session(4 * len(names) + 2)
    for number, name in enumerate(names):
        members = np.arange(4 * number, 4 * number + 4)
        session.add([Group(number, members, np.zeros(4, np.float32), None, "cluster", 0)])
        session.apply(Event("name", number, name))
    return session


def test_a_fifth_of_the_groups_is_held_out_and_no_name_loses_its_only_one():
    session = named_session("aaaaabbbbbccccd")
    for seed in range(10):
        targets = session.targets()
        held_out = hold_out(session, targets, seed)
        assert held_out.answers == 3 and len(held_out.pictures) == 12
        groups = held_out.pictures.reshape(-1, 4) // 4
        assert (groups == groups[:, :1]).all() and 14 not in groups
        assert (held_out.rest.weights[held_out.pictures] == 0).all()
        assert (held_out.rest.weights > 0).sum() == (targets.weights > 0).sum() - 12
        assert held_out.agreement(targets.soft.argmax(1)) == 1
        wrong = targets.soft.argmax(1)
        wrong[held_out.pictures[:4]] = 3
        assert held_out.agreement(wrong) == pytest.approx(2 / 3)


@pytest.mark.parametrize("names", ["a", "abcd", "abcdef"])
def test_nothing_is_held_out_if_none_can_be_spared(names):
    session = named_session(names)
    assert hold_out(session, session.targets()) is None


def test_the_result_is_described():
    better, worse = HeldOutComparison(4, 0.8, 0.85), HeldOutComparison(4, 0.8, 0.7)
    assert better.is_better and "the trained one is kept" in better.sentence
    assert HeldOutComparison.from_json({"rounds": 1} | better.to_json()) == better
    assert HeldOutComparison.from_json({"rounds": 1}) is None
    assert not worse.is_better and "80%" in worse.sentence and "stays as it was" in worse.sentence

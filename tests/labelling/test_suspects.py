"""Suspects among names that pictures already have: the most suspect come first."""

import numpy as np
import pytest

from selfsort.labelling.core.answers import Event, Group
from selfsort.labelling.core.head import HeadSpace
from selfsort.labelling.core.session import Session
from selfsort.labelling.core.suspects import OwnNames, chances_by_others, suspects

KINDS = ("ant", "bee", "cow")


def spread_out(each: int = 30, apart: float = 4.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    kind = np.arange(3 * each) % 3
    return (np.eye(3, 8)[kind] * apart + rng.normal(size=(3 * each, 8))).astype(np.float32), kind


def imported(kind: np.ndarray) -> Session:
    session = Session(len(kind))
    session.apply(Event("assign", pictures=tuple(range(len(kind))), names=KINDS, chosen=tuple(kind.tolist())))
    return session


def test_planted_errors_come_first_with_their_right_names():
    points, kind = spread_out()
    wrong = kind.copy()
    wrong[[4, 40, 77]] = (kind[[4, 40, 77]] + 1) % 3
    found = suspects(OwnNames.of(imported(wrong)), HeadSpace(points))
    assert {each.picture for each in found[:3]} == {4, 40, 77}
    assert all(
        each.other == KINDS[kind[each.picture]] and each.name == KINDS[wrong[each.picture]] for each in found[:3]
    )
    assert all(each.chance > each.own_chance for each in found)
    leads = [each.chance - each.own_chance for each in found]
    assert leads == sorted(leads, reverse=True)


def test_no_head_judges_a_picture_whose_name_it_saw():
    # Random names: a head that saw them would agree with them more often than by chance.
    points = np.random.default_rng(0).normal(size=(300, 8)).astype(np.float32)
    kind = np.random.default_rng(1).integers(0, 3, 300)
    chances = chances_by_others(OwnNames.of(imported(kind)), HeadSpace(points))
    assert (chances.argmax(1) == kind).mean() < 0.42


def test_reviewed_pictures_are_not_asked_about_again():
    points, kind = spread_out()
    wrong = kind.copy()
    wrong[[4, 40, 77]] = (kind[[4, 40, 77]] + 1) % 3
    session = imported(wrong)
    session.apply(Event("assign", pictures=(4,), names=(KINDS[wrong[4]],), chosen=(0,)))
    session.apply(Event("pull", pictures=(40,), names=(KINDS[wrong[40]],), name=KINDS[kind[40]]))
    assert {each.picture for each in suspects(OwnNames.of(session), HeadSpace(points))[:1]} == {77}
    session.undo()
    assert {each.picture for each in suspects(OwnNames.of(session), HeadSpace(points))[:2]} == {40, 77}


def test_naming_a_group_is_not_a_review_of_each_picture():
    session = imported(np.array([0, 1, 2, 0]))
    session.add([Group(0, np.arange(4), np.zeros(4, np.float32), None, "cluster", 0)])
    session.apply(Event("name", 0, "ant"))
    assert not session.looked_at_again().any()


@pytest.mark.parametrize("names", [0, 1])
def test_a_single_name_contradicts_nothing(names):
    session = Session(4)
    if names:
        session.apply(Event("assign", pictures=(0, 1), names=("ant",), chosen=(0, 0)))
    assert suspects(OwnNames.of(session), HeadSpace(np.eye(4, 2, dtype=np.float32))) == []

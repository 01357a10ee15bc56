from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfsort.errors import UserError
from selfsort.labelling.core.answers import Event, Group, SimilarName, Taken, cleaned, fair_sample, shown
from selfsort.labelling.core.session import Session
from selfsort.schema import checked
from selfsort.spelling import JUNK


def group(number: int, members: list[int], distances: list[float] | None = None, **rest: object) -> Group:
    far = np.zeros(len(members), np.float32) if distances is None else np.array(distances, np.float32)
    return Group(number, np.array(members), far, None, **({"kind": "cluster", "round": 0} | rest))  # type: ignore[arg-type]


def session(decay: float = 1.0) -> Session:
    """Three groups, of the pictures 0-4, 5-7 and 8-9."""
    fresh = Session(10, decay)
    fresh.add([group(0, [0, 1, 2, 3, 4]), group(1, [5, 6, 7]), group(2, [8, 9])])
    return fresh


def names_of(labelled: Session) -> list[str | None]:
    labels = labelled.labels()
    return [labels.names[name] if name >= 0 else None for name in labels.name_of]


def test_a_name_spreads_to_the_group_but_not_to_pictures_thrown_out() -> None:
    named = session()
    named.apply(Event("name", 0, " cat ", pictures=(3,)))
    assert names_of(named) == ["cat", "cat", "cat", None, "cat"] + [None] * 5
    assert named.covered() == 4 and named.counts() == [("cat", 4)]


def test_weights_follow_equation_2() -> None:
    named = Session(3, decay=2.0)
    named.add([group(0, [2, 0, 1], [0.0, 0.5, 1.0])])
    named.apply(Event("name", 0, "cat", confidence=4))
    by_hand = {picture: 0.8 * np.exp(-2.0 * far) for picture, far in ((2, 0.0), (0, 0.5), (1, 1.0))}
    assert np.allclose(named.targets().weights, [by_hand[0], by_hand[1], by_hand[2]])
    assert np.allclose(named.targets().soft, 1)


def test_the_largest_group_is_asked_first_and_answered_ones_never_again() -> None:
    named = session()
    assert [each.id for each in named.open_groups()] == [0, 1, 2]
    named.apply(Event("name", 0, "cat"))
    named.apply(Event("skip", 1))
    assert [each.id for each in named.open_groups()] == [2]


def test_parts_of_a_mixed_group_are_asked_until_the_answer_is_taken_back() -> None:
    named = session()
    named.apply(Event("mixed", 0))
    assert [each.id for each in named.unsplit()] == [0]
    named.add([group(3, [0, 1, 2], kind="split", parent=0), group(4, [3, 4], kind="split", parent=0)])
    assert not named.unsplit() and {each.id for each in named.open_groups()} == {1, 2, 3, 4}
    named.apply(Event("name", 3, "cat"))
    named.undo(0)
    assert {each.id for each in named.open_groups()} == {0, 1, 2}
    with pytest.raises(Taken):
        named.check(Event("name", 4, "dog"))


def test_junk_is_a_name() -> None:
    named = session()
    named.apply(Event("junk", 2))
    assert names_of(named)[8:] == [JUNK, JUNK]


@pytest.mark.parametrize("word", ["Junk", "AUSSCHUSS", " rebut", "Descarte", "废片"])
def test_a_word_for_junk_in_any_language_of_the_page_is_junk(word: str) -> None:
    named = session()
    named.apply(Event("name", 2, word))
    assert named.events[0].kind == "junk" and names_of(named)[8:] == [JUNK, JUNK]
    named.apply(Event("name", 0, "rose"))
    named.apply(Event("pull", name=word, names=("rose",), pictures=(0,)))
    named.apply(Event("assign", pictures=(1,), names=(word,), chosen=(0,)))
    assert names_of(named)[:3] == [JUNK, JUNK, "rose"]
    named.apply(Event("merge", name=word, names=("rose",)))
    assert named.names() == (JUNK,)


def test_merging_names() -> None:
    named = session()
    for number, name in enumerate(("roze", "rose", "tulip")):
        named.apply(Event("name", number, name))
    named.apply(Event("merge", name="rose", names=("roze",)))
    assert named.counts() == [("rose", 8), ("tulip", 2)]
    assert named.targets().names == ("rose", "tulip") and named.targets().soft.shape == (10, 2)
    named.undo()
    assert dict(named.counts()) == {"roze": 5, "rose": 3, "tulip": 2}


def test_renaming_to_a_new_name() -> None:
    named = session()
    named.apply(Event("name", 0, "cat"))
    named.apply(Event("merge", name="Cat", names=("cat",)))
    assert named.names() == ("Cat",)


def test_pulled_pictures_keep_names_given_by_hand() -> None:
    named = session()
    named.apply(Event("name", 0, "cat"))
    named.apply(Event("pull", name="dog", names=("cat",), pictures=(1,)))
    named.apply(Event("pull", names=("cat",), pictures=(2,)))
    assert names_of(named)[:5] == ["cat", "dog", None, "cat", "cat"]
    named.add([group(3, [0, 1, 2], kind="lasso")])
    named.apply(Event("name", 3, "cow"))
    assert names_of(named)[:3] == ["cow", "dog", "cow"]


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (Event("name", 0, "  "), "empty"),
        (Event("name", 0, None), "empty"),
        (Event("name", 0, "x" * 101), "101 characters"),
        (Event("name", 0, "cat", confidence=6), "Confidence 6"),
        (Event("name", 0, "cat", pictures=(9,)), "not in group 0"),
        (Event("merge", name="cat", names=("dog",)), "'dog'"),
        (Event("pull", names=("dog",), pictures=(1,)), "'dog'"),
    ],
)
def test_wrong_answers_get_one_sentence(event: Event, words: str) -> None:
    with pytest.raises(UserError, match=words):
        session().apply(event)


def test_a_group_of_one_cannot_be_split() -> None:
    lonely = Session(1)
    lonely.add([group(0, [0])])
    with pytest.raises(UserError, match="one picture cannot be split"):
        lonely.apply(Event("mixed", 0))


def test_an_answered_or_unknown_group_is_taken() -> None:
    named = session()
    named.apply(Event("name", 0, "cat"))
    for number in (0, 99):
        with pytest.raises(Taken):
            named.apply(Event("name", number, "cat"))
    assert len(named.events) == 1


@pytest.mark.parametrize("similar", ["cat", "CAT", "c a t"])
def test_names_that_differ_in_case_or_spaces_are_offered(similar: str) -> None:
    named = session()
    named.apply(Event("name", 0, "Cat"))
    with pytest.raises(SimilarName) as caught:
        named.apply(Event("name", 1, similar))
    assert caught.value.existing == "Cat"
    named.apply(Event("name", 1, similar, distinct=True))
    assert set(named.names()) == {"Cat", similar}


def test_cleaned_names() -> None:
    assert cleaned(" a \n b\t\x00c ") == "a b c"
    assert cleaned("e\u0301te\u0301") == "\u00e9t\u00e9"


def test_the_model_counts_where_there_is_no_newer_answer() -> None:
    named = session()
    named.apply(Event("name", 0, "cat"))
    named.apply(Event("name", 1, "dog"))
    probabilities = np.tile(np.float32([0.3, 0.7]), (10, 1))
    named.learn(("cat", "dog"), probabilities, seen=1)
    named.begin_round()
    assert named.round == 1
    assert names_of(named) == ["dog"] * 10
    assert named.labels().given.tolist() == [False] * 5 + [True] * 3 + [False] * 2
    assert np.allclose(named.labels().confidence[[0, 5]], [0.7, 1.0])
    named.undo(0)
    assert named.labels().given.sum() == 3, "taking back an answer moves the others"


def test_groups_of_an_earlier_round_are_not_asked_but_can_be_answered() -> None:
    named = session()
    named.apply(Event("name", 0, "cat"))
    named.begin_round()
    assert named.open_groups() == []
    named.apply(Event("name", 1, "dog"))
    assert names_of(named)[5] == "dog"


def test_the_model_does_not_give_denied_names() -> None:
    named = session()
    named.apply(Event("name", 0, "cat", pictures=(4,)))
    named.apply(Event("name", 1, "dog"))
    named.learn(("cat", "dog"), np.tile(np.float32([0.9, 0.1]), (10, 1)))
    assert names_of(named)[3:5] == ["cat", "dog"]


def test_gain_is_the_expected_number_of_pictures_to_correct() -> None:
    named = session()
    assert named.gain(named.groups[0]) == 5
    named.apply(Event("name", 0, "cat"))
    assert named.gain(named.groups[0]) == pytest.approx(0)
    named.learn(
        ("cat", "dog"), np.tile(np.float32([0.8, 0.2]), (10, 1)), error_probability=np.full(10, 0.5, np.float32)
    )
    assert named.gain(named.groups[0]) == pytest.approx(2.5)


def test_only_answers_count_once_a_model_is_forgotten() -> None:
    named = session()
    named.apply(Event("name", 0, "cat"))
    named.learn(("cat", "dog"), np.tile(np.float32([0.1, 0.9]), (10, 1)))
    assert names_of(named) == ["dog"] * 10
    named.forget()
    assert names_of(named)[:5] == ["cat"] * 5 and named.names() == ("cat",) and not named.labels().given[5:].any()


def test_a_thrown_out_picture_is_denied_the_name_until_it_is_given_after_all() -> None:
    named = session()
    named.apply(Event("name", 0, "cat", pictures=(3, 4)))
    assert np.flatnonzero(named.denied()[:, 0]).tolist() == [3, 4]
    named.add([group(2, [4])])
    named.apply(Event("name", 2, "cat"))
    assert np.flatnonzero(named.denied()[:, 0]).tolist() == [3]


@pytest.mark.parametrize("kind", ["query", "lasso"])
def test_a_narrower_or_drawn_answer_outweighs_an_earlier_one(kind) -> None:
    named = session()
    named.apply(Event("name", 0, "cat"))
    named.add([replace(group(2, [0, 1]), kind=kind)])
    named.apply(Event("name", 2, "dog"))
    cat, dog = named.evidence()[0]
    assert dog > 5 * cat > 0
    assert named.targets().group_sizes[[0, 2]].tolist() == [2, 3]


def test_a_group_of_one_picture_is_named_by_hand() -> None:
    named = session()
    named.add([replace(group(2, [3]), kind="query")])
    named.apply(Event("name", 2, "cat"))
    named.learn(("cat", "dog"), np.tile(np.float32([0.1, 0.9]), (10, 1)))
    named.apply(Event("name", 0, "dog"))
    assert names_of(named)[:5] == ["dog", "dog", "dog", "cat", "dog"]


def test_shown_pictures_are_distinct_and_the_random_ones_are_a_random_sample() -> None:
    members = list(range(100))
    seen = shown(group(7, members))
    assert len(set(seen.all)) == 27 and seen == shown(group(7, members))
    drawn = np.concatenate([shown(group(number, members)).random for number in range(400)])
    assert abs(drawn.mean() - 49.5) < 3 and fair_sample(group(7, members)) == seen.random


@pytest.mark.parametrize("size", [1, 2, 3, 5, 26, 27])
def test_small_groups_are_shown_whole(size: int) -> None:
    assert sorted(shown(group(0, list(range(size)))).all) == list(range(size))


def test_estimate_counts_pictures_thrown_out() -> None:
    named = session()
    assert named.estimate() is None
    named.apply(Event("name", 0, "cat", pictures=(1,)))
    estimate = named.estimate()
    assert estimate is not None and estimate.looked_at == 5
    assert estimate.low <= estimate.accuracy <= estimate.high and estimate.accuracy < 1
    before = estimate.accuracy
    named.apply(Event("pull", name="dog", names=("cat",), pictures=(1,)))
    corrected = named.estimate()
    assert corrected is not None and corrected.accuracy > before


ANSWERS = st.lists(
    st.tuples(
        st.sampled_from(["name", "junk", "skip", "pull", "merge", "undo"]),
        st.integers(0, 4),
        st.sampled_from("abc"),
        st.integers(0, 9),
    ),
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(ANSWERS)
def test_taking_back_an_answer_is_the_same_as_never_giving_it(answers: list[tuple[str, int, str, int]]) -> None:
    named = session()
    for kind, number, name, picture in answers:
        try:
            if kind == "undo":
                named.undo()
            elif kind in ("pull", "merge"):
                named.apply(Event(kind, name=name, names=("a",), pictures=(picture,)))  # type: ignore[arg-type]
            else:
                named.apply(Event(kind, number, name))  # type: ignore[arg-type]
        except UserError:
            continue
    replayed = session()
    for event in named.events:
        replayed.apply(event)
    for one, other in zip(named.labels(), replayed.labels(), strict=True):
        assert np.array_equal(one, other)
    assert np.array_equal(named.targets().soft, replayed.targets().soft)
    soft = named.targets().soft.sum(1)
    assert np.allclose(soft[soft > 0], 1) and (named.targets().weights <= 1).all()


def test_events_survive_json() -> None:
    event = Event("name", 3, "cat", 2, (1, 2), ("x",), True)
    assert checked(Event, event.to_json()) == event

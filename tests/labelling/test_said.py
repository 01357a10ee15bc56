"""What a person said is kept, whatever a model learns from it."""

import csv
import io

import numpy as np
import pytest

from selfsort.export.named import file_formats
from selfsort.labelling.core.answers import Event, Group
from selfsort.labelling.core.session import Session
from selfsort.labelling.exchange import named_pictures, names_in_table
from selfsort.labelling.server.payloads import image_payload, name_payload

IDS = tuple("abcdef")


@pytest.fixture
def session() -> Session:
    session = Session(6)
    far = np.array([0, 1, 2, 3], np.float32)
    session.add([Group(0, np.arange(4), far, None, "cluster", 0), Group(1, np.array([4]), far[:1], None, "query", 0)])
    session.apply(Event("name", 0, "rose", confidence=5))
    session.apply(Event("name", 1, "tulip", confidence=4))
    return session


def rows_of(session: Session, **options: bool) -> list[dict[str, str]]:
    named = named_pictures(session.labels(), IDS, None, {})
    text = b"".join(file_formats()["csv"].chunks(named.only_given() if options else named)).decode()
    return list(csv.DictReader(io.StringIO(text)))


def learn(session: Session) -> None:
    chances = np.array([0.9, 0.8, 0.3, 0.6, 0.2, 0.5], np.float32)
    session.learn(("rose", "tulip"), np.stack([chances, 1 - chances], 1), 2, np.full(6, 0.92, np.float32))
    session.begin_round()


def test_a_picture_named_5_sure_is_not_008(session):
    rows = rows_of(session)
    assert float(session.labels().confidence[3]) < 0.08, "which only ranks pictures, by their distance from the centre"
    assert [row["confidence"] for row in rows] == ["1", "1", "1", "1", "0.8", ""]
    assert [row["by"] for row in rows] == ["group"] * 4 + ["picture", ""]
    assert [row["sure"] for row in rows] == ["5"] * 4 + ["4", ""]
    assert {row["model"] for row in rows} == {row["probability"] for row in rows} == {""}


def test_what_was_said_stays_beside_what_the_model_says(session):
    learn(session)
    rows = rows_of(session)
    assert [row["said"] for row in rows] == ["rose"] * 4 + ["tulip", ""]
    assert [row["model"] for row in rows] == ["rose", "rose", "tulip", "rose", "tulip", "rose"]
    assert [row["probability"] for row in rows] == ["0.9", "0.8", "0.7", "0.6", "0.8", "0.5"]
    assert [row["name"] for row in rows] == ["rose", "rose", "tulip", "rose", "tulip", "rose"]
    assert [row["given"] for row in rows] == ["1", "1", "0", "1", "1", "0"]
    assert [row["confidence"] for row in rows] == ["1", "1", "0.7", "1", "0.8", "0.5"]
    assert session.labels().disputed.tolist() == [False, False, True, False, False, False]


def test_only_what_people_said(session):
    learn(session)
    rows = rows_of(session, given=True)
    assert [row["name"] for row in rows] == ["rose"] * 4 + ["tulip", ""]
    assert [row["given"] for row in rows] == ["1"] * 5 + ["0"]


def test_an_exported_table_restores_what_people_said(session):
    learn(session)
    text = b"".join(file_formats()["csv"].chunks(named_pictures(session.labels(), IDS, None, {})))
    assert names_in_table(text) == dict(zip("abcde", ["rose"] * 4 + ["tulip"], strict=True))


def test_names_taken_back_or_removed_are_gone(session):
    session.apply(Event("pull", names=("rose",), pictures=(0,)))
    session.apply(Event("pull", name="lily", names=("rose",), pictures=(1,), confidence=3))
    rows = rows_of(session)
    assert [row["said"] for row in rows] == ["", "lily", "rose", "rose", "tulip", ""]
    assert [row["sure"] for row in rows] == ["", "3", "5", "5", "4", ""]
    session.undo(0)
    assert [row["sure"] for row in rows_of(session)] == ["", "3", "", "", "4", ""]


def test_a_group_does_not_outvote_what_was_said_of_one_picture(session):
    whole = Group(2, np.arange(6), np.zeros(6, np.float32), None, "lasso", 0)
    session.add([whole])
    session.apply(Event("name", 2, "weed", confidence=2))
    rows = rows_of(session)
    assert [row["said"] for row in rows] == ["weed"] * 4 + ["tulip", "weed"]
    assert [row["sure"] for row in rows] == ["2"] * 4 + ["4", "2"]


def test_chances_follow_the_checks(session):
    session.checked = dict.fromkeys(range(6), "weed")  # the model was never right
    learn(session)
    assert (session.labels().probability < np.array([0.9, 0.8, 0.7, 0.6, 0.8, 0.5]) - 0.1).all()
    session.checked = {}
    learn(session)
    assert session.labels().probability == pytest.approx([0.9, 0.8, 0.7, 0.6, 0.8, 0.5])


def test_the_page_gets_who_says_what_and_disputes_come_first(session):
    learn(session)
    told = image_payload(session.labels(), 2, "c")
    assert told["said"] == {"name": "rose", "single": False, "sure": 5}
    assert told["model"] == {"name": "tulip", "probability": 0.7} and (told["name"], told["given"]) == ("tulip", False)
    assert image_payload(session.labels(), 5, "f")["said"] is None
    nothing = image_payload(Session(6).labels(), 5, "f")
    assert (nothing["name"], nothing["said"], nothing["model"]) == (None, None, None)
    session.error_probability = np.array([0.1, 0.1, 0.1, 0.1, 0.9, 0.1], np.float32)
    learn(session)
    tulips = name_payload(session.labels(), tuple("abcdef"), "tulip", 0, 10, "doubtful")
    assert [row["index"] for row in tulips["pictures"]] == [2, 4]

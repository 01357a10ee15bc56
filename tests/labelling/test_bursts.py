"""Bursts are named together, and days, places and cameras filter and gather pictures."""

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

import selfsort
from exif_pictures import save_shot
from samples import pictures, quick
from selfsort.labelling.core.answers import Event, Group
from selfsort.labelling.core.bursts import drawn_together
from selfsort.labelling.core.error_probability import judging_folds
from selfsort.labelling.core.query_selection import first_groups
from selfsort.labelling.core.query_tree import QueryTree
from selfsort.labelling.core.session import Session
from selfsort.labelling.exchange import find_suspects
from selfsort.labelling.label_space import stamp_of
from selfsort.labelling.learning.held_out import hold_out
from selfsort.labelling.learning.label_session import LabelSession
from selfsort.labelling.server.service import LabelService, Missing
from selfsort.labelling.server.shot_table import ShotFact, ShotTable
from selfsort.runs import RunFolder


def torn(groups, bursts) -> set[int]:
    """Return the bursts whose pictures are in several groups."""
    owners: dict[int, set[int]] = {}
    for group in groups:
        for burst in bursts[group.members].tolist():
            owners.setdefault(burst, set()).add(group.id)
    return {burst for burst, ids in owners.items() if len(ids) > 1}


class TestDrawnTogether:
    def test_no_group_and_no_query_divides_a_burst(self):
        rng = np.random.default_rng(0)
        points, bursts = rng.normal(size=(200, 4)).astype(np.float32), np.arange(200) // 4
        assert torn(first_groups(points, 8), bursts)
        together = drawn_together(points, bursts)
        groups = first_groups(together, 8)
        assert not torn(groups, bursts) and sum(len(group.members) for group in groups) == 200
        session, tree = Session(200), QueryTree(together)
        for _ in range(6):
            query = tree.next(session, np.zeros(200, bool))
            assert query is not None
            assert len(query.members) == 4 * len(set(bursts[query.members].tolist()))
            session.add([query])
            session.apply(Event("name", query.id, "a"))

    def test_single_pictures_are_asked_about_with_their_bursts_and_never_twice(self):
        points = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32)
        bursts = np.arange(40) // 2
        session, tree = Session(40), QueryTree(drawn_together(points, bursts), bursts=bursts)
        seen: set[int] = set()
        for _ in range(8):
            query = tree.next(session, np.zeros(40, bool), single=True)
            assert query is not None and len(query.members) == 2
            (burst,) = set(bursts[query.members].tolist())
            assert burst not in seen
            seen.add(burst)
            session.add([query])
            session.apply(Event("skip", query.id))

    def test_the_mean_of_each_burst(self):
        points = np.array([[0, 0], [2, 4], [9, 9]], np.float32)
        assert drawn_together(points, np.array([0, 0, 1])).tolist() == [[1, 2], [1, 2], [9, 9]]

    @pytest.mark.parametrize("bursts", [None, np.arange(3)])
    def test_nothing_changes_without_bursts(self, bursts):
        points = np.eye(3, dtype=np.float32)
        assert drawn_together(points, bursts) is points


def test_no_picture_is_judged_by_others_of_its_burst():
    session = Session(60)
    session.apply(Event("assign", pictures=tuple(range(60)), names=("a", "b"), chosen=(0, 1) * 30))
    bursts = np.arange(60) // 3
    folds = judging_folds(session, 0, bursts)
    assert all(len(set(folds[bursts == burst].tolist())) == 1 for burst in range(20))
    assert len(set(folds.tolist())) > 4


def named_in_groups(n: int, size: int, names: str = "ab") -> Session:
    """Name groups of consecutive pictures in turn."""
    session = Session(n)
    for number in range(n // size):
        members = np.arange(size * number, size * number + size)
        session.add([Group(number, members, np.zeros(size, np.float32), None, "cluster", 0)])
        session.apply(Event("name", number, names[number % len(names)]))
    return session


def test_groups_that_share_a_burst_are_in_one_fold():
    session = named_in_groups(120, 4)
    session.apply(Event("assign", pictures=(6, 90), names=("a",), chosen=(0, 0)))
    bursts = np.arange(120)
    bursts[[3, 4, 7, 8]] = 3  # frames of groups 0, 1 and 2
    bursts[91] = 90
    before, folds = judging_folds(session, 0), judging_folds(session, 0, bursts)
    assert len({*folds[:12].tolist()} - {folds[6]}) == 1 and len({*before[:12].tolist()}) > 1
    assert folds[90] == folds[91] and before[90] != before[91]
    assert (judging_folds(session, 0, np.arange(120)) == before).all(), "without bursts nothing changes"


def test_a_burst_is_not_held_out_in_part():
    session, bursts = named_in_groups(120, 4), np.arange(120)
    bursts[2::8] = bursts[5::8]  # each even group shares a burst with the next
    session.apply(Event("assign", pictures=(1,), names=("a",), chosen=(0,)))
    bursts[1] = bursts[110]  # a picture named individually is of the burst of group 27
    for seed in range(10):
        held_out = hold_out(session, session.targets(), seed, bursts)
        assert held_out is not None and held_out.answers == 6
        inside = np.isin(bursts, bursts[held_out.pictures])
        assert (held_out.rest.weights[inside] == 0).all()
        assert not np.isin([27, 26], held_out.pictures // 4).any()


@pytest.fixture
def filmed(tmp_path: Path) -> Path:
    """A run of forty photographs in bursts of four, from two cameras on two days."""
    for index, pixels in enumerate(pictures(40, 16)):
        taken, camera = (
            60.0 * (index // 4) + index % 4 + 86_400 * (index >= 20),
            ("Acme", "One" if index < 12 else "Two"),
        )
        save_shot(tmp_path / f"photos/{index:02d}.png", taken, camera=camera, place=(48.0, 9.0), pixels=pixels)
    photos = selfsort.load_images(tmp_path / "photos", size=16, cache=False)
    model = quick("kmeans").fit(photos, run_dir=tmp_path / "run")
    np.savez(RunFolder(tmp_path / "run").points, stamp=stamp_of(model.embedding_), points=model.embedding_)
    return tmp_path


@pytest.fixture
def photos(filmed: Path) -> selfsort.ImageSet:
    return selfsort.load_images(filmed / "photos", size=16, cache=False)


class TestService:
    def test_each_burst_is_in_one_group(self, filmed, photos):
        with closing(LabelService(filmed / "run", photos, n_groups=5)) as service:
            assert not torn(service.session.groups.values(), np.arange(40) // 4)

    def test_facts_filter_names_and_gather_unnamed_pictures(self, filmed, photos):
        with closing(LabelService(filmed / "run", photos, n_groups=5)) as service:
            assert service.facts()["facts"] == {
                "day": {"2024-05-31": 20, "2024-06-01": 20},
                "place": {"48.0, 9.0": 40},
                "camera": {"Acme One": 12, "Acme Two": 28},
            }
            assert service.image(3)["taken"] == {"day": "2024-05-31", "place": "48.0, 9.0", "camera": "Acme One"}
            service.tell("a", "ann", Event("assign", pictures=(0, 1, 30), names=("cat",), chosen=(0, 0, 0)))
            found = service.named("cat", 0, 10, "typical", ShotFact("camera", "Acme One"))
            assert found["total"] == 2 and {each["index"] for each in found["pictures"]} == {0, 1}
            made = service.gather("b", "ann", ShotFact("camera", "Acme One"))["group"]
            assert made["size"] == 10 and made["kind"] == "lasso"
            with pytest.raises(Missing, match="without an answer"):
                service.gather("c", "ann", ShotFact("day", "1999-01-01"))

    def test_shots_are_kept_and_read_again_if_damaged(self, filmed, photos):
        told: list[bool] = []
        first = ShotTable(filmed / "run", photos, lambda: told.append(True))
        assert first.bursts(None) is not None and told == [True]
        kept = RunFolder(filmed / "run").shots
        kept.write_text(kept.read_text().replace("Acme One", "Other One"))
        again = ShotTable(filmed / "run", photos, lambda: None)
        assert again.bursts(None) is not None and again.counts()["camera"]["Other One"] == 12, "it was not read again"
        kept.write_text("id,time\n")
        anew = ShotTable(filmed / "run", photos, lambda: None)
        assert anew.bursts(None) is not None and anew.counts()["camera"]["Acme One"] == 12

    def test_shots_of_very_many_pictures_are_read_once_there_are_groups(self, filmed, photos, monkeypatch):
        monkeypatch.setattr("selfsort.labelling.server.shot_table._FEW", 39)
        table = ShotTable(filmed / "run", photos, lambda: None)
        assert table.bursts(60) is None and table.counts()["camera"] == {}, "it was read, or waited for"
        with closing(LabelService(filmed / "run", photos, n_groups=5)) as service:
            assert torn(service.session.groups.values(), np.arange(40) // 4), "they were not read first"
            service.settle()
            assert service.facts()["facts"]["camera"] == {"Acme One": 12, "Acme Two": 28}


def test_refinements_and_suspects_know_bursts(filmed, photos, monkeypatch, cli):
    run, seen = filmed / "run", []
    monkeypatch.setattr("selfsort.labelling.core.suspects.judging_folds", spy(judging_folds, seen))
    with closing(LabelService(run, photos, n_groups=5)) as service:
        service.tell("a", "ann", Event("assign", pictures=tuple(range(40)), names=("a", "b"), chosen=(0, 1) * 20))
    RunFolder(run).shots.unlink(missing_ok=True)
    find_suspects(run)
    assert seen == [None], "nothing tells of bursts"
    assert cli("suspects", run).code == 0 and cli("suspects", run).code == 0
    assert [len(set(bursts.tolist())) for bursts in seen[1:]] == [10, 10] and RunFolder(run).shots.exists()
    model = selfsort.methods.load(run)
    assert LabelSession(model, photos).bursts.tolist() == (np.arange(40) // 4).tolist()


def spy(folds, seen):
    def spied(session, seed, bursts=None):
        seen.append(bursts)
        return folds(session, seed, bursts)

    return spied


def test_evaluation_reports_bursts(cli, filmed, photos):
    for index, image_id in enumerate(photos.ids):
        kind = filmed / "sorted" / ("ab"[index % 8 // 4])
        kind.mkdir(parents=True, exist_ok=True)
        (kind / image_id).write_bytes((filmed / "photos" / image_id).read_bytes())
    said = cli("evaluate", filmed / "run", filmed / "sorted", "--probe", "centroid")
    assert said.code == 0, said.err
    assert "40 pictures were taken in 10 bursts of frames at most 5 s apart" in said.out

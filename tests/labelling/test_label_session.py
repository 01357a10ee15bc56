"""Naming groups from Python, learning from the names, and the simulated annotator."""

from pathlib import Path

import numpy as np
import pytest
import torch

import selfsort
from samples import kinds, pictures, quick
from selfsort import methods
from selfsort.data.image_set import as_image_set
from selfsort.errors import UserError
from selfsort.labelling.core.answers import Event, Group, shown
from selfsort.labelling.core.error_probability import judged_targets, name_chances
from selfsort.labelling.core.session import Session, Targets
from selfsort.labelling.core.simulated import SimulatedAnnotator
from selfsort.labelling.learning.held_out import HeldOut, HeldOutComparison
from selfsort.labelling.learning.label_session import LabelSession
from selfsort.labelling.learning.refine import NameLearner, default_epochs, refine
from selfsort.methods.base import Estimator, NamedNet
from selfsort.models.base import Batch

NAMES = ("across", "down", "block")
FIRST = ("conv-autoencoder", "frozen", "kmeans", "simclr")
every_method = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in FIRST else pytest.mark.slow) for name in methods.names()]
)


class Fitted(dict[str, Estimator]):
    """Every method by its name, fitted when it is first asked for."""

    def __missing__(self, name: str) -> Estimator:
        self[name] = quick(name).fit(pictures())
        return self[name]


def perfect(n: int = 48) -> Targets:
    soft = np.eye(3, dtype=np.float32)[kinds(n)]
    return Targets(NAMES, soft, np.ones(n, np.float32))


@pytest.fixture(scope="module")
def fitted() -> dict[str, Estimator]:
    return Fitted()


@every_method
def test_every_method_learns_names(name: str, fitted: dict[str, Estimator]) -> None:
    before = {key: value.clone() for key, value in fitted[name].net_.state_dict().items()}
    refined = refine(fitted[name], as_image_set(pictures()), perfect(), epochs=3)
    assert refined.names_ == NAMES and refined.n_classes_ == 3 and type(refined) is type(fitted[name])
    assert refined.classes_.tolist() == list(NAMES) and refined.labels_.dtype == np.int64
    assert (refined.predict(pictures(60, seed=5)) == np.array(NAMES)[kinds(60)]).mean() > 0.9
    assert np.array_equal(refined.predict(pictures()), np.array(NAMES)[refined.labels_])
    assert fitted[name].names_ == ()
    for key, value in fitted[name].net_.state_dict().items():
        assert torch.equal(value, before[key]), f"{key} of the model that was refined has changed"


@every_method
def test_a_named_model_is_saved_and_loaded(name: str, fitted: dict[str, Estimator], tmp_path: Path) -> None:
    refined = refine(fitted[name], as_image_set(pictures()), perfect(), frozen=True)
    refined.save(tmp_path / "named")
    again = selfsort.load(tmp_path / "named")
    assert again.names_ == NAMES
    assert np.array_equal(again.predict_proba(pictures(7, seed=3)), refined.predict_proba(pictures(7, seed=3)))
    assert again.run_["refined"]["rounds"] == 1


def test_frozen_leaves_the_encoder_alone(fitted: dict[str, Estimator]) -> None:
    model = fitted["simclr"]
    refined = refine(model, as_image_set(pictures()), perfect(), frozen=True)
    assert np.array_equal(refined.embedding_, model.embedding_)
    tuned = refine(model, as_image_set(pictures()), perfect(), epochs=1)
    assert not np.array_equal(tuned.embedding_, model.embedding_)


def test_refining_again_can_add_and_drop_names(fitted: dict[str, Estimator]) -> None:
    two = Targets(("b", "a"), np.eye(2, dtype=np.float32)[(kinds() > 0).astype(int)], np.ones(48, np.float32))
    once = refine(fitted["kmeans"], as_image_set(pictures()), two)
    again = refine(once, as_image_set(pictures()), perfect())
    assert again.names_ == NAMES and (again.labels_ == kinds()).all()
    assert again.run_["refined"]["rounds"] == 2 and not isinstance(again.net_.net, NamedNet)


def test_a_name_without_pictures_is_never_predicted(fitted: dict[str, Estimator]) -> None:
    soft = np.pad(perfect().soft, ((0, 0), (1, 0)))
    refined = refine(
        fitted["kmeans"], as_image_set(pictures()), Targets(("gone", *NAMES), soft, np.ones(48, np.float32))
    )
    assert refined.probabilities_[:, 0].max() < 1e-6


def test_the_loss_is_equation_3(fitted: dict[str, Estimator]) -> None:
    targets = Targets(NAMES, perfect().soft, np.linspace(0, 1, 48).astype(np.float32))
    model = fitted["conv-autoencoder"]
    named = NamedNet(model.net_, model.embedding_.shape[1], NAMES).eval()
    images = torch.rand(6, 3, 16, 16)
    indices = torch.tensor([0, 7, 14, 20, 33, 47])
    batch = Batch(images, (images,), indices)
    with torch.no_grad():
        own, shares = named.loss(batch).item(), torch.softmax(named(images).logits, 1).tolist()
    rows = enumerate(indices.tolist())
    by_hand = sum(-targets.weights[i] * np.log(shares[row][kinds()[i]]) for row, i in rows)
    assert NameLearner(named.net, named.head, targets, 150.0, True).loss(batch).item() == pytest.approx(
        own + 150 * by_hand / 6, rel=1e-5
    )
    assert NameLearner(named.net, named.head, targets, 2.0, False).loss(batch).item() == pytest.approx(
        2 * by_hand / 6, rel=1e-5
    )


def test_reconsidering_leaves_out_uncertain_pictures(fitted: dict[str, Estimator]) -> None:
    named = NamedNet(fitted["kmeans"].net_, 16 * 16 * 3, NAMES)
    learner = NameLearner(named.net, named.head, perfect(3), 1.0, True)
    learner.evidence.rows.zero_()
    learner.reconsider(torch.tensor([[1.0, 0, 0], [0.4, 0.35, 0.25], [0.8, 0.1, 0.1]]))
    sums = learner.targets.rows.sum(1)
    assert sums[0] == 1 and sums[1] == 0 and 0 < sums[2] < 1


def test_a_single_name_is_given_to_all_and_no_names_cannot_be_learnt(fitted: dict[str, Estimator]) -> None:
    one = Targets(("a",), np.ones((48, 1), np.float32), np.ones(48, np.float32))
    for frozen in (True, False):
        alone = refine(fitted["simclr"], as_image_set(pictures()), one, frozen=frozen, epochs=1)
        assert alone.names_ == ("a",) and (alone.predict(pictures(5, seed=2)) == "a").all()
    none = Targets((), np.zeros((48, 0), np.float32), np.zeros(48, np.float32))
    with pytest.raises(UserError, match="No name has pictures: name a group first"):
        refine(fitted["kmeans"], as_image_set(pictures()), none)


def test_progress_and_epochs(fitted: dict[str, Estimator]) -> None:
    seen: list[tuple[int, int]] = []
    refined = refine(
        fitted["simclr"],
        as_image_set(pictures()),
        perfect(),
        epochs=2,
        progress=lambda epoch, epochs, loss: seen.append((epoch, epochs)),
    )
    assert seen == [(1, 2), (2, 2)] and refined.run_["refined"]["epochs"] == 2
    assert default_epochs(60_000) == 3 and default_epochs(100) == 30


def test_a_network_is_kept_if_held_out_answers_agree(fitted: dict[str, Estimator]) -> None:
    model = fitted["simclr"]
    kept = np.arange(0, 48, 6)
    weights = np.where(np.isin(np.arange(48), kept), 0, 1).astype(np.float32)
    held_out = HeldOut(perfect()._replace(weights=weights), 3, kept, kinds()[kept], np.ones(len(kept), np.float32))
    seen: list[tuple[int, int]] = []
    refined = refine(
        model,
        as_image_set(pictures()),
        perfect(),
        held_out=held_out,
        epochs=5,
        progress=lambda epoch, epochs, loss: seen.append((epoch, epochs)),
    )
    found = HeldOutComparison.from_json(refined.run_["refined"])
    assert found is not None and found.is_better and found.answers == 3
    assert [row["epoch"] for row in refined.history_.rows] == [1, 2, 3, 4, 5]
    assert seen == [(epoch, 5) for epoch in range(1, 6)]
    assert not np.array_equal(refined.embedding_, model.embedding_)


def test_held_out_answers_are_learnt_in_the_end(fitted: dict[str, Estimator]) -> None:
    """Without a kind's answers the network learns to mistake it for another, and has few epochs to correct this."""
    kept = np.flatnonzero(kinds() == 2)
    weights = (kinds() != 2).astype(np.float32)
    held_out = HeldOut(perfect()._replace(weights=weights), 1, kept, kinds()[kept], np.ones(len(kept), np.float32))
    refined = refine(fitted["simclr"], as_image_set(pictures()), perfect(), held_out=held_out, epochs=5)
    assert HeldOutComparison.from_json(refined.run_["refined"]) == HeldOutComparison(1, 0.0, 0.0)
    assert (refined.predict(pictures()) == np.array(NAMES)[kinds()]).mean() > 0.9


def test_a_network_that_training_made_worse_stays_as_it_was(
    fitted: dict[str, Estimator], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = fitted["simclr"]
    kept = np.arange(12)
    held_out = HeldOut(perfect(), 3, kept, kinds()[kept], np.ones(12, np.float32))
    monkeypatch.setattr(HeldOutComparison, "is_better", False)
    refined = refine(model, as_image_set(pictures()), perfect(), held_out=held_out, epochs=2)
    assert np.array_equal(refined.embedding_, model.embedding_) and refined.names_ == NAMES
    assert (refined.predict(pictures()) == np.array(NAMES)[kinds()]).mean() > 0.8


def test_the_same_seed_refines_to_the_same_weights(fitted: dict[str, Estimator]) -> None:
    runs = [refine(fitted["simclr"], as_image_set(pictures()), perfect(), epochs=1, random_state=3) for _ in range(2)]
    for key, value in runs[0].net_.state_dict().items():
        assert torch.equal(value, runs[1].net_.state_dict()[key])


def labelling(model: Estimator, **changes: object) -> LabelSession:
    return LabelSession(model, pictures(), **({"n_groups": 6, "space": "embedding"} | changes))  # type: ignore[arg-type]


def test_a_session_names_refines_and_asks_again(fitted: dict[str, Estimator]) -> None:
    session = labelling(fitted["kmeans"])
    annotator = SimulatedAnnotator(kinds(), NAMES)
    while (group := session.next()) is not None:
        session.apply(annotator.answer(group))
    first = set(session.session.groups)
    model = session.refine(frozen=True, n_groups=4)
    assert set(model.names_) == set(NAMES)
    new = set(session.session.groups) - first
    assert new and session.session.round == 1
    assert {group.id for group in session.session.open_groups()} == new
    doubt = 1 - model.probabilities_.max(1)
    np.testing.assert_allclose(1 - session.session.labels().confidence, doubt, atol=1e-6)


def test_a_mixed_group_is_split_at_once(fitted: dict[str, Estimator]) -> None:
    session = labelling(fitted["kmeans"], n_groups=2)
    group = session.next()
    session.answer(group, mixed=True)
    assert group is not None and {part.parent for part in session.session.groups.values()} == {None, group.id}
    session.undo()
    assert session.next() is group


def test_answers_in_words(fitted: dict[str, Estimator]) -> None:
    session = labelling(fitted["kmeans"])
    group = session.next()
    assert group is not None
    session.answer(group, "bars", confidence=3, exclude=[int(group.members[0])])
    session.answer(session.next(), junk=True)
    session.answer(session.next(), skip=True)
    session.merge(["bars"], "stripes")
    session.pull("stripes", [int(group.members[1])], "block")
    assert set(session.session.names()) == {"stripes", "junk", "block"}
    for wrong in ({}, {"name": "x", "mixed": True}):
        with pytest.raises(UserError, match="one of"):
            session.answer(session.next(), **wrong)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="no group"):
        session.answer(None, "x")


def test_a_name_that_means_junk_is_told(fitted: dict[str, Estimator], caplog: pytest.LogCaptureFixture) -> None:
    session = labelling(fitted["kmeans"])
    session.answer(session.next(), "junkyard")
    assert not caplog.records
    session.answer(session.next(), "Rebut")
    assert session.session.names() == ("junkyard", "junk")
    assert caplog.messages == ["'Rebut' means junk, so the pictures are thrown away: for a class, use another name."]


def test_a_session_needs_the_pictures_of_a_fitted_model(fitted: dict[str, Estimator]) -> None:
    with pytest.raises(UserError, match="not fitted"):
        LabelSession(quick("kmeans"), pictures())
    with pytest.raises(UserError, match="not the pictures"):
        LabelSession(fitted["kmeans"], pictures(50))
    with pytest.raises(UserError, match="n_groups=99"):
        labelling(fitted["kmeans"], n_groups=99)


def test_the_annotator_sees_what_is_shown_and_nothing_else() -> None:
    group = Group(0, np.arange(100), np.zeros(100, np.float32), None, "cluster", 0)
    labels = np.full(100, 1)
    labels[list(shown(group).all)] = 0
    assert SimulatedAnnotator(labels, ("seen", "hidden")).answer(group) == Event("name", 0, "seen")


def test_the_annotator_calls_groups_without_a_majority_mixed_and_skips_unknown_ones() -> None:
    group = Group(0, np.arange(9), np.zeros(9, np.float32), None, "cluster", 0)
    annotator = SimulatedAnnotator(np.arange(9) % 3, NAMES, purity=0.5)
    assert annotator.answer(group).kind == "mixed"
    assert SimulatedAnnotator(np.arange(9) % 3, NAMES, purity=0.3).answer(group).kind == "name"
    assert SimulatedAnnotator(np.full(9, -1), NAMES).answer(group).kind == "skip"
    lone = Group(1, np.array([4]), np.zeros(1, np.float32), None, "cluster", 0)
    assert annotator.answer(lone).name == "down"


def test_the_annotator_errs_as_often_as_requested_and_throws_out_other_pictures() -> None:
    group = Group(0, np.arange(9), np.zeros(9, np.float32), None, "cluster", 0)
    labels = np.array([0] * 8 + [1])
    wrong = SimulatedAnnotator(labels, NAMES, error_rate=0.3)
    names = [wrong.answer(group).name for _ in range(1000)]
    assert 0.25 < np.mean([name != "across" for name in names]) < 0.35
    assert SimulatedAnnotator(labels, NAMES, throws_out=True).answer(group).pictures == (8,)
    with pytest.raises(UserError, match="error_rate"):
        SimulatedAnnotator(labels, NAMES, error_rate=1.5)


def test_a_wrong_answer_is_doubted_because_of_the_others() -> None:
    rng = np.random.default_rng(0)
    kind = np.repeat(np.arange(3), 80)
    points = (8 * np.eye(3)[kind] + rng.normal(size=(240, 3))).astype(np.float32)
    session = Session(240)
    for number in range(12):
        session.add(
            [Group(number, np.arange(20 * number, 20 * number + 20), np.zeros(20, np.float32), None, "cluster", 0)]
        )
        session.apply(Event("name", number, NAMES[kind[20 * number]] if number != 2 else "block"))
    said = np.where(np.arange(240) // 20 == 2, "block", np.array(NAMES)[kind])
    columns = [session.names().index(name) for name in said.tolist()]
    chances = name_chances(session, points)[np.arange(240), columns]
    wrong = np.arange(240) // 20 == 2
    assert chances[wrong].mean() < 0.5 and chances[~wrong].mean() > 0.9
    session.add([Group(12, np.flatnonzero(wrong), np.zeros(20, np.float32), None, "lasso", 0)])
    session.apply(Event("name", 12, "across"))
    targets = judged_targets(session, points)
    assert (targets.soft[wrong].argmax(1) == targets.names.index("across")).all()
    assert np.array_equal(targets.soft[~wrong], session.targets().soft[~wrong])


@pytest.mark.parametrize("name", ["kmeans", "conv-autoencoder", "frozen"])
def test_other_pictures_of_the_same_number_are_refused(name: str, fitted: dict[str, Estimator]) -> None:
    LabelSession(fitted[name], pictures(), n_groups=4)
    others = [pictures(seed=1), pictures()[::-1], pictures(size=32)]
    for other in others:
        with pytest.raises(UserError, match="not the pictures that the model was fitted to"):
            LabelSession(fitted[name], other, n_groups=4)

"""DeepCluster, IMSAT, associative clustering, RUC and N2D: losses against their formulas, and properties."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.mixture import GaussianMixture

import selfsort
from samples import kinds, pictures, quick
from selfsort.clustering.kmeans import kmeans
from selfsort.clustering.mixture import fit_mixture, mixture_labels
from selfsort.evaluation.metrics import clustering_scores
from selfsort.losses.robust import robust_loss, sharpened
from selfsort.methods.adc import ADC, association_loss
from selfsort.methods.base import Estimator
from selfsort.methods.deep_cluster import DeepCluster, whitened
from selfsort.methods.imsat import IMSAT, augmentation_loss, information
from selfsort.methods.n2d import N2D
from selfsort.methods.ruc import RUC, clean
from selfsort.models.base import Batch


def numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def batch_of(n: int, views: int) -> Batch:
    images = torch.from_numpy(pictures(n)).permute(0, 3, 1, 2) / 255
    return Batch(images, (images,) * views, torch.arange(n))


def test_association_loss_equals_its_formula() -> None:
    starts, others = F.normalize(numbers(4, 5)), F.normalize(numbers(7, 5, seed=1))
    alike = [[math.exp(float(a @ b) / 0.3) for b in others] for a in starts]
    walker, visited = 0.0, [0.0] * 7
    for i in range(4):
        back_to_i = 0.0
        for j in range(7):
            there = alike[i][j] / sum(alike[i])
            back_to_i += there * alike[i][j] / sum(row[j] for row in alike)
            visited[j] += there / 4
        walker -= math.log(back_to_i) / 4
    visit = -sum(math.log(share) for share in visited) / 7
    found = association_loss(starts, others, 0.3, 0.5)
    assert found.item() == pytest.approx(walker + 0.5 * visit, rel=1e-5)
    places, names = torch.randperm(7), torch.randperm(4)
    assert torch.allclose(association_loss(starts[names], others[places], 0.3, 0.5), found)


def test_associations_are_best_where_each_centre_has_its_own_pictures() -> None:
    centres = torch.eye(3)
    own, one = centres.repeat(4, 1), centres[:1].repeat(12, 1)
    best = math.log(12)  # for visiting twelve equally
    assert association_loss(centres, own, 0.05, 1.0).item() == pytest.approx(best, abs=1e-3)
    assert association_loss(centres, one, 0.05, 1.0).item() > best + 1


def test_information_and_augmentation_loss_equal_their_formulas() -> None:
    scores, changed = numbers(9, 4), numbers(9, 4, seed=1)
    shares, others = torch.softmax(scores, 1).tolist(), torch.softmax(changed, 1).tolist()
    mean = [sum(row[k] for row in shares) / 9 for k in range(4)]
    evenness = -sum(p * math.log(p) for p in mean)
    doubt = -sum(p * math.log(p) for row in shares for p in row) / 9
    assert information(scores, 4.0).item() == pytest.approx(4 * evenness - doubt, rel=1e-5)
    apart = -sum(
        p * math.log(q) for one, two in zip(shares, others, strict=True) for p, q in zip(one, two, strict=True)
    )
    assert augmentation_loss(torch.softmax(scores, 1), changed).item() == pytest.approx(apart / 9, rel=1e-5)
    order, names = torch.randperm(9), torch.randperm(4)
    assert torch.allclose(information(scores[order][:, names], 4.0), information(scores, 4.0))
    assert information(30 * torch.eye(4), 1.0).item() == pytest.approx(math.log(4), rel=1e-4)


def test_imsat_moves_pictures_by_their_radius_to_where_classes_change_more_than_anywhere() -> None:
    net = IMSAT(n_classes=3).build((16, 16, 3), 6).eval()
    images = batch_of(6, 1).inputs
    radius = torch.linspace(0.5, 3, 6).view(-1, 1, 1, 1)
    shares = torch.softmax(net(images).logits, 1).detach()
    moved = net._worst(images, shares, radius)
    assert torch.allclose((moved - images).flatten(1).norm(dim=1), radius.flatten(), rtol=1e-4)
    step = F.normalize(numbers(*images.shape).flatten(1)).view_as(images)
    worst, by_chance = (augmentation_loss(shares, net(each).logits) for each in (moved, images + radius * step))
    assert worst > by_chance


def test_imsat_uses_a_quarter_of_the_distance_to_the_tenth_neighbour() -> None:
    model = quick("imsat", epochs=1).fit(pictures(24))
    pixels = torch.from_numpy(pictures(24).reshape(24, -1) / 255).double()
    expected = torch.cdist(pixels, pixels).sort(1).values[:, 10] / 4
    assert torch.allclose(model.net_.radius.rows.double(), expected, rtol=1e-5)


def test_deep_cluster_weights_pseudo_classes_equally() -> None:
    net = DeepCluster(pseudo_classes=4).build((16, 16, 3), 12)
    net.regroup(np.repeat(np.eye(4, 6, dtype=np.float32) * 5, [6, 3, 2, 1], axis=0), seed=0)
    counts = np.bincount(net.pseudo.rows.numpy())
    assert sorted(counts) == [1, 2, 3, 6]
    batch = batch_of(12, 1)
    net.eval()
    scores = net.classifier(net(batch.inputs).embedding).detach()
    total = 0.0
    for label in range(4):
        own = torch.where(net.pseudo.rows == label)[0]
        total += sum(-math.log(float(torch.softmax(scores[i], 0)[label])) for i in own) / len(own) / 4
    assert net.loss(batch).item() == pytest.approx(total, rel=1e-4)
    order = torch.randperm(12)
    mixed = Batch(batch.inputs[order], (batch.inputs[order],), order)
    assert net.loss(mixed).item() == pytest.approx(total, rel=1e-4)


def test_whitened_components_have_equal_variance_except_empty_directions() -> None:
    features = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32) * [1, 10, 100]
    found = whitened(np.hstack([features, features[:, :1]]).astype(np.float32))
    assert found.shape == (40, 3) and np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    centred = features - features.mean(0)
    inverse = np.linalg.inv(np.cov(centred.T, bias=True))
    lengths = np.sqrt(np.einsum("nd,de,ne->n", centred, inverse, centred))
    angles = (centred @ inverse @ centred.T) / np.outer(lengths, lengths)
    assert np.allclose(found @ found.T, angles, atol=1e-3)


def test_deep_cluster_regroups_after_each_epoch_and_reports_how_much_stayed() -> None:
    model = quick("deep-cluster", epochs=3).fit(pictures())
    assert all(0 <= row["kept_groups"] <= 1 for row in model.history_.rows)
    assert quick("deep-cluster").build((16, 16, 3), 10).classifier.out_features == 5
    assert DeepCluster(n_classes="auto").build((16, 16, 3), 1000).classifier.out_features == 100


def test_clean_are_the_surest_of_each_class_whose_neighbours_agree() -> None:
    embedding = F.normalize(numbers(30, 4)).numpy()
    shares = torch.softmax(3 * numbers(30, 3, seed=1), 1).numpy()
    labels = shares.argmax(1)
    expected = np.zeros(30, bool)
    for i in range(30):
        own = [j for j in range(30) if labels[j] == labels[i]]
        rank = sorted(own, key=lambda j: -shares[j, labels[j]]).index(i)
        near = sorted((j for j in range(30) if j != i), key=lambda j: -float(embedding[i] @ embedding[j]))[:5]
        votes = [sum(labels[j] == label for j in near) for label in range(3)]
        expected[i] = rank < max(1, round(0.6 * len(own))) and votes.index(max(votes)) == labels[i]
    assert np.array_equal(clean(embedding, shares, 5, 0.6), expected) and 0 < expected.sum() < 30


def test_robust_loss_equals_its_formula() -> None:
    scores, targets = numbers(8, 3), torch.softmax(numbers(8, 3, seed=1), 1)
    is_clean = torch.tensor([True, False, True, True, False, False, True, False])
    shares = torch.softmax(scores, 1).tolist()
    crosses = [-sum(t * math.log(p) for t, p in zip(targets[i].tolist(), shares[i], strict=True)) for i in range(8)]
    squares = [sum((t - p) ** 2 for t, p in zip(targets[i].tolist(), shares[i], strict=True)) / 3 for i in range(8)]
    expected = sum(c for c, own in zip(crosses, is_clean, strict=True) if own) / 4
    expected += 25 * sum(s for s, own in zip(squares, is_clean, strict=True) if not own) / 4
    assert robust_loss(scores, targets, is_clean, 25.0).item() == pytest.approx(expected, rel=1e-5)
    order = torch.randperm(8)
    assert robust_loss(scores[order], targets[order], is_clean[order], 25.0).item() == pytest.approx(expected, rel=1e-5)
    assert math.isfinite(robust_loss(scores, targets, torch.zeros(8, dtype=torch.bool), 25.0))


def test_sharpened_shares_sum_to_one_and_keep_their_order() -> None:
    assert torch.allclose(sharpened(torch.tensor([[0.6, 0.3, 0.1]])), torch.tensor([[0.36, 0.09, 0.01]]) / 0.46)


def test_ruc_starts_from_the_classes_of_any_method_and_corrects_labels() -> None:
    first = quick("kmeans").fit(pictures(48))
    model = quick("ruc", encoder=first, epochs=6, n_neighbours=5, views="none:noise=0.05").fit(pictures(48))
    assert clustering_scores(kinds(48), model.labels_).accuracy > 0.8
    net = model.net_
    net.clean.rows[:] = False
    sure = torch.tensor([[0.999, 0.001, 0.0], [0.5, 0.5, 0.0], [0.0, 0.0, 1.0]])
    net.labels.rows[:3] = 1
    net._believe(torch.arange(3), sure)
    assert net.labels.rows[:3].tolist() == [0, 1, 2] and net.clean.rows[:3].tolist() == [True, False, True]


def test_ruc_refuses_another_number_of_classes() -> None:
    with pytest.raises(selfsort.UserError, match="encoder has 3 classes, not n_classes=4"):
        quick("ruc", encoder=quick("kmeans").fit(pictures(20)), n_classes=4).fit(pictures(20))


def test_a_mixture_separates_what_k_means_cannot() -> None:
    rng = np.random.default_rng(0)
    wide, narrow = rng.normal(size=(200, 2)) * 3, rng.normal(size=(200, 2)) * 0.2 + [9, 0]
    points = np.concatenate([wide, narrow]).astype(np.float32)
    truth = np.repeat([0, 1], 200)
    assert clustering_scores(truth, mixture_labels(points, 2)).accuracy > 0.99
    assert clustering_scores(truth, kmeans(points, 2).labels).accuracy < 0.98
    theirs = GaussianMixture(2, n_init=5, random_state=0).fit_predict(points.astype(float))
    assert clustering_scores(theirs, mixture_labels(points, 2)).accuracy > 0.99
    moved = 100 + 3 * points[::-1]
    assert clustering_scores(truth[::-1], mixture_labels(moved, 2)).accuracy > 0.99


def test_new_points_join_a_mixture_through_their_neighbours() -> None:
    points = np.repeat(np.eye(3, 4, dtype=np.float32) * 9, 8, axis=0) + np.random.default_rng(0).normal(size=(24, 4))
    found = fit_mixture(points.astype(np.float32), 3)
    assert clustering_scores(np.repeat(np.arange(3), 8), found.predict(points)).accuracy == 1


def test_n2d_accepts_any_embedding_in_place_of_its_own() -> None:
    own = quick("n2d", epochs=1).fit(pictures(24))
    assert own.embedding_.shape == (24, 4)
    first = quick("simclr").fit(pictures(24))
    assert np.array_equal(quick("n2d", encoder=first).fit(pictures(24)).embedding_, first.embedding_)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["adc", "deep-cluster", "imsat", "ruc"])
def test_three_kinds_are_found(name: str) -> None:
    model = quick(name, epochs=8, batch_size=24, views="none:noise=0.05").fit(pictures(72))
    assert clustering_scores(kinds(72), model.labels_).accuracy > 0.8


@pytest.mark.parametrize(
    ("model", "what"),
    [
        (DeepCluster(pseudo_classes=1), "pseudo_classes=1"),
        (IMSAT(adversarial=-1.0), "adversarial=-1.0"),
        (IMSAT(n_classes="auto"), "n_classes='auto'"),
        (IMSAT(batch_size=8), "batch_size=8 is smaller than n_classes=10"),
        (ADC(embedding_dim=0), "embedding_dim=0"),
        (ADC(temperature=0.0), "temperature=0.0"),
        (ADC(visit=-1.0), "visit=-1.0"),
        (RUC(n_neighbours=0), "n_neighbours=0"),
        (RUC(clean_share=0.0), "clean_share=0.0"),
        (RUC(doubt_weight=-1.0), "doubt_weight=-1.0"),
        (N2D(code_size=0), "code_size=0"),
        (N2D(widths=(8, 0)), "widths="),
    ],
)
def test_settings_out_of_range_are_refused_by_name(model: Estimator, what: str) -> None:
    with pytest.raises(selfsort.UserError, match=what):
        model.fit(pictures(12))

from importlib import import_module

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance
from scipy.fft import dctn, idctn

from audit_samples import CHANGES, photo, shape
from selfsort.audit.duplicates import (
    LEAST_SIMILARITY,
    LikePairs,
    Pile,
    Thumbnails,
    hashes,
    pairs_of_piles,
    rotated_pairs,
    same_colours,
    similar_pairs,
    similarity,
)


def thumbnail(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("L").resize((32, 32), Image.Resampling.BICUBIC))


def thumbnails(count: int, first: int = 0) -> np.ndarray:
    return np.stack([thumbnail(photo(first + seed)) for seed in range(count)])


def by_formula(first: np.ndarray, second: np.ndarray) -> float:
    """Return the share of the second that the first and its changes explain, by plain least squares."""
    place = (np.arange(32) - 15.5) / 16
    down, right = np.gradient(first.astype(float))
    terms = [first.astype(float), down, right, down * place[:, None], right * place]
    frequency = np.hypot(*np.mgrid[:32, :32])
    weight = np.where(frequency <= 12, frequency, 0)
    a = np.stack([(weight * dctn(term, norm="ortho")).ravel() for term in terms], 1)
    b = (weight * dctn(second.astype(float), norm="ortho")).ravel()
    fitted = a @ np.linalg.lstsq(a, b, rcond=None)[0]
    return float(fitted @ fitted / (b @ b))


def test_hashes_are_signs_of_slow_cosine_waves():
    images = thumbnails(5)
    waves = dctn(images.astype(float), axes=(1, 2), norm="ortho").reshape(5, -1)
    slow = sorted(range(1024), key=lambda place: (sum(divmod(place, 32)), place))[1:129]
    expected = waves[:, slow] > 0
    found = np.unpackbits(hashes(images), axis=1).astype(bool)
    doubtful = np.abs(waves[:, slow]) < 1e-3
    assert ((found == expected) | doubtful).all() and doubtful.mean() < 0.01


def test_similarity_is_that_of_the_formula():
    images = thumbnails(12)
    pairs = [(a, b) for a in range(12) for b in range(12)]
    first, second = images[[a for a, _ in pairs]], images[[b for _, b in pairs]]
    expected = [by_formula(a, b) for a, b in zip(first, second, strict=True)]
    np.testing.assert_allclose(similarity(first, second), expected, atol=2e-3)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 1000), contrast=st.floats(0.4, 1.6), brightness=st.floats(-60, 60))
def test_brightness_and_contrast_do_not_matter(seed, contrast, brightness):
    image = np.float32(thumbnail(photo(seed)))
    changed = np.clip(contrast * (image - 128) + 128 + brightness, 0, 255)
    if ((changed == 0) | (changed == 255)).mean() > 0.02:
        return
    assert similarity(np.uint8(image)[None], np.uint8(changed)[None])[0] > 0.96


@pytest.mark.parametrize("change", CHANGES)
def test_changed_copies_are_similar_and_other_pictures_are_not(change):
    originals = thumbnails(100)
    copies = np.stack([thumbnail(CHANGES[change](photo(seed))) for seed in range(100)])
    assert similarity(originals, copies).min() > 0.9
    assert similarity(originals, np.roll(copies, 1, axis=0)).max() < LEAST_SIMILARITY


def test_pairs_do_not_depend_on_the_order_of_the_pictures():
    images = np.concatenate([thumbnails(60), thumbnails(20)])
    order = np.random.default_rng(0).permutation(80)
    straight, shuffled = similar_pairs(images), similar_pairs(images[order])
    expected = {frozenset(pair) for pair in zip(straight.first.tolist(), straight.second.tolist(), strict=True)}
    found = {frozenset((order[a], order[b])) for a, b in zip(shuffled.first, shuffled.second, strict=True)}
    assert found == expected == {frozenset((k, 60 + k)) for k in range(20)}


def test_few_and_constant_pictures_have_no_pairs():
    for images in (np.zeros((0, 32, 32)), np.zeros((1, 32, 32)), np.full((4, 32, 32), 7)):
        assert len(similar_pairs(np.uint8(images)).first) == 0


@pytest.mark.slow
def test_if_many_pictures_are_alike_only_the_most_similar_count():
    rng = np.random.default_rng(0)
    base = np.float32(thumbnail(photo(1)))
    images = base + 0.25 * np.float32(thumbnails(400, first=10)) + rng.normal(size=(400, 32, 32))
    images[7] = images[3]
    found = similar_pairs(np.clip(images / 1.25, 0, 255).astype(np.uint8))
    assert found.least > 0.99
    assert (3, 7) in set(zip(found.first.tolist(), found.second.tolist(), strict=True))
    assert len(found.first) < 20


def layout(image: Image.Image) -> np.ndarray:
    pixels = np.asarray(image.convert("RGB").resize((32, 32), Image.Resampling.BICUBIC), float)
    return np.rint(pixels.reshape(4, 8, 4, 8, 3).mean((1, 3))).astype(np.uint8)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 1000), contrast=st.floats(0.5, 1.8), brightness=st.floats(-60, 60))
def test_colours_stay_the_same_in_another_brightness_and_contrast(seed, contrast, brightness):
    image = np.float32(layout(photo(seed)))
    changed = contrast * (image - 128) + 128 + brightness
    if changed.min() < 0 or changed.max() > 255:
        return
    assert same_colours(np.uint8(image)[None], np.uint8(changed)[None])[0]


@pytest.mark.parametrize("change", [*CHANGES, "faded", "much brighter"])
def test_changed_copies_have_the_same_colours(change):
    others = {
        "faded": lambda image: ImageEnhance.Color(image).enhance(0.6),
        "much brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.5),
    }
    originals = [photo(seed) for seed in range(100)]
    copies = [(CHANGES | others)[change](image) for image in originals]
    same = same_colours(*(np.stack([layout(image) for image in images]) for images in (originals, copies)))
    assert same.mean() >= (0.97 if change == "much brighter" else 1)


@pytest.mark.parametrize("kind", [0, 1])
@pytest.mark.parametrize("paper", ["white", "black", "gray", "navy"])
def test_shapes_of_other_colours_differ_and_of_other_brightness_do_not(kind, paper):
    inks = ["red", "green", "blue", "yellow", "magenta", "cyan"]
    layouts = np.stack([layout(shape(ink, paper, kind)) for ink in inks])
    for one in range(6):
        same = same_colours(np.repeat(layouts[one][None], 6, 0), layouts)
        assert np.flatnonzero(same).tolist() == [one]
    greys = np.stack([layout(shape(grey, kind=kind)) for grey in ("black", "gray")])
    assert same_colours(greys[:1], greys[1:])[0]


def test_colours_are_compared_both_ways_alike():
    layouts = np.stack([layout(photo(seed)) for seed in range(40)])
    first, second = np.divmod(np.arange(1600), 40)
    same = same_colours(layouts[first], layouts[second]).reshape(40, 40)
    assert (same == same.T).all() and same.diagonal().all() and same.mean() < 0.2


def frames(count: int, noise: float = 2.0) -> np.ndarray:
    """Return frames of a camera that does not move."""
    rng = np.random.default_rng(0)
    still = np.float32(thumbnail(photo(99)))
    return np.clip(still + rng.normal(0, noise, (count, 32, 32)), 0, 255).astype(np.uint8)


def pairs_of(images: np.ndarray) -> set[tuple[int, int]]:
    found = similar_pairs(images)
    return set(zip(found.first.tolist(), found.second.tolist(), strict=True))


@pytest.mark.parametrize("noise", [0.0, 2.0])
def test_many_frames_of_a_still_camera_cost_other_copies_nothing(noise):
    originals = thumbnails(60)
    copies = np.stack([thumbnail(CHANGES["cropped"](photo(seed))) for seed in range(60)])
    found = similar_pairs(np.concatenate([frames(600, noise), originals, copies]))
    pairs = set(zip(found.first.tolist(), found.second.tolist(), strict=True))
    assert {pair for pair in pairs if pair[1] >= 600} == {(600 + k, 660 + k) for k in range(60)}
    assert {(0, k) for k in range(1, 600)} <= pairs and len(pairs) < 700
    assert found.warning == "" and found.least == LEAST_SIMILARITY


def test_pictures_that_only_hash_like_a_pile_stay_outside():
    rng = np.random.default_rng(0)
    waves = dctn(np.float32(thumbnail(photo(99))), norm="ortho")
    other = np.abs(rng.normal(size=(32, 32))) / (1 + np.hypot(*np.mgrid[:32, :32])) * np.sign(waves)
    other[0, 0] = 0
    other = idctn(other, norm="ortho")
    other = np.uint8(np.rint(128 + 120 * other / np.abs(other).max()))
    images = np.concatenate([frames(100, 0.0), np.stack([other, other])])
    assert np.unpackbits(hashes(images[:1]) ^ hashes(images[100:101])).sum() <= 16
    assert similarity(images[:1], images[100:101])[0] < LEAST_SIMILARITY
    assert pairs_of(images) == {(0, k) for k in range(1, 100)} | {(100, 101)}


def test_a_pile_is_compared_with_possible_keepers_of_its_leader():
    one, other = thumbnail(photo(1)), thumbnail(photo(2))
    images = np.stack([one, one, one, one, other, other])
    pile = Pile(1, np.array([2, 3, 4, 5]), np.ones(4, np.float32))
    found = pairs_of_piles(
        Thumbnails(images, None), [pile], LikePairs(np.array([0]), np.array([1]), np.ones(1, np.float32))
    )
    pairs = {pair for each in found for pair in zip(each.first.tolist(), each.second.tolist(), strict=True)}
    assert pairs == {(1, 2), (1, 3), (1, 4), (1, 5), (0, 2), (0, 3), (4, 5)}


def test_the_radius_shrinks_if_there_would_be_too_many_candidates(monkeypatch):
    monkeypatch.setattr("selfsort.audit.duplicates._MOST_CANDIDATES", 1)
    images = np.repeat(thumbnails(10), 20, axis=0)
    found = similar_pairs(images)
    assert len(found.first) == 0 or found.similarity.min() > 0.99
    assert "near duplicates may have been missed" in found.warning


@pytest.mark.parametrize("in_clusters", [False, True])
def test_a_mirrored_or_rotated_copy_is_found_among_the_nearest_by_features(
    in_clusters: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if in_clusters:
        monkeypatch.setattr("selfsort.audit.duplicates._ALL_COMPARED", 5)
        module = import_module("selfsort.clustering.near_duplicates")
        monkeypatch.setattr(module, "_POINTS_PER_CLUSTER", 6)
        monkeypatch.setattr(module, "_FITTED_PER_CLUSTER", 5)
    originals = np.stack([thumbnail(photo(seed)) for seed in range(12)])
    copies = [originals[0][:, ::-1], originals[1][::-1], np.rot90(originals[2]), np.rot90(originals[3], 2)]
    copies += [originals[4]]  # unchanged: left to `similar_pairs`
    thumbnails = np.concatenate([originals, np.stack(copies)])
    layouts = np.full((17, 4, 4, 3), 128, np.uint8)
    features = np.eye(12, dtype=np.float32)[[*range(12), 0, 1, 2, 3, 4]]
    found = rotated_pairs(thumbnails, layouts, features, 0.86)
    assert sorted(zip(found.first, found.second, strict=True)) == [(0, 12), (1, 13), (2, 14), (3, 15)]


def test_rotated_copies_in_other_colours_or_without_features_are_not_found() -> None:
    one = thumbnail(photo(0))
    thumbnails = np.stack([one, one[:, ::-1]])
    grey = np.full((2, 4, 4, 3), 128, np.uint8)
    red = grey.copy()
    red[1, ..., 0] = 255
    near, none = np.ones((2, 1), np.float32), np.zeros((2, 1), np.float32)
    assert len(rotated_pairs(thumbnails, grey, near, 0.86).first) == 1
    assert len(rotated_pairs(thumbnails, red, near, 0.86).first) == 0
    assert len(rotated_pairs(thumbnails, grey, none, 0.86).first) == 0

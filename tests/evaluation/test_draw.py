import hashlib

import numpy as np
import pytest

from selfsort.evaluation.draw import SampleDraw, most_doubtful, packed, ticket, turns, unpacked

IDS = [f"folder/{number}.png" for number in range(40)]
DOUBTFUL = np.arange(40) % 4 == 1


class TestDraw:
    def test_against_a_slow_reference(self):
        rest = sorted(range(40), key=lambda place: hashlib.sha256(f"7/2/folder/{place}.png".encode()).hexdigest())
        expected = []
        while rest:
            wanted = len(expected) % 3 == 2
            turn = [place for place in rest if DOUBTFUL[place] == wanted] or rest
            expected.append(turn[0])
            rest.remove(turn[0])
        assert SampleDraw.make(IDS, DOUBTFUL, 7, 2).order.tolist() == expected

    def test_each_picture_comes_once_and_every_third_is_doubtful(self):
        order = SampleDraw.make(IDS, DOUBTFUL, 0).order
        assert sorted(order.tolist()) == list(range(40))
        assert DOUBTFUL[order[:30]].tolist() == [False, False, True] * 10
        for n in range(31):
            assert turns(np.array(n)).tolist() == [n - DOUBTFUL[order[:n]].sum(), DOUBTFUL[order[:n]].sum()]

    def test_known_pictures_are_not_drawn(self):
        known = np.arange(40) < 15
        order = SampleDraw.make(IDS, DOUBTFUL, 0, 0, known).order
        assert sorted(order.tolist()) == list(range(15, 40))
        everything = SampleDraw.make(IDS, DOUBTFUL, 0, 0, np.ones(40, bool))
        assert everything.order.tolist() == [] and everything.order.dtype == np.int64

    def test_does_not_depend_on_the_order_of_pictures(self):
        turned = np.random.default_rng(0).permutation(40)
        other = SampleDraw.make([IDS[place] for place in turned], DOUBTFUL[turned], 3)
        assert turned[other.order].tolist() == SampleDraw.make(IDS, DOUBTFUL, 3).order.tolist()

    def test_seeds_and_numbers_draw_differently(self):
        orders = {tuple(SampleDraw.make(IDS, DOUBTFUL, seed, number).order) for seed in range(3) for number in range(3)}
        assert len(orders) == 9

    def test_every_picture_of_a_stratum_has_the_same_chance(self):
        first = [SampleDraw.make(IDS, DOUBTFUL, seed).order[:9] for seed in range(3000)]
        drawn = np.bincount(np.concatenate(first), minlength=40) / 3000
        assert np.abs(drawn[~DOUBTFUL] - 6 / 30).max() < 0.04 and np.abs(drawn[DOUBTFUL] - 3 / 10).max() < 0.04

    def test_names_that_are_not_text_have_tickets(self):
        assert ticket(0, 0, "\udce9.png") == hashlib.sha256(b"0/0/\xe9.png").digest()


class TestStrata:
    def test_the_most_doubtful_quarter(self):
        doubt = np.array([0.1, 0.5, 0.4, 0.5, 0.5, 0.0, 0.2, 0.3])
        assert np.flatnonzero(most_doubtful(doubt)).tolist() == [1, 3]
        assert most_doubtful(np.zeros(3)).tolist() == [False] * 3

    @pytest.mark.parametrize("n", [1, 7, 8, 9, 100])
    def test_packing_and_unpacking(self, n):
        flags = np.random.default_rng(n).random(n) < 0.3
        assert (unpacked(packed(flags), n) == flags).all()

    @pytest.mark.parametrize("text", ["gA==", "", "no base64!", "gAAA"])
    def test_texts_of_the_wrong_length_are_refused(self, text):
        with pytest.raises(ValueError, match="it is not base64|it does not hold"):
            unpacked(text, 9)

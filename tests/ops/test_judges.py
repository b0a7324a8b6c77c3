"""Judges beyond the accuracy of logits: their definitions as loops, and what they must not depend on."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.errors import ConfigError, ShapeError
from tutelage.ops.judges import (
    class_means,
    cluster_nmi,
    euclidean_scores,
    harmonic_mean,
    mean_interval,
    ncm_scores,
    ranking_auc,
    seen_auc,
)


def rows(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def dot(a, b):
    return math.fsum(x * y for x, y in zip(a.tolist(), b.tolist(), strict=True))


class TestClassMeans:
    def test_each_is_the_mean_of_its_samples_and_an_empty_class_is_zero(self):
        x, y = rows(0, 9, 4), torch.tensor([0, 2, 2, 0, 2, 3, 0, 2, 2])
        found = class_means(x, y, 5)
        for label in range(5):
            mine = [row for row, its in zip(x.tolist(), y.tolist(), strict=True) if its == label]
            mean = [sum(column) / len(mine) for column in zip(*mine, strict=True)] if mine else [0.0] * 4
            assert found[label].tolist() == pytest.approx(mean, abs=1e-12)

    def test_half_precision_is_summed_in_single(self):
        assert class_means(torch.ones(5000, 1).half(), torch.zeros(5000, dtype=torch.int64), 1).tolist() == [[1.0]]


class TestScores:
    def test_ncm_scores_are_the_cosines(self):
        x, c = rows(0, 6, 5), rows(1, 3, 5)
        expected = [[dot(a, b) / math.sqrt(dot(a, a) * dot(b, b)) for b in c] for a in x]
        assert ncm_scores(x, c).numpy() == pytest.approx(np.array(expected), abs=1e-12)

    def test_differences_of_euclidean_scores_are_those_of_minus_the_squared_distances(self):
        x, c = rows(0, 6, 5), rows(1, 3, 5)
        minus = torch.tensor([[-dot(a - b, a - b) for b in c] for a in x], dtype=torch.float64)
        found = euclidean_scores(x, c)
        torch.testing.assert_close(found - found[:, :1], minus - minus[:, :1], atol=1e-12, rtol=0)

    @pytest.mark.parametrize("score", [ncm_scores, euclidean_scores])
    def test_episodes_are_scored_each_by_its_own_means(self, score):
        x, c = rows(0, 4, 6, 5), rows(1, 4, 3, 5)
        expected = torch.stack([score(x[i], c[i]) for i in range(4)])
        torch.testing.assert_close(score(x, c), expected)

    def test_an_offset_of_1000_leaves_the_euclidean_order_alone(self):
        x, c = rows(0, 200, 16).float(), rows(1, 5, 16).float()
        assert torch.equal(euclidean_scores(x + 1000, c + 1000).argmax(1), euclidean_scores(x, c).argmax(1))

    def test_a_row_of_zeros_has_no_direction(self):
        assert ncm_scores(torch.zeros(1, 3), torch.eye(3)).tolist() == [[0.0, 0.0, 0.0]]

    def test_autocast_and_half_precision_lose_nothing(self):
        x, c = rows(0, 6, 5).half(), rows(1, 3, 5).half()
        for score in (ncm_scores, euclidean_scores):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                found = score(x, c)
            assert torch.equal(found, score(x.float(), c.float()))


class TestAuc:
    @settings(max_examples=40, deadline=None)
    @given(values=st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=2, max_size=25))
    def test_it_is_the_share_of_pairs_in_the_right_order_ties_counting_half(self, values):
        above = [score for score, is_positive in values if is_positive]
        below = [score for score, is_positive in values if not is_positive]
        found = ranking_auc(torch.tensor([float(v) for v, _ in values]), torch.tensor([p for _, p in values]))
        if not above or not below:
            assert math.isnan(found)
            return
        pairs = [1.0 if a > b else 0.5 if a == b else 0.0 for a, b in itertools.product(above, below)]
        assert found == pytest.approx(sum(pairs) / len(pairs), abs=1e-12)

    def test_it_is_that_of_scikit_learn(self):
        from sklearn.metrics import roc_auc_score

        scores, truth = rows(0, 300).round(decimals=1), rows(1, 300) > 0.3
        assert ranking_auc(scores, truth) == pytest.approx(roc_auc_score(truth.numpy(), scores.numpy()), abs=1e-12)

    def test_refilleds_weight_ranks_as_one_minus_u_hat_does(self):
        logits, seen = 3 * rows(0, 80, 7), rows(1, 80) > 0
        u = -torch.log(logits.softmax(1).amax(1))
        u_hat = (u - u.min()) / (u.max() - u.min())
        assert seen_auc(logits, seen) == pytest.approx(ranking_auc(1 - u_hat, seen), abs=1e-12)
        assert seen_auc(logits, seen) == pytest.approx(ranking_auc(2 * torch.sigmoid(-u_hat), seen), abs=1e-12)

    def test_a_sure_teacher_still_ranks(self):
        logits = torch.tensor([[99.0, 0.0], [60.0, 0.0], [20.0, 0.0], [19.0, 0.0]])
        assert logits.softmax(1).amax(1).unique().tolist() == [1.0]
        assert seen_auc(logits, torch.tensor([True, True, False, False])) == 1.0

    def test_what_has_no_rank_is_refused(self):
        with pytest.raises(ShapeError, match="NaN has no rank"):
            ranking_auc(torch.tensor([0.0, math.nan]), torch.tensor([True, False]))

    @pytest.mark.usefixtures("own_messages")
    def test_scores_of_other_samples_are_refused(self):
        with pytest.raises(ShapeError, match=r"got \(3,\) and \(2,\)"):
            ranking_auc(torch.zeros(3), torch.tensor([True, False]))


class TestNmi:
    def test_it_is_two_i_over_the_sum_of_the_entropies(self):
        # Three tight bundles and two labels: k-means is told two clusters, and merges the two bundles at 10 degrees.
        angles = torch.tensor([0.0, 10.0, 180.0]).deg2rad().repeat_interleave(4)
        x = torch.stack([angles.cos(), angles.sin()], 1)
        labels = torch.tensor([0] * 4 + [1] * 8)
        clusters = [0] * 8 + [1] * 4
        both = list(zip(clusters, labels.tolist(), strict=True))

        def entropy(of):
            shares = [of.count(value) / len(of) for value in set(of)]
            return -sum(share * math.log(share) for share in shares)

        shared = entropy(clusters) + entropy(labels.tolist()) - entropy(both)
        expected = 2 * shared / (entropy(clusters) + entropy(labels.tolist()))
        assert cluster_nmi(x, labels) == pytest.approx(expected, abs=1e-9)

    def test_size_of_a_row_and_names_of_clusters_do_not_count(self):
        x = torch.eye(3).repeat_interleave(5, 0) + 0.01 * rows(0, 15, 3).float()
        labels = torch.tensor([2, 0, 1]).repeat_interleave(5)
        assert cluster_nmi(x * torch.arange(1, 16).unsqueeze(1), labels) == pytest.approx(1.0)

    @pytest.mark.usefixtures("own_messages")
    def test_labels_of_other_samples_are_refused(self):
        with pytest.raises(ShapeError, match="got 3 rows and 2 labels"):
            cluster_nmi(torch.eye(3), torch.tensor([0, 1]))


def test_the_harmonic_mean_is_that_of_the_two_and_lies_below_the_mean():
    assert harmonic_mean(0.8, 0.4) == pytest.approx(2 * 0.8 * 0.4 / (0.8 + 0.4))
    assert harmonic_mean(0.7, 0.7) == pytest.approx(0.7)
    assert harmonic_mean(0.0, 1.0) == 0.0


@pytest.mark.parametrize("shares", [(), (0.5, -0.1), (0.5, math.nan)])
def test_what_has_no_harmonic_mean_is_refused(shares):
    with pytest.raises(ConfigError, match="at least one number, none below 0"):
        harmonic_mean(*shares)


def test_the_interval_is_that_of_students_t():
    from scipy import stats

    values = rows(0, 600)
    low, high = stats.t.interval(0.95, 599, loc=values.mean().item(), scale=stats.sem(values.numpy()))
    mean, half_width = mean_interval(values)
    assert (mean - half_width, mean + half_width) == pytest.approx((low, high), abs=1e-12)
    with pytest.raises(ShapeError, match="at least 2 values, got 1"):
        mean_interval(values[:1])

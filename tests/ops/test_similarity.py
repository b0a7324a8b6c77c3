"""CKA and the gap of correlations against their definitions, and what they must not depend on."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.errors import ConfigError, ShapeError
from tutelage.ops.similarity import correlation_gap, linear_cka


def rows(seed, n=9, d=4):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def unbiased_hsic(x, y):
    """The U-statistic, over all ordered quadruples of different samples (Gretton et al. 2005, Song et al. 2012)."""
    k, m = (x @ x.T).tolist(), (y @ y.T).tolist()
    total, count = 0.0, 0
    for i, j, q, r in itertools.permutations(range(len(x)), 4):
        total += k[i][j] * (m[i][j] + m[q][r] - 2 * m[i][q])
        count += 1
    return total / count


def centred_gram(x):
    n = len(x)
    centring = torch.eye(n, dtype=x.dtype) - torch.full((n, n), 1 / n, dtype=x.dtype)
    return centring @ x @ x.T @ centring


@pytest.mark.parametrize("widths", [(4, 3), (1, 12), (15, 15)])
def test_it_is_the_ratio_of_the_unbiased_estimates_over_quadruples(widths):
    x, y = rows(0, 7, widths[0]), rows(1, 7, widths[1]) + 3
    expected = unbiased_hsic(x, y) / math.sqrt(unbiased_hsic(x, x) * unbiased_hsic(y, y))
    assert linear_cka(x, y).item() == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("widths", [(4, 3), (15, 12)])
def test_the_plain_form_is_the_cosine_of_centred_gram_matrices(widths):
    x, y = rows(0, 9, widths[0]) + 5, rows(1, 9, widths[1])
    k, m = centred_gram(x), centred_gram(y)
    expected = (k * m).sum() / (k.norm() * m.norm())
    assert linear_cka(x, y, debiased=False).item() == pytest.approx(expected.item(), abs=1e-12)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), scale=st.floats(1e-20, 1e20), shift=st.floats(-100, 100), debiased=st.booleans())
def test_rotation_scale_and_shift_of_either_change_nothing_and_the_order_of_the_two_neither(
    seed, scale, shift, debiased
):
    x, y = rows(seed, 12), rows(seed + 1, 12, 6)
    turn = torch.linalg.qr(rows(seed + 2, 4))[0]
    expected = linear_cka(x, y, debiased=debiased).item()
    assert linear_cka((x @ turn.T[:4, :4] + shift) * scale, y, debiased=debiased).item() == pytest.approx(
        expected, abs=1e-8
    )
    assert linear_cka(y, x, debiased=debiased).item() == pytest.approx(expected, abs=1e-12)


def test_independent_features_have_no_alignment_whatever_their_number_and_the_plain_form_says_otherwise():
    pairs = [(rows(seed, 60, 40), rows(seed + 100, 60, 40)) for seed in range(20)]
    fair = sum(linear_cka(x, y).item() for x, y in pairs) / 20
    plain = sum(linear_cka(x, y, debiased=False).item() for x, y in pairs) / 20
    assert abs(fair) < 0.02
    assert plain > 0.3


@pytest.mark.parametrize("value", [0.0, 0.1, 1e6])
def test_collapsed_features_are_alike_to_nothing(value):
    same = torch.full((50, 8), value)
    assert linear_cka(same, rows(0, 50).float()).isnan()
    assert linear_cka(rows(0, 50).float(), same, debiased=False).isnan()
    assert linear_cka(same, same).isnan()


def test_half_precision_and_autocast_lose_nothing():
    x, y = rows(0, 30, 5).half(), rows(1, 30, 7).bfloat16()
    expected = linear_cka(x.double(), y.double())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(linear_cka(x, y), expected)


@pytest.mark.usefixtures("own_messages")
def test_too_few_samples_are_refused_with_what_is_needed():
    with pytest.raises(ShapeError, match="at least 4 of them, got 3"):
        linear_cka(rows(0, 3), rows(1, 3))
    with pytest.raises(ShapeError, match="same samples"):
        linear_cka(rows(0, 8), rows(1, 9))


def gap_by_loops(student, teacher):
    n = len(student)
    ours, theirs = torch.corrcoef(student), torch.corrcoef(teacher)
    return [sum(abs(float(ours[i, j] - theirs[i, j])) for j in range(n) if j != i) / (n - 1) for i in range(n)]


@pytest.mark.parametrize("block", [1, 4, 1024])
def test_the_gap_is_that_of_the_correlation_matrices(block):
    student, teacher = rows(0, 9, 5), rows(1, 9, 7)
    found = correlation_gap(student, teacher, block=block)
    assert found.tolist() == pytest.approx(gap_by_loops(student, teacher), abs=1e-12)


def test_equal_outputs_have_no_gap_and_opposite_ones_of_two_classes_have_all_of_it():
    teacher = torch.tensor([[2.0, 0.0], [5.0, 1.0], [0.0, 3.0]])
    assert correlation_gap(teacher, teacher).tolist() == [0, 0, 0]
    assert correlation_gap(teacher, teacher * torch.tensor([[1.0], [-1.0], [1.0]])).tolist() == pytest.approx([1, 2, 1])


def test_a_shift_and_a_positive_scale_of_each_sample_change_nothing():
    student, teacher = rows(0, 9, 5), rows(1, 9, 5)
    moved = student * torch.arange(1, 10).unsqueeze(1) + torch.arange(9).unsqueeze(1)
    torch.testing.assert_close(correlation_gap(moved, teacher), correlation_gap(student, teacher))


def test_a_sample_with_flat_outputs_correlates_with_none():
    flat = torch.zeros(3, 4)
    teacher = torch.tensor([[1.0, 0, 0, 0], [2.0, 0, 0, 0], [0, 0, 0, -1.0]])
    # The teacher's correlations are 1, ⅓ and ⅓.
    assert correlation_gap(flat, teacher).tolist() == pytest.approx([2 / 3, 2 / 3, 1 / 3], abs=1e-6)


def test_no_gradient_flows_and_messages_say_what_to_do():
    x = rows(0).requires_grad_()
    assert not correlation_gap(x, x).requires_grad
    with pytest.raises(ShapeError, match="at least 2 of them, got 1"):
        correlation_gap(rows(0, 1), rows(0, 1))
    with pytest.raises(ConfigError, match="block must be at least 1, got 0"):
        correlation_gap(x, x, block=0)

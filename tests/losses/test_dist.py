import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.errors import ConfigError, ShapeError
from tutelage.losses import dist

few = settings(max_examples=15, deadline=None)


def logits(seed, n=6, k=5):
    return 3 * torch.randn(n, k, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def pearson_as_loops(a, b):
    x, y = ([v - sum(row) / len(row) for v in row] for row in (a, b))
    top = sum(p * q for p, q in zip(x, y, strict=True))
    return top / math.sqrt(sum(p * p for p in x) * sum(q * q for q in y))


def test_the_loss_is_its_definition_as_loops():
    student, teacher = logits(0), logits(1)
    q, p = ((x / 2).softmax(1) for x in (student, teacher))
    columns = sum(1 - pearson_as_loops(a, b) for a, b in zip(q.T.tolist(), p.T.tolist(), strict=True)) / 5
    rows = [1 - pearson_as_loops(a, b) for a, b in zip(q.tolist(), p.tolist(), strict=True)]
    expected = [4 * (3 * row + 0.5 * columns) for row in rows]
    found = dist(student, teacher, beta=3.0, gamma=0.5, temperature=2.0)
    torch.testing.assert_close(found.tolist(), expected, rtol=1e-10, atol=0.0)


# https://github.com/hunto/DIST_KD/blob/2418f18b1fedd7c2646a7b1b9a27d5c674c2170b/segmentation/losses/dist_kd.py (τ = 1)
# https://github.com/alextxu/ckd/blob/f8cc6bde87b452953fe6dfe7b27021020586907d/distiller_zoo/DIST.py (τ = 4)
# in float64: the loss, the norm of its gradient, the gradient of student_logits[0, 1]. They add 1e-8 to a product
# of norms that is as small as 0.01, hence the tolerance.
@pytest.mark.parametrize(
    ("weights", "loss", "norm", "entry"),
    [
        ({}, 1.11525014839988, 0.133321177793528, 0.0200002517475989),
        ({"beta": 2.0, "gamma": 0.5}, 1.3991345875587, 0.219137624416795, 0.0342433761725889),
        ({"temperature": 4.0}, 15.2448162105202, 2.52044794332345, -0.0888801645069233),
    ],
)
def test_loss_and_gradient_are_those_of_the_authors(wave, weights, loss, norm, entry):
    student = (3 * wave(6, 5)).requires_grad_()
    value = dist(student, 3 * wave(6, 5, phase=1.0), **weights).mean()
    (gradient,) = torch.autograd.grad(value, student)
    found = [value.item(), gradient.norm().item(), gradient[0, 1].item()]
    torch.testing.assert_close(found, [loss, norm, entry], rtol=1e-5, atol=0.0)


@few
@given(st.integers(0, 10**6))
def test_permuting_the_classes_of_both_changes_nothing(seed):
    student, teacher = logits(seed), logits(seed + 1)
    order = torch.randperm(5, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(dist(student[:, order], teacher[:, order]), dist(student, teacher))


@few
@given(st.integers(0, 10**6), st.floats(-50, 50))
def test_a_number_added_to_all_logits_of_a_sample_changes_nothing(seed, shift):
    student, teacher = logits(seed), logits(seed + 1)
    shifts = shift * torch.arange(6.0).unsqueeze(1)
    torch.testing.assert_close(dist(student + shifts, teacher), dist(student, teacher), rtol=1e-5, atol=1e-6)


def test_probabilities_that_are_a_line_of_the_teachers_have_no_loss_within_a_sample():
    p = logits(0).softmax(1)
    student = (0.5 * p + 0.1).log()  # sums to one, correlation one
    torch.testing.assert_close(dist(student, p.log(), gamma=0.0), torch.zeros(6).double(), rtol=0.0, atol=1e-12)


def test_the_gradient_is_that_of_finite_differences():
    student, teacher = logits(0).requires_grad_(), logits(1)
    assert torch.autograd.gradcheck(lambda s: dist(s, teacher, temperature=2.0), (student,))


def test_a_student_that_says_the_same_of_everything_counts_as_uncorrelated():
    student, teacher = torch.zeros(6, 5, requires_grad=True), logits(1).float()
    loss = dist(student, teacher)
    loss.mean().backward()
    torch.testing.assert_close(loss, torch.full((6,), 2.0))
    assert student.grad.tolist() == [[0.0] * 5] * 6
    assert dist(torch.zeros(6, 5), torch.zeros(6, 5)).tolist() == [0.0] * 6


@pytest.mark.parametrize("scale", [30.0, 80.0, 1e4])
def test_a_confident_student_has_a_finite_gradient(scale):
    student, teacher = (scale * logits(0)).float().requires_grad_(), logits(1).float()
    loss = dist(student, teacher)
    loss.mean().backward()
    assert loss.isfinite().all()
    assert student.grad.isfinite().all()


def test_two_samples_of_two_classes_are_enough():
    a = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    torch.testing.assert_close(dist(a.flip(0), a), torch.full((2,), 4.0))


@pytest.mark.usefixtures("own_messages")
def test_messages_say_what_was_wanted_what_came_and_what_to_do():
    with pytest.raises(ShapeError, match="at least 2 of them, got 1: use a larger batch"):
        dist(torch.zeros(1, 5), torch.zeros(1, 5))
    with pytest.raises(ShapeError, match="the same classes, got 5 and 4: select"):
        dist(torch.zeros(3, 5), torch.zeros(3, 4))
    with pytest.raises(ConfigError, match="temperature must be positive"):
        dist(torch.zeros(3, 5), torch.zeros(3, 5), temperature=0.0)
    with pytest.raises(ConfigError, match="beta must be at least 0, got -1"):
        dist(torch.zeros(3, 5), torch.zeros(3, 5), beta=-1.0)

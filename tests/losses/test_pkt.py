import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.errors import ShapeError
from tutelage.losses import pkt

few = settings(max_examples=15, deadline=None)


def rows(seed, n=6, d=4):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gradient_of(student, teacher):
    student = student.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(pkt(student, teacher).mean(), student)
    return gradient


def chances_as_loops(x):
    cosines = [[sum(a * b for a, b in zip(u, v, strict=True)) / math.hypot(*u) / math.hypot(*v) for v in x] for u in x]
    return [[(1 + c) / sum(1 + other for other in row) for c in row] for row in cosines]


def test_the_loss_is_its_definition_as_loops():
    ours, theirs = chances_as_loops(rows(0).tolist()), chances_as_loops(rows(1, d=7).tolist())
    expected = [
        sum(q * math.log((q + 1e-7) / (p + 1e-7)) for p, q in zip(u, v, strict=True)) / 6
        for u, v in zip(ours, theirs, strict=True)
    ]
    torch.testing.assert_close(pkt(rows(0), rows(1, d=7)).tolist(), expected, rtol=1e-9, atol=0.0)


# https://github.com/HobbitLong/RepDistiller/blob/b84f547c5db6a35318d4671d7d5c4de74c822403/distiller_zoo/PKT.py ("code
# from author") in float64: the loss, the norm of its gradient, the gradient of student[0, 1]. It adds 1e-7 to lengths.
def test_loss_and_gradient_are_those_of_the_authors(wave):
    student, teacher = wave(6, 4), wave(6, 7, phase=1.0)
    gradient = gradient_of(student, teacher)
    found = [pkt(student, teacher).mean().item(), gradient.norm().item(), gradient[0, 1].item()]
    expected = [0.019356974047510946, 0.03445565121736211, -0.006516189839153256]
    torch.testing.assert_close(found, expected, rtol=2e-6, atol=0.0)


@few
@given(st.integers(0, 10**6))
def test_it_is_a_divergence_that_lengths_and_orientation_do_not_change(seed):
    student, teacher = rows(seed), rows(seed + 1)
    changed = (rows(seed + 2, d=1).abs() + 0.1) * student @ torch.linalg.qr(rows(seed + 3, n=4)).Q
    torch.testing.assert_close(pkt(changed, teacher), pkt(student, teacher))
    assert pkt(student, teacher).min() > -1e-8  # ε alone may take it below zero


def test_the_gradient_is_that_of_finite_differences():
    student, teacher = rows(0).requires_grad_(), rows(1)
    assert torch.autograd.gradcheck(lambda s: pkt(s, teacher), (student,))


@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e30])
def test_a_collapsed_tiny_or_huge_student_stays_finite(scale):
    student = (scale * torch.ones(6, 4)).requires_grad_()
    loss = pkt(student, rows(1).float())
    loss.mean().backward()
    assert loss.isfinite().all()
    assert student.grad.isfinite().all()
    if scale == 0.0:
        assert student.grad.abs().max() == 0.0  # no direction, no gradient


def test_a_row_of_zeros_has_cosine_zero_with_every_other():
    student, teacher = rows(0), rows(1)
    student[2] = 0.0
    cosines = torch.nn.functional.normalize(student) @ torch.nn.functional.normalize(student).T
    ours = (1 + cosines) / (1 + cosines).sum(1, keepdim=True)
    cosines = torch.nn.functional.normalize(teacher) @ torch.nn.functional.normalize(teacher).T
    theirs = (1 + cosines) / (1 + cosines).sum(1, keepdim=True)
    torch.testing.assert_close(pkt(student, teacher), (theirs * (theirs / ours).log()).mean(1), rtol=1e-5, atol=0.0)


@pytest.mark.parametrize("turn", [1.0, 1 - 1e-4, -1.0])
def test_opposite_and_coincident_students_keep_loss_and_gradient_finite(turn):
    student = rows(0).float()
    student[3] = -student[1]  # similarity zero: only ε keeps the logarithm, and its slope, finite
    student[4] = turn * student[2] + (0 if abs(turn) == 1 else 1e-4)
    assert pkt(student, rows(1).float()).isfinite().all()
    gradient = gradient_of(student, rows(1).float())
    assert gradient.norm() < 1
    expected = gradient_of(student.double(), rows(1))
    # ε is the rounding of a similarity, so that of opposites decides a part of the gradient; without them it is 1e-6.
    assert (gradient - expected).norm() < 0.1 * expected.norm()


def test_an_offset_common_to_all_features_leaves_the_gradient_right_or_next_to_nothing():
    student, teacher = rows(0, n=32, d=64).float(), rows(1, n=32, d=64).float()
    whole = gradient_of(student, teacher).norm()
    for offset, tolerance in ((10.0, 1e-3), (1000.0, 2.0)):
        # At 1000 all cosines are within 1e-6 of 1: what float32 keeps of their differences is noise.
        given = student + offset, teacher - offset
        expected = gradient_of(*(x.double() for x in given))
        found = gradient_of(*given)
        assert (found - expected).norm() < tolerance * expected.norm()
        assert found.norm() < 1e-2 * whole


@pytest.mark.usefixtures("own_messages")
def test_messages_say_what_was_wanted_what_came_and_what_to_do():
    assert pkt(rows(0, n=2), rows(1, n=2)).isfinite().all()
    with pytest.raises(ShapeError, match="at least 2 of them, got 1: use a larger batch"):
        pkt(rows(0, n=1), rows(1, n=1))
    with pytest.raises(ShapeError, match=r"the same samples, got 4 and 5 rows"):
        pkt(torch.zeros(4, 8), torch.zeros(5, 8))

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.errors import ShapeError
from tutelage.losses import similarity_preserving

few = settings(max_examples=15, deadline=None)


def rows(seed, n=6, d=4):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def similarities_as_loops(x):
    gram = [[sum(a * b for a, b in zip(u, v, strict=True)) for v in x] for u in x]
    return [[g / math.hypot(*row) for g in row] for row in gram]


def gradient_of(student, teacher):
    student = student.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(similarity_preserving(student, teacher).mean(), student)
    return gradient


def test_the_loss_is_its_definition_as_loops():
    ours, theirs = similarities_as_loops(rows(0).tolist()), similarities_as_loops(rows(1, d=7).tolist())
    expected = [sum((a - b) ** 2 for a, b in zip(u, v, strict=True)) / 6 for u, v in zip(ours, theirs, strict=True)]
    torch.testing.assert_close(similarity_preserving(rows(0), rows(1, d=7)).tolist(), expected, rtol=1e-11, atol=0.0)


# https://github.com/HobbitLong/RepDistiller/blob/b84f547c5db6a35318d4671d7d5c4de74c822403/distiller_zoo/SP.py, which
# its author verified, in float64: the loss, the norm of its gradient, the gradient of student[0, 1].
def test_loss_and_gradient_are_those_of_the_literature(wave):
    student, teacher = wave(6, 4), wave(6, 7, phase=1.0)
    gradient = gradient_of(student, teacher)
    found = [similarity_preserving(student, teacher).mean().item(), gradient.norm().item(), gradient[0, 1].item()]
    expected = [0.10931573410203073, 0.05422700545630714, -0.01124431884927713]
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=0.0)


def test_rows_are_normalised_each_by_itself():
    # torchdistill passes the dimension as the exponent of the norm, which is 12.8 times too small at batch 16: with
    # p = 1 along the columns this student, whose similarities are those of the teacher but for their size, has a loss.
    assert similarity_preserving(7 * rows(1), rows(1)).abs().max() < 1e-15
    student, teacher = torch.eye(16), torch.ones(16, 1)
    # Rows are a unit vector and 1 / 4 everywhere: (1 − 1/4)² + 15 / 16 over 16 samples.
    torch.testing.assert_close(similarity_preserving(student, teacher), torch.full((16,), 1.5 / 16))


@few
@given(st.integers(0, 10**6), st.floats(1e-3, 1e3))
def test_size_and_orientation_of_either_side_do_not_count(seed, factor):
    student, teacher = rows(seed), rows(seed + 1)
    changed = factor * student @ torch.linalg.qr(rows(seed + 2, n=4)).Q
    expected = similarity_preserving(student, teacher)
    torch.testing.assert_close(similarity_preserving(changed, teacher), expected)
    torch.testing.assert_close(similarity_preserving(teacher, changed), expected)


def test_the_gradient_is_that_of_finite_differences():
    student, teacher = rows(0).requires_grad_(), rows(1)
    assert torch.autograd.gradcheck(lambda s: similarity_preserving(s, teacher), (student,))
    assert torch.autograd.gradgradcheck(lambda s: similarity_preserving(s, teacher).mean(), (student,))


@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e30])
def test_a_collapsed_tiny_or_huge_student_stays_finite(scale):
    student = (scale * torch.ones(6, 4)).requires_grad_()
    loss = similarity_preserving(student, rows(1).float())
    loss.mean().backward()
    assert loss.isfinite().all()
    assert student.grad.isfinite().all()
    if scale == 0.0:
        assert student.grad.abs().max() == 0.0  # alike to none, whatever it does


def test_coincident_samples_and_a_sample_of_zeros_keep_the_gradient_finite():
    student = rows(0).float()
    student[3], student[4] = student[1], 0.0
    gradient = gradient_of(student, rows(1).float())
    assert 0 < gradient.norm() < 1
    torch.testing.assert_close(gradient.double(), gradient_of(student.double(), rows(1)), rtol=0.0, atol=1e-6)


def test_an_offset_common_to_all_features_leaves_the_loss_right():
    # It makes all similarities nearly equal: the loss itself is 1e-7 of what it was.
    student, teacher = rows(0, n=32, d=16).float() + 100, rows(1, n=32, d=16).float() - 100
    expected = similarity_preserving(student.double(), teacher.double())
    torch.testing.assert_close(similarity_preserving(student, teacher).double(), expected, rtol=2e-2, atol=0.0)


@pytest.mark.usefixtures("own_messages")
def test_messages_say_what_was_wanted_what_came_and_what_to_do():
    assert similarity_preserving(rows(0, n=2), rows(1, n=2)).isfinite().all()
    with pytest.raises(ShapeError, match="at least 2 of them, got 1: use a larger batch"):
        similarity_preserving(rows(0, n=1), rows(1, n=1))
    with pytest.raises(ShapeError, match=r"one row a sample, \(n, d\), got \(4, 8, 2, 2\): pool or flatten"):
        similarity_preserving(torch.zeros(4, 8), torch.zeros(4, 8, 2, 2))

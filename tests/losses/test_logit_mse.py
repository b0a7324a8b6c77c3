import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.errors import ShapeError
from tutelage.losses import kd, logit_mse

few = settings(max_examples=15, deadline=None)


def logits(seed, n=3, k=4):
    return torch.randn(n, k, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_loss_is_its_definition_as_loops():
    student, teacher = logits(0), logits(1)
    expected = [
        sum((a - b) ** 2 for a, b in zip(s, t, strict=True)) / 4
        for s, t in zip(student.tolist(), teacher.tolist(), strict=True)
    ]
    torch.testing.assert_close(logit_mse(student, teacher).tolist(), expected, rtol=1e-12, atol=0.0)


@few
@given(st.integers(0, 10**6), st.floats(0.1, 10))
def test_scaling_both_scales_the_loss_by_the_square(seed, factor):
    student, teacher = logits(seed), logits(seed + 1)
    torch.testing.assert_close(logit_mse(factor * student, factor * teacher), factor**2 * logit_mse(student, teacher))


@few
@given(st.integers(0, 10**6))
def test_kd_at_a_high_temperature_is_half_of_it_on_centred_logits(seed):
    # https://arxiv.org/abs/1503.02531, section 2.1
    student, teacher = (x - x.mean(1, keepdim=True) for x in (logits(seed), logits(seed + 1)))
    torch.testing.assert_close(
        kd(student, teacher, temperature=1e4), logit_mse(student, teacher) / 2, rtol=1e-3, atol=0
    )


def test_the_gradient_is_that_of_finite_differences():
    student, teacher = logits(0).requires_grad_(), logits(1)
    assert torch.autograd.gradcheck(lambda s: logit_mse(s, teacher), (student,))


def test_half_precision_does_not_overflow():
    student = torch.full((2, 4), 300.0, dtype=torch.float16)  # 300² is beyond the largest float16
    assert logit_mse(student, torch.zeros(2, 4, dtype=torch.float16)).tolist() == [90000.0, 90000.0]


@pytest.mark.usefixtures("own_messages")
def test_messages_say_what_was_wanted_what_came_and_what_to_do():
    with pytest.raises(ShapeError, match="the same classes, got 5 and 4: select and order"):
        logit_mse(torch.zeros(2, 5), torch.zeros(2, 4))

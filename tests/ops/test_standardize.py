"""Logit standardisation, alone and in the losses that the authors use it with."""

import math
import statistics

import pytest
import torch

from tutelage.losses import dist, dkd, kd, logit_mse
from tutelage.ops.standardize import centred_units, standardize


def logits(seed, n=5, k=4, scale=3.0):
    return scale * torch.randn(n, k, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def wave(*shape, phase=0.0):
    k = torch.arange(1, math.prod(shape) + 1, dtype=torch.float64)
    return torch.sin(0.37 * k * k + phase).reshape(shape)


def test_rows_are_z_scores_by_the_definition():
    for row, expected in zip(standardize(logits(0)).tolist(), logits(0).tolist(), strict=True):
        mean, deviation = statistics.fmean(expected), statistics.stdev(expected)
        torch.testing.assert_close(row, [(z - mean) / deviation for z in expected], rtol=1e-12, atol=1e-12)


# https://github.com/sunshangquan/logit-standardization-KD/blob/f6e5aa5172bad618e801163c3385322eea673754/mdistiller/distillers/KD.py
# and DKD.py beside it, in float64: the loss, the norm of its gradient, the gradient of student_logits[0, 1].
@pytest.mark.parametrize(
    ("loss", "numbers"),
    [
        (lambda s, t: kd(s, t, temperature=2.0), [0.32576541959462, 0.0686600064277753, 0.00520781705504235]),
        (lambda s, t: kd(s, t, temperature=4.0), [0.341159229679567, 0.0719249259238928, 0.00243914853325264]),
        (
            lambda s, t: dkd(s, t, torch.arange(6) % 5, alpha=1.0, beta=8.0, temperature=2.0),
            [2.17559592732722, 0.504144429043299, -0.0255785227955801],
        ),
    ],
)
def test_losses_and_gradients_are_those_of_the_authors(loss, numbers):
    student = (3 * wave(6, 5)).requires_grad_()
    value = loss(standardize(student), standardize(3 * wave(6, 5, phase=1.0))).mean()
    (gradient,) = torch.autograd.grad(value, student)
    found = [value.item(), gradient.norm().item(), gradient[0, 1].item()]
    torch.testing.assert_close(found, numbers, rtol=1e-6, atol=0.0)  # theirs adds 1e-7 to the deviation


@pytest.mark.parametrize("loss", [kd, logit_mse, dist])
def test_a_scale_and_an_offset_of_each_row_count_no_more(loss):
    student, teacher, scale = logits(0), logits(1), torch.tensor([[1.0], [2.0], [0.1], [30.0], [5.0]])
    expected = loss(standardize(student), standardize(teacher))
    torch.testing.assert_close(loss(standardize(scale * student + 7), standardize(teacher - scale)), expected)
    assert not torch.allclose(loss(scale * student + 7, teacher), loss(student, teacher))


def test_logit_mse_of_z_scores_is_one_minus_the_correlation():
    student, teacher = logits(0), logits(1)
    found = logit_mse(standardize(student), standardize(teacher))
    pairs = zip(student, teacher, strict=True)
    correlations = torch.stack([torch.corrcoef(torch.stack(pair))[0, 1] for pair in pairs])
    torch.testing.assert_close(found, 2 * 3 / 4 * (1 - correlations))


def test_a_constant_row_is_zero_and_sends_back_nothing():
    x = torch.tensor([[0.1, 0.1, 0.1], [1000.0, 1000.0, 1000.0], [1.0, 2.0, 4.0]], requires_grad=True)
    rows = standardize(x)
    assert rows[:2].tolist() == [[0.0] * 3] * 2
    (rows * torch.tensor([1.0, 2.0, 3.0])).sum().backward()
    assert x.grad[:2].tolist() == [[0.0] * 3] * 2
    assert x.grad[2].abs().max() > 0.1
    assert centred_units(x)[1].tolist() == [False, False, True]


def test_two_classes_keep_their_order_only():
    x = torch.tensor([[0.0, 1e-3], [500.0, -500.0]], requires_grad=True)
    torch.testing.assert_close(standardize(x), torch.tensor([[-1.0, 1.0], [1.0, -1.0]]) / 2**0.5)
    (standardize(x) * torch.tensor([1.0, -2.0])).sum().backward()
    assert (x.grad * x.detach().std(1, keepdim=True)).abs().max() < 1e-5


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_and_a_confident_student_stay_finite(dtype):
    x = torch.tensor([[60_000.0, -60_000.0, 0.0], [1.0, 2.0, 3.0]], dtype=dtype, requires_grad=True)
    rows = standardize(x)
    kd(rows, standardize(torch.tensor([[-5.0, 5.0, 0.0], [1.0, 0.0, 0.0]]))).sum().backward()
    assert rows.dtype == torch.float32
    assert rows.isfinite().all()
    assert x.grad.isfinite().all()


def test_an_offset_common_to_all_logits_changes_little():
    torch.testing.assert_close(standardize(logits(0).float() + 1000), standardize(logits(0).float()), rtol=0, atol=1e-3)


def test_the_gradient_is_that_of_finite_differences():
    assert torch.autograd.gradcheck(standardize, (logits(0, n=3).requires_grad_(),))

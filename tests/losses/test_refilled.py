import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.errors import ConfigError, ShapeError
from tutelage.losses import adaptive_weights, kd, local_classifier

few = settings(max_examples=15, deadline=None)
half_types = pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
PRESENT = torch.tensor([True, False, True, True, False, True])


def logits(seed, n=5, k=6):
    return 3 * torch.randn(n, k, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def weights(n=5):
    return torch.linspace(0.6, 1.0, n, dtype=torch.float64)


def softmax_as_loops(row):
    powers = [math.exp(z) for z in row]
    return [power / sum(powers) for power in powers]


@pytest.mark.parametrize(("temperature", "student_temperature"), [(1.0, 1.0), (2.0, 2.0), (3.0, 0.5)])
def test_the_loss_is_its_definition_as_loops(temperature, student_temperature):
    student, teacher, expected = logits(0), logits(1), []
    for z, s, w in zip(student.tolist(), teacher.tolist(), weights().tolist(), strict=True):
        there = [k for k in range(6) if PRESENT[k]]
        p = softmax_as_loops([s[k] / temperature for k in there])
        q = softmax_as_loops([z[k] / student_temperature for k in there])
        expected.append(w * sum(a * math.log(a / b) for a, b in zip(p, q, strict=True)))
    found = local_classifier(
        student, teacher, PRESENT, weights(), temperature=temperature, student_temperature=student_temperature
    )
    torch.testing.assert_close(found.tolist(), expected, rtol=1e-10, atol=1e-15)


def test_the_weights_are_their_definition_as_loops():
    teacher = logits(2, n=8, k=4)
    doubt = [-math.log(max(softmax_as_loops(row))) for row in teacher.tolist()]
    share = [(u - min(doubt)) / (max(doubt) - min(doubt)) for u in doubt]
    expected = [2 / (1 + math.exp(u)) for u in share]
    torch.testing.assert_close(adaptive_weights(teacher).tolist(), expected, rtol=1e-10, atol=0)


# train_stage2 in Train.py, in float64, less its cross-entropy: the loss, the norm of its gradient, the gradient of
# student[0, 1].
# https://github.com/njulus/GKD/blob/a37fc79/Train.py ("gkd", "wgkd", and "wgkd" with lambd 10 and tau2 2),
# https://github.com/njulus/ReFilled/blob/be649aa/Train.py (tau2 2, lambd 100)
@pytest.mark.parametrize(
    ("weighted", "settings", "factor", "expected"),
    [
        (False, {}, 1.0, (1.4751536864446002, 0.19344463030321862, 0.04712670475085182)),
        (True, {}, 1.0, (1.0347552796286368, 0.13487472508793957, 0.037026721912235105)),
        (True, {"temperature": 2.0}, 10.0, (9.024168816697399, 1.2459684075593311, 0.3753866608397236)),
        (
            False,
            {"temperature": 2.0, "student_temperature": 2.0},
            100.0,
            (45.18065398167861, 6.382265909815882, 1.372045702441115),
        ),
    ],
)
def test_loss_and_gradient_are_those_of_the_authors(wave, weighted, settings, factor, expected):
    student, features, teacher = 3 * wave(12, 6), wave(12, 4, phase=2.0), 3 * wave(12, 7, phase=3.0)
    labels, student = torch.arange(12) % 4, student.requires_grad_()
    centres = torch.zeros(6, 4, dtype=torch.float64)
    for k in range(4):
        mean = features[labels == k].mean(0)
        centres[k] = mean / mean.norm()
    given = adaptive_weights(teacher) if weighted else torch.ones(12, dtype=torch.float64)
    loss = factor * local_classifier(student, features @ centres.T, torch.arange(6) < 4, given, **settings).mean()
    (gradient,) = torch.autograd.grad(loss, student)
    found = [loss.item(), gradient.norm().item(), gradient[0, 1].item()]
    torch.testing.assert_close(found, list(expected), rtol=1e-10, atol=0)


@few
@given(st.integers(0, 10**6), st.floats(0.01, 1000))
def test_the_weights_are_between_those_of_doubt_one_and_zero_and_reach_both(seed, scale):
    found = adaptive_weights(scale * logits(seed, n=20))
    least = 2 / (1 + math.e)
    assert found.min() == pytest.approx(least, rel=1e-9)
    assert found.max() == pytest.approx(1.0, rel=1e-9)
    assert round(least, 4) == 0.5379


@pytest.mark.parametrize("teacher", [torch.zeros(4, 3), torch.tensor([[0.0, 9.0]]), torch.full((2, 3), 50.0)])
def test_where_the_teacher_is_equally_sure_of_all_every_weight_is_one(teacher):
    assert torch.equal(adaptive_weights(teacher), torch.ones(len(teacher)))


def test_of_a_teacher_that_is_very_sure_the_weights_still_differ():
    teacher = torch.tensor([[30.0, 0.0], [25.0, 0.0], [40.0, 0.0]])  # −log p is 1e-13, 1e-11 and 4e-18
    exact = adaptive_weights(teacher.double())
    torch.testing.assert_close(adaptive_weights(teacher).double(), exact, rtol=1e-6, atol=0)
    assert exact.unique().numel() == 3


def test_the_weights_have_no_gradient():
    teacher = logits(0).requires_grad_()
    assert not adaptive_weights(teacher).requires_grad
    given = weights().requires_grad_()
    assert local_classifier(logits(0).requires_grad_(), teacher, PRESENT, given).requires_grad
    assert not local_classifier(logits(0), teacher, PRESENT, given).requires_grad


@few
@given(st.integers(0, 10**6))
def test_what_stands_in_the_columns_of_absent_classes_does_not_count_and_gets_no_gradient(seed):
    student, teacher = logits(seed).requires_grad_(), logits(seed + 1)
    loss = local_classifier(student, teacher, PRESENT, weights())
    (gradient,) = torch.autograd.grad(loss.mean(), student)
    others = torch.where(PRESENT, student.detach(), torch.inf), torch.where(PRESENT, teacher, torch.nan)
    assert torch.equal(local_classifier(*others, PRESENT, weights()), loss.detach())
    assert gradient[:, ~PRESENT].abs().max() == 0
    assert gradient[:, PRESENT].abs().max() > 0


def test_with_all_classes_and_no_weights_it_is_kd_without_its_square():
    every, ones = torch.ones(6, dtype=torch.bool), torch.ones(5, dtype=torch.float64)
    found = local_classifier(logits(0), logits(1), every, ones, temperature=4.0, student_temperature=4.0)
    torch.testing.assert_close(16 * found, kd(logits(0), logits(1), temperature=4.0))


@few
@given(st.integers(0, 10**6))
def test_permuting_samples_or_classes_does_what_it_should(seed):
    student, teacher = logits(seed), logits(seed + 1)
    generator = torch.Generator().manual_seed(seed)
    order, columns = torch.randperm(5, generator=generator), torch.randperm(6, generator=generator)
    loss = local_classifier(student, teacher, PRESENT, weights())
    moved = local_classifier(student[order], teacher[order], PRESENT, weights()[order])
    torch.testing.assert_close(moved, loss[order])
    renamed = local_classifier(student[:, columns], teacher[:, columns], PRESENT[columns], weights())
    torch.testing.assert_close(renamed, loss)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equal_scores_have_no_loss_and_no_gradient(dtype):
    student = logits(0).to(dtype).requires_grad_()
    loss = local_classifier(student, student.detach().clone(), PRESENT, weights().to(dtype))
    (gradient,) = torch.autograd.grad(loss.mean(), student)
    assert loss.tolist() == [0.0] * 5
    assert gradient.abs().max() < 1e-6


def test_a_single_class_is_always_right():
    student = logits(0).requires_grad_()
    loss = local_classifier(student, logits(1), torch.arange(6) == 2, weights())
    (gradient,) = torch.autograd.grad(loss.mean(), student)
    assert loss.tolist() == [0.0] * 5
    assert gradient.abs().max() == 0


def test_a_batch_of_one_and_two_classes_are_enough():
    loss = local_classifier(logits(0, 1, 2), logits(1, 1, 2), torch.ones(2, dtype=torch.bool), weights(1))
    assert loss.shape == (1,)
    assert loss > 0


def test_the_gradient_is_that_of_finite_differences():
    student = logits(0).requires_grad_()
    assert torch.autograd.gradcheck(lambda z: local_classifier(z, logits(1), PRESENT, weights()), (student,))


def test_a_confident_student_and_large_scores_keep_loss_and_gradient_finite():
    student = (1e4 * logits(0)).float().requires_grad_()
    loss = local_classifier(student, (1000 * logits(1) + 1e4).float(), PRESENT, weights().float())
    (gradient,) = torch.autograd.grad(loss.mean(), student)
    assert loss.isfinite().all()
    assert gradient.isfinite().all()
    assert gradient.abs().max() > 0


@half_types
def test_half_precision_is_computed_as_float32(dtype):
    student, teacher, given = (x.to(dtype) for x in (logits(0), logits(1), weights()))
    found = local_classifier(student, teacher, PRESENT, given)
    assert found.dtype == torch.float32
    assert torch.equal(found, local_classifier(student.float(), teacher.float(), PRESENT, given.float()))
    assert torch.equal(adaptive_weights(teacher), adaptive_weights(teacher.float()))


@pytest.mark.usefixtures("own_messages")
def test_messages_say_what_was_wanted_what_came_and_what_to_do():
    with pytest.raises(ShapeError, match=r"present must be one bool a class on cpu, \(6,\), got \(5,\) torch.bool"):
        local_classifier(logits(0), logits(1), PRESENT[:5], weights())
    with pytest.raises(ShapeError, match=r"got \(6,\) torch.float32 on cpu: mark the classes of the batch's labels"):
        local_classifier(logits(0), logits(1), PRESENT.float(), weights())
    with pytest.raises(ShapeError, match=r"weights must be one floating-point number a sample on cpu, \(5,\), got"):
        local_classifier(logits(0), logits(1), PRESENT, torch.ones(5, dtype=torch.int64))
    with pytest.raises(ShapeError, match=r"at least one class must be present, got none: mark"):
        local_classifier(logits(0), logits(1), ~(PRESENT | True), weights())
    with pytest.raises(ShapeError, match=r"must have the same classes, got 6 and 4"):
        local_classifier(logits(0), logits(1, k=4), PRESENT, weights())
    for name in ("temperature", "student_temperature"):
        with pytest.raises(ConfigError, match=f"{name} must be positive, got 0"):
            local_classifier(logits(0), logits(1), PRESENT, weights(), **{name: 0.0})

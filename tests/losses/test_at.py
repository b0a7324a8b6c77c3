import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.errors import ConfigError, ShapeError
from tutelage.losses import attention_transfer

few = settings(max_examples=15, deadline=None)


def features(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def attention_as_loops(x, power):
    """Unit attention of one sample, a list of places; x is channels × places."""
    places = [sum(abs(channel[p]) ** power for channel in x) / len(x) for p in range(len(x[0]))]
    length = sum(a * a for a in places) ** 0.5
    return [a / length if length else 0.0 for a in places]


@pytest.mark.parametrize("power", [1, 2, 3])
def test_the_loss_is_its_definition_as_loops(power):
    student, teacher = features(0, 3, 2, 4, 3), features(1, 3, 5, 4, 3)
    expected = []
    for s, t in zip(student, teacher, strict=True):
        ours, theirs = (attention_as_loops(x.flatten(1).tolist(), power) for x in (s, t))
        expected.append(sum((a - b) ** 2 for a, b in zip(ours, theirs, strict=True)) / 12)
    found = attention_transfer(student, teacher, power=power).tolist()
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=0.0)


def test_loss_and_gradient_are_those_of_repdistiller(wave):
    # https://github.com/HobbitLong/RepDistiller/blob/b84f547c5db6a35318d4671d7d5c4de74c822403/distiller_zoo/AT.py
    # in float64: the loss, the norm of its gradient, the gradient of student[0, 0, 0, 1].
    student = wave(3, 2, 4, 4).requires_grad_()
    value = attention_transfer(student, wave(3, 5, 4, 4, phase=1.0)).mean()
    (gradient,) = torch.autograd.grad(value, student)
    found = [value.item(), gradient.norm().item(), gradient[0, 0, 0, 1].item()]
    expected = [0.020491106713727125, 0.014733447512000487, -0.0019080119295187361]
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=0.0)


@few
@given(st.integers(0, 10**6), st.floats(1e-3, 1e3))
def test_size_sign_and_order_of_the_channels_do_not_count(seed, factor):
    student, teacher = features(seed, 3, 4, 5), features(seed + 1, 3, 2, 5)
    changed = -factor * student[:, torch.tensor([2, 0, 3, 1])]
    torch.testing.assert_close(attention_transfer(changed, teacher), attention_transfer(student, teacher))


@few
@given(st.integers(0, 10**6))
def test_it_lies_between_zero_and_two_over_the_places(seed):
    loss = attention_transfer(features(seed, 3, 1, 7), features(seed + 1, 3, 1, 7))
    assert (loss >= 0).all()
    assert (loss <= 2 / 7).all()


def test_it_is_largest_where_student_and_teacher_attend_to_different_places():
    student, teacher = torch.eye(2).view(1, 1, 4), torch.eye(2).flip(1).view(1, 1, 4)
    torch.testing.assert_close(attention_transfer(student, teacher), torch.tensor([2 / 4]))


@pytest.mark.parametrize("power", [2, 3])
def test_the_gradient_is_that_of_finite_differences(power):
    student, teacher = features(0, 2, 3, 2, 2).requires_grad_(), features(1, 2, 2, 2, 2)
    assert torch.autograd.gradcheck(lambda s: attention_transfer(s, teacher, power=power), (student,))


def gradient_of(student, teacher):
    student = student.clone().requires_grad_()
    loss = attention_transfer(student, teacher)
    return loss, torch.autograd.grad(loss.mean(), student)[0]


@pytest.mark.parametrize("size", [0.0, 1e-30, 1e30])
def test_dead_tiny_and_huge_maps_keep_loss_and_gradient_finite(size):
    student, teacher = features(0, 2, 3, 4).float(), features(1, 2, 3, 4).float()
    for ours, theirs in ((size * student, teacher), (student, size * teacher)):
        loss, gradient = gradient_of(ours, theirs)
        assert loss.isfinite().all()
        assert gradient.isfinite().all()
    if size:
        torch.testing.assert_close(attention_transfer(size * student, teacher), attention_transfer(student, teacher))
    else:
        assert gradient_of(size * student, teacher)[1].abs().max() == 0


def test_half_precision_does_not_overflow():
    # 300² is beyond the largest float16, 65504.
    student, teacher = 300 * torch.eye(4).view(1, 2, 8), torch.ones(1, 2, 8)
    halves = attention_transfer(student.half(), teacher.half())
    torch.testing.assert_close(halves, attention_transfer(student, teacher))


@pytest.mark.usefixtures("own_messages")
def test_messages_say_what_was_wanted_what_came_and_what_to_do():
    with pytest.raises(ShapeError, match=r"teacher features must be a map, .* got \(2, 16\): tap a layer before the"):
        attention_transfer(torch.zeros(2, 16, 8, 8), torch.zeros(2, 16))
    with pytest.raises(ShapeError, match=r"the same places, got \(8, 8\) and \(4, 4\): pool the larger"):
        attention_transfer(torch.zeros(2, 16, 8, 8), torch.zeros(2, 3, 4, 4))
    with pytest.raises(ShapeError, match=r"the same samples, got 2 and 3 rows"):
        attention_transfer(torch.zeros(2, 16, 8), torch.zeros(3, 16, 8))
    with pytest.raises(ConfigError, match=r"power must be positive, got 0"):
        attention_transfer(torch.zeros(2, 3, 8), torch.zeros(2, 3, 8), power=0)

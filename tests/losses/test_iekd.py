import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.errors import ConfigError, ShapeError
from tutelage.losses import exploration, inheritance

few = settings(max_examples=15, deadline=None)
both = pytest.mark.parametrize("loss", [inheritance, exploration])
each_distance = pytest.mark.parametrize("distance", ["l1", "l2", "cosine"])


def features(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gradient_of(loss, student, teacher, **settings):
    student = student.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(student, teacher, **settings).mean(), student)
    return gradient


def as_loops(student, teacher, loss, distance):
    found = []
    for s, t in zip(student.flatten(1).tolist(), teacher.flatten(1).tolist(), strict=True):
        ours, theirs = ([a / sum(b * b for b in row) ** 0.5 for a in row] for row in (s, t))
        cosine = sum(a * b for a, b in zip(ours, theirs, strict=True))
        p = 1 if distance == "l1" else 2
        gap = (sum(abs(a - b) ** p for a, b in zip(ours, theirs, strict=True)) / len(ours)) ** (1 / p)
        if loss is inheritance:
            found.append(1 - cosine if distance == "cosine" else gap)
        else:
            found.append(abs(cosine) if distance == "cosine" else -gap)
    return found


@both
@each_distance
def test_the_loss_is_its_definition_as_loops(loss, distance):
    student, teacher = features(0, 4, 2, 3, 3), features(1, 4, 2, 3, 3)
    expected = as_loops(student, teacher, loss, distance)
    torch.testing.assert_close(loss(student, teacher, distance=distance).tolist(), expected, rtol=1e-11, atol=0.0)


# https://github.com/aliyun/Revisiting-Knowledge-Distillation-an-Inheritance-and-Exploration-Framework/blob/
# 3274ab05b9a21935e3000373ecd64f4df93ab2ac/loss/factor_transfer.py, NormLoss and CosLoss, in float64: the loss, the norm
# of its gradient, the gradient of student_factor[0, 0, 0, 1]. Its negative CosLoss takes the modulus of each sample.
@pytest.mark.parametrize(
    ("loss", "distance", "expected"),
    [
        (inheritance, "l1", [0.1547918585594821, 0.023899798395253358, 0.0009569941118981939]),
        (exploration, "l1", [-0.1547918585594821, 0.023899798395253358, -0.0009569941118981939]),
        (inheritance, "cosine", [0.4730372446131014, 0.12714936191719176, -0.0009782421244701502]),
        (exploration, "cosine", [0.5269627553868986, 0.12714936191719176, 0.0009782421244701502]),
    ],
)
def test_loss_and_gradient_are_those_of_the_authors(wave, loss, distance, expected):
    student, teacher = wave(3, 2, 4, 4), wave(3, 2, 4, 4, phase=1.0)
    gradient = gradient_of(loss, student, teacher, distance=distance)
    value = loss(student, teacher, distance=distance).mean().item()
    found = [value, gradient.norm().item(), gradient[0, 0, 0, 1].item()]
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=0.0)


@few
@given(st.integers(0, 10**6), st.floats(1e-3, 1e3))
def test_exploration_is_bounded_below_and_the_size_of_a_factor_does_not_count(seed, factor):
    student, teacher = features(seed, 3, 8), features(seed + 1, 3, 8)
    for distance, lowest, highest in (("l1", -2 / 8**0.5, 0), ("l2", -2 / 8**0.5, 0), ("cosine", 0, 1)):
        value = exploration(student, teacher, distance=distance)
        assert ((lowest <= value) & (value <= highest)).all()
        torch.testing.assert_close(exploration(factor * student, teacher, distance=distance), value)


def test_the_bound_of_exploration_is_reached_by_opposite_factors():
    factor = torch.ones(2, 25)
    for distance, value in (("l1", -2 / 5), ("l2", -2 / 5)):
        torch.testing.assert_close(exploration(factor, -factor, distance=distance), torch.full((2,), value))
    assert exploration(torch.eye(2), torch.eye(2).flip(0), distance="cosine").tolist() == [0.0, 0.0]


@each_distance
def test_following_the_gradient_of_exploration_leaves_the_teacher_and_that_of_inheritance_reaches_it(distance):
    teacher = features(1, 4, 16)
    cosines = {}
    for loss in (inheritance, exploration):
        student = features(0, 4, 16) + teacher  # exploration starts near it
        for _ in range(200):
            gradient = gradient_of(loss, student, teacher, distance=distance)
            student = student - 0.1 * gradient / gradient.norm()
        cosines[loss] = torch.cosine_similarity(student, teacher)
    assert (cosines[inheritance] > 0.98).all()
    assert (cosines[exploration] < 0.2).all()


@both
@each_distance
def test_the_teacher_gets_no_gradient(loss, distance):
    student, teacher = features(0, 3, 4).requires_grad_(), features(1, 3, 4).requires_grad_()
    loss(student, teacher, distance=distance).mean().backward()
    assert teacher.grad is None
    assert student.grad.abs().sum() > 0


@both
@each_distance
def test_the_gradient_is_that_of_finite_differences(loss, distance):
    student, teacher = features(0, 2, 3, 2).requires_grad_(), features(1, 2, 3, 2)
    assert torch.autograd.gradcheck(lambda s: loss(s, teacher, distance=distance), (student,))


@both
@each_distance
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_equal_dead_and_single_factors_have_a_finite_loss_and_gradient(loss, distance, dtype):
    teacher = (100 * features(1, 3, 6)).to(dtype)
    student = torch.stack([teacher[0], torch.zeros(6, dtype=dtype), teacher[2]])
    for rows in (slice(0, 3), slice(1, 2)):
        value = loss(student[rows], teacher[rows], distance=distance)
        assert value.dtype == torch.float32
        assert value.isfinite().all()
        assert gradient_of(loss, student[rows], teacher[rows], distance=distance).isfinite().all()
    same = 1.0 if loss is exploration and distance == "cosine" else 0.0
    assert loss(student, teacher, distance=distance)[0].item() == pytest.approx(same, abs=1e-6)


@few
@given(st.integers(0, 10**6))
def test_permuting_the_batch_permutes_exploration(seed):
    student, teacher = features(seed, 5, 6), features(seed + 1, 5, 6)
    order = torch.randperm(5, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(exploration(student[order], teacher[order]), exploration(student, teacher)[order])


@both
@pytest.mark.usefixtures("own_messages")
def test_messages_say_what_was_wanted_what_came_and_what_to_do(loss):
    with pytest.raises(ShapeError, match=r"one shape, got \(2, 16\) and \(2, 32\)"):
        loss(torch.zeros(2, 16), torch.zeros(2, 32))
    with pytest.raises(ConfigError, match=r"distance must be one of l1, l2, cosine, got 'l3'"):
        loss(torch.zeros(2, 3), torch.zeros(2, 3), distance="l3")

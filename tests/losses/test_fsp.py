import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.errors import ShapeError
from tutelage.losses import fsp

few = settings(max_examples=15, deadline=None)


def layers(seed, n=3, places=(4, 4)):
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(n, c, *places, generator=generator, dtype=torch.float64) for c in (2, 5))


def flow_as_loops(lower, upper):
    """Rows of the flow of one sample: of every channel of the lower layer with every one of the upper."""
    return [[sum(a * b for a, b in zip(x, y, strict=True)) / len(x) for y in upper] for x in lower]


def test_the_loss_is_its_definition_as_loops():
    student, teacher = layers(0), layers(1, places=(2, 3))
    expected = []
    for i in range(3):
        ours, theirs = (flow_as_loops(*(x[i].flatten(1).tolist() for x in pair)) for pair in (student, teacher))
        gaps = [(a - b) ** 2 for r, q in zip(ours, theirs, strict=True) for a, b in zip(r, q, strict=True)]
        expected.append(sum(gaps) / len(gaps))
    torch.testing.assert_close(fsp(student, teacher).tolist(), expected, rtol=1e-10, atol=0.0)


def test_loss_and_gradient_are_those_of_the_literature(wave):
    # https://github.com/HobbitLong/RepDistiller/blob/b84f547c5db6a35318d4671d7d5c4de74c822403/distiller_zoo/FSP.py in
    # float64, which pools the lower layers by two: the loss, the norm of its gradient, the gradient of the second
    # number of the student's lower layer.
    lower = wave(2, 3, 4, 4).requires_grad_()
    student = (F.avg_pool2d(lower, 2), wave(2, 5, 2, 2, phase=0.5))
    teacher = (F.avg_pool2d(wave(2, 3, 8, 8, phase=1.0), 2), wave(2, 5, 4, 4, phase=1.5))
    value = fsp(student, teacher).mean()
    (gradient,) = torch.autograd.grad(value, lower)
    found = [value.item(), gradient.norm().item(), gradient[0, 0, 0, 1].item()]
    torch.testing.assert_close(
        found, [0.029738316711450434, 0.015823269423277272, 0.0011919376149784977], rtol=1e-9, atol=0.0
    )


@few
@given(st.integers(0, 10**6))
def test_a_sample_does_not_depend_on_the_rest_and_its_permutation_permutes_the_loss(seed):
    student, teacher = layers(seed, 5), layers(seed + 1, 5)
    order = torch.randperm(5, generator=torch.Generator().manual_seed(seed))
    loss = fsp(student, teacher)
    for chosen in (order, slice(2, 3)):
        part = fsp(tuple(x[chosen] for x in student), tuple(x[chosen] for x in teacher))
        torch.testing.assert_close(part, loss[chosen])


def test_places_may_change_their_order_in_both_layers_at_once():
    student, teacher = layers(0), layers(1)
    torch.testing.assert_close(fsp(tuple(x.flip(2) for x in student), teacher), fsp(student, teacher))
    assert (fsp((student[0].flip(2), student[1]), teacher) - fsp(student, teacher)).abs().max() > 1e-3


def test_equal_flows_have_no_loss_and_no_gradient():
    student = tuple(x.requires_grad_() for x in layers(0))
    loss = fsp(student, layers(0))
    gradients = torch.autograd.grad(loss.mean(), student)
    assert loss.tolist() == [0.0] * 3
    assert not any(gradient.any() for gradient in gradients)


def test_the_teacher_gets_no_gradient_and_both_layers_of_the_student_do():
    student, teacher = (tuple(x.requires_grad_() for x in layers(seed)) for seed in (0, 1))
    fsp(student, teacher).mean().backward()
    assert all(x.grad is None for x in teacher)
    assert all(x.grad.abs().sum() > 0 for x in student)


def test_the_gradient_is_that_of_finite_differences():
    lower, upper = (x.requires_grad_() for x in layers(0, 2, (2, 2)))
    teacher = layers(1, 2, (2, 2))
    assert torch.autograd.gradcheck(lambda a, b: fsp((a, b), teacher), (lower, upper))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_and_autocast_are_computed_as_float32(dtype):
    student, teacher = (tuple((300 * x).to(dtype) for x in layers(seed)) for seed in (0, 1))
    whole = fsp(tuple(x.float() for x in student), tuple(x.float() for x in teacher))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = fsp(student, teacher)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, whole)
    assert loss.isfinite().all()


@pytest.mark.usefixtures("own_messages")
def test_messages_say_what_was_wanted_what_came_and_what_to_do():
    a, b, c, small = (torch.zeros(2, *shape) for shape in ((4, 8, 8), (6, 8, 8), (8, 8, 8), (6, 4, 4)))
    with pytest.raises(ShapeError, match=r"same channels, got 4 to 6 and 4 to 8: put a connector"):
        fsp((a, b), (a, c))
    with pytest.raises(ShapeError, match=r"layers of the teacher .* got \(2, 4, 8, 8\) and \(2, 6, 4, 4\): pool"):
        fsp((a, b), (a, small))
    with pytest.raises(ShapeError, match=r"layers of the student must be maps .* got \(2, 4\) torch.float32: tap"):
        fsp((a[..., 0, 0], b), (a, b))

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.errors import ShapeError
from tutelage.losses import nst

few = settings(max_examples=15, deadline=None)

PLACES = (5, 6, (2, 2))  # fewer places than channels
CHANNELS = (3, 2, (4, 4))  # fewer channels than places
each_form = pytest.mark.parametrize("form", [PLACES, CHANNELS], ids=["places", "channels"])


def maps(seed, c, places, n=2):
    return torch.randn(n, c, *places, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def pair(form, seed=0):
    s, t, places = form
    return maps(seed, s, places), maps(seed + 1, t, places)


def kernel_as_loops(x, y):
    """Mean of (x · y)² over the channels of one sample, each of length one."""
    total = 0.0
    for u in x:
        for v in y:
            dot = sum(a * b for a, b in zip(u, v, strict=True)) / math.hypot(*u) / math.hypot(*v)
            total += dot**2
    return total / len(x) / len(y)


@each_form
def test_the_loss_is_its_definition_as_loops(form):
    student, teacher = pair(form)
    expected = [
        kernel_as_loops(f, f) + kernel_as_loops(g, g) - 2 * kernel_as_loops(f, g)
        for f, g in zip(student.flatten(2).tolist(), teacher.flatten(2).tolist(), strict=True)
    ]
    torch.testing.assert_close(nst(student, teacher).tolist(), expected, rtol=1e-10, atol=0.0)


# https://github.com/HobbitLong/RepDistiller/blob/b84f547c5db6a35318d4671d7d5c4de74c822403/distiller_zoo/NST.py in
# float64: the loss of one pair of maps, the norm of its gradient, the gradient of the student's second number.
@pytest.mark.parametrize(
    ("form", "loss", "norm", "entry"),
    [
        (PLACES, 0.2770802293732201, 0.21739970376805376, -0.03252023443584291),
        (CHANNELS, 0.6535462547438862, 0.1262986852079008, -0.0005801187850193838),
    ],
    ids=["places", "channels"],
)
def test_loss_and_gradient_are_those_of_the_literature(wave, form, loss, norm, entry):
    s, t, places = form
    student, teacher = wave(2, s, *places).requires_grad_(), wave(2, t, *places, phase=1.0)
    value = nst(student, teacher).mean()
    (gradient,) = torch.autograd.grad(value, student)
    found = [value.item(), gradient.norm().item(), gradient.flatten()[1].item()]
    torch.testing.assert_close(found, [loss, norm, entry], rtol=1e-10, atol=0.0)


@each_form
@few
@given(seed=st.integers(0, 10**6))
def test_order_size_and_sign_of_channels_and_the_order_of_places_do_not_count(form, seed):
    student, teacher = pair(form, seed)
    s, _, places = form
    generator = torch.Generator().manual_seed(seed)
    sizes = maps(seed + 2, s, (1, 1))
    changed = (sizes + 0.1 * sizes.sign()) * student[:, torch.randperm(s, generator=generator)]
    order = torch.randperm(math.prod(places), generator=generator)
    moved, same = (x.flatten(2)[:, :, order] for x in (changed, teacher))
    torch.testing.assert_close(nst(moved, same), nst(student, teacher))
    assert (nst(student, teacher) > -1e-15).all()


@each_form
def test_channels_that_come_twice_change_nothing(form):
    student, teacher = pair(form)
    torch.testing.assert_close(nst(student.repeat(1, 2, 1, 1), teacher), nst(student, teacher))


@each_form
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equal_maps_have_no_loss_and_no_gradient(form, dtype):
    student = pair(form)[0].to(dtype).requires_grad_()
    loss = nst(student, student.detach().clone())
    (gradient,) = torch.autograd.grad(loss.sum(), student)
    assert loss.tolist() == [0.0] * 2
    assert gradient.abs().max() < 1e-6


@each_form
def test_the_gradient_is_that_of_finite_differences(form):
    student, teacher = pair(form)
    assert torch.autograd.gradcheck(lambda s: nst(s, teacher), (student.requires_grad_(),))


@each_form
@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e30])
def test_dead_tiny_and_huge_maps_stay_finite(form, scale):
    student, teacher = (x.float() for x in pair(form))
    student = (scale * student).requires_grad_()
    loss = nst(student, teacher)
    loss.mean().backward()
    assert loss.isfinite().all()
    assert student.grad.isfinite().all()
    if scale == 0.0:
        assert student.grad.abs().max() == 0.0  # selective for nothing


@each_form
def test_a_dead_channel_is_left_out_of_the_sums_but_counts(form):
    student, teacher = pair(form)
    dead = student.clone()
    dead[:, 0] = 0.0
    f, g = (F.normalize(x.flatten(2), dim=2) for x in (dead, teacher))
    expected = (
        (f @ f.mT).square().mean((1, 2)) + (g @ g.mT).square().mean((1, 2)) - 2 * (f @ g.mT).square().mean((1, 2))
    )
    torch.testing.assert_close(nst(dead, teacher), expected)


@each_form
def test_an_offset_common_to_all_activations_leaves_the_loss_right(form):
    student, teacher = (x.float() for x in pair(form))
    student, teacher = student + 1000, teacher + 500
    expected = nst(student.double(), teacher.double())
    torch.testing.assert_close(nst(student, teacher).double(), expected, rtol=0.0, atol=1e-6)


@pytest.mark.usefixtures("own_messages")
def test_messages_say_what_was_wanted_what_came_and_what_to_do():
    x = torch.zeros(2, 3, 4, 4)
    with pytest.raises(ShapeError, match=r"student features must be a map, .* got \(2, 3\): tap a layer before"):
        nst(x[:, :, 0, 0], x)
    with pytest.raises(ShapeError, match=r"the same places, got \(4, 4\) and \(2, 2\): pool the larger"):
        nst(x, x[:, :, :2, :2])
    with pytest.raises(ShapeError, match="the same samples, got 2 and 1 rows"):
        nst(x, x[:1])
    with pytest.raises(ShapeError, match="teacher must be floating-point numbers"):
        nst(x, x.long())

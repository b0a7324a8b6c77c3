import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.errors import ShapeError
from tutelage.losses import native_ensemble

few = settings(max_examples=15, deadline=None)


def branches(seed, n=5, m=3, k=4, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(n, m, k, generator=generator, dtype=torch.float64)
    return logits.to(dtype), torch.randn(n, m, generator=generator, dtype=torch.float64).softmax(1).to(dtype)


def test_it_is_its_definition_as_loops():
    logits, shares = branches(0)
    expected = [
        [sum(g * z[c] for g, z in zip(gates, rows, strict=True)) for c in range(4)]
        for gates, rows in zip(shares.tolist(), logits.tolist(), strict=True)
    ]
    torch.testing.assert_close(native_ensemble(logits, shares).tolist(), expected, rtol=1e-12, atol=1e-12)


@few
@given(st.integers(0, 10**6))
def test_permuting_samples_permutes_it_and_permuting_networks_does_nothing(seed):
    logits, shares = branches(seed)
    generator = torch.Generator().manual_seed(seed)
    samples, networks = torch.randperm(5, generator=generator), torch.randperm(3, generator=generator)
    moved = native_ensemble(logits[samples][:, networks], shares[samples][:, networks])
    torch.testing.assert_close(moved, native_ensemble(logits, shares)[samples])


def test_networks_that_agree_are_their_ensemble_whatever_the_gate_says():
    logits, shares = branches(0)
    one = logits[:, :1].expand(-1, 3, -1)
    torch.testing.assert_close(native_ensemble(one, shares), logits[:, 0])


def test_a_gate_that_chooses_one_network_repeats_it():
    logits, _ = branches(0)
    chosen = torch.eye(3, dtype=torch.float64)[[0, 1, 2, 1, 0]]
    assert torch.equal(native_ensemble(logits, chosen), logits[range(5), [0, 1, 2, 1, 0]])


def test_gradients_of_networks_and_gate_are_those_of_finite_differences():
    given = [value.requires_grad_() for value in branches(0, n=3)]
    assert torch.autograd.gradcheck(native_ensemble, given)


@pytest.mark.parametrize("shape", [(1, 1, 2), (1, 3, 4), (5, 1, 2)])
def test_one_sample_one_network_and_two_classes_are_enough(shape):
    logits, shares = branches(0, *shape)
    assert native_ensemble(logits, shares).shape == (shape[0], shape[2])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_in_gives_finite_float32_out(dtype):
    logits, shares = branches(0, dtype=dtype)
    logits.requires_grad_()
    said = native_ensemble(logits * 1000, shares)
    said.sum().backward()
    assert said.dtype == torch.float32
    assert said.isfinite().all()
    assert logits.grad.isfinite().all()


def test_autocast_changes_nothing():
    logits, shares = branches(0, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        said = native_ensemble(logits, shares)
    assert torch.equal(said, native_ensemble(logits, shares))


@pytest.mark.usefixtures("own_messages")
def test_messages_say_what_was_wanted_what_came_and_what_to_do():
    with pytest.raises(ShapeError, match=r"must be \(n, m, k\) with at least two classes, got \(4, 10\): stack them"):
        native_ensemble(torch.zeros(4, 10), torch.zeros(4, 1))
    with pytest.raises(ShapeError, match=r"one a network, \(4, 3\), got \(4, 2\): give the softmax of a gate"):
        native_ensemble(torch.zeros(4, 3, 10), torch.zeros(4, 2))

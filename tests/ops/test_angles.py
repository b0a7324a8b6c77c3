import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.ops import angles as module
from tutelage.ops.angles import angle_gap
from tutelage.ops.distances import distances

few = settings(max_examples=15, deadline=None)


def rows(seed, n=6, d=4):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gap_of_directions(x, y, delta):
    """The same from unit vectors, n × n × d of them, followed by autograd."""
    cosines = []
    for z in (x, y):
        directions = F.normalize(z.unsqueeze(0) - z.unsqueeze(1), dim=2)
        cosines.append(directions @ directions.mT)
    return F.huber_loss(*cosines, reduction="none", delta=delta).mean((1, 2))


@few
@given(st.integers(0, 10**6), st.integers(3, 9), st.sampled_from([0.1, 0.5, 1.0, 2.0]))
def test_distances_alone_give_the_angles_between_directions(seed, n, delta):
    x, y = rows(seed, n), rows(seed + 1, n, 3)
    found = angle_gap(distances(x), distances(y), delta=delta)
    torch.testing.assert_close(found, gap_of_directions(x, y, delta), rtol=1e-9, atol=1e-13)


def test_the_gap_stays_between_zero_and_its_bound():
    # Three points on a line against the same points in another order: cosines of 1 against −1.
    line, other = torch.tensor([[0.0], [1.0], [2.0]]), torch.tensor([[1.0], [0.0], [2.0]])
    found = angle_gap(distances(line), distances(other))
    # At the first two vertices both orders of the pair add 2 − ½; the third sees the same angle in both.
    assert found.tolist() == pytest.approx([2 * 1.5 / 9, 2 * 1.5 / 9, 0.0])


@pytest.mark.parametrize("group", [1, 2, 4, 7])
def test_the_size_of_the_groups_changes_neither_values_nor_gradient(monkeypatch, group):
    x, y = rows(0, 7).requires_grad_(), rows(1, 7)
    expected = gap_of_directions(x, y, 0.3)
    monkeypatch.setitem(module._CHUNK, "cpu", group * 49)
    found = angle_gap(distances(x), distances(y), delta=0.3)
    torch.testing.assert_close(found, expected)
    for weights in (torch.ones(7), torch.arange(7.0)):
        wanted = torch.autograd.grad((weights * expected).sum(), x, retain_graph=True)[0]
        torch.testing.assert_close(torch.autograd.grad((weights * found).sum(), x, retain_graph=True)[0], wanted)


@pytest.mark.parametrize("n", [3, 128, 512, 1024])
def test_no_more_cosines_are_in_memory_than_a_group_or_one_vertex_needs(n):
    side = module._side(1 - torch.eye(n))
    rows_of_group, gap, spare = next(module._slabs(side, side))
    assert gap.shape == spare.shape == (rows_of_group.stop, n, n)
    assert gap.numel() <= max(n * n, module._CHUNK["cpu"])


@pytest.mark.parametrize("weights", [torch.ones(5), torch.arange(5.0)])
def test_the_gradient_by_distances_is_that_of_finite_differences_also_the_second(weights):
    ours, theirs = distances(rows(0, 5)).requires_grad_(), distances(rows(1, 5))

    def weighted(d):
        # The diagonal is no distance that could vary.
        return (weights * angle_gap(d * (1 - torch.eye(5)), theirs, delta=0.3)).sum()

    assert torch.autograd.gradcheck(weighted, (ours,))
    assert torch.autograd.gradgradcheck(weighted, (ours,))


def test_a_side_between_coincident_rows_has_cosine_zero_and_no_gradient():
    x, y = rows(0), rows(1)
    x[3] = x[1]
    x.requires_grad_()
    d = distances(x).detach().requires_grad_()
    found = angle_gap(d, distances(y))
    torch.testing.assert_close(found, gap_of_directions(x, y, 1.0).detach())
    for weights in (torch.ones(6), torch.arange(1.0, 7.0)):
        (gradient,) = torch.autograd.grad((weights * found).sum(), d, retain_graph=True)
        assert gradient[1, 3] == gradient[3, 1] == 0
        assert gradient.isfinite().all()
        assert gradient.abs().max() < 1


def test_rows_on_both_sides_of_what_counts_as_coincident_keep_every_cosine_in_range():
    # Rows 0, 1 and 2 lie 0.9e-6 and 1.1e-6 of the largest distance apart: just below and just above the threshold.
    x = torch.tensor([[0.0], [0.9e-6], [2.0e-6], [1.0]], dtype=torch.float64)
    side = module._side(distances(x))
    _, twice, spare = next(module._slabs(side, module._side(torch.zeros(4, 4, dtype=torch.float64))))
    assert spare.abs().max() == 0
    assert (twice[0, 1] == 0).all()
    assert (twice[1, 2].abs() > 0).sum() == 2
    assert twice.abs().max() <= 2 + 1e-9


def test_equal_distances_have_exactly_no_gap():
    d = distances(rows(0, 40).float())
    assert angle_gap(d, d).tolist() == [0.0] * 40

import pytest
import torch

from tutelage.errors import ShapeError
from tutelage.losses import hierarchical_context


def maps(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def pooled_as_loops(x, side):
    """Means of one channel, rows of numbers, over the places that PyTorch's adaptive pooling gives each of side²."""
    height, width = len(x), len(x[0])

    def ends(i, size):
        return i * size // side, -((-(i + 1) * size) // side)

    found = []
    for i in range(side):
        for j in range(side):
            (top, bottom), (left, right) = ends(i, height), ends(j, width)
            part = [x[a][b] for a in range(top, bottom) for b in range(left, right)]
            found.append(sum(part) / len(part))
    return found


def mean_square(pairs):
    gaps = [(a - b) ** 2 for a, b in pairs]
    return sum(gaps) / len(gaps)


def as_loops(student, teacher):
    total = mean_square([(a, b) for s, t in zip(student, teacher, strict=True) for r, q in zip(s, t, strict=True)
                         for a, b in zip(r, q, strict=True)])  # fmt: skip
    weight = whole = 1.0
    for side in (4, 2, 1):
        if side >= min(len(student[0]), len(student[0][0])):
            continue
        weight /= 2
        whole += weight
        channels = [(pooled_as_loops(s, side), pooled_as_loops(t, side)) for s, t in zip(student, teacher, strict=True)]
        total += weight * mean_square([pair for s, t in channels for pair in zip(s, t, strict=True)])
    return total / whole


@pytest.mark.parametrize("shape", [(2, 8, 8), (3, 4, 4), (2, 7, 5), (2, 3, 6), (4, 1, 1)])
def test_the_loss_is_its_definition_as_loops(shape):
    student, teacher = maps(0, 3, *shape), maps(1, 3, *shape)
    expected = [as_loops(s, t) for s, t in zip(student.tolist(), teacher.tolist(), strict=True)]
    torch.testing.assert_close(hierarchical_context(student, teacher).tolist(), expected, rtol=1e-11, atol=0.0)


# hcl of https://github.com/dvlab-research/ReviewKD/blob/cede6ea6387ae9b6127de0e561507177bf19c11e/CIFAR-100/model/reviewkd.py
# in float64: the loss of one pair of maps, the norm of its gradient, the gradient of the student's first number.
@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((2, 3, 8, 8), [0.26705908549437074, 0.041969107312238595, -0.0025286946104219107]),
        ((2, 3, 3, 3), [0.30103546901618755, 0.12594175861191015, -0.014609911219769709]),
        ((2, 5, 1, 1), [0.5275935993429224, 0.4593881144927119, -0.12365852588673043]),
    ],
)
def test_loss_and_gradient_are_those_of_the_authors(wave, shape, expected):
    student = wave(*shape).requires_grad_()
    value = hierarchical_context(student, wave(*shape, phase=1.0)).mean()
    (gradient,) = torch.autograd.grad(value, student)
    found = [value.item(), gradient.norm().item(), gradient[0, 0, 0, 0].item()]
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=0.0)


def test_a_gap_that_is_the_same_everywhere_counts_as_its_square_at_every_size():
    for side in (1, 2, 3, 8):
        teacher = maps(0, 2, 3, side, side)
        torch.testing.assert_close(
            hierarchical_context(teacher + 3, teacher), torch.full((2,), 9.0, dtype=torch.float64)
        )


def test_a_gap_that_averages_out_counts_less_than_one_that_does_not():
    teacher = torch.zeros(1, 1, 8, 8)
    chequered = torch.ones(8, 8)
    chequered[::2, ::2] = chequered[1::2, 1::2] = -1
    assert hierarchical_context(chequered[None, None], teacher).item() == pytest.approx(1 / 1.875)


def test_it_is_symmetric():
    student, teacher = maps(0, 3, 2, 5, 5), maps(1, 3, 2, 5, 5)
    assert torch.equal(hierarchical_context(student, teacher), hierarchical_context(teacher, student))


def test_the_gradient_is_that_of_finite_differences():
    student, teacher = maps(0, 2, 2, 5, 5).requires_grad_(), maps(1, 2, 2, 5, 5)
    assert torch.autograd.gradcheck(lambda s: hierarchical_context(s, teacher), (student,))


def test_a_large_offset_costs_no_more_than_its_rounding():
    student, teacher = maps(0, 2, 3, 8, 8), maps(1, 2, 3, 8, 8)
    far = hierarchical_context((student + 1000).float(), (teacher + 1000).float())
    torch.testing.assert_close(far.double(), hierarchical_context(student, teacher), rtol=1e-4, atol=0.0)


@pytest.mark.usefixtures("own_messages")
def test_messages_say_what_was_wanted_what_came_and_what_to_do():
    with pytest.raises(ShapeError, match=r"one shape, got \(2, 16, 8, 8\) and \(2, 32, 8, 8\): put a connector"):
        hierarchical_context(torch.zeros(2, 16, 8, 8), torch.zeros(2, 32, 8, 8))
    with pytest.raises(ShapeError, match=r"features must be maps, .* got \(2, 16\): give a vector height and width"):
        hierarchical_context(torch.zeros(2, 16), torch.zeros(2, 16))

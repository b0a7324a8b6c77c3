import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.errors import ConfigError, ShapeError
from tutelage.losses import crd, crd_normaliser

few = settings(max_examples=15, deadline=None)


def rows(seed, n=5, d=4):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def mask(seed, n=5, k=7):
    return torch.rand(n, k, generator=torch.Generator().manual_seed(seed)) < 0.7


def cosine_as_loops(x, y):
    return sum(a * b for a, b in zip(x, y, strict=True)) / math.hypot(*x) / math.hypot(*y)


def powers_as_loops(student, teacher, negatives, present, temperature):
    """exp(cos / τ) with the own row, and with each negative that counts, of every sample."""
    return [
        (
            math.exp(cosine_as_loops(s, t) / temperature),
            [math.exp(cosine_as_loops(s, o) / temperature) for o, there in zip(negatives, row, strict=True) if there],
        )
        for s, t, row in zip(student, teacher, present, strict=True)
    ]


@pytest.mark.parametrize("temperature", [0.07, 0.5])
def test_loss_and_normaliser_are_their_definitions_as_loops(temperature):
    given = rows(0), rows(1), rows(2, n=7)
    powers = powers_as_loops(*(x.tolist() for x in given), mask(3).tolist(), temperature)
    compared = [power for own, others in powers for power in (own, *others)]
    mean = sum(compared) / len(compared)
    expected = []
    for own, others in powers:
        noise = len(others) * mean  # K · Z / N
        expected.append(-math.log(own / (own + noise)) - sum(math.log(noise / (o + noise)) for o in others))
    settings_ = {"present": mask(3), "temperature": temperature}
    assert crd_normaliser(*given, **settings_).item() == pytest.approx(math.log(mean), rel=1e-12)
    torch.testing.assert_close(crd(*given, **settings_).tolist(), expected, rtol=1e-10, atol=0.0)


# https://github.com/HobbitLong/RepDistiller/tree/b84f547c5db6a35318d4671d7d5c4de74c822403/crd in
# float64: heads, memories and features are waves, n_data = 7, K = 6, T = 0.5. The loss of the student's side and of the
# teacher's, Z of both, in the first batch. The authors add 1e-7 to the denominators.
def test_loss_and_normaliser_are_those_of_the_authors(wave):
    ids = torch.tensor([0, 3, 5])
    of_student, of_teacher = (torch.nn.functional.normalize(wave(7, 4, phase=phase)) for phase in (2.0, 3.0))
    ours = wave(3, 5) @ wave(4, 5, phase=4.0).T + wave(4, phase=5.0)
    theirs = wave(3, 3, phase=0.5) @ wave(4, 3, phase=6.0).T + wave(4, phase=7.0)
    settings_ = {"present": ids.unsqueeze(1) != torch.arange(7), "temperature": 0.5}
    found = [
        function(anchors, memory[ids], memory, **settings_)
        for anchors, memory in ((ours, of_teacher), (theirs, of_student))
        for function in (crd, crd_normaliser)
    ]
    losses, levels = [found[0].mean().item(), found[2].mean().item()], [7 * found[i].exp().item() for i in (1, 3)]
    torch.testing.assert_close(losses, [3.0551052298660193, 2.9398291282586744], rtol=1e-6, atol=0.0)
    torch.testing.assert_close(levels, [7.482325679484815, 13.415789922062048], rtol=1e-12, atol=0.0)


@few
@given(st.integers(0, 10**6))
def test_lengths_and_a_rotation_of_the_common_space_do_not_count(seed):
    given = rows(seed), rows(seed + 1), rows(seed + 2, n=7)
    turn = torch.linalg.qr(rows(seed + 3, n=4)).Q
    changed = [(rows(seed + 4, n=len(x), d=1).abs() + 0.1) * x @ turn for x in given]
    torch.testing.assert_close(crd(*changed), crd(*given))


@few
@given(st.integers(0, 10**6))
def test_the_order_of_samples_and_of_negatives_does_not_count(seed):
    student, teacher, negatives, present = rows(seed), rows(seed + 1), rows(seed + 2, n=7), mask(seed)
    i, k = (torch.randperm(n, generator=torch.Generator().manual_seed(seed)) for n in (5, 7))
    found = crd(student[i], teacher[i], negatives[k], present=present[i][:, k])
    torch.testing.assert_close(found, crd(student, teacher, negatives, present=present)[i])


def test_negatives_that_do_not_count_are_as_if_they_were_not_there():
    given = rows(0), rows(1), rows(2, n=7)
    present = torch.tensor([True, False, True, True, False, False, True]).expand(5, 7)
    assert crd(*given, present=present).tolist() == pytest.approx(crd(*given[:2], given[2][present[0]]).tolist())


def test_the_loss_falls_as_a_sample_nears_its_own_row_and_leaves_the_others():
    own, other = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    angles = torch.linspace(0, torch.pi / 2, 9)
    near = torch.stack([angles.cos(), angles.sin()], 1)
    found = [crd(row.unsqueeze(0), own, other, normaliser=torch.tensor(0.0)).item() for row in near]
    assert found == sorted(found)
    assert found[0] < 0.7 < 14 < found[-1]  # ln 2, since cos = 0 is even odds here; and 1 / 0.07


def test_the_gradient_is_that_of_finite_differences():
    student, level = rows(0).requires_grad_(), torch.tensor(0.3)
    for settings_ in ({}, {"present": mask(3)}, {"normaliser": level}):
        # Without a normaliser it is taken from the rows, but no gradient flows through it: fixed for the comparison.
        fixed = {"normaliser": crd_normaliser(student, rows(1), rows(2, n=7), temperature=0.5)} | settings_
        assert torch.autograd.gradcheck(
            lambda s, fixed=fixed: crd(s, rows(1), rows(2, n=7), temperature=0.5, **fixed), (student,)
        )


def test_neither_the_teacher_nor_the_memory_nor_the_normaliser_gets_a_gradient():
    student, teacher, negatives = (x.requires_grad_() for x in (rows(0), rows(1), rows(2, n=7)))
    crd(student, teacher, negatives).sum().backward()
    assert teacher.grad is None
    assert negatives.grad is None
    taken = crd_normaliser(student, teacher, negatives)
    assert not taken.requires_grad
    (given,) = torch.autograd.grad(crd(student, teacher, negatives, normaliser=taken).sum(), student)
    assert student.grad.equal(given)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_as_float32_and_autocast_changes_nothing(dtype):
    given = [x.to(dtype).requires_grad_() for x in (rows(0), rows(1), rows(2, n=7))]
    expected = crd(*(x.float() for x in given))
    (gradient,) = torch.autograd.grad(expected.sum(), given[0])
    assert expected.dtype == torch.float32
    assert crd(*given).equal(expected)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = crd(*given)
        assert found.equal(expected)
        assert torch.autograd.grad(found.sum(), given[0])[0].equal(gradient)


@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e30])
def test_collapsed_tiny_and_huge_rows_stay_finite(scale):
    student = (scale * torch.ones(5, 4)).requires_grad_()
    loss = crd(student, rows(1).float(), torch.zeros(7, 4))
    loss.mean().backward()
    assert loss.isfinite().all()
    assert student.grad.isfinite().all()
    if scale == 0.0:
        assert student.grad.abs().max() == 0.0  # no direction, no gradient


def test_a_confident_student_stays_finite_where_the_quotient_of_the_authors_overflows():
    own = torch.tensor([[1.0, 0.0]], requires_grad=True)
    for teacher in (own, -own):  # e^±1000, infinite and zero in float32
        loss = crd(own, teacher, -teacher, temperature=1e-3, normaliser=torch.tensor(0.0))
        (gradient,) = torch.autograd.grad(loss.sum(), own)
        assert loss.isfinite().all()
        assert gradient.isfinite().all()
        assert loss.item() == pytest.approx(0.0 if teacher is own else 2000.0, abs=1e-3)


def test_a_batch_of_one_and_a_sample_without_negatives_have_a_finite_loss():
    given = rows(0, n=1), rows(1, n=1), rows(2, n=7)
    nobody = torch.zeros(1, 7, dtype=torch.bool)
    assert crd(*given).isfinite().all()
    assert crd(*given, present=nobody).item() == pytest.approx(math.log(2))  # its own row is all that is compared
    assert crd(*given[:2], given[2][:0]).item() == pytest.approx(math.log(2))


@pytest.mark.usefixtures("own_messages")
def test_messages_say_what_was_wanted_what_came_and_what_to_do():
    x = torch.zeros(5, 4)
    with pytest.raises(ShapeError, match=r"must have one shape, got \(5, 4\) and \(5, 3\): put a connector"):
        crd(x, x[:, :3], x)
    with pytest.raises(ShapeError, match=r"rows of one width, got \(5, 4\) and \(7, 3\): embed both networks"):
        crd(x, x, torch.zeros(7, 3))
    with pytest.raises(ShapeError, match=r"\(5, 5\) bool, got \(5, 4\) torch.float32: compare their labels"):
        crd(x, x, x, present=x)
    with pytest.raises(ConfigError, match="temperature must be positive"):
        crd_normaliser(x, x, x, temperature=0.0)

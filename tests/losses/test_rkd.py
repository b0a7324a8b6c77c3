import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.errors import ConfigError, ShapeError
from tutelage.losses import rkd_angle, rkd_distance

few = settings(max_examples=15, deadline=None)
both = pytest.mark.parametrize("loss", [rkd_distance, rkd_angle])


def rows(seed, n=6, d=4):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gradient_of(loss, student, teacher):
    student = student.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(student, teacher).mean(), student)
    return gradient


def huber_as_loops(gap, delta):
    return gap**2 / 2 if abs(gap) <= delta else delta * (abs(gap) - delta / 2)


def distances_as_loops(x):
    table = [[sum((a - b) ** 2 for a, b in zip(u, v, strict=True)) ** 0.5 for v in x] for u in x]
    mean = sum(map(sum, table)) / (len(x) * (len(x) - 1))
    return [[d / mean for d in row] for row in table]


def angle_as_loops(x, a, b, c):
    """Cosine between the unit vectors from row a to rows b and c; zero where a row is a itself."""
    to_b, to_c = ([p - q for p, q in zip(x[end], x[a], strict=True)] for end in (b, c))
    lengths = (sum(p * p for p in to_b) * sum(p * p for p in to_c)) ** 0.5
    return sum(p * q for p, q in zip(to_b, to_c, strict=True)) / lengths if lengths else 0.0


@pytest.mark.parametrize("delta", [0.05, 0.4, 1.0])
def test_the_distance_loss_is_its_definition_as_loops(delta):
    student, teacher = rows(0), rows(1, d=3)
    ours, theirs = distances_as_loops(student.tolist()), distances_as_loops(teacher.tolist())
    expected = [
        sum(huber_as_loops(a - b, delta) for a, b in zip(u, v, strict=True)) / 6
        for u, v in zip(ours, theirs, strict=True)
    ]
    torch.testing.assert_close(rkd_distance(student, teacher, delta=delta).tolist(), expected, rtol=1e-11, atol=0.0)


@pytest.mark.parametrize("delta", [0.05, 0.4, 1.0])
def test_the_angle_loss_is_its_definition_as_loops(delta):
    student, teacher = rows(0), rows(1, d=3)
    x, y, every = student.tolist(), teacher.tolist(), range(6)
    expected = [
        sum(
            huber_as_loops(angle_as_loops(x, a, b, c) - angle_as_loops(y, a, b, c), delta) for b in every for c in every
        )
        / 36
        for a in every
    ]
    torch.testing.assert_close(rkd_angle(student, teacher, delta=delta).tolist(), expected, rtol=1e-11, atol=0.0)


# https://github.com/lenscloth/RKD/blob/0a6c3c0c190722d428322bf71703c0ae86c25242/metric/loss.py (the authors) and
# https://github.com/HobbitLong/RepDistiller/blob/b84f547c5db6a35318d4671d7d5c4de74c822403/distiller_zoo/RKD.py
# give the same in float64: the loss, the norm of its gradient, the gradient of student[0, 1].
@pytest.mark.parametrize(
    ("loss", "value", "norm", "entry"),
    [
        (rkd_distance, 0.0571623205926012, 0.0449032294991969, -0.0201275945734521),
        (rkd_angle, 0.068667670083718, 0.04556802549829, -0.0233854077499424),
    ],
)
def test_loss_and_gradient_are_those_of_the_authors(wave, loss, value, norm, entry):
    student, teacher = wave(7, 5), wave(7, 4, phase=1.0)
    gradient = gradient_of(loss, student, teacher)
    found = [loss(student, teacher).mean().item(), gradient.norm().item(), gradient[0, 1].item()]
    torch.testing.assert_close(found, [value, norm, entry], rtol=1e-10, atol=0.0)


@pytest.mark.parametrize(
    ("loss", "value", "rtol"),
    # The authors raise the distance of coincident rows to 1e-6, which is the difference in the first number.
    [(rkd_distance, 0.118549435859155, 1e-6), (rkd_angle, 0.117177163897901, 1e-11)],
)
def test_with_coincident_students_the_loss_is_that_of_the_authors_and_the_gradient_is_finite(wave, loss, value, rtol):
    # Same code as above. The gradient of its angles has norm 2357721210 here, and this one's 0.0457.
    student, teacher = wave(7, 5), wave(7, 4, phase=1.0)
    student[3] = student[1]
    gradient = gradient_of(loss, student, teacher)
    assert loss(student, teacher).mean().item() == pytest.approx(value, rel=rtol)
    assert 0.01 < gradient.norm() < 0.1
    torch.testing.assert_close(
        gradient_of(loss, student.float(), teacher.float()).double(), gradient, rtol=0.0, atol=1e-6
    )


@both
@few
@given(st.integers(0, 10**6), st.floats(0.01, 100))
def test_place_size_and_orientation_of_either_side_do_not_count(loss, seed, factor):
    student, teacher = rows(seed), rows(seed + 1)
    turn, _ = torch.linalg.qr(rows(seed + 2, 4))
    moved = factor * (student @ turn) + rows(seed + 3, 1)
    torch.testing.assert_close(loss(moved, teacher), loss(student, teacher), rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(loss(teacher, moved), loss(teacher, student), rtol=1e-6, atol=1e-9)


@both
@few
@given(st.integers(0, 10**6))
def test_the_gradient_neither_moves_nor_scales_the_batch(loss, seed):
    student = rows(seed)
    gradient = gradient_of(loss, student, rows(seed + 1))
    assert gradient.sum(0).abs().max() < 1e-12
    assert abs((gradient * student).sum().item()) < 1e-12


@both
@few
@given(st.integers(0, 10**6))
def test_student_and_teacher_may_be_exchanged(loss, seed):
    student, teacher = rows(seed), rows(seed + 1)
    torch.testing.assert_close(loss(student, teacher), loss(teacher, student))


@both
@pytest.mark.parametrize("delta", [0.3, 1.0])
def test_the_gradient_is_that_of_finite_differences(loss, delta):
    student, teacher = rows(0, n=5).requires_grad_(), rows(1, n=5, d=3)
    assert torch.autograd.gradcheck(lambda s: loss(s, teacher, delta=delta), (student,))
    assert torch.autograd.gradcheck(lambda s: loss(s, teacher, delta=delta).mean(), (student,))


@both
def test_the_gradient_may_be_differentiated_again(loss):
    student, teacher = rows(0, n=4).requires_grad_(), rows(1, n=4, d=3)
    assert torch.autograd.gradgradcheck(lambda s: loss(s, teacher, delta=0.3), (student,))
    assert torch.autograd.gradgradcheck(lambda s: loss(s, teacher, delta=0.3).mean(), (student,))


@both
def test_a_collapsed_student_has_a_finite_loss_and_no_gradient(loss):
    student = torch.ones(6, 4) / 3
    assert loss(student, rows(1).float()).isfinite().all()
    assert loss(student, rows(1).float()).min() > 0
    assert gradient_of(loss, student, rows(1).float()).abs().max() == 0


@both
def test_a_collapsed_teacher_has_a_finite_loss_and_gradient(loss):
    student, teacher = rows(0).float(), torch.ones(6, 4) / 3
    assert loss(student, teacher).isfinite().all()
    assert 0 < gradient_of(loss, student, teacher).abs().max() < 1


@both
def test_students_that_nearly_coincide_keep_the_gradient_finite(loss):
    student = rows(0).float()
    student[3] = student[1]
    student[3, 0] = torch.nextafter(student[1, 0], torch.tensor(torch.inf))
    assert gradient_of(loss, student, rows(1).float()).norm() < 1


@both
def test_an_offset_common_to_all_features_leaves_loss_and_gradient_right(loss):
    # Rounding of the features alone is 6e-5 at 1000; a Gram matrix would be off by tenths.
    student, teacher = rows(0, n=32, d=16).float(), rows(1, n=32, d=16).float()
    torch.testing.assert_close(loss(student + 1000, teacher - 1000), loss(student, teacher), rtol=1e-3, atol=0.0)
    expected = gradient_of(loss, student, teacher)
    found = gradient_of(loss, student + 1000, teacher - 1000)
    assert (found - expected).norm() < 1e-3 * expected.norm()


@both
def test_tight_clusters_keep_the_gradient_right(loss):
    # Four clusters whose rows are 1000 times nearer to each other than to the rest: the gradient of the
    # authors' distances is 2.7 % off here, this one 0.009 %.
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(4, 16, generator=generator)
    student = centres.repeat(8, 1) + 1e-3 * torch.randn(32, 16, generator=generator)
    teacher = torch.randn(32, 16, generator=generator)
    expected = gradient_of(loss, student.double(), teacher.double())
    assert (gradient_of(loss, student, teacher) - expected).norm() < 1e-3 * expected.norm()


@both
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_as_float32(loss, dtype):
    student, teacher = (100 * rows(0)).to(dtype), (100 * rows(1)).to(dtype)
    assert torch.equal(loss(student, teacher), loss(student.float(), teacher.float()))


@pytest.mark.parametrize(("loss", "least"), [(rkd_distance, 2), (rkd_angle, 3)])
@pytest.mark.usefixtures("own_messages")
def test_a_batch_too_small_to_compare_is_refused(loss, least):
    assert loss(rows(0, n=least), rows(1, n=least)).isfinite().all()
    with pytest.raises(
        ShapeError, match=f"needs at least {least} of them, got {least - 1}: use a larger batch, or drop"
    ):
        loss(rows(0, n=least - 1), rows(1, n=least - 1))


@both
@pytest.mark.usefixtures("own_messages")
def test_messages_say_what_was_wanted_what_came_and_what_to_do(loss):
    with pytest.raises(
        ShapeError, match=r"teacher features must be one row a sample, \(n, d\), got \(4, 8, 2, 2\): pool"
    ):
        loss(torch.zeros(4, 8), torch.zeros(4, 8, 2, 2))
    with pytest.raises(ShapeError, match=r"the same samples, got 4 and 5 rows: run both on one batch"):
        loss(torch.zeros(4, 8), torch.zeros(5, 8))
    with pytest.raises(ConfigError, match=r"delta must be positive, got -1"):
        loss(rows(0), rows(1), delta=-1.0)

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.errors import ConfigError, ShapeError
from tutelage.losses import all_pairs, comparative, comparative_labels, fitnet, kd, logit_mse
from tutelage.losses.ckd import contrast, contrast_gap

few = settings(max_examples=15, deadline=None)
both = pytest.mark.parametrize("distance", ["kl", "mse"])

LABELS = torch.tensor([0, 1, 2, 3, 4, 1])
GROUPS = {
    2: (torch.tensor([[0], [2], [5]]), torch.tensor([[4], [5], [1]])),
    3: (torch.tensor([[0, 1], [2, 3], [5, 0]]), torch.tensor([[4], [5], [1]])),
    5: (torch.tensor([[0, 1, 2], [3, 4, 5]]), torch.tensor([[3, 4], [0, 2]])),
}


def logits(seed, n=6, k=5):
    return 3 * torch.randn(n, k, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def contrast_as_loops(rows, positives, negatives):
    def mean(side):
        return [sum(column) / len(side) for column in zip(*(rows[i] for i in side), strict=True)]

    return [a - b for a, b in zip(mean(positives), mean(negatives), strict=True)]


def pairs_as_loops(student, teacher, u, v):
    """Mean over j ≠ i of ‖u r_i + v r_j‖² / k, for each i."""
    r = student - teacher
    n = len(r)
    return torch.stack(
        [sum((u * r[i] + v * r[j]).square().mean() for j in range(n) if j != i) / (n - 1) for i in range(n)]
    )


@pytest.mark.parametrize("k", GROUPS)
def test_the_mse_is_its_definition_as_loops(k):
    student, teacher = logits(0), logits(1)
    expected = []
    for p, m in zip(*(side.tolist() for side in GROUPS[k]), strict=True):
        s, t = (contrast_as_loops(rows.tolist(), p, m) for rows in (student, teacher))
        expected.append(sum((a - b) ** 2 for a, b in zip(s, t, strict=True)) / 5)
    found = comparative(student, teacher, *GROUPS[k], distance="mse")
    torch.testing.assert_close(found.tolist(), expected, rtol=1e-12, atol=0.0)


@pytest.mark.parametrize("k", GROUPS)
def test_the_kl_is_that_of_the_differences_and_labels_count_as_their_one_hot_rows(k):
    student, teacher = logits(0), logits(1)
    s, t, y = (
        torch.tensor(
            [contrast_as_loops(x.tolist(), p, m) for p, m in zip(*(g.tolist() for g in GROUPS[k]), strict=True)]
        )
        for x in (student, teacher, torch.eye(5)[LABELS])
    )
    found = comparative(student, teacher, *GROUPS[k], temperature=2.0)
    torch.testing.assert_close(found, kd(s, t, temperature=2.0).double(), rtol=1e-5, atol=1e-6)
    found = comparative_labels(student, LABELS, *GROUPS[k], temperature=2.0)
    torch.testing.assert_close(found, kd(s, y, temperature=2.0).double(), rtol=1e-5, atol=1e-6)


# CKDTrainHelpers with DistillKL(4), resp. MSELoss, in float64: the loss, the norm of its gradient, the gradient of
# student_logits[0, 1]; first against the teacher, then against the labels.
# https://github.com/alextxu/ckd/blob/62ba741896ed10fe41f62ac332cfc4390dde8464/helper/CKDTrainHelpers.py (KL)
# https://github.com/alextxu/ckd/blob/f8cc6bde87b452953fe6dfe7b27021020586907d/helper/CKDTrainHelpers.py (MSE)
@pytest.mark.parametrize(
    ("distance", "k", "teacher_numbers", "label_numbers"),
    [
        (
            "kl",
            3,
            [1.63155701497861, 0.571915181769243, -0.166829980415773],
            [2.72376189376678, 0.729454575265846, 0.0203332619993161],
        ),
        (
            "kl",
            2,
            [1.96485776434477, 0.751225426457863, -0.26334769820912],
            [4.15317995550853, 1.09262173264099, 0.113251331713466],
        ),
        (
            "kl",
            5,
            [0.487512995169712, 0.27841338560735, 0.0663415093784421],
            [2.82669098311893, 0.883988110049867, 0.0884127086426552],
        ),
        (
            "mse",
            3,
            [4.91524734860925, 1.33237495099744, -0.0933051651279428],
            [7.78941421795327, 1.87199889162818, 0.223701609334649],
        ),
        (
            "mse",
            2,
            [7.25538954395707, 2.02359939979682, -0.182276346416733],
            [10.9222771288115, 2.70737774583541, 0.402039783737495],
        ),
    ],
)
def test_loss_and_gradient_are_those_of_the_authors(wave, distance, k, teacher_numbers, label_numbers):
    student, teacher = (3 * wave(6, 5)).requires_grad_(), 3 * wave(6, 5, phase=1.0)
    for value, expected in (
        (comparative(student, teacher, *GROUPS[k], distance=distance).mean(), teacher_numbers),
        (comparative_labels(student, LABELS, *GROUPS[k], distance=distance).mean(), label_numbers),
    ):
        (gradient,) = torch.autograd.grad(value, student)
        found = [value.item(), gradient.norm().item(), gradient[0, 1].item()]
        torch.testing.assert_close(found, expected, rtol=1e-11, atol=0.0)


# CKDTrainHelpers with relational "ckd_add" and, λ = 0.3, "ckd_mixup", and MSELoss, in float64: as above.
# https://github.com/alextxu/ckd/blob/f8cc6bde87b452953fe6dfe7b27021020586907d/helper/CKDTrainHelpers.py
@pytest.mark.parametrize(
    ("sides", "k", "teacher_numbers", "label_numbers"),
    [
        (
            (0.5, 0.5),
            2,
            [3.04219085987366, 0.677640892326612, 0.121870403950569],
            [1.48284234721866, 0.466057418434832, 0.0986662229731543],
        ),
        (
            (0.5, 0.5),
            3,
            [2.09991450982985, 0.5137280745227, -0.033189861160084],
            [1.21408841918528, 0.389232486592425, -0.0442348671036707],
        ),
        (
            (0.3, 0.7),
            2,
            [3.3572111347968, 0.767563499940095, 0.0840588231553453],
            [2.30761078983595, 0.608214316452552, 0.0350773467596429],
        ),
        (
            (0.3, 0.7),
            3,
            [2.93225385649138, 0.687015543657617, -0.0143156067883739],
            [2.33433020766741, 0.592309205608771, -0.0399630168222814],
        ),
    ],
)
def test_sum_and_mixup_of_groups_are_those_of_the_authors(wave, sides, k, teacher_numbers, label_numbers):
    student, teacher = (3 * wave(6, 5)).requires_grad_(), 3 * wave(6, 5, phase=1.0)
    for other, expected in ((teacher, teacher_numbers), (torch.eye(5).double()[LABELS], label_numbers)):
        ours, theirs = (contrast(x, *GROUPS[k], sides=sides) for x in (student, other))
        value = contrast_gap(ours, theirs, distance="mse").mean()
        (gradient,) = torch.autograd.grad(value, student)
        found = [value.item(), gradient.norm().item(), gradient[0, 1].item()]
        torch.testing.assert_close(found, expected, rtol=1e-11, atol=0.0)


# HintLoss on the feature differences of InterCKDTrainHelpers, in float64: the loss, the norm of its gradient, the
# gradient of student[0, 1, 2, 1].
# https://github.com/alextxu/ckd/blob/f8cc6bde87b452953fe6dfe7b27021020586907d/helper/InterCKDTrainHelpers.py
@pytest.mark.parametrize(
    ("k", "numbers"),
    [
        (2, [0.876215380213881, 0.27514780846749, -0.0322494704821184]),
        (3, [0.697477167986742, 0.208133614750471, -0.0164550404076839]),
    ],
)
def test_differences_of_maps_are_those_of_the_authors(wave, k, numbers):
    student, teacher = wave(6, 4, 3, 3).requires_grad_(), wave(6, 4, 3, 3, phase=1.0)
    value = fitnet(contrast(student, *GROUPS[k]), contrast(teacher, *GROUPS[k])).mean()
    (gradient,) = torch.autograd.grad(value, student)
    found = [value.item(), gradient.norm().item(), gradient[0, 1, 2, 1].item()]
    torch.testing.assert_close(found, numbers, rtol=1e-11, atol=0.0)


@pytest.mark.parametrize("k", GROUPS)
@pytest.mark.parametrize("shape", [(5,), (2, 3, 3)])
def test_the_contrast_of_features_of_every_shape_is_its_definition_as_loops(k, shape):
    rows = logits(0, k=torch.Size(shape).numel())
    expected = [contrast_as_loops(rows.tolist(), p, m) for p, m in zip(*(x.tolist() for x in GROUPS[k]), strict=True)]
    found = contrast(rows.reshape(6, *shape), *GROUPS[k])
    assert found.shape[1:] == shape
    torch.testing.assert_close(found.flatten(1), torch.tensor(expected, dtype=torch.float64))


@both
def test_comparative_is_the_gap_of_the_contrasts(distance):
    student, teacher = logits(0), logits(1)
    ours, theirs = (contrast(x, *GROUPS[3]) for x in (student, teacher))
    assert contrast_gap(ours, theirs, distance=distance).equal(
        comparative(student, teacher, *GROUPS[3], distance=distance)
    )


def test_the_contrast_of_half_precision_is_computed_in_float32():
    x = (100 * logits(0)).bfloat16()
    torch.testing.assert_close(contrast(x, *GROUPS[3]), contrast(x.double(), *GROUPS[3]).float())


@few
@given(st.integers(0, 10**6))
def test_the_softmax_of_a_difference_is_the_ratio_of_the_distributions(seed):
    teacher = logits(seed, n=2)
    ratio = teacher[0].softmax(0) / teacher[1].softmax(0)
    student = torch.stack([(ratio / ratio.sum()).log(), torch.zeros(5, dtype=torch.float64)])
    value = comparative(student, teacher, torch.tensor([[0]]), torch.tensor([[1]]), temperature=1.0)
    torch.testing.assert_close(value, torch.zeros(1, dtype=torch.float64), rtol=0.0, atol=1e-12)


@few
@given(st.integers(0, 10**6), st.sampled_from(["kl", "mse"]))
def test_a_vector_added_to_all_student_logits_changes_nothing(seed, distance):
    student, teacher, shift = logits(seed), logits(seed + 1), logits(seed + 2, n=1)
    for loss in (
        lambda s: comparative(s, teacher, *GROUPS[3], distance=distance),
        lambda s: comparative_labels(s, LABELS, *GROUPS[3], distance=distance),
        lambda s: all_pairs(s, teacher),
    ):
        torch.testing.assert_close(loss(student + shift), loss(student))


@both
def test_the_last_bias_gets_no_gradient(distance):
    layer = torch.nn.Linear(7, 5).double()
    student, teacher = layer(logits(3, k=7)), logits(1)
    for value in (
        comparative(student, teacher, *GROUPS[3], distance=distance),
        comparative_labels(student, LABELS, *GROUPS[3], distance=distance),
        all_pairs(student, teacher),
    ):
        weight, bias = torch.autograd.grad(value.mean(), (layer.weight, layer.bias), retain_graph=True)
        assert weight.abs().max() > 0.1
        assert bias.abs().max() < 1e-14


def test_all_pairs_are_the_comparisons_of_all_pairs():
    student, teacher = logits(0), logits(1)
    pairs = torch.tensor(list(itertools.permutations(range(6), 2)))
    found = comparative(student, teacher, pairs[:, :1], pairs[:, 1:], distance="mse").reshape(6, 5).mean(1)
    torch.testing.assert_close(all_pairs(student, teacher), found)
    found = comparative_labels(student, LABELS, pairs[:, :1], pairs[:, 1:], distance="mse").reshape(6, 5).mean(1)
    torch.testing.assert_close(all_pairs(student, torch.eye(5)[LABELS]), found)


def test_all_pairs_are_twice_the_variance_of_the_residual():
    student, teacher = logits(0, n=9), logits(1, n=9)
    residual = student - teacher
    mean = all_pairs(student, teacher).mean()
    torch.testing.assert_close(mean, 2 * residual.var(0).mean())
    # with the pairs of a sample with itself: the variance that divides by n
    torch.testing.assert_close(mean * 8 / 9, 2 * residual.var(0, correction=0).mean())


def test_all_pairs_are_logit_mse_without_what_the_batch_shares():
    student, teacher = logits(0), logits(1)
    shared = (student - teacher).mean(0).square().mean()
    torch.testing.assert_close(
        all_pairs(student, teacher).mean() * 5 / 6, 2 * (logit_mse(student, teacher).mean() - shared)
    )


@pytest.mark.parametrize(("comparator", "u", "v"), [("difference", 1.0, -1.0), ("sum", 0.5, 0.5)])
def test_comparators_are_their_definition_as_loops(comparator, u, v):
    student, teacher = logits(0), logits(1)
    torch.testing.assert_close(
        all_pairs(student, teacher, comparator=comparator), pairs_as_loops(student, teacher, u, v)
    )


def test_mixup_is_the_mean_over_all_shares():
    student, teacher = logits(0), logits(1)
    # Simpson's rule is exact for the square of a line: λ = 0, ½, 1 weigh ⅙, ⅔, ⅙
    expected = sum(
        w * pairs_as_loops(student, teacher, x, 1 - x) for x, w in ((0.0, 1 / 6), (0.5, 2 / 3), (1.0, 1 / 6))
    )
    torch.testing.assert_close(all_pairs(student, teacher, comparator="mixup"), expected)


@pytest.mark.parametrize("comparator", ["difference", "sum", "mixup"])
def test_the_gradient_over_all_pairs_is_that_of_finite_differences(comparator):
    student, teacher = logits(0, n=4, k=3).requires_grad_(), logits(1, n=4, k=3)
    assert torch.autograd.gradcheck(lambda s: all_pairs(s, teacher, comparator=comparator), (student,))


@both
def test_the_gradient_is_that_of_finite_differences(distance):
    student, teacher = logits(0).requires_grad_(), logits(1)
    assert torch.autograd.gradcheck(lambda s: comparative(s, teacher, *GROUPS[3], distance=distance), (student,))
    assert torch.autograd.gradcheck(lambda s: comparative_labels(s, LABELS, *GROUPS[3], distance=distance), (student,))


@both
def test_the_teacher_gets_no_gradient_and_equals_have_no_loss(distance):
    student = logits(0).requires_grad_()
    teacher = student.detach().clone().requires_grad_()
    value = comparative(student, teacher, *GROUPS[3], distance=distance)
    value.sum().backward()
    assert value.tolist() == [0.0] * 3
    assert teacher.grad is None
    assert student.grad.abs().max() < 1e-12


def test_the_gap_of_contrasts_sends_no_gradient_to_the_other_side():
    ours, theirs = logits(0).requires_grad_(), logits(1).requires_grad_()
    contrast_gap(ours, theirs).sum().backward()
    assert ours.grad.abs().max() > 0.1
    assert theirs.grad is None


@both
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_in_gives_finite_float32_out(distance, dtype):
    student = (100 * logits(0)).to(dtype).requires_grad_()  # squared, beyond the largest float16
    for value in (
        comparative(student, (100 * logits(1)).to(dtype), *GROUPS[3], distance=distance),
        comparative_labels(student, LABELS, *GROUPS[3], distance=distance),
    ):
        (gradient,) = torch.autograd.grad(value.mean(), student)
        assert value.dtype == torch.float32
        assert value.isfinite().all()
        assert gradient.isfinite().all()


def test_a_large_offset_does_not_drown_the_pairs():
    student, teacher = logits(0).float(), logits(1).float()
    exact = all_pairs((student + 1000).double(), teacher.double())
    torch.testing.assert_close(all_pairs(student + 1000, teacher).double(), exact, rtol=1e-4, atol=0.0)


@pytest.mark.usefixtures("own_messages")
def test_messages_say_what_was_wanted_what_came_and_what_to_do():
    x, (positives, negatives) = logits(0), GROUPS[3]
    for index in (positives.int(), positives[0], positives[:0]):
        with pytest.raises(ShapeError, match=r"positives must be int64 rows of the batch, .* got .*: give at least"):
            comparative(x, x, index, negatives)
    with pytest.raises(ShapeError, match="negatives must be rows from 0 to 5, got 2 to 6: index the batch"):
        comparative_labels(x, LABELS, positives, torch.tensor([[6], [2], [3]]))
    with pytest.raises(ShapeError, match="each group needs both sides, got 3 positives and 2 negatives"):
        comparative(x, x, positives, negatives[:2])
    with pytest.raises(ShapeError, match="negatives must be rows from 0 to 5, got -1 to 2: index the batch"):
        contrast(x, positives, torch.tensor([[-1], [2], [0]]))
    with pytest.raises(ShapeError, match="must describe the same samples"):
        contrast_gap(x, x[:3])
    with pytest.raises(ShapeError, match="at least 2 of them, got 1: use a larger batch"):
        all_pairs(x[:1], x[:1])
    with pytest.raises(ConfigError, match="distance must be 'kl' or 'mse', got 'cosine'"):
        comparative(x, x, positives, negatives, distance="cosine")
    with pytest.raises(ConfigError, match="comparator must be one of difference, sum, mixup, got 'ratio'"):
        all_pairs(x, x, comparator="ratio")
    with pytest.raises(ConfigError, match="temperature must be positive, got 0"):
        comparative(x, x, positives, negatives, temperature=0)

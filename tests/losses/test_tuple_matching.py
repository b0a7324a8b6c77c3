import math
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.errors import ConfigError, ShapeError
from tutelage.losses import triplet_matching, tuple_matching
from tutelage.losses.tuple_matching import matched_triplets, matched_tuples
from tutelage.ops import mining

few = settings(max_examples=15, deadline=None)
both = pytest.mark.parametrize("loss", [tuple_matching, triplet_matching])
half_types = pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
LABELS = torch.arange(12) % 3


def rows(seed, n=12, d=5):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gradient_of(loss, student, teacher, labels=LABELS, **settings):
    student = student.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(student, teacher, labels, **settings).mean(), student)
    return gradient


def distances_as_loops(x):
    unit = [[v / math.sqrt(sum(w * w for w in row)) for v in row] for row in x]
    return [[math.dist(a, b) for b in unit] for a in unit]


def softmax_as_loops(row):
    powers = [math.exp(z) for z in row]
    return [power / sum(powers) for power in powers]


def kl_as_loops(p, q):
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


def mined_as_loops(d, labels, margin):
    """(anchor, positive, negatives), nearest negative first."""
    every = range(len(labels))
    for a in every:
        for p in every:
            if a == p or labels[a] != labels[p]:
                continue
            beyond = [n for n in every if labels[n] != labels[a] and d[a][p] < d[a][n] <= d[a][p] + margin]
            if beyond:
                yield a, p, sorted(beyond, key=lambda n, row=d[a]: row[n])


def tuples_as_loops(student, teacher, labels, margin=0.2, temperature=4.0, most=32):
    ours, theirs = distances_as_loops(student.tolist()), distances_as_loops(teacher.tolist())
    for a, p, negatives in mined_as_loops(ours, labels.tolist(), margin):
        k = len(negatives)
        kept = negatives if k <= most else [negatives[(2 * j + 1) * k // (2 * most)] for j in range(most)]
        scores = ([-d[a][i] / temperature for i in (p, *kept)] for d in (theirs, ours))
        yield kl_as_loops(*map(softmax_as_loops, scores))


def triplets_as_loops(student, teacher, labels, margin=0.2, temperature=4.0):
    ours, theirs = distances_as_loops(student.tolist()), distances_as_loops(teacher.tolist())
    for a, p, negatives in mined_as_loops(ours, labels.tolist(), margin):
        for n in negatives:
            sure = [1 / (1 + math.exp((d[a][p] - d[a][n]) / temperature)) for d in (theirs, ours)]
            yield kl_as_loops(*([q, 1 - q] for q in sure))


@pytest.mark.parametrize(("margin", "temperature", "most"), [(0.2, 4.0, 32), (0.6, 0.5, 2), (2.0, 1.0, 1)])
def test_the_tuple_loss_is_its_definition_as_loops(margin, temperature, most):
    student, teacher = rows(0), rows(1, d=3)
    expected = list(tuples_as_loops(student, teacher, LABELS, margin, temperature, most))
    found = tuple_matching(student, teacher, LABELS, margin=margin, temperature=temperature, max_negatives=most)
    assert len(expected) > 10
    torch.testing.assert_close(found.tolist(), expected, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize(("margin", "temperature"), [(0.2, 4.0), (2.0, 0.5)])
def test_the_triplet_loss_is_its_definition_as_loops(margin, temperature):
    student, teacher = rows(0), rows(1, d=3)
    expected = list(triplets_as_loops(student, teacher, LABELS, margin, temperature))
    found = triplet_matching(student, teacher, LABELS, margin=margin, temperature=temperature)
    assert len(expected) > 20
    torch.testing.assert_close(found.tolist(), expected, rtol=1e-9, atol=1e-15)


def tight_classes(wave):
    """Two classes nearer to each other than the margin, and each nearer to itself: every tuple has four negatives."""
    centres = torch.tensor([[1.0, 0.0, 0.0, 0.0], [1.0, 0.15, 0.0, 0.0]], dtype=torch.float64)
    return centres[torch.arange(8) % 2] + 0.01 * wave(8, 4)


# train_stage1 in Train.py with the miner of KevinMusgrave/pytorch-metric-learning@216a792, in float64: the loss, the
# norm of its gradient, the gradient of student[0, 1].
# Masked tuples and triplets: https://github.com/njulus/ReFilled/blob/be649aa/Train.py
# Equally long tuples: https://github.com/njulus/GKD/blob/a37fc79/Train.py
def test_masked_tuples_have_the_loss_and_the_gradient_of_the_authors(wave):
    student, teacher = wave(12, 5), wave(12, 4, phase=1.0)
    loss, gradient = tuple_matching(student, teacher, LABELS), gradient_of(tuple_matching, student, teacher)
    found = [1000 * loss.mean().item(), 1000 * gradient.norm().item(), 1000 * gradient[0, 1].item()]
    torch.testing.assert_close(found, [2.3434794321732024, 1.3842393734445466, -0.06347040927828643], rtol=1e-9, atol=0)


def test_triplets_have_the_loss_and_the_gradient_of_the_authors(wave):
    student, teacher = wave(12, 5), wave(12, 4, phase=1.0)
    loss, gradient = triplet_matching(student, teacher, LABELS), gradient_of(triplet_matching, student, teacher)
    found = [500 * loss.mean().item(), 500 * gradient.norm().item(), 500 * gradient[0, 1].item()]
    torch.testing.assert_close(found, [0.957377979926694, 0.610644835991552, -0.001676904881538599], rtol=1e-9, atol=0)


@pytest.mark.parametrize("fewest", [False, True])
def test_tuples_of_one_length_have_the_loss_and_the_gradient_of_the_authors(wave, fewest):
    student, teacher, labels = tight_classes(wave), wave(8, 4, phase=1.0), torch.arange(8) % 2
    loss = tuple_matching(student, teacher, labels, fewest=fewest)
    gradient = gradient_of(tuple_matching, student, teacher, labels, fewest=fewest)
    found = [1000 * loss.mean().item(), 1000 * gradient.norm().item(), 1000 * gradient[0, 1].item()]
    torch.testing.assert_close(found, [3.4385829601645193, 3.0193851369419002, -0.7513326423621486], rtol=1e-9, atol=0)


@settings(max_examples=4, deadline=None)
@given(st.integers(0, 10**6))
def test_masked_tuples_are_those_computed_one_by_one(seed):
    """Tuples of unequal lengths in one tensor, and each in a batch of its own."""
    student, teacher = rows(seed), rows(seed + 1)
    masked = matched_tuples(student, teacher, LABELS, margin=0.5)
    found = mining.semi_hard(unit_distances(student), LABELS, margin=0.5)
    pairs = mining.listed_pairs(found)
    for value, a, p in zip(masked.loss, *pairs, strict=True):
        negatives = found.order[a, found.first[a, p] : found.first[a, p] + found.number[a, p]]
        alone = torch.cat([torch.stack([a, p]), negatives])
        marks = torch.tensor([0, 0, *range(1, len(negatives) + 1)])
        first = tuple_matching(student[alone], teacher[alone], marks, margin=0.5)[0]
        torch.testing.assert_close(first, value, rtol=1e-9, atol=1e-12)


def unit_distances(x):
    return torch.tensor(distances_as_loops(x.tolist()), dtype=torch.float64)


@few
@given(st.integers(0, 10**6))
def test_a_tuple_with_one_negative_is_a_triplet(seed):
    student, teacher = rows(seed), rows(seed + 1)
    every = triplet_matching(student, teacher, LABELS)
    singles = matched_tuples(student, teacher, LABELS)
    found = mining.semi_hard(unit_distances(student), LABELS, margin=0.2)
    counts = found.number[found.number > 0]
    starts = counts.cumsum(0) - counts
    torch.testing.assert_close(singles.loss[counts == 1], every[starts[counts == 1]], rtol=1e-9, atol=1e-15)


@both
@few
@given(st.integers(0, 10**6), st.floats(0.01, 100))
def test_the_teacher_s_rotation_and_either_side_s_lengths_do_not_count(loss, seed, factor):
    student, teacher = rows(seed), rows(seed + 1, d=4)
    turn, _ = torch.linalg.qr(rows(seed + 2, 4, 4))
    lengths = rows(seed + 3, 12, 1).abs() + 0.1
    expected = loss(student, teacher, LABELS)
    torch.testing.assert_close(loss(student, factor * teacher @ turn, LABELS), expected, rtol=1e-6, atol=1e-12)
    torch.testing.assert_close(loss(lengths * student, lengths * teacher, LABELS), expected, rtol=1e-6, atol=1e-12)


@both
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equal_embeddings_have_no_loss_and_no_gradient(loss, dtype):
    student = rows(0).to(dtype)
    assert loss(student, student.clone(), LABELS).abs().max() == 0
    assert 1000 * gradient_of(loss, student, student.clone()).abs().max() < 1e-4


@both
@few
@given(st.integers(0, 10**6))
def test_permuting_the_batch_permutes_the_losses(loss, seed):
    student, teacher = rows(seed), rows(seed + 1)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(seed))
    moved = loss(student[order], teacher[order], LABELS[order])
    torch.testing.assert_close(moved.sort().values, loss(student, teacher, LABELS).sort().values)


@both
@few
@given(st.integers(0, 10**6))
def test_no_loss_is_negative_and_the_names_of_the_classes_do_not_count(loss, seed):
    student, teacher = rows(seed), rows(seed + 1)
    found = loss(student, teacher, LABELS)
    assert found.min() >= -1e-12
    assert torch.equal(found, loss(student, teacher, torch.tensor([7, -3, 10**12])[LABELS]))


@both
def test_the_student_mines_and_the_teacher_does_not(loss):
    student = rows(0)
    counts = {len(loss(student, rows(seed), LABELS)) for seed in range(1, 6)}
    assert len(counts) == 1
    assert len({len(loss(rows(seed), student, LABELS)) for seed in range(1, 6)}) > 1


@both
def test_the_teacher_gets_no_gradient(loss):
    student, teacher = rows(0).requires_grad_(), rows(1).requires_grad_()
    loss(student, teacher, LABELS).mean().backward()
    assert teacher.grad is None
    assert student.grad.abs().sum() > 0


@both
def test_the_gradient_is_that_of_finite_differences(loss):
    # a step of 1e-6 moves no distance of this batch over the border of the margin
    student, teacher, labels = rows(3, n=7, d=3).requires_grad_(), rows(4, n=7), LABELS[:7]
    assert len(loss(student, teacher, labels, margin=0.5)) > 3
    assert torch.autograd.gradcheck(lambda s: loss(s, teacher, labels, margin=0.5), (student,))
    assert torch.autograd.gradcheck(lambda s: loss(s, teacher, labels, margin=0.5).mean(), (student,))


NONE = {"one class": [4] * 6, "no positive": [0, 1, 2, 3, 4, 5], "alone": [0]}


@both
@pytest.mark.parametrize("labels", NONE.values(), ids=NONE)
def test_a_batch_without_comparisons_has_a_single_zero_and_no_gradient(loss, labels):
    labels = torch.tensor(labels)
    student, teacher = rows(0, n=len(labels)), rows(1, n=len(labels))
    assert loss(student, teacher, labels).tolist() == [0.0]
    assert gradient_of(loss, student, teacher, labels).abs().max() == 0


@both
def test_a_batch_whose_negatives_are_all_too_far_has_a_single_zero(loss):
    student = torch.tensor([[1.0, 0.0], [1.0, 0.01], [-1.0, 0.0], [-1.0, 0.01]]).double()
    labels = torch.tensor([0, 0, 1, 1])
    assert loss(student, rows(1, n=4), labels).tolist() == [0.0]
    assert loss(student, rows(1, n=4), labels, margin=2.5).min() > 0


@both
def test_two_classes_suffice(loss):
    assert loss(rows(0, n=4), rows(1, n=4), torch.tensor([0, 0, 1, 1]), margin=2.0).mean() > 0


@both
def test_coincident_and_missing_embeddings_keep_loss_and_gradient_finite(loss):
    student, teacher = rows(0), rows(1)
    student[3] = student[0]
    student[5] = 0
    teacher[4] = teacher[1]
    teacher[7] = 0
    gradient = gradient_of(loss, student.float(), teacher.float())
    assert loss(student.float(), teacher.float(), LABELS).isfinite().all()
    assert gradient.isfinite().all()
    assert gradient[5].abs().max() == 0
    assert 0 < gradient.abs().max() < 1


@both
def test_a_collapsed_student_has_no_semi_hard_negative(loss):
    assert loss(torch.ones(12, 5) / 3, rows(1).float(), LABELS).tolist() == [0.0]


@both
@pytest.mark.parametrize("offset", [100.0, 1e30])
def test_a_large_offset_or_scale_keeps_loss_and_gradient_finite(loss, offset):
    student, teacher = rows(0).float() + offset, offset * rows(1).float()
    assert loss(student, teacher, LABELS).isfinite().all()
    assert gradient_of(loss, student, teacher).isfinite().all()


@both
@half_types
def test_half_precision_is_computed_as_float32(loss, dtype):
    student, teacher = rows(0).to(dtype), rows(1).to(dtype)
    found = loss(student, teacher, LABELS)
    assert found.dtype == torch.float32
    assert torch.equal(found, loss(student.float(), teacher.float(), LABELS))
    assert gradient_of(loss, student, teacher).dtype == dtype


@both
def test_autocast_changes_nothing(loss):
    student, teacher = rows(0).float(), rows(1).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        lowered = loss(student, teacher, LABELS)
    assert torch.equal(lowered, loss(student, teacher, LABELS))


def every_pair(found):
    """What an accelerator is given."""
    place = torch.arange(found.number.numel())
    return mining.Pairs(place // len(found.number), place % len(found.number))


@pytest.mark.parametrize("labels", [LABELS, torch.arange(12)])
def test_places_for_all_pairs_give_the_same_as_a_list_of_tuples(monkeypatch, labels):
    student, teacher = rows(0), rows(1)
    listed, gradient = matched_tuples(student, teacher, labels), gradient_of(tuple_matching, student, teacher, labels)
    module = sys.modules["tutelage.losses.tuple_matching"]  # the package shows its function under this name
    monkeypatch.setattr(module, "listed_pairs", every_pair)
    padded = matched_tuples(student, teacher, labels)
    assert len(padded.loss) == 144
    assert padded.loss[~padded.present].abs().max() == 0
    assert padded.present.sum() == listed.present.sum()
    torch.testing.assert_close(padded.mean(), listed.mean())
    torch.testing.assert_close(padded.listed(), listed.listed())
    torch.testing.assert_close(gradient_of(tuple_matching, student, teacher, labels), gradient)


@pytest.mark.parametrize("fewest", [False, True])
def test_no_accelerator_is_waited_for(fewest):
    # a tensor on the meta device has no numbers: to ask for one, or for how many of them there are, is an error
    student, teacher = (rows(seed).float().to("meta") for seed in (0, 1))
    found = matched_tuples(student.requires_grad_(), teacher, LABELS.to("meta"), fewest=fewest)
    found.mean().backward()
    assert found.loss.shape == (144,)
    with pytest.raises(NotImplementedError, match="nonzero"):
        found.listed()


def test_the_mean_and_the_number_are_those_of_the_list():
    student, teacher = rows(0), rows(1)
    for matched, loss in ((matched_tuples, tuple_matching), (matched_triplets, triplet_matching)):
        found, listed = matched(student, teacher, LABELS), loss(student, teacher, LABELS)
        assert found.present.sum() == len(listed)
        torch.testing.assert_close(found.mean(), listed.mean())


@both
@pytest.mark.usefixtures("own_messages")
def test_messages_say_what_was_wanted_what_came_and_what_to_do(loss):
    with pytest.raises(ShapeError, match=r"the same samples, got 12 and 5 rows: run both on one batch"):
        loss(rows(0), rows(1, n=5), LABELS)
    with pytest.raises(ShapeError, match=r"one a sample, \(12,\), got \(3,\) torch.int64 on cpu: use"):
        loss(rows(0), rows(1), LABELS[:3])
    with pytest.raises(ShapeError, match=r"got \(12,\) torch.float32 on cpu: use .argmax\(1\) for one-hot rows, or"):
        loss(rows(0), rows(1), LABELS.float())
    for name in ("margin", "temperature"):
        with pytest.raises(ConfigError, match=f"{name} must be positive, got 0"):
            loss(rows(0), rows(1), LABELS, **{name: 0.0})
    with pytest.raises(ConfigError, match="max_negatives must be positive, got 0"):
        tuple_matching(rows(0), rows(1), LABELS, max_negatives=0)

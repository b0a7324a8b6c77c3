"""What every loss promises, whatever its paper."""

import inspect

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage import losses
from tutelage.errors import ShapeError

few = settings(max_examples=10, deadline=None)

LOGITS, ROWS, MAPS = (10,), (12,), (4, 3, 3)
CASES = {
    "all_pairs": LOGITS,
    "attention_transfer": MAPS,
    "correlation_congruence": ROWS,
    "cs_kd": LOGITS,
    "dist": LOGITS,
    "dkd": LOGITS,
    "factor_distance": MAPS,
    "fitnet": MAPS,
    "hierarchical_context": MAPS,
    "inheritance": MAPS,
    "kd": LOGITS,
    "logit_mse": LOGITS,
    "nst": MAPS,
    "pkt": ROWS,
    "rkd_angle": ROWS,
    "rkd_distance": ROWS,
    "similarity_preserving": ROWS,
}
"""Name of each public loss: shape of one sample."""
COMPARES_SAMPLES = {
    "all_pairs",
    "correlation_congruence",
    "dist",
    "pkt",
    "rkd_angle",
    "rkd_distance",
    "similarity_preserving",
}
OTHER_FORMS = {
    "activation_boundary",
    "adaptive_weights",
    "aggregate_context",
    "comparative",
    "comparative_labels",
    "crd",
    "crd_normaliser",
    "exploration",
    "fsp",
    "label_smoothing",
    "local_classifier",
    "native_ensemble",
    "negative_in_context",
    "overhaul",
    "positive_in_context",
    "tf_kd",
    "triplet_matching",
    "tuple_matching",
    "vid",
}
"""A target, one value a group, neighbours, a memory or labels for a teacher, two layers each, not zero for equals:
tested in their own files."""

every = pytest.mark.parametrize("name", sorted(CASES))


def arguments(name, seed=0, n=6, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    shape = (n, *CASES[name])
    pair = [torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for _ in range(2)]
    return [*pair, torch.randint(10, (n,), generator=generator)] if name == "dkd" else pair


def test_every_public_loss_is_held_to_the_contract():
    assert losses.__all__ == sorted(losses.__all__) == sorted({*CASES, *OTHER_FORMS})


@every
def test_there_is_one_value_per_sample(name):
    loss = getattr(losses, name)(*arguments(name))
    assert loss.shape == (6,)
    assert loss.dtype == torch.float64
    assert (loss > 0).all()


@every
def test_student_comes_first_teacher_second_and_settings_are_keywords_with_a_default(name):
    parameters = list(inspect.signature(getattr(losses, name)).parameters.values())
    assert parameters[0].name.startswith("student")
    assert parameters[1].name.startswith(("teacher", "partner"))
    settings = [p for p in parameters[2:] if p.name != "labels"]
    assert all(p.kind is p.KEYWORD_ONLY and p.default is not p.empty for p in settings)


@every
def test_the_teacher_gets_no_gradient_and_the_student_does(name):
    student, teacher, *rest = arguments(name)
    student.requires_grad_()
    teacher.requires_grad_()
    getattr(losses, name)(student, teacher, *rest).mean().backward()
    assert teacher.grad is None
    assert student.grad.abs().sum() > 0


@every
def test_a_loss_of_tensors_without_gradient_has_none(name):
    assert not getattr(losses, name)(*arguments(name)).requires_grad


@every
@few
@given(seed=st.integers(0, 10**6))
def test_permuting_the_batch_permutes_the_loss(name, seed):
    given = arguments(name, seed)
    order = torch.randperm(6, generator=torch.Generator().manual_seed(seed))
    loss = getattr(losses, name)
    torch.testing.assert_close(loss(*(x[order] for x in given)), loss(*given)[order])


@every
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equal_student_and_teacher_have_no_loss_and_no_gradient(name, dtype):
    student, _, *rest = arguments(name, dtype=dtype)
    student.requires_grad_()
    loss = getattr(losses, name)(student, student.detach().clone(), *rest)
    (gradient,) = torch.autograd.grad(loss.mean(), student)
    assert loss.tolist() == [0.0] * 6
    assert gradient.abs().max() < 1e-6


@every
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_in_gives_finite_float32_out(name, dtype):
    student, teacher, *rest = arguments(name, dtype=dtype)
    student.requires_grad_()
    loss = getattr(losses, name)(student, teacher, *rest)
    (gradient,) = torch.autograd.grad(loss.mean(), student)
    assert loss.dtype == torch.float32
    assert loss.isfinite().all()
    assert gradient.dtype == dtype
    assert gradient.isfinite().all()
    assert gradient.abs().sum() > 0


@every
def test_student_and_teacher_may_have_different_types(name):
    student, teacher, *rest = arguments(name)
    student.requires_grad_()
    loss = getattr(losses, name)
    mixed = loss(student, teacher.half(), *rest)
    mixed.mean().backward()
    torch.testing.assert_close(mixed, loss(student, teacher.half().double(), *rest))


@every
def test_autocast_changes_neither_loss_nor_gradient(name):
    student, teacher, *rest = arguments(name, dtype=torch.float32)
    student.requires_grad_()
    results = []
    for enabled in (False, True):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            loss = getattr(losses, name)(student, teacher, *rest)
            results.append((loss, torch.autograd.grad(loss.mean(), student)[0]))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])


@every
def test_the_gradient_of_a_weighted_sum_is_the_weighted_sum_of_gradients(name):
    student, teacher, *rest = arguments(name)
    student.requires_grad_()
    loss = getattr(losses, name)(student, teacher, *rest)
    weights = torch.arange(6.0, dtype=torch.float64)
    whole = torch.autograd.grad((weights * loss).sum(), student, retain_graph=True)[0]
    parts = [torch.autograd.grad(value, student, retain_graph=True)[0] for value in loss]
    torch.testing.assert_close(whole, sum(w * part for w, part in zip(weights, parts, strict=True)))
    mean = torch.autograd.grad(loss.mean(), student, retain_graph=True)[0]
    torch.testing.assert_close(mean, sum(parts) / 6)


@every
def test_going_back_twice_gives_the_same_gradient_and_leaves_the_inputs_alone(name):
    given = arguments(name)
    before = [x.clone() for x in given]
    given[0].requires_grad_()
    loss = getattr(losses, name)(*given).mean()
    first, second = (torch.autograd.grad(loss, given[0], retain_graph=True)[0] for _ in range(2))
    assert torch.equal(first, second)
    assert all(torch.equal(x, y) for x, y in zip(given, before, strict=True))


@every
def test_the_layout_in_memory_does_not_count(name):
    given = arguments(name)
    strided = [x.repeat_interleave(2, 0)[::2] for x in given]
    assert not strided[0].is_contiguous()
    torch.testing.assert_close(getattr(losses, name)(*strided), getattr(losses, name)(*given))


@pytest.mark.parametrize("name", sorted(set(CASES) - COMPARES_SAMPLES))
def test_a_loss_that_compares_no_samples_does_not_depend_on_the_rest_of_the_batch(name):
    given = arguments(name)
    loss = getattr(losses, name)
    torch.testing.assert_close(loss(*(x[2:3] for x in given)), loss(*given)[2:3])


@pytest.mark.parametrize("name", sorted(COMPARES_SAMPLES))
def test_a_loss_that_compares_samples_depends_on_the_rest_of_the_batch(name):
    given = arguments(name)
    loss = getattr(losses, name)
    assert (loss(*(x[:4] for x in given)) - loss(*given)[:4]).abs().max() > 1e-3


@every
@pytest.mark.usefixtures("own_messages")
def test_whole_numbers_are_refused(name):
    student, teacher, *rest = arguments(name)
    with pytest.raises(ShapeError, match=r"student must be floating-point numbers, got torch.int64: convert"):
        getattr(losses, name)(student.long(), teacher, *rest)

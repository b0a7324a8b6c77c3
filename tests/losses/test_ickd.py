import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tutelage.errors import ConfigError, ShapeError
from tutelage.losses import aggregate_context, kd, negative_in_context, positive_in_context

few = settings(max_examples=10, deadline=None)
AGGREGATES, FORMS = ("logit", "prob"), ("contrastive", "hinge")
each_aggregate = pytest.mark.parametrize("aggregate", AGGREGATES)
each_form = pytest.mark.parametrize("form", FORMS)
half_types = pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
NAN = float("nan")


def normal(*shape, seed=0, scale=3.0):
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def positives(seed=0, n=5, k=3, c=4):
    """Student, neighbours and weights."""
    return normal(n, c, seed=seed), normal(n, k, c, seed=seed + 1), normal(n, k, seed=seed + 2, scale=1.0).softmax(1)


def negatives(seed=0, n=5, k=3, c=4):
    """Student, positive and negatives."""
    return normal(n, c, seed=seed), normal(n, c, seed=seed + 1), normal(n, k, c, seed=seed + 2)


CASES = [(positive_in_context, positives, {"aggregate": a}) for a in AGGREGATES]
CASES += [(negative_in_context, negatives, {"form": form}) for form in FORMS]
every = pytest.mark.parametrize(("loss", "build", "form"), CASES, ids=[*AGGREGATES, *FORMS])


def softmax_as_loops(row, temperature):
    powers = [math.exp(z / temperature) for z in row]
    return [power / sum(powers) for power in powers]


def kl_as_loops(p, q):
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


def cosine_as_loops(a, b):
    x, y = ([z - sum(row) / len(row) for z in row] for row in (a, b))
    norms = math.sqrt(sum(z * z for z in x) * sum(z * z for z in y))
    return sum(u * v for u, v in zip(x, y, strict=True)) / norms if norms > 1e-12 else 0.0


# Definition as loops


@each_aggregate
@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_the_positive_loss_is_its_definition_as_loops(aggregate, temperature):
    student, context, weights = positives()
    expected = []
    for s, rows, w in zip(student.tolist(), context.tolist(), weights.tolist(), strict=True):
        if aggregate == "logit":
            mean = [sum(v * row[c] for v, row in zip(w, rows, strict=True)) for c in range(4)]
            target = softmax_as_loops(mean, temperature)
        else:
            parts = [softmax_as_loops(row, temperature) for row in rows]
            target = [sum(v * part[c] for v, part in zip(w, parts, strict=True)) for c in range(4)]
        expected.append(temperature**2 * kl_as_loops(target, softmax_as_loops(s, temperature)))
    found = positive_in_context(student, context, weights, temperature=temperature, aggregate=aggregate)
    torch.testing.assert_close(found.tolist(), expected, rtol=1e-10, atol=1e-12)


@each_form
def test_the_negative_loss_is_its_definition_as_loops(form):
    student, positive, others = negatives()
    present = torch.tensor([[1, 1, 1], [1, 0, 1], [0, 0, 1], [0, 0, 0], [1, 1, 0]]).bool()
    expected = []
    for s, p, rows, there in zip(*(x.tolist() for x in (student, positive, others, present)), strict=True):
        near = cosine_as_loops(s, p)
        far = [cosine_as_loops(s, row) for row, is_there in zip(rows, there, strict=True) if is_there]
        if form == "contrastive":
            expected.append(math.log(1 + sum(math.exp((x - near) / 0.3) for x in far)))
        else:
            expected.append(sum(max(0.0, 0.7 + x - near) for x in far) / max(1, len(far)))
    found = negative_in_context(student, positive, others, present=present, temperature=0.3, form=form, margin=0.7)
    torch.testing.assert_close(found.tolist(), expected, rtol=1e-10, atol=1e-12)


@each_aggregate
def test_the_aggregate_gives_the_target_of_the_positive_loss(aggregate):
    student, context, weights = positives()
    target = aggregate_context(context, weights, temperature=3.0, aggregate=aggregate)
    expected = kd(student, target, temperature=3.0)
    found = positive_in_context(student, context, weights, temperature=3.0, aggregate=aggregate)
    torch.testing.assert_close(found, expected)


# What both promise


@every
@few
@given(seed=st.integers(0, 10**6))
def test_permuting_the_batch_permutes_the_loss(loss, build, form, seed):
    given = build(seed)
    order = torch.randperm(5, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(loss(*(x[order] for x in given), **form), loss(*given, **form)[order])


@every
@few
@given(seed=st.integers(0, 10**6))
def test_permuting_the_classes_of_all_changes_nothing(loss, build, form, seed):
    given = build(seed)
    order = torch.randperm(4, generator=torch.Generator().manual_seed(seed))
    moved = [x[..., order] if x.shape[-1] == 4 else x for x in given]
    torch.testing.assert_close(loss(*moved, **form), loss(*given, **form))


@each_aggregate
@few
@given(seed=st.integers(0, 10**6))
def test_the_order_of_the_positives_does_not_count(aggregate, seed):
    student, context, weights = positives(seed)
    order = torch.randperm(3, generator=torch.Generator().manual_seed(seed))
    moved = positive_in_context(student, context[:, order], weights[:, order], aggregate=aggregate)
    torch.testing.assert_close(moved, positive_in_context(student, context, weights, aggregate=aggregate))


@each_form
@few
@given(seed=st.integers(0, 10**6))
def test_the_order_of_the_negatives_does_not_count(form, seed):
    student, positive, others = negatives(seed)
    order = torch.randperm(3, generator=torch.Generator().manual_seed(seed))
    moved = negative_in_context(student, positive, others[:, order], form=form)
    torch.testing.assert_close(moved, negative_in_context(student, positive, others, form=form))


@every
@few
@given(seed=st.integers(0, 10**6), shift=st.floats(-50, 50))
def test_a_constant_added_to_all_logits_of_a_row_changes_nothing(loss, build, form, seed, shift):
    student, second, third = build(seed)
    moved = [student + shift, second - shift, third if third.dim() == 2 else third + 2 * shift]
    torch.testing.assert_close(loss(*moved, **form), loss(student, second, third, **form), rtol=1e-6, atol=1e-7)


@every
def test_a_sample_does_not_depend_on_the_rest_of_the_batch(loss, build, form):
    given = build()
    torch.testing.assert_close(loss(*(x[2:3] for x in given), **form), loss(*given, **form)[2:3])


@every
def test_only_the_student_gets_a_gradient(loss, build, form):
    given = [x.requires_grad_() for x in build()]
    loss(*given, **form).sum().backward()
    assert given[0].grad.abs().sum() > 0
    assert given[1].grad is None
    assert given[2].grad is None
    assert not loss(*build(), **form).requires_grad


@every
def test_the_inputs_are_left_alone(loss, build, form):
    given = build()
    before = [x.clone() for x in given]
    loss(*given, **form)
    assert all(torch.equal(x, y) for x, y in zip(given, before, strict=True))


@every
def test_the_gradient_is_that_of_finite_differences(loss, build, form):
    student, *rest = build(n=3)
    check = torch.autograd.gradcheck, torch.autograd.gradgradcheck
    assert all(test(lambda s: loss(s, *rest, **form), (student.requires_grad_(),)) for test in check)


@every
def test_the_layout_in_memory_does_not_count(loss, build, form):
    given = build()
    strided = [x.repeat_interleave(2, 0)[::2] for x in given]
    torch.testing.assert_close(loss(*strided, **form), loss(*given, **form))


@every
@half_types
def test_half_precision_in_gives_finite_float32_out(loss, build, form, dtype):
    given = [x.to(dtype) for x in build()]
    student = given[0].requires_grad_()
    value = loss(*given, **form)
    value.sum().backward()
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, loss(*(x.detach().float() for x in given), **form), rtol=1e-5, atol=1e-6)
    assert student.grad.dtype == dtype
    assert student.grad.isfinite().all()
    assert student.grad.abs().sum() > 0


@every
@half_types
def test_a_bank_in_half_precision_teaches_a_student_in_another(loss, build, form, dtype):
    student, second, third = build()
    lowered = second.to(dtype), third.to(dtype)
    expected = loss(student, *(x.double() for x in lowered), **form)
    torch.testing.assert_close(loss(student, *lowered, **form), expected, rtol=1e-5, atol=1e-6)


@every
def test_the_widest_type_decides(loss, build, form):
    student, *rest = build()
    narrow = student.float().requires_grad_()
    found = loss(narrow, *rest, **form)
    found.sum().backward()
    assert found.dtype == torch.float64
    assert narrow.grad.dtype == torch.float32
    torch.testing.assert_close(found.detach(), loss(student.float().double(), *rest, **form))


@every
def test_autocast_changes_neither_loss_nor_gradient(loss, build, form):
    student, *rest = (x.float() for x in build())
    student.requires_grad_()
    results = []
    for enabled in (False, True):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            value = loss(student, *rest, **form)
            results.append((value, torch.autograd.grad(value.mean(), student)[0]))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])


class Allocations(TorchDispatchMode):
    """Counts the memories of at least so many numbers that operations return."""

    def __init__(self, size):
        super().__init__()
        self.size, self.kept = size, []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        given = {x.untyped_storage().data_ptr() for x in tree_leaves(args) if isinstance(x, torch.Tensor)}
        for x in tree_leaves(out):
            if isinstance(x, torch.Tensor) and x.untyped_storage().size() >= self.size:
                self.kept += [x] if x.untyped_storage().data_ptr() not in given else []
        return out


@every
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_the_neighbours_are_copied_once(loss, build, form, dtype):
    given = [x.to(dtype) for x in build(n=6, k=32, c=50)]
    given[0] = given[0].float().requires_grad_()
    with Allocations(2 * 6 * 32 * 50) as found:  # bytes of the least copy, in half precision
        loss(*given, **form)
    # the mean of probabilities needs the scale of every neighbour first
    assert [x.dtype for x in found.kept] == [torch.float32] * (2 if form == {"aggregate": "prob"} else 1)


# Positives: edges


@each_aggregate
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("temperature", [0.7, 3.0, 4.0])
def test_neighbours_with_the_students_logits_give_exactly_zero(aggregate, dtype, temperature):
    student, _, weights = (x.to(dtype) for x in positives(k=7))
    student.requires_grad_()
    context = student.detach().unsqueeze(1).expand(5, 7, 4)
    loss = positive_in_context(student, context, weights, temperature=temperature, aggregate=aggregate)
    loss.sum().backward()
    assert loss.tolist() == [0.0] * 5
    assert student.grad.abs().max() < 1e-6


@each_aggregate
def test_with_one_neighbour_it_is_kd_from_that_neighbour(aggregate):
    student, context, _ = positives(k=1)
    found = positive_in_context(student, context, torch.ones(5, 1).double(), aggregate=aggregate)
    torch.testing.assert_close(found, kd(student, context[:, 0]))


@each_aggregate
def test_a_neighbour_of_weight_zero_counts_for_nothing_whatever_it_holds(aggregate):
    student, context, weights = positives()
    padded = torch.cat([torch.full((5, 1, 4), NAN).double(), context, torch.full((5, 1, 4), math.inf).double()], 1)
    wider = torch.nn.functional.pad(weights, (1, 1))
    found = positive_in_context(student, padded, wider, aggregate=aggregate)
    torch.testing.assert_close(found, positive_in_context(student, context, weights, aggregate=aggregate))


@each_aggregate
@pytest.mark.parametrize("k", [0, 3])
def test_a_sample_without_neighbours_has_no_loss_and_no_gradient(aggregate, k):
    student, context, weights = positives(k=k)
    student.requires_grad_()
    if k:
        context[1], weights[1] = NAN, 0.0
    loss = positive_in_context(student, context, weights, aggregate=aggregate)
    loss.sum().backward()
    assert loss[1] == 0
    assert student.grad[1].tolist() == [0.0] * 4
    assert student.grad.isfinite().all()
    assert aggregate_context(context, weights, aggregate=aggregate)[1].tolist() == [0.0] * 4
    assert ((loss > 0).tolist() == [True, False, True, True, True]) == bool(k)


@each_aggregate
def test_the_last_bits_of_the_weights_do_not_count(aggregate):
    student, context, weights = positives()
    rounded = weights.bfloat16()
    assert (rounded.double().sum(1) - 1).abs().max() > 1e-4
    found = positive_in_context(student, context, rounded, aggregate=aggregate)
    exact = rounded.double() / rounded.double().sum(1, keepdim=True)
    torch.testing.assert_close(found, positive_in_context(student, context, exact, aggregate=aggregate))


@each_aggregate
def test_a_nan_in_a_neighbour_that_counts_is_not_hidden(aggregate):
    student, context, weights = positives()
    context[2, 1, 0] = NAN
    loss = positive_in_context(student, context, weights, aggregate=aggregate)
    assert loss.isnan().tolist() == [False, False, True, False, False]


@each_aggregate
def test_a_class_that_all_neighbours_exclude_leaves_loss_and_gradient_finite(aggregate):
    student, context, weights = positives()
    context[..., 0] = -math.inf
    found = positive_in_context(student.requires_grad_(), context, weights, temperature=1.0, aggregate=aggregate)
    found.sum().backward()
    rest = aggregate_context(context[..., 1:], weights, temperature=1.0, aggregate=aggregate).softmax(1)
    expected = (rest * (rest.log() - student.detach().log_softmax(1)[:, 1:])).sum(1)
    torch.testing.assert_close(found.detach(), expected)
    assert student.grad.isfinite().all()


@pytest.mark.parametrize(("aggregate", "expected"), [("logit", [0.0, 1.0, 0.0]), ("prob", [0.25, 0.5, 0.25])])
def test_a_class_that_one_neighbour_excludes_is_excluded_by_the_mean_of_logits_alone(aggregate, expected):
    context = torch.tensor([[[-math.inf, 0.0, 0.0], [0.0, 0.0, -math.inf]]])
    mean = aggregate_context(context, torch.tensor([[0.5, 0.5]]), temperature=1.0, aggregate=aggregate)
    torch.testing.assert_close(mean.softmax(1).tolist(), [expected])


@each_aggregate
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_confident_logits_give_a_finite_loss_and_gradient(aggregate, dtype):
    student = torch.tensor([[1e4, -1e4, 0.0]], dtype=dtype, requires_grad=True)
    context = torch.tensor([[[-1e4, 1e4, 0.0], [0.0, -1e4, 1e4]]], dtype=dtype)
    loss = positive_in_context(student, context, torch.tensor([[0.999, 0.001]]), aggregate=aggregate)
    loss.sum().backward()
    assert loss.isfinite().all()
    assert (loss > 1e4).all()
    assert student.grad.isfinite().all()
    assert student.grad.abs().max() > 1


@each_aggregate
def test_an_offset_common_to_all_logits_leaves_the_loss_right(aggregate):
    student, context, weights = (x.float() for x in positives())
    found = positive_in_context(student + 1000, context + 1000, weights, aggregate=aggregate)
    expected = positive_in_context(student, context, weights, aggregate=aggregate)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_a_rare_neighbour_keeps_its_share_of_the_mean_of_probabilities():
    context = torch.tensor([[[50.0, 0.0], [0.0, 50.0]]])
    mean = aggregate_context(context, torch.tensor([[1 - 1e-4, 1e-4]]), temperature=1.0, aggregate="prob")
    assert mean.softmax(1)[0, 1].item() == pytest.approx(1e-4, rel=2e-3)


def test_a_class_that_only_a_neighbour_of_almost_no_weight_names_gives_no_nan():
    # The weights of the others are one in sum, or by rounding a little more.
    weights = torch.cat([normal(200, 10, scale=1.0).float().softmax(1), torch.full((200, 1), 1e-9)], 1)
    context = torch.tensor([[100.0, -100.0]]).repeat(200, 11, 1)
    context[:, 10] = torch.tensor([-100.0, 100.0])
    loss = positive_in_context(torch.zeros(200, 2), context, weights, temperature=1.0, aggregate="prob")
    torch.testing.assert_close(loss, torch.full((200,), math.log(2)))


# Negatives: edges


@each_form
def test_absent_negatives_count_for_nothing_whatever_they_hold(form):
    student, positive, others = negatives()
    student.requires_grad_()
    padded = torch.cat([torch.full((5, 1, 4), NAN).double(), others, torch.full((5, 1, 4), math.inf).double()], 1)
    present = torch.tensor([[False, True, True, True, False]]).expand(5, 5)
    found = negative_in_context(student, positive, padded, present=present, form=form)
    expected = negative_in_context(student, positive, others, form=form)
    torch.testing.assert_close(found, expected)
    first, second = (torch.autograd.grad(x.sum(), student)[0] for x in (found, expected))
    torch.testing.assert_close(first, second)


@each_form
@pytest.mark.parametrize("k", [0, 3])
def test_a_sample_without_negatives_has_no_loss_and_no_gradient(form, k):
    student, positive, others = negatives(k=k)
    student.requires_grad_()
    loss = negative_in_context(student, positive, others, present=torch.zeros(5, k, dtype=torch.bool), form=form)
    loss.sum().backward()
    assert loss.tolist() == [0.0] * 5
    assert student.grad.abs().max() == 0


@each_form
@few
@given(st.integers(0, 10**6), st.floats(0.05, 2.0))
def test_the_negative_loss_stays_within_its_bounds(form, seed, setting):
    student, positive, others = (x.float() for x in negatives(seed))
    loss = negative_in_context(student, positive, others, temperature=setting, form=form, margin=setting)
    most = math.log(1 + 3 * math.exp(2 / setting)) if form == "contrastive" else setting + 2
    assert (loss >= 0).all()
    assert (loss <= most + 1e-5).all()


@each_form
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_bound_is_reached_by_a_student_that_answers_its_negatives(form, dtype):
    student = torch.tensor([[2.0, 0.0]], dtype=dtype)
    loss = negative_in_context(student, -student, student.unsqueeze(1).expand(1, 3, 2), form=form)
    expected = math.log(1 + 3 * math.exp(10)) if form == "contrastive" else 2.5
    assert loss.item() == pytest.approx(expected, rel=1e-6)


@few
@given(st.integers(0, 10**6), st.floats(1e-3, 1e3))
def test_the_size_of_the_logits_does_not_count_for_the_negative_loss(seed, size):
    student, positive, others = negatives(seed)
    found = negative_in_context(size * student, positive / size, size * others)
    torch.testing.assert_close(found, negative_in_context(student, positive, others))


@each_form
@pytest.mark.parametrize("row", [0.0, 0.1, 7.7, -1000.0])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_a_collapsed_student_has_a_finite_loss_and_no_gradient(form, row, dtype):
    _, positive, others = (x.to(dtype) for x in negatives(c=7))
    student = torch.full((5, 7), row, dtype=dtype, requires_grad=True)
    loss = negative_in_context(student, positive, others, form=form)
    loss.sum().backward()
    torch.testing.assert_close(loss, torch.full((5,), math.log(4) if form == "contrastive" else 0.5))
    assert student.grad.abs().max() == 0


@each_form
@pytest.mark.parametrize("row", [0.0, 0.013, 0.1, -1000.0])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_constant_rows_of_the_teacher_have_cosine_zero(form, row, dtype):
    student, positive, others = (x.to(dtype) for x in negatives(c=7))
    others[:, 1], positive[2] = row, row
    found = negative_in_context(student, positive, others, form=form)
    student, positive, others = (x.tolist() for x in (student, positive, others))
    near = torch.tensor([cosine_as_loops(a, b) for a, b in zip(student, positive, strict=True)])
    far = torch.tensor([[cosine_as_loops(a, b) for b in rows] for a, rows in zip(student, others, strict=True)])
    assert near[2] == 0
    assert far[:, 1].tolist() == [0.0] * 5
    if form == "contrastive":
        expected = (1 + ((far - near.unsqueeze(1)) / 0.2).exp().sum(1)).log()
    else:
        expected = (0.5 + far - near.unsqueeze(1)).relu().mean(1)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@each_form
def test_rows_that_vary_by_their_rounding_alone_count_as_constant(form):
    student, positive, others = (x.float() for x in negatives(c=7))
    row = torch.full((7,), -1000.0)
    row[0] = row[0].nextafter(torch.tensor(0.0))
    constant = [positive.clone(), others.clone()]
    positive[2], others[:, 1], constant[0][2], constant[1][:, 1] = row, row, 0.0, 0.0
    found = negative_in_context(student, positive, others, form=form)
    assert torch.equal(found, negative_in_context(student, *constant, form=form))
    collapsed = negative_in_context(row.expand(5, 7), positive, others, form=form)
    assert torch.equal(collapsed, negative_in_context(torch.zeros(5, 7), positive, others, form=form))


@each_form
@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_squares_of_the_logits_neither_vanish_nor_overflow(form, size):
    student, positive, others = (x.float() for x in negatives())
    expected = negative_in_context(student, positive, others, form=form)
    scaled = [size * x for x in (student, positive, others)]
    torch.testing.assert_close(negative_in_context(*scaled, form=form), expected, rtol=1e-5, atol=1e-6)


@each_form
def test_an_offset_common_to_all_logits_leaves_the_cosines_right(form):
    student, positive, others = (x.float() for x in negatives())
    found = negative_in_context(student + 1000, positive + 1000, others + 1000, form=form)
    expected = negative_in_context(student, positive, others, form=form)
    torch.testing.assert_close(found, expected, rtol=2e-3, atol=2e-3)


def test_a_sample_without_a_positive_is_repelled_by_its_negatives_alone():
    student, _, others = negatives(n=1, k=1)
    student.requires_grad_()
    nobody = aggregate_context(others[:, :0], others[:, :0, 0])
    loss = negative_in_context(student, nobody, others)
    cosine = cosine_as_loops(student[0].tolist(), others[0, 0].tolist())
    assert loss.item() == pytest.approx(math.log(1 + math.exp(cosine / 0.2)))
    after = student.detach() - 0.1 * torch.autograd.grad(loss.sum(), student)[0]
    assert cosine_as_loops(after[0].tolist(), others[0, 0].tolist()) < cosine


def test_a_step_down_the_gradient_brings_the_positive_closer_and_the_negatives_further():
    student, positive, others = negatives()
    student.requires_grad_()
    for form in FORMS:
        (gradient,) = torch.autograd.grad(negative_in_context(student, positive, others, form=form).sum(), student)
        before, after = (
            torch.tensor([cosine_as_loops(a, b) for a, b in zip(x.tolist(), positive.tolist(), strict=True)]).sum()
            for x in (student.detach(), student.detach() - 0.1 * gradient)
        )
        assert after > before


# Messages


@pytest.mark.usefixtures("own_messages")
def test_messages_about_positives_say_what_was_wanted_what_came_and_what_to_do():
    student, context, weights = (x.float() for x in positives())
    with pytest.raises(ShapeError, match=r"context logits must be .*, got \(5, 4\) torch.float32: look up the rows"):
        positive_in_context(student, context[:, 0], weights)
    with pytest.raises(ShapeError, match=r"the same samples, got 4 and 5 rows: run both on one batch"):
        positive_in_context(student[:4], context, weights)
    with pytest.raises(ShapeError, match=r"the same classes, got 4 and 3: select"):
        positive_in_context(student, context[..., :3], weights)
    with pytest.raises(ShapeError, match=r"one floating-point number a neighbour on cpu, \(5, 3\), got \(5, 2\)"):
        positive_in_context(student, context, weights[:, :2])
    with pytest.raises(ShapeError, match=r"sum to one .* got sums from 2 to 2: divide each row by its sum"):
        positive_in_context(student, context, 2 * weights)
    with pytest.raises(ShapeError, match="must not be negative"):
        positive_in_context(student, context, torch.tensor([[2.0, -1.0, 0.0]]).expand(5, 3))
    with pytest.raises(ShapeError, match="sum to one"):
        positive_in_context(student, context, weights * NAN)
    with pytest.raises(ConfigError, match="aggregate must be 'logit' or 'prob', got 'mean'"):
        positive_in_context(student, context, weights, aggregate="mean")
    with pytest.raises(ConfigError, match="temperature must be positive, got 0"):
        positive_in_context(student, context, weights, temperature=0.0)


@pytest.mark.usefixtures("own_messages")
def test_messages_about_negatives_say_what_was_wanted_what_came_and_what_to_do():
    student, positive, others = (x.float() for x in negatives())
    with pytest.raises(ShapeError, match=r"negative logits must be .*, got \(5, 3, 4\) torch.int64: look up the rows"):
        negative_in_context(student, positive, others.long())
    with pytest.raises(ShapeError, match=r"the same samples, got 5 and 2 rows"):
        negative_in_context(student, positive, others[:2])
    with pytest.raises(ShapeError, match=r"the same classes, got 4 and 3"):
        negative_in_context(student, positive[:, :3], others)
    with pytest.raises(ShapeError, match=r"one bool a negative on cpu, \(5, 3\), got \(5, 3\) torch.int64 on cpu"):
        negative_in_context(student, positive, others, present=torch.ones(5, 3).long())
    with pytest.raises(ConfigError, match="form must be 'contrastive' or 'hinge', got 'kl'"):
        negative_in_context(student, positive, others, form="kl")
    with pytest.raises(ConfigError, match="margin must be positive, got -1"):
        negative_in_context(student, positive, others, margin=-1.0)

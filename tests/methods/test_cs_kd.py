"""CS-KD: partners are found by label, wherever they stand."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage import losses
from tutelage.data import BalancedSampler
from tutelage.methods import CSKDConfig
from tutelage.methods.cs_kd import _partners
from tutelage.types import Batch, Outputs

few = settings(max_examples=30, deadline=None)
many = st.lists(st.integers(0, 4), min_size=1, max_size=16)


def logits(n):
    return torch.randn(n, 5, generator=torch.Generator().manual_seed(0)).requires_grad_()


def term(student, labels, **chosen):
    batch = Batch(torch.zeros(len(labels), 1, 2, 2), torch.tensor(labels), *2 * [torch.arange(len(labels))])
    answers = Outputs(student, {})
    return CSKDConfig(**chosen).build({}, {})(answers, answers, batch)["partner"]


def partners_as_loops(labels):
    found = []
    for place, label in enumerate(labels):
        members = [other for other, theirs in enumerate(labels) if theirs == label]
        found.append(members[(members.index(place) + 1) % len(members)])
    return found


def test_the_defaults_are_those_of_the_authors():
    # --temp 4.0 --lamda 1.0: train.py of alinlab/cs-kd@b447f25
    config = CSKDConfig()
    assert (config.temperature, config.weight, config.task_weight) == (4.0, 1.0, 1.0)
    needs = config.build({}, {}).needs
    assert (needs.teacher, needs.compares_samples, needs.images_per_class) == (False, True, 2)


@few
@given(many)
def test_the_partner_is_the_next_of_the_class_and_of_the_last_the_first(labels):
    assert _partners(torch.tensor(labels)).tolist() == partners_as_loops(labels)


def test_in_a_batch_of_pairs_everybody_has_the_other_one_as_partner():
    labels = torch.arange(40) % 8
    sampler = BalancedSampler(torch.arange(40), labels, classes_per_batch=4, images_per_class=2, seed=0)
    for ids in sampler.epoch(0):
        assert _partners(labels[ids]).tolist() == [1, 0, 3, 2, 5, 4, 7, 6]


@few
@given(st.randoms())
def test_the_order_of_a_batch_of_pairs_does_not_count(random):
    labels, order = [0, 0, 1, 1, 2, 2], list(range(6))
    random.shuffle(order)
    student = logits(6)
    moved = term(student[order], [labels[place] for place in order])
    torch.testing.assert_close(moved.value, term(student, labels).value)


@few
@given(many)
def test_the_term_is_the_mean_of_the_loss_of_every_sample_with_its_partner(labels):
    student = logits(len(labels))
    found = term(student, labels, temperature=3.0, weight=0.5)
    expected = losses.cs_kd(student, student[partners_as_loops(labels)], temperature=3.0).mean()
    assert found.value.equal(expected)
    assert found.weight == 0.5


def test_a_sample_without_a_partner_adds_nothing_and_learns_nothing():
    student = logits(6)
    value = term(student, [0, 1, 0, 2, 3, 4]).value
    value.backward()
    torch.testing.assert_close(value, term(student[[0, 2]], [0, 0]).value / 3)
    alone, pair = student.grad[[1, 3, 4, 5]], student.grad[[0, 2]]
    assert alone.abs().max() < 1e-7 < 1e-3 < pair.abs().max()


def test_no_gradient_flows_into_the_partner():
    student = logits(2)
    term(student, [3, 3]).value.backward()
    held = logits(2)
    losses.cs_kd(held, held.detach().flip(0)).mean().backward()
    assert student.grad.equal(held.grad)


@pytest.mark.parametrize("labels", [[2], [0, 1, 2, 3]])
def test_a_batch_without_any_pair_has_a_term_of_zero(labels):
    assert term(logits(len(labels)), labels).value == 0

"""Logit standardisation is an option of every method that compares logits with a teacher's, or a peer's."""

import dataclasses

import pytest
import torch

from tutelage import losses
from tutelage.labels import LabelSpace
from tutelage.methods import METHODS, KDConfig
from tutelage.ops.standardize import standardize
from tutelage.types import Batch, Outputs

SHAPES = {"logits": (10,), "embedding": (12,)}
OPTIONAL = [
    name for name, config in METHODS.items() if "standardize" in {field.name for field in dataclasses.fields(config)}
]


def outputs(seed, n=8):
    generator = torch.Generator().manual_seed(seed)
    return Outputs(
        torch.randn(n, 10, generator=generator).requires_grad_(),
        {"embedding": torch.randn(n, 12, generator=generator)},
    )


def samples(n):
    ids = torch.arange(n)
    return Batch(torch.zeros(n, 1, 8, 8), ids % 4, ids, 0 * ids)


class Answering:
    labels, fingerprint, calls, shapes = LabelSpace(tuple("abcdefghij")), "random", 0, SHAPES

    def listen(self, roles):
        """All roles are answered."""

    def compile(self):
        """There is nothing to compile."""

    def __call__(self, batch):
        return outputs(2, n=len(batch.ids))


def first(name, student, teacher, **settings):
    """The first term of a method past its warm-up: the comparison of logits."""
    method = METHODS[name](**settings).build(SHAPES, SHAPES)
    method.prepare(Answering(), lambda: iter([samples(24)]))
    method.after_step(100.0)
    return next(iter(method(student, teacher, samples(8)).values())).value


def test_which_methods_have_it():
    assert OPTIONAL == ["dist", "dkd", "dml", "ickd", "kd", "logit_mse"]


@pytest.mark.parametrize("name", OPTIONAL)
def test_the_scale_and_the_place_of_logits_then_count_no_more(name):
    student, teacher = outputs(0), outputs(1)
    larger = student._replace(logits=5 * student.logits + 3), teacher._replace(logits=0.2 * teacher.logits - 1)
    torch.testing.assert_close(
        first(name, *larger, standardize=True), first(name, student, teacher, standardize=True), rtol=1e-4, atol=1e-5
    )
    assert not torch.allclose(first(name, *larger), first(name, student, teacher), rtol=0.01)


@pytest.mark.parametrize("name", OPTIONAL)
def test_it_is_off_by_default_and_teaches_the_student_alone(name):
    assert METHODS[name]().standardize is False
    student, teacher = outputs(0), outputs(1)
    first(name, student, teacher, standardize=True).backward()
    assert student.logits.grad.abs().sum() > 0
    assert teacher.logits.grad is None


def test_kd_has_the_loss_of_z_scores():
    student, teacher = outputs(0), outputs(1)
    expected = losses.kd(standardize(student.logits), standardize(teacher.logits), temperature=2.0).mean()
    method = KDConfig(standardize=True, temperature=2.0, weight=9.0).build(SHAPES, SHAPES)
    term = method(student, teacher, samples(8))["kd"]
    torch.testing.assert_close(term.value, expected)
    assert term.weight == 9.0

"""A live teacher is frozen whatever happens around it."""

import dataclasses

import pytest
import torch
from torch import nn

from tutelage.errors import ConfigError, UnknownNameError
from tutelage.models import ModelCard, Network
from tutelage.teachers import LiveTeacher, Teacher
from tutelage.types import Batch

CARD = ModelCard(model="python:mine", classes=("a", "b"), image=(1, 8, 8), mean=(0.5,), std=(0.5,))


def body():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(0.9), nn.Linear(144, 2)
    )


def make(**settings):
    torch.manual_seed(0)
    taps = {"embedding": "5:in", "stage1": "2"}
    return LiveTeacher(Network(body(), dataclasses.replace(CARD, taps=taps)), **settings)


def batch(n=6):
    images = torch.randint(0, 256, (n, 1, 8, 8), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    return Batch(images, *3 * [torch.arange(n)])


def test_it_is_a_teacher():
    assert isinstance(make(), Teacher)


def test_it_answers_the_same_twice_though_it_holds_dropout_and_batch_norm():
    teacher = make()
    assert torch.equal(teacher(batch()).logits, teacher(batch()).logits)


def test_a_sample_is_answered_alike_in_every_company():
    teacher = make()
    torch.testing.assert_close(teacher(batch(6)).logits[:2], teacher(batch(2)).logits)


def test_answering_moves_no_statistic_of_batch_norm():
    teacher = make()
    before = teacher.fingerprint
    teacher(batch())
    assert teacher._network.fingerprint() == before


def test_no_weight_requires_a_gradient_and_every_module_is_in_eval_mode():
    network = make()._network
    assert not any(weight.requires_grad for weight in network.parameters())
    assert not any(module.training for module in network.modules())


def test_answers_carry_no_gradient_and_can_be_saved_for_a_backward_pass():
    answer = make()(batch())
    assert not answer.logits.requires_grad
    student = torch.ones_like(answer.logits, requires_grad=True)
    (student * answer.logits).sum().backward()
    assert torch.equal(student.grad, answer.logits)
    assert not any(value.is_inference() for value in (answer.logits, *answer.taps.values()))


@pytest.mark.parametrize("size", [1, 4, 6, 100])
def test_smaller_batches_give_the_same_answer(size):
    whole, parts = make()(batch()), make(batch_size=size)(batch())
    torch.testing.assert_close(parts.logits, whole.logits)
    torch.testing.assert_close(parts.taps, whole.taps)


def test_it_never_sees_more_images_than_its_batch_size():
    teacher, seen = make(batch_size=4), []
    teacher._network.register_forward_pre_hook(lambda _, args: seen.append(len(args[0])))
    teacher(batch())
    assert seen == [4, 2]


def test_calls_count_samples():
    teacher = make(batch_size=4)
    teacher(batch(6))
    teacher(batch(3))
    assert teacher.calls == 9


def test_only_the_features_that_are_listened_to_are_answered():
    teacher = make()
    teacher.listen(["stage1"])
    assert set(teacher(batch()).taps) == {"stage1"}
    with pytest.raises(UnknownNameError, match="unknown tap 'stage7'"):
        teacher.listen(["stage7"])


def test_it_computes_in_the_context_that_it_is_given():
    def half():
        return torch.autocast("cpu", torch.bfloat16)

    assert make()(batch()).logits.dtype == torch.float32
    assert make(autocast=half)(batch()).logits.dtype == torch.bfloat16


def test_it_knows_its_classes_and_shapes():
    teacher = make()
    assert teacher.labels.names == ("a", "b")
    assert teacher.shapes == {"logits": (2,), "embedding": (144,), "stage1": (4, 6, 6)}


@pytest.mark.parametrize("size", [0, -1])
def test_a_batch_size_below_one_is_refused(size):
    with pytest.raises(ConfigError, match=f"at least 1, got {size}"):
        make(batch_size=size)


@pytest.mark.slow
def test_compiling_changes_no_answer(monkeypatch):
    compile_ = torch.compile
    monkeypatch.setattr(torch, "compile", lambda module: compile_(module, backend="eager"))
    teacher = make()
    before = teacher(batch())
    teacher.compile()
    after = teacher(batch())
    torch.testing.assert_close(after.logits, before.logits)
    assert set(after.taps) == set(before.taps)

"""Teachers that follow the student do so by their formula, leave it alone, and resume bit by bit."""

import copy
import io
from functools import partial

import pytest
import torch
from torch import nn

from tutelage.errors import ConfigError, DataError
from tutelage.models import ModelCard, Network
from tutelage.teachers import EMATeacher, SnapshotTeacher, Teacher
from tutelage.types import Batch

CARD = ModelCard(model="python:mine", classes=("a", "b"), image=(1, 8, 8), mean=(0.5,), std=(0.5,))
KINDS = [partial(EMATeacher, decay=0.9), SnapshotTeacher]


def make(seed=0, width=4):
    torch.manual_seed(seed)
    body = nn.Sequential(
        nn.Conv2d(1, width, 3), nn.BatchNorm2d(width), nn.ReLU(), nn.Flatten(), nn.Linear(36 * width, 2)
    )
    return Network(body, CARD)


def batch(n=6):
    images = torch.randint(0, 256, (n, 1, 8, 8), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    return Batch(images, *3 * [torch.arange(n)])


def learn(student, teacher=None, steps=4, first=0, an_epoch=2):
    """Some steps of training; the step alone determines what happens in it."""
    student.train()
    for step in range(first, first + steps):
        loss = student(batch().images).logits.square().mean() * (1 + step)
        grads = torch.autograd.grad(loss, list(student.parameters()))
        with torch.no_grad():
            for weight, grad in zip(student.parameters(), grads, strict=True):
                weight -= 0.1 * grad
        if teacher is not None:
            teacher.after_step(student, (step + 1) / an_epoch)


def same(left, right):
    return all(torch.equal(value, right["weights"][name]) for name, value in left["weights"].items())


@pytest.mark.parametrize("kind", KINDS, ids=["average", "snapshot"])
def test_it_is_a_teacher_that_begins_with_the_students_answers(kind):
    student = make()
    teacher = kind(student)
    assert isinstance(teacher, Teacher)
    assert torch.equal(teacher(batch()).logits, student.eval()(batch().images).logits)
    assert teacher.fingerprint == student.fingerprint()


def test_the_average_is_that_of_the_definition():
    student = make()
    expected = [weight.detach().double().clone() for weight in student.model.parameters()]
    teacher = EMATeacher(student, decay=0.9)
    for step in range(5):
        learn(student, teacher, steps=1, first=step)
        expected = [
            0.9 * past + 0.1 * now.detach().double()
            for past, now in zip(expected, student.model.parameters(), strict=True)
        ]
    found = [teacher.state_dict()["weights"][name] for name, _ in student.model.named_parameters()]
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-5, atol=1e-6)


def test_without_decay_the_average_is_the_student():
    student = make()
    teacher = EMATeacher(student, decay=0.0)
    learn(student, teacher, steps=2)
    torch.testing.assert_close(teacher(batch()).logits, student.eval()(batch().images).logits)


def test_the_statistics_of_batch_norm_are_copied_not_averaged():
    student = make()
    teacher = EMATeacher(student, decay=0.99)
    learn(student, teacher, steps=3)
    weights = teacher.state_dict()["weights"]
    for name, value in student.model.named_buffers():
        assert torch.equal(weights[name], value)
    assert weights["1.num_batches_tracked"] == 3


@pytest.mark.parametrize(("every", "copied"), [(1, [2, 4, 6]), (2, [4]), (4, [])])
def test_a_snapshot_is_the_student_of_the_last_epoch_that_ended(every, copied):
    student = make()
    teacher = SnapshotTeacher(student, every=every)
    expected = copy.deepcopy(student.model.state_dict())
    for step in range(6):
        learn(student, teacher, steps=1, first=step)
        if step + 1 in copied:
            expected = copy.deepcopy(student.model.state_dict())
        assert same(teacher.state_dict(), {"weights": expected})


@pytest.mark.parametrize("kind", KINDS, ids=["average", "snapshot"])
def test_the_student_learns_as_if_there_were_no_teacher(kind):
    alone, watched = make(), make()
    for student in (alone, watched):  # it has gradients when it is copied
        student(batch().images).logits.sum().backward()
    teacher = kind(watched)
    learn(alone)
    for step in range(4):
        learn(watched, teacher, steps=1, first=step)
        teacher(batch())
    assert alone.fingerprint() == watched.fingerprint()
    assert watched.training
    assert all(weight.requires_grad for weight in watched.parameters())


@pytest.mark.parametrize("kind", KINDS, ids=["average", "snapshot"])
def test_the_teacher_stays_frozen_and_in_eval_mode_as_it_moves(kind):
    student = make()
    teacher = kind(student)
    learn(student, teacher)
    answer = teacher(batch())
    assert not answer.logits.requires_grad
    assert not any(module.training for module in teacher._network.modules())
    assert not any(weight.requires_grad or weight.grad is not None for weight in teacher._network.parameters())


@pytest.mark.parametrize("kind", KINDS, ids=["average", "snapshot"])
def test_features_of_teacher_and_student_are_their_own(kind):
    student = make()
    student.listen([])
    teacher = kind(student)
    learn(student, teacher, steps=2)
    teacher.listen(["embedding"])
    answer = teacher(batch())
    assert set(answer.taps) == {"embedding"}
    assert teacher.shapes == {"logits": (2,), "embedding": (144,)}
    assert not student._taps.take()  # the teacher's forward left nothing in the student
    assert not student(batch().images).taps
    student.listen(["embedding"])
    student.eval()
    theirs = student(batch().images).taps["embedding"]
    assert not torch.equal(theirs, answer.taps["embedding"])
    assert torch.equal(teacher(batch()).taps["embedding"], answer.taps["embedding"])


@pytest.mark.parametrize("roles", [[], ["embedding"]])
@pytest.mark.parametrize("kind", KINDS, ids=["average", "snapshot"])
def test_a_copy_has_hooks_of_its_own_whatever_the_student_hands_out(kind, roles):
    student = make()
    student.listen(roles)
    assert set(student.shapes) == {"logits", *roles}
    teacher = kind(student)
    assert set(teacher(batch()).taps) == {"embedding"}
    assert teacher.shapes == {"logits": (2,), "embedding": (144,)}
    assert not student._taps.take()  # the teacher's forward left nothing in the student
    assert set(student(batch().images).taps) == set(roles)


@pytest.mark.parametrize("kind", KINDS, ids=["average", "snapshot"])
def test_resuming_is_bit_equal_to_going_on(kind):
    student = make()
    teacher = kind(student)
    learn(student, teacher, steps=3)
    teacher(batch())
    file = io.BytesIO()
    torch.save({"teacher": teacher.state_dict(), "student": student.state_dict()}, file)
    learn(student, teacher, steps=4, first=3)
    file.seek(0)
    state = torch.load(file)
    again = make(seed=9)
    again.load_state_dict(state["student"])
    resumed = kind(make(seed=7))
    resumed.load_state_dict(state["teacher"])
    learn(again, resumed, steps=4, first=3)
    assert same(resumed.state_dict(), teacher.state_dict())
    assert (resumed.fingerprint, resumed.calls) == (teacher.fingerprint, teacher.calls)
    assert torch.equal(resumed(batch()).logits, teacher(batch()).logits)


@pytest.mark.parametrize("kind", KINDS, ids=["average", "snapshot"])
def test_a_state_that_was_taken_does_not_move_on(kind):
    student = make()
    teacher = kind(student)
    state = teacher.state_dict()
    before = copy.deepcopy(state)
    learn(student, teacher)
    assert same(state, before)
    assert not same(teacher.state_dict(), before)


def test_the_fingerprint_changes_with_every_move_and_only_then():
    student = make()
    average, snapshot = EMATeacher(student), SnapshotTeacher(student)
    seen = []
    for step in range(4):
        learn(student, average, steps=1, first=step)
        snapshot.after_step(student, (step + 1) / 2)
        seen.append((average.fingerprint, snapshot.fingerprint))
    assert len({first for first, _ in seen}) == 4
    assert [second == seen[0][1] for _, second in seen] == [True, False, False, False]
    assert len({second for _, second in seen}) == 3


@pytest.mark.parametrize("kind", KINDS, ids=["average", "snapshot"])
def test_a_state_that_does_not_fit_is_refused_and_changes_nothing(kind):
    teacher = kind(make())
    before = teacher.state_dict()
    other = kind(make(seed=3, width=5)).state_dict()
    with pytest.raises(DataError, match="weights are those of another model"):
        teacher.load_state_dict(other)
    with pytest.raises(DataError, match="it lacks moves"):
        teacher.load_state_dict({name: value for name, value in before.items() if name != "moves"})
    assert same(teacher.state_dict(), before)


@pytest.mark.parametrize("decay", [-0.1, 1.0, float("nan")])
def test_a_decay_out_of_range_is_refused(decay):
    with pytest.raises(ConfigError, match=f"at least 0 and below 1, got {decay}"):
        EMATeacher(make(), decay=decay)


def test_less_than_an_epoch_between_snapshots_is_refused():
    with pytest.raises(ConfigError, match="every 1 epoch or more, got 0"):
        SnapshotTeacher(make(), every=0)

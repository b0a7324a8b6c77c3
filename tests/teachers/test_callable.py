"""Any function is a teacher, once its answers are seen to be answers."""

import jaxtyping
import numpy as np
import pytest
import torch

from tutelage.errors import ConfigError, TeacherError, UnknownNameError
from tutelage.labels import LabelSpace
from tutelage.teachers import CachedTeacher, CallableTeacher, Teacher
from tutelage.teachers.callable import FLOOR
from tutelage.types import Batch

LABELS = LabelSpace(("a", "b", "c"))


def make(function, gives="logits", **settings):
    return CallableTeacher(function, **{"labels": LABELS, "name": "mine-1", "gives": gives, **settings})


def batch(n=4, dtype=torch.uint8):
    images = torch.arange(n * 12).view(n, 3, 2, 2).to(dtype)
    return Batch(images, *3 * [torch.arange(n)])


def sums(images):
    """Logits that tell the images apart."""
    return images.float().sum((2, 3))


@pytest.fixture
def unchecked():
    """Let wrong settings reach the checks of tutelage when the suite runs with jaxtyping's hook."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", before)


def test_it_is_a_teacher():
    teacher = make(sums)
    assert isinstance(teacher, Teacher)
    assert teacher.shapes == {"logits": (3,)}
    teacher.compile()


@pytest.mark.parametrize(
    "form",
    [
        lambda logits: logits,
        lambda logits: logits.double(),
        lambda logits: logits.numpy(),
        lambda logits: logits.numpy().astype(np.float64),
        lambda logits: logits.tolist(),
        lambda logits: logits.clone().requires_grad_(),
    ],
    ids=["tensor", "float64", "array", "float64 array", "lists", "with gradient"],
)
def test_logits_arrive_as_they_are_in_float32_whatever_holds_them(form):
    answer = make(lambda images: form(sums(images)))(batch())
    assert torch.equal(answer.logits, sums(batch().images))
    assert answer.logits.dtype == torch.float32
    assert not answer.logits.requires_grad
    assert answer.known is None
    assert not answer.taps


def test_the_function_sees_the_pixels_as_they_are():
    seen = []
    make(lambda images: seen.append(images) or sums(images))(batch())
    assert torch.equal(seen[0], batch().images)
    assert seen[0].dtype == torch.uint8


def test_a_function_that_reuses_what_it_returned_changes_no_answer():
    scratch = torch.zeros(4, 3)
    teacher = make(lambda images: scratch.copy_(sums(images)))
    first = teacher(batch()).logits
    scratch.zero_()
    assert torch.equal(first, sums(batch().images))


def test_the_softmax_of_log_probabilities_gives_the_probabilities_back():
    shares = sums(batch().images).mul(0.01).softmax(1)
    answer = make(lambda _: shares, "probabilities")(batch())
    torch.testing.assert_close(answer.logits.softmax(1), shares)


def test_a_probability_of_zero_is_the_logit_of_the_floor():
    answer = make(lambda _: torch.eye(3), "probabilities")(batch(3))
    torch.testing.assert_close(answer.logits, torch.eye(3).clamp_min(FLOOR).log())
    assert answer.logits.isfinite().all()


@pytest.mark.parametrize("total", [0.9992, 1.0008])
def test_sums_that_half_precision_leaves_are_accepted(total):
    assert make(lambda _: torch.full((4, 3), total / 3), "probabilities")(batch()).logits.isfinite().all()


@pytest.mark.parametrize(
    ("answer", "gives", "message"),
    [
        (torch.zeros(4, 2), "logits", r"of shape \(4, 3\), one row a sample and one column a class, got \(4, 2\)"),
        (torch.zeros(3, 3), "logits", r"got \(3, 3\)"),
        (torch.zeros(12), "logits", r"got \(12,\)"),
        (torch.zeros(4, 3, 1), "probabilities", r"must return probabilities of shape"),
        ([[1.0, 2.0, 3.0], [1.0]], "logits", r"numbers of shape \(4, 3\), got a list"),
        ("four", "logits", "got a str"),
        (None, "logits", "'mine-1' must return"),
        ({"logits": 1}, "logits", "got a dict"),
        (torch.eye(4, 3).log(), "logits", "NaN or infinity for 4 of 4 samples"),
        (torch.tensor([[0.0, 0.0, float("nan")]] + [[0.0] * 3] * 3), "logits", "for 1 of 4 samples"),
        (torch.full((4, 3), 1e300, dtype=torch.float64), "logits", "NaN or infinity for 4"),
        (np.full((4, 3), 1e300), "logits", "NaN or infinity for 4"),
        (torch.full((4, 3), float("nan")), "probabilities", "finite probabilities"),
        (torch.tensor([[1.5, -0.5, 0.0]] * 4), "probabilities", r"got -0.5: does it return logits\?"),
        (torch.full((4, 3), 0.5), "probabilities", "sum to 1 within 0.001, got a sum of 1.5"),
        (torch.full((4, 3), 0.998 / 3), "probabilities", "got a sum of 0.998"),
    ],
)
def test_what_is_no_answer_is_refused_and_counts_for_none(answer, gives, message):
    teacher = make(lambda _: answer, gives)
    with pytest.raises(TeacherError, match=message):
        teacher(batch())
    assert teacher.calls == 0


def test_calls_count_samples():
    teacher = make(sums)
    teacher(batch(4))
    teacher(batch(3))
    assert teacher.calls == 7


def test_its_own_errors_pass_through():
    with pytest.raises(ZeroDivisionError):
        make(lambda _: 1 / 0)(batch())


def test_mixtures_of_images_are_refused():
    with pytest.raises(ConfigError, match=r"takes uint8 pixels, got torch\.float32: mix its answers"):
        make(sums)(batch(dtype=torch.float32))


def test_it_has_no_features():
    teacher = make(sums)
    teacher.listen([])
    with pytest.raises(UnknownNameError, match=r"unknown tap 'embedding'.*logits alone"):
        teacher.listen(["embedding"])


def test_name_classes_and_kind_of_answer_make_the_fingerprint():
    variants = [
        make(sums),
        make(sums, name="mine-2"),
        make(sums, labels=LabelSpace(("a", "c", "b"))),
        make(sums, "probabilities"),
    ]
    assert len({teacher.fingerprint for teacher in variants}) == 4
    assert make(sums).fingerprint == make(torch.flatten).fingerprint


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(("change", "message"), [({"name": " "}, "needs a name"), ({"gives": "odds"}, "got 'odds'")])
def test_settings_that_make_no_sense_are_refused(change, message):
    with pytest.raises(ConfigError, match=message):
        make(sums, **change)


def test_its_answers_can_be_cached(make_store):
    inner = make(lambda images: sums(images) / 64)
    teacher = CachedTeacher(inner, make_store(classes=3, teacher=inner.fingerprint))
    first, second = teacher(batch()).logits, teacher(batch()).logits
    torch.testing.assert_close(first, sums(batch().images) / 64)
    assert torch.equal(first, second)
    assert inner.calls == 4

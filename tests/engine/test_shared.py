"""Methods of logits among the classes that teacher and student share.

Letters: none.
"""

from dataclasses import replace

import pytest
import torch

from tutelage import losses
from tutelage.cli.flags import distilled
from tutelage.engine.shared import SharedClasses, SharedMethod, answers_of, share_classes
from tutelage.errors import ConfigError, LabelSpaceError
from tutelage.labels import LabelSpace
from tutelage.methods import (
    CKDConfig,
    DISTConfig,
    DKDConfig,
    KDConfig,
    LabelSmoothingConfig,
    LogitMSEConfig,
    RKDConfig,
)
from tutelage.types import Batch, Outputs

STUDENT = LabelSpace(("fox", "owl", "cat", "dog"))
TEACHER = LabelSpace(("cow", "dog", "fox"))
SHAPES = {"logits": (4,), "embedding": (5,)}
CPU = torch.device("cpu")


def outputs(classes, seed):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(8, classes, generator=generator, dtype=torch.float64).requires_grad_()
    return Outputs(logits, {"embedding": torch.randn(8, 5, generator=generator, dtype=torch.float64)})


@pytest.fixture
def batch():
    ids = torch.arange(8)
    return Batch(torch.zeros(8, 1, 2, 2, dtype=torch.uint8), ids % 4, ids, torch.zeros_like(ids))


@pytest.mark.parametrize("config", [KDConfig(), DISTConfig(), LogitMSEConfig()], ids=lambda c: c.name)
def test_a_method_of_logits_sees_the_shared_columns_in_the_students_order_of_every_sample(config, batch):
    student, teacher = outputs(4, 0), outputs(3, 1)
    method = share_classes(config.build(SHAPES, SHAPES), STUDENT, TEACHER, device=CPU)
    cut = Outputs(student.logits[:, [0, 3]], {}), Outputs(teacher.logits[:, [2, 1]], {})
    expected = config.build(SHAPES, SHAPES)(*cut, batch)
    for name, term in method(student, teacher, batch).items():
        assert term.weight == expected[name].weight
        assert torch.equal(term.value, expected[name].value)


def test_kd_is_the_divergence_of_two_softmaxes_over_the_shared_classes(batch):
    student, teacher = outputs(4, 0), outputs(3, 1)
    total = 0.0
    for ours, theirs in zip(student.logits, teacher.logits, strict=True):
        p = torch.stack([theirs[2], theirs[1]]).div(4.0).exp()
        q = torch.stack([ours[0], ours[3]]).div(4.0).exp()
        p, q = p / p.sum(), q / q.sum()
        total += 16 * sum(a * (a / b).log() for a, b in zip(p, q, strict=True)) / 8
    method = share_classes(KDConfig().build(SHAPES, SHAPES), STUDENT, TEACHER, device=CPU)
    assert method(student, teacher, batch)["kd"].value.item() == pytest.approx(total.item(), abs=1e-6)


def test_nothing_flows_back_into_the_other_columns(batch):
    student = outputs(4, 0)
    method = share_classes(KDConfig().build(SHAPES, SHAPES), STUDENT, TEACHER, device=CPU)
    method(student, outputs(3, 1), batch)["kd"].value.backward()
    assert (student.logits.grad[:, [1, 2]] == 0).all()
    assert (student.logits.grad[:, [0, 3]] != 0).all()


def test_labels_are_numbers_among_the_shared_classes_for_a_method_that_reads_them(batch):
    shared = share_classes(DKDConfig().build(SHAPES, SHAPES), STUDENT, TEACHER, device=CPU)
    known = (batch.labels == 0) | (batch.labels == 3)
    only = Batch(*(part[known] for part in batch))
    student, teacher = (Outputs(side.logits[known], {}) for side in (outputs(4, 0), outputs(3, 1)))
    value = shared(student, teacher, only)["dkd"].value
    cut = student.logits[:, [0, 3]], teacher.logits[:, [2, 1]]
    assert torch.equal(value, losses.dkd(*cut, (only.labels == 3).long(), alpha=1, beta=8, temperature=4).mean())


@pytest.mark.parametrize("config", [KDConfig(), RKDConfig()], ids=lambda c: c.name)
def test_a_method_that_takes_the_classes_as_they_are_is_left_alone(config):
    method = config.build(SHAPES, SHAPES)
    same = STUDENT if config.name == "kd" else TEACHER
    assert share_classes(method, STUDENT, same, device=CPU) is method


def test_in_a_sum_only_the_parts_that_need_it_are_cut(batch):
    config = KDConfig() + RKDConfig()
    method = share_classes(config.build(SHAPES, SHAPES), STUDENT, TEACHER, device=CPU)
    assert [type(part) is SharedMethod for part in method.parts.values()] == [True, False]
    assert method.needs.labels == ("same", "overlap", "disjoint")
    student, teacher = outputs(4, 0), outputs(3, 1)
    alone = share_classes(KDConfig().build(SHAPES, SHAPES), STUDENT, TEACHER, device=CPU)
    assert torch.equal(method(student, teacher, batch)["kd"].value, alone(student, teacher, batch)["kd"].value)


def test_what_a_method_watches_is_of_the_shared_columns_too(monkeypatch):
    student, teacher = outputs(4, 0), outputs(3, 1)
    method = share_classes(KDConfig().build(SHAPES, SHAPES), STUDENT, TEACHER, device=CPU)
    monkeypatch.setattr(method.inner, "figures", lambda ours, theirs: {"ours": ours.logits, "theirs": theirs.logits})
    found = method.figures(student, teacher)
    assert torch.equal(found["ours"], student.logits[:, [0, 3]])
    assert torch.equal(found["theirs"], teacher.logits[:, [2, 1]])


def test_the_state_of_a_method_is_kept():
    method = share_classes(CKDConfig(task_weight=1.0).build(SHAPES, SHAPES), STUDENT, TEACHER, device=CPU)
    method.after_step(0.1)
    again = share_classes(CKDConfig(task_weight=1.0).build(SHAPES, SHAPES), STUDENT, TEACHER, device=CPU)
    again.load_state_dict(method.state_dict())
    assert again.inner.get_extra_state() == {"step": 1}


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("x", "y"), "share none; the teacher has 'x', 'y'"),
        (("fox", "y"), "share 1;"),
        (("Fox", "Owl"), "'fox' and 'Fox'"),
    ],
)
def test_fewer_than_two_shared_classes_are_refused(names, message):
    with pytest.raises(LabelSpaceError, match=message):
        SharedClasses(STUDENT, LabelSpace(names))


class TestAnswers:
    LABELS = torch.arange(8) % 4

    def answers(self, config, labels=LABELS, teacher=TEACHER):
        method = share_classes(config.build(SHAPES, SHAPES), STUDENT, teacher, device=CPU)
        return answers_of(method, labels, config=config, student=STUDENT)

    def test_every_sample_has_one_for_a_method_that_reads_no_labels(self):
        assert self.answers(KDConfig()) is None

    def test_samples_of_classes_that_the_teacher_lacks_have_none_for_one_that_does(self):
        assert self.answers(DKDConfig())(self.LABELS).tolist() == [True, False, False, True] * 2

    def test_all_have_one_where_the_teacher_knows_all_classes(self):
        assert self.answers(DKDConfig(), teacher=LabelSpace(STUDENT.names[::-1])) is None

    def test_a_method_that_reads_labels_is_refused_where_no_image_is_of_a_shared_class(self):
        with pytest.raises(LabelSpaceError, match=r"dkd reads the labels .* none of the 2 training images"):
            self.answers(DKDConfig(), labels=torch.tensor([1, 2]))

    def test_a_method_that_leaves_out_the_labels_is_refused(self):
        with pytest.raises(ConfigError, match=r"2 shared of 4 classes .*--ckd\.task-weight"):
            self.answers(CKDConfig())

    @pytest.mark.parametrize("config", [KDConfig(task_weight=0.0) + CKDConfig(), 0.5 * CKDConfig()])
    def test_a_sum_that_leaves_them_out_is_told_its_own_flag(self, config):
        with pytest.raises(ConfigError, match=r"give it a weight \(--task-weight\)"):
            self.answers(config)
        words = ["--teacher", "t", "--method", config.name, "--task-weight", "1"]
        assert distilled(words)[0].method.task_weight == 1.0

    def test_one_that_teaches_the_labels_in_their_place_is_not_refused(self):
        assert self.answers(LabelSmoothingConfig() + KDConfig()) is None

    @pytest.mark.parametrize(
        ("config", "key"),
        [(CKDConfig(sampling="drawn"), "ckd"), (CKDConfig() + CKDConfig(sampling="drawn"), "ckd2")],
        ids=["alone", "second"],
    )
    def test_a_sum_is_told_which_of_its_parts_forms_groups(self, config, key):
        config = replace(config, task_weight=1.0)
        with pytest.raises(ConfigError, match=rf"\(--{key}\.sampling batch\)$"):
            self.answers(config)
        method = distilled(["--teacher", "t", "--method", config.name, f"--{key}.sampling", "batch"])[0].method
        assert replace(method, task_weight=1.0).build(SHAPES, SHAPES).needs.group_size is None

    def test_groups_with_samples_that_have_none_are_refused(self):
        with pytest.raises(ConfigError, match="given groups of 3 samples, and 4 of the 8"):
            self.answers(CKDConfig(sampling="drawn", task_weight=1.0))


@pytest.mark.parametrize(
    "config", [KDConfig(), DISTConfig(), LogitMSEConfig(), DKDConfig(), CKDConfig()], ids=lambda c: c.name
)
def test_a_method_says_whether_it_reads_labels(config, batch):
    method = config.build(SHAPES, SHAPES)
    student, teacher = outputs(4, 0), outputs(4, 1)
    other = batch._replace(labels=batch.labels.roll(1))
    terms = [method(student, teacher, shown) for shown in (batch, other)]
    differ = any(not torch.equal(terms[0][name].value, terms[1][name].value) for name in terms[0])
    assert differ == method.needs.labelled

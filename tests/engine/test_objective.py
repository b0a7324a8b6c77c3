"""The terms of a batch: cross-entropy, and those of the method."""

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from tutelage import losses
from tutelage.data import Mixture
from tutelage.engine.objective import Objective
from tutelage.methods import KD, RKD, CKDConfig, KDConfig, Needs, RefilledConfig, RKDConfig
from tutelage.types import Batch, Outputs, Term

ALONE = SimpleNamespace(world_size=1)


def outputs(seed, n=6, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return Outputs(
        torch.randn(n, 4, generator=generator).to(dtype), {"embedding": torch.randn(n, 3, generator=generator)}
    )


@pytest.fixture
def batch():
    return Batch(torch.zeros(6, 1, 2, 2), torch.arange(6) % 4, torch.arange(6), torch.zeros(6, dtype=torch.int64))


def test_labels_alone_are_the_cross_entropy_with_weight_one(batch):
    terms = Objective(ALONE, None, None)(outputs(0), None, batch).terms
    assert list(terms) == ["task"]
    assert terms["task"].weight == 1.0
    torch.testing.assert_close(terms["task"].value, F.cross_entropy(outputs(0).logits, batch.labels))


def test_a_method_adds_its_terms_and_sets_the_weight_of_the_labels(batch):
    config = KDConfig(task_weight=0.3, weight=0.7)
    terms = Objective(ALONE, config, KD(config))(outputs(0), outputs(1), batch).terms
    assert {name: term.weight for name, term in terms.items()} == {"task": 0.3, "kd": 0.7}


def test_half_precision_logits_give_a_cross_entropy_in_single(batch):
    task = Objective(ALONE, None, None)(outputs(0, dtype=torch.bfloat16), None, batch).terms["task"]
    assert task.value.dtype == torch.float32


class TwoRanks:
    """Stands for Fabric on two ranks that hold the same part."""

    world_size = 2

    def __init__(self):
        self.with_gradient = []

    def all_gather(self, part, sync_grads):
        self.with_gradient.append(sync_grads)
        return torch.stack([part, part + 10 if part.is_floating_point() else part])


@pytest.mark.parametrize("compares", [True, False])
def test_over_ranks_a_method_sees_the_whole_batch_exactly_if_it_compares_samples(batch, compares):
    def method(student, teacher, whole):
        rows = 12 if compares else 6
        assert len(student.logits) == len(teacher.taps["embedding"]) == len(whole.labels) == rows
        if compares:  # rank 0's part first, then that of rank 1
            torch.testing.assert_close(student.logits[6:], student.logits[:6] + 10)
        return {"kd": Term(student.logits.mean(), 1.0)}

    objective = Objective(TwoRanks(), KDConfig(), method, needs=Needs(compares_samples=compares))
    student = outputs(0)
    terms = objective(student, outputs(1), batch).terms
    # the cross-entropy stays local: its mean over equal parts is the mean over the batch
    torch.testing.assert_close(terms["task"].value, F.cross_entropy(student.logits, batch.labels))


def test_what_needs_a_gradient_is_gathered_with_it(batch):
    fabric = TwoRanks()
    student = outputs(0)
    student = Outputs(student.logits.requires_grad_(), student.taps)
    method = lambda student, teacher, whole: {"kd": Term(student.logits.mean(), 1.0)}  # noqa: E731
    Objective(fabric, KDConfig(), method, needs=Needs(compares_samples=True))(student, outputs(1), batch)
    assert fabric.with_gradient == [True] + 7 * [False]


class TestUnanswered:
    """Samples without an answer learn from their labels alone; all others as if they were the batch."""

    CONFIG = KDConfig(task_weight=0.3, weight=0.7)

    def partly(self, *known):
        answer = outputs(1)
        return Outputs(answer.logits, answer.taps, torch.tensor(known))

    def total(self, summands):
        return sum(term.value * term.weight for term in summands.terms.values())

    def test_each_sample_counts_as_much_as_any_other(self, batch):
        objective, student = Objective(ALONE, self.CONFIG, KD(self.CONFIG)), outputs(0)
        known = torch.tensor([True, False, True, True, False, False])
        found = objective(student, self.partly(*known.tolist()), batch)
        cross = F.cross_entropy(student.logits, batch.labels, reduction="none")
        taught = losses.kd(student.logits, outputs(1).logits, temperature=4.0)
        expected = torch.where(known, 0.3 * cross + 0.7 * taught, cross).mean()
        torch.testing.assert_close(self.total(found), expected)
        assert found.skipped == 3

    def test_all_known_is_the_whole_objective(self, batch):
        objective = Objective(ALONE, self.CONFIG, KD(self.CONFIG))
        some, whole = objective(outputs(0), self.partly(*[True] * 6), batch), objective(outputs(0), outputs(1), batch)
        torch.testing.assert_close(self.total(some), self.total(whole))

    def test_none_known_is_labels_alone(self, batch):
        found = Objective(ALONE, self.CONFIG, KD(self.CONFIG))(outputs(0), self.partly(*[False] * 6), batch)
        torch.testing.assert_close(self.total(found), F.cross_entropy(outputs(0).logits, batch.labels))
        assert found.skipped == 6

    def test_too_few_answers_for_a_comparison_leave_its_terms_out(self, batch):
        config = RKDConfig()
        method = RKD(config)
        objective = Objective(ALONE, config, method, needs=method.needs)
        assert set(objective(outputs(0), self.partly(True, True, *[False] * 4), batch).terms) == {"task", "unanswered"}
        assert "angle" in objective(outputs(0), self.partly(*[True] * 3, *[False] * 3), batch).terms


class TestWithoutCrossEntropy:
    """Methods that give it no weight: the first stage of REFILLED, of the embedding alone, and CKD, of logits."""

    CONFIGS = (RefilledConfig().before[0].method, CKDConfig(k=2))

    def taught(self, config, batch, known):
        """The terms, and the student with its gradients."""
        student, answer = outputs(0), outputs(1)._replace(known=known)
        student = Outputs(student.logits.requires_grad_(), {"embedding": student.taps["embedding"].requires_grad_()})
        method = config.build({"logits": (4,)}, {"logits": (4,)})
        found = Objective(ALONE, config, method, needs=method.needs)(student, answer, batch)
        torch.stack([term.value * term.weight for term in found.terms.values()]).sum().backward()
        return found, student

    @pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.name)
    def test_samples_without_an_answer_learn_from_their_labels_all_the_same(self, config, batch):
        known = torch.tensor([True, False, True, True, False, True])
        batch = batch._replace(labels=batch.ids % 2)  # 0 and 2, 3 and 5 are pairs
        found, student = self.taught(config, batch, known)
        cross = torch.zeros_like(student.logits).requires_grad_()
        cross.data.copy_(student.logits)
        (F.cross_entropy(cross, batch.labels, reduction="none") * ~known).mean().backward()
        torch.testing.assert_close(student.logits.grad[~known], cross.grad[~known])
        assert found.terms["unanswered"].weight == 1.0

    def test_where_all_are_answered_the_embedding_alone_is_taught(self, batch):
        _, student = self.taught(self.CONFIGS[0], batch._replace(labels=batch.ids % 2), None)
        assert student.taps["embedding"].grad.any()
        assert not student.logits.grad.any()  # zero, and not None: over ranks every weight must have a gradient


def test_a_mixture_has_the_loss_of_the_mixed_targets(batch):
    config = KDConfig(task_weight=0.3, weight=0.7, temperature=2.0)
    student, answer = outputs(0), outputs(1)
    found = Objective(ALONE, config, KD(config))(student, answer, batch, Mixture((0.75, 0.25))).terms
    one_hot = F.one_hot(batch.labels, 4).float()
    torch.testing.assert_close(
        found["task"].value, F.cross_entropy(student.logits, 0.75 * one_hot + 0.25 * one_hot.roll(-1, 0))
    )
    parts = [losses.kd(student.logits, answer.logits.roll(-i, 0), temperature=2.0).mean() for i in (0, 1)]
    torch.testing.assert_close(found["kd"].value, 0.75 * parts[0] + 0.25 * parts[1])

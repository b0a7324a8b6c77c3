"""The terms of a batch: cross-entropy, and those of the method."""

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from tutelage.engine.objective import Objective
from tutelage.methods import KD, KDConfig
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
    terms = Objective(ALONE, None, None)(outputs(0), None, batch)
    assert list(terms) == ["task"]
    assert terms["task"].weight == 1.0
    torch.testing.assert_close(terms["task"].value, F.cross_entropy(outputs(0).logits, batch.labels))


def test_a_method_adds_its_terms_and_sets_the_weight_of_the_labels(batch):
    config = KDConfig(task_weight=0.3, weight=0.7)
    terms = Objective(ALONE, config, KD(config))(outputs(0), outputs(1), batch)
    assert {name: term.weight for name, term in terms.items()} == {"task": 0.3, "kd": 0.7}


def test_half_precision_logits_give_a_cross_entropy_in_single(batch):
    task = Objective(ALONE, None, None)(outputs(0, dtype=torch.bfloat16), None, batch)["task"]
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

    objective = Objective(TwoRanks(), KDConfig(), method, compares_samples=compares)
    student = outputs(0)
    terms = objective(student, outputs(1), batch)
    # the cross-entropy stays local: its mean over equal parts is the mean over the batch
    torch.testing.assert_close(terms["task"].value, F.cross_entropy(student.logits, batch.labels))


def test_what_needs_a_gradient_is_gathered_with_it(batch):
    fabric = TwoRanks()
    student = outputs(0)
    student = Outputs(student.logits.requires_grad_(), student.taps)
    method = lambda student, teacher, whole: {"kd": Term(student.logits.mean(), 1.0)}  # noqa: E731
    Objective(fabric, KDConfig(), method, compares_samples=True)(student, outputs(1), batch)
    assert fabric.with_gradient == [True] + 7 * [False]

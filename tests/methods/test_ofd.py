"""OFD: margins of the teacher, connectors of the student, and weights of the stages."""

import pytest
import torch

from tutelage.labels import LabelSpace
from tutelage.losses import overhaul
from tutelage.methods import OFDConfig
from tutelage.types import Batch, Outputs

BATCH = Batch(torch.zeros(5, 1, 2, 2), *3 * [torch.arange(5)])

SHAPES = {"stage1": (4, 8, 8), "stage2": (6, 4, 4)}
WIDER = {"stage1": (5, 4, 4), "stage2": (7, 4, 4)}


def outputs(shapes, seed, n=6):
    generator = torch.Generator().manual_seed(seed)
    taps = {role: torch.randn(n, *shape, generator=generator).requires_grad_() for role, shape in shapes.items()}
    return Outputs(torch.zeros(n, 2), taps)


class Answering:
    """A teacher that answers by the ids of a batch, some of them not."""

    labels, fingerprint, calls = LabelSpace(("a", "b")), "random", 0

    def __init__(self, said):
        self.said, self.shapes = said, WIDER

    def listen(self, roles):
        """All roles are answered."""

    def compile(self):
        """There is nothing to compile."""

    def __call__(self, batch):
        taps = {role: value[batch.ids].detach() for role, value in self.said.taps.items()}
        return Outputs(self.said.logits[batch.ids], taps, batch.ids != 3)


def batches():
    for ids in (torch.arange(4), torch.arange(4, 6)):
        yield Batch(torch.zeros(len(ids), 1, 2, 2), ids, ids, ids)


def prepared(said, ours=SHAPES, theirs=WIDER):
    torch.manual_seed(0)
    method = OFDConfig().build(ours, theirs)
    method.prepare(Answering(said), batches)
    return method


def test_a_margin_is_the_mean_of_the_negative_activations_of_its_channel_in_answered_samples():
    said = outputs(WIDER, 1)
    for part, role in zip(prepared(said).parts, WIDER, strict=True):
        for channel, margin in enumerate(part.margin.tolist()):
            values = said.taps[role][[0, 1, 2, 4, 5], channel].flatten().tolist()
            below = [value for value in values if value < 0]
            assert margin == pytest.approx(sum(below) / len(below), rel=1e-6)


def test_behind_a_relu_every_margin_is_zero():
    said = outputs(WIDER, 1)
    method = prepared(Outputs(said.logits, {role: value.relu() for role, value in said.taps.items()}))
    assert all(part.margin.abs().max() == 0 for part in method.parts)


def test_the_last_stage_has_the_whole_weight_and_the_one_before_half_of_it():
    said, student = outputs(WIDER, 1), outputs(SHAPES, 0)
    method = prepared(said)
    one, two = (
        overhaul(part.connector(pooled), said.taps[role], part.margin).mean()
        for part, role, pooled in zip(
            method.parts,
            WIDER,
            (torch.nn.functional.avg_pool2d(student.taps["stage1"], 2), student.taps["stage2"]),
            strict=True,
        )
    )
    term = method(student, said, BATCH)["overhaul"]
    torch.testing.assert_close(term.value, one / 2 + two)
    assert term.weight == 1e-3


def test_student_and_connectors_are_trained_and_the_teacher_is_not():
    said, student = outputs(WIDER, 1), outputs(SHAPES, 0)
    method = prepared(said)
    method(student, said, BATCH)["overhaul"].value.backward()
    assert all(value.grad.abs().sum() > 0 for value in student.taps.values())
    assert all(value.grad is None for value in said.taps.values())
    assert all(weight.grad is not None for weight in method.parameters())


def test_the_margins_are_part_of_the_state():
    said = outputs(WIDER, 1)
    method, other = prepared(said), OFDConfig().build(SHAPES, WIDER)
    other.load_state_dict(method.state_dict())
    assert all(torch.equal(a.margin, b.margin) for a, b in zip(method.parts, other.parts, strict=True))

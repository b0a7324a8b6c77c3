"""ReviewKD: fusion modules that are the authors', maps and vectors of every size, the warm-up."""

import math

import pytest
import torch

from tutelage import losses
from tutelage.errors import ConfigError, ShapeError
from tutelage.methods import ReviewKDConfig
from tutelage.types import Batch, Outputs

OURS = {"logits": (5,), "stage1": (4, 4, 4), "stage2": (6, 2, 2), "embedding": (6,)}
THEIRS = {"logits": (5,), "stage1": (3, 8, 8), "stage2": (5, 2, 2), "stage3": (9, 1, 1), "embedding": (7,)}
ROLES = ("stage1", "stage2", "embedding")
BATCH = Batch(torch.zeros(4, 1, 2, 2), *3 * [torch.arange(4)])


def wave(*shape, phase=0.0):
    """Numbers that every machine can rebuild: sin(0.37 k² + phase) for k = 1, 2, …, in float64."""
    k = torch.arange(1, math.prod(shape) + 1, dtype=torch.float64)
    return torch.sin(0.37 * k * k + phase).reshape(shape)


def answers(shapes, phase):
    taps = {role: wave(4, *shapes[role], phase=phase + 0.1 * i).requires_grad_() for i, role in enumerate(ROLES)}
    return Outputs(torch.zeros(4, 5), taps)


def review(config, student, teacher):
    method = config.build(OURS, THEIRS).double()
    with torch.no_grad():
        for k, weight in enumerate(method.parameters()):
            weight.copy_(0.5 * wave(*weight.shape, phase=float(k)))
    method.after_step(100.0)
    return method(student, teacher, BATCH)["review"]


def test_loss_and_gradient_are_those_of_the_authors():
    # ReviewKD.forward and hcl of
    # https://github.com/dvlab-research/ReviewKD/blob/cede6ea6387ae9b6127de0e561507177bf19c11e/CIFAR-100/model/reviewkd.py
    # in float64 and in train mode, the weights drawn as here, the vectors as maps of one place: the loss, the norms of
    # its gradients to the three features of the student.
    student = answers(OURS, 0.0)
    term = review(ReviewKDConfig(), student, answers(THEIRS, 1.0))
    norms = [grad.norm().item() for grad in torch.autograd.grad(term.value, list(student.taps.values()))]
    expected = [2.025693712636315, 0.01884246560690312, 0.023532142441685715, 0.20781704123986225]
    torch.testing.assert_close([term.value.item(), *norms], expected, rtol=1e-9, atol=0.0)
    assert term.weight == 5.0


@pytest.mark.parametrize(("role", "reached"), [("stage1", ROLES), ("stage2", ROLES[1:]), ("embedding", ROLES[2:])])
def test_a_feature_of_the_teacher_is_reviewed_by_the_same_and_all_deeper_of_the_student(role, reached):
    student = answers(OURS, 0.0)
    method = ReviewKDConfig().build(OURS, THEIRS).double()
    said = []
    method.parts[ROLES.index(role)].register_forward_hook(lambda part, given, out: said.append(out[0]))
    method(student, answers(THEIRS, 1.0), BATCH)
    grads = torch.autograd.grad(said[0].square().sum(), list(student.taps.values()), allow_unused=True)
    assert tuple(name for name, grad in zip(ROLES, grads, strict=True) if grad is not None) == reached


def test_one_feature_alone_is_compared_without_fusion():
    config = ReviewKDConfig(roles=("stage2",))
    method = config.build(OURS, THEIRS).double()
    student, teacher = answers(OURS, 0.0), answers(THEIRS, 1.0)
    (term,) = method(student, teacher, BATCH).values()
    expected = losses.hierarchical_context(
        method.parts[0](student.taps["stage2"], None, (2, 2))[0], teacher.taps["stage2"]
    )
    torch.testing.assert_close(term.value, expected.mean())
    assert not [name for name, _ in method.named_parameters() if "attention" in name]


def test_what_is_passed_on_is_as_wide_as_the_last_feature_up_to_a_limit():
    def width(**settings):
        return ReviewKDConfig(**settings).build(OURS, THEIRS).parts[0].attention.in_channels // 2

    assert (width(), width(max_channels=3), width(roles=("stage2", "stage1"))) == (6, 3, 4)


def test_the_weight_warms_up_and_its_position_is_kept():
    method, other = (ReviewKDConfig(weight=8.0, warmup_epochs=4.0).build(OURS, THEIRS) for _ in range(2))

    def weight(of):
        taps = [{role: torch.randn(4, *shapes[role]) for role in ROLES} for shapes in (OURS, THEIRS)]
        return of(*(Outputs(torch.zeros(4, 5), each) for each in taps), BATCH)["review"].weight

    assert weight(method) == 0.0
    method.after_step(1.0)
    other.load_state_dict(method.state_dict())
    assert weight(method) == weight(other) == 2.0
    method.after_step(9.0)
    assert weight(method) == 8.0
    assert weight(ReviewKDConfig(warmup_epochs=0.0).build(OURS, THEIRS)) == 5.0


def test_networks_that_cannot_be_compared_are_refused():
    with pytest.raises(ConfigError, match=r"the networks share none: .*--review_kd\.roles"):
        ReviewKDConfig().build({"logits": (5,), "embedding": (6,)}, THEIRS)
    with pytest.raises(ShapeError, match="review_kd compares two maps or two vectors, but 'stage1' is"):
        ReviewKDConfig().build(OURS, THEIRS | {"stage1": (3,)})
    assert ReviewKDConfig().build({"stage2": (6, 2, 2)}, THEIRS).needs.roles == ("stage2",)

"""FT: a frozen paraphraser, a translator that is trained, and factors of one size."""

import pytest
import torch

from tutelage.errors import ConfigError
from tutelage.losses import factor_distance
from tutelage.methods import FTConfig, phases_of
from tutelage.types import Batch, Outputs

BATCH = Batch(torch.zeros(5, 1, 2, 2), *3 * [torch.arange(5)])

PAIRS = [
    ((6, 4, 4), (8, 4, 4)),
    ((6, 2, 2), (8, 4, 4)),
    ((7, 5, 3), (9, 2, 8)),
    ((64, 4, 4), (3, 4, 4)),  # the student is larger
    ((5, 6), (9, 8)),
    ((6,), (8,)),
]


def followed(ours, theirs, **settings):
    torch.manual_seed(0)
    shapes, config = [{"stage2": ours}, {"stage2": theirs}], FTConfig(role="stage2", **settings)
    method = config.build(*shapes)
    method.follow({phase.name: phase.method.build(*shapes) for phase in phases_of(config)})
    return method


def outputs(shape, seed):
    value = torch.randn(5, *shape, generator=torch.Generator().manual_seed(seed)).requires_grad_()
    return Outputs(value, {"stage2": value})


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_features_of_every_kind_and_size_are_compared_and_only_the_translator_is_trained(ours, theirs):
    method, student, teacher = followed(ours, theirs), outputs(ours, 0), outputs(theirs, 1)
    term = method(student, teacher, BATCH)["factor"]
    term.value.backward()
    assert term.value.isfinite()
    assert term.weight == 500.0
    assert student.logits.grad.abs().sum() > 0
    assert teacher.logits.grad is None
    trained = {name.split(".")[0] for name, weight in method.named_parameters() if weight.grad is not None}
    assert trained == {"translator"}


def test_the_term_is_the_distance_between_the_factors():
    method, student, teacher = followed((6, 4, 4), (8, 4, 4), p=2.0), outputs((6, 4, 4), 0), outputs((8, 4, 4), 1)
    expected = factor_distance(method.translator(student.logits), method.paraphraser(teacher.logits), p=2.0).mean()
    torch.testing.assert_close(method(student, teacher, BATCH)["factor"].value, expected)


def test_the_paraphraser_is_a_stage_before_of_thirty_to_a_hundred_and_sixty_epochs():
    # num_epoch_embedT and num_epoch of config/ft/cifar100/resnet56-20.yaml, IE-KD's release @3274ab0; loss_weight 500
    (phase,) = phases_of(FTConfig())
    assert phase.epochs * 160 == 30
    assert FTConfig().weight == 500.0


def test_without_that_stage_it_is_refused():
    shapes = {"stage2": (6, 4, 4)}
    with pytest.raises(ConfigError, match="ft reads the auto-encoder that a stage 'auto_encoder' trains"):
        FTConfig().build(shapes, shapes).follow({})

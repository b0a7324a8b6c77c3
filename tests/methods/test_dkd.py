"""DKD: its weight warms up, and the warm-up survives a stop."""

import pytest
import torch

from tutelage.methods import DKDConfig
from tutelage.types import Batch, Outputs

SHAPES = {"logits": (4,)}


def weight_of(method):
    logits = torch.eye(4)
    batch = Batch(torch.zeros(4, 1, 2, 2), *3 * [torch.arange(4)])
    return method(Outputs(logits, {}), Outputs(-logits, {}), batch)["dkd"].weight


@pytest.mark.parametrize(("epoch", "share"), [(0.0, 0.0), (5.0, 0.25), (10.5, 0.525), (20.0, 1.0), (35.0, 1.0)])
def test_the_weight_rises_in_a_straight_line_over_the_warm_up(epoch, share):
    method = DKDConfig(weight=2.0, warmup_epochs=20.0).build(SHAPES, SHAPES)
    method.after_step(epoch)
    assert weight_of(method) == pytest.approx(2.0 * share)


def test_without_a_warm_up_the_weight_is_whole_from_the_first_step_on():
    assert weight_of(DKDConfig(warmup_epochs=0.0).build(SHAPES, SHAPES)) == 1.0


def test_the_position_in_the_warm_up_is_saved_and_restored():
    config = DKDConfig(warmup_epochs=10.0)
    method, other = config.build(SHAPES, SHAPES), config.build(SHAPES, SHAPES)
    method.after_step(4.0)
    assert weight_of(other) == 0.0
    other.load_state_dict(method.state_dict())
    assert weight_of(other) == weight_of(method) == pytest.approx(0.4)

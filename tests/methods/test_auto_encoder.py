"""The auto-encoder that FT and IE-KD train before the student: its layers, its stage, and its frozen copy."""

import math

import pytest
import torch

from tutelage.errors import ConfigError, ShapeError, UnknownNameError
from tutelage.methods import AutoEncoderConfig, KDConfig
from tutelage.methods.adapters.auto_encoder import FrozenEncoder
from tutelage.methods.adapters.places import channels_first
from tutelage.types import Batch, Outputs

BATCH = Batch(torch.zeros(5, 1, 2, 2), *3 * [torch.arange(5)])

KINDS = [(6, 4, 4), (7, 3, 5), (5, 6), (6,), (1, 2, 2)]
each_kind = pytest.mark.parametrize("shape", KINDS)


def build(shape, role="stage2", **settings):
    torch.manual_seed(0)
    return AutoEncoderConfig(role=role, **settings).build({role: shape}, {role: shape})


def waves(*shape, phase=0.0):
    k = torch.arange(1, math.prod(shape) + 1, dtype=torch.float64)
    return torch.sin(0.37 * k * k + phase).reshape(shape)


def outputs(value, role="stage2"):
    return Outputs(value, {role: value})


def test_its_layers_are_those_of_the_release():
    # model/auto_encoder.py of https://github.com/aliyun/
    # Revisiting-Knowledge-Distillation-an-Inheritance-and-Exploration-Framework@3274ab0
    # with waves for weights, in float64, in training: the norm of the factor, one entry, the reconstruction's L1 gap.
    method = build((4, 5, 5)).double()
    for weight in method.parameters():
        if weight.dim() == 4:
            weight.data = waves(*weight.shape)
    factor, gap = method.gap(waves(3, 4, 5, 5, phase=1.0))
    found = [factor.norm().item(), factor[0, 0, 0, 1].item(), gap.item()]
    torch.testing.assert_close(
        found, [9.462326212069366, -0.025755364369757273, 0.8523717943777167], rtol=1e-9, atol=0.0
    )
    assert sum(weight.numel() for weight in build((64, 8, 8)).parameters()) == 129600


@each_kind
def test_maps_tokens_and_vectors_come_back_in_their_shape_and_every_weight_is_trained(shape):
    method, feature = build(shape), torch.randn(5, *shape)
    term = method(outputs(feature), outputs(feature), BATCH)["reconstruction"]
    term.value.backward()
    assert all(weight.grad is not None for weight in method.parameters())
    x = channels_first(feature)
    assert method.decoder(method.encoder(x)).shape == x.shape
    assert method.encoder(x).shape[1] == max(1, x.shape[1] // 2)


def test_training_it_lowers_the_gap_and_reaches_neither_network():
    method, feature = build((6, 4, 4)), torch.randn(16, 6, 4, 4).abs().requires_grad_()
    optimizer = torch.optim.SGD(method.parameters(), lr=0.1, momentum=0.9)
    gaps = []
    for _ in range(30):
        value = method(outputs(feature), outputs(feature), BATCH)["reconstruction"].value
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        gaps.append(value.item())
    assert gaps[-1] < 0.8 * gaps[0]
    assert feature.grad is None


def test_its_stage_trains_the_method_alone():
    needs = build((6, 4, 4)).needs
    assert (needs.trains, needs.judge, needs.roles) == ("method", "none", ("stage2",))


def test_the_names_of_its_weights_tell_the_role_so_that_no_cache_confuses_two_stages():
    one, other = build((6, 4, 4), "stage2"), build((6, 4, 4), "stage3")
    assert not one.state_dict().keys() & other.state_dict().keys()
    assert build((6, 4, 4), "layer1.0").encoder is not None  # a dot may stand in no name of a module


def test_a_frozen_copy_has_the_answers_of_the_original_and_never_trains():
    method, frozen, x = build((6, 4, 4)), FrozenEncoder((6, 4, 4), 0.5), torch.randn(5, 6, 4, 4)
    method.encoder(x)  # its running statistics are no longer the initial ones
    frozen.take("ft", {"auto_encoder": method})
    before = {name: value.clone() for name, value in frozen.coder.state_dict().items()}
    frozen.train()
    assert torch.equal(frozen(x), method.encoder.eval()(x))
    assert not frozen(x.requires_grad_()).requires_grad
    assert not any(weight.requires_grad for weight in frozen.parameters())
    assert all(torch.equal(value, before[name]) for name, value in frozen.coder.state_dict().items())


def test_an_encoder_that_nothing_has_trained_is_refused():
    frozen = FrozenEncoder((6, 4, 4), 0.5)
    with pytest.raises(ConfigError, match="the auto-encoder is not trained: let the method follow"):
        frozen(torch.zeros(2, 6, 4, 4))
    with pytest.raises(ConfigError, match=r"ft reads .* 'auto_encoder' .* the stages before are none: make the stages"):
        frozen.take("ft", {})
    with pytest.raises(ConfigError, match="the stages before are student: make"):
        frozen.take("ft", {"student": KDConfig().build({}, {})})


def test_a_feature_that_is_missing_or_of_another_kind_is_refused():
    with pytest.raises(UnknownNameError, match="unknown tap of the teacher 'stage2'"):
        AutoEncoderConfig(role="stage2").build({"stage2": (4,)}, {"embedding": (4,)})
    with pytest.raises(ShapeError, match=r"'stage2' is \(4, 2, 2\) in the student and \(4,\) in the teacher: choose"):
        AutoEncoderConfig(role="stage2").build({"stage2": (4, 2, 2)}, {"stage2": (4,)})
    with pytest.raises(ConfigError, match="factor_rate must be positive, got 0"):
        AutoEncoderConfig(factor_rate=0.0)

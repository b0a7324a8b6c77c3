"""Noise on the weights: how much, the same for all, and gone afterwards."""

import math

import pytest
import torch
from torch import nn

from tutelage.engine.relation_noise import DRAWS, under_noise
from tutelage.errors import ConfigError


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(40, 30), nn.BatchNorm1d(30), nn.Linear(30, 5)).eval()


def test_without_noise_each_draw_is_the_plain_network():
    made, images = network(), torch.randn(7, 40, generator=torch.Generator().manual_seed(1))
    plain = made(images).sum().item()
    (level,) = under_noise(made, lambda: made(images).sum().item(), [0.0])
    assert level == {"sigma": 0.0, "accuracy": [plain] * DRAWS}


def test_weights_and_statistics_are_untouched_afterwards_even_after_an_error():
    made = network()
    before = {name: value.clone() for name, value in made.state_dict().items()}
    under_noise(made, lambda: 0.0, [0.1, 2.0])

    def fail():
        assert not torch.equal(made[0].weight, before["0.weight"])
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        under_noise(made, fail, [0.1])
    assert all(torch.equal(value, before[name]) for name, value in made.state_dict().items())


def test_each_tensor_has_noise_of_its_own_size_and_running_statistics_have_none():
    made = network()
    with torch.no_grad():
        made[0].weight.mul_(1000)
        made[0].bias.zero_()
    before = {name: value.clone() for name, value in made.state_dict().items()}
    seen = []

    def look():
        seen.append({name: value - before[name] for name, value in made.state_dict().items()})
        return 0.0

    under_noise(made, look, [0.1, 0.2], draws=1)
    for moved, sigma in zip(seen, (0.1, 0.2), strict=True):
        for name in ("0.weight", "2.weight"):
            rms = before[name].square().mean().sqrt()
            share = (moved[name].square().mean().sqrt() / rms).item()
            assert share == pytest.approx(sigma, rel=4 / math.sqrt(2 * moved[name].numel()))
        assert moved["1.weight"].abs().min() > 0  # all ones: their standard deviation is zero
        assert not moved["0.bias"].any()
        assert not any(moved[name].any() for name in ("1.running_mean", "1.running_var"))
    torch.testing.assert_close(seen[1]["0.weight"], 2 * seen[0]["0.weight"], rtol=1e-3, atol=1e-3)  # the same draw


def test_draws_differ_and_repeat():
    made = network()
    levels = [under_noise(made, lambda: made[0].weight.sum().item(), [0.1]) for _ in range(2)]
    assert levels[0] == levels[1]
    assert len(set(levels[0][0]["accuracy"])) == DRAWS


def test_nothing_is_drawn_from_the_global_generator():
    made, state = network(), torch.get_rng_state()
    under_noise(made, lambda: 0.0, [0.1])
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("sigma", [-0.1, math.nan, math.inf])
def test_a_level_that_means_nothing_is_refused(sigma):
    with pytest.raises(ConfigError, match="noise on the weights is 0 or more of their root mean square, got "):
        under_noise(network(), lambda: 0.0, [0.1, sigma])

"""ONE: the gate and what it is trained by; the cohort that it is used in is tested in ``tests/engine``."""

import math

import pytest
import torch
import torch.nn.functional as F

from tutelage.errors import UnknownNameError
from tutelage.methods import ONEConfig
from tutelage.types import Batch, Outputs

SHAPES = [{"logits": (5,), "embedding": (width,)} for width in (2, 1, 1)]


def wave(*shape, phase=0.0):
    k = torch.arange(1, math.prod(shape) + 1, dtype=torch.float64)
    return torch.sin(0.37 * k * k + phase).reshape(shape)


def samples(n=6):
    ids = torch.arange(n)
    return Batch(torch.zeros(n, 1, 2, 2), ids % 5, ids, 0 * ids)


# https://github.com/Lan1991Xu/ONE_NeurIPS2018/tree/54afde30fe039c8bd66668f0d17944b451b8b189 in float64: the tail of
# ONE_ResNet.forward (models/cifar/resnet.py) and the loss of cifar_one.py, on these logits and, in the place of their
# pooled trunk, these features; without the 1e-7 that they add to the target, which makes 4e-5 of the second divergence.
def test_losses_and_gradients_are_those_of_the_authors():
    logits = [(3 * wave(6, 5, phase=float(b))).requires_grad_() for b in range(3)]
    features = (2 * wave(6, 4, phase=5.0)).requires_grad_()
    answers = [Outputs(z, {"embedding": f}) for z, f in zip(logits, features.split([2, 1, 1], 1), strict=True)]
    config, batch = ONEConfig(), samples()
    gate = config.ensemble(SHAPES).double()
    with torch.no_grad():
        gate.shares[0].weight.copy_(wave(3, 4, phase=0.5))
        gate.shares[0].bias.copy_(wave(3, phase=0.7))
    together = gate(answers)
    still = Outputs(together.logits.detach(), {})
    terms = [
        config.build(own, {})(answer, still, batch)["ensemble"] for own, answer in zip(SHAPES, answers, strict=True)
    ]
    assert [term.weight for term in terms] == [1.0] * 3
    divergences = [term.value for term in terms]
    entropies = [F.cross_entropy(z, batch.labels) for z in (*logits, together.logits)]
    gradients = torch.autograd.grad(sum(entropies) + sum(divergences), [*logits, features, gate.shares[0].weight])
    found = [entropies[3], *divergences, *(gradient.norm() for gradient in gradients)]
    expected = [2.385013413988, 1.235536615558, 0.126994149736, 1.074353551770]
    expected += [0.814513351710, 0.587369396887, 0.548679822769, 0.213667724748, 0.277175704829]
    torch.testing.assert_close([value.item() for value in found], expected, rtol=1e-11, atol=0.0)


def test_the_gate_averages_maps_over_their_places():
    gate = ONEConfig(role="stage2").ensemble([{"stage2": (4, 3, 3)}] * 2)
    maps = [torch.randn(6, 4, 3, 3, generator=torch.Generator().manual_seed(i)) for i in range(2)]
    logits = [wave(6, 5, phase=float(i)).float() for i in range(2)]
    said = gate([Outputs(z, {"stage2": value}) for z, value in zip(logits, maps, strict=True)])
    flat = gate([Outputs(z, {"stage2": value.mean((2, 3))}) for z, value in zip(logits, maps, strict=True)])
    torch.testing.assert_close(said.logits, flat.logits)


def test_a_network_without_the_feature_is_refused():
    with pytest.raises(UnknownNameError, match=r"unknown tap of a network 'embeding'; .*--student\.taps embeding=PATH"):
        ONEConfig(role="embeding").ensemble(SHAPES)


# get_current_consistency_weight of cifar_one.py with --consistency_rampup 80, after 0, 20, 60, 80 and 100 epochs
@pytest.mark.parametrize(
    ("epoch", "share"),
    [(0, 0.006737946999085467), (20, 0.06005466789530794), (60, 0.7316156289466418), (80, 1.0), (100, 1.0)],
)
def test_the_weight_rises_as_that_of_the_authors_scripts(epoch, share):
    method = ONEConfig(weight=2.0, warmup_epochs=80.0).build(SHAPES[0], {})
    method.after_step(float(epoch))
    answer = Outputs(wave(6, 5), {})
    assert method(answer, answer, samples())["ensemble"].weight == pytest.approx(2.0 * share)

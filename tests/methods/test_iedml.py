"""IE-DML: whose gradient goes where, the warm-up, and whole runs of peers."""

import dataclasses

import pytest
import torch

from tutelage import losses
from tutelage.engine import StudentConfig, start
from tutelage.methods import IEDMLConfig
from tutelage.types import Batch, Outputs

BATCH = Batch(torch.zeros(5, 1, 2, 2), *3 * [torch.arange(5)])

OURS, THEIRS = {"logits": (4,), "stage2": (7, 4, 4)}, {"logits": (4,), "stage2": (8, 2, 2)}


def outputs(shapes, seed):
    generator = torch.Generator().manual_seed(seed)
    made = {role: torch.randn(5, *shape, generator=generator).requires_grad_() for role, shape in shapes.items()}
    return Outputs(made.pop("logits"), made)


def build(**settings):
    torch.manual_seed(0)
    return IEDMLConfig(**settings).build(OURS, THEIRS)


def test_the_reconstruction_trains_the_auto_encoder_and_nothing_else_does():
    method, student, peer = build(warmup_epochs=0.0), outputs(OURS, 0), outputs(THEIRS, 1)
    terms = method(student, peer, BATCH)
    assert set(terms) == {"mutual", "reconstruction", "inheritance", "exploration"}
    terms["reconstruction"].value.backward(retain_graph=True)
    coders = [method.inheriting, method.exploring]
    assert all(weight.grad is not None for weight in method.auto_encoder.parameters())
    assert all(weight.grad is None for half in coders for weight in half.parameters())
    assert student.taps["stage2"].grad is None
    method.zero_grad()
    sum(terms[name].value for name in ("mutual", "inheritance", "exploration")).backward()
    assert all(weight.grad is None for weight in method.auto_encoder.parameters())
    assert all(weight.grad is not None for half in coders for weight in half.parameters())
    assert student.taps["stage2"].grad.abs().sum() > 0
    assert peer.logits.grad is None
    assert peer.taps["stage2"].grad is None


def test_inheritance_and_exploration_come_in_linearly():
    method, student, peer = build(warmup_epochs=10.0), outputs(OURS, 0), outputs(THEIRS, 1)
    for epoch, share in ((0.0, 0.0), (2.5, 0.25), (10.0, 1.0), (99.0, 1.0)):
        method.after_step(epoch)
        terms = method(student, peer, BATCH)
        assert terms["inheritance"].weight == terms["exploration"].weight == 50.0 * share
        assert (terms["mutual"].weight, terms["reconstruction"].weight) == (1.0, 1.0)


def test_how_far_the_warm_up_is_belongs_to_the_state():
    method, other = build(), build()
    method.after_step(5.0)
    other.load_state_dict(method.state_dict())
    student, peer = outputs(OURS, 0), outputs(THEIRS, 1)
    assert other(student, peer, BATCH)["inheritance"].weight == 25.0


@pytest.mark.parametrize(("ratio", "left"), [(0.0, "exploration"), (1.0, "inheritance")])
def test_at_a_ratio_of_0_or_1_the_term_of_the_missing_half_is_left_out(ratio, left):
    terms = build(ratio=ratio)(outputs(OURS, 0), outputs(THEIRS, 1), BATCH)
    assert set(terms) == {"mutual", "reconstruction", left}


def test_without_weights_it_is_mutual_learning():
    method, student, peer = build(inherit=0.0, explore=0.0), outputs(OURS, 0), outputs(THEIRS, 1)
    terms = method(student, peer, BATCH)
    assert list(terms) == ["mutual"]
    torch.testing.assert_close(
        terms["mutual"].value, losses.kd(student.logits, peer.logits, temperature=1.0).mean(), rtol=0, atol=0
    )
    assert not list(method.parameters())
    assert not method.needs.compares_samples


@pytest.mark.parametrize("peer", ["zoo:digits_small", "zoo:digits_large"])
def test_equal_and_different_networks_learn_from_each_other(peer, tiny, tmp_path):
    config = dataclasses.replace(tiny(IEDMLConfig()), peers=(StudentConfig(model=peer),))
    assert start(config, tmp_path / "run")["peers"][0]["model"] == peer

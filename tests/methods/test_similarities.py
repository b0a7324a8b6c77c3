"""SP, PKT and NST: the settings of the literature, what they read, and what they hand to their losses."""

import pytest
import torch

from tutelage import losses
from tutelage.errors import ConfigError, ShapeError, UnknownNameError
from tutelage.methods import NSTConfig, PKTConfig, SPConfig
from tutelage.types import Batch, Outputs

BATCH = Batch(torch.zeros(6, 1, 2, 2), *3 * [torch.arange(6)])
OURS = {"logits": (5,), "embedding": (4,), "stage1": (4, 4, 4), "stage10": (3, 1, 1), "stage2": (6, 2, 2)}
THEIRS = {"logits": (5,), "embedding": (7,), "stage1": (8, 8, 8), "stage2": (9, 2, 2), "stage3": (9, 1, 1)}
FLAT = {"logits": (5,), "embedding": (4,)}


def answers(shapes, seed):
    generator = torch.Generator().manual_seed(seed)
    taps = {role: torch.randn(6, *shape, generator=generator) for role, shape in shapes.items()}
    return Outputs(taps.pop("logits"), taps)


def term(config):
    student, teacher = answers(OURS, 0), answers(THEIRS, 1)
    (found,) = config.build(OURS, THEIRS)(student, teacher, BATCH).values()
    return student.taps, teacher.taps, found


def test_the_defaults_are_those_of_the_literature():
    # -b of scripts/run_cifar_distill.sh, HobbitLong/RepDistiller@b84f547
    assert (SPConfig().weight, PKTConfig().weight, NSTConfig().weight) == (3000.0, 30000.0, 50.0)


def test_sp_compares_the_last_stage_that_both_networks_have():
    ours, theirs, found = term(SPConfig())
    expected = losses.similarity_preserving(ours["stage2"].flatten(1), theirs["stage2"].flatten(1)).mean()
    assert found.value.equal(expected)
    assert found.weight == 3000.0


def test_sp_adds_up_the_roles_that_are_named():
    ours, theirs, found = term(SPConfig(roles=("embedding", "stage1")))
    expected = sum(
        losses.similarity_preserving(ours[r].flatten(1), theirs[r].flatten(1)).mean()
        for r in ours
        if r in ("embedding", "stage1")
    )
    torch.testing.assert_close(found.value, expected)


def test_pkt_is_its_loss_of_the_embedding():
    ours, theirs, found = term(PKTConfig(weight=2.0))
    assert found.value.equal(losses.pkt(ours["embedding"], theirs["embedding"]).mean())
    assert found.weight == 2.0


def test_nst_adds_up_all_stages_that_both_networks_have_and_pools_the_larger_map():
    ours, theirs, found = term(NSTConfig())
    pooled = torch.nn.functional.avg_pool2d(theirs["stage1"], 2)
    expected = losses.nst(ours["stage1"], pooled).mean() + losses.nst(ours["stage2"], theirs["stage2"]).mean()
    torch.testing.assert_close(found.value, expected)


# 0.444… is what https://github.com/HobbitLong/RepDistiller/blob/b84f547c5db6a35318d4671d7d5c4de74c822403/distiller_zoo/NST.py
# gives in float64 for a student's map that is twice as large.
def test_nst_pools_as_the_literature_does():
    def wave(*shape, phase=0.0):
        k = torch.arange(1, torch.Size(shape).numel() + 1, dtype=torch.float64)
        return torch.sin(0.37 * k * k + phase).reshape(shape)

    ours, theirs = wave(2, 3, 4, 4), wave(2, 2, 2, 2, phase=1.0)
    method = NSTConfig().build({"stage1": (3, 4, 4)}, {"stage1": (2, 2, 2)})
    (found,) = method(Outputs(ours, {"stage1": ours}), Outputs(theirs, {"stage1": theirs}), BATCH).values()
    assert found.value.item() == pytest.approx(0.44422534173837613, rel=1e-10)


def test_the_stages_are_ordered_by_their_number():
    shapes = dict.fromkeys(("stage10", "stage9", "stage2"), OURS["stage1"])
    assert NSTConfig().build(shapes, shapes).needs.roles == ("stage2", "stage9", "stage10")
    assert SPConfig().build(shapes, shapes).needs.roles == ("stage10",)


@pytest.mark.parametrize("config", [SPConfig, NSTConfig])
def test_networks_without_a_stage_in_common_are_refused_with_what_they_have(config):
    with pytest.raises(
        ConfigError, match=rf"the networks share none: the student has logits, embedding, .*--{config.name}.roles"
    ):
        config().build(FLAT, THEIRS)
    assert SPConfig(roles=("embedding",)).build(FLAT, THEIRS).needs.roles == ("embedding",)


def test_nst_refuses_vectors_and_features_that_are_missing():
    with pytest.raises(ShapeError, match=r"nst compares maps, but 'embedding' is \(4,\) in the student and \(7,\)"):
        NSTConfig(roles=("embedding",)).build(OURS, THEIRS)
    with pytest.raises(UnknownNameError, match="tap of the teacher"):
        NSTConfig(roles=("stage10",)).build(OURS, THEIRS)

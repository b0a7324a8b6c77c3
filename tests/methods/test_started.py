"""AB and FSP: what is compared in the stage before their own, and a run of both stages."""

import json

import pytest
import torch

from tutelage import losses
from tutelage.engine import TeacherConfig, start
from tutelage.engine.codec import from_json, to_json
from tutelage.errors import ConfigError, ShapeError, UnknownNameError
from tutelage.methods import ABConfig, BoundaryConfig, FlowConfig, FSPConfig, KDConfig, is_taught, phases_of
from tutelage.types import Batch, Outputs

BATCH = Batch(torch.zeros(6, 1, 2, 2), *3 * [torch.arange(6)])
OURS = {"logits": (5,), "embedding": (4,), "stage1": (4, 4, 4), "stage2": (6, 2, 2), "stage3": (8, 2, 2)}
THEIRS = {"logits": (5,), "embedding": (7,), "stage1": (4, 8, 8), "stage2": (9, 2, 2), "stage3": (8, 1, 1)}
FLAT = {"logits": (5,), "embedding": (4,)}


def answers(shapes, seed):
    generator = torch.Generator().manual_seed(seed)
    taps = {role: torch.randn(6, *shape, generator=generator) for role, shape in shapes.items()}
    return Outputs(taps.pop("logits"), taps)


def compared(config):
    torch.manual_seed(0)
    method, student, teacher = config.build(OURS, THEIRS), answers(OURS, 0), answers(THEIRS, 1)
    (found,) = method(student, teacher, BATCH).values()
    return method, student.taps, teacher.taps, found


def pool(x, by=2):
    return torch.nn.functional.avg_pool2d(x, by)


@pytest.mark.parametrize(("config", "phase"), [(ABConfig, "boundary"), (FSPConfig, "flow")])
def test_the_teacher_teaches_in_a_stage_before_and_labels_alone_in_the_own(config, phase):
    (found,) = phases_of(config(weight=2.0, roles=("stage1", "stage2")))
    assert (found.name, found.epochs, found.method.weight, found.method.roles) == (
        phase,
        30 / 240,
        2.0,
        ("stage1", "stage2"),
    )
    own, first = config().build(OURS, THEIRS), found.method.build(OURS, THEIRS)
    assert own(answers(OURS, 0), answers(THEIRS, 1), BATCH) == {}
    assert (own.needs.teacher, first.needs.teacher, first.needs.judge, found.method.task_weight) == (
        False,
        True,
        "none",
        0.0,
    )
    assert is_taught(config())


def test_a_sum_with_kd_is_taught_in_both_stages():
    config = ABConfig() + KDConfig()
    assert [phase.name for phase in config.before] == ["boundary"]
    assert list(config.build(OURS, THEIRS)(answers(OURS, 0), answers(THEIRS, 1), BATCH)) == ["kd"]


def test_ab_halves_the_weight_from_stage_to_stage_and_pools_the_larger_map():
    method, ours, theirs, found = compared(BoundaryConfig(margin=0.5))
    one, two, three = method.connectors
    pairs = [
        (one(ours["stage1"]), pool(theirs["stage1"])),
        (two(ours["stage2"]), theirs["stage2"]),
        (three(pool(ours["stage3"])), theirs["stage3"]),
    ]
    gaps = [losses.activation_boundary(*pair, margin=0.5).mean() for pair in pairs]
    torch.testing.assert_close(found.value, gaps[0] / 4 + gaps[1] / 2 + gaps[2])
    assert found.weight == 0.003


def test_ab_without_its_connectors_is_that_of_the_literature():
    # sum of ABLoss(3) of https://github.com/HobbitLong/RepDistiller/blob/b84f547c5db6a35318d4671d7d5c4de74c822403/distiller_zoo/AB.py
    # in float64, of features that need no connector there.
    def wave(*shape, phase=0.0):
        k = torch.arange(1, torch.Size(shape).numel() + 1, dtype=torch.float64)
        return torch.sin(0.37 * k * k + phase).reshape(shape)

    shapes = {"stage1": (2, 4, 4), "stage2": (5, 2, 2), "stage3": (6, 1, 1)}
    student, teacher = ({role: wave(3, *shape, phase=p) for role, shape in shapes.items()} for p in (0.0, 1.0))
    method = BoundaryConfig().build(shapes, shapes)
    method.connectors = torch.nn.ModuleList(torch.nn.Identity() for _ in shapes)
    empty = torch.zeros(3, 5)
    (found,) = method(Outputs(empty, student), Outputs(empty, teacher), BATCH).values()
    assert (found.value * found.weight).item() == pytest.approx(0.05428523007768141, rel=1e-10)


def test_fsp_adds_up_the_flows_between_neighbours_and_connects_only_where_channels_differ():
    method, ours, theirs, found = compared(FlowConfig())
    one, two, three = method.connectors
    assert [type(connector).__name__ for connector in method.connectors] == ["Identity", "Conv2d", "Identity"]
    first = losses.fsp((pool(one(ours["stage1"])), two(ours["stage2"])), (pool(theirs["stage1"], 4), theirs["stage2"]))
    second = losses.fsp((two(ours["stage2"]), three(ours["stage3"])), (pool(theirs["stage2"]), theirs["stage3"]))
    torch.testing.assert_close(found.value, first.mean() + second.mean())
    assert found.weight == 50.0


def test_fsp_can_be_told_not_to_connect():
    with pytest.raises(ShapeError, match="'stage2' has 6 in the student and 9 in the teacher: leave out connect=False"):
        FlowConfig(connect=False).build(OURS, THEIRS)
    assert not list(FlowConfig(connect=False, roles=("stage1", "stage3")).build(OURS, THEIRS).parameters())


@pytest.mark.parametrize("config", [BoundaryConfig, FlowConfig])
def test_networks_that_cannot_be_compared_are_refused(config):
    method = {"boundary": "ab", "flow": "fsp"}[config.name]
    with pytest.raises(ConfigError, match=rf"{method} compares stages, and the networks share none"):
        config().build(FLAT, THEIRS)
    with pytest.raises(UnknownNameError, match="tap of the teacher"):
        config(roles=("stage1", "stage4")).build(OURS | {"stage4": (8, 1, 1)}, THEIRS)


def test_fsp_needs_two_maps():
    with pytest.raises(ConfigError, match="between two maps, got stage1: name another"):
        FlowConfig(roles=("stage1",)).build(OURS, THEIRS)
    with pytest.raises(ShapeError, match="'embedding' is a vector: choose another"):
        FlowConfig(roles=("stage1", "embedding")).build(OURS, THEIRS)


@pytest.mark.parametrize("config", [ABConfig, FSPConfig])
def test_the_config_of_a_run_holds_both_stages(config, tiny):
    run = tiny(config(weight=2.0, roles=("stage1", "stage2")), TeacherConfig(weights="somewhere"))
    assert from_json(to_json(run)) == run
    assert [stage.method.name for stage in run.stages] == [phases_of(config())[0].name, config.name]


@pytest.mark.parametrize("config", [ABConfig, FSPConfig])
def test_a_run_learns_from_the_teacher_first_and_from_labels_alone_then(config, tiny, teacher_run, tmp_path):
    result = start(tiny(config(), teacher_run), tmp_path / "run")
    assert [stage["judge"] for stage in result["stages"]] == ["none", "accuracy"]
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    terms = [set(line["terms"]) for line in lines if line.get("terms")]
    phase = phases_of(config())[0].name
    assert {"task", phase} in terms
    assert terms[-1] == {"task"}

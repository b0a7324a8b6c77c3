"""Recipes are whole runs, with the numbers of the literature."""

from dataclasses import replace
from pathlib import Path

import pytest

from tutelage.engine import RunConfig, from_json, to_json
from tutelage.errors import UnknownNameError
from tutelage.methods import METHODS, is_taught
from tutelage.models import ModelCard, build_network
from tutelage.recipes import (
    DEMO_METHODS,
    RECIPES,
    ckd,
    crd,
    demo_answers,
    demo_students,
    demo_teachers,
    digits,
    imagenet,
    recipe_for,
    short,
)

DIGITS = tuple("0123456789")
every = pytest.mark.parametrize("name", RECIPES)


@every
def test_a_recipe_is_a_whole_run_for_the_data_it_is_given(name):
    run = RECIPES[name]("folder:x")
    assert isinstance(run, RunConfig)
    assert run.data.name == "folder:x"
    assert run.teacher is None
    assert from_json(to_json(run)) == run


@every
def test_a_recipe_says_what_it_is_in_one_line(name):
    assert RECIPES[name].__doc__.splitlines()[0].endswith(".")


def test_every_recipe_can_be_asked_for_by_its_name():
    assert {"ckd": ckd, "crd": crd, "digits": digits, "imagenet": imagenet, "short": short} == RECIPES


def test_the_recipe_of_the_literature_has_its_numbers():
    # train_student.py of HobbitLong/RepDistiller@b84f547
    run = crd()
    optimizer, stage = run.stages[0].optimizer, run.stages[0]
    assert (run.data.batch_size, stage.epochs) == (64, 240)
    assert (optimizer.lr, optimizer.momentum, optimizer.weight_decay, optimizer.nesterov) == (0.05, 0.9, 5e-4, False)
    assert [240 * milestone for milestone in stage.schedule.milestones] == [150, 180, 210]
    assert (stage.schedule.name, stage.schedule.gamma, stage.schedule.warmup) == ("multistep", 0.1, 0.0)


def test_imagenet_drops_the_rate_at_30_60_and_90_of_100_epochs():
    stage = imagenet("folder:x").stages[0]
    assert [stage.epochs * milestone for milestone in stage.schedule.milestones] == pytest.approx([30, 60, 90])


@pytest.mark.parametrize(
    ("data", "name", "expected"), [("digits", None, digits), ("cifar100", None, short), ("digits", "crd", crd)]
)
def test_the_recipe_follows_from_the_data_unless_it_is_named(data, name, expected):
    assert recipe_for(data, name) == expected(data)


def test_an_unknown_recipe_is_refused_with_those_that_exist():
    with pytest.raises(UnknownNameError, match="unknown recipe 'crdd'; the nearest of 5: crd"):
        recipe_for("digits", "crdd")


def roles_of(method):
    """The features that a method reads of the demo's networks."""
    student, teacher = (
        build_network(ModelCard(model=f"zoo:digits_{size}", classes=DIGITS, image=(1, 8, 8), mean=(0.5,), std=(0.5,)))
        for size in ("small", "large")
    )
    return set(method.build(student.shapes, teacher.shapes).needs.roles)


class TestDemo:
    def test_it_has_every_row_for_every_seed_and_a_teacher_where_one_is_needed(self, tmp_path):
        runs = demo_students(tmp_path, seeds=2)
        rows = [*(word.replace(":", ".") for word in DEMO_METHODS), "other-classes-ce", "other-classes-refilled"]
        assert set(runs) == {f"{row}-seed{seed}" for row in rows for seed in (0, 1)}
        for name, run in runs.items():
            assert name.endswith(f"-seed{run.seed}")
            assert (run.teacher is None) == (not is_taught(run.method))

    def test_all_methods_can_be_asked_for_and_none_comes_twice(self, tmp_path):
        runs = demo_students(tmp_path, seeds=1, methods=("all", "kd", "kd:temperature=2"))
        alone = {name for name, run in runs.items() if run.data.classes is None and run.method is None}
        assert alone == {"ce-seed0"}
        assert {run.method.name for run in runs.values() if run.method} == set(METHODS)
        assert len(runs) == 1 + len(METHODS) + 1 + 2

    def test_the_runs_differ_by_method_classes_and_seed_alone(self, tmp_path):
        runs = demo_students(tmp_path, seeds=2).values()
        assert len({(run.engine, run.stages[-1].optimizer, run.stages[-1].epochs) for run in runs}) == 1
        assert {run.student.model for run in runs} == {"zoo:digits_small"}
        assert len({replace(run.data, classes=None) for run in runs}) == 1

    def test_the_teachers_are_larger_and_taught_alike(self, tmp_path):
        teacher, other = demo_teachers().values()
        assert teacher.student.model == other.student.model == "zoo:digits_large"
        assert teacher.stages == other.stages == demo_students(tmp_path)["ce-seed0"].stages

    def test_the_second_teacher_and_its_student_share_no_class(self, tmp_path):
        other, run = demo_teachers()["teacher-0-to-4"], demo_students(tmp_path)["other-classes-refilled-seed0"]
        assert (other.data.classes, run.data.classes) == ("0:5", "5:10")
        assert Path(run.teacher.weights) == tmp_path / "teacher-0-to-4"

    def test_what_is_asked_beforehand_is_all_that_any_student_asks(self, tmp_path):
        whole, other = demo_answers(tmp_path)
        assert (other.teacher, other.data) == tuple(
            getattr(demo_students(tmp_path)["other-classes-refilled-seed0"], name) for name in ("teacher", "data")
        )
        kept = roles_of(whole.method)
        for run in demo_students(tmp_path, seeds=1, methods=("all",)).values():
            if run.teacher == whole.teacher:
                assert run.data == whole.data
                assert all(roles_of(stage.method) <= kept for stage in run.stages if stage.method)
            elif run.teacher is not None:
                assert (run.teacher, run.data) == (other.teacher, other.data)

    def test_the_warm_up_of_dkd_is_the_same_share_as_in_the_paper(self, tmp_path):
        stage = demo_students(tmp_path)["dkd-seed0"].stages[0]
        assert stage.method.warmup_epochs / stage.epochs == pytest.approx(20 / 240)

"""A run with another method."""

from dataclasses import replace
from pathlib import Path

import pytest

from tutelage.engine import OptimizerConfig, StageConfig, TeacherConfig
from tutelage.errors import ConfigError
from tutelage.methods import DMLConfig, FTConfig, KDConfig
from tutelage.recipes import digits, with_method

BASE = digits()


def test_the_stages_of_the_method_before_go_and_those_of_the_new_one_come():
    first = with_method(BASE, FTConfig(), "t")
    assert [stage.name for stage in first.stages] == ["auto_encoder", "student"]
    assert with_method(first, None) == BASE
    assert with_method(first, KDConfig(), "t") == with_method(BASE, KDConfig(), "t")


def test_a_stage_of_the_users_own_stays_and_the_last_one_keeps_its_settings():
    own = StageConfig(name="first", epochs=3)
    last = StageConfig(epochs=7, optimizer=OptimizerConfig(lr=0.3))
    run = with_method(replace(BASE, stages=(own, last)), KDConfig(), "t")
    assert run.stages == (own, replace(last, method=KDConfig()))


@pytest.mark.parametrize("teacher", ["runs/t", Path("runs/t"), TeacherConfig(weights="runs/t")])
def test_a_teacher_is_named_by_its_path_or_its_settings(teacher):
    assert with_method(BASE, KDConfig(), teacher).teacher == TeacherConfig(weights="runs/t")


def test_a_teacher_that_nobody_asks_is_left_out_and_one_that_is_missing_is_missed():
    assert with_method(BASE, None, "t").teacher is None
    assert with_method(BASE, DMLConfig(), "t").teacher is None
    assert with_method(BASE, DMLConfig()).peers == (BASE.student,)
    with pytest.raises(ConfigError, match="the method 'kd' needs a teacher, and none is given"):
        with_method(BASE, KDConfig())

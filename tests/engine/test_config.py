"""A run is data: written, read back, and refused where it contradicts itself."""

import dataclasses
import json

import pytest

from tutelage.engine import (
    DataConfig,
    EngineConfig,
    OptimizerConfig,
    RunConfig,
    ScheduleConfig,
    StageConfig,
    StudentConfig,
    TeacherConfig,
    from_json,
    staged,
    to_json,
)
from tutelage.errors import ConfigError
from tutelage.methods import METHODS, FitNetConfig, KDConfig, SumConfig, TfKDConfig, is_taught

TEACHER = TeacherConfig(weights="runs/t", taps={"embedding": "fc:in"}, batch_size=8)


def through_a_file(config):
    return json.loads(json.dumps(to_json(config)))


class TestRoundTrip:
    @pytest.mark.parametrize("name", [None, *METHODS])
    def test_reading_is_the_inverse_of_writing(self, name):
        method = METHODS[name]() if name else None
        config = RunConfig(
            data=DataConfig(name="folder:x", size=32, images_per_class=4),
            student=StudentConfig(taps={"stage2": "a.b"}),
            teacher=TEACHER if is_taught(method) else None,
            peers=(StudentConfig(model="zoo:resnet8"),) if getattr(method, "peers", False) else (),
            stages=(StageConfig(name="first"), *staged(StageConfig(optimizer=OptimizerConfig(clip=1.0)), method)),
            engine=EngineConfig(sinks=("wandb",)),
            seed=7,
        )
        assert from_json(through_a_file(config)) == config

    def test_a_sum_of_methods_survives_with_its_weights(self):
        for task_weight in (None, 0.7):
            method = SumConfig.of([0.5 * KDConfig(temperature=2.5), FitNetConfig()] * 2, task_weight=task_weight)
            config = RunConfig(teacher=TEACHER, stages=(StageConfig(method=method),))
            assert from_json(through_a_file(config)) == config
            content = to_json(config)["method"]
            assert content["name"] == "0.5*kd+fitnet+0.5*kd+fitnet"
            assert content["kd2"]["temperature"] == 2.5

    def test_changed_settings_of_a_method_survive(self):
        config = RunConfig(teacher=TEACHER, stages=(StageConfig(method=KDConfig(temperature=2.5)),))
        assert from_json(through_a_file(config)).stages[0].method == KDConfig(temperature=2.5)

    def test_the_file_says_what_kind_of_run_it_is_and_with_which_method(self):
        content = to_json(RunConfig(teacher=TEACHER, stages=(StageConfig(method=KDConfig()),)))
        assert (content["kind"], content["method"]["name"]) == ("distill", "kd")
        assert content["method"]["temperature"] == 4.0
        content = to_json(RunConfig())
        assert (content["kind"], content["method"]) == ("teach", None)

    def test_what_the_file_leaves_out_has_its_default(self):
        assert from_json({"format": to_json(RunConfig())["format"]}) == RunConfig()


class TestDamage:
    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"format": "other"}, "not a run of format 'tutelage-run/1': it says 'other'"),
            ({"format": None}, "it says None"),
            ({"colour": "red"}, r"extra fields found \(colour\)"),
            ({"data": {"nmae": "digits"}}, r"extra fields found \(nmae\) @ \$\.data"),
            ({"data": {"batch_size": "many"}}, r"expected int @ \$\.data\.batch_size"),
            ({"data": {"validation": 2.0}}, r"validation is a share between 0 and 1, got 2\.0 @ \$\.data"),
            ({"seed": None}, r"expected int @ \$\.seed"),
            ({"stages": [{"method": {"name": "kdd"}}]}, "unknown method 'kdd'; the nearest of"),
            ({"stages": [{"method": {"name": "kd", "temperature": -1}}]}, "temperature must be .*got -1"),
            ({"stages": [{"method": {"name": "kd+rkdd"}}]}, "unknown method 'rkdd'"),
            ({"stages": [{"method": {"name": "kd+"}}]}, "methods are added as"),
            ({"stages": [{"method": {"name": "kd+rkd", "kd": {"temperature": -1}}}]}, "temperature must be .*got -1"),
            ({"stages": [{"method": {"name": "kd+rkd", "heat": 1}}]}, r"extra fields found \(heat\)"),
            ({"stages": [{"method": {"name": "kd"}}]}, "method 'kd' needs a teacher"),
            ({"stages": []}, "at least one stage, got none"),
        ],
    )
    def test_the_message_says_what_is_wrong_and_where(self, changes, message):
        with pytest.raises(ConfigError, match=message):
            from_json(through_a_file(RunConfig()) | changes)


class TestSettings:
    @pytest.mark.parametrize(
        ("kind", "settings", "message"),
        [
            (DataConfig, {"validation": 0.0}, "share between 0 and 1, got 0"),
            (DataConfig, {"validation": 1.0}, "share between 0 and 1, got 1"),
            (DataConfig, {"batch_size": 0}, "batch_size must be .*got 0"),
            (DataConfig, {"batch_size": 64, "images_per_class": 5}, "64, got 5"),
            (DataConfig, {"images_per_class": 0}, "got 0"),
            (OptimizerConfig, {"lr": 0.0}, "lr must be .*got 0"),
            (OptimizerConfig, {"lr": float("nan")}, "lr must be .*got nan"),
            (OptimizerConfig, {"accumulate": 0}, "accumulate must be .*"),
            (OptimizerConfig, {"clip": 0.0}, "clip must be .*"),
            (OptimizerConfig, {"weight_decay": -1e-4}, "weight_decay must be .*0"),
            (OptimizerConfig, {"momentum": 0.0}, "set nesterov=False"),
            (ScheduleConfig, {"warmup": 1.0}, r"in \[0, 1\), got 1"),
            (ScheduleConfig, {"milestones": (0.7, 0.5)}, r"rising shares .*got \(0\.7, 0\.5\)"),
            (ScheduleConfig, {"milestones": (0.5, 1.0)}, "rising shares"),
            (StageConfig, {"epochs": 0}, "at least one epoch, got 0"),
            (EngineConfig, {"devices": 0}, "devices must be .*"),
            (EngineConfig, {"validate_every": 0}, "validate_every must be .*"),
            (EngineConfig, {"log_every": 0}, "log_every must be .*"),
            (EngineConfig, {"save_every": -1.0}, "save_every must be .*0"),
            (RunConfig, {"stages": ()}, "at least one stage"),
            (RunConfig, {"stages": (StageConfig(method=KDConfig()),)}, "'kd' needs a teacher, and none is given"),
            (RunConfig, {"teacher": TEACHER}, "no method that would use it"),
            (
                RunConfig,
                {"teacher": TEACHER, "stages": (StageConfig(method=TfKDConfig()),)},
                "no method that would use it",
            ),
        ],
    )
    def test_what_is_out_of_range_is_refused_with_its_value(self, kind, settings, message):
        with pytest.raises(ConfigError, match=message):
            kind(**settings)

    def test_plain_sgd_without_momentum_is_allowed(self):
        assert OptimizerConfig(momentum=0.0, nesterov=False).momentum == 0

    @pytest.mark.parametrize("kind", [DataConfig, StudentConfig, OptimizerConfig, StageConfig, RunConfig])
    def test_a_config_is_frozen_and_takes_keywords_only(self, kind):
        config = kind()
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(config, dataclasses.fields(kind)[0].name, None)
        with pytest.raises(TypeError):
            kind("digits")

    def test_the_method_of_a_run_is_that_of_its_last_stage_with_one(self):
        stages = (StageConfig(name="a"), StageConfig(method=KDConfig(temperature=1.0)), StageConfig(name="b"))
        assert RunConfig(teacher=TEACHER, stages=stages).method == KDConfig(temperature=1.0)
        assert RunConfig().method is None

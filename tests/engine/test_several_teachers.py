"""The mean of several teachers in a whole run, and a student that is taught by one of its own kind."""

import pytest

from tutelage.engine import AnswersConfig, TeacherConfig, start
from tutelage.errors import ConfigError, UnknownNameError
from tutelage.methods import FitNetConfig, KDConfig
from tutelage.models import load_network


def test_names_with_commas_between_them_are_several_teachers():
    config = TeacherConfig(weights="runs/a, runs/b.safetensors")
    assert (config.kind, config.members) == ("several", ("runs/a", "runs/b.safetensors"))
    assert TeacherConfig(weights="runs/a").members == ("runs/a",)
    assert TeacherConfig(weights="http://a/b,c").kind == "server"
    assert TeacherConfig(weights="ema").members == ()
    assert not config.costs


def test_a_folder_whose_name_has_a_comma_is_one_teacher(tmp_path):
    (tmp_path / "a,b").mkdir()
    assert TeacherConfig(weights=str(tmp_path / "a,b")).kind == "network"


@pytest.mark.parametrize("name", ["http://a", "ema", "python:a:b", ""])
def test_only_stored_networks_are_averaged(name):
    with pytest.raises(ConfigError, match=f"stored networks, with commas between them; got {name!r}"):
        TeacherConfig(weights=f"runs/a,{name}")


@pytest.mark.slow
def test_a_run_is_taught_by_the_mean_and_says_so(tiny, teacher_run, tmp_path):
    weights = f"{teacher_run},{teacher_run}/best.safetensors"
    config = tiny(
        method=KDConfig(), teacher=TeacherConfig(weights=weights, answers=AnswersConfig(average="probabilities"))
    )
    result = start(config, tmp_path / "run")
    one = load_network(teacher_run)
    assert result["teacher"]["model"] == "zoo:digits_large + zoo:digits_large"
    assert result["teacher"]["parameters"] == 2 * one.num_parameters
    assert result["teacher"]["accuracy"]["validation"] > 0.5
    assert result["teacher"]["calls"] == result["steps"] * 64  # each image once, though two are asked
    with pytest.raises(UnknownNameError, match="unknown tap of the teacher 'stage2'; the nearest of 1: logits"):
        start(tiny(method=FitNetConfig(), teacher=TeacherConfig(weights=weights)), tmp_path / "other")


@pytest.mark.slow
def test_a_student_is_born_again_from_a_finished_run_of_its_own_model(tiny, tmp_path):
    # BAN (arXiv 1805.04770): each generation is taught by the last one, at temperature one
    first = start(tiny(epochs=5, optimizer={"lr": 0.1}), tmp_path / "first")
    born_again = KDConfig(temperature=1.0, weight=1.0, task_weight=1.0)
    for parent, child in (("first", "second"), ("second", "third")):
        teacher = TeacherConfig(weights=str(tmp_path / parent))
        result = start(
            tiny(method=born_again, teacher=teacher, seed=1, epochs=5, optimizer={"lr": 0.1}), tmp_path / child
        )
        assert result["teacher"]["model"] == result["student"]["model"] == first["student"]["model"]
        assert result["teacher"]["fingerprint"] == load_network(tmp_path / parent).fingerprint()
    assert result["accuracy"]["last"]["test"] > 0.3

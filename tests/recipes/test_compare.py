"""The runs of a table, and which teacher goes with which student."""

import pytest

from tutelage.engine import TeacherConfig
from tutelage.errors import ConfigError
from tutelage.recipes import Variant, compare_runs, paired_up, short

TEACHERS = [TeacherConfig(weights=name) for name in ("a", "b")]


def runs(*texts, teachers=TEACHERS[:1], students=("zoo:resnet8",), seeds=(0, 1)):
    return compare_runs(short(), paired_up(teachers, students), [Variant.parse(text) for text in texts], seeds=seeds)


def test_every_seed_and_method_has_a_run_and_a_seed_is_whole_before_the_next():
    found = runs("ce", "kd", "kd:temperature=2")
    assert list(found) == [f"{name}-seed{seed}" for seed in (0, 1) for name in ("ce", "kd", "kd.temperature=2")]
    assert all(run.seed == int(name[-1]) for name, run in found.items())
    assert found["ce-seed0"].teacher is None
    assert found["kd.temperature=2-seed1"].method.temperature == 2.0


def test_one_teacher_has_all_students_and_names_tell_them_apart():
    found = runs("kd", students=("zoo:resnet8", "zoo:resnet14"), seeds=(3,))
    assert list(found) == ["zoo.resnet8-kd-seed3", "zoo.resnet14-kd-seed3"]
    assert [run.student.model for run in found.values()] == ["zoo:resnet8", "zoo:resnet14"]
    assert {run.teacher.weights for run in found.values()} == {"a"}


def test_one_student_under_two_teachers_is_two_pairs():
    found = runs("kd", teachers=TEACHERS, seeds=(0,))
    assert list(found) == ["pair1-zoo.resnet8-kd-seed0", "pair2-zoo.resnet8-kd-seed0"]
    assert [run.teacher.weights for run in found.values()] == ["a", "b"]


@pytest.mark.parametrize(("teachers", "students"), [(0, 1), (1, 0), (2, 3), (3, 2)])
def test_pairs_that_do_not_go_up_are_refused_with_both_numbers(teachers, students):
    with pytest.raises(ConfigError, match=f"got {teachers} teachers and {students} students"):
        paired_up([TEACHERS[0]] * teachers, ["zoo:resnet8"] * students)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"texts": ()}, "at least one pair, one method and one seed"),
        ({"texts": ("kd",), "seeds": ()}, "at least one pair, one method and one seed"),
        ({"texts": ("kd", "kd")}, "'kd' is named twice"),
    ],
)
def test_what_makes_no_table_is_refused(given, message):
    with pytest.raises(ConfigError, match=message):
        runs(*given.pop("texts"), **given)

"""Which runs may be averaged."""

from tutelage.report.settings import differing, labels, settings


def test_stages_are_compared_setting_by_setting_and_leave_the_method_to_its_own_section():
    stages = [{"name": "student", "epochs": 30, "method": {"name": "kd"}, "optimizer": {"lr": 0.1}}]
    assert settings({"stages": stages}) == {
        "stages.1.epochs": "30",
        "stages.1.name": "student",
        "stages.1.optimizer.lr": "0.1",
    }


def test_seed_places_and_devices_are_no_settings():
    one = {"seed": 0, "out": "runs/a", "device": "cpu", "loop": {"workers": 2}, "teacher": {"checkpoint": "a.ckpt"}}
    two = {"seed": 1, "out": "runs/b", "device": "cuda", "loop": {"workers": 8}, "teacher": {"checkpoint": "b.ckpt"}}
    assert settings(one) == settings(two) == {}


def test_student_and_method_keep_every_setting():
    config = {"student": {"model": "zoo:a", "checkpoint": "a.ckpt"}, "method": {"name": "x", "weights": [1, 2]}}
    assert settings(config) == {
        "method.name": "x",
        "method.weights": "[1, 2]",
        "student.checkpoint": "a.ckpt",
        "student.model": "zoo:a",
    }


def test_a_whole_number_is_the_same_as_a_float_of_its_value():
    assert settings({"method": {"temperature": 4.0}}) == settings({"method": {"temperature": 4}})


def test_a_setting_that_one_variant_lacks_differs():
    assert differing([{"a": "1", "b": "2"}, {"a": "1"}]) == ["b"]


def test_variants_are_told_apart_by_what_differs():
    variants = [{"epochs": "30", "method.temperature": "4"}, {"epochs": "60", "method.temperature": "4"}]
    assert labels("kd", variants) == ["kd (epochs=30)", "kd (epochs=60)"]


def test_a_long_setting_is_shortened_in_a_label():
    name, _ = labels("kd", [{"a": "x" * 500}, {"a": "y"}])
    assert len(name) < 40

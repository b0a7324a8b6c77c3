"""Which runs may be averaged."""

import json

from hypothesis import given
from hypothesis import strategies as st

from tutelage.engine.codec import from_json, to_json
from tutelage.report.settings import differing, labels, settings


def test_stages_are_compared_setting_by_setting_and_leave_the_method_to_its_own_section():
    stages = [{"name": "student", "epochs": 30, "method": {"name": "kd"}, "optimizer": {"lr": 0.1}}]
    assert settings({"stages": stages}) == {
        "stages.1.epochs": "30",
        "stages.1.name": "student",
        "stages.1.optimizer.lr": "0.1",
    }


def test_a_stage_that_a_method_brought_along_is_none_of_the_run():
    own = {"name": "student", "epochs": 30, "start": "best", "phase": False}
    coder = {"name": "coder", "epochs": 15, "start": "last", "phase": True}
    alone = {"name": "student", "epochs": 30}
    assert settings({"stages": [coder, own]}) == settings({"stages": [alone]})
    assert "stages.1.start" in settings({"stages": [own]})  # the user's own wish is a setting


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


def test_of_many_variants_a_name_holds_what_is_not_that_of_most():
    variants = [{"method.k": k, "method.distance": d, "epochs": e} for k, d, e in (("3", "kl", "1"), ("3", "mse", "1"))]
    variants += [{"method.k": "3", "epochs": "2"}, {"method.k": "2", "method.distance": "kl", "epochs": "1"}]
    variants += [{"method.k": "3", "method.distance": "kl", "epochs": "3"}]
    assert labels("ckd", variants) == [
        "ckd",
        "ckd (distance=mse)",
        "ckd (epochs=2, distance=unset)",
        "ckd (k=2)",
        "ckd (epochs=3)",
    ]


@given(st.lists(st.dictionaries(st.sampled_from("abc"), st.sampled_from("12")), min_size=1, unique_by=str))
def test_no_two_variants_have_one_name(variants):
    unique = [dict(items) for items in {tuple(sorted(variant.items())) for variant in variants}]
    assert len(set(labels("kd", unique))) == len(unique)


# The whole config.json of a run of CKD at commit 6198a28, before budgets, protocols and mixtures came.
OLD = {
    "format": "tutelage-run/1",
    "kind": "distill",
    "data": {
        "name": "digits",
        "size": None,
        "validation": 0.1,
        "batch_size": 64,
        "images_per_class": None,
        "workers": 0,
    },
    "student": {"model": "zoo:digits_small", "pretrained": False, "taps": {}},
    "teacher": {"weights": "runs/demo/teacher", "batch_size": None, "taps": {}, "allow_bad": False},
    "stages": [
        {
            "name": "student",
            "epochs": 40,
            "method": {"name": "ckd"},
            "optimizer": {
                "name": "sgd",
                "lr": 0.1,
                "momentum": 0.9,
                "nesterov": True,
                "weight_decay": 0.0005,
                "clip": None,
                "accumulate": 1,
            },
            "schedule": {
                "name": "onecycle",
                "milestones": [0.625, 0.75, 0.875],
                "gamma": 0.1,
                "warmup": 0.2,
                "floor": 0.0,
            },
        }
    ],
    "engine": {
        "accelerator": "cpu",
        "devices": 1,
        "precision": "32",
        "channels_last": False,
        "compile": False,
        "validate_every": 2,
        "log_every": 50,
        "save_every": 60.0,
        "sinks": [],
    },
    "seed": 0,
    "method": {
        "name": "ckd",
        "weight": 1.0,
        "label_weight": 1.0,
        "k": 3,
        "distance": "kl",
        "temperature": 4.0,
        "label_term": "difference",
        "groups": None,
        "all_pairs": False,
        "comparator": "difference",
        "center_bias": 0.0,
        "seed": 0,
        "task_weight": 0.0,
    },
}


def test_a_run_from_before_a_setting_came_shares_a_row_with_one_that_has_its_default():
    assert settings(OLD) == settings(json.loads(json.dumps(to_json(from_json(OLD)))))


def test_a_later_setting_with_another_value_is_a_setting():
    teacher = {"answers": {"exhausted": "skip", "price_per_call": 0.5, "budget": 100, "view": None}}
    assert settings({"teacher": teacher, "stages": [{"schedule": {"patience": 20, "drops": 3}}]}) == {
        "stages.1.schedule.patience": "20",
        "teacher.answers.budget": "100",
        "teacher.answers.exhausted": "skip",
        "teacher.answers.price_per_call": "0.5",
    }


def test_null_an_empty_list_and_nothing_are_the_same_but_false_and_zero_are_not():
    assert settings({"a": None, "b": [], "c": {}}) == {}
    assert settings({"a": False, "b": 0}) == {"a": "false", "b": "0"}


def test_how_a_server_is_asked_and_where_the_ledger_lies_are_no_settings():
    teacher = {"http": {"timeout": 3.0, "body": "json"}, "answers": {"ledger": "calls.sqlite", "cache": "on"}}
    assert settings({"teacher": teacher}) == {}


def test_peers_like_the_student_are_counted_from_the_second_and_others_are_told():
    student, other = {"model": "a", "pretrained": False}, {"model": "b", "pretrained": False}
    told = [settings({"student": student, "peers": peers}) for peers in ([], [student], [student] * 2, [other])]
    alone = {"student.model": "a", "student.pretrained": "false"}
    assert told == [alone, alone, alone | {"peers": "2"}, alone | {"peers.1.model": "b", "peers.1.pretrained": "false"}]

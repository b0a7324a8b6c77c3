"""`--paradigm` and `--peers`: whom a method learns from, as the config of the run says it."""

import json
from pathlib import Path

import pytest

from tutelage.cli.flags import distilled
from tutelage.engine import StudentConfig

SMALL = ("digits", "--student", "zoo:digits_small")


def run_of(*words):
    return distilled([*SMALL, *words])[0]


def test_the_paradigms_of_ickd_are_its_sources():
    offline = run_of("--method", "ickd", "--paradigm", "offline", "--teacher", "t")
    online = run_of("--method", "ickd", "--paradigm", "online", "--peers", "3")
    alone = run_of("--method", "ickd", "--paradigm", "self")
    assert [run.method.source for run in (offline, online, alone)] == ["teacher", "peer", "student"]
    assert [run.teacher is None for run in (offline, online, alone)] == [False, True, True]
    assert online.peers == (StudentConfig(model="zoo:digits_small"),) * 2
    assert offline.peers == alone.peers == ()


def test_a_method_that_needs_a_teacher_is_taught_by_the_student_as_it_was():
    assert run_of("--method", "kd", "--paradigm", "self").teacher.weights == "ema"
    assert run_of("--method", "kd", "--paradigm", "self", "--teacher", "snapshot").teacher.weights == "snapshot"


def test_a_method_that_learns_so_anyway_stays_as_it_is():
    for paradigm, method in (("online", "dml"), ("self", "label_smoothing")):
        assert run_of("--method", method, "--paradigm", paradigm) == run_of("--method", method)
    assert run_of("--method", "dml", "--peers", "2") == run_of("--method", "dml")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--method", "kd", "--paradigm", "online"), "kd learns from a teacher, as it is set, and not from peers"),
        (("--method", "dml", "--paradigm", "self"), "dml learns from peers, as it is set, and not without a teacher"),
        (
            ("--method", "tf_kd", "--paradigm", "offline"),
            "tf_kd learns without a teacher, as it is set, and not from a",
        ),
        (("--method", "kd", "--paradigm", "self", "--teacher", "t"), "is taught by ema or snapshot, got t"),
        (
            ("--method", "ickd", "--paradigm", "self", "--teacher", "t"),
            "learns without a teacher, as it is set: leave out",
        ),
        (("--method", "dml", "--peers", "1"), "peers are two or more networks, got 1"),
    ],
)
def test_what_a_method_cannot_is_refused_in_one_line(said, words, message):
    told = said("distill", *SMALL, *words, code=2)
    assert told.startswith("tutelage: ")
    assert message in told
    assert told.count("\n") == 1


def test_two_networks_learn_from_each_other_in_context(said):
    said("distill", *SMALL, "--method", "ickd", "--paradigm", "online", "--peers", 2, "--epochs", 1, "--out", "run")
    assert len(json.loads(Path("run/result.json").read_text())["peers"]) == 1

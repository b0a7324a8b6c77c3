"""Reading run directories: all are found, none is dropped, damage is named."""

import json
import math
import os

import pytest

from tutelage.errors import DataError
from tutelage.report import load_runs
from tutelage.report.results import Score
from tutelage.report.runs import Measured


def edit(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_a_run_is_read_as_it_was_written(study):
    study.add("kd", 3, 0.95, metrics=None)
    (run,) = load_runs(study.root)
    assert run.name == "runs/001-kd-3"
    assert run.result.seed == 3
    assert run.result.last == Score(30, pytest.approx(0.954), 0.95)
    assert run.result.best == Score(27, pytest.approx(0.956), pytest.approx(0.952))
    assert run.result.teacher.fingerprint == "ab12cd34ef56"
    assert run.result.machine == "Some CPU, 2 cores, 1 thread"
    assert len(run.validations) == 30
    assert run.validations[0].epoch == 1
    assert len(run.terms) == 120


def test_the_size_of_a_term_is_its_value_times_its_weight(study):
    line = {"kind": "train", "stage": "student", "epoch": 0.5, "terms": {"kd": {"value": 0.7, "weight": 0.9}}}
    study.add("kd", 0, 0.95, metrics=[line])
    assert load_runs(study.root)[0].terms[0].sizes == {"kd": pytest.approx(0.63)}


def test_a_stage_that_is_judged_by_class_means_has_no_curve_of_accuracies(study):
    lines = [{"kind": "stage", "stage": "a", "step": 0}, {"kind": "validation", "stage": "b", "epoch": 1, "ncm": 0.5}]
    study.add("refilled", 0, 0.95, metrics=lines)
    assert load_runs(study.root)[0].validations == []


def test_runs_are_found_at_any_depth_and_sorted(study):
    for place in ("b/deep/down", "a"):
        folder = study.add("kd", 0, 0.95)
        target = study.root / place
        target.parent.mkdir(parents=True, exist_ok=True)
        folder.rename(target)
    assert [run.name for run in load_runs(study.root)] == ["runs/a", "runs/b/deep/down"]


def test_a_run_directory_itself_may_be_given(study):
    assert load_runs(study.add("kd", 0, 0.95))[0].name == "001-kd-0"


def test_a_run_found_twice_counts_once(study):
    folder = study.add("kd", 0, 0.95)
    assert len(load_runs([study.root, folder, str(study.root)])) == 1


def test_an_unfinished_run_is_kept_and_its_cut_last_line_left_out(study):
    folder = study.start("kd", 1)
    line = json.dumps({"kind": "validation", "stage": "student", "epoch": 1, "step": 10, "accuracy": 0.5})
    (folder / "metrics.jsonl").write_text(f'{line}\n{{"kind": "vali')
    (run,) = load_runs(study.root)
    assert not run.finished
    assert run.validations == [Measured("student", 1.0, 0.5)]


def test_a_run_that_wrote_nothing_but_metrics_is_unfinished(study):
    folder = study.start("kd", 1)
    (folder / "config.json").unlink()
    (folder / "metrics.jsonl").write_text("")
    assert [run.finished for run in load_runs(study.root)] == [False]


def test_the_configuration_of_something_else_is_no_run(study):
    study.add("kd", 0, 0.95)
    other = study.root / "some_model"
    other.mkdir()
    (other / "config.json").write_text('{"architectures": ["ViT"]}')
    assert len(load_runs(study.root)) == 1


def test_numbers_that_overflowed_in_training_are_read(study):
    lines = [
        {"kind": "validation", "stage": "student", "epoch": 1, "accuracy": None},
        {"kind": "train", "stage": "student", "epoch": 1, "terms": {"kd": {"value": math.inf, "weight": 1.0}}},
    ]
    study.add("kd", 0, 0.1, metrics=lines)
    (run,) = load_runs(study.root)
    assert math.isnan(run.validations[0].accuracy)
    assert run.terms[0].sizes == {"kd": math.inf}


def test_lines_of_kinds_to_come_are_passed_over(study):
    study.add("kd", 0, 0.95, metrics=[{"kind": "memory", "stage": "student"}])
    assert load_runs(study.root)[0].validations == []


@pytest.mark.parametrize("name", ["result.json", "config.json", "metrics.jsonl"])
@pytest.mark.parametrize("content", [b'{"a": ', b"[1, 2]\n", b"\xff\xfe\x00"])
def test_a_damaged_file_is_named(study, name, content):
    file = study.add("kd", 0, 0.95) / name
    file.write_bytes(content)
    with pytest.raises(DataError) as caught:
        load_runs(study.root)
    assert str(file) in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r["accuracy"]["last"].pop("test"), r"between 0 and 1 at accuracy\.last\.test, found nothing"),
        (lambda r: r["accuracy"]["last"].update(test=94.0), r"at accuracy\.last\.test, found 94\.0"),
        (lambda r: r["accuracy"]["best"].update(test=math.nan), r"at accuracy\.best\.test, found nan"),
        (lambda r: r.update(seed="0"), "a whole number at seed, found '0'"),
        (lambda r: r.update(seed=True), "a whole number at seed, found True"),
        (lambda r: r.update(student="zoo:a"), "an object at student"),
        (lambda r: r.update(seconds=None), "a finite number at seconds, found None"),
        (lambda r: r["teacher"].pop("fingerprint"), r"a text at teacher\.fingerprint"),
        (lambda r: r["teacher"].update(cost="free"), r"a finite number at teacher\.cost, found 'free'"),
        (lambda r: r.update(format="tutelage-result/9"), "expected tutelage-result/1 at format"),
    ],
)
def test_a_wrong_field_is_named_with_its_file(study, change, message):
    file = study.add("kd", 0, 0.95) / "result.json"
    edit(file, change)
    with pytest.raises(DataError, match=message) as caught:
        load_runs(study.root)
    assert str(file) in str(caught.value)


def test_a_configuration_of_another_format_beside_a_result_is_refused(study):
    edit(study.add("kd", 0, 0.95) / "config.json", lambda config: config.update(format="other/1"))
    with pytest.raises(DataError, match="expected tutelage-run/1 at format"):
        load_runs(study.root)


def test_a_result_alone_is_enough(study):
    folder = study.add("kd", 0, 0.95)
    (folder / "config.json").unlink()
    (folder / "metrics.jsonl").unlink()
    assert load_runs(study.root)[0].result.method == "kd"


def test_a_teacher_that_nobody_measured_is_read(study):
    study.add("kd", 0, 0.95, change=lambda result: result["teacher"].update(accuracy=None, parameters=None))
    assert load_runs(study.root)[0].result.teacher.test is None


def test_a_remote_teacher_says_what_it_cost_and_what_it_did_not_answer(study):
    facts = {"parameters": None, "accuracy": {}, "cost": 1.25, "budget": 1600, "skipped": 70}
    study.add("kd", 0, 0.95, change=lambda result: result["teacher"].update(facts))
    study.add("kd", 1, 0.95)
    one, old = (run.result.teacher for run in load_runs(study.root))
    assert (one.parameters, one.test, one.cost, one.budget, one.skipped) == (None, None, 1.25, 1600, 70)
    assert (old.cost, old.budget, old.skipped) == (None, None, 0)


def test_no_runs_at_all_is_an_error(tmp_path):
    with pytest.raises(DataError, match="no run below"):
        load_runs(tmp_path)


@pytest.mark.parametrize("name", ["missing", "file"])
def test_a_directory_that_is_none_is_an_error(tmp_path, name):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="expected a directory of runs"):
        load_runs(tmp_path / name)


def test_the_order_on_disk_does_not_matter(typical, monkeypatch):
    forward = load_runs(typical)
    walk = os.walk

    def backward(top):
        for directory, children, files in walk(top):
            children.reverse()
            yield directory, children, files[::-1]

    monkeypatch.setattr(os, "walk", backward)
    assert load_runs(typical) == forward

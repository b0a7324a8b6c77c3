"""The columns of costs: memory by the middle run, and what is said where costs do not compare."""

import csv
import io

import pytest

from tutelage.errors import DataError
from tutelage.report import load_runs, markdown_table
from tutelage.report.exports import comma_separated, latex
from tutelage.report.groups import groups_of

MIB = 2**20


def memory(mib, kind="resident"):
    return lambda result: result.update(memory={"bytes": round(mib * MIB), "kind": kind})


def rows_of(study):
    return {row.method: row for group in groups_of(load_runs(study.root)) for row in group.rows}


def test_the_memory_of_a_row_is_that_of_its_middle_run(study):
    for seed, mib in enumerate((10.3, 1.8, 1.9)):  # the first run of a process also holds what torch loads once
        study.add("kd", seed, 0.95, change=memory(mib))
    assert rows_of(study)["kd"].memory() == pytest.approx(1.9 * MIB, abs=1)
    text = markdown_table(study.root)
    assert "| Memory (MiB) |" in text
    assert text.count("| 1.90 |") == 1
    assert "Memory: the most that training added to its process" in text
    assert latex(load_runs(study.root)).count("Memory (MiB)") == 1
    (record,) = csv.DictReader(io.StringIO(comma_separated(load_runs(study.root))))
    assert float(record["memory_bytes"]) == round(1.9 * MIB)


def test_runs_from_before_have_no_memory_and_no_column_for_it(typical):
    text = markdown_table(typical)
    assert "Memory" not in text
    assert {row["memory_bytes"] for row in csv.DictReader(io.StringIO(comma_separated(load_runs(typical))))} == {""}


@pytest.mark.parametrize("change", [None, memory(5, "allocated"), lambda result: result.update(memory=None)])
def test_runs_that_were_not_measured_alike_have_no_figure_together(study, change):
    study.add("kd", 0, 0.95, change=memory(5))
    study.add("kd", 1, 0.95, change=change)
    assert rows_of(study)["kd"].memory() is None


def test_memory_on_a_device_is_said_to_be_that(study):
    study.add("kd", 0, 0.95, change=memory(900, "allocated"))
    assert "Memory: the most that torch had allocated on the device while training" in markdown_table(study.root)


@pytest.mark.parametrize("content", [{"bytes": -1, "kind": "resident"}, {"bytes": 1}, {"kind": "resident"}, 7])
def test_damaged_memory_is_named(study, content):
    study.add("kd", 0, 0.95, change=lambda result: result.update(memory=content))
    with pytest.raises(DataError, match=r"result\.json: expected .* at memory"):
        load_runs(study.root)


@pytest.mark.parametrize(("cache", "said"), [("on", True), ("answers", True), ("off", False), ("auto", False)])
def test_kept_answers_are_told_since_costs_then_depend_on_the_order(study, cache, said):
    teacher = {"model": "zoo:digits_large", "answers": {"cache": cache}}
    study.add("kd", 0, 0.95, settings={"teacher": teacher})
    assert ("calls and seconds leave out those that a run found there already" in markdown_table(study.root)) is said


def test_other_machines_are_told_in_markdown_too(study):
    study.add("kd", 0, 0.95)
    study.add("ce", 0, 0.95, change=lambda result: result["machine"].update(gpu="Some GPU"))
    assert "Runs of 2 different machines: their seconds" in markdown_table(study.root)


def test_the_csv_has_p_values_alone_and_together(typical):
    found = {row["method"]: row for row in csv.DictReader(io.StringIO(comma_separated(load_runs(typical))))}
    for method in ("kd", "crd", "rkd", "iekd"):
        p, together = (float(found[method][f"gain_over_alone_{key}"]) for key in ("p", "p_holm"))
        assert 0 < p <= together <= 1
    assert found["ce"]["gain_over_alone_p"] == found["kd"]["gain_over_kd_p"] == ""
    assert found["ce"]["gain_over_kd_p"] != ""

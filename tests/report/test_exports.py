"""The tables as files for other programs."""

import csv
import io

import pytest

from tutelage.report import load_runs, write_tables
from tutelage.report.exports import comma_separated, latex


def records(runs):
    return {record["method"]: record for record in csv.DictReader(io.StringIO(comma_separated(load_runs(runs))))}


def test_the_csv_has_unrounded_shares_and_the_gains_by_seed(typical):
    found = records(typical)
    assert float(found["crd"]["test_last"]) == pytest.approx((0.9566 + 0.9570 + 0.9541) / 3, abs=1e-12)
    gain = sum(a - b for a, b in zip((0.9566, 0.9570, 0.9541), (0.9410, 0.9432, 0.9384), strict=True)) / 3
    assert float(found["crd"]["gain_over_alone"]) == pytest.approx(gain, abs=1e-12)
    assert (found["crd"]["n"], found["crd"]["seeds"]) == ("3", "0 1 2")
    assert found["ce"]["gain_over_alone"] == found["ce"]["gain_over_alone_half_width"] == ""
    assert (found["ce"]["teacher_calls"], float(found["crd"]["teacher_calls"])) == ("0", 43200.0)


def test_the_latex_table_has_a_row_a_method_and_as_many_cells_as_columns(typical):
    text = latex(load_runs(typical))
    lines = text.splitlines()
    columns = next(line for line in lines if line.startswith(r"\begin{tabular}"))
    body = lines[lines.index(r"\midrule") + 1 : lines.index(r"\bottomrule")]
    head = lines[lines.index(r"\toprule") + 1]
    assert {line.count(" & ") for line in body} == {head.count(" & ")} == {columns.split("{l")[1].count("r")}
    assert all(line.endswith(r" \\") for line in [head, *body])
    assert len(body) == 1 + len(records(typical))  # and the teacher


def test_latex_has_no_letter_that_would_stop_it(study):
    for note in (r"5% & a_b #1 {x} ~ ^ \e", "plain"):
        study.add("kd", 0, 0.9, settings={"method_settings": {"note": note}})
    text = latex(load_runs(study.root))
    body = text[text.index(r"\midrule") : text.index(r"\bottomrule")]
    assert r"5\% \& a\_b \#1 \{x\} \textasciitilde{} \textasciicircum{} \textbackslash{}e" in body
    assert text.isascii()


def test_three_files_are_written_and_say_the_same_for_the_same_runs(typical, tmp_path):
    paths = write_tables(typical, tmp_path / "tables")
    assert [path.name for path in paths] == ["table.md", "table.csv", "table.tex"]
    first = [path.read_text(encoding="utf-8") for path in paths]
    assert [path.read_text(encoding="utf-8") for path in write_tables(typical, tmp_path / "tables")] == first
    assert first[1] == comma_separated(load_runs(typical))


def test_the_csv_has_the_judges_of_an_incremental_step(study):
    scores = {"epoch": 30, "old": 0.7, "new": 0.5, "all": 0.6, "harmonic": 0.5833}
    study.add("kd", 0, 0.6, change=lambda result: result.update(incremental={"last": scores, "best": scores}))
    found = records(study.root)["kd"]
    assert [float(found[name]) for name in ("old", "new", "harmonic")] == [0.7, 0.5, 0.5833]
    assert found["old_half_width"] == found["ncm"] == ""

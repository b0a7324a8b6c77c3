"""Gain over labels alone by the classes that student and teacher share, and plots as files of their own."""

import xml.etree.ElementTree as ElementTree

import pytest

from tutelage.report import write_page, write_plots
from tutelage.report.groups import groups_of
from tutelage.report.overlap import overlap_charts, overlap_plot
from tutelage.report.runs import load_runs

SEEDS = (0, 1, 2)


@pytest.fixture
def family(study):
    """Labels alone and two methods on five classes, of which the teacher knows 5, 2 or 0."""

    def add(method, shared, gains, **own):
        def change(result):
            result["task"] = f"digits (5 of 10 classes; {shared})"
            result["student"]["num_classes"] = 5
            if result["teacher"]:
                result["teacher"]["shared_classes"] = shared

        protocol = {"name": "cross-task", "overlap": shared}
        settings = {"data": {"name": "digits", "protocol": protocol}}
        for seed, gain in zip(SEEDS, gains, strict=True):
            test = 0.8 + 0.01 * seed + gain
            study.add(
                method,
                seed,
                test,
                change=change,
                metrics=None,
                settings=settings | ({"method_settings": own} if own else {}),
            )

    for shared in (5, 2, 0):
        add("ce", shared, (0.0, 0.0, 0.0))
        add("refilled", shared, (0.03, 0.04, 0.05), stages="both")
        add("refilled", shared, (0.01 * shared,) * 3, stages="classifier")
    add("kd", 5, (-0.01, -0.02, -0.03))
    return study


def charts(study):
    return overlap_charts(groups_of(load_runs(study.root)))


def test_a_line_has_the_paired_gain_at_each_number_of_shared_classes(family):
    (chart,) = charts(family)
    assert chart.shared == (0, 2, 5)
    assert chart.title == "zoo:digits_small taught by zoo:digits_large on 5 classes of digits"
    lines = {line.label: line for line in chart.lines}
    assert list(lines) == ["refilled (stages=both)", "refilled (stages=classifier)", "kd"]
    for gain in lines["refilled (stages=both)"].gains.values():
        assert gain.mean == pytest.approx(0.04)
        assert gain.half_width == pytest.approx(4.302653 * 0.01 / 3**0.5, rel=1e-5)
    assert [gain.mean for gain in lines["refilled (stages=classifier)"].gains.values()] == pytest.approx(
        [0, 0.02, 0.05]
    )
    assert list(lines["kd"].gains) == [5]


def test_one_number_of_shared_classes_is_no_chart(study):
    study.add("ce", 0, 0.9)
    study.add("kd", 0, 0.95)
    assert charts(study) == []


def test_the_plot_says_all_its_numbers(family):
    (chart,) = charts(family)
    drawn = overlap_plot(chart, 860.0)
    spoken = ElementTree.fromstring(drawn).get("aria-label").replace("\N{NO-BREAK SPACE}", " ")
    assert "refilled (stages=both): +4.0 ± 2.5 with 0, +4.0 ± 2.5 with 2, +4.0 ± 2.5 with 5" in spoken
    assert "kd: −2.0 ± 2.5 with 5" in spoken


def test_the_page_has_it_and_files_of_their_own_are_whole(family, tmp_path):
    page = write_page(family.root, tmp_path / "page.html").read_text()
    assert "Gain by shared classes: zoo:digits_small taught by zoo:digits_large" in page
    paths = write_plots(family.root, tmp_path / "plots")
    assert {path.name for path in paths} >= {"overlap-1.svg", "curves-1.svg"}
    for path in paths:
        root = ElementTree.fromstring(path.read_text())
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert "--c0:" in root.find("{http://www.w3.org/2000/svg}style").text
        assert float(root.get("width")) == 860

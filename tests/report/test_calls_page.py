"""Accuracy against teacher calls, as Markdown and on the page."""

import re

import pytest
import scipy.stats

from tutelage.report import load_runs, markdown_curve, markdown_table, write_page
from tutelage.report.calls import charts_of
from tutelage.report.calls_plot import calls_plot
from tutelage.report.groups import groups_of

KD = {2000: (0.200, 0.220, 0.185), 4000: (0.300, 0.320, 0.281)}
CKD = {2000: (0.222, 0.239, 0.206), 4000: (0.320, 0.341, 0.301)}
CE = {2000: (0.15, 0.16, 0.14), 4000: (0.20, 0.21, 0.19)}


def tables(text):
    """Title → row → column → text."""
    found, blocks = {}, re.findall(r"(?:^\|.*\n?)+", text, re.M)
    for block in blocks:
        rows = [
            [cell.strip() for cell in row.strip("|").split(" | ")] for row in block.replace("\xa0", " ").splitlines()
        ]
        found[rows[0][0].strip()] = {row[0]: dict(zip(rows[0][1:], row[1:], strict=True)) for row in rows[2:]}
    return found


def told(values, sign=""):
    half = scipy.stats.t.ppf(0.975, len(values) - 1) * scipy.stats.sem(values)
    return f"{100 * sum(values) / len(values):{sign}.2f} ± {100 * half:.2f}"


def plot_of(study, width=860.0):
    (chart,) = charts_of(groups_of(load_runs(study.root)))
    return calls_plot(chart, width)


def page_of(study):
    return write_page(study.root, study.root.parent / "report.html").read_text(encoding="utf-8")


def test_the_tables_hold_the_numbers_of_scipy(study):
    study.curve(kd=KD, ckd=CKD, ce=CE)
    found = tables(markdown_curve(study.root))
    last = found["Test accuracy, last epoch (%)"]
    assert list(last) == ["ckd", "kd", "student alone"]
    assert last["ckd"] == {"1,600 calls": told(CKD[2000]), "3,200 calls": told(CKD[4000])}
    assert found["Test accuracy, best epoch (%)"]["kd"]["1,600 calls"] == told([each + 0.002 for each in KD[2000]])
    gains = [a - b for a, b in zip(CKD[2000], KD[2000], strict=True)]
    assert found["Gain over KD (points)"]["ckd"]["1,600 calls"] == told(gains, "+") + " ▲"
    assert "kd" not in found["Gain over KD (points)"]
    assert found["Gain over KD (points)"]["student alone"]["1,600 calls"].endswith(" ▼")
    # by seed: 1600 + 1600 · (0.078 / 0.098, 0.081 / 0.102, 0.075 / 0.095) = 2873.47, 2870.59, 2863.16
    needed = [2873.469, 2870.588, 2863.158]
    half = scipy.stats.t.ppf(0.975, 2) * scipy.stats.sem(needed)
    assert found["Calls needed to equal KD"] == {
        "ckd": {"1,600 calls": "≤ 1,600", "3,200 calls": f"2,869 ± {half:.0f} ▲"}
    }


def test_the_sentence_counts_what_is_called(study):
    study.curve(kd=KD, ckd=CKD, ce=CE)
    text = markdown_curve(study.root)
    assert "Of 4 gains over KD, 2 can be called better and 2 worse." in text
    assert (
        "The calls needed to equal KD are known for every seed in 1 cell: 1 can be called fewer than KD’s and 0 more."
    ) in text


def test_what_is_off_an_end_is_told_as_a_range_and_not_called(study):
    study.curve(
        kd={2000: (0.20, 0.20), 4000: (0.30, 0.30)},
        ckd={2000: (0.21, 0.10), 4000: (0.40, 0.25)},
        rkd={2000: (0.10, 0.11), 4000: (0.12, 0.13)},
        dist={2000: (0.10, 0.20), 4000: (0.30, 0.45)},
    )
    needed = tables(markdown_curve(study.root))["Calls needed to equal KD"]
    # ckd, seed 1: 1600 + 1600 · 0.10 / 0.15 = 2667; seed 0 at 3200: 1600 + 1600 · 0.09 / 0.19 = 2358
    assert needed["ckd"] == {"1,600 calls": "≤ 1,600 to 2,667", "3,200 calls": "2,358 to > 3,200"}
    assert needed["rkd"] == {"1,600 calls": "> 3,200", "3,200 calls": "> 3,200"}
    # dist, seed 0: 2400 and 3200; seed 1: at 1600 already, and 1600 + 1600 · 0.10 / 0.25 = 2240 (mean 2720)
    assert needed["dist"]["1,600 calls"] == "≤ 1,600 to 2,400"
    assert re.fullmatch(r"2,720 ± [\d,]+", needed["dist"]["3,200 calls"])


def test_one_seed_gives_numbers_without_intervals_and_nothing_is_called(study):
    study.curve(kd={2000: (0.20,), 4000: (0.30,)}, ckd={2000: (0.22,), 4000: (0.32,)})
    text = markdown_curve(study.root)
    assert tables(text)["Calls needed to equal KD"]["ckd"]["3,200 calls"] == "2,880"
    assert "No gain over KD can be called" in text
    assert not re.search("[▲▼]", "".join(line for line in text.splitlines() if line.startswith("|")))


def test_cells_of_fewer_seeds_say_so(study):
    study.curve(kd=KD, ckd=CKD | {4000: CKD[4000][:2]})
    text = markdown_curve(study.root)
    assert tables(text)["Test accuracy, last epoch (%)"]["ckd"]["3,200 calls"] == told(CKD[4000][:2]) + " (2)"
    assert "Cells with (n) are of so many seeds, all others of 3." in text


def test_one_size_has_no_calls_needed_and_no_plot(study):
    study.curve(kd={2000: KD[2000]}, ckd={2000: CKD[2000]})
    assert list(tables(markdown_curve(study.root))) == [
        "Test accuracy, last epoch (%)",
        "Gain over KD (points)",
        "Test accuracy, best epoch (%)",
    ]
    assert "Accuracy against teacher calls" not in page_of(study)
    assert plot_of(study) == ""


def test_runs_under_no_such_protocol_give_the_usual_tables(study, typical):
    assert markdown_curve(typical) == markdown_table(typical)
    study.curve(kd=KD)
    study.start("rkd", 0)
    assert "1 run is unfinished and not in the table." in markdown_curve(study.root)


def test_what_kd_is_and_how_a_line_differs_from_it_is_told(study):
    for subset_size, accuracies in KD.items():
        for seed, accuracy in enumerate(accuracies):
            for temperature in (1.0, 4.0):
                settings = study.few(subset_size) | {"method_settings": {"temperature": temperature}}
                study.add("kd", seed, accuracy - temperature / 1000, settings=settings)
            study.add("ckd", seed, accuracy, settings=study.few(subset_size, optimizer={"lr": 0.05}))
    text = markdown_curve(study.root)
    assert "KD is kd (temperature=1): of 2 settings the one with the highest test accuracy" in text
    assert "ckd differs from kd (temperature=1) also in stages.1.optimizer.lr (0.05, not unset)." in text


def test_what_a_short_name_stands_for_is_told(study):
    for k in (2, 3, 4):
        for label_weight in (1.0, 0.0) if k == 3 else (1.0,):
            for subset_size in (2000, 4000):
                settings = study.few(subset_size) | {"method_settings": {"k": k, "label_weight": label_weight}}
                study.add("ckd", 0, 0.2 + k / 100, settings=settings)
    found = tables(markdown_curve(study.root))["Test accuracy, last epoch (%)"]
    assert sorted(found) == ["ckd (k=2)", "ckd (k=3)", "ckd (k=3, label\\_weight=0)", "ckd (k=4)"]
    assert "ckd has label\\_weight=1 where its name says nothing else." in markdown_curve(study.root)
    assert "ckd has label_weight=1 where its name says nothing else." in page_of(study)


def test_the_page_has_the_plot_the_tables_and_a_group_for_each_size(study):
    study.curve(kd=KD, ckd=CKD, ce=CE)
    page = page_of(study)
    titles = re.findall(r"<h2[^>]*>(.*?)</h2>", page)
    assert titles == [
        "Accuracy against teacher calls: zoo:digits_small taught by zoo:digits_large on digits",
        "zoo:digits_small taught by zoo:digits_large on digits: 1,600 teacher calls (a subset of 2,000 images)",
        "zoo:digits_small taught by zoo:digits_large on digits: 3,200 teacher calls (a subset of 4,000 images)",
    ]
    assert "was taught by zoo:digits_large in 2 ways, and trained alone, with 1,600 and 3,200 teacher calls." in page
    assert "subset_size=" not in page
    assert page.count("<h3>Calls needed to equal KD</h3>") == 1
    for table in re.findall(r"<table.*?</table>", page, re.S):
        assert len({len(re.findall(r"<t[hd][ >]", row)) for row in re.findall(r"<tr.*?</tr>", table, re.S)}) == 1


def test_the_plot_names_every_line_and_says_its_numbers(study):
    study.curve(kd=KD, ckd=CKD, ce=CE)
    for width in (860.0, 360.0):
        plot = plot_of(study, width)
        assert all(f"<title>{label}</title>" in plot for label in ("ckd", "kd", "student alone"))
        assert plot.count('class="band') == 3
        assert re.search(r'aria-label="[^"]*ckd 22\.2 with 1,600, 32\.1 with 3,200', plot)
        assert max(float(x) for x in re.findall(r'\bx="([\d.]+)"', plot)) < width


def test_the_numbers_below_the_axis_are_the_sizes_and_do_not_overlap(study):
    study.curve(kd=dict.fromkeys((2000, 2010, 4000, 5990, 6000), (0.2,)))
    below = re.findall(r'<text class="tick middle" x="([\d.]+)"[^>]*>(\d+)<', plot_of(study, 360.0))
    assert [number for _, number in below] == ["1600", "3200", "4800"]


def test_calls_lie_in_proportion_and_a_wide_band_may_leave_the_frame(study):
    study.curve(kd={2000: (0.1, 0.4), 3000: (0.25, 0.26), 6000: (0.3, 0.31)})
    plot = plot_of(study)
    first, second, third = (float(x) for x in re.findall(r'<circle[^>]*cx="([\d.]+)"', plot))
    assert (second - first) / (third - first) == pytest.approx(800 / 3200, abs=0.001)
    heights = [float(y) for y in re.findall(r'<circle[^>]*cy="([\d.]+)"', plot)]
    assert max(heights) - min(heights) > 100


def test_hostile_names_stay_text(study):
    hostile = '"><script>alert(1)</script>'
    for subset_size in (2000, 4000):
        study.add(hostile, 0, 0.2, settings=study.few(subset_size))
        study.add("kd", 0, 0.2, settings=study.few(subset_size))
    assert "<script>alert" not in page_of(study)
    assert "<script" not in markdown_curve(study.root)

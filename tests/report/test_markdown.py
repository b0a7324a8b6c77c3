"""The tables as Markdown."""

import pytest
import scipy.stats

from tutelage.errors import DataError
from tutelage.report import markdown_table


def cells(text):
    """Table of the first group: heading → text, by row."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    table = [[cell.strip().replace(chr(160), " ") for cell in line.strip("|").split(" | ")] for line in lines]
    return {row[0]: dict(zip(table[0], row, strict=True)) for row in table[2:]}


def test_the_numbers_are_those_of_scipy(typical):
    accuracies, alone, kd = (0.9566, 0.9570, 0.9541), (0.9410, 0.9432, 0.9384), (0.9512, 0.9551, 0.9498)

    def told(values, sign=""):
        mean = sum(values) / 3
        half = scipy.stats.t.ppf(0.975, 2) * scipy.stats.sem(values)
        return f"{100 * mean:{sign}.2f} ± {100 * half:.2f}"

    row = cells(markdown_table(typical))["crd"]
    assert row["Test, last epoch (%)"] == told(accuracies)
    assert row["Test, best epoch (%)"] == told([value + 0.002 for value in accuracies])
    assert row["n"] == "3"
    assert row["Spread"] == f"{100 * scipy.stats.tstd(accuracies):.2f}"
    assert row["Over alone"] == told([a - b for a, b in zip(accuracies, alone, strict=True)], "+") + " ▲"
    assert row["Over KD"] == told([a - b for a, b in zip(accuracies, kd, strict=True)], "+")
    assert (row["Parameters"], row["Images/s"], row["Teacher calls"], row["Seconds"]) == (
        "1,234",
        "5,000",
        "43,200",
        "12.3",
    )


def test_the_teacher_comes_first_and_the_best_is_marked(typical):
    table = cells(markdown_table(typical))
    assert list(table) == ["teacher", "**iekd** (best)", "crd", "kd", "rkd", "student alone"]
    assert table["teacher"]["Test, last epoch (%)"] == "98.80"
    assert table["student alone"]["Teacher calls"] == "–"


def test_one_seed_has_no_interval_and_says_so(study):
    study.add("kd", 0, 0.95)
    study.add("ce", 0, 0.94)
    text = markdown_table(study.root)
    row = cells(text)["kd"]
    assert (row["Test, last epoch (%)"], row["Over alone"]) == ("95.00", "+1.00")
    assert "Spread" not in row
    assert "one seed gives no interval" in text


def test_a_row_of_one_seed_among_others_shows_a_dash(study):
    study.add("kd", 0, 0.95)
    study.add("ce", 0, 0.94)
    study.add("ce", 1, 0.942)
    assert cells(markdown_table(study.root))["kd"]["Spread"] == "–"


def test_a_loss_is_marked_as_a_loss(study):
    for seed in range(3):
        study.add("ce", seed, 0.95 + seed / 100)
        study.add("kd", seed, 0.90 + 0.011 * seed)
    text = markdown_table(study.root)
    assert cells(text)["kd"]["Over alone"] == "−4.90 ± 0.25 ▼"
    assert "0 can be called better than the student alone and 1 worse" in text


def test_wide_intervals_get_fewer_decimals(study):
    for seed, accuracy in enumerate((0.90, 0.95, 0.93)):
        study.add("kd", seed, accuracy)
    assert cells(markdown_table(study.root))["kd"]["Test, last epoch (%)"] == "92.7 ± 6.3"


def test_unfinished_runs_are_counted(typical, study):
    assert "1 run is unfinished and not in the table." in markdown_table(typical)
    study.start("kd", 0)
    study.start("kd", 1)
    assert markdown_table(study.root) == "2 runs are unfinished and not in the table.\n"


def test_runs_that_diverged_are_named_since_their_row_is_without_them(study):
    for seed in range(2):
        study.add("kd", seed, 0.95)
    for seed in (2, 3):
        (study.start("kd", seed) / "diverged.json").write_text('{"why": "the loss is nan at step 50"}')
    text = markdown_table(study.root)
    assert "2 runs diverged and are not in the table: runs/003-kd-2 and runs/004-kd-3." in text
    assert "unfinished" not in text


def test_other_settings_than_those_of_the_baseline_are_told(study):
    study.add("ce", 0, 0.94, settings={"epochs": 30})
    study.add("kd", 0, 0.95, settings={"epochs": 60})
    assert "kd differs from the student alone also in epochs (60, not 30)." in markdown_table(study.root)


def test_the_chosen_baseline_is_told(study):
    for temperature in (1.0, 4.0):
        study.add("kd", 0, 0.95, settings={"method_settings": {"temperature": temperature}})
    study.add("crd", 0, 0.97)
    assert "Gains over KD are over kd (temperature=1)" in markdown_table(study.root)


def test_repeats_of_a_seed_are_told(study):
    study.add("kd", 0, 0.95)
    study.add("kd", 0, 0.96)
    assert "kd has 2 runs of 1 seed; the mean of the runs of one seed counts once." in markdown_table(study.root)


def test_each_of_several_teachers_has_its_line(study):
    study.add("kd", 0, 0.95)
    study.add("kd", 1, 0.96, change=lambda result: result["teacher"].update(fingerprint="ffff00001111"))
    assert list(cells(markdown_table(study.root)))[:2] == ["teacher ab12cd34", "teacher ffff0000"]


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "a|b", "*a*", "a\n| b |"])
def test_hostile_names_stay_names(study, name):
    study.add(name, 0, 0.95)
    study.add("kd", 0, 0.94)
    text = markdown_table(study.root)
    assert "<script" not in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 5
    assert len({line.replace("\\|", "").count("|") for line in rows}) == 1


def test_answers_are_shown_beside_calls_where_the_protocol_fixes_them(study):
    study.add("kd", 0, 0.3, settings=study.few(2000), change=lambda r: r["teacher"].update(calls=0))
    study.add("ce", 0, 0.2, settings=study.few(2000))
    row = cells(markdown_table(study.root))["kd"]
    assert (row["Teacher calls"], row["Answers used"]) == ("0", "1,600")
    assert cells(markdown_table(study.root))["student alone"]["Answers used"] == "–"


def test_a_plan_leaves_open_how_many_answers_were_used(study):
    teacher = {"weights": "t", "answers": {"plan": "random", "budget": 100}}
    study.add("kd", 0, 0.3, settings=study.few(2000) | {"teacher": teacher})
    assert "Answers used" not in cells(markdown_table(study.root))["kd"]


def test_cost_and_unanswered_samples_are_shown_where_there_are_any(study):
    study.add("kd", 0, 0.3, change=lambda r: r["teacher"].update(cost=2.5, skipped=70))
    study.add("rkd", 0, 0.2, change=lambda r: r["teacher"].update(cost=0.0))
    found = cells(markdown_table(study.root))
    assert (found["kd"]["Cost"], found["kd"]["Without answer"]) == ("2.50", "70")
    assert (found["rkd"]["Cost"], found["rkd"]["Without answer"]) == ("–", "–")


def test_a_run_whose_answers_were_all_kept_cost_nothing_and_says_so(study):
    teacher = {"weights": "t", "answers": {"price_per_call": 0.01}}
    study.add("kd", 0, 0.3, settings={"teacher": teacher}, change=lambda r: r["teacher"].update(cost=0.0))
    assert cells(markdown_table(study.root))["kd"]["Cost"] == "0"


def judge(old=None, ncm=None):
    """Adds the figures of an incremental step, and of a stage that nearest class means judge."""

    def change(result):
        if old is not None:
            scores = {"epoch": 30, "old": old, "new": 0.5, "all": 0.6, "harmonic": 2 * old * 0.5 / (old + 0.5)}
            result["incremental"] = {"last": scores, "best": scores}
        best = {"epoch": 1, "validation": 0.9 if ncm is None else ncm}
        result["stages"] = [{"name": "first", "judge": "accuracy" if ncm is None else "ncm", "best": best}]

    return change


def test_an_incremental_step_has_old_and_new_classes_and_their_harmonic_mean(study):
    for seed, old in enumerate((0.7, 0.72)):
        study.add("kd", seed, 0.6, change=judge(old=old))
    study.add("ce", 0, 0.5)
    table = cells(markdown_table(study.root))
    half = scipy.stats.t.ppf(0.975, 1) * scipy.stats.sem((70, 72))
    assert table["kd"]["Old classes (%)"] == f"71.00 ± {half:.2f}"
    assert table["kd"]["New classes (%)"] == "50.00 ± 0.00"
    assert table["kd"]["Harmonic mean (%)"].startswith("58.6")
    assert table["student alone"]["Old classes (%)"] == "–"
    assert "NCM of the embedding (%)" not in table["kd"]


def test_the_nearest_class_means_are_those_of_the_stage_that_they_judge(study):
    study.add("refilled", 0, 0.6, change=judge(ncm=0.25))
    study.add("kd", 0, 0.5, change=judge())
    table = cells(markdown_table(study.root))
    assert [table[name]["NCM of the embedding (%)"] for name in ("refilled", "kd")] == ["25.00", "–"]


def test_a_row_of_which_some_runs_lack_a_figure_does_not_show_it(study):
    study.add("kd", 0, 0.6, change=judge(old=0.7))
    study.add("kd", 1, 0.6)
    assert "Old classes (%)" not in markdown_table(study.root)


def test_stages_that_are_no_list_are_told(study):
    study.add("kd", 0, 0.6, change=lambda result: result.update(stages={"first": 1}))
    with pytest.raises(DataError, match="expected a list of objects at stages, found"):
        markdown_table(study.root)


@pytest.mark.parametrize(
    ("shared", "told"),
    [(4, "on digits, 4 of which the teacher knows**"), (0, "none of which the teacher knows**"), (10, "on digits**")],
)
def test_the_title_says_how_many_classes_the_teacher_knows(study, shared, told):
    study.add("refilled", 0, 0.6, change=lambda result: result["teacher"].update(shared_classes=shared))
    assert markdown_table(study.root).split("\n")[0].endswith(told)


def test_rows_whose_student_saw_more_images_have_their_epochs_told(study):
    def staged(result):
        first = {"name": "auto", "trains": "method", "epochs": 7}
        result["stages"] = [first, *({"name": n, "trains": "student", "epochs": 30} for n in ("embedding", "student"))]

    study.add("refilled", 0, 0.6, change=staged)
    study.add("kd", 0, 0.5)
    text = markdown_table(study.root)
    assert [cells(text)[name]["Epochs"] for name in ("refilled", "kd")] == ["60", "30"]
    assert "rows with more of them saw more images" in text


def test_epochs_that_all_rows_have_are_not_told(typical):
    assert "Epochs" not in markdown_table(typical)

"""What is compared with what."""

import pytest

from tutelage.report import load_runs
from tutelage.report.calls import charts_of
from tutelage.report.calls_table import calls_notes
from tutelage.report.findings import summary, unnamed
from tutelage.report.groups import groups_of


def groups(study):
    return groups_of(load_runs(study.root))


def row(group, label):
    return next(each for each in group.rows if each.label == label)


def other_student(result):
    result["student"]["model"] = "zoo:tiny"


def other_weights(result):
    result["teacher"]["fingerprint"] = "ffff00001111"


def test_runs_are_grouped_by_data_teacher_and_student(study):
    study.add("kd", 0, 0.95)
    study.add("kd", 0, 0.91, change=other_student)
    study.add("kd", 0, 0.70, change=lambda result: result.update(data="cifar100"))
    study.add("kd", 0, 0.93, change=lambda result: result["teacher"].update(model="zoo:other"))
    found = {(group.data, group.teacher, group.student) for group in groups(study)}
    assert found == {
        ("digits", "zoo:digits_large", "zoo:digits_small"),
        ("digits", "zoo:digits_large", "zoo:tiny"),
        ("cifar100", "zoo:digits_large", "zoo:digits_small"),
        ("digits", "zoo:other", "zoo:digits_small"),
    }


def test_the_student_alone_stands_in_every_group_of_its_model(study):
    study.add("ce", 0, 0.94)
    study.add("kd", 0, 0.95)
    study.add("kd", 0, 0.93, change=lambda result: result["teacher"].update(model="zoo:other"))
    study.add("kd", 0, 0.91, change=other_student)
    found = {(group.teacher, group.student): [each.label for each in group.rows] for group in groups(study)}
    assert found == {
        ("zoo:digits_large", "zoo:digits_small"): ["kd", "student alone"],
        ("zoo:other", "zoo:digits_small"): ["student alone", "kd"],
        ("zoo:digits_large", "zoo:tiny"): ["kd"],
    }


class TestWithoutTeacher:
    """A method that needs none: its runs stand beside all others of the same student, as labels alone do."""

    def test_it_stands_in_every_group_of_its_student(self, study):
        study.add_free("tf_kd", 0, 0.955)
        study.add("ce", 0, 0.94)
        study.add("kd", 0, 0.95)
        study.add("kd", 0, 0.93, change=lambda result: result["teacher"].update(model="zoo:other"))
        study.add("kd", 0, 0.91, change=other_student)
        found = {(group.teacher, group.student): [each.label for each in group.rows] for group in groups(study)}
        assert found == {
            ("zoo:digits_large", "zoo:digits_small"): ["tf_kd", "kd", "student alone"],
            ("zoo:other", "zoo:digits_small"): ["tf_kd", "student alone", "kd"],
            ("zoo:digits_large", "zoo:tiny"): ["kd"],
        }

    def test_it_is_compared_with_labels_alone_and_with_kd_and_differs_in_the_method_only(self, study):
        for seed in (0, 1):
            study.add_free("tf_kd", seed, 0.955)
            study.add("ce", seed, 0.94)
            study.add("kd", seed, 0.95)
        (group,) = groups(study)
        free = row(group, "tf_kd")
        assert (free.alone, free.taught, row(group, "kd").taught) == (False, False, True)
        for method, gain in (("ce", 0.015), ("kd", 0.005)):
            other = group.baseline(free, method)
            assert free.gain_over(other).mean == pytest.approx(gain)
            assert free.differs_from(other) == []
        assert {teacher.model for teacher in group.teachers} == {"zoo:digits_large"}

    def test_without_any_teacher_they_are_one_group(self, study):
        study.add_free("tf_kd", 0, 0.95)
        study.add_free("label_smoothing", 0, 0.96)
        study.add("ce", 0, 0.94)
        (group,) = groups(study)
        assert (group.teacher, [each.label for each in group.rows]) == (
            "",
            ["label_smoothing", "tf_kd", "network alone"],
        )

    def test_one_that_works_with_a_teacher_and_without_has_two_rows_that_say_so(self, study):
        study.add("ickd", 0, 0.97, settings={"teacher": {"model": "zoo:digits_large", "gives": "probabilities"}})
        study.add_free("ickd", 0, 0.96, source="student")
        (group,) = groups(study)
        assert [each.label for each in group.rows] == ["ickd", "ickd without teacher"]
        study.add_free("ickd", 0, 0.95, source="peer")
        assert not unnamed(groups(study)[0].rows)  # of three rows, two have no teacher, and say so
        study.add_free("ickd", 0, 0.94, source="student", k=3)
        (note,) = unnamed(groups(study)[0].rows)
        assert note == "ickd without teacher has k=unset, source=student where its name says nothing else."

    def test_the_page_says_in_how_many_ways_each(self, study):
        for number, method in enumerate(("kd", "rkd")):
            study.add(method, 0, 0.95 + number / 100)
        for method in ("tf_kd", "cs_kd"):
            study.add_free(method, 0, 0.9)
        study.add("ce", 0, 0.8)
        runs = load_runs(study.root)
        assert summary(runs, groups_of(runs)).endswith(
            "was taught by zoo:digits_large in 2 ways, and trained without a teacher in 2 ways and alone."
        )

    def test_the_page_says_once_what_was_done_with_several_sets_of_classes(self, study):
        for task in ("digits (5 of 10 classes; aa)", "digits (5 of 10 classes; bb)"):
            study.add("kd", 0, 0.95, change=lambda result, task=task: result.update(task=task))
        runs = load_runs(study.root)
        assert len(groups_of(runs)) == 2
        assert summary(runs, groups_of(runs)).count("was taught by") == 1

    def test_among_few_calls_it_asks_nothing(self, study):
        study.curve(kd={2000: [0.2], 4000: [0.3]})
        for size, accuracy in ((2000, 0.25), (4000, 0.35)):
            study.add_free("tf_kd", 0, accuracy, settings=study.few(size))
        (chart,) = charts_of(groups(study))
        free = next(line for line in chart.lines if line.method == "tf_kd")
        assert chart.gain(free, 1600).mean == pytest.approx(0.05)
        assert chart.needed(free, 3200) == {}
        assert any(note.startswith("A student without a teacher asks nothing") for note in calls_notes(chart))


def test_a_network_that_nobody_taught_has_its_own_group_at_the_end(study):
    study.add("ce", 0, 0.988, change=lambda result: result["student"].update(model="zoo:a_teacher"))
    study.add("kd", 0, 0.95)
    last = groups(study)[-1]
    assert (last.teacher, last.student, last.rows[0].label) == ("", "zoo:a_teacher", "network alone")


def test_rows_are_sorted_by_their_mean(typical):
    (group,) = groups_of(load_runs(typical))
    assert [each.label for each in group.rows] == ["iekd", "crd", "kd", "rkd", "student alone"]


def test_gains_are_paired_by_seed(study):
    for seed, accuracy in ((0, 0.90), (1, 0.95)):
        study.add("ce", seed, accuracy)
    for seed, accuracy in ((1, 0.96), (0, 0.91), (5, 0.50)):
        study.add("kd", seed, accuracy)
    (group,) = groups(study)
    kd = row(group, "kd")
    gain = kd.gain_over(group.baseline(kd, "ce"))
    assert (gain.mean, gain.count) == (pytest.approx(0.01), 2)
    assert kd.last.count == 3


def test_runs_of_other_settings_are_not_averaged(study):
    for temperature in (1.0, 4.0):
        study.add("kd", 0, 0.9 + temperature / 100, settings={"method_settings": {"temperature": temperature}})
    (group,) = groups(study)
    assert [(each.label, each.last.count) for each in group.rows] == [
        ("kd (temperature=4)", 1),
        ("kd (temperature=1)", 1),
    ]


def test_two_runs_of_one_seed_count_once(study):
    for seed, accuracy in ((0, 0.90), (0, 0.92), (1, 0.95)):
        study.add("kd", seed, accuracy)
    (group,) = groups(study)
    assert group.rows[0].by_seed() == pytest.approx({0: 0.91, 1: 0.95})
    assert (group.rows[0].last.count, group.rows[0].last.mean) == (2, pytest.approx(0.93))


def test_a_teacher_for_each_seed_is_one_group(study):
    study.add("kd", 0, 0.95)
    study.add("kd", 1, 0.96, change=other_weights)
    (group,) = groups(study)
    assert [teacher.fingerprint[:4] for teacher in group.teachers] == ["ab12", "ffff"]


def test_two_teachers_for_one_seed_are_two_groups(study):
    study.add("kd", 0, 0.95)
    study.add("kd", 0, 0.96, change=other_weights)
    assert [group.teacher for group in groups(study)] == ["zoo:digits_large (ab12cd34)", "zoo:digits_large (ffff0000)"]


def test_a_row_is_compared_with_the_baseline_of_the_nearest_settings(study):
    for epochs in (30, 60):
        study.add("ce", 0, 0.90 + epochs / 1000, settings={"epochs": epochs})
        study.add("kd", 0, 0.92 + epochs / 1000, settings={"epochs": epochs})
    (group,) = groups(study)
    for epochs in (30, 60):
        kd = row(group, f"kd (epochs={epochs})")
        assert group.baseline(kd, "ce").label == f"student alone (epochs={epochs})"
        assert kd.differs_from(group.baseline(kd, "ce")) == []


def test_of_equally_near_baselines_the_strongest_is_taken(study):
    for temperature, accuracy in ((1.0, 0.96), (4.0, 0.95)):
        study.add("kd", 0, accuracy, settings={"method_settings": {"temperature": temperature}})
    study.add("crd", 0, 0.97)
    (group,) = groups(study)
    assert group.baseline(row(group, "crd"), "kd").label == "kd (temperature=1)"


def test_the_best_row_must_beat_every_other_row(typical, study):
    (group,) = groups_of(load_runs(typical))
    assert group.winner.label == "iekd"
    for seed, (kd, crd) in enumerate([(0.95, 0.96), (0.96, 0.955), (0.955, 0.96)]):
        study.add("kd", seed, kd)
        study.add("crd", seed, crd)
        study.add("ce", seed, 0.90 + seed / 1000)
    (group,) = groups(study)
    assert group.winner is None
    assert [rival.label for rival, _ in group.rivals] == ["kd"]


def test_one_seed_makes_no_best(study):
    study.add("kd", 0, 0.95)
    study.add("ce", 0, 0.50)
    assert groups(study)[0].winner is None


def test_a_single_row_is_not_the_best_of_anything(study):
    for seed in range(3):
        study.add("kd", seed, 0.95 + seed / 100)
    assert groups(study)[0].winner is None


def test_each_number_of_calls_is_a_group_with_the_student_alone_of_its_images(study):
    for subset_size, accuracy in ((4000, 0.3), (2000, 0.2), (10000, 0.5)):
        for method in ("kd", "ce"):
            study.add(method, 0, accuracy, settings=study.few(subset_size))
    study.add("kd", 0, 0.95)
    found = [(group.protocol and group.protocol.calls, [each.label for each in group.rows]) for group in groups(study)]
    both = ["kd", "student alone"]
    assert found == [(None, ["kd"]), (1600, both), (3200, both), (8000, both)]


def test_a_setting_that_only_one_has_counts_as_a_difference(study):
    study.add("ce", 0, 0.2, settings={"stages": [{"epochs": 3}]})
    study.add("kd", 0, 0.2, settings={"stages": [{"epochs": 3, "mix": {"kind": "mixup", "alpha": 1.0}}]})
    (group,) = groups(study)
    assert row(group, "kd").differs_from(row(group, "student alone")) == ["stages.1.mix.kind"]


def test_a_stage_that_one_lacks_is_no_difference_but_its_method_s(study):
    study.add("ce", 0, 0.2, settings={"stages": [{"epochs": 3}]})
    study.add("kd", 0, 0.2, settings={"stages": [{"epochs": 3}, {"epochs": 4}]})
    (group,) = groups(study)
    assert row(group, "kd").differs_from(row(group, "student alone")) == []


def test_a_run_without_its_configuration_differs_in_nothing_that_is_known(study):
    (study.add("ce", 0, 0.2) / "config.json").unlink()
    study.add("kd", 0, 0.2)
    (group,) = groups(study)
    assert row(group, "kd").differs_from(row(group, "student alone")) == []

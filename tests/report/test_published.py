"""Published numbers stand beside a row only where all that its settings say is the recipe of the source."""

import json

import pytest

from tutelage.engine import TeacherConfig, to_json
from tutelage.methods import METHODS as OURS
from tutelage.recipes import Variant, compare_runs, paired_up, recipe_for
from tutelage.report import load_runs, markdown_table, write_page
from tutelage.report.exports import comma_separated, latex
from tutelage.report.groups import groups_of
from tutelage.report.published import METHODS, PAIRS, published, published_notes, published_teacher
from tutelage.report.settings import settings


def config_of(method, student="wrn_16_2", seed=0):
    """What `tutelage compare --recipe crd` writes for one run."""
    pair = paired_up([TeacherConfig(weights="teacher.safetensors")], [f"zoo:{student}"])
    runs = compare_runs(recipe_for("cifar100", "crd"), pair, [Variant.parse(method)], seeds=range(seed, seed + 1))
    return to_json(next(iter(runs.values())))


def add(study, method, test=0.74, *, teacher="wrn_40_2", student="wrn_16_2", seed=0, change=None):
    config = config_of(method, student, seed)
    if change is not None:
        change(config)

    def told(result):
        result.update(data="cifar100", student={"model": f"zoo:{student}", "parameters": 9, "num_classes": 100})
        if result["teacher"]:
            result["teacher"]["model"] = f"zoo:{teacher}"

    folder = study.add(method, seed, test, change=told)
    (folder / "config.json").write_text(json.dumps(config))


def group_of(study):
    (group,) = groups_of(load_runs(study.root))
    return group


def shown(study):
    group = group_of(study)
    return {row.method: published(row, group) for row in group.rows}


@pytest.mark.parametrize("method", METHODS)
def test_our_defaults_are_the_settings_of_the_source(study, method):
    add(study, "kd")
    add(study, method, seed=1)
    assert shown(study)[method] == round(PAIRS["wrn_40_2", "wrn_16_2"][1 + list(METHODS).index(method)] / 100, 4)


def test_its_methods_are_ours_and_it_has_a_number_for_each():
    assert set(METHODS) - {"ce"} <= set(OURS)
    assert {len(row) for row in PAIRS.values()} == {1 + len(METHODS)}


@pytest.mark.parametrize(
    ("pair", "method", "number"),
    [
        (("wrn_40_2", "wrn_16_2"), "ce", 0.7326),
        (("resnet56", "resnet20"), "kd", 0.7066),
        (("resnet110", "resnet32"), "sp", 0.7269),
        (("vgg13", "vgg8"), "pkt", 0.7288),
        (("resnet32x4", "resnet8x4"), "crd", 0.7551),
    ],
)
def test_numbers_of_the_source(study, pair, method, number):
    teacher, student = pair
    add(study, "kd", teacher=teacher, student=student)
    add(study, method, teacher=teacher, student=student, seed=1)
    assert shown(study)[method] == pytest.approx(number)


def test_the_small_networks_of_other_families_have_a_rate_of_their_own(study):
    def slower(config):
        config["stages"][0]["optimizer"]["lr"] = 0.01

    add(study, "kd", teacher="vgg13", student="mobilenetv2")
    assert shown(study) == {"kd": None}
    add(study, "kd", teacher="vgg13", student="mobilenetv2", change=slower)
    assert {published(row, group_of(study)) for row in group_of(study).rows} == {None, 0.6737}


def stage(section, key, value):
    return lambda config: config["stages"][0][section].update({key: value})


@pytest.mark.parametrize(
    "change",
    [
        stage("optimizer", "lr", 0.1),
        stage("optimizer", "nesterov", True),
        stage("optimizer", "clip", 1.0),
        stage("optimizer", "weight_decay", 1e-4),
        stage("schedule", "milestones", [0.5, 0.75]),
        stage("schedule", "name", "onecycle"),
        lambda config: config["stages"][0].update(epochs=20),
        lambda config: config["stages"][0].update(mix={"kind": "cutmix", "alpha": 1.0}),
        lambda config: config["data"].update(batch_size=128),
        lambda config: config["data"].update(protocol={"name": "standard", "train_size": 10000}),
        lambda config: config["student"].update(pretrained=True),
        lambda config: config["method"].update(temperature=2.0),
        lambda config: config["teacher"]["answers"].update(budget=1600),
        lambda config: config["teacher"]["answers"].update(view="once"),
    ],
)
def test_another_recipe_has_no_published_number(study, change):
    add(study, "kd", change=change)
    assert shown(study) == {"kd": None}
    assert published_teacher(group_of(study)) is None
    assert published_notes(group_of(study)) == []


@pytest.mark.parametrize(("teacher", "student"), [("resnet56", "wrn_16_2"), ("wrn_40_2", "resnet20")])
def test_another_pair_has_no_published_number(study, teacher, student):
    add(study, "kd", teacher=teacher, student=student)
    assert shown(study) == {"kd": None}


def test_methods_that_only_share_their_name_are_left_out(study):
    for method in ("cc", "vid"):
        add(study, method)
    assert shown(study) == {"cc": None, "vid": None}


def test_some_of_the_classes_are_other_data(study):
    add(study, "kd")
    group = group_of(study)
    other = type(group)(data="cifar100 (50 classes)", teacher=group.teacher, student=group.student, rows=group.rows)
    assert published(group.rows[0], other) is None


def test_what_does_not_change_the_numbers_does_not_hide_them(study):
    def elsewhere(config):
        config["data"]["workers"] = 4
        config["teacher"]["answers"]["cache"] = "on"
        config["engine"].update(precision="bf16", compile=True)

    add(study, "kd", change=elsewhere)
    assert shown(study) == {"kd": 0.7492}


def test_every_form_of_the_table_shows_them_and_says_whose_they_are(study, tmp_path):
    for method in ("ce", "kd"):
        add(study, method)
    add(study, "dkd")
    assert settings(config_of("dkd"))["data.validation"] == "0.1"
    text = markdown_table(study.root)
    assert "Published (%)" in text
    assert "| teacher | 98.80 | 75.61 |" in text
    assert "RepDistiller (github.com/HobbitLong/RepDistiller, commit b84f547)" in text
    assert "ours hold out 10 % of the training images" in text
    page = write_page(study.root, tmp_path / "report.html").read_text(encoding="utf-8")
    assert '<td class="published " data-value="0.7492">74.92</td>' in page
    assert '<td class="published ">–</td>' in page  # DKD is not in that source
    runs = load_runs(study.root)
    assert ",0.7492," in comma_separated(runs)
    assert r"Published (\%)" in latex(runs)


def test_a_table_without_them_has_no_such_column(typical):
    assert "Published" not in markdown_table(typical)

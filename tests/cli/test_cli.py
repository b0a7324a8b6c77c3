"""The command line does what its help says."""

import json
import re
from pathlib import Path

import pytest

import tutelage
from tutelage.cli import COMMANDS, main
from tutelage.cli.look import CATALOGUE
from tutelage.methods import METHODS, is_taught
from tutelage.models import ZOO, load_network
from tutelage.recipes import RECIPES

SOURCES = sorted(Path(tutelage.__file__).parent.rglob("*.py"))
QUICK = ["--epochs", "1", "--validation", "0.52"]


class TestHelp:
    @pytest.mark.parametrize("args", [(), ("--help",), ("-h",)])
    def test_it_names_every_command(self, said, args):
        text = said(*args)
        assert all(f"tutelage {name} " in text for name in COMMANDS)

    def test_the_version_is_that_of_the_package(self, said):
        assert said("--version") == f"tutelage {tutelage.__version__}\n"

    @pytest.mark.parametrize("name", COMMANDS)
    def test_every_command_explains_itself(self, said, name):
        assert f"usage: tutelage {name}" in said(name, "--help", code=0)

    @pytest.mark.parametrize("name", METHODS)
    def test_the_help_of_distill_shows_the_settings_of_the_chosen_method_only(self, said, name):
        text = said("distill", "--method", name, "--help", code=0)
        shown = {found.replace("-", "_") for found in re.findall(r"--([\w-]+)\.[\w-]+", text)}
        assert shown & METHODS.keys() == {name}

    def test_the_help_shows_the_defaults_that_apply(self, said):
        assert "training set. (default: 240)" in said("teach", "cifar100", "--recipe", "crd", "--help", code=0)
        assert "training set. (default: 40)" in said("teach", "digits", "--help", code=0)

    @pytest.mark.parametrize("flag", ["--student ", "--student.taps", "--teacher.taps", "--optimizer.lr", "--out"])
    def test_flags_that_messages_mention_exist(self, said, flag):
        assert flag in said("distill", "--help", code=0)

    def test_every_command_that_the_sources_mention_exists(self):
        found = {name for path in SOURCES for name in re.findall(r"`tutelage ([a-z-]+)", path.read_text())}
        assert found <= set(COMMANDS)
        assert len(found) > 3

    def test_every_list_that_the_sources_mention_exists(self):
        found = {name for path in SOURCES for name in re.findall(r"`tutelage list ([a-z]+)", path.read_text())}
        assert found <= set(CATALOGUE)
        assert len(found) > 2


class TestList:
    def test_methods(self, said):
        text = said("list", "methods")
        assert all(re.search(rf"│ {name} +│", text) for name in METHODS)
        assert "zoo:" not in text

    def test_methods_that_learn_without_a_teacher_say_so(self, said):
        lines = [line for line in said("list", "methods").splitlines() if "no teacher" in line]
        free = {name for name, make in METHODS.items() if not is_taught(make())}
        assert {line.split()[1] for line in lines} == free > {"dml", "label_smoothing"}

    def test_models_with_their_weights(self, said):
        text = said("list", "models")
        assert all(f"zoo:{name} " in text for name in ZOO)
        assert re.search(r"zoo:resnet20 +│ 278,324", text)

    def test_recipes(self, said):
        text = said("list", "recipes")
        assert all(re.search(rf"│ {name} +│", text) for name in RECIPES)

    def test_data(self, said):
        assert "folder:PATH" in said("list", "data")

    def test_all(self, said):
        assert all(title in said("list") for title in CATALOGUE)


@pytest.mark.slow
class TestTraining:
    def test_teach_then_distill_then_evaluate_then_report(self, said, tmp_path):
        text = said("teach", "digits", "--model", "zoo:digits_large", "--epochs", "3", "--out", tmp_path / "t")
        assert re.match(rf"{tmp_path}/t: test accuracy [\d.]+% after 3 epochs \(", text)
        text = said("distill", "--teacher", tmp_path / "t", "--seed", "2", *QUICK, "--kd.temperature", "2.5")
        assert text.startswith("runs/digits-kd-digits_small-seed2: test accuracy ")
        run = tmp_path / "runs/digits-kd-digits_small-seed2"
        config = json.loads((run / "config.json").read_text())
        assert config["stages"][0]["method"]["temperature"] == config["method"]["temperature"] == 2.5
        assert (config["seed"], config["data"]["validation"], config["stages"][0]["epochs"]) == (2, 0.52, 1)

        facts = json.loads(said("evaluate", run))
        assert facts["accuracy"] == json.loads((run / "result.json").read_text())["accuracy"]["last"]["test"]
        assert json.loads(said("evaluate", run / "best.safetensors", "--split", "validation"))["images"] == 135

        text = said("report", tmp_path, "--out", tmp_path / "page.html", "--title", "Mine", "--table")
        assert "Mine" in (tmp_path / "page.html").read_text()
        assert "kd" in text

    def test_a_method_that_needs_no_teacher_is_given_none(self, said, teacher_run):
        said("distill", "--method", "tf_kd", *QUICK, "--out", "a")
        result, config = (json.loads(Path("a", name).read_text()) for name in ("result.json", "config.json"))
        assert (result["method"], result["teacher"], config["teacher"]) == ("tf_kd", None, None)
        said("distill", "a/config.json", "--out", "b")
        assert load_network(Path("a")).fingerprint() == load_network(Path("b")).fingerprint()
        said("distill", "--teacher", teacher_run, *QUICK, "--out", "c")
        said("distill", "c/config.json", "--method", "tf_kd", "--out", "d")
        assert json.loads(Path("d/config.json").read_text()) == config

    def test_a_run_is_repeated_from_its_config_bit_for_bit(self, said, tmp_path, teacher_run):
        said("distill", "--teacher", teacher_run, *QUICK, "--method", "rkd", "--rkd.angle", "10", "--out", "a")
        said("distill", "a/config.json", "--out", "b")
        assert load_network(Path("a")).fingerprint() == load_network(Path("b")).fingerprint()
        ours, theirs = (json.loads(Path(name, "config.json").read_text()) for name in "ab")
        assert ours == theirs
        assert ours["method"] == {"name": "rkd", "distance": 25.0, "angle": 10.0} | {
            key: ours["method"][key] for key in ("delta", "role", "task_weight")
        }

    @pytest.mark.parametrize("order", [("a/config.json", "--out", "b"), ("--out", "b", "a/config.json")])
    def test_a_config_gives_the_defaults_wherever_it_stands_and_flags_change_them(self, said, order):
        said("teach", *QUICK, "--out", "a", "--optimizer.lr", "0.07", "--schedule.name", "cosine")
        said("teach", *order, "--seed", "5")
        config = json.loads(Path("b/config.json").read_text())
        assert config["seed"] == 5
        assert config["stages"][0]["optimizer"]["lr"] == 0.07
        assert config["stages"][0]["schedule"]["name"] == "cosine"

    def test_taps_reach_student_and_teacher(self, said, teacher_run):
        flags = ["--method", "fitnet", "--fitnet.role", "hint", "--student.taps", "hint=stage1"]
        said("distill", "--teacher", teacher_run, *QUICK, *flags, "--teacher.taps", "hint=stage2", "--out", "a")
        config = json.loads(Path("a/config.json").read_text())
        assert config["student"]["taps"] == {"hint": "stage1"}
        assert config["teacher"]["taps"] == {"hint": "stage2"}

    def test_teach_keeps_the_taps_of_the_model_in_its_card(self, said):
        said("teach", *QUICK, "--model.taps", "early=stage1", "--out", "a")
        assert load_network(Path("a")).card.taps == {"early": "stage1"}


class TestErrors:
    @pytest.mark.parametrize(
        ("args", "message"),
        [
            (("distil",), f"unknown command 'distil'; the nearest of {len(COMMANDS)}: distill"),
            (("distill",), "a teacher is needed: --teacher RUN"),
            (("distill", "--method", "ickd"), "a teacher is needed: --teacher RUN"),
            (
                ("distill", "--method", "tf_kd", "--teacher", "t"),
                "tf_kd learns without a teacher, as it is set: leave out",
            ),
            (("distill", "--method", "tf_kd", "--teacher.budget=9"), "set: leave out --teacher.budget=9"),
            (("distill", "--method", "ickd", "--ickd.source", "student", "--teacher", "t"), "leave out --teacher"),
            (("distill", "--method", "kdd"), "unknown method 'kdd'"),
            (("teach", "--recipe", "crdd"), "unknown recipe 'crdd'"),
            (("teach", "--model.taps", "embedding"), "ROLE=PATH"),
            (("resume", "nowhere"), "no run at nowhere"),
            (("list", "method"), f"unknown list 'method'; the nearest of {len(CATALOGUE) + 1}: methods"),
        ],
    )
    def test_a_mistake_is_one_line_and_exit_code_2(self, said, args, message):
        text = said(*args, code=2)
        assert text.startswith("tutelage: ")
        assert message in text
        assert text.count("\n") == 1

    def test_debug_shows_where_it_came_from(self):
        with pytest.raises(tutelage.errors.UnknownNameError):
            main(["--debug", "distil"])

"""A teacher of other classes on the command line: the user's own case, the protocols, and what is refused."""

import json

import numpy as np
import pytest
from PIL import Image

from tutelage.data import open_dataset
from tutelage.models import load_network

QUICK = ["--epochs", "1", "--batch-size", "16", "--engine.precision", "32", "--engine.accelerator", "cpu"]
NAMES = {5: "five", 6: "six", 7: "pickup truck", 8: "eight"}


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A folder of images of classes that the teacher was not taught, and of one whose name it spells otherwise."""
    root = tmp_path_factory.mktemp("own")
    store = open_dataset("digits").train
    for label, name in NAMES.items():
        (root / name).mkdir()
        for number in (store.labels == label).nonzero()[:25, 0].tolist():
            pixels = np.asarray(store.images[number, :, :, 0])
            Image.fromarray(pixels).save(root / name / f"{number}.png")
    return root


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """A stored network of five classes that its card numbers, and the list of their names."""
    from tutelage.cli import main

    root = tmp_path_factory.mktemp("teacher")
    words = [
        "teach",
        "digits",
        "--data.classes",
        "0,1,2,3,7",
        "--epochs",
        "4",
        "--validation",
        "0.3",
        "--out",
        root / "t",
    ]
    main(list(map(str, words)))
    (root / "names.txt").write_text("zero\none\ntwo\nthree\npickup_truck\n")
    (root / "names.json").write_text(json.dumps(["zero", "one", "two", "three", "six"]))
    (root / "map.json").write_text(json.dumps({"7": "pickup truck", "3": "eight"}))
    return root


def test_a_users_own_images_of_other_classes_and_a_checkpoint_with_a_class_list(said, images, teacher, tmp_path):
    said(
        *("distill", f"folder:{images}", "--teacher", teacher / "t", "--teacher.classes", teacher / "names.txt"),
        *("--method", "rkd", "--student", "zoo:digits_small", "--out", tmp_path / "run", "--validation", "0.2", *QUICK),
    )
    assert load_network(tmp_path / "run").card.classes == ("eight", "five", "pickup truck", "six")
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["teacher"]["shared_classes"] == 0
    assert result["teacher"]["accuracy"] == {}


def test_names_that_differ_by_spelling_are_pointed_out_and_a_map_makes_them_meet(said, images, teacher, tmp_path):
    words = [
        "distill",
        f"folder:{images}",
        "--teacher",
        teacher / "t",
        "--student",
        "zoo:digits_small",
        "--method",
        "kd",
    ]
    words += ["--validation", "0.2", *QUICK]
    error = said(*words, "--teacher.classes", teacher / "names.txt", code=2)
    assert "share 0; 'pickup truck' is 'pickup_truck' there, perhaps: say so in a class map" in error
    said(*words, "--teacher.classes", teacher / "map.json", "--shared-only", "--out", tmp_path / "run")
    assert json.loads((tmp_path / "run" / "result.json").read_text())["teacher"]["shared_classes"] == 2


@pytest.mark.parametrize("flag", ["--overlap", "--cross-task.overlap"])
def test_the_protocol_cross_task_derives_the_classes_from_the_teacher(said, teacher, tmp_path, flag):
    said(
        *("distill", "--teacher", teacher / "t", "--protocol", "cross-task", flag, "2", "--method", "rkd"),
        *("--validation", "0.5", "--out", tmp_path / "run", *QUICK),
    )
    assert load_network(tmp_path / "run").card.classes == ("3", "7", "4", "5", "6")
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["data"]["protocol"]["validation"] == 0.5


def test_the_protocol_incremental_judges_old_and_new(said, teacher, tmp_path):
    said(
        *("distill", "--teacher", teacher / "t", "--protocol", "incremental", "--num-new", "2", "--shared-only"),
        *("--method", "kd", "--out", tmp_path / "run", *QUICK),
    )
    assert load_network(tmp_path / "run").card.classes == ("0", "1", "2", "3", "7", "4", "5")
    assert set(json.loads((tmp_path / "run" / "result.json").read_text())["incremental"]["last"]) == {
        *("epoch", "old", "new", "all", "harmonic")
    }


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--teacher.classes", "{root}/nothing.txt"], "cannot read the class list"),
        (["--teacher.classes", "{root}/short.txt"], "list has 2 names ('a', 'b'), and the teacher has 5 classes"),
        (["--teacher.classes", "{root}/twice.txt"], "more than once: ['a']"),
        (["--data.classes", "0,cow"], "1 of the 2 classes that were asked for are not in the data: 'cow'"),
        (["--data.classes", "5:11"], "the positions 5:11 are not among the 10 classes"),
        (
            ["--data.classes", "4,5", "--shared-only"],
            "at least two, and the student's 2 and the teacher's 5 classes share none",
        ),
        (["--protocol", "cross-task", "--overlap", "6"], "overlap of 6 classes is wanted, and the teacher has 5"),
        (["--protocol", "incremental", "--num-new", "6"], "6 new classes are wanted, and the data has 5"),
    ],
)
def test_classes_that_cannot_be_are_told_in_one_line_and_leave_nothing_behind(said, teacher, tmp_path, words, message):
    (teacher / "short.txt").write_text("a\nb\n")
    (teacher / "twice.txt").write_text("a\na\nb\nc\nd\n")
    words = [word.format(root=teacher) for word in words]
    error = said("distill", "--teacher", teacher / "t", "--out", tmp_path / "run", *words, *QUICK, code=2)
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()

"""`tutelage fewshot` prints a table, keeps its figures, and refuses what cannot be measured in one line."""

import json

import pytest
import torch

from tutelage.data import open_dataset
from tutelage.models import ModelCard, build_network, save_network

FEW = ("--ways", 3, "--queries", 5, "--episodes", 4, "--engine.accelerator", "cpu")


@pytest.fixture
def network(tmp_path):
    digits = open_dataset("digits")
    torch.manual_seed(0)
    card = ModelCard(
        model="zoo:digits_small", classes=digits.labels.names[:6], image=(1, 8, 8), mean=digits.mean, std=digits.std
    )
    save_network(build_network(card), tmp_path / "run/student.safetensors")
    return tmp_path / "run"


def test_a_table_and_a_file(said, network, tmp_path):
    told = said("fewshot", "digits", "--network", network, "--shots", 1, 3, "--classes", "5:10", *FEW)
    title, _, head, _, first, *_ = told.splitlines()
    assert title.startswith("**digits, 5 classes, test images: 4 episodes of 3 ways")
    assert head == "| | 1 shot | 3 shots |"
    found = json.loads((network / "fewshot.json").read_text())
    cells = [f"{100 * row['accuracy']:.2f} ± {100 * row['half_width']:.2f}" for row in found["results"][:2]]
    assert first == f"| zoo:digits_small: nearest class mean (cosine) | {' | '.join(cells)} |"
    assert "The network was trained on 1 of the 5 classes: they are not new to it." in told
    assert told.endswith(f"{network}/fewshot.json\n")


def test_the_classes_of_a_file_and_another_folder(said, network, tmp_path):
    split = tmp_path / "split.json"
    split.write_text(json.dumps({"train": ["0", "1"], "test": ["9", "7", "6"]}))
    out = tmp_path / "elsewhere"
    said("fewshot", "digits", "--network", network, "--classes", f"{split}:test", "--out", out, *FEW)
    assert json.loads((out / "fewshot.json").read_text())["classes"] == ["9", "7", "6"]
    assert not (network / "fewshot.json").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--shots", "60"), "60 shots and 5 queries needs 65 images of a class"),
        (("--classifiers", "refilled"), "refilled learns from a teacher"),
        (("--classifiers", "knn"), "unknown classifier 'knn'"),
        (("--classes", "8:11"), "the positions 8:11 are not among the 10 classes"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(said, network, words, message):
    told = said("fewshot", "digits", "--network", network, *FEW, *words, code=2)
    assert told.startswith("tutelage: ")
    assert message in told
    assert told.count("\n") == 1
    assert not (network / "fewshot.json").exists()

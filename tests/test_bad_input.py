"""A new user who makes mistakes: each is found before training, told in one line, and leaves nothing behind."""

import errno
import importlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tutelage import __version__, rundir
from tutelage.cli import main
from tutelage.engine import sinks
from tutelage.models import ModelCard, build_network, save_network

DIGITS = tuple(map(str, range(10)))
NO_SPACE = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
SHORT = ("--engine.log-every", "5", "--engine.save-every", "3600")


@dataclass(frozen=True)
class Told:
    """What the user sees."""

    code: int
    stderr: str

    @property
    def message(self) -> str:
        """The one line that says what is wrong."""
        lines = [line for line in self.stderr.splitlines() if line.startswith("tutelage: ")]
        assert len(lines) == 1, self.stderr
        assert self.stderr.endswith(lines[0] + "\n"), self.stderr
        assert "Traceback" not in self.stderr
        return lines[0]


Say = Callable[..., Told]


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Say:
    def speak(*words: object) -> Told:
        capsys.readouterr()
        code: Any = 0
        try:
            main([str(word) for word in words])
        except SystemExit as stopped:
            code = stopped.code
        return Told(code, capsys.readouterr().err)

    return speak


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A place with a trained teacher, its own cache, and a module of the user's own."""
    root = tmp_path_factory.mktemp("world")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUTELAGE_CACHE", str(root / "cache"))
        patch.delenv("TUTELAGE_DATA", raising=False)
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.syspath_prepend(str(root))
        patch.setattr("os.fsync", lambda _: None)  # nobody cuts the power, and the disk is slow
        (root / "users_own.py").write_text(USERS_OWN)
        (root / "users_slip.py").write_text("1 / 0\n")
        (root / "users_typo.py").write_text("def f(:\n")
        importlib.invalidate_caches()
        main(["teach", "digits", "--epochs", "3", "--out", str(root / "teacher")])
        yield root
    for name in ("users_own", "users_slip", "users_typo"):
        sys.modules.pop(name, None)


USERS_OWN = """
from torch import nn

def fails(num_classes): return {}["missing"]
def number(num_classes): return 3
def seven(num_classes): return nn.Sequential(nn.Flatten(), nn.Linear(64, 7))
def large(num_classes): return nn.Sequential(nn.Flatten(), nn.Linear(65, num_classes))
def frozen(num_classes): return nn.Sequential(nn.Flatten(), nn.Linear(64, num_classes)).requires_grad_(False)
def no_classes(): return nn.Linear(1, 1)

class Wordy(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(2, 2)
    def forward(self, x): return {"logits": x}

class Raises(Wordy):
    def forward(self, x): raise KeyError("my key")

def wordy(num_classes): return Wordy()
def raises(num_classes): return Raises()
"""


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def images(root: Path, *classes: str, side: int = 8, channels: int = 1, count: int = 3) -> Path:
    from PIL import Image

    for kind in classes:
        (root / kind).mkdir(parents=True)
        for number in range(count):
            shape = (side, side, 3)[: 2 if channels == 1 else 3]
            pixels = np.random.default_rng(number).integers(0, 256, shape, np.uint8)
            Image.fromarray(pixels).save(root / kind / f"{number}.png")
    return root


def copied(world: Path, to: Path, **card: Any) -> Path:
    """The teacher's weights and card in another folder, with some fields of the card replaced."""
    to.mkdir(parents=True)
    (to / "student.safetensors").write_bytes((world / "teacher/student.safetensors").read_bytes())
    fields = json.loads((world / "teacher/student.json").read_text())
    (to / "student.json").write_text(json.dumps(fields | card))
    return to


def untrained(to: Path, classes: tuple[str, ...] = DIGITS, channels: int = 1) -> Path:
    torch.manual_seed(0)
    card = ModelCard(
        model="zoo:digits_small",
        classes=classes,
        image=(channels, 8, 8),
        mean=(0.5,) * channels,
        std=(0.5,) * channels,
    )
    save_network(build_network(card), to / "student.safetensors")
    return to


def refused(say: Say, out: Path, *words: object, needles: tuple[str, ...]) -> None:
    """One line with every needle, exit code 2, and no output directory."""
    told = say(*words, "--out", out)
    assert told.code == 2
    for needle in needles:
        assert needle in told.message
    assert not out.exists()


# Settings: (words, what the message must hold)
SETTINGS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "data set": (("digts",), ("unknown data set 'digts'", "digits")),
    "data without a name": (("folder:",), ("unknown data set 'folder:'", "folder:PATH")),
    "one column": (("hf:a:b",), ("name both columns or none", "hf:a:b")),
    "size": (("digits", "--size", "9"), ("8 pixels", "9 were asked for", "leave size out")),
    "recipe": (("digits", "--recipe", "shortt"), ("unknown recipe 'shortt'", "nearest of", "short")),
    "zoo": (("digits", "--model", "zoo:resnt20"), ("'resnt20'", "resnet20", "zoo:NAME")),
    "no model": (("digits", "--model", ""), ("unknown zoo network ''",)),
    "scheme": (("digits", "--model", "zo:resnet20"), ("unknown model scheme 'zo'", "zoo")),
    "pretrained zoo": (("digits", "--pretrained"), ("cannot be pretrained",)),
    "tap path": (("digits", "--model.taps", "x=stagee.2"), ("'stagee.2'", "nearest of", "stage2.1.2")),
    "tap form": (("digits", "--model.taps", "stage2"), ("ROLE=PATH", "'stage2'")),
    "tap side": (("digits", "--model.taps", "x=fc:on"), ("'path:in'", "'fc:on'")),
    "no module": (("digits", "--model", "python:nope.mod:f"), ("'nope.mod'", "PYTHONPATH")),
    "relative module": (("digits", "--model", "python:.x:f"), ("'.x'", "cannot be imported")),
    "no factory": (("digits", "--model", "python:users_own"), ("python:MODULE:FACTORY",)),
    "other factory": (("digits", "--model", "python:users_own:sevn"), ("'sevn'", "seven")),
    "module that fails": (("digits", "--model", "python:users_slip:f"), ("ZeroDivisionError", "--debug")),
    "module with a typo": (("digits", "--model", "python:users_typo:f"), ("SyntaxError", "users_typo")),
    "factory that fails": (("digits", "--model", "python:users_own:fails"), ("num_classes=10", "KeyError: 'missing'")),
    "factory of a number": (("digits", "--model", "python:users_own:number"), ("torch.nn.Module", "got int")),
    "factory without classes": (("digits", "--model", "python:users_own:no_classes"), ("raised TypeError",)),
    "other head": (("digits", "--model", "python:users_own:seven"), ("(n, 10)", "(2, 7)")),
    "other image": (("digits", "--model", "python:users_own:large"), ("does not accept", "(1, 8, 8)", "65x10")),
    "dict of logits": (("digits", "--model", "python:users_own:wordy"), ("must return logits", "dict")),
    "forward that fails": (("digits", "--model", "python:users_own:raises"), ("KeyError: 'my key'",)),
    "frozen model": (("digits", "--model", "python:users_own:frozen"), ("no weights that could be trained",)),
    "no epochs": (("digits", "--epochs", "0"), ("at least one epoch", "got 0")),
    "negative epochs": (("digits", "--epochs", "-1"), ("at least one epoch", "got -1")),
    "no batch": (("digits", "--batch-size", "0"), ("batch_size must be positive", "got 0")),
    "large batch": (("digits", "--batch-size", "5000"), ("5000", "1213 samples", "at most 1213")),
    "no validation": (("digits", "--validation", "0"), ("between 0 and 1", "0.0")),
    "all validation": (("digits", "--validation", "1"), ("between 0 and 1", "1.0")),
    "hardly any validation": (("digits", "--validation", "0.0001"), ("none of the 1348", "0.0001", "raise it")),
    "nearly all validation": (("digits", "--validation", "0.9999"), ("10 samples", "at most 10")),
    "no divisor": (("digits", "--images-per-class", "7"), ("images_per_class must divide", "64", "got 7")),
    "no images a class": (("digits", "--images-per-class", "0"), ("images_per_class must divide", "got 0")),
    "few classes": (("digits", "--images-per-class", "2"), ("32 classes", "has 10")),
    "few images": (("digits", "--images-per-class", "640", "--batch-size", "640"), ("640", "use fewer")),
    "negative seed": (("digits", "--seed", "-1"), ("seed", "got -1")),
    "large seed": (("digits", "--seed", str(2**70)), ("seed", str(2**70))),
    "workers": (("digits", "--workers", "-1"), ("workers must be at least 0", "got -1")),
    "accelerator": (("digits", "--engine.accelerator", "cudda"), ("'cudda'", "cuda", "cpu")),
    "tpu": (("digits", "--engine.accelerator", "tpu"), ("'tpu'", "torch_xla")),
}


@pytest.mark.parametrize("case", SETTINGS)
def test_a_wrong_setting_is_told_in_one_line_before_the_run_begins(
    case: str, say: Say, world: Path, tmp_path: Path
) -> None:
    words, needles = SETTINGS[case]
    refused(say, tmp_path / "out", "teach", *words, needles=needles)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_cuda_on_a_machine_without_it_is_refused_with_what_there_is(say: Say, world: Path, tmp_path: Path) -> None:
    words = ("teach", "digits", "--engine.accelerator", "cuda")
    refused(say, tmp_path / "out", *words, needles=("cannot compute on 'cuda'", "cpu"))


BOXED: dict[str, tuple[tuple[str, ...], str]] = {
    "negative rate": (("teach", "digits", "--optimizer.lr", "-1"), "lr must be positive, got -1.0"),
    "infinite rate": (("teach", "digits", "--optimizer.lr", "inf"), "lr must be positive and finite, got inf"),
    "momentum": (("teach", "digits", "--optimizer.momentum", "2"), "below 1, got 2.0"),
    "gamma": (("teach", "digits", "--schedule.gamma", "-3"), "gamma must be at least 0, got -3.0"),
    "floor": (("teach", "digits", "--schedule.floor", "-2"), "floor must be at least 0, got -2.0"),
    "precision": (("teach", "digits", "--engine.precision", "fp16"), "'fp16'"),
    "sink": (("teach", "digits", "--engine.sinks", "tensorbord"), "'tensorbord'"),
    "devices": (("teach", "digits", "--engine.devices", "0"), "devices must be positive, got 0"),
    "flag": (("teach", "digits", "--epochss", "3"), "Perhaps you meant"),
    "method of teach": (("teach", "digits", "--method", "kd"), "--method, kd"),
    "whole number": (("teach", "digits", "--epochs", "1.5"), "--epochs INT"),
    "temperature": (("distill", "digits", "--teacher", "x", "--kd.temperature", "0"), "temperature must be positive"),
    "weight": (("distill", "digits", "--teacher", "x", "--kd.weight", "inf"), "weight must be finite, got inf"),
    "other method": (("distill", "digits", "--teacher", "x", "--rkd.delta", "3"), "--rkd.delta"),
    "split": (("evaluate", "x", "--split", "tst"), "'tst'"),
    "missing": (("resume",), "required"),
}


@pytest.mark.parametrize("case", BOXED)
def test_a_flag_that_cannot_be_read_is_explained_in_a_box(
    case: str, say: Say, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    words, needle = BOXED[case]
    told = say(*words)
    assert told.code == 2
    assert needle in told.stderr
    assert "Traceback" not in told.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "needles"),
    [
        (("tech",), ("unknown command 'tech'", "teach")),
        (("list", "method"), ("unknown list 'method'", "methods")),
        (("distill", "digits", "--method", "kdd"), ("unknown method 'kdd'", "kd", "tutelage list methods")),
        (("distill", "digits", "--method", "kd"), ("--teacher RUN", "tutelage teach")),
        (("distill", "nowhere/config.json"), ("nowhere/config.json", "missing")),
        (("demo", "--seeds", "0"), ("at least one seed", "got 0")),
    ],
)
def test_a_command_that_cannot_be_carried_out_makes_nothing(
    words: tuple[str, ...], needles: tuple[str, ...], say: Say, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    told = say(*words)
    assert told.code == 2
    assert all(needle in told.message for needle in needles)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("spec", "module", "extra"),
    [("timm:resnet18", "timm", "timm"), ("hf:google/vit", "transformers", "hf")],
)
def test_a_missing_extra_is_told_with_its_install_command(
    spec: str, module: str, extra: str, say: Say, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    refused(say, tmp_path / "out", "teach", "digits", "--model", spec, needles=(f"pip install 'tutelage[{extra}]'",))


@pytest.mark.parametrize(("sink", "module"), [("tensorboard", "torch.utils.tensorboard"), ("wandb", "wandb")])
def test_a_sink_without_its_extra_is_refused_before_the_run_begins(
    sink: str, module: str, say: Say, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    words = ("teach", "digits", "--engine.sinks", sink)
    refused(say, tmp_path / "out", *words, needles=(f"pip install 'tutelage[{sink}]'",))


def test_every_sink_that_can_be_chosen_can_be_checked() -> None:
    from typing import get_args, get_type_hints

    from tutelage.engine import EngineConfig

    kind = get_type_hints(EngineConfig)["sinks"]
    names = get_args(get_args(kind)[0])
    assert names
    with pytest.MonkeyPatch.context() as patch:
        asked: list[str] = []
        patch.setattr(sinks.importlib, "import_module", asked.append)
        sinks.check_sinks(names)
    assert len(asked) == len(names)


# Images
def test_a_missing_folder_is_named(say: Say, world: Path, tmp_path: Path) -> None:
    refused(say, tmp_path / "out", "teach", "folder:not/here", needles=("no folder not/here", "check the path"))


def test_an_empty_folder_is_refused_with_what_belongs_there(say: Say, world: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    needles = (str(tmp_path / "empty"), "no images", "into a folder of their own")
    refused(say, tmp_path / "out", "teach", f"folder:{tmp_path / 'empty'}", needles=needles)


def test_a_single_class_is_refused(say: Say, world: Path, tmp_path: Path) -> None:
    root = images(tmp_path / "one", "cat")
    refused(say, tmp_path / "out", "teach", f"folder:{root}", needles=("at least two classes", "'cat'"))


def test_a_class_without_images_is_named(say: Say, world: Path, tmp_path: Path) -> None:
    root = images(tmp_path / "hole", "cat", "dog")
    (root / "eel").mkdir()
    refused(say, tmp_path / "out", "teach", f"folder:{root}", needles=("have no images: eel", "fill them"))


@pytest.mark.parametrize("damage", ["nonsense", "cut"])
def test_an_image_that_cannot_be_read_is_named_and_nothing_is_cached(
    damage: str, say: Say, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from PIL import Image

    monkeypatch.setenv("TUTELAGE_CACHE", str(tmp_path / "cache"))
    root = images(tmp_path / "photos", "cat", "dog", side=80, channels=3)
    bad = root / "cat" / "bad.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 90, 3), np.uint8)).save(bad)
    bad.write_bytes(b"nonsense" if damage == "nonsense" else bad.read_bytes()[: bad.stat().st_size // 2])
    words = ("teach", f"folder:{root}", "--model", "zoo:resnet8", "--size", "32")
    refused(say, tmp_path / "out", *words, needles=("cannot read the image", str(bad), "replace it or remove it"))
    assert not files(tmp_path / "cache")


@pytest.mark.parametrize("file", ["train.images.npy", "test.labels.npy", "meta.json"])
def test_a_damaged_cache_is_told_with_the_folder_to_delete(
    file: str, say: Say, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    monkeypatch.setenv("TUTELAGE_CACHE", str(tmp_path / "cache"))
    shutil.copytree(world / "cache", tmp_path / "cache")
    (store,) = (tmp_path / "cache").glob("digits-*")
    (store / file).write_bytes((store / file).read_bytes()[:-5] + b"{{{{{")
    before = files(tmp_path / "cache")
    refused(say, tmp_path / "out", "teach", "digits", needles=(str(store), "damaged", "delete that folder"))
    assert files(tmp_path / "cache") == before


def test_a_full_disk_while_decoding_is_told_with_both_sizes(
    say: Say, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(number: int) -> None:
        raise NO_SPACE

    monkeypatch.setenv("TUTELAGE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("tutelage.data.writing.os.fsync", full)
    refused(say, tmp_path / "out", "teach", "digits", needles=("no space left", "115,008 bytes", "TUTELAGE_CACHE"))
    assert not files(tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


# Teachers
def distil(say: Say, tmp_path: Path, teacher: Path, *words: object, needles: tuple[str, ...]) -> None:
    refused(say, tmp_path / "out", "distill", "digits", "--teacher", teacher, *words, needles=needles)


@pytest.mark.parametrize("method", ["kd", "dkd"])
def test_a_teacher_of_fewer_classes_is_refused_with_the_counts(
    method: str, say: Say, world: Path, tmp_path: Path
) -> None:
    teacher = untrained(tmp_path / "five", DIGITS[:5])
    needles = (method, "teacher has 5 classes", "student 10", "share 5", "features only")
    distil(say, tmp_path, teacher, "--method", method, needles=needles)


@pytest.mark.parametrize("method", ["rkd", "fitnet"])
def test_a_method_that_reads_features_takes_a_teacher_of_other_classes(
    method: str, say: Say, world: Path, tmp_path: Path
) -> None:
    teacher = untrained(tmp_path / "five", DIGITS[:5])
    words = ("--method", method, "--epochs", "1", "--out", tmp_path / "out")
    assert say("distill", "digits", "--teacher", teacher, *words).code == 0
    assert json.loads((tmp_path / "out/result.json").read_text())["teacher"]["num_classes"] == 5


def test_a_teacher_of_the_same_classes_in_another_order_is_refused(say: Say, world: Path, tmp_path: Path) -> None:
    teacher = copied(world, tmp_path / "teacher", classes=DIGITS[::-1])
    distil(say, tmp_path, teacher, needles=("in another order)",))


def test_a_missing_teacher_is_named(say: Say, world: Path, tmp_path: Path) -> None:
    distil(say, tmp_path, tmp_path / "nope", needles=(f"no network at {tmp_path / 'nope'}", "run directory"))


def test_a_teacher_without_its_card_is_refused(say: Say, world: Path, tmp_path: Path) -> None:
    teacher = copied(world, tmp_path / "teacher")
    (teacher / "student.json").unlink()
    distil(say, tmp_path, teacher, needles=(str(teacher / "student.json"), "missing", "both files"))


@pytest.mark.parametrize("content", [b"{", b"[]", b"{}", b"\xff\xfe", b""])
def test_a_card_that_is_no_card_is_refused(content: bytes, say: Say, world: Path, tmp_path: Path) -> None:
    teacher = copied(world, tmp_path / "teacher")
    (teacher / "student.json").write_bytes(content)
    distil(say, tmp_path, teacher, needles=(str(teacher / "student.json"), "card"))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model", 3),
        ("classes", []),
        ("classes", 3),
        ("classes", list(range(10))),
        ("image", []),
        ("image", ["a", "b", "c"]),
        ("image", [0, 8, 8]),
        ("mean", [0.1, 0.2]),
        ("std", [0]),
        ("std", ["x"]),
        ("taps", ["x"]),
        ("taps", {"x": 3}),
        ("training", 3),
        ("nonsense", 3),
    ],
)
def test_a_card_with_a_damaged_field_is_refused(
    field: str, value: object, say: Say, world: Path, tmp_path: Path
) -> None:
    teacher = copied(world, tmp_path / "teacher", **{field: value})
    distil(say, tmp_path, teacher, needles=(str(teacher / "student.json"), "damaged"))


def test_weights_of_another_model_are_refused_with_the_first_difference(say: Say, world: Path, tmp_path: Path) -> None:
    teacher = copied(world, tmp_path / "teacher", model="zoo:digits_large")
    distil(say, tmp_path, teacher, needles=("do not fit zoo:digits_large", "'fc.weight'", "(10, 64)", "(10, 32)"))


@pytest.mark.parametrize("keep", [0, 5, 500, -100])
def test_truncated_weights_are_refused(keep: int, say: Say, world: Path, tmp_path: Path) -> None:
    weights = copied(world, tmp_path / "teacher") / "student.safetensors"
    weights.write_bytes(weights.read_bytes()[:keep])
    distil(say, tmp_path, weights, needles=(str(weights), "damaged"))


def test_a_teacher_of_colour_images_is_refused_on_grey_ones(say: Say, world: Path, tmp_path: Path) -> None:
    teacher = untrained(tmp_path / "colour", channels=3)
    distil(say, tmp_path, teacher, needles=("3 channels", "digits has 1"))


def test_a_teacher_no_better_than_chance_is_refused_with_both_accuracies(say: Say, world: Path, tmp_path: Path) -> None:
    teacher = untrained(tmp_path / "random")
    distil(say, tmp_path, teacher, needles=("10.4%", "chance is 10.4%", "--allow-bad-teacher"))


def test_a_teacher_no_better_than_chance_is_taken_on_request(say: Say, world: Path, tmp_path: Path) -> None:
    teacher = untrained(tmp_path / "random")
    words = ("--allow-bad-teacher", "--epochs", "1", "--out", tmp_path / "out")
    assert say("distill", "digits", "--teacher", teacher, *words).code == 0


def test_a_tap_role_that_nobody_has_is_refused_with_the_nearest(say: Say, world: Path, tmp_path: Path) -> None:
    words = ("--method", "fitnet", "--fitnet.role", "stage9")
    distil(say, tmp_path, world / "teacher", *words, needles=("'stage9'", "stage2", "--student.taps stage9=PATH"))


def test_a_tap_role_that_the_teacher_lacks_is_refused(say: Say, world: Path, tmp_path: Path) -> None:
    words = ("--method", "fitnet", "--fitnet.role", "mine", "--student.taps", "mine=stage2")
    distil(say, tmp_path, world / "teacher", *words, needles=("tap of the teacher 'mine'", "--teacher.taps mine=PATH"))


def test_a_tap_path_that_does_not_exist_is_refused_with_the_five_nearest(say: Say, world: Path, tmp_path: Path) -> None:
    words = ("--teacher.taps", "stage2=stagee.2")
    distil(say, tmp_path, world / "teacher", *words, needles=("'stagee.2'", "stage2, stage2.1.2, stage2.0.2"))


def test_a_teacher_that_may_see_no_images_is_refused(say: Say, world: Path, tmp_path: Path) -> None:
    words = ("--teacher.batch-size", "0")
    distil(say, tmp_path, world / "teacher", *words, needles=("batch size must be at least 1", "got 0"))


# Run directories
def test_a_run_that_exists_is_not_touched(say: Say, world: Path) -> None:
    before = files(world / "teacher")
    told = say("teach", "digits", "--out", world / "teacher")
    assert told.code == 2
    assert f"tutelage resume {world / 'teacher'}" in told.message
    assert files(world / "teacher") == before


def test_a_directory_of_other_things_is_not_touched(say: Say, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    told = say("teach", "digits", "--out", tmp_path)
    assert told.code == 2
    assert "is not empty and holds no run" in told.message
    assert files(tmp_path) == {"notes.txt": b"mine"}


@pytest.mark.parametrize("below", ["", "run"])
def test_a_file_in_the_place_of_the_output_is_not_touched(below: str, say: Say, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    told = say("teach", "digits", "--out", tmp_path / "file" / below)
    assert told.code == 2
    assert "is a file: choose another --out" in told.message
    assert files(tmp_path) == {"file": b"mine"}


def test_a_read_only_place_is_refused_before_anything_is_read(
    say: Say, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rundir.os, "access", lambda *_: False)  # root may write everywhere, so no chmod
    needles = (f"{tmp_path} is not writable", "choose another --out")
    refused(say, tmp_path / "out", "teach", "no such data", needles=needles)


def test_a_disk_that_becomes_read_only_is_told_and_no_directory_is_left(
    say: Say, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fails(monkeypatch, "config.json", OSError(errno.EROFS, os.strerror(errno.EROFS)))
    needles = ("cannot write", "config.json", "Read-only file system")
    refused(say, tmp_path / "out", "teach", "digits", needles=needles)


def test_there_is_nothing_to_resume_where_nothing_was_begun(say: Say, tmp_path: Path) -> None:
    assert "there is no such directory" in say("resume", tmp_path / "nope").message
    assert "holds no config.json" in say("resume", tmp_path).message
    assert not list(tmp_path.iterdir())


def test_a_finished_run_is_not_resumed(say: Say, world: Path) -> None:
    before = files(world / "teacher")
    told = say("resume", world / "teacher")
    assert told.code == 2
    assert "is finished" in told.message
    assert files(world / "teacher") == before


def stop_after_two_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C when the second line of metrics is written."""
    write, lines = sinks.MetricsLog.write, []

    def counted(log: sinks.MetricsLog, record: Any) -> None:
        write(log, record)
        lines.append(record)
        if len(lines) == 2:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(sinks.MetricsLog, "write", counted)


@pytest.fixture(scope="module")
def stopped(world: Path) -> Path:
    """A run that was stopped by Ctrl-C after a few steps."""
    words = ["teach", "digits", "--epochs", "3", "--out", str(world / "stopped"), *SHORT]
    with pytest.MonkeyPatch.context() as patch:
        stop_after_two_lines(patch)
        with pytest.raises(SystemExit, match="130"):
            main(words)
    return world / "stopped"


def test_ctrl_c_saves_says_how_to_go_on_and_exits_with_130(
    say: Say, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        stop_after_two_lines(patch)
        told = say("teach", "digits", "--epochs", "3", "--out", tmp_path / "out", *SHORT)
    assert told.code == 130
    assert f"everything is saved: go on with `tutelage resume {tmp_path / 'out'}`" in told.message
    assert say("resume", tmp_path / "out").code == 0
    # It was the teacher's own run, cut in two.
    assert (tmp_path / "out/student.safetensors").read_bytes() == (world / "teacher/student.safetensors").read_bytes()


def edited(run: Path, to: Path, edit: Callable[[dict[str, Any]], object]) -> Path:
    import shutil

    shutil.copytree(run, to)
    content = json.loads((to / "config.json").read_text())
    edit(content)
    (to / "config.json").write_text(json.dumps(content))
    return to


def not_resumed(say: Say, run: Path, *needles: str) -> None:
    before = files(run)
    told = say("resume", run)
    assert told.code == 2
    for needle in needles:
        assert needle in told.message
    assert files(run) == before


@pytest.mark.parametrize(
    ("edit", "needles"),
    [
        (lambda c: c.update(nonsense=3), ("extra fields found (nonsense)",)),
        (lambda c: c["data"].update(nonsense=3), ("extra fields found (nonsense)", "data")),
        (lambda c: c.update(format="other"), ("tutelage-run/1", "'other'")),
        (lambda c: c.update(seed="x"), ("expected int", "seed")),
        (lambda c: c.update(stages=3), ("stages",)),
        (lambda c: c.update(stages=[]), ("at least one stage",)),
        (lambda c: c["stages"][0].update(epochs=0), ("at least one epoch, got 0", "stages[0]")),
        (lambda c: c["stages"][0].update(method={"name": "kdd"}), ("unknown method 'kdd'", "stages[0].method")),
        (lambda c: c["stages"][0].update(method=3), ("unknown method '3'",)),
        (lambda c: c["stages"][0].update(method={"name": "kd", "heat": 1}), ("extra fields found (heat)",)),
        (lambda c: c["stages"][0].update(method={"name": "kd", "temperature": 0}), ("must be positive, got 0",)),
        (lambda c: c["engine"].update(precision="8"), ("precision", "bf16")),
        (lambda c: c["student"].update(model="zoo:digits_large"), ("state.ckpt", "cannot be resumed")),
        (lambda c: c["data"].update(name="folder:gone"), ("no folder gone",)),
    ],
)
def test_a_run_whose_config_was_spoilt_is_not_resumed(
    edit: Callable[[dict[str, Any]], object], needles: tuple[str, ...], say: Say, stopped: Path, tmp_path: Path
) -> None:
    not_resumed(say, edited(stopped, tmp_path / "run", edit), *needles)


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff\xfe", b""])
def test_a_run_whose_config_is_no_json_object_is_not_resumed(
    content: bytes, say: Say, stopped: Path, tmp_path: Path
) -> None:
    run = edited(stopped, tmp_path / "run", lambda _: None)
    (run / "config.json").write_bytes(content)
    not_resumed(say, run, str(run / "config.json"), "damaged")


@pytest.mark.parametrize("keep", [0, 11, 2000, -200])
def test_a_run_whose_checkpoint_is_cut_is_not_resumed(keep: int, say: Say, stopped: Path, tmp_path: Path) -> None:
    run = edited(stopped, tmp_path / "run", lambda _: None)
    (run / "state.ckpt").write_bytes((run / "state.ckpt").read_bytes()[:keep])
    not_resumed(say, run, str(run / "state.ckpt"), "damaged", "cut off", "new directory")


@pytest.mark.parametrize(
    ("content", "needle"),
    [({"position": {"stage": "a"}}, "damaged"), ({}, "damaged"), ({"position": {"stage": 7}}, "no such stage")],
)
def test_a_run_with_the_checkpoint_of_something_else_is_not_resumed(
    content: dict[str, Any], needle: str, say: Say, stopped: Path, tmp_path: Path
) -> None:
    run = edited(stopped, tmp_path / "run", lambda _: None)
    torch.save(content, run / "state.ckpt")
    not_resumed(say, run, needle)


def fails(monkeypatch: pytest.MonkeyPatch, name: str, error: OSError) -> None:
    """Every write of the file ``name`` writes a part of it and fails."""

    def failing(real: Callable[..., Any]) -> Callable[..., Any]:
        def write(path: Path, content: Any) -> Any:
            if path.name.startswith(name):
                real(path, content[: len(content) // 2])
                raise error
            return real(path, content)

        return write

    monkeypatch.setattr(Path, "write_text", failing(Path.write_text))
    monkeypatch.setattr(Path, "write_bytes", failing(Path.write_bytes))


@pytest.mark.parametrize("name", ["best.safetensors", "best.json", "student.safetensors", "result.json"])
def test_a_full_disk_loses_nothing_and_the_resumed_run_is_the_same(
    name: str, say: Say, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        fails(patch, name, NO_SPACE)
        told = say("teach", "digits", "--epochs", "3", "--out", out)
    assert told.code == 2
    for needle in ("no space left", str(out / name), "MiB free", "resume"):
        assert needle in told.message
    assert not list(out.glob("*.part"))
    assert not (out / "result.json").exists()
    assert say("resume", out).code == 0
    assert (out / "student.safetensors").read_bytes() == (world / "teacher/student.safetensors").read_bytes()


@pytest.mark.parametrize("hidden", [False, True])
def test_a_full_disk_keeps_the_checkpoint_before(
    hidden: bool, say: Say, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, save, states = tmp_path / "out", torch.save, []

    def full(content: Any, file: Any) -> None:
        if states:
            file.write(b"PK half of it")
            try:
                raise NO_SPACE
            except OSError:
                if hidden:  # as torch does, which ends its archive all the same
                    raise RuntimeError("[enforce fail at inline_container.cc:672]")  # noqa: B904
                raise
        save(content, file)
        file.flush()
        states.append(Path(file.name).read_bytes())

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", full)
        told = say("teach", "digits", "--epochs", "3", "--engine.save-every", "0", "--out", out)
    assert told.code == 2
    assert f"no space left to write {out / 'state.ckpt'}" in told.message
    assert (out / "state.ckpt").read_bytes() == states[0]
    assert not list(out.glob("*.part"))
    assert say("resume", out).code == 0
    assert (out / "student.safetensors").read_bytes() == (world / "teacher/student.safetensors").read_bytes()


def test_an_error_of_torch_that_is_not_the_disks_is_not_blamed_on_it(tmp_path: Path) -> None:
    def write() -> None:
        with rundir.saving(tmp_path / "a") as scratch:
            scratch.write_text("half")
            raise RuntimeError("not the disk")

    with pytest.raises(RuntimeError, match="not the disk"):
        write()
    assert not list(tmp_path.iterdir())


def test_a_full_disk_under_the_metrics_is_told_and_the_run_can_go_on(
    say: Say, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full:
        def __init__(self, file: Any) -> None:
            self._file, self.name = file, file.name

        def write(self, text: str) -> None:
            self._file.write(text[:9])

        def flush(self) -> None:
            raise NO_SPACE

        def close(self) -> None:
            if not self._file.closed:  # what is left is written once more, in vain
                self._file.close()
                raise NO_SPACE

        def tell(self) -> int:
            return int(self._file.tell())

    init = sinks.MetricsLog.__init__

    def made(log: Any, *args: Any, **kwargs: Any) -> None:
        init(log, *args, **kwargs)
        log._file = Full(log._file)

    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(sinks.MetricsLog, "__init__", made)
        told = say("teach", "digits", "--epochs", "3", "--out", out)
    assert told.code == 2
    assert f"no space left to write {out / 'metrics.jsonl'}" in told.message
    assert say("resume", out).code == 0
    assert all(json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines())


def test_weights_that_are_no_longer_numbers_end_the_run(say: Say, world: Path, tmp_path: Path) -> None:
    # 1e30 overflows in the second step, which is not one of those whose loss is read.
    words = ("--optimizer.lr", "1e30", "--epochs", "1", "--schedule.name", "constant", "--schedule.warmup", "0")
    told = say("teach", "digits", *words, "--out", tmp_path / "out")
    assert told.code == 2
    assert "lower the learning rate" in told.message
    assert not (tmp_path / "out/best.safetensors").exists()


# Looking
def test_a_report_of_nothing_makes_no_page(say: Say, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    page = tmp_path / "report.html"
    refused(say, page, "report", tmp_path / "empty", needles=("no run below", "config.json"))
    refused(say, page, "report", tmp_path / "nope", needles=("expected a directory of runs", "nope"))


@pytest.mark.parametrize("content", [b"{", b"{}", b"[]", b"\xff"])
def test_a_report_of_a_damaged_result_names_the_file(content: bytes, say: Say, world: Path, tmp_path: Path) -> None:
    run = edited(world / "teacher", tmp_path / "runs/a", lambda _: None)
    (run / "result.json").write_bytes(content)
    refused(say, tmp_path / "report.html", "report", tmp_path / "runs", needles=(str(run / "result.json"),))


def test_a_report_of_a_real_run_is_written_and_one_that_cannot_be_is_told(
    say: Say, world: Path, tmp_path: Path
) -> None:
    assert say("report", world / "teacher", "--out", tmp_path / "report.html").code == 0
    assert (tmp_path / "report.html").stat().st_size > 1000
    told = say("report", world / "teacher", "--out", tmp_path / "report.html" / "below")
    assert told.code == 2
    assert str(tmp_path / "report.html") in told.message


def test_evaluating_on_other_classes_is_refused_with_the_counts(say: Say, world: Path, tmp_path: Path) -> None:
    root = images(tmp_path / "three", "0", "1", "cat")
    told = say("evaluate", world / "teacher", "--data", f"folder:{root}")
    assert told.code == 2
    assert "knows 10 classes" in told.message
    assert "has 3, and they share 2" in told.message


def test_evaluating_on_images_of_other_channels_is_refused(say: Say, world: Path, tmp_path: Path) -> None:
    root = images(tmp_path / "colour", *DIGITS, channels=3)
    told = say("evaluate", world / "teacher", "--data", f"folder:{root}")
    assert told.code == 2
    assert "1 channels" in told.message
    assert "has 3" in told.message


def test_evaluating_a_run_that_has_no_weights_yet_is_refused(say: Say, stopped: Path) -> None:
    assert "no network at" in say("evaluate", stopped).message


# The command line itself
@pytest.mark.parametrize("order", ["before", "after"])
def test_the_defaults_are_those_of_the_data_wherever_it_stands(
    order: str, say: Say, world: Path, tmp_path: Path
) -> None:
    root = images(tmp_path / "many", "a", "b", count=10)
    flags = ("--model", "zoo:digits_small", "--epochs", "1", "--validation", "0.2")
    words = (f"folder:{root}", *flags) if order == "before" else (*flags, f"folder:{root}")
    # 128 is the batch of the recipe `short`, that of digits has 64.
    refused(say, tmp_path / "out", "teach", *words, needles=("a batch of 128 is larger",))


def test_a_config_after_the_flags_is_the_one_that_is_repeated(say: Say, world: Path, tmp_path: Path) -> None:
    config = json.loads((world / "teacher/config.json").read_text())
    config["data"]["batch_size"] = 5000
    (tmp_path / "config.json").write_text(json.dumps(config))
    needles = ("a batch of 5000",)
    refused(say, tmp_path / "out", "teach", "--seed", "3", tmp_path / "config.json", needles=needles)


def test_the_flags_of_a_configs_own_method_may_stand_before_it(say: Say, world: Path, tmp_path: Path) -> None:
    config = json.loads((world / "teacher/config.json").read_text())
    config["teacher"] = {"weights": str(tmp_path / "gone")}
    config["stages"][0]["method"] = {"name": "rkd"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    words = ("distill", "--rkd.distance", "3", tmp_path / "config.json")
    refused(say, tmp_path / "out", *words, needles=(f"no network at {tmp_path / 'gone'}",))


def test_debug_shows_the_traceback(world: Path) -> None:
    with pytest.raises(ValueError, match="at least one epoch"):
        main(["--debug", "teach", "digits", "--epochs", "0"])


def test_a_second_ctrl_c_or_an_early_one_is_no_traceback(say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("tutelage.cli.train.start", interrupted)
    told = say("teach", "digits")
    assert told.code == 130
    assert "tutelage resume" in told.message


def process(world: Path, *words: object, cwd: Path) -> "subprocess.Popen[str]":
    source = Path(rundir.__file__).parents[1]
    return subprocess.Popen(
        [sys.executable, "-m", "tutelage", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(source), "OMP_NUM_THREADS": "1"},
    )


@pytest.mark.slow
def test_the_program_tells_a_mistake_in_one_line(world: Path, tmp_path: Path) -> None:
    with process(world, "teach", "digits", "--epochs", "0", cwd=tmp_path) as child:
        out, err = child.communicate(timeout=60)
    assert child.returncode == 2
    assert not out
    assert err == "tutelage: a stage needs at least one epoch, got 0\n"
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
def test_the_program_that_is_stopped_saves_and_exits_with_130(world: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with process(world, "teach", "digits", "--epochs", "4000", "--out", out, *SHORT, cwd=tmp_path) as child:
        deadline = time.monotonic() + 60
        while not (out / "metrics.jsonl").exists() or not (out / "metrics.jsonl").stat().st_size:
            assert child.poll() is None, child.stderr and child.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=60)
    assert child.returncode == 130
    assert Told(130, err).message.endswith(f"`tutelage resume {out}`")
    assert torch.load(out / "state.ckpt", weights_only=True)["position"]["step"] > 0


def test_the_version_is_no_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--version"])
    assert capsys.readouterr().out == f"tutelage {__version__}\n"

"""Metrics reach the file and every sink that is asked for."""

import json
import sys
from types import ModuleType

import pytest

from tutelage.engine.sinks import MetricsLog, open_sinks, scalars
from tutelage.errors import MissingExtraError
from tutelage.rundir import RunDir

RECORD = {
    "kind": "train",
    "stage": "student",
    "step": 5,
    "epoch": 0.5,
    "loss": 1.5,
    "terms": {"kd": {"value": 2.0, "weight": 0.9}},
}


@pytest.fixture
def run(tmp_path):
    return RunDir.create(tmp_path / "x", {"seed": 3})


class Recorder:
    """Stands for what a sink writes to."""

    def __init__(self):
        self.said = []

    def init(self, **settings):
        self.said.append(("init", settings))
        return self

    def log(self, numbers, step):
        self.said.append((step, numbers))

    def add_scalar(self, name, value, step):
        self.said.append((step, {name: value}))

    def finish(self):
        self.said.append("closed")

    close = finish


@pytest.fixture
def recorder(monkeypatch):
    recorder = Recorder()
    for name, member, value in (
        ("wandb", "init", recorder.init),
        ("torch.utils.tensorboard", "SummaryWriter", lambda folder: recorder.init(dir=folder)),
    ):
        module = ModuleType(name)
        setattr(module, member, value)
        monkeypatch.setitem(sys.modules, name, module)
    return recorder


class TestFile:
    def test_every_record_is_a_line_that_can_be_read_at_once(self, run):
        log = MetricsLog(run)
        log.write(RECORD)
        assert [json.loads(line) for line in run.metrics.read_text().splitlines()] == [RECORD]
        log.write(RECORD)
        assert len(run.metrics.read_text().splitlines()) == 2
        log.close()

    def test_the_size_is_what_a_resumed_run_goes_on_from(self, run):
        log = MetricsLog(run)
        log.write(RECORD)
        size = log.size()
        log.write({**RECORD, "step": 6})
        log.close()
        assert size == run.metrics.stat().st_size // 2
        log = MetricsLog(run, size=size)
        assert log.size() == size
        log.write({**RECORD, "step": 7})
        log.close()
        assert [json.loads(line)["step"] for line in run.metrics.read_text().splitlines()] == [5, 7]

    def test_a_quiet_log_writes_nothing_and_opens_no_sink(self, run, recorder):
        log = MetricsLog(run, ["wandb"], quiet=True)
        log.write(RECORD)
        log.close()
        assert log.size() == 0
        assert not run.metrics.exists()
        assert recorder.said == []


class TestSinks:
    def test_wandb_is_given_the_run_the_numbers_and_the_step(self, run, recorder):
        log = MetricsLog(run, ["wandb"])
        log.write(RECORD)
        log.close()
        (_, settings), logged, closed = recorder.said
        assert settings["config"] == {"seed": 3}
        assert settings["name"] == "x"
        assert logged == (5, {"train/epoch": 0.5, "train/loss": 1.5, "train/terms/kd": 2.0})
        assert closed == "closed"

    def test_tensorboard_is_given_every_number_under_its_name(self, run, recorder):
        log = MetricsLog(run, ["tensorboard"])
        log.write(RECORD)
        log.close()
        assert recorder.said == [
            ("init", {"dir": str(run.path)}),
            (5, {"train/epoch": 0.5}),
            (5, {"train/loss": 1.5}),
            (5, {"train/terms/kd": 2.0}),
            "closed",
        ]

    @pytest.mark.parametrize(("name", "module"), [("wandb", "wandb"), ("tensorboard", "torch.utils.tensorboard")])
    def test_a_sink_that_is_not_installed_says_how_to_install_it(self, run, monkeypatch, name, module):
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(MissingExtraError, match=rf"pip install 'tutelage\[{name}\]'"):
            open_sinks([name], run)

    def test_without_names_there_are_no_sinks(self, run):
        assert open_sinks([], run) == []

    def test_what_a_method_watches_is_a_curve_where_it_is_defined(self):
        record = {"kind": "validation", "step": 3, "figures": {"cka_inheritance": 0.5, "cka_exploration": None}}
        assert scalars(record) == {"validation/cka_inheritance": 0.5}

    def test_whole_numbers_and_names_are_no_curves(self):
        assert scalars({"kind": "validation", "step": 3, "stage": "s", "accuracy": 0.5}) == {"validation/accuracy": 0.5}

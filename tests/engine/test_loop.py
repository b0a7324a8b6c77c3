"""The loop: who is in which mode, what moves, when it stops."""

import signal
import threading

import pytest
import torch
from torch import nn

from tutelage.engine import OptimizerConfig, TeacherConfig, resume, run, start
from tutelage.engine.optimizer import make_optimizer
from tutelage.engine.stopping import polite_stop
from tutelage.errors import Interrupted, RunError
from tutelage.methods import DKDConfig, FitNetConfig, KDConfig
from tutelage.models import load_network


class Plain(nn.Module):
    """No batch norm; calls what it is given at every forward."""

    def __init__(self, told=lambda module: None, dropout=0.0):
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Dropout(dropout), nn.Linear(16, 10))
        self.told = told

    def forward(self, x):
        self.told(self)
        return self.body(x)


def weights(path):
    return load_network(path).model.state_dict()


def distance(one, other):
    return sum((one[name] - other[name]).double().square().sum() for name in one).sqrt().item()


def initial(tiny, tmp_path, spec):
    """The weights before the first step: those after steps that move nothing."""
    start(tiny(model=spec, optimizer={"lr": 1e-30, "weight_decay": 0.0}), tmp_path / "initial")
    return weights(tmp_path / "initial")


def test_the_student_trains_in_train_mode_also_after_a_validation(tiny, tmp_path, own_model):
    modes = []
    spec = own_model(lambda num_classes: Plain(lambda module: modes.append((torch.is_grad_enabled(), module.training))))
    start(tiny(model=spec, epochs=2), tmp_path / "x")
    assert modes.count((True, True)) == 20
    assert set(modes) == {(True, True), (False, False)}
    last_validation = len(modes) - 1 - modes[::-1].index((True, True))
    assert (False, False) in modes[1:last_validation]


def test_the_teacher_answers_in_eval_mode_without_gradient(tiny, tmp_path, own_model):
    modes = []
    spec = own_model(lambda num_classes: Plain(lambda m: modes.append((torch.is_grad_enabled(), m.training)), 0.5))
    start(tiny(model=spec), tmp_path / "teacher")
    modes.clear()
    config = tiny(KDConfig(), TeacherConfig(weights=str(tmp_path / "teacher"), allow_bad=True), epochs=2)
    before = (tmp_path / "teacher" / "student.safetensors").read_bytes()
    start(config, tmp_path / "x")
    assert len(modes) > 20
    assert set(modes) == {(False, False)}
    assert (tmp_path / "teacher" / "student.safetensors").read_bytes() == before


def test_accumulating_two_batches_is_one_batch_of_twice_the_size(tiny, tmp_path, own_model, teacher_run):
    spec = own_model(lambda num_classes: Plain())
    start(tiny(KDConfig(), teacher_run, model=spec, batch_size=64), tmp_path / "whole")
    start(tiny(KDConfig(), teacher_run, model=spec, batch_size=32, optimizer={"accumulate": 2}), tmp_path / "halves")
    start(tiny(KDConfig(), teacher_run, model=spec, batch_size=32), tmp_path / "control")
    whole, halves, control = (weights(tmp_path / name) for name in ("whole", "halves", "control"))
    assert distance(whole, halves) < 1e-5
    assert distance(whole, control) > 0.01


def test_an_epoch_that_accumulation_does_not_divide_loses_no_batch(tiny, tmp_path, own_model):
    # 20 batches, 3 a step: the last step has 2, and their mean
    spec = own_model(lambda num_classes: Plain())
    updates = []
    real = torch.optim.SGD.step

    def step(self, *args, **settings):
        updates.append(sum(w.grad.double().square().sum().item() for g in self.param_groups for w in g["params"]))
        return real(self, *args, **settings)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.SGD, "step", step)
        result = start(tiny(model=spec, batch_size=32, optimizer={"accumulate": 3}), tmp_path / "x")
    assert len(updates) == 7
    assert min(updates) > 0
    assert result["steps"] == 20


def test_clipping_bounds_how_far_a_step_goes(tiny, tmp_path, own_model):
    spec = own_model(lambda num_classes: Plain())
    before = initial(tiny, tmp_path, spec)
    plain = {"lr": 1.0, "momentum": 0.0, "nesterov": False, "weight_decay": 0.0}
    start(tiny(model=spec, optimizer={**plain, "clip": 1e-3}), tmp_path / "clipped")
    start(tiny(model=spec, optimizer=plain), tmp_path / "free")
    moved = distance(weights(tmp_path / "clipped"), before)
    assert 1e-3 < moved <= 10 * 1e-3 * 1.001  # ten steps of at most 1e-3
    assert distance(weights(tmp_path / "free"), before) > 0.1


def test_clipping_counts_the_adapter_too(tiny, tmp_path, teacher_run, monkeypatch):
    norms = []
    real = torch.optim.SGD.step

    def step(self, *args, **settings):
        gradients = [w.grad for g in self.param_groups for w in g["params"] if w.grad is not None]
        norms.append(sum(g.double().square().sum() for g in gradients).sqrt().item())
        return real(self, *args, **settings)

    monkeypatch.setattr(torch.optim.SGD, "step", step)
    start(tiny(FitNetConfig(), teacher_run, optimizer={"clip": 0.01}), tmp_path / "x")
    assert norms == pytest.approx([0.01] * 10, rel=1e-3)


def test_the_optimiser_holds_the_weights_of_the_adapter(tiny, tmp_path, teacher_run, monkeypatch):
    given = []

    def spy(config, parameters):
        given.extend(parameters)
        return make_optimizer(config, parameters)

    monkeypatch.setattr(run, "make_optimizer", spy)
    before = []
    build = FitNetConfig.build

    def remember(self, student, teacher):
        method = build(self, student, teacher)
        before.extend((weight, weight.detach().clone()) for weight in method.parameters())
        return method

    monkeypatch.setattr(FitNetConfig, "build", remember)
    start(tiny(FitNetConfig(), teacher_run), tmp_path / "x")
    assert {id(weight) for weight, _ in before} <= {id(weight) for weight in given}
    assert not torch.equal(*before[0])


def test_a_loss_that_is_no_number_stops_the_run_and_claims_no_result(tiny, tmp_path):
    optimizer = {"lr": 1e30}
    with pytest.raises(RunError, match=r"the loss is (nan|inf) at step \d.*lower the learning rate"):
        start(tiny(optimizer=optimizer, log_every=1), tmp_path / "x")
    assert not (tmp_path / "x" / "result.json").exists()
    assert not (tmp_path / "x" / "student.safetensors").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_after_the_step_and_the_resumed_run_ends_as_if_nothing_had_been(
    tiny, tmp_path, own_model, number
):
    calls = []

    def told(module):
        if module.training:
            calls.append(1)
        if len(calls) == 14 and module.training:
            signal.raise_signal(number)

    spec = own_model(lambda num_classes: Plain(told, dropout=0.5))
    handler = signal.getsignal(number)
    with pytest.raises(Interrupted, match=r"stopped at epoch 1, step 14; .*`tutelage resume .*x`"):
        start(tiny(model=spec, epochs=3), tmp_path / "x")
    assert signal.getsignal(number) is handler
    assert (tmp_path / "x" / "state.ckpt").exists()
    assert not (tmp_path / "x" / "result.json").exists()
    resumed = resume(tmp_path / "x")
    calls.clear()
    calls.extend([1] * 100)
    whole = start(tiny(model=spec, epochs=3), tmp_path / "y")
    assert distance(weights(tmp_path / "x"), weights(tmp_path / "y")) == 0
    assert resumed["accuracy"] == whole["accuracy"]
    assert resumed["steps"] == whole["steps"] == 30
    assert not (tmp_path / "x" / "state.ckpt").exists()


def test_a_second_signal_does_not_wait():
    with polite_stop() as asked:
        signal.raise_signal(signal.SIGINT)
        assert asked()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_in_a_thread_signals_are_left_to_the_main_one():
    seen = []

    def work():
        with polite_stop() as asked:
            seen.append(asked())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [False]


@pytest.mark.parametrize(("name", "kind"), [("sgd", torch.optim.SGD), ("adamw", torch.optim.AdamW)])
def test_the_optimiser_has_the_settings_of_the_config(name, kind):
    config = OptimizerConfig(name=name, lr=0.3, weight_decay=0.02, momentum=0.7)
    optimizer = make_optimizer(config, [nn.Parameter(torch.ones(1))])
    assert type(optimizer) is kind
    group = optimizer.param_groups[0]
    assert (group["lr"], group["weight_decay"]) == (0.3, 0.02)
    assert group.get("momentum", 0.7) == 0.7


@pytest.mark.parametrize(("epochs", "said"), [(2.0, 1), (1.0, 0)])
def test_a_warm_up_that_lasts_longer_than_half_of_the_stage_is_told(tiny, teacher_run, tmp_path, capsys, epochs, said):
    method, teacher = DKDConfig(warmup_epochs=epochs), TeacherConfig(weights=str(teacher_run))
    start(tiny(method, teacher, epochs=2), tmp_path / "x")
    assert capsys.readouterr().err.count("a shorter warm-up (--dkd.warmup-epochs) gives it its weight earlier") == said

"""What a method watches is written beside the accuracy of each validation, and costs no calls and no random numbers."""

import dataclasses
import json

import pytest
import torch

from tutelage.engine import AnswersConfig, StudentConfig, TeacherConfig, start
from tutelage.engine.config import EngineConfig
from tutelage.engine.session import Session, open_fabric
from tutelage.engine.watching import WATCHED, Watch
from tutelage.methods import IEDMLConfig, IEKDConfig, KDConfig
from tutelage.models import load_network
from tutelage.ops.similarity import linear_cka

HALVES = {"cka_inheritance", "cka_exploration"}


def validations(path):
    lines = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line["kind"] == "validation"]


@pytest.fixture(scope="module")
def iekd_run(tiny, teacher_run, tmp_path_factory):
    path = tmp_path_factory.mktemp("iekd") / "run"
    config = tiny(IEKDConfig(), teacher_run, epochs=2, validate_every=1)
    result = start(config, path)
    return path, config, result


@pytest.fixture
def watch(tiny, teacher_run):
    def opened(method, teacher=None, **settings):
        fabric = open_fabric(EngineConfig(accelerator="cpu", precision="32"))
        config = tiny(method, teacher or (None if getattr(method, "peers", False) else teacher_run))
        session = Session(dataclasses.replace(config, **settings), fabric)
        return session, Watch(session, session.methods[-1])

    return opened


def test_each_validation_of_a_run_has_the_figures_beside_its_accuracy(iekd_run):
    lines = validations(iekd_run[0])
    assert [line["epoch"] for line in lines] == [1, 2]
    assert all(set(line["figures"]) == HALVES and "accuracy" in line for line in lines)
    assert lines[0]["figures"] != lines[1]["figures"]


def test_the_last_ones_are_those_of_the_stored_networks_on_images_of_the_validation_split(iekd_run, teacher_run):
    path, config, _ = iekd_run
    session = Session(config, open_fabric(config.engine))
    ids = session.judge.ids["validation"]
    assert len(ids) > WATCHED
    chosen = ids[torch.randperm(len(ids), generator=torch.Generator().manual_seed(0))[:WATCHED].sort().values]
    maps = []
    for network in (load_network(path).eval(), load_network(teacher_run).eval()):
        network.listen(["stage2"])
        with torch.inference_mode():
            maps.append(network(session.data.train.images[chosen].permute(0, 3, 1, 2)).taps["stage2"])
    ours, theirs = maps
    places = min(ours.shape[2], theirs.shape[2])
    ours, theirs = (torch.nn.functional.adaptive_avg_pool2d(x, places) for x in (ours, theirs))
    half = ours.shape[1] // 2
    expected = [linear_cka(part.flatten(1), theirs.flatten(1)).item() for part in (ours[:, :half], ours[:, half:])]
    found = validations(path)[-1]["figures"]
    assert [found["cka_inheritance"], found["cka_exploration"]] == pytest.approx(expected, abs=1e-5)


def test_they_are_no_calls_of_the_teacher(iekd_run, tiny, teacher_run):
    _, config, result = iekd_run
    # Without a cache every batch of every epoch is asked; the auto-encoder's stage asks as well.
    steps = sum(stage["steps"] for stage in result["stages"])
    assert result["teacher"]["calls"] == steps * config.data.batch_size


def test_a_method_without_figures_writes_none(tiny, teacher_run, tmp_path):
    start(tiny(KDConfig(), teacher_run), tmp_path / "run")
    assert all("figures" not in line for line in validations(tmp_path / "run"))


def test_a_sum_names_them_as_it_names_terms(watch):
    _, watched = watch(KDConfig() + IEKDConfig())
    assert set(watched()["figures"]) == {f"iekd.{name}" for name in HALVES}


def test_a_half_without_channels_has_none(watch):
    assert set(watch(IEKDConfig(ratio=1.0))[1]()["figures"]) == {"cka_inheritance"}
    assert set(watch(IEKDConfig(ratio=0.0))[1]()["figures"]) == {"cka_exploration"}


def test_peers_have_figures_of_their_own_in_the_mean_over_whom_they_learn_from(watch):
    session, watched = watch(IEDMLConfig(), peers=tuple(StudentConfig(model="zoo:digits_small") for _ in range(2)))
    found = watched()["figures"]
    assert set(found) == HALVES | {f"peer{i}.{name}" for i in (1, 2) for name in HALVES}
    batch = next(session.judge.batches("validation", watched._ids))
    said = [session.judge.ask(network, batch) for network in session.networks]
    pairs = [session.methods[0].pairs[0, i].figures(said[0], said[i]) for i in (1, 2)]
    mean = sum(pair["cka_inheritance"].item() for pair in pairs) / 2
    assert found["cka_inheritance"] == pytest.approx(mean)


def test_looking_draws_no_random_numbers_and_moves_no_weights(watch):
    session, watched = watch(IEKDConfig())
    state, print_ = torch.get_rng_state(), session.student.fingerprint()
    assert watched() == watched()
    assert torch.equal(torch.get_rng_state(), state)
    assert session.student.fingerprint() == print_
    assert session.teacher.calls == 0


def test_collapsed_features_are_written_as_null(watch):
    session, watched = watch(IEKDConfig())
    with torch.no_grad():
        for weight in session.student.parameters():
            weight.zero_()
    assert watched() == {"figures": dict.fromkeys(HALVES)}


@pytest.mark.parametrize("answers", [{"budget": 10_000}, {"price_per_call": 0.1}])
def test_a_teacher_whose_calls_cost_is_not_asked(watch, teacher_run, answers, monkeypatch):
    session, watched = watch(IEKDConfig(), TeacherConfig(weights=str(teacher_run), answers=AnswersConfig(**answers)))
    monkeypatch.setattr(type(session.tutor.source), "__call__", None)  # to call it would be a TypeError
    assert watched() == {}
    assert watched.why_not == "nothing is watched at validation: calls of the teacher cost"


@pytest.mark.slow
def test_that_it_is_not_asked_is_said_once(tiny, teacher_run, tmp_path, capsys):
    teacher = TeacherConfig(weights=str(teacher_run), answers=AnswersConfig(price_per_call=0.1))
    start(tiny(IEKDConfig(), teacher, epochs=2, validate_every=1), tmp_path / "run")
    assert capsys.readouterr().err.count("nothing is watched at validation: calls of the teacher cost") == 1
    assert all("figures" not in line for line in validations(tmp_path / "run"))


def test_a_copy_of_the_student_may_be_asked(watch):
    session, watched = watch(IEKDConfig(), TeacherConfig(weights="ema"))
    session.teacher.after_step(session.student, 0.0)
    assert watched()["figures"]["cka_inheritance"] > 0.5
    assert watched.why_not == ""

"""Networks that learn from each other: one forward each, and nothing flows into what the others said."""

import dataclasses
import json

import pytest
import torch
import torch.nn.functional as F

from tutelage import losses
from tutelage.data import Mixture
from tutelage.engine import StudentConfig, start
from tutelage.engine.cohort import Cohort
from tutelage.engine.config import EngineConfig
from tutelage.engine.session import Session, open_fabric
from tutelage.engine.state import Position
from tutelage.errors import ConfigError
from tutelage.methods import DMLConfig, ICKDConfig, KDConfig, ONEConfig
from tutelage.models import load_network
from tutelage.rundir import RunDir


@pytest.fixture(scope="module")
def fabric():
    return open_fabric(EngineConfig(accelerator="cpu", precision="32"))


@pytest.fixture
def opened(tiny, fabric, tmp_path):
    """The session of a run with peers, and the objective of its stage."""

    def make(method=None, peers=("zoo:digits_small",)):
        from tutelage.engine import run

        config = dataclasses.replace(
            tiny(method or DMLConfig()), peers=tuple(StudentConfig(model=model) for model in peers)
        )
        session = Session(config, fabric)
        learner = run._wrap_student(session)
        return session, learner, run._open_stage(session, RunDir(tmp_path), learner, Position(), 0)

    return make


def test_peers_of_one_model_begin_with_different_weights_and_the_student_with_its_own(opened, tiny, fabric):
    session, _, _ = opened()
    prints = [network.fingerprint() for network in session.networks]
    assert prints[0] != prints[1]
    assert prints[0] == Session(tiny(), fabric).student.fingerprint()


def test_every_network_forwards_a_batch_once(opened):
    session, learner, loop = opened(peers=("zoo:digits_small", "zoo:digits_large"))
    seen = []
    for number, network in enumerate(session.networks):
        network.register_forward_hook(lambda *_, number=number: seen.append(number))
    batch = next(session.loader().epoch(0))
    loop.objective(learner(batch.images), None, batch)
    assert seen == [0, 1, 2]


def test_each_learns_from_its_labels_and_in_the_mean_from_the_others_detached(opened):
    session, learner, loop = opened(peers=("zoo:digits_small", "zoo:digits_large"))
    batch = next(session.loader().epoch(0))
    answers = [answer.logits for answer in learner(batch.images)]
    terms = loop.objective(learner(batch.images), None, batch).terms
    for number, name in enumerate(("", "peer1.", "peer2.")):
        own, others = answers[number], [z.detach() for i, z in enumerate(answers) if i != number]
        torch.testing.assert_close(terms[f"{name}task"].value, F.cross_entropy(own, batch.labels))
        mutual = sum(losses.kd(own, other, temperature=1.0).mean() for other in others) / 2
        torch.testing.assert_close(terms[f"{name}mutual"].value, mutual)
    (gradient,) = torch.autograd.grad(
        terms["mutual"].value, [next(session.networks[1].parameters())], allow_unused=True
    )
    assert gradient is None


def test_a_run_tells_of_its_peers_and_keeps_them(tiny, tmp_path):
    config = dataclasses.replace(tiny(DMLConfig(), epochs=2), peers=(StudentConfig(model="zoo:digits_large"),))
    result = start(config, tmp_path / "run")
    (peer,) = result["peers"]
    assert peer["model"] == "zoo:digits_large"
    assert set(peer["accuracy"]) == {"validation", "test"}
    assert load_network(tmp_path / "run" / "peer1.safetensors").card.model == "zoo:digits_large"
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [len(line["peers"]) for line in lines if line["kind"] == "validation"] == [1, 1]
    assert {"mutual", "peer1.mutual"} <= set(lines[0]["terms"])


def test_in_context_samples_of_a_peer_are_those_of_its_own_bank(opened):
    session, learner, loop = opened(ICKDConfig(source="peer", warmup_epochs=0.0))
    session.prepare(0)
    banks = [method._memory[0] for method in loop.method.pairs.values()]
    assert not torch.equal(banks[0].logits, banks[1].logits)
    batch = next(session.loader().epoch(0))
    answers = learner(batch.images)
    assert {"positive", "negative", "kd", "peer1.kd"} <= set(loop.objective(answers, None, batch).terms)
    for (_, teacher), method in loop.method.pairs.items():  # each bank was refreshed by the one that it is of
        held = method._memory[0].read(batch.ids).logits.float()
        torch.testing.assert_close(held, answers[teacher].logits.detach().float(), rtol=2e-3, atol=2e-3)


def test_an_ensemble_learns_from_the_labels_and_every_network_from_it_detached(opened):
    session, learner, loop = opened(ONEConfig(), peers=("zoo:digits_small", "zoo:digits_large"))
    session.prepare(0)
    batch, gate = next(session.loader().epoch(0)), loop.method.ensemble
    answers = learner(batch.images)
    terms, together = loop.objective(answers, None, batch).terms, gate(answers).logits
    names = {f"{who}{term}" for who in ("", "peer1.", "peer2.") for term in ("task", "ensemble")}
    assert set(terms) == {*names, "ensemble.task"}
    torch.testing.assert_close(terms["ensemble.task"].value, F.cross_entropy(together, batch.labels))
    for number, name in enumerate(("", "peer1.", "peer2.")):
        own = answers[number].logits
        torch.testing.assert_close(terms[f"{name}task"].value, F.cross_entropy(own, batch.labels))
        divergence = losses.kd(own, together, temperature=3.0).mean()
        torch.testing.assert_close(terms[f"{name}ensemble"].value, divergence)


def moved(terms, names, modules):
    """Which modules get a gradient from the sum of these terms."""
    total = sum(terms[name].value for name in names)
    weights = [next(module.parameters()) for module in modules]
    found = torch.autograd.grad(total, weights, retain_graph=True, allow_unused=True)
    return [gradient is not None and bool(gradient.abs().sum() > 0) for gradient in found]


def test_the_gate_learns_from_the_cross_entropy_of_the_ensemble_alone(opened):
    session, learner, loop = opened(ONEConfig())
    batch = next(session.loader().epoch(0))
    terms = loop.objective(learner(batch.images), None, batch).terms
    modules = [loop.method.ensemble.shares, *session.networks]
    assert moved(terms, ["ensemble.task"], modules) == [True, True, True]
    assert moved(terms, ["task", "ensemble"], modules) == [False, True, False]
    assert moved(terms, ["peer1.task", "peer1.ensemble"], modules) == [False, False, True]
    optimised = [weight for group in loop.state.optimizer.param_groups for weight in group["params"]]
    assert {id(weight) for weight in loop.method.ensemble.parameters()} <= {id(weight) for weight in optimised}


def test_an_ensemble_of_mixtures_has_the_losses_of_its_parts_by_their_shares(opened):
    session, learner, loop = opened(ONEConfig())
    batch = next(session.loader().epoch(0))
    answers = learner(batch.images)
    found = loop.objective(answers, None, batch, Mixture((0.75, 0.25))).terms
    together = loop.method.ensemble(answers).logits
    each = [F.cross_entropy(together, batch.labels.roll(-i)) for i in range(2)]
    torch.testing.assert_close(found["ensemble.task"].value, 0.75 * each[0] + 0.25 * each[1])
    plain = loop.objective(answers, None, batch).terms
    torch.testing.assert_close(found["peer1.ensemble"].value, plain["peer1.ensemble"].value)


def test_a_cohort_says_what_its_networks_say(opened):
    session, _, _ = opened()
    batch = next(session.loader().epoch(0))
    said = Cohort(session.networks).eval()(batch.images)
    assert torch.equal(said[1].logits, session.networks[1].eval()(batch.images).logits)


@pytest.mark.parametrize(
    ("method", "peers", "message"),
    [
        (DMLConfig(), (), "the method 'dml' learns from peers, and there are none"),
        (None, (StudentConfig(),), "a stage has no method that learns from them"),
    ],
)
def test_peers_and_methods_must_fit(tiny, method, peers, message):
    with pytest.raises(ConfigError, match=message):
        dataclasses.replace(tiny(method), peers=peers)


def test_a_run_has_either_a_teacher_or_peers(tiny, teacher_run):
    with pytest.raises(ConfigError, match="a stage has no method that learns from them"):
        dataclasses.replace(tiny(KDConfig(), teacher_run), peers=(StudentConfig(),))

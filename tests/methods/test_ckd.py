"""CKD: groups that are sized, balanced, repeatable and saved; no cross-entropy; presets."""

import jaxtyping
import pytest
import torch

from tutelage import losses
from tutelage.errors import ConfigError, ShapeError
from tutelage.methods import CKDConfig
from tutelage.types import Batch, Outputs

SHAPES = {"logits": (4,)}
COMPARATIVE = losses.comparative


@pytest.fixture
def own_messages():
    """Let wrong settings reach the checks of tutelage when the suite runs with jaxtyping's hook."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", before)


def batch(n=8):
    ids = torch.randperm(1000, generator=torch.Generator().manual_seed(2))[:n]
    return Batch(torch.zeros(n, 1, 2, 2), torch.arange(n) % 4, ids, torch.zeros(n, dtype=torch.int64))


def logits(seed, n=8):
    return torch.randn(n, 4, generator=torch.Generator().manual_seed(seed))


def groups_of(monkeypatch, n=8, steps=0, **settings):
    """The rows of the batch that a step compares."""
    seen = []

    def spy(student, teacher, positives, negatives, **rest):
        seen.append((positives, negatives))
        return COMPARATIVE(student, teacher, positives, negatives, **rest)

    monkeypatch.setattr(losses, "comparative", spy)
    method = CKDConfig(**settings).build(SHAPES, SHAPES)
    for _ in range(steps):
        method.after_step(0.0)
    method(Outputs(logits(0, n), {}), Outputs(logits(1, n), {}), batch(n))
    return seen[0]


@pytest.mark.parametrize(("k", "positives", "negatives"), [(2, 1, 1), (3, 2, 1), (4, 2, 2), (5, 3, 2), (8, 4, 4)])
def test_groups_have_the_sizes_of_the_paper_and_no_sample_twice(monkeypatch, k, positives, negatives):
    ours, others = groups_of(monkeypatch, k=k)
    assert ours.shape == (8, positives)
    assert others.shape == (8, negatives)
    assert all(len(set(group)) == k for group in torch.cat([ours, others], 1).tolist())


def test_by_default_each_sample_is_in_exactly_k_groups(monkeypatch):
    members = torch.cat(groups_of(monkeypatch, k=3), 1)
    assert members.flatten().bincount().tolist() == [3] * 8


@pytest.mark.parametrize("groups", [1, 5, 8, 20])
def test_as_many_groups_are_drawn_as_asked_for(monkeypatch, groups):
    members = torch.cat(groups_of(monkeypatch, groups=groups), 1)
    assert members.shape == (groups, 3)
    assert len(set(map(tuple, members.tolist()))) == groups


def test_every_step_and_every_seed_has_other_groups(monkeypatch):
    drawn = [groups_of(monkeypatch, steps=s, seed=seed)[0] for s, seed in ((0, 0), (1, 0), (0, 1))]
    assert not any(drawn[i].equal(drawn[j]) for i, j in ((0, 1), (0, 2), (1, 2)))


def test_all_pairs_of_samples_are_drawn_alike_over_the_steps(monkeypatch):
    count = torch.zeros(4, 4)
    for step in range(300):
        ours, others = groups_of(monkeypatch, n=4, k=2, steps=step)
        count.index_put_((ours[:, 0], others[:, 0]), torch.ones(4), accumulate=True)
    # 1,200 pairs over 12 cells: 100 each; a cell's 300 draws of probability ⅓ have a deviation of 8
    assert count.diagonal().tolist() == [0.0] * 4
    assert 60 < count[~torch.eye(4, dtype=torch.bool)].min() <= count.max() < 140


def test_the_position_in_the_draws_is_saved_and_restored():
    method, other = CKDConfig().build(SHAPES, SHAPES), CKDConfig().build(SHAPES, SHAPES)
    for _ in range(3):
        method.after_step(0.0)
    given = Outputs(logits(0), {}), Outputs(logits(1), {}), batch()
    assert not method(*given)["comparison"].value.equal(other(*given)["comparison"].value)
    other.load_state_dict(method.state_dict())
    assert method(*given)["comparison"].value.equal(other(*given)["comparison"].value)


def test_there_is_no_cross_entropy_unless_it_is_the_label_term():
    given = Outputs(logits(0), {}), Outputs(logits(1), {}), batch()
    assert CKDConfig().task_weight == 0.0
    assert set(CKDConfig().build(SHAPES, SHAPES)(*given)) == {"comparison", "labels"}
    config = CKDConfig(label_term="ce", task_weight=0.3)
    assert set(config.build(SHAPES, SHAPES)(*given)) == {"comparison"}


def test_the_presets_are_those_of_the_two_releases():
    first, last = CKDConfig.ckd_arxiv(), CKDConfig.ckd_wacv()
    assert (first.k, first.distance, first.temperature, first.all_pairs) == (3, "kl", 4.0, False)
    assert (last.k, last.distance, last.all_pairs) == (2, "mse", True)
    # w_rel_defaults of train_student.py, https://github.com/alextxu/ckd at f8cc6bd
    assert first.weight == last.weight == first.label_weight == last.label_weight == 1.0


def test_all_pairs_are_the_mean_of_drawn_pairs():
    given = Outputs(logits(0), {}), Outputs(logits(1), {}), batch()
    exact = CKDConfig.ckd_wacv().build(SHAPES, SHAPES)(*given)
    drawn = CKDConfig(k=2, distance="mse", groups=40000).build(SHAPES, SHAPES)(*given)
    for name in ("comparison", "labels"):
        assert drawn[name].value.item() == pytest.approx(exact[name].value.item(), rel=0.02)


def test_centring_gives_the_last_bias_its_gradient_back():
    for weight in (0.0, 0.5):
        bias = torch.zeros(4, requires_grad=True)
        given = Outputs(logits(0) + bias, {}), Outputs(logits(1), {}), batch()
        terms = CKDConfig(center_bias=weight).build(SHAPES, SHAPES)(*given)
        sum(term.value * term.weight for term in terms.values()).backward()
        assert (bias.grad.abs().max() > 1e-3) == (weight > 0)
        assert ("center" in terms) == (weight > 0)


def test_a_batch_smaller_than_a_group_is_refused():
    with pytest.raises(ShapeError, match="groups of k=9 need as many samples, got 8: use a larger batch"):
        CKDConfig(k=9).build(SHAPES, SHAPES)(Outputs(logits(0), {}), Outputs(logits(1), {}), batch())


@pytest.mark.usefixtures("own_messages")
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"k": 1}, "k must be at least 2, got 1"),
        ({"groups": 0}, "groups must be at least 1, got 0"),
        ({"distance": "cosine"}, "distance must be one of kl, mse, got 'cosine'"),
        ({"label_term": "none"}, "label_term must be one of difference, ce"),
        ({"label_term": "ce"}, "label_term 'ce' needs a task_weight above 0, got 0"),
        ({"comparator": "ratio"}, "comparator must be one of difference, sum, mixup"),
        ({"all_pairs": True}, "all_pairs needs k=2 and distance='mse', got k=3 and 'kl'"),
        ({"comparator": "sum"}, "comparator 'sum' needs all_pairs=True"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong, message):
    with pytest.raises(ConfigError, match=message):
        CKDConfig(**wrong)

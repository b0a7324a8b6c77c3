"""IC-KD: the bank, its neighbours, and what each setting does with them."""

import pytest
import torch
import torch.nn.functional as F

from tutelage import losses
from tutelage.errors import ConfigError
from tutelage.labels import LabelSpace
from tutelage.methods import ICKDConfig
from tutelage.types import Batch, Outputs

SHAPES = {"logits": (5,), "embedding": (6,)}
N = 40


def table(seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(N, 5, generator=generator), torch.randn(N, 6, generator=generator)


LOGITS, FEATURES = table(0)
IDS = torch.arange(N)


def batch_of(ids):
    return Batch(torch.zeros(len(ids), 1, 2, 2), ids % 5, ids, 0 * ids)


class Table:
    """A teacher that answers by id; where it does not, ``known`` is False."""

    labels, fingerprint, calls, shapes = LabelSpace(tuple("abcde")), "table", 0, SHAPES

    def __init__(self, known=None):
        self.known = known

    def listen(self, roles):
        """All roles are answered."""

    def compile(self):
        """There is nothing to compile."""

    def __call__(self, batch):
        known = None if self.known is None else self.known[batch.ids]
        return Outputs(LOGITS[batch.ids], {"embedding": FEATURES[batch.ids]}, known)


teacher = Table()


def student(ids, seed=3):
    logits, features = table(seed)
    return Outputs(logits[ids].requires_grad_(), {"embedding": features[ids]})


def prepared(known=None, **settings):
    method = ICKDConfig(warmup_epochs=0.0, **settings).build(SHAPES, SHAPES)
    method.prepare(Table(known), lambda: map(batch_of, torch.split(IDS, 16)))
    return method


def by_hand(ids, *, positives, tau, answers=LOGITS):
    """The aggregate of each sample's nearest of its class, by loops."""
    unit = F.normalize(FEATURES, dim=1)
    made = []
    for i in ids.tolist():
        others = [j for j in range(N) if j % 5 == i % 5 and j != i]
        near = sorted(others, key=lambda j: -float(unit[i] @ unit[j]))[:positives]
        share = torch.softmax(torch.stack([unit[i] @ unit[j] for j in near]) / tau, 0)
        made.append((share.unsqueeze(1) * answers[near]).sum(0))
    return torch.stack(made)


def test_the_positive_term_is_kd_from_the_weighted_neighbours_of_the_same_class():
    ids = torch.tensor([3, 17, 30, 8])
    term = prepared(positives=3)(student(ids), teacher(batch_of(ids)), batch_of(ids))["positive"]
    expected = losses.kd(student(ids).logits, by_hand(ids, positives=3, tau=0.1), temperature=4.0).mean()
    torch.testing.assert_close(term.value, expected, rtol=5e-3, atol=1e-3)  # the bank is in half precision


def test_one_neighbour_is_kd_from_another_image_of_the_class():
    ids = torch.tensor([0, 1])
    method = prepared(positives=1)
    (bank, graph) = method._memory
    partner = graph(ids).same[:, 0]
    assert torch.equal(partner % 5, ids % 5)
    assert not torch.equal(partner, ids)
    term = method(student(ids), teacher(batch_of(ids)), batch_of(ids))["positive"]
    held = bank.read(partner).logits
    torch.testing.assert_close(term.value, losses.kd(student(ids).logits, held.float(), temperature=4.0).mean())


def test_ordinary_kd_stands_beside_it_unless_it_has_no_weight():
    ids = torch.arange(6)
    terms = prepared()(student(ids), teacher(batch_of(ids)), batch_of(ids))
    assert {name: term.weight for name, term in terms.items()} == {"kd": 1.0, "positive": 1.0, "negative": 0.3}
    torch.testing.assert_close(terms["kd"].value, losses.kd(student(ids).logits, LOGITS[ids], temperature=4.0).mean())
    assert set(prepared(kd=0.0, negative=0.0)(student(ids), teacher(batch_of(ids)), batch_of(ids))) == {"positive"}


def test_by_its_settings_the_mean_answer_for_the_neighbours_is_the_only_target():
    """The empirical form of docs/theory/ickd.md: neither the label nor the teacher's answer for the sample counts."""
    ids = torch.arange(6)
    method = prepared(kd=0.0, negative=0.0, task_weight=0.0, aggregate="prob", temperature=1.0)
    ours, said = student(ids), teacher(batch_of(ids))
    others = Outputs(said.logits.flip(0), {role: value.flip(0) for role, value in said.taps.items()})
    terms, same = (method(ours, heard, batch_of(ids)) for heard in (said, others))
    assert (set(terms), method.config.task_weight) == ({"positive"}, 0.0)
    assert torch.equal(terms["positive"].value, same["positive"].value)
    (gradient,) = torch.autograd.grad(terms["positive"].value, ours.logits)
    mean = by_hand(ids, positives=8, tau=0.1, answers=LOGITS.softmax(1))
    torch.testing.assert_close(6 * gradient, ours.logits.softmax(1) - mean, rtol=5e-3, atol=1e-3)  # half precision


def test_uniform_weights_are_the_softmax_at_infinite_temperature():
    ids = torch.arange(6)
    terms = [
        prepared(**settings)(student(ids), teacher(batch_of(ids)), batch_of(ids))["positive"].value
        for settings in ({"weights": "uniform"}, {"neighbour_temperature": 1e6}, {})
    ]
    torch.testing.assert_close(terms[0], terms[1])
    assert not torch.isclose(terms[0], terms[2], rtol=1e-3)


def test_random_neighbours_are_of_the_right_classes_and_not_near():
    near, drawn = (prepared(retrieval=kind, positives=2)._memory[1](IDS) for kind in ("nearest", "random"))
    assert torch.equal(drawn.same % 5, (IDS % 5).unsqueeze(1).expand(-1, 2))
    assert not (drawn.other % 5 == (IDS % 5).unsqueeze(1)).any()
    assert not (drawn.same == IDS.unsqueeze(1)).any()
    assert (near.same != drawn.same).any(1).float().mean() > 0.5
    ids = torch.arange(6)
    term = prepared(retrieval="random", positives=2)(student(ids), teacher(batch_of(ids)), batch_of(ids))["positive"]
    mean = LOGITS[drawn.same[ids]].mean(1)
    expected = losses.kd(student(ids).logits, mean, temperature=4.0).mean()
    torch.testing.assert_close(term.value, expected, rtol=5e-3, atol=1e-3)


def test_the_terms_of_the_context_come_in_linearly():
    ids = torch.arange(6)
    method = ICKDConfig(warmup_epochs=4.0).build(SHAPES, SHAPES)
    method.prepare(teacher, lambda: iter([batch_of(IDS)]))
    weights = []
    for epoch in (0.0, 1.0, 4.0, 9.0):
        method.after_step(epoch)
        terms = method(student(ids), teacher(batch_of(ids)), batch_of(ids))
        weights.append((terms["kd"].weight, terms["positive"].weight, round(terms["negative"].weight, 6)))
    assert weights == [(1.0, 0.0, 0.0), (1.0, 0.25, 0.075), (1.0, 1.0, 0.3), (1.0, 1.0, 0.3)]


def test_images_without_an_answer_are_nobodys_neighbours():
    known = torch.ones(N, dtype=torch.bool)
    known[20:] = False
    method = prepared(known=known)
    found = method._memory[1](torch.arange(20))
    assert int(found.same.max()) < 20
    assert int(found.other.max()) < 20


def test_searched_at_every_step_it_finds_the_neighbours_of_the_view_at_hand():
    ids = torch.arange(6)
    static, dynamic = prepared(), prepared(dynamic=True)
    same = [
        method(student(ids), teacher(batch_of(ids)), batch_of(ids))["positive"].value for method in (static, dynamic)
    ]
    torch.testing.assert_close(same[0], same[1], rtol=5e-3, atol=1e-3)  # of the same view they are the same
    moved = Outputs(LOGITS[ids] + 1, {"embedding": -FEATURES[ids]})
    dynamic(student(ids), moved, batch_of(ids))
    held = dynamic._memory[0].read(ids)
    torch.testing.assert_close(held.logits.float(), LOGITS[ids] + 1, rtol=2e-3, atol=2e-3)


class TestTeacherFree:
    def method(self):
        made = ICKDConfig(source="student", warmup_epochs=0.0).build(SHAPES, SHAPES)
        made.prepare(teacher, lambda: iter([batch_of(IDS)]))
        return made

    def test_it_needs_no_teacher_and_has_no_kd(self):
        method, ids = self.method(), torch.arange(6)
        assert not method.needs.teacher
        assert ICKDConfig(source="student").teacher_free
        assert set(method(student(ids), teacher(batch_of(ids)), batch_of(ids))) == {"positive", "negative"}

    def test_a_batch_is_written_after_it_was_read(self):
        method, ids = self.method(), torch.arange(6)
        own = student(ids)
        before = method(own, own, batch_of(ids))["positive"].value
        again = self.method()(own, own, batch_of(ids))["positive"].value
        assert torch.equal(before, again)
        torch.testing.assert_close(
            method._memory[0].read(ids).logits.float(), own.logits.detach(), rtol=2e-3, atol=2e-3
        )

    def test_neighbours_are_searched_anew_after_each_epoch_and_not_before(self):
        method = self.method()
        graphs = [method._memory[1].fingerprint]
        for epoch in (0.5, 1.0, 1.5, 2.0):
            ids = torch.arange(10)
            own = student(ids, seed=int(10 * epoch))
            method(own, own, batch_of(ids))
            method.after_step(epoch)
            graphs.append(method._memory[1].fingerprint)
        assert graphs[0] == graphs[1] != graphs[2] == graphs[3] != graphs[4]


def test_before_it_is_prepared_it_says_what_is_missing():
    ids = torch.arange(3)
    with pytest.raises(ConfigError, match="no bank yet: prepare it"):
        ICKDConfig().build(SHAPES, SHAPES)(student(ids), teacher(batch_of(ids)), batch_of(ids))


@pytest.mark.usefixtures("own_messages")
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"positives": 0}, "positives must be at least 1"),
        ({"negatives": 0}, "negatives must be at least 1"),
        ({"weights": "even"}, "weights must be one of softmax, uniform"),
        ({"retrieval": "far"}, "retrieval must be one of nearest, random"),
        ({"retrieval": "random", "dynamic": True}, "drawn once"),
        ({"source": "friend"}, "source must be one of teacher, peer, student"),
        ({"momentum": 1.0}, "momentum must be at least 0 and below 1"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        ICKDConfig(**settings)

"""CRD: the memories, what is drawn from them, and what is written."""

import pytest
import torch

from tutelage import losses
from tutelage.errors import ConfigError, UnknownNameError
from tutelage.labels import LabelSpace
from tutelage.memory import Bank
from tutelage.methods import CRDConfig
from tutelage.methods.crd import _Memory
from tutelage.types import Batch, Outputs

N, CLASSES = 40, 5
OURS, THEIRS = {"embedding": (6,)}, {"embedding": (3, 2, 2)}
IDS = torch.arange(N)


def wave(*shape, phase=0.0):
    k = torch.arange(1, torch.Size(shape).numel() + 1, dtype=torch.float64)
    return torch.sin(0.37 * k * k + phase).reshape(shape)


def batch_of(*ids):
    ids = torch.tensor(ids)
    return Batch(torch.zeros(len(ids), 1, 2, 2), ids % CLASSES, ids, 0 * ids)


class Silent:
    """A teacher that must not be asked: its answers may cost."""

    labels, fingerprint, calls, shapes = LabelSpace(tuple("abcde")), "silent", 0, THEIRS

    def listen(self, roles):
        """All roles would be answered."""

    def compile(self):
        """There is nothing to compile."""

    def __call__(self, batch):
        raise AssertionError("CRD prepares itself without answers")


def answers(batch, seed=0):
    generator = torch.Generator().manual_seed(seed)
    ours, theirs = (torch.randn(N, *s["embedding"], generator=generator)[batch.ids] for s in (OURS, THEIRS))
    return [Outputs(torch.zeros(len(x), CLASSES), {"embedding": x.requires_grad_()}) for x in (ours, theirs)]


def prepared(seed=0, ids=IDS, **settings):
    torch.manual_seed(seed)
    method = CRDConfig(features=8, **settings).build(OURS, THEIRS)
    method.prepare(Silent(), lambda: (batch_of(*part.tolist()) for part in torch.split(ids.flip(0), 16)))
    return method


def step(method, *ids, epoch=0.1):
    terms = method(*answers(batch_of(*ids)), batch_of(*ids))
    method.after_step(epoch)
    return {name: term.value.item() for name, term in terms.items()}


# https://github.com/HobbitLong/RepDistiller/tree/b84f547c5db6a35318d4671d7d5c4de74c822403/crd in
# float64, two batches of 7 samples with K = 6, T = 0.5: loss of the student's side and of the teacher's, norms of the
# gradients of the student's feature and of both heads; then row 3 of both memories. Ours are kept in float32.
AUTHORS = [
    (
        [0, 3, 5],
        0.0,
        3.0551052298660193,
        2.9398291282586744,
        0.7188894925525825,
        0.6805348330491328,
        0.6686894916052007,
    ),
    ([3, 6], 1.0, 3.614909692115763, 3.7606286240483433, 0.8018899574196143, 0.589358221960428, 1.3328758152308855),
]
STUDENT_ROW = [-0.590082233230139, -0.787603913315602, 0.056850884554553, -0.168080369708796]
TEACHER_ROW = [0.579262988634746, 0.124459657519209, -0.749568755932013, -0.295145495948486]


def test_two_steps_are_those_of_the_authors():
    method = CRDConfig(features=4, temperature=0.5).build({"embedding": (5,)}, {"embedding": (3,)}).double()
    with torch.no_grad():
        for head, width, phase in ((method.student_head, 5, 4.0), (method.teacher_head, 3, 6.0)):
            head.linear.weight.copy_(wave(4, width, phase=phase))
            head.linear.bias.copy_(wave(4, phase=phase + 1))
    banks = [Bank(7, features=4, momentum=0.5) for _ in range(2)]
    for bank, phase in zip(banks, (2.0, 3.0), strict=True):
        bank.update(torch.arange(7), wave(7, 4, phase=phase), labels=torch.arange(7))
    method._memory = _Memory(torch.arange(7), *banks)
    for ids, phase, *expected in AUTHORS:
        ids = torch.tensor(ids)
        ours, theirs = wave(len(ids), 5, phase=phase).requires_grad_(), wave(len(ids), 3, phase=phase + 0.5)
        batch = Batch(torch.zeros(len(ids), 1, 2, 2), ids, ids, ids)
        terms = method(Outputs(ours, {"embedding": ours}), Outputs(theirs, {"embedding": theirs}), batch)
        method.zero_grad()
        (terms["student"].value + terms["teacher"].value).backward()
        method.after_step(1.0)
        heads = (method.student_head, method.teacher_head)
        norms = [x.grad.norm().item() for x in (ours, *(head.linear.weight for head in heads))]
        found = [terms["student"].value.item(), terms["teacher"].value.item(), *norms]
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=0.0)
    for bank, row in zip(banks, (STUDENT_ROW, TEACHER_ROW), strict=True):
        torch.testing.assert_close(bank.features[3].tolist(), row, rtol=0.0, atol=1e-6)


def test_the_defaults_are_those_of_the_literature():
    # -b 0.8 of scripts/run_cifar_distill.sh; --nce_k, --nce_t, --nce_m and --feat_dim of train_student.py
    crd = CRDConfig()
    assert (crd.weight, crd.negatives, crd.temperature, crd.momentum, crd.features) == (0.8, 16384, 0.07, 0.5, 128)


def test_negatives_are_rows_of_other_classes_never_the_sample_itself():
    method, batch = prepared(), batch_of(3, 17)
    present = method._present(method._memory, IDS, batch)
    assert present.tolist() == [[j % CLASSES != i % CLASSES for j in range(N)] for i in (3, 17)]


def test_where_the_memory_is_larger_negatives_are_drawn_anew_at_each_step_and_by_the_seed():
    method, other = prepared(negatives=25), prepared(seed=1, negatives=25)
    draws = [method._drawn(IDS)]
    assert method._drawn(IDS).equal(draws[0])
    for _ in range(400):
        method.after_step(0.0)
        draws.append(method._drawn(IDS))
    assert all(len(set(draw.tolist())) == 25 for draw in draws)
    assert len({tuple(sorted(draw.tolist())) for draw in draws}) == 401
    counts = torch.stack(draws).flatten().bincount(minlength=N)  # 250.6 each, standard deviation 9.7
    assert (counts - 401 * 25 / N).abs().max() < 5 * 9.7
    assert not other._drawn(IDS).equal(draws[0])


def test_negatives_of_each_sample_are_drawn_each_on_its_own():
    method, batch = prepared(negatives=25, shared_negatives=False), batch_of(3, 8, 13)
    assert method._drawn(IDS).equal(IDS)
    drawn = []
    for _ in range(400):
        drawn.append(method._present(method._memory, IDS, batch))
        method.after_step(0.0)
    same = batch.labels.unsqueeze(1) == IDS % CLASSES
    drawn = torch.stack(drawn)
    assert not drawn[:, same].any()
    rates = drawn.double().mean(0)[~same]  # 25 of 40, standard deviation 0.024
    assert (rates - 25 / N).abs().max() < 5 * 0.024
    assert not drawn[0, 0].equal(drawn[0, 1])
    assert step(method, 3, 8)["student"] > 0


def test_the_drawn_rows_are_what_the_loss_is_given():
    method = prepared(negatives=25)
    batch = batch_of(3, 17, 8)
    student, teacher = answers(batch)
    ours, drawn, bank = method.student_head(student.taps["embedding"]), method._drawn(IDS), method._memory.teacher
    present = drawn % CLASSES != batch.labels.unsqueeze(1)
    expected = losses.crd(ours, bank.features[batch.ids], bank.features[drawn], present=present).mean()
    assert method(student, teacher, batch)["student"].value.equal(expected)


def test_rows_are_written_after_the_step_by_momentum_and_normalisers_are_kept():
    method = prepared()
    before = method._memory.teacher.features.clone()
    batch = batch_of(3, 17)
    student, teacher = answers(batch)
    method(student, teacher, batch)
    levels = method._normalisers
    assert method._memory.teacher.features.equal(before)
    method.after_step(0.1)
    moved = 0.5 * before[batch.ids] + 0.5 * method.teacher_head(teacher.taps["embedding"])
    torch.testing.assert_close(method._memory.teacher.features[batch.ids], torch.nn.functional.normalize(moved))
    untouched = torch.tensor([i for i in range(N) if i not in (3, 17)])
    assert method._memory.teacher.features[untouched].equal(before[untouched])
    step(method, 5, 6)
    assert method._normalisers is levels


def test_the_backward_pass_may_follow_another_forward_pass():
    method, batch = prepared(), batch_of(3, 17)
    first, second = ([x.value for x in method(*answers(batch), batch).values()] for _ in range(2))  # accumulated
    sum(first + second).backward()
    assert method.student_head.linear.weight.grad.isfinite().all()


def test_the_memory_starts_as_directions_that_differ_from_row_to_row_and_side_to_side():
    student, teacher = prepared(ids=IDS[10:])._memory[1:]
    held = torch.cat([student.features[10:], teacher.features[10:]])
    torch.testing.assert_close(held.norm(dim=1), torch.ones(60))
    cosines = (held @ held.T).fill_diagonal_(0)
    assert cosines.abs().max() < 0.99
    assert abs(cosines.mean().item()) < 0.05
    assert student.labels.tolist() == [-1] * 10 + (IDS[10:] % CLASSES).tolist()


def test_a_sample_that_an_epoch_never_wrote_is_no_negative_any_more():
    method = prepared()
    step(method, 3, 17, epoch=0.5)
    everyone = method._present(method._memory, IDS, batch_of(1)).sum()
    step(method, 8, 21, epoch=1.5)
    left = method._present(method._memory, IDS, batch_of(1))
    assert everyone == 32
    assert left.nonzero()[:, 1].tolist() == [3, 8, 17]  # 21 is of its class


def test_a_resumed_method_goes_on_bit_for_bit():
    method, other = prepared(negatives=25), CRDConfig(features=8, negatives=25).build(OURS, THEIRS)
    step(method, 3, 17, 4)
    other.load_state_dict(method.state_dict())
    for ids in ((5, 3, 9), (1, 2, 3)):
        assert step(method, *ids) == step(other, *ids)
    assert method._memory.student.features.equal(other._memory.student.features)


def test_the_same_seed_gives_the_same_memory_on_every_rank_whatever_the_order_of_the_batches():
    one, other = prepared(), prepared(ids=IDS.flip(0))
    assert one._memory.student.features.equal(other._memory.student.features)
    assert not one._memory.student.features.equal(prepared(seed=1)._memory.student.features)


def test_two_classes_and_a_batch_of_one_stay_finite():
    method = prepared(ids=IDS[IDS % CLASSES < 2])
    assert all(torch.tensor(value).isfinite() for value in step(method, 5).values())
    alone = prepared(ids=IDS[IDS % CLASSES == 0])  # one class: no negatives at all
    assert all(torch.tensor(value).isfinite() for value in step(alone, 5, 10).values())


def test_what_cannot_work_is_refused():
    with pytest.raises(ConfigError, match="CRD has no memory yet: prepare it"):
        CRDConfig().build(OURS, THEIRS)(*answers(batch_of(1)), batch_of(1))
    with pytest.raises(ConfigError, match="negatives must be positive, got 0"):
        CRDConfig(negatives=0)
    with pytest.raises(ConfigError, match="momentum must be at least 0 and below 1, got 1"):
        CRDConfig(momentum=1.0)
    with pytest.raises(UnknownNameError, match="tap of the teacher"):
        CRDConfig().build(OURS, {"logits": (5,)})

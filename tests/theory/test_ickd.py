"""T1 to T6 of IC-KD. Each test prints a line of figures, which stands in ``docs/theory/ickd.md`` as it is."""

import itertools
import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from tutelage.losses import aggregate_context, kd, label_smoothing, negative_in_context, positive_in_context

NOTE = Path(__file__).parents[2] / "docs" / "theory" / "ickd.md"
N, K, C = 64, 8, 10
ALPHA, BETA = 0.3, 0.2
EXACT = 1e-13
FORMS = ("contrastive", "hinge")


@pytest.fixture
def figures():
    """Prints a line, and holds the note to it."""

    def show(line):
        print(line)
        assert line in NOTE.read_text(encoding="utf-8").splitlines(), f"the note does not say: {line}"

    return show


def normal(*shape, seed, scale=3.0):
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def setting():
    """Student, teacher, neighbours of the label's class, weights, one-hot labels: noise, and 4 for the true class."""
    labels = F.one_hot(torch.arange(N) % C, C).double()
    teacher = 4 * labels + normal(N, C, seed=1, scale=1.5)
    context = 4 * labels.unsqueeze(1) + normal(N, K, C, seed=2, scale=1.5)
    weights = normal(N, K, seed=3, scale=1.0).softmax(1)
    return normal(N, C, seed=0), teacher, context, weights, labels


def negatives():
    """Answers of the teacher for samples of the other classes in turn."""
    classes = (torch.arange(N).unsqueeze(1) + 1 + torch.arange(K)) % C
    return 4 * F.one_hot(classes, C).double() + normal(N, K, C, seed=5, scale=1.5)


def entropy(p):
    return -torch.special.xlogy(p, p).sum(-1)


def cross_entropy(target, logits):
    return -(target * logits.log_softmax(-1)).sum(-1)


def gradient(loss, logits):
    """Of each sample's loss by its own logits."""
    logits = logits.clone().requires_grad_()
    return torch.autograd.grad(loss(logits).sum(), logits)[0]


def far(a, b):
    return (a - b).abs().max().item()


def is_exact(gap):
    assert gap < EXACT
    return f"< {EXACT:.0e}"


def neighbours_one_by_one(student, context, weights, temperature=1.0):
    each = [positive_in_context(student, z.unsqueeze(1), torch.ones_like(weights[:, :1]), temperature=temperature)
            for z in context.unbind(1)]  # fmt: skip
    return (weights * torch.stack(each, 1)).sum(1)


def test_t1_kd_is_label_smoothing_with_the_teachers_distribution(figures):
    student, teacher, _, _, q = setting()

    def loss(s):
        return (1 - ALPHA) * cross_entropy(q, s) + ALPHA * kd(s, teacher, temperature=1.0)

    p_t = teacher.softmax(1)
    smoothed = (1 - ALPHA) * q + ALPHA * p_t
    value = far(loss(student), cross_entropy(smoothed, student) - ALPHA * entropy(p_t))
    slope = far(gradient(loss, student), student.softmax(1) - smoothed)
    figures(f"T1  value {is_exact(value)}  gradient {is_exact(slope)}")


def test_t1_a_teacher_that_knows_nothing_is_plain_label_smoothing():
    student, _, _, _, q = setting()
    loss = (1 - ALPHA) * cross_entropy(q, student) + ALPHA * kd(student, torch.zeros(N, C), temperature=1.0)
    expected = label_smoothing(student, q.argmax(1), smoothing=ALPHA, over="all") - ALPHA * math.log(C)
    assert far(loss, expected) < EXACT


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_t2_each_neighbour_or_their_mean_probability_teach_the_same(figures, temperature):
    student, _, context, weights, _ = setting()

    def apart(s):
        return neighbours_one_by_one(s, context, weights, temperature)

    def together(s):
        return positive_in_context(s, context, weights, temperature=temperature, aggregate="prob")

    each = (context / temperature).softmax(2)
    mean = (weights.unsqueeze(2) * each).sum(1)
    spread = temperature**2 * (entropy(mean) - (weights * entropy(each)).sum(1))
    value = far(apart(student) - together(student), spread)
    slope = far(gradient(apart, student), gradient(together, student))
    figures(
        f"T2  τ = {temperature:g}  value {is_exact(value)}  gradient {is_exact(slope)}  constant {spread.mean():.3f}"
    )
    assert spread.min() > 0


def test_t3_labels_teacher_and_neighbours_are_one_smoothed_target(figures):
    student, teacher, context, weights, q = setting()

    def loss(s):
        around = neighbours_one_by_one(s, context, weights)
        return (1 - ALPHA - BETA) * cross_entropy(q, s) + ALPHA * kd(s, teacher, temperature=1.0) + BETA * around

    p_t, each = teacher.softmax(1), context.softmax(2)
    target = (1 - ALPHA - BETA) * q + ALPHA * p_t + BETA * (weights.unsqueeze(2) * each).sum(1)
    constant = ALPHA * entropy(p_t) + BETA * (weights * entropy(each)).sum(1)
    value = far(loss(student), cross_entropy(target, student) - constant)
    slope = far(gradient(loss, student), student.softmax(1) - target)
    figures(f"T3  value {is_exact(value)}  gradient {is_exact(slope)}")
    assert far(target.sum(1), torch.ones(N)) < EXACT


@pytest.mark.parametrize("shared", [0.0, 0.5])
def test_t4_averaging_lowers_the_variance_of_the_target_by_the_sum_of_squared_weights(figures, shared):
    # All ways in which four neighbours draw one of five answers: with chance `shared` all the same, else each its own.
    answers = normal(5, C, seed=4).softmax(1)
    cosines = torch.linspace(0.9, 0.6, 4, dtype=torch.float64)
    weights = (cosines / 0.1).softmax(0)
    draws = torch.tensor(list(itertools.product(range(5), repeat=4)))
    chance = torch.full((len(draws),), (1 - shared) / 5**4, dtype=torch.float64)
    chance[(draws == draws[:, :1]).all(1)] += shared / 5
    mean = (weights.unsqueeze(1) * answers[draws]).sum(1)
    found = (chance.unsqueeze(1) * (mean - answers.mean(0)).square()).sum()
    ratio = (found / answers.var(0, unbiased=False).sum()).item()
    squares = weights.square().sum().item()
    assert abs(ratio - (squares + shared * (1 - squares))) < EXACT
    figures(f"T4  correlation {shared:g}  Σw² {squares:.3f}  variance of the mean / variance of one {ratio:.3f}")


def test_t5_minus_a_divergence_from_the_negatives_is_unbounded_below_and_ours_are_not(figures):
    _, teacher, _, weights, _ = setting()
    positive, others = teacher[:1], negatives()[:1]
    mean = (weights[:1].unsqueeze(2) * others.softmax(2)).sum(1)
    values = []
    for size in (10.0, 100.0, 1000.0):  # the student gives up the class that the negatives hold most of
        student = -size * F.one_hot(mean.argmax(1), C).double()
        plain = -kd(student, mean.log(), temperature=1.0).item()
        contrast, hinge = (negative_in_context(student, positive, others, form=x).item() for x in FORMS)
        figures(f"T5  logit -{size:g}  plain {plain:.2f}  contrastive {contrast:.2f}  hinge {hinge:.2f}")
        assert 0 <= contrast <= math.log(1 + K * math.exp(2 / 0.2))
        assert 0 <= hinge <= 0.5 + 2
        values.append(plain)
    slope = (values[2] - values[1]) / 900
    assert slope == pytest.approx(-mean.max().item(), rel=1e-12)


def test_t5_beside_the_labels_it_stays_unbounded_unless_the_target_covers_the_negatives(figures):
    student, teacher, _, weights, q = setting()
    target = 0.9 * q + 0.1 * teacher.softmax(1)
    mean = (weights.unsqueeze(2) * negatives().softmax(2)).sum(1)

    def loss(s, gamma):
        return cross_entropy(target, s) - gamma * kd(s, mean.log(), temperature=1.0)

    uncovered = (target - 0.1 * mean).amin(1) < 0
    most = (target / mean).amin(1).median()
    figures(
        f"T5  weight 0.1  unbounded for {uncovered.double().mean():.0%} of the samples  from weight {most:.4f} for half"
    )
    away = F.one_hot((target - 0.1 * mean).argmin(1), C).double()
    near, further = (loss(student - size * away, 0.1) for size in (1e3, 1e5))
    assert ((further < near) == uncovered).all()
    gamma = (target / mean).amin().item()  # now every class is covered
    least = (target - 0.999 * gamma * mean).clamp(min=0)
    bottom = loss((least / least.sum(1, keepdim=True)).log(), 0.999 * gamma)
    assert (loss(student - 1e3 * away, 0.999 * gamma) > bottom).all()
    assert (loss(student, 0.999 * gamma) > bottom).all()


@pytest.mark.parametrize("temperature", [1.0, 4.0, 16.0])
def test_t6_the_mean_of_logits_is_a_geometric_mean_and_another_target(figures, temperature):
    student, _, context, weights, q = setting()
    each = (context / temperature).softmax(2)
    product = (weights.unsqueeze(2) * each.log()).sum(1).exp()
    geometric = product / product.sum(1, keepdim=True)
    arithmetic = (weights.unsqueeze(2) * each).sum(1)
    found = [
        (aggregate_context(context, weights, temperature=temperature, aggregate=form) / temperature).softmax(1)
        for form in ("logit", "prob")
    ]
    assert far(found[0], geometric) < EXACT
    assert far(found[1], arithmetic) < EXACT

    # It is the student that the neighbours are least far from in the other direction.
    p = (student / temperature).softmax(1)
    backward = (weights * (p.unsqueeze(1) * (p.unsqueeze(1) / each).log()).sum(2)).sum(1)
    assert far(backward, (p * (p / geometric).log()).sum(1) - product.sum(1).log()) < EXACT

    apart = 0.5 * (geometric - arithmetic).abs().sum(1)
    label, other = ((q * x).sum(1).mean() for x in (geometric, arithmetic))
    figures(
        f"T6  τ = {temperature:g}  total variation {apart.mean():.4f}  largest {apart.max():.4f}  "
        f"label's share {label:.4f} and {other:.4f}"
    )

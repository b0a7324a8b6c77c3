"""CKD: groups that are sized, balanced, repeatable and saved, or given; no cross-entropy; presets; white box."""

import dataclasses

import pytest
import torch

from tutelage import losses
from tutelage.errors import ConfigError, ShapeError, UnknownNameError
from tutelage.losses.ckd import contrast
from tutelage.methods import METHODS, CKDConfig
from tutelage.types import Batch, Outputs

SHAPES = {"logits": (4,)}
NARROW = SHAPES | {"stage1": (3, 8, 8), "stage2": (4, 4, 4), "embedding": (6,)}
WIDE = SHAPES | {"stage1": (5, 8, 8), "stage2": (6, 2, 2), "embedding": (9,)}


def batch(n=8):
    ids = torch.randperm(1000, generator=torch.Generator().manual_seed(2))[:n]
    return Batch(torch.zeros(n, 1, 2, 2), torch.arange(n) % 4, ids, torch.zeros(n, dtype=torch.int64))


def logits(seed, n=8):
    return torch.randn(n, 4, generator=torch.Generator().manual_seed(seed))


def outputs(shapes, seed, n=8):
    generator = torch.Generator().manual_seed(seed)
    made = {role: torch.randn(n, *shape, generator=generator).requires_grad_() for role, shape in shapes.items()}
    return Outputs(made.pop("logits"), made)


def rows_of(outputs, order):
    return Outputs(outputs.logits[order], {role: value[order] for role, value in outputs.taps.items()})


def compared(monkeypatch, n=8, steps=0, **settings):
    """Positives, negatives and what the sides count in a step."""
    seen = []

    def spy(x, positives, negatives, *, sides):
        seen.append((positives, negatives, sides))
        return contrast(x, positives, negatives, sides=sides)

    monkeypatch.setattr("tutelage.methods.ckd.contrast", spy)
    method = CKDConfig(**settings).build(SHAPES, SHAPES)
    for _ in range(steps):
        method.after_step(0.0)
    method(Outputs(logits(0, n), {}), Outputs(logits(1, n), {}), batch(n))
    assert all(a is b for call in seen for a, b in zip(call[:2], seen[0][:2], strict=True))
    assert {call[2] for call in seen} == {seen[0][2]}
    return seen[0]


def groups_of(monkeypatch, n=8, steps=0, **settings):
    """The rows of the batch that a step compares."""
    return compared(monkeypatch, n, steps, **settings)[:2]


@pytest.mark.parametrize(("k", "positives", "negatives"), [(2, 1, 1), (3, 2, 1), (4, 2, 2), (5, 3, 2), (8, 4, 4)])
def test_groups_have_the_sizes_of_the_paper_and_no_sample_twice(monkeypatch, k, positives, negatives):
    ours, others = groups_of(monkeypatch, k=k)
    assert ours.shape == (8, positives)
    assert others.shape == (8, negatives)
    assert all(len(set(group)) == k for group in torch.cat([ours, others], 1).tolist())


@pytest.mark.parametrize(("k", "side"), [(2, 1), (3, 2), (4, 2), (5, 3)])
def test_given_groups_are_read_side_by_side_positives_first(monkeypatch, k, side):
    ours, others = groups_of(monkeypatch, n=4 * k, k=k, sampling="drawn")
    assert ours.tolist() == [list(range(g * k, g * k + side)) for g in range(4)]
    assert others.tolist() == [list(range(g * k + side, g * k + k)) for g in range(4)]


@pytest.mark.parametrize("distance", ["kl", "mse"])
@pytest.mark.parametrize("sampling", ["batch", "drawn"])
def test_its_terms_are_the_losses_of_its_name(monkeypatch, distance, sampling):
    settings = {"distance": distance, "sampling": sampling, "temperature": 3.0}
    groups = groups_of(monkeypatch, n=12, **settings)
    given = logits(0, 12), logits(1, 12), batch(12)
    terms = CKDConfig(**settings).build(SHAPES, SHAPES)(Outputs(given[0], {}), Outputs(given[1], {}), given[2])
    rest = {"distance": distance, "temperature": 3.0}
    assert terms["comparison"].value.equal(losses.comparative(*given[:2], *groups, **rest).mean())
    assert terms["labels"].value.equal(losses.comparative_labels(given[0], given[2].labels, *groups, **rest).mean())


def test_given_groups_are_the_same_at_every_step_and_asked_of_the_sampler(monkeypatch):
    first, later = (groups_of(monkeypatch, n=6, steps=s, sampling="drawn") for s in (0, 5))
    assert all(a.equal(b) for a, b in zip(first, later, strict=True))
    assert CKDConfig(sampling="drawn", k=5).build(SHAPES, SHAPES).needs.group_size == 5
    assert CKDConfig().build(SHAPES, SHAPES).needs.group_size is None


@pytest.mark.parametrize("n", [0, 2, 8])
def test_a_batch_that_is_not_made_of_groups_is_refused(n):
    method = CKDConfig(sampling="drawn").build(SHAPES, SHAPES)
    with pytest.raises(ShapeError, match=rf"a batch of groups of k=3 must be a multiple of 3, got {n}: choose"):
        method(Outputs(logits(0, n), {}), Outputs(logits(1, n), {}), batch(n))


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


@pytest.mark.parametrize("sampling", ["batch", "drawn"])
def test_groups_can_be_summed_and_mixed_instead(monkeypatch, sampling):
    for comparator in ("sum", "mixup"):
        settings = {"comparator": comparator, "sampling": sampling, "distance": "mse"}
        positives, negatives, sides = compared(monkeypatch, n=6, **settings)
        assert sides == (0.5, 0.5) if comparator == "sum" else 0 < sides[0] == 1 - sides[1] < 1
        ours, theirs = (
            sides[0] * x[positives].mean(1) + sides[1] * x[negatives].mean(1) for x in map(logits, (0, 1), (6, 6))
        )
        term = CKDConfig(**settings).build(SHAPES, SHAPES)(
            Outputs(logits(0, 6), {}), Outputs(logits(1, 6), {}), batch(6)
        )["comparison"]
        torch.testing.assert_close(term.value, (ours - theirs).square().mean())


def test_the_share_of_mixup_is_uniform_and_drawn_once_a_step(monkeypatch):
    shares = [compared(monkeypatch, n=6, steps=s, comparator="mixup")[2][0] for s in range(200)]
    assert len(set(shares)) == 200
    # the mean of 200 uniform numbers deviates by 0.02; each quarter of (0, 1) holds 50 with a deviation of 6
    assert 0.42 < sum(shares) / 200 < 0.58
    assert all(25 < sum(q <= 4 * share < q + 1 for share in shares) < 75 for q in range(4))


def test_mixing_draws_the_same_groups_as_the_difference(monkeypatch):
    mixed, plain = (groups_of(monkeypatch, comparator=c) for c in ("mixup", "difference"))
    assert all(a.equal(b) for a, b in zip(mixed, plain, strict=True))


def test_there_is_no_cross_entropy_unless_it_is_the_label_term():
    given = Outputs(logits(0), {}), Outputs(logits(1), {}), batch()
    assert CKDConfig().task_weight == 0.0
    assert set(CKDConfig().build(SHAPES, SHAPES)(*given)) == {"comparison", "labels", "mean_logit"}
    config = CKDConfig(label_term="ce", task_weight=0.3)
    assert set(config.build(SHAPES, SHAPES)(*given)) == {"comparison", "mean_logit"}


@pytest.mark.parametrize("form", [CKDConfig.ckd_arxiv, CKDConfig.ckd_wacv])
def test_labels_without_weight_are_not_compared_and_the_rest_is_as_it_was(form):
    given = Outputs(logits(0), {}), Outputs(logits(1), {}), batch()
    both = form().build(SHAPES, SHAPES)(*given)
    alone = dataclasses.replace(form(), label_weight=0.0).build(SHAPES, SHAPES)(*given)
    assert alone == {name: term for name, term in both.items() if name != "labels"}


def test_the_presets_are_those_of_the_two_releases():
    first, last = CKDConfig.ckd_arxiv(), CKDConfig.ckd_wacv()
    assert (first.k, first.distance, first.temperature, first.all_pairs) == (3, "kl", 4.0, False)
    assert (last.k, last.distance, last.all_pairs) == (2, "mse", True)
    # w_rel_defaults of train_student.py, https://github.com/alextxu/ckd at f8cc6bd
    assert first.weight == last.weight == first.label_weight == last.label_weight == 1.0
    given = CKDConfig.ckd_arxiv(sampling="drawn"), CKDConfig.ckd_wacv(sampling="drawn")
    assert [(c.k, c.distance, c.all_pairs, c.sampling) for c in given] == [
        (3, "kl", False, "drawn"),
        (2, "mse", False, "drawn"),
    ]


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


@pytest.mark.parametrize("settings", [{}, {"k": 2, "distance": "mse", "all_pairs": True}, {"sampling": "drawn"}])
def test_differences_move_the_weights_of_the_last_layer_and_not_its_bias(settings):
    layer = torch.nn.Linear(7, 4).double()
    inputs = torch.randn(12, 7, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    given = Outputs(layer(inputs), {}), Outputs(logits(1, 12).double(), {}), batch(12)
    terms = CKDConfig(**settings).build(SHAPES, SHAPES)(*given)
    sum(term.value * term.weight for term in terms.values()).backward()
    assert layer.weight.grad.abs().max() > 0.01
    assert layer.bias.grad.abs().max() < 1e-15


def test_the_mean_logit_is_written_and_teaches_nothing():
    given = outputs(SHAPES, 0), outputs(SHAPES, 1), batch()
    term = CKDConfig().build(SHAPES, SHAPES)(*given)["mean_logit"]
    assert term.value.item() == pytest.approx(given[0].logits.mean().item(), rel=1e-6)
    assert term.weight == 0.0
    assert not term.value.requires_grad


def test_a_batch_with_fewer_answers_than_a_group_is_left_out():
    assert CKDConfig(k=5).build(SHAPES, SHAPES).needs.at_least == 5
    assert CKDConfig.ckd_wacv().build(SHAPES, SHAPES).needs.at_least == 2


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
        ({"sampling": "epoch"}, "sampling must be one of batch, drawn, got 'epoch'"),
        ({"sampling": "drawn", "groups": 4}, "with sampling='drawn' the batch says how many groups, got 4: leave"),
        (
            {"sampling": "drawn", "k": 2, "distance": "mse", "all_pairs": True},
            "all_pairs compares samples, not the gro",
        ),
        ({"features": "vid", "k": 2, "distance": "mse", "all_pairs": True}, "features='vid' compares groups, got all_"),
        ({"features": "cc", "groups": 1}, "features compare groups with each other, got groups=1: draw at least 2"),
        ({"features": "crd"}, "features must be one of None, cc, fitnet, vid, got 'crd'"),
        ({"features": "cc", "features_weight": -1.0}, "features_weight must be at least 0, got -1"),
        ({"features": "cc", "features_weight": float("nan")}, "features_weight must be at least 0, got nan"),
        ({"features_weight": 2.0}, "features_weight and roles belong to the white box, got features=None"),
        ({"roles": ("stage2",)}, "features_weight and roles belong to the white box, got features=None"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong, message):
    with pytest.raises(ConfigError, match=message):
        CKDConfig(**wrong)


WHITE = pytest.mark.parametrize("sampling", ["batch", "drawn"])
KINDS = pytest.mark.parametrize("kind", ["fitnet", "vid", "cc"])


def white(kind, **settings):
    torch.manual_seed(0)
    return CKDConfig(features=kind, **settings).build(NARROW, WIDE)


@KINDS
@WHITE
def test_differences_of_features_go_through_the_method_of_that_name(monkeypatch, kind, sampling):
    groups = groups_of(monkeypatch, n=12, sampling=sampling)
    student, teacher = outputs(NARROW, 0, 12), outputs(WIDE, 1, 12)
    found = white(kind, sampling=sampling)(student, teacher, batch(12))["features"]
    torch.manual_seed(0)
    method = METHODS[kind]().build(NARROW, WIDE)
    differences = [
        Outputs(x.logits, {role: contrast(x.taps[role], *groups) for role in method.needs.roles})
        for x in (student, teacher)
    ]
    (expected,) = method(*differences, batch(12)).values()
    assert found.value.equal(expected.value)
    # w_inter_defaults of train_student.py, https://github.com/alextxu/ckd at f8cc6bd
    assert found.weight == {"fitnet": 100.0, "vid": 1.0, "cc": 0.02}[kind]


# VIDLoss of distiller_zoo/VID.py on the feature differences of InterCKDTrainHelpers, in float64, with the weights of
# the test: the loss, the norm of its gradient, the gradient of student[0, 1, 2, 1]; k = 3.
# https://github.com/alextxu/ckd/blob/f8cc6bde87b452953fe6dfe7b27021020586907d/helper/InterCKDTrainHelpers.py
def test_the_white_box_of_vid_is_that_of_the_authors():
    def wave(*shape, phase=0.0):
        k = torch.arange(1, torch.Size(shape).numel() + 1, dtype=torch.float64)
        return torch.sin(0.37 * k * k + phase).reshape(shape)

    shapes = SHAPES | {"stage2": (4, 3, 3)}
    method = CKDConfig(features="vid", sampling="drawn").build(shapes, shapes).double()
    weights = [weight for name, weight in method.named_parameters() if "adapter" in name]
    for number, weight in enumerate(weights):
        weight.data.copy_(wave(4, 4, 1, 1, phase=float(number)))
    student, teacher = wave(6, 4, 3, 3).requires_grad_(), wave(6, 4, 3, 3, phase=1.0)
    order = [0, 1, 4, 2, 3, 5, 5, 0, 1]
    given = (Outputs(logits(0, 9), {"stage2": x[order]}) for x in (student, teacher))
    value = method(*given, batch(9))["features"].value
    (gradient,) = torch.autograd.grad(value, student)
    found = [value.item(), gradient.norm().item(), gradient[0, 1, 2, 1].item()]
    # 1e-6: the variance starts as a float32
    expected = [1.10574427014264, 0.0983025828261073, -0.00104530015360882]
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0.0)


@KINDS
def test_the_losses_of_several_features_are_added(kind):
    given = outputs(NARROW, 0), outputs(WIDE, 1), batch()
    both = white(kind, roles=("stage1", "stage2"), features_weight=0.3)
    assert both.needs.roles == ("stage1", "stage2")
    term = both(*given)["features"]
    parts = []
    for number, role in enumerate(both.needs.roles):
        one = white(kind, roles=(role,))
        one.features[0].load_state_dict(both.features[number].state_dict())
        parts.append(one(*given)["features"].value)
    torch.testing.assert_close(term.value, sum(parts))
    assert term.weight == 0.3
    assert white(kind, features_weight=0.0)(*given)["features"].weight == 0.0


@KINDS
def test_the_white_box_teaches_student_and_adapters_and_not_the_teacher(kind):
    # five groups: with one a sample each is as often positive as negative (in the mean), and the last bias rests, too
    student, teacher = outputs(NARROW, 0), outputs(WIDE, 1)
    method = white(kind, groups=5)
    method(student, teacher, batch())["features"].value.backward()
    (role,) = method.needs.roles
    assert student.taps[role].grad.abs().sum() > 0
    assert all(value.grad is None for value in (student.logits, teacher.logits, *teacher.taps.values()))
    # batch norm takes away any bias before it
    trained = {name for name, weight in method.named_parameters() if weight.grad.abs().sum() > 1e-6}
    assert {name for name, _ in method.named_parameters()} - trained <= {"features.0.adapter.0.bias"}
    assert bool(trained) == (kind != "cc")


@KINDS
def test_permuting_the_batch_does_not_change_the_white_box(kind):
    order = torch.randperm(8, generator=torch.Generator().manual_seed(3))
    student, teacher, method = outputs(NARROW, 0), outputs(WIDE, 1), white(kind)
    before = method(student, teacher, batch())["features"].value
    after = method(rows_of(student, order), rows_of(teacher, order), Batch(*(x[order] for x in batch())))
    torch.testing.assert_close(after["features"].value, before)


@KINDS
def test_a_shift_of_all_features_changes_nothing(kind):
    student, teacher = outputs(NARROW, 0), outputs(WIDE, 1)
    moved = [Outputs(x.logits, {role: v + 3 * v[:1] for role, v in x.taps.items()}) for x in (student, teacher)]
    shift = [Outputs(x.logits, {role: 3 * v[:1] for role, v in x.taps.items()}) for x in (student, teacher)]
    before, after = (white(kind)(*given, batch())["features"].value for given in ((student, teacher), moved))
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-6)
    assert all(value.abs().max() > 1 for x in shift for value in x.taps.values())


@KINDS
def test_the_state_of_the_white_box_is_whole(kind):
    method, other = white(kind), CKDConfig(features=kind).build(NARROW, WIDE)
    given = outputs(NARROW, 0), outputs(WIDE, 1), batch()
    for _ in range(3):
        method(*given)
        method.after_step(0.0)
    other.load_state_dict(method.state_dict())
    ours, theirs = method(*given), other(*given)
    assert all(ours[name].value.equal(theirs[name].value) for name in ours)


@KINDS
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_features_of_half_precision_are_compared_in_float32(kind, dtype):
    def half(x):
        return Outputs(x.logits.to(dtype), {role: (100 * value).to(dtype) for role, value in x.taps.items()})

    terms = white(kind)(half(outputs(NARROW, 0)), half(outputs(WIDE, 1)), batch())
    assert all(term.value.dtype == torch.float32 and term.value.isfinite() for term in terms.values())


@KINDS
def test_features_of_a_single_group_are_refused(kind):
    with pytest.raises(ShapeError, match="features compare groups with each other, got 1 group: use a larger batch"):
        white(kind, sampling="drawn")(outputs(NARROW, 0, 3), outputs(WIDE, 1, 3), batch(3))


@pytest.mark.parametrize("kind", ["fitnet", "vid"])
def test_features_that_are_missing_or_of_another_kind_are_refused(kind):
    with pytest.raises(UnknownNameError, match="tap of the teacher 'stage2'"):
        CKDConfig(features=kind).build(NARROW, SHAPES)
    with pytest.raises(ShapeError, match=rf"{kind} compares two maps or two vectors, but 'stage2' is \(4, 4, 4\)"):
        CKDConfig(features=kind).build(NARROW, SHAPES | {"stage2": (6,)})

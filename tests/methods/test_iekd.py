"""IE-KD: the split, the three forms, what is trained and what is not, and what becomes of the two halves."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F

from tutelage.data import open_dataset
from tutelage.engine import start
from tutelage.errors import ConfigError, ShapeError
from tutelage.methods import IEKDConfig, phases_of
from tutelage.methods.adapters.halves import Split, halves_of
from tutelage.methods.adapters.places import same_places
from tutelage.models import build_network, load_network
from tutelage.ops.similarity import linear_cka
from tutelage.types import Batch, Outputs

BATCH = Batch(torch.zeros(5, 1, 2, 2), *3 * [torch.arange(5)])

FORMS = ["ft", "at", "od"]
PAIRS = [
    ((6, 4, 4), (8, 4, 4)),
    ((6, 2, 2), (8, 4, 4)),
    ((7, 5, 3), (9, 2, 8)),  # odd channel counts, sizes of neither
    ((64, 4, 4), (3, 4, 4)),  # the student is larger
    ((5, 6), (9, 8)),  # tokens
]


def followed(ours=(6, 4, 4), theirs=(8, 4, 4), **settings):
    torch.manual_seed(0)
    shapes, config = [{"stage2": ours}, {"stage2": theirs}], IEKDConfig(role="stage2", **settings)
    method = config.build(*shapes)
    method.follow({phase.name: phase.method.build(*shapes) for phase in phases_of(config)})
    return method


def outputs(shape, seed, scale=1.0, n=5):
    value = torch.randn(n, *shape, generator=torch.Generator().manual_seed(seed)) * scale
    value.requires_grad_()
    return Outputs(value, {"stage2": value})


class TestSplit:
    @pytest.mark.parametrize("order", ["natural", "random"])
    @pytest.mark.parametrize("channels", [2, 7, 64])
    @pytest.mark.parametrize("ratio", [0.0, 0.01, 0.25, 0.5, 0.75, 0.99, 1.0])
    def test_the_halves_are_disjoint_and_complete_and_neither_vanishes(self, order, channels, ratio):
        split = Split(channels, ratio=ratio, order=order)
        assert sorted([*split.inheriting.tolist(), *split.exploring.tolist()]) == list(range(channels))
        if 0 < ratio < 1:
            assert min(len(split.inheriting), len(split.exploring)) >= 1
        else:
            assert len(split.inheriting) == ratio * channels

    def test_of_an_odd_number_the_smaller_half_inherits_as_in_the_release(self):
        assert Split(7, ratio=0.5, order="natural").inheriting.tolist() == [0, 1, 2]
        assert len(Split(100, ratio=0.29, order="natural").inheriting) == 29

    def test_a_random_split_depends_on_its_seed_alone(self):
        one, same, other = (Split(64, ratio=0.5, order="random", seed=seed).inheriting for seed in (0, 0, 1))
        assert torch.equal(one, same)
        assert not torch.equal(one, other)

    def test_it_is_restored_from_the_state_whatever_the_seed(self):
        one, other = followed(split="random", split_seed=1), followed(split="random", split_seed=2)
        assert not torch.equal(one.split.inheriting, other.split.inheriting)
        other.load_state_dict(one.state_dict())
        assert torch.equal(one.split.inheriting, other.split.inheriting)
        assert torch.equal(one.split.exploring, other.split.exploring)

    def test_one_channel_has_no_halves(self):
        with pytest.raises(ShapeError, match="a feature of 1 channel has no halves: set ratio to 0 or 1"):
            Split(1, ratio=0.5, order="natural")


class TestTerms:
    @pytest.mark.parametrize("form", FORMS)
    @pytest.mark.parametrize(("ours", "theirs"), PAIRS)
    def test_every_form_compares_features_of_every_size(self, form, ours, theirs):
        student, teacher = outputs(ours, 0), outputs(theirs, 1)
        terms = followed(ours, theirs, form=form)(student, teacher, BATCH)
        assert set(terms) == {"inheritance", "exploration"}
        sum(term.value * term.weight for term in terms.values()).backward()
        assert student.logits.grad.isfinite().all()
        assert teacher.logits.grad is None

    @pytest.mark.parametrize("distance", ["l1", "l2", "cosine"])
    def test_vectors_have_halves_too(self, distance):
        terms = followed((7,), (9,), distance=distance)(outputs((7,), 0), outputs((9,), 1), BATCH)
        assert all(term.value.isfinite() for term in terms.values())

    def test_exploration_is_bounded_below(self):
        terms = followed()(outputs((6, 4, 4), 0), outputs((8, 4, 4), 1), BATCH)
        assert -2 / (4 * 4 * 4) ** 0.5 <= terms["exploration"].value < 0
        terms = followed(form="at")(outputs((6, 4, 4), 0), outputs((8, 4, 4), 1), BATCH)
        assert -2 / 16 <= terms["exploration"].value < 0

    @pytest.mark.parametrize("form", FORMS)
    @pytest.mark.parametrize(("ratio", "left"), [(0.0, "exploration"), (1.0, "inheritance")])
    def test_at_a_ratio_of_0_or_1_the_term_of_the_missing_half_is_left_out(self, form, ratio, left):
        student, teacher = outputs((6, 4, 4), 0), outputs((8, 4, 4), 1)
        assert set(followed(form=form, ratio=ratio)(student, teacher, BATCH)) == {left}

    @pytest.mark.parametrize("form", FORMS)
    def test_each_half_has_the_gradient_of_its_own_term_alone(self, form):
        student, teacher = outputs((6, 4, 4), 0), outputs((8, 4, 4), 1)
        terms = followed(form=form)(student, teacher, BATCH)
        for term, still in (("inheritance", slice(3, 6)), ("exploration", slice(0, 3))):
            (gradient,) = torch.autograd.grad(terms[term].value, student.logits, retain_graph=True)
            assert gradient.abs().sum() > 0
            assert gradient[:, still].abs().max() == 0

    @pytest.mark.parametrize("form", FORMS)
    @pytest.mark.parametrize("scale", [0.0, 1e-20])
    def test_features_of_zero_norm_keep_terms_and_gradient_finite(self, form, scale):
        for ours, theirs in ((scale, 1.0), (1.0, scale)):
            student, teacher = outputs((6, 4, 4), 0, ours), outputs((8, 4, 4), 1, theirs)
            terms = followed(form=form)(student, teacher, BATCH)
            sum(term.value * term.weight for term in terms.values()).backward()
            assert all(term.value.isfinite() for term in terms.values())
            assert student.logits.grad.isfinite().all()

    def test_the_weights_are_those_of_the_forms(self):
        assert [IEKDConfig(form=form).weights for form in FORMS] == [(50.0, 50.0), (1000.0, 1000.0), (1e-3, 50.0)]
        assert IEKDConfig(inherit=0.0, explore=3.0).weights == (0.0, 3.0)


class TestStages:
    @pytest.mark.parametrize("form", ["ft", "od"])
    def test_neither_teacher_nor_auto_encoder_is_moved(self, form):
        method, student, teacher = followed(form=form), outputs((6, 4, 4), 0), outputs((8, 4, 4), 1)
        before = {name: value.clone() for name, value in method.encoder.coder.state_dict().items()}
        method.train()
        sum(term.value * term.weight for term in method(student, teacher, BATCH).values()).backward()
        assert teacher.logits.grad is None
        assert all(weight.grad is None for weight in method.encoder.parameters())
        after = method.encoder.coder.state_dict()
        assert all(torch.equal(after[name], value) for name, value in before.items())  # running statistics as well
        trained = [method.inheriting, method.exploring]
        assert all(weight.grad is not None for half in trained for weight in half.parameters())

    def test_there_is_an_auto_encoder_only_where_a_term_reads_its_factor(self):
        def has(**settings):
            return bool(phases_of(IEKDConfig(**settings)))

        assert has()
        assert has(form="od")
        assert has(ratio=0.0)
        assert not has(form="at")
        assert not has(form="od", ratio=1.0)
        assert not has(inherit=0.0, explore=0.0)

    def test_without_weights_it_is_training_by_labels_alone(self, tiny, teacher_run, tmp_path):
        start(tiny(), tmp_path / "ce")
        start(tiny(IEKDConfig(inherit=0.0, explore=0.0), teacher_run), tmp_path / "iekd")
        prints = [load_network(tmp_path / name).fingerprint() for name in ("ce", "iekd")]
        assert prints[0] == prints[1]

    def test_a_run_trains_the_auto_encoder_first(self, tiny, teacher_run, tmp_path):
        result = start(tiny(IEKDConfig(), teacher_run), tmp_path / "run")
        assert [(stage["name"], stage["trains"]) for stage in result["stages"]] == [
            ("auto_encoder", "method"),
            ("student", "student"),
        ]


class TestFigures:
    def test_a_half_that_says_what_the_teacher_says_has_cka_1_and_one_that_says_something_else_0(self):
        method, theirs = followed((8, 4, 4), (4, 4, 4)), outputs((4, 4, 4), 0, n=400)
        turned = -3 * theirs.logits.flip(1) + 7  # CKA does not see turns, scales and shifts
        other = outputs((4, 4, 4), 1, n=400).logits
        feature = torch.cat([turned, other], 1)
        found = method.figures(Outputs(feature, {"stage2": feature}), theirs)
        assert found["cka_inheritance"].item() == pytest.approx(1, abs=1e-6)
        assert abs(found["cka_exploration"].item()) < 0.02
        swapped = torch.cat([other, turned], 1)
        found = method.figures(Outputs(swapped, {"stage2": swapped}), theirs)
        assert found["cka_exploration"].item() == pytest.approx(1, abs=1e-6)

    @pytest.mark.parametrize("pair", PAIRS)
    def test_they_are_there_for_every_kind_of_feature(self, pair):
        ours, theirs = pair
        found = followed(ours, theirs).figures(outputs(ours, 0), outputs(theirs, 1))
        assert set(found) == {"cka_inheritance", "cka_exploration"}
        assert all(value.shape == () and value.isfinite() for value in found.values())

    @pytest.mark.parametrize(("ratio", "left"), [(0.0, "cka_exploration"), (1.0, "cka_inheritance")])
    def test_a_half_without_channels_has_none(self, ratio, left):
        assert set(followed(ratio=ratio).figures(outputs((6, 4, 4), 0), outputs((8, 4, 4), 1))) == {left}

    def test_a_half_without_a_weight_has_one_all_the_same(self):
        found = followed(explore=0.0).figures(outputs((6, 4, 4), 0), outputs((8, 4, 4), 1))
        assert set(found) == {"cka_inheritance", "cka_exploration"}

    @pytest.mark.parametrize("settings", [{}, {"ratio": 0.3, "split": "random", "split_seed": 5}])
    def test_whoever_looks_at_the_student_later_finds_the_same_halves(self, settings):
        shapes = {"stage1": (4, 8, 8), "stage2": (9, 4, 4)}, {"stage1": (4, 8, 8), "stage2": (8, 4, 4)}
        method = IEKDConfig(**settings).build(*shapes)
        role, split = halves_of(IEKDConfig(**settings), *shapes)
        assert role == method.role
        assert torch.equal(split.inheriting, method.split.inheriting)
        assert torch.equal(split.exploring, method.split.exploring)


class TestRefusals:
    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"form": "xt"}, "form must be one of ft, at, od, got 'xt'"),
            ({"ratio": 1.5}, "ratio must be a share of the channels, at most 1, got 1.5"),
            ({"split": "odd"}, "split must be one of natural, random, got 'odd'"),
            ({"distance": "l3"}, "distance must be one of l1, l2, cosine, got 'l3'"),
            ({"explore": -1.0}, "explore must be at least 0, got -1"),
            ({"form": "at", "distance": "l2"}, "the form 'at' has none: leave out 'l2'"),
        ],
    )
    @pytest.mark.usefixtures("own_messages")
    def test_settings_that_mean_nothing_are_refused(self, settings, message):
        with pytest.raises(ConfigError, match=message):
            IEKDConfig(**settings)

    def test_attention_needs_places(self):
        with pytest.raises(ShapeError, match="'stage2' is a vector: name a map"):
            followed((6,), (8,), form="at")


def learn(modules, loss, steps, lr, generator, n):
    weights = [weight for module in modules for weight in module.parameters() if weight.requires_grad]
    optimizer = torch.optim.SGD(weights, lr=lr, momentum=0.9, nesterov=True, weight_decay=5e-4)
    for _ in range(steps):
        optimizer.zero_grad()
        loss(torch.randint(n, (64,), generator=generator)).backward()
        optimizer.step()


def moved(teacher_run, seed, config):
    """Similarity of the halves to the teacher, after steps of labels, and then after as many of IE-KD."""
    store = open_dataset("digits").train
    images, labels = store.images[:640].permute(0, 3, 1, 2).contiguous(), store.labels[:640]
    teacher = load_network(teacher_run).eval()
    torch.manual_seed(seed)
    student = build_network(dataclasses.replace(teacher.card, model="zoo:digits_small"))
    for network in (teacher, student):
        network.listen(["stage2"])
    with torch.no_grad():
        said = teacher(images)
    generator, shapes = torch.Generator().manual_seed(seed), (student.shapes, teacher.shapes)
    encoders = [phase.method.build(*shapes) for phase in phases_of(config)]
    method = config.build(*shapes)

    def answers(i):
        return Outputs(said.logits[i], {"stage2": said.taps["stage2"][i]})

    def similarities():
        student.eval()
        with torch.no_grad():
            ours, theirs = same_places(student(images).taps["stage2"], said.taps["stage2"])
        student.train()
        return [linear_cka(half.flatten(1), theirs.flatten(1)).item() for half in method.halves(ours)]

    def by_labels(i):
        return F.cross_entropy(student(images[i]).logits, labels[i])

    def by_both(i):
        out = student(images[i])
        terms = method(out, answers(i), BATCH).values()
        return F.cross_entropy(out.logits, labels[i]) + sum(term.value * term.weight for term in terms)

    def by_themselves(i):
        return encoders[0](answers(i), answers(i), BATCH)["reconstruction"].value

    learn([student], by_labels, 150, 0.05, generator, len(images))
    before = similarities()
    for encoder in encoders:
        learn([encoder], by_themselves, 60, 0.1, generator, len(images))
        method.follow({"auto_encoder": encoder})
    learn([student, method], by_both, 150, 0.05, generator, len(images))
    return before, similarities()


@pytest.mark.slow
@pytest.mark.parametrize("seed", [3, 4])
def test_the_inheriting_half_comes_nearer_to_the_teacher_and_ends_nearer_than_the_exploring_one(teacher_run, seed):
    # Of factors. That the exploring half moves away did not show: its encoder can do that in its place, docs/log.md.
    before, (inherited, explored) = moved(teacher_run, seed, IEKDConfig())
    assert inherited > before[0]
    assert explored < inherited


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3, 9))
def test_compared_by_attention_one_half_comes_nearer_to_the_teacher_and_the_other_moves_away(teacher_run, seed):
    before, (inherited, explored) = moved(teacher_run, seed, IEKDConfig(form="at", inherit=10.0, explore=10.0))
    assert inherited > before[0] + 0.02
    assert explored < before[1] - 0.1

"""Methods add up: every pair of them, what is merged, what is refused and why, and how a sum is written."""

import dataclasses
import itertools
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import ClassVar

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tutelage import losses
from tutelage.engine.objective import Objective
from tutelage.errors import ConfigError
from tutelage.labels import LabelSpace
from tutelage.methods import (
    METHODS,
    CKDConfig,
    CSKDConfig,
    DMLConfig,
    FitNetConfig,
    ICKDConfig,
    IEKDConfig,
    KDConfig,
    LabelSmoothingConfig,
    Method,
    Needs,
    ONEConfig,
    Phase,
    RKDConfig,
    SumConfig,
    Summable,
    TfKDConfig,
    ensemble_of,
    is_taught,
    learns_from_peers,
    phases_of,
    summands,
)
from tutelage.methods.sum import merged
from tutelage.types import Batch, Outputs, Term

SHAPES = {"logits": (10,), "embedding": (12,), "stage1": (4, 8, 8), "stage2": (6, 4, 4), "stage3": (8, 2, 2)}
WIDER = {"logits": (10,), "embedding": (20,), "stage1": (8, 8, 8), "stage2": (16, 4, 4), "stage3": (20, 2, 2)}
PAIRS = list(itertools.combinations(sorted(METHODS), 2))


def samples(n, first=0):
    """Two of each of four classes, and eight different images."""
    ids = torch.arange(first, first + n)
    return Batch(torch.zeros(n, 1, 8, 8), ids % 4, ids, 0 * ids)


class Known(nn.Module):
    """A network that knows images by their id: one layer a role."""

    labels, fingerprint, calls = LabelSpace(tuple("abcdefghij")), "known", 0

    def __init__(self, shapes, seed):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.shapes = shapes
        self.sight = torch.randn(24, 6, generator=generator)
        self.weights = nn.ParameterDict(
            {role: torch.randn(6, *shape, generator=generator) * 0.3 for role, shape in shapes.items()}
        )

    def listen(self, roles):
        """All roles are answered."""

    def compile(self):
        """There is nothing to compile."""

    def forward(self, batch):
        made = {role: torch.tensordot(self.sight[batch.ids], weight, 1) for role, weight in self.weights.items()}
        return Outputs(made.pop("logits"), made)


def learner():
    return Known(SHAPES, 0)


def frozen(shapes=WIDER, seed=1):
    return Known(shapes, seed).requires_grad_(False)


def everything():
    yield samples(24)


def ready(config, teacher):
    """The module after its earlier stages (untrained) and its preparation."""
    torch.manual_seed(0)
    earlier = {}
    for phase in phases_of(config):
        earlier[phase.name] = ready(phase.method, teacher)
    method = config.build(SHAPES, teacher.shapes)
    method.follow(earlier)
    method.prepare(teacher, everything)
    return method


def reason(one, other):
    """Why two methods cannot be added with their defaults; None where they can."""
    pair = [METHODS[one](), METHODS[other]()]
    among, taught = [any(map(question, pair)) for question in (learns_from_peers, is_taught)]
    if among and taught:
        return "learns from peers and .* from a teacher, and a run has one of them"
    together = [ensemble_of(config, [SHAPES, SHAPES]) is not None for config in pair]
    if any(together) and all(map(learns_from_peers, pair)):
        return "every network learns from the ensemble alone"
    return None


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_every_pair_of_methods_learns_for_a_few_steps_or_is_refused_with_the_reason(one, other):
    refusal = reason(one, other)
    if refusal is not None:
        with pytest.raises(ConfigError, match=refusal):
            METHODS[one]() + METHODS[other]()
        return
    config = METHODS[one]() + METHODS[other]()
    alike = any(map(learns_from_peers, config.parts)) or not is_taught(config)
    student, teacher = learner(), frozen(SHAPES if alike else WIDER)
    method = ready(config, teacher)
    before = [weight.detach().clone() for weight in student.parameters()]
    optimizer = torch.optim.SGD([*student.parameters(), *method.parameters()], lr=1e-4)
    names = set()
    for step in range(3):
        batch = samples(8, first=8 * step)
        ours = student(batch)
        terms = method(ours, teacher(batch), batch)
        total = config.task_weight * F.cross_entropy(ours.logits, batch.labels)
        total = total + sum(term.value * term.weight for term in terms.values())
        assert total.isfinite()
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        method.after_step((step + 1) / 3)
        names |= {name.partition(".")[0] for name in terms}
    assert names <= {one, other}
    assert any(not torch.equal(a, b) for a, b in zip(before, student.parameters(), strict=True))


def test_every_config_can_be_added():
    assert all(issubclass(config, Summable) for config in METHODS.values())


class TestTerms:
    config = 0.5 * KDConfig() + RKDConfig() + 3 * FitNetConfig()

    def test_they_are_those_of_the_parts_weighted(self):
        student, teacher, batch = learner(), frozen(), samples(8)
        method = ready(self.config, teacher)
        ours, theirs = student(batch), teacher(batch)
        found = method(ours, theirs, batch)
        expected = {
            "kd": losses.kd(ours.logits, theirs.logits).mean(),
            "rkd.distance": losses.rkd_distance(ours.taps["embedding"], theirs.taps["embedding"]).mean(),
            "rkd.angle": losses.rkd_angle(ours.taps["embedding"], theirs.taps["embedding"]).mean(),
        }
        assert list(found) == [*expected, "fitnet.hint"]
        for name, value in expected.items():
            torch.testing.assert_close(found[name].value, value)
        assert [term.weight for term in found.values()] == [0.45, 25.0, 50.0, 300.0]

    def test_the_gradient_of_the_sum_is_the_sum_of_the_gradients(self):
        student, teacher, batch = learner(), frozen(), samples(8)
        method = ready(self.config, teacher)

        def gradient(module):
            terms = module(student(batch), teacher(batch), batch).values()
            total = sum(term.value * term.weight for term in terms)
            return torch.autograd.grad(total, list(student.parameters()), allow_unused=True, materialize_grads=True)

        parts = [gradient(part) for part in method.parts.values()]
        expected = [0.5 * a + b + 3 * c for a, b, c in zip(*parts, strict=True)]
        torch.testing.assert_close(list(gradient(method)), expected)

    def test_each_part_is_asked_once(self):
        method, asked = ready(self.config, frozen()), []
        for key, part in method.parts.items():
            part.register_forward_hook(lambda *_, key=key: asked.append(key))
        method(learner()(samples(8)), frozen()(samples(8)), samples(8))
        assert asked == ["kd", "rkd", "fitnet"]

    def test_the_state_of_all_parts_is_kept(self):
        config, teacher, batch = 0.5 * ICKDConfig() + FitNetConfig() + CKDConfig(), frozen(), samples(8)
        method = ready(config, teacher)
        method.after_step(1.5)
        again = config.build(SHAPES, WIDER)
        again.load_state_dict(method.state_dict())
        ours, theirs = learner()(batch), teacher(batch)
        for found, expected in zip(
            again(ours, theirs, batch).values(), method(ours, theirs, batch).values(), strict=True
        ):
            assert torch.equal(found.value, expected.value)
            assert found.weight == expected.weight

    def test_one_method_may_be_there_twice(self):
        config = FitNetConfig() + KDConfig() + FitNetConfig(role="stage1")
        terms = ready(config, frozen())(learner()(samples(8)), frozen()(samples(8)), samples(8))
        assert list(terms) == ["fitnet.hint", "kd", "fitnet2.hint"]
        assert terms["fitnet.hint"].value != terms["fitnet2.hint"].value

    def test_a_part_without_a_teacher_hears_the_student_itself(self):
        class Ear(Method):
            def forward(self, student, teacher, batch):
                self.heard = teacher
                return {"ear": Term(student.logits.mean(), 1.0)}

        @dataclass(frozen=True, kw_only=True)
        class EarConfig(Summable):
            name: ClassVar[str] = "ear"
            teacher_free: ClassVar[bool] = True
            task_weight: float = 1.0

            def build(self, student, teacher):
                return Ear(Needs(teacher=False))

        method, ours = ready(KDConfig() + EarConfig(), frozen()), learner()(samples(8))
        method(ours, frozen()(samples(8)), samples(8))
        heard = method.parts["ear"].heard
        assert torch.equal(heard.logits, ours.logits)
        assert not heard.logits.requires_grad
        assert not any(tap.requires_grad for tap in heard.taps.values())


class TestTaskWeight:
    @pytest.mark.parametrize(
        ("config", "weight"),
        [
            (KDConfig() + RKDConfig(), 1.0),
            (RKDConfig() + KDConfig(), 1.0),
            (0.1 * RKDConfig() + CKDConfig(), 1.0),
            (TfKDConfig() + KDConfig(), 0.9),
            (0.5 * KDConfig(), 0.1),
            (KDConfig() + LabelSmoothingConfig(), 0.0),
            ((LabelSmoothingConfig() + KDConfig()) + RKDConfig(), 0.0),
            (RKDConfig() + LabelSmoothingConfig(task_weight=0.5), 0.5),
            (replace(KDConfig() + RKDConfig(), task_weight=0.1), 0.1),
        ],
    )
    def test_it_is_the_largest_unless_a_part_teaches_the_labels_or_it_is_given(self, config, weight):
        assert config.task_weight == weight

    def test_kd_with_label_smoothing_has_the_smoothed_label_in_the_place_of_the_hard_one(self):
        config = 0.1 * LabelSmoothingConfig(over="all") + KDConfig(temperature=2.0)
        student, teacher, batch = learner(), frozen(), samples(8)
        objective = Objective(SimpleNamespace(world_size=1), config, ready(config, teacher))
        ours, theirs = student(batch), teacher(batch)
        total = sum(term.value * term.weight for term in objective(ours, theirs, batch).terms.values())
        smoothed = F.cross_entropy(ours.logits, batch.labels, label_smoothing=0.1)
        soft = F.kl_div((ours.logits / 2).log_softmax(1), (theirs.logits / 2).softmax(1), reduction="batchmean") * 4
        torch.testing.assert_close(total, 0.1 * smoothed + 0.9 * soft)


class TestFigures:
    def test_those_of_all_parts_are_named_as_their_terms_and_what_has_none_adds_none(self):
        method, batch = (KDConfig() + IEKDConfig() + IEKDConfig(ratio=1.0)).build(SHAPES, WIDER), samples(8)
        assert method.needs.figures
        found = method.figures(learner()(batch), frozen()(batch))
        assert list(found) == ["iekd.cka_inheritance", "iekd.cka_exploration", "iekd2.cka_inheritance"]

    def test_a_sum_without_any_says_so(self):
        assert not (KDConfig() + RKDConfig()).build(SHAPES, WIDER).needs.figures


class TestNeeds:
    def test_each_is_merged(self):
        both = merged(
            {
                "a": Needs(labels=("same", "overlap"), roles=("x", "y"), at_least=3, teacher=False),
                "b": Needs(roles=("y", "z"), compares_samples=True, images_per_class=2, judge="ncm"),
                "c": Needs(images_per_class=4, at_least=2, judge="none"),
            }
        )
        expected = Needs(
            labels=("same", "overlap"),
            roles=("x", "y", "z"),
            compares_samples=True,
            at_least=3,
            teacher=True,
            images_per_class=4,
            judge="accuracy",
        )
        assert both == expected
        assert not both.peers

    @pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Needs)])
    def test_none_is_forgotten(self, field):
        other = {
            "labels": ("same",),
            "roles": ("x",),
            "at_least": 5,
            "images_per_class": 2,
            "group_size": 3,
            "trains": "method",
            "judge": "ncm",
        }
        needs = Needs(**{field: other.get(field, not getattr(Needs(), field))})
        assert needs != Needs()
        assert merged({"a": needs, "b": needs}) == needs

    @pytest.mark.parametrize(
        ("one", "other", "message"),
        [
            (
                Needs(labels=("same",)),
                Needs(labels=("overlap", "disjoint")),
                r"no teacher has classes that suit a \(same\) and b \(overlap or disjoint\): leave out",
            ),
            (Needs(group_size=2), Needs(group_size=3), "two ways: a wants groups of 2, b wants groups of 3: leave"),
            (Needs(group_size=2), Needs(images_per_class=4), "a wants groups of 2, b 4 images of each class: leave"),
            (Needs(), Needs(trains="method"), "a trains the student, b trains the method: give them stages"),
        ],
    )
    def test_what_contradicts_is_refused_with_the_reason(self, one, other, message):
        with pytest.raises(ConfigError, match=message):
            merged({"a": one, "b": other})

    def test_equal_groups_go_together_and_with_whom_they_do_not_concern(self):
        assert merged({"a": Needs(group_size=3), "b": Needs(group_size=3), "c": Needs()}).group_size == 3

    @pytest.mark.parametrize(
        ("judges", "judge"), [("ncm none", "ncm"), ("none none", "none"), ("none ncm accuracy", "accuracy")]
    )
    def test_the_classifier_is_judged_first(self, judges, judge):
        assert merged({str(i): Needs(judge=j) for i, j in enumerate(judges.split())}).judge == judge

    @pytest.mark.parametrize(
        ("config", "message"),
        [
            (lambda: KDConfig() + DMLConfig(), "dml learns from peers and kd from a teacher, and a run has one"),
            (lambda: DMLConfig() + ONEConfig(), "with one every network learns from the ensemble alone, and dml"),
            (lambda: ONEConfig() + ONEConfig(), "with one every network learns from the ensemble alone, and one"),
            (lambda: CKDConfig(sampling="drawn") + CSKDConfig(), "ckd wants groups of 3, cs_kd 2 images of each class"),
            (lambda: CKDConfig(sampling="drawn") + CKDConfig(sampling="drawn", k=2), "groups of 3, ckd2 wants groups"),
            (lambda: ICKDConfig(source="student") + KDConfig(), "ickd is prepared with the student's own answers, and"),
            (lambda: 0 * KDConfig(), "the weight of kd must be positive, got 0"),
            (lambda: float("nan") * KDConfig(), "the weight of kd must be positive, got nan"),
            (lambda: replace(KDConfig() + RKDConfig(), task_weight=-1.0), "task_weight must be at least 0, got -1"),
            (lambda: SumConfig(parts=(), weights=(), task_weight=1.0), "one weight a part, got 0 for 0 parts"),
        ],
    )
    def test_settings_that_contradict_are_refused(self, config, message):
        with pytest.raises(ConfigError, match=message):
            config().build(SHAPES, WIDER)

    def test_methods_without_a_teacher_go_with_peers_and_with_each_other(self):
        for config in (DMLConfig() + LabelSmoothingConfig(), ONEConfig() + TfKDConfig()):
            assert learns_from_peers(config)
            assert not is_taught(config)
            assert config.build(SHAPES, SHAPES).needs.peers
        assert type(ensemble_of(ONEConfig() + TfKDConfig(), [SHAPES, SHAPES])).__name__ == "Gate"
        alone = ICKDConfig(source="student") + LabelSmoothingConfig()
        assert not is_taught(alone)
        assert ready(alone, frozen(SHAPES)).needs.labels == ("same",)


class Half(Method):
    """Remembers which method it followed."""

    def follow(self, earlier):
        self.followed = earlier.get("half")

    def forward(self, student, teacher, batch):
        return {"half": Term(student.logits.mean(), 1.0)}


@dataclass(frozen=True, kw_only=True)
class HalfConfig(Summable):
    """One that needs a stage before its own, which it calls half whatever the settings."""

    name: ClassVar[str] = "half"
    task_weight: float = 1.0
    size: float = 1.0

    @property
    def before(self):
        return (Phase(name="half", method=KDConfig(temperature=self.size), epochs=0.5),)

    def build(self, student, teacher):
        return Half(Needs())


class TestPhases:
    def test_those_of_all_parts_come_first_under_names_of_their_own(self):
        config = HalfConfig() + KDConfig() + HalfConfig(size=2.0)
        assert [(phase.name, phase.method.temperature) for phase in config.before] == [
            ("half", 1.0),
            ("half2-half", 2.0),
        ]

    def test_each_part_follows_its_own(self):
        method = (HalfConfig() + HalfConfig(size=2.0)).build(SHAPES, WIDER)
        earlier = {name: KDConfig().build(SHAPES, WIDER) for name in ("half", "half2-half")}
        method.follow(earlier)
        assert method.parts["half"].followed is earlier["half"]
        assert method.parts["half2"].followed is earlier["half2-half"]

    def test_equal_ones_are_carried_out_once_and_followed_by_both(self):
        config = HalfConfig() + replace(HalfConfig(), task_weight=0.5)
        assert [phase.name for phase in config.before] == ["half"]
        method, earlier = config.build(SHAPES, WIDER), {"half": KDConfig().build(SHAPES, WIDER)}
        method.follow(earlier)
        assert [part.followed for part in method.parts.values()] == [earlier["half"]] * 2

    def test_the_first_stage_is_told_of_none(self):
        method = (HalfConfig() + KDConfig()).build(SHAPES, WIDER)
        method.follow({})
        assert method.parts["half"].followed is None


class TestWords:
    @pytest.mark.parametrize(
        "config",
        [
            KDConfig() + RKDConfig(),
            0.5 * KDConfig() + RKDConfig(),
            KDConfig() + 2 * RKDConfig() + 1e-5 * KDConfig(),
            0.123456789 * KDConfig(),
            1e7 * KDConfig() + RKDConfig(),
        ],
    )
    def test_a_name_is_read_as_it_is_written(self, config):
        read = summands(config.name)
        assert tuple(part.key for part in read) == config.keys
        assert tuple(part.weight for part in read) == config.weights

    def test_a_sum_in_a_sum_is_opened(self):
        assert 2 * (KDConfig() + 3 * (RKDConfig() + 0.5 * FitNetConfig())) == SumConfig(
            parts=(KDConfig(), RKDConfig(), FitNetConfig()), weights=(2.0, 6.0, 3.0), task_weight=1.0
        )
        assert (2 * KDConfig() + RKDConfig()).name == "2*kd+rkd"

    @pytest.mark.parametrize("text", ["kd+", "+kd", "kd rkd", "kd*2", "-1*kd", "2*", "kd++rkd", "1e5e*kd", ""])
    def test_what_cannot_be_read_is_refused(self, text):
        with pytest.raises(ConfigError, match=r"added as \[WEIGHT\*\]NAME\+\[WEIGHT\*\]NAME…, like 0.5\*kd\+rkd; got"):
            summands(text)

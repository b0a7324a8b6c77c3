"""What every method promises, whatever its paper."""

import dataclasses
import inspect

import pytest
import torch

from tutelage.errors import ConfigError
from tutelage.labels import LabelSpace
from tutelage.methods import METHODS, Method, MethodConfig, card_of, ensemble_of, is_taught, phases_of
from tutelage.types import Batch, Outputs

FIELDS = ("Paper", "Code", "Reads", "Labels", "Trains", "Differs", "Results")
SHAPES = {"logits": (10,), "embedding": (12,), "stage1": (4, 8, 8), "stage2": (6, 4, 4)}
WIDER = {"logits": (10,), "embedding": (20,), "stage1": (8, 8, 8), "stage2": (16, 4, 4)}

BELOW_ZERO = {"exploration"}
"""Terms that reward a distance: below zero, and bounded there."""

TEACH_BEFORE = {"ab", "fsp"}
"""Their own stage is labels alone: what is held to the contract is the method of the stage before."""

every = pytest.mark.parametrize("name", sorted(METHODS))


def outputs(shapes, seed, n=8):
    generator = torch.Generator().manual_seed(seed)
    made = {role: torch.randn(n, *shape, generator=generator).requires_grad_() for role, shape in shapes.items()}
    return Outputs(made.pop("logits"), made)


@pytest.fixture
def batch():
    return samples(8)


def samples(n):
    """Two of each of four classes in a batch of eight, one in each half of it."""
    ids = torch.arange(n)
    return Batch(torch.zeros(n, 1, 8, 8), ids % 4, ids, 0 * ids)


def everything():
    """One batch of 24 samples: those that the tests show, and four more of each class."""
    yield samples(24)


class Answering:
    """A teacher of random answers."""

    labels, fingerprint, calls = LabelSpace(tuple("abcdefghij")), "random", 0

    def __init__(self, shapes):
        self.shapes = shapes

    def listen(self, roles):
        """All roles are answered."""

    def compile(self):
        """There is nothing to compile."""

    def __call__(self, batch):
        return outputs(self.shapes, 2, n=len(batch.ids))


def teaching(name, **settings):
    config = METHODS[name](**settings)
    return phases_of(config)[0].method if name in TEACH_BEFORE else config


def build(name, **settings):
    torch.manual_seed(0)
    config = teaching(name, **settings)
    method = config.build(SHAPES, WIDER)
    method.follow({phase.name: phase.method.build(SHAPES, WIDER) for phase in phases_of(config)})
    shapes = WIDER if method.needs.teacher else SHAPES
    method.prepare(Answering(shapes), everything)
    method.after_step(100.0)  # past every warm-up
    return method


@every
def test_its_card_has_every_field_and_no_other(name):
    card = card_of(name)
    assert tuple(card) == FIELDS
    assert all(text.strip() for text in card.values())


@every
def test_its_card_names_a_paper_that_can_be_found(name):
    assert "arXiv" in card_of(name)["Paper"] or "doi" in card_of(name)["Paper"]


@every
def test_its_card_says_what_it_reads_and_of_which_teachers(name):
    needs, card = build(name).needs, card_of(name)
    read = card["Reads"].removesuffix("; no teacher").replace("; of all networks: ", "; of the teacher: ")
    compared, _, context = read.partition("; of the teacher: ")
    assert (context or compared).removeprefix("logits, ") == (", ".join(needs.roles) or "logits")
    assert card["Reads"].endswith("; no teacher") != needs.teacher
    assert card["Labels"] == ("any" if len(needs.labels) == 3 else " or ".join(needs.labels))


@every
def test_its_card_says_whether_it_trains_more_than_the_student(name):
    ensemble = ensemble_of(METHODS[name](), [SHAPES, SHAPES])
    weights = [*build(name).parameters(), *(ensemble.parameters() if ensemble else ())]
    has_weights = any(weight.requires_grad for weight in weights)
    assert has_weights == (card_of(name)["Trains"] != "the student")


@every
def test_its_config_is_frozen_takes_keywords_and_bears_its_name(name):
    config = METHODS[name]()
    assert isinstance(config, MethodConfig)
    assert config.name == name
    assert all(field.kw_only for field in dataclasses.fields(config))
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.task_weight = 0.0


@every
def test_its_config_says_truly_whether_it_needs_a_teacher(name):
    assert is_taught(METHODS[name]()) == build(name).needs.teacher


@every
def test_without_a_teacher_no_answer_of_one_counts(name, batch):
    method, student = build(name), outputs(SHAPES, 0)
    one, other = (method(student, outputs(WIDER, seed), batch) for seed in (1, 2))
    equal = all(one[term].value.equal(other[term].value) for term in one)
    assert equal != (method.needs.teacher or method.needs.peers)


@every
def test_every_setting_is_explained(name):
    document = inspect.getdoc(METHODS[name])
    assert all(f"\n    {field.name}: " in document for field in dataclasses.fields(METHODS[name]))


@every
def test_negative_weights_are_refused_by_name(name):
    for field in dataclasses.fields(METHODS[name]):
        if isinstance(field.default, float):
            with pytest.raises(ConfigError, match=rf"{field.name} must be .*got -1"):
                METHODS[name](**{field.name: -1.0})


@every
def test_its_terms_are_finite_scalars_with_weights(name, batch):
    method = build(name)
    assert isinstance(method, Method)
    terms = method(outputs(SHAPES, 0), outputs(WIDER, 1), batch)
    assert terms
    assert "task" not in terms  # the cross-entropy is the engine's
    for name, term in terms.items():
        assert term.value.shape == ()
        assert term.value.isfinite()
        if term.weight == 0:  # shown, not taught
            assert not term.value.requires_grad
        else:
            assert (term.value < 0) if name in BELOW_ZERO else (term.value > 0)
            assert term.weight > 0


@every
def test_the_student_gets_a_gradient_and_the_teacher_none(name, batch):
    student, teacher = outputs(SHAPES, 0), outputs(WIDER, 1)
    terms = build(name)(student, teacher, batch)
    sum(term.value for term in terms.values()).backward()
    read = card_of(name)["Reads"].partition(";")[0].split(", ")
    for role, value in {"logits": student.logits, **student.taps}.items():
        assert (value.grad is not None and value.grad.abs().sum() > 0) == (role in read)
    assert all(value.grad is None for value in (teacher.logits, *teacher.taps.values()))


@every
def test_permuting_the_batch_changes_no_term(name, batch):
    order = torch.randperm(8, generator=torch.Generator().manual_seed(3))

    def permuted(outputs):
        return Outputs(outputs.logits[order], {role: value[order] for role, value in outputs.taps.items()})

    method, student, teacher = build(name), outputs(SHAPES, 0), outputs(WIDER, 1)
    before = method(student, teacher, batch)
    after = method(permuted(student), permuted(teacher), Batch(*(part[order] for part in batch)))
    for term in before:
        torch.testing.assert_close(after[term].value, before[term].value)


@every
def test_it_says_truly_whether_a_sample_depends_on_the_others(name, batch):
    # a mean over samples is the mean of the means of two halves; a comparison between samples is not
    needs, student, teacher = build(name).needs, outputs(SHAPES, 0), outputs(WIDER, 1)

    def half(outputs, part):
        return Outputs(outputs.logits[part], {role: value[part] for role, value in outputs.taps.items()})

    def total(*parts):  # a method of its own each, since CRD keeps what it takes from its first batch
        return sum(term.value for term in build(name)(*parts).values())

    halves = [slice(0, 4), slice(4, 8)]
    split = sum(total(half(student, p), half(teacher, p), Batch(*(x[p] for x in batch))) for p in halves) / 2
    assert torch.allclose(split, total(student, teacher, batch), rtol=1e-4) != needs.compares_samples


@every
def test_its_state_is_whole(name, batch):
    method, other = build(name), teaching(name).build(SHAPES, WIDER)
    other.load_state_dict(method.state_dict())
    student, teacher = outputs(SHAPES, 0), outputs(WIDER, 1)
    before, after = method(student, teacher, batch), other(student, teacher, batch)
    for term in before:
        assert torch.equal(after[term].value, before[term].value)
        assert after[term].weight == before[term].weight


@every
def test_its_state_can_be_read_without_running_code(name, tmp_path):
    torch.save(build(name).state_dict(), tmp_path / "state")
    assert torch.load(tmp_path / "state", weights_only=True).keys() == build(name).state_dict().keys()

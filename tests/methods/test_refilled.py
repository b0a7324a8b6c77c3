"""REFILLED: presets, stages, centres and teachers of other classes."""

import inspect
import math

import pytest
import torch

from tutelage import losses
from tutelage.engine.codec import method_from
from tutelage.errors import ConfigError
from tutelage.labels import LabelSpace
from tutelage.methods import RefilledConfig, TupleMatchingConfig
from tutelage.types import Batch, Outputs

CLASSES, WIDTH, THEIRS = 6, 4, 7
PRESETS = ["tpami", "refilled2021", "cvpr2020"]
STUDENT, TEACHER = {"logits": (CLASSES,), "embedding": (5,)}, {"logits": (THEIRS,), "embedding": (WIDTH,)}
LABELS = torch.arange(12) % 4


def wave(*shape, phase=0.0):
    """Numbers that every machine can rebuild: sin(0.37 k² + phase) for k = 1, 2, …, in float64."""
    k = torch.arange(1, math.prod(shape) + 1, dtype=torch.float64)
    return torch.sin(0.37 * k * k + phase).reshape(shape)


class Answering:
    """A teacher of other classes, whose answers are looked up by id; it has none for ids from ``known`` on."""

    labels, fingerprint, calls, shapes = LabelSpace(tuple("abcdefg")), "made up", 0, TEACHER

    def __init__(self, answers, known=None):
        self.answers, self.known = answers, known

    def listen(self, roles):
        """All roles are answered."""

    def compile(self):
        """There is nothing to compile."""

    def __call__(self, batch):
        taps = {role: value[batch.ids] for role, value in self.answers.taps.items()}
        known = None if self.known is None else batch.ids < self.known
        return Outputs(self.answers.logits[batch.ids], taps, known)


def in_parts(batch, size=5):
    def batches():
        for start in range(0, len(batch.ids), size):
            yield Batch(*(part[start : start + size] for part in batch))

    return batches


def prepared(config, answers, batch, known=None):
    method = config.build(STUDENT, TEACHER).double()
    method.prepare(Answering(answers, known), in_parts(batch))
    return method


@pytest.fixture
def batch():
    ids = torch.arange(12)
    return Batch(torch.zeros(12, 1, 2, 2), LABELS, ids, 0 * ids)


@pytest.fixture
def student():
    return Outputs(3 * wave(12, CLASSES), {"embedding": wave(12, 5)})


@pytest.fixture
def teacher():
    return Outputs(3 * wave(12, THEIRS, phase=3.0), {"embedding": wave(12, WIDTH, phase=2.0)})


# train_stage2 of https://github.com/njulus/GKD/blob/a37fc79/Train.py ("wgkd") and
# https://github.com/njulus/ReFilled/blob/be649aa/Train.py, do_train_process of
# https://github.com/njulus/ReFilled/blob/c5e077f/Train.py, each with its defaults, in the first and the second epoch
@pytest.mark.parametrize(
    ("preset", "expected", "fallen"),
    [
        ("tpami", 1.0347552796286368, 1.0347552796286368),
        ("refilled2021", 45.18065398167861, 45.18065398167861),
        ("cvpr2020", 112.95163495419654, 107.4429187138951),
    ],
)
def test_the_weighted_term_of_a_preset_is_that_of_the_authors(preset, expected, fallen, student, teacher, batch):
    method = prepared(RefilledConfig(preset=preset), teacher, batch)
    (term,) = method(student, teacher, batch).values()
    assert term.weight * term.value.item() == pytest.approx(expected, rel=1e-10)
    method.after_step(1.7)
    (later,) = method(student, teacher, batch).values()
    assert later.weight * later.value.item() == pytest.approx(fallen, rel=1e-10)


def test_what_is_given_stands_in_the_place_of_the_preset(student, teacher, batch):
    changed = RefilledConfig(preset="refilled2021", weight=1.0, temperature=1.0, student_temperature=1.0, weighted=True)
    one, other = (prepared(config, teacher, batch)(student, teacher, batch) for config in (changed, RefilledConfig()))
    assert one == other
    assert changed.chosen.form == "triplet"


def test_the_centres_are_the_directions_of_the_class_means(teacher, batch):
    method = prepared(RefilledConfig(), teacher, batch)
    for k in range(4):
        mean = teacher.taps["embedding"][k == LABELS].mean(0)
        torch.testing.assert_close(method.centres[k].double(), mean / mean.norm(), rtol=1e-6, atol=1e-7)
    assert method.centres[4:].abs().max() == 0  # classes without images


def test_samples_without_an_answer_do_not_move_the_centres(teacher, batch):
    whole = prepared(RefilledConfig(), teacher, Batch(*(part[:8] for part in batch)))
    assert torch.equal(prepared(RefilledConfig(), teacher, batch, known=8).centres, whole.centres)


def test_centres_of_the_batch_need_no_preparation(student, teacher, batch):
    config = RefilledConfig(centres="batch")
    fresh = config.build(STUDENT, TEACHER).double()
    assert fresh(student, teacher, batch) == prepared(config, teacher, batch)(student, teacher, batch)
    globally = prepared(RefilledConfig(), teacher, batch)(student, teacher, batch)["classifier"].value
    value = fresh(student, teacher, batch)["classifier"].value
    torch.testing.assert_close(value, globally, rtol=1e-6, atol=0)  # the batch is all there is
    half = [Outputs(x.logits[:6], {"embedding": x.taps["embedding"][:6]}) for x in (student, teacher)]
    part = Batch(*(column[:6] for column in batch))
    of_all = prepared(RefilledConfig(), teacher, batch)(*half, part)["classifier"].value
    assert (fresh(*half, part)["classifier"].value - of_all).abs() > 1e-3


def test_only_the_columns_of_the_classes_in_the_batch_learn(student, teacher, batch):
    logits = student.logits.requires_grad_()
    term = prepared(RefilledConfig(), teacher, batch)(student, teacher, batch)["classifier"]
    (gradient,) = torch.autograd.grad(term.value, logits)
    assert gradient[:, :4].abs().min() > 0
    assert gradient[:, 4:].abs().max() == 0


def test_a_batch_of_one_class_has_a_term_of_zero(student, teacher, batch):
    method = prepared(RefilledConfig(), teacher, batch)
    assert method(student, teacher, batch._replace(labels=0 * LABELS))["classifier"].value == 0


def test_without_weights_the_teacher_s_own_logits_do_not_count(student, teacher, batch):
    other = teacher._replace(logits=teacher.logits.flip(0))
    for weighted in (True, False):
        method = prepared(RefilledConfig(weighted=weighted), teacher, batch)
        values = [method(student, answers, batch)["classifier"].value for answers in (teacher, other)]
        assert (values[0] == values[1]) != weighted


def test_the_mean_over_entries_divides_by_the_classes_present(student, teacher, batch):
    values = [
        prepared(RefilledConfig(mean=mean), teacher, batch)(student, teacher, batch)["classifier"].value
        for mean in ("samples", "entries")
    ]
    torch.testing.assert_close(values[0], 4 * values[1])


def test_the_first_stage_is_tuple_matching_without_cross_entropy():
    config = RefilledConfig(margin=0.3, embedding_temperature=2.0, max_negatives=8, embedding=7.0, embedding_epochs=0.5)
    (phase,) = config.before
    assert (phase.name, phase.epochs, phase.lr) == ("embedding", 0.5, None)
    assert phase.method == TupleMatchingConfig(
        margin=0.3, temperature=2.0, max_negatives=8, weight=7.0, task_weight=0.0
    )
    assert phase.method.build({}, {}).needs.judge == "ncm"
    forms = [RefilledConfig(preset=preset).before[0].method.form for preset in PRESETS]
    assert forms == ["tuple", "triplet", "triplet"]


def test_either_stage_can_be_left_out(student, teacher, batch):
    second, first = RefilledConfig(stages="classifier"), RefilledConfig(stages="embedding")
    assert second.before == ()
    assert list(prepared(second, teacher, batch)(student, teacher, batch)) == ["classifier"]
    assert len(first.before) == 1
    assert prepared(first, teacher, batch)(student, teacher, batch) == {}


def test_the_epoch_is_in_the_state(student, teacher, batch):
    config = RefilledConfig(preset="cvpr2020")
    method = prepared(config, teacher, batch)
    method.after_step(20.0)
    other = config.build(STUDENT, TEACHER).double()
    other.load_state_dict(method.state_dict())
    assert other(student, teacher, batch)["classifier"].weight == 1000 * math.exp(-1)


def test_the_largest_embedding_is_not_squared_away_in_half_precision(student, teacher, batch):
    def lowered(outputs):
        return Outputs(outputs.logits.half(), {"embedding": (300 * outputs.taps["embedding"]).half()})

    method = RefilledConfig().build(STUDENT, TEACHER)
    method.prepare(Answering(lowered(teacher)), in_parts(batch))
    term = method(lowered(student), lowered(teacher), batch)["classifier"]
    assert term.value.isfinite()
    assert term.value.dtype == torch.float32


@pytest.mark.parametrize("preset", PRESETS)
def test_no_accelerator_is_waited_for(preset, student, teacher, batch):
    # a tensor on the meta device has no numbers: to ask for one, or for how many of them there are, is an error
    away = [
        Outputs(x.logits.to("meta"), {role: tap.to("meta") for role, tap in x.taps.items()}) for x in (student, teacher)
    ]
    method = RefilledConfig(preset=preset).build(STUDENT, TEACHER).to("meta")
    assert method(*away, Batch(*(part.to("meta") for part in batch)))["classifier"].value.shape == ()


@pytest.mark.usefixtures("own_messages")
def test_wrong_settings_are_refused_by_name():
    for name, given in (("preset", "tpami2"), ("stages", "none"), ("centres", "class"), ("mean", "sum")):
        with pytest.raises(ConfigError, match=f"{name} must be one of .*, got '{given}'"):
            RefilledConfig(**{name: given})
    for name in ("weight", "decay", "embedding_epochs", "margin", "temperature", "student_temperature"):
        with pytest.raises(ConfigError, match=f"{name} must be .*, got -1"):
            RefilledConfig(**{name: -1.0})
    with pytest.raises(ConfigError, match="form must be one of tuple, triplet, got 'pair'"):
        RefilledConfig(form="pair")


def test_it_is_read_from_names_and_values():
    found = method_from("refilled", {"preset": "cvpr2020", "weighted": True, "weight": 10, "centres": "global"})
    assert found == RefilledConfig(preset="cvpr2020", weighted=True, weight=10.0, centres="global")


def test_the_defaults_are_the_preset_of_the_last_paper():
    assert RefilledConfig().chosen == RefilledConfig(preset="tpami").chosen
    of_loss = inspect.signature(losses.local_classifier).parameters["temperature"].default
    assert of_loss == RefilledConfig().chosen.temperature == 1.0

"""Running means: what is read is the mean of what was added."""

import pytest
import torch

from tutelage.engine.meter import Meter
from tutelage.types import Term


def add(meter, task, kd, *, correct=1, count=4, weight=0.5):
    terms = {"task": Term(torch.tensor(task, requires_grad=True), 1.0), "kd": Term(torch.tensor(kd), weight)}
    meter.add(terms, correct=torch.tensor(correct), count=count)


def test_means_are_over_steps_and_accuracy_is_over_samples():
    meter = Meter()
    add(meter, 1.0, 2.0, correct=4, count=4)
    add(meter, 3.0, 6.0, correct=0, count=12)
    reading = meter.read()
    assert reading["accuracy"] == 0.25
    assert reading["terms"] == {"task": {"value": 2.0, "weight": 1.0}, "kd": {"value": 4.0, "weight": 0.5}}


def test_the_loss_is_the_weighted_sum_of_the_terms():
    meter = Meter()
    add(meter, 1.0, 2.0)
    assert meter.read()["loss"] == pytest.approx(1.0 + 0.5 * 2.0)


def test_a_weight_that_changes_is_reported_as_it_was_last():
    meter = Meter()
    add(meter, 1.0, 2.0, weight=0.25)
    add(meter, 1.0, 2.0, weight=0.75)
    assert meter.read()["terms"]["kd"]["weight"] == 0.75


def test_reading_starts_anew():
    meter = Meter()
    add(meter, 100.0, 100.0)
    meter.read()
    assert meter.read() == {}
    add(meter, 1.0, 2.0)
    assert meter.read()["terms"]["task"]["value"] == 1.0


def test_adding_keeps_no_graph_alive():
    meter = Meter()
    add(meter, 1.0, 2.0)
    assert not meter.state_dict()["sums"]["kd"].requires_grad


def test_half_precision_is_summed_in_single():
    meter = Meter()
    for _ in range(600):  # in bfloat16 the sum of ones stops at 256
        meter.add({"task": Term(torch.tensor(1.0, dtype=torch.bfloat16), 1.0)}, correct=torch.tensor(1), count=1)
    assert meter.read()["terms"]["task"]["value"] == 1.0


def test_a_restored_meter_reads_the_same():
    meter, other = Meter(), Meter()
    add(meter, 1.0, 2.0)
    other.load_state_dict(meter.state_dict())
    add(meter, 5.0, 5.0)
    add(other, 5.0, 5.0)
    assert other.read() == meter.read()


def test_a_loss_that_is_no_number_shows():
    meter = Meter()
    add(meter, float("nan"), 2.0)
    reading = meter.read()
    assert reading["loss"] != reading["loss"]


def test_a_term_that_is_absent_from_a_batch_counts_as_zero_there():
    meter = Meter()
    add(meter, 1.0, 2.0)
    meter.add({"task": Term(torch.tensor(3.0), 1.0)}, correct=torch.tensor(0), count=4, skipped=4)
    reading = meter.read()
    assert reading["terms"]["kd"]["value"] == 1.0
    assert reading["loss"] == pytest.approx(2.0 + 0.5 * 1.0)
    assert reading["unanswered"] == 4

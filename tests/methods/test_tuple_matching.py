"""Tuple matching: either form as a term, alone or as the first stage of REFILLED."""

import pytest
import torch

from tutelage import losses
from tutelage.engine.codec import method_from
from tutelage.errors import ConfigError
from tutelage.methods import TupleMatchingConfig
from tutelage.types import Batch, Outputs

IDS = torch.arange(12)
BATCH = Batch(torch.zeros(12, 1, 2, 2), IDS % 3, IDS, 0 * IDS)


def outputs(seed, width=5):
    generator = torch.Generator().manual_seed(seed)
    return Outputs(torch.zeros(12, 3), {"embedding": torch.randn(12, width, generator=generator)})


def terms(batch=BATCH, **settings):
    return TupleMatchingConfig(**settings).build({}, {})(outputs(0), outputs(1, 8), batch)


def test_the_defaults_are_those_of_the_authors():
    # Train.py and main.py of njulus/GKD@a37fc79; for triplets, of njulus/ReFilled@be649aa: 1000 over two outcomes
    config = TupleMatchingConfig()
    assert (config.margin, config.temperature, config.strength) == (0.2, 4.0, 1000.0)
    assert TupleMatchingConfig(form="triplet").strength == 500.0
    assert TupleMatchingConfig(form="triplet", weight=3.0).strength == 3.0


@pytest.mark.parametrize(("form", "loss"), [("tuple", losses.tuple_matching), ("triplet", losses.triplet_matching)])
def test_the_term_is_the_mean_over_comparisons_and_their_number_is_shown(form, loss):
    found = terms(form=form, margin=0.5, temperature=2.0)
    ours, theirs = outputs(0).taps["embedding"], outputs(1, 8).taps["embedding"]
    expected = loss(ours, theirs, BATCH.labels, margin=0.5, temperature=2.0)
    assert list(found) == [f"{form}s", f"num_{form}s"]
    torch.testing.assert_close(found[f"{form}s"].value, expected.mean())
    assert found[f"num_{form}s"].value == len(expected)
    assert found[f"num_{form}s"].weight == 0


def test_the_settings_of_tuples_reach_the_loss():
    values = [terms(**settings)["tuples"].value for settings in ({}, {"max_negatives": 2}, {"fewest": True})]
    assert len({value.item() for value in values}) == 3


@pytest.mark.parametrize("form", ["tuple", "triplet"])
@pytest.mark.parametrize("labels", [torch.zeros(12, dtype=torch.int64), IDS])
def test_a_batch_without_comparisons_adds_zero_and_counts_none(form, labels):
    value, number = (term.value for term in terms(BATCH._replace(labels=labels), form=form).values())
    assert (value, number) == (0, 0)


def test_without_cross_entropy_the_nearest_class_mean_judges():
    needs = {task: TupleMatchingConfig(task_weight=task).build({}, {}).needs for task in (0.0, 1.0)}
    assert [each.judge for each in needs.values()] == ["ncm", "accuracy"]


def test_several_images_of_a_class_are_asked_for_and_can_be_left_to_chance():
    assert TupleMatchingConfig().build({}, {}).needs.images_per_class == 2
    assert TupleMatchingConfig(images_per_class=None).build({}, {}).needs.images_per_class is None


@pytest.mark.usefixtures("own_messages")
def test_wrong_settings_are_refused():
    with pytest.raises(ConfigError, match="form must be one of tuple, triplet, got 'pair'"):
        TupleMatchingConfig(form="pair")
    with pytest.raises(ConfigError, match="weight must be at least 0, got -1"):
        TupleMatchingConfig(weight=-1.0)
    with pytest.raises(ConfigError, match="max_negatives must be positive, got 0"):
        TupleMatchingConfig(max_negatives=0)


def test_it_is_read_from_names_and_values():
    assert method_from("tuple_matching", {"form": "triplet", "weight": 2}) == TupleMatchingConfig(
        form="triplet", weight=2.0
    )

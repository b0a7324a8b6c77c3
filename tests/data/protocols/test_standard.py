"""The usual protocol is the stratified split that runs had before there were protocols.

Letters: none.
"""

import pytest
import torch

from tutelage.data import stratified_split
from tutelage.data.protocols import Standard
from tutelage.errors import ConfigError

LABELS = torch.arange(500) % 7


def test_it_is_the_stratified_split_of_seed_zero_for_every_seed():
    kept, held_out = stratified_split(LABELS, fraction=0.1, seed=0)
    for seed in (0, 1, 99):
        division = Standard().divide(LABELS, seed=seed)
        assert torch.equal(division.train, kept)
        assert torch.equal(division.validation, held_out)


def test_the_teacher_may_see_all_that_is_trained_on_and_as_often_as_it_likes():
    division = Standard(validation=0.3).divide(LABELS, seed=0)
    assert torch.equal(division.answered, division.train)
    assert len(division.validation) == 150
    assert not Standard.one_answer


@pytest.mark.parametrize("labels", [torch.tensor([0, 1, 1]), torch.arange(40)])
def test_a_share_that_holds_out_no_image_is_refused(labels):
    with pytest.raises(ConfigError, match=rf"holds out none of the {len(labels)} training images"):
        Standard().divide(labels, seed=0)


def test_fewer_may_train_of_each_class_alike_and_the_held_out_stay_the_same():
    few, whole = Standard(train_size=70).divide(LABELS, seed=0), Standard().divide(LABELS, seed=0)
    assert LABELS[few.train].bincount().tolist() == [10] * 7
    assert torch.isin(few.train, whole.train).all()
    assert torch.equal(few.validation, whole.validation)
    assert torch.equal(few.answered, few.train)
    assert torch.equal(Standard(train_size=450).divide(LABELS, seed=0).train, whole.train)


@pytest.mark.parametrize(("size", "message"), [(0, "at least 1, got 0"), (451, "450 of the 500 .* are not held out")])
def test_a_size_that_cannot_be_had_is_refused(size, message):
    with pytest.raises(ConfigError, match=message):
        Standard(train_size=size).divide(LABELS, seed=0)

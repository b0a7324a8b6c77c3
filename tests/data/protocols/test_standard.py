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

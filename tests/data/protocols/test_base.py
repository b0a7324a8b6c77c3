"""What holds for every protocol.

Letters: none.
"""

import dataclasses

import pytest
import torch

from tutelage.data.protocols import PROTOCOLS, ProtocolConfig
from tutelage.errors import ConfigError

LABELS = torch.arange(3000) % 10


@pytest.fixture(params=PROTOCOLS, ids=str)
def protocol(request):
    return PROTOCOLS[request.param]()


def test_a_protocol_is_listed_under_its_name_in_order():
    assert list(PROTOCOLS) == sorted(PROTOCOLS)
    assert all(config.name == name for name, config in PROTOCOLS.items())


def test_it_is_a_frozen_config(protocol):
    assert isinstance(protocol, ProtocolConfig)
    with pytest.raises(dataclasses.FrozenInstanceError):
        protocol.validation = 0.5


def test_no_image_is_both_trained_on_and_held_out(protocol):
    division = protocol.divide(LABELS, seed=3)
    assert not torch.isin(division.train, division.validation).any()
    assert len(division.validation) > 0


def test_only_images_that_train_are_sent_to_the_teacher(protocol):
    division = protocol.divide(LABELS, seed=3)
    assert torch.isin(division.answered, division.train).all()


def test_rows_are_int64_ascending_and_rows_of_the_data(protocol):
    division = protocol.divide(LABELS, seed=3)
    for rows in (division.train, division.validation, division.answered):
        assert rows.dtype == torch.int64
        assert (rows.diff() > 0).all()
        assert rows.min() >= 0
        assert rows.max() < len(LABELS)


def test_it_is_a_pure_function_of_the_seed(protocol):
    first = protocol.divide(LABELS, seed=3)
    torch.manual_seed(99)
    again = type(protocol)().divide(LABELS, seed=3)
    for part in ("train", "validation", "answered"):
        assert torch.equal(getattr(first, part), getattr(again, part))


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, float("nan")])
@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_share_that_leaves_one_side_empty_is_refused(name, share):
    with pytest.raises(ConfigError, match="validation is a share between 0 and 1, got"):
        PROTOCOLS[name](validation=share)

"""Few teacher calls: how many, which, nested, uniform, and what is refused.

Letters: none.
"""

import math

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from tutelage.data.protocols import FewTeacherCalls
from tutelage.errors import ConfigError

CIFAR100 = torch.arange(50_000) % 100


@pytest.mark.parametrize("size", [2000, 2500, 3000, 3500, 4000, 4500, 5000, 6000])
def test_four_fifths_of_the_subset_are_the_calls_of_the_paper(size):
    # int(len * 0.8) train: https://github.com/alextxu/ckd/blob/f8cc6bd/dataset/util.py
    division = FewTeacherCalls(subset_size=size).divide(CIFAR100, seed=1)
    assert len(division.answered) == len(division.train) == int(size * 0.8)
    assert len(division.validation) == size - int(size * 0.8)


def test_an_image_may_be_sent_once_only():
    assert FewTeacherCalls.one_answer


@given(st.integers(2, 400), st.integers(0, 200), st.floats(0.02, 0.98), st.integers(-5, 1 << 40))
def test_a_smaller_subset_lies_within_a_larger_one_part_by_part(size, more, share, seed):
    assume(0 < round(share * size) < size and 0 < round(share * (size + more)) < size + more)
    labels = torch.zeros(600, dtype=torch.int64)
    small = FewTeacherCalls(subset_size=size, validation=share).divide(labels, seed=seed)
    large = FewTeacherCalls(subset_size=size + more, validation=share).divide(labels, seed=seed)
    assert len(small.validation) == round(share * size)
    assert len(small.train) == size - round(share * size)
    assert torch.isin(small.train, large.train).all()
    assert torch.isin(small.answered, large.answered).all()
    assert torch.isin(small.validation, large.validation).all()


def test_other_seeds_draw_other_subsets():
    first, second = (FewTeacherCalls().divide(CIFAR100, seed=seed).answered for seed in (1, 2))
    # Hypergeometric: 1600 · 1600 / 50,000 = 51 in common in the mean, standard deviation 7.
    assert 16 < torch.isin(first, second).sum() < 86


def test_images_are_drawn_uniformly_and_held_out_uniformly():
    labels = torch.zeros(40, dtype=torch.int64)
    config = FewTeacherCalls(subset_size=20, validation=0.2)
    used, held_out = torch.zeros(40), torch.zeros(40)
    for seed in range(1000):
        division = config.divide(labels, seed=seed)
        used[division.train] += 1
        used[division.validation] += 1
        held_out[division.validation] += 1
    for counts, chance in ((used, 0.5), (held_out, 0.1)):
        z = (counts - 1000 * chance) / math.sqrt(1000 * chance * (1 - chance))
        assert z.abs().max() < 4.5  # of 40 binomials: about 3.7e-4 under chance
        assert z.std() > 0.6  # a stratified or cyclic choice would be more even than chance


def test_classes_are_not_balanced_as_the_authors_do_not():
    # 2000 of 100 classes: a class has 20 ± 4.4 images; a stratified subset would have exactly 20 of each.
    division = FewTeacherCalls().divide(CIFAR100, seed=1)
    counts = CIFAR100[torch.cat([division.train, division.validation])].bincount(minlength=100)
    assert 3 < counts.double().std() < 6


def test_unused_images_are_ignored_or_train_on_labels_alone():
    ignored = FewTeacherCalls(subset_size=500).divide(CIFAR100, seed=5)
    labels = FewTeacherCalls(subset_size=500, unused="labels").divide(CIFAR100, seed=5)
    assert torch.equal(labels.answered, ignored.answered)
    assert torch.equal(labels.validation, ignored.validation)
    assert torch.equal(ignored.train, ignored.answered)
    assert len(labels.train) == 50_000 - 100
    assert torch.isin(labels.answered, labels.train).all()
    assert not torch.isin(labels.validation, labels.train).any()


def test_the_whole_data_may_be_the_subset():
    division = FewTeacherCalls(subset_size=50).divide(torch.zeros(50, dtype=torch.int64), seed=0)
    assert sorted([*division.train.tolist(), *division.validation.tolist()]) == list(range(50))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"subset_size": 1}, "subset_size must be at least 2, .* got 1"),
        ({"subset_size": 2}, r"a share of 0.2 holds out 0 of 2 images: .* use a larger subset_size"),
        ({"subset_size": 3, "validation": 0.9}, "holds out 3 of 3 images"),
        ({"unused": "drop"}, "unused must be 'ignore' or 'labels', got 'drop'"),
    ],
)
def test_settings_that_leave_nothing_are_refused_when_they_are_made(own_messages, settings, message):
    with pytest.raises(ConfigError, match=message):
        FewTeacherCalls(**settings)


def test_a_subset_larger_than_the_data_is_refused():
    with pytest.raises(ConfigError, match=r"a subset of 2000 images is larger than the data \(1348 training images\)"):
        FewTeacherCalls().divide(torch.zeros(1348, dtype=torch.int64), seed=0)


def test_the_subset_is_that_of_the_first_version():
    # Computed by tutelage 0.1.0, torch 2.13 on a CPU: a change makes bought answers useless.
    division = FewTeacherCalls(subset_size=10).divide(torch.zeros(1000, dtype=torch.int64), seed=1)
    assert division.train.tolist() == [24, 177, 251, 297, 355, 743, 785, 969]
    assert division.validation.tolist() == [406, 780]

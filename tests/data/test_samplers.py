"""Samplers and splits: order as a pure function of (seed, epoch), balance, shares of classes.

Letters: b batches, n samples of a batch, m samples, P classes a batch, M images a class.
"""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tutelage.data import BalancedSampler, Sampler, UniformSampler, stratified_split
from tutelage.errors import ConfigError, ShapeError

_LABELS = torch.tensor([0] * 7 + [1] * 12 + [3] * 5)


def _uniform(seed: int = 0) -> Sampler:
    return UniformSampler(torch.arange(24), batch_size=5, seed=seed)


def _balanced(seed: int = 0) -> Sampler:
    return BalancedSampler(torch.arange(24), _LABELS, classes_per_batch=2, images_per_class=3, seed=seed)


@pytest.mark.parametrize("make", [_uniform, _balanced])
class TestEverySampler:
    def test_an_epoch_is_a_pure_function_of_seed_and_epoch(self, make) -> None:
        sampler = make()
        first = sampler.epoch(4)
        sampler.epoch(5)
        torch.manual_seed(99)
        assert torch.equal(sampler.epoch(4), first)
        assert torch.equal(make().epoch(4), first)

    def test_other_seeds_and_epochs_have_another_order(self, make) -> None:
        assert not torch.equal(make(0).epoch(0), make(1).epoch(0))
        assert not torch.equal(make(0).epoch(0), make(0).epoch(1))

    def test_an_epoch_has_the_batches_it_promises(self, make) -> None:
        sampler = make()
        assert sampler.epoch(0).shape == (sampler.num_batches, sampler.batch_size)

    def test_no_batch_holds_a_sample_twice(self, make) -> None:
        for epoch in range(10):
            for batch in make().epoch(epoch):
                assert len(batch.unique()) == len(batch)


def test_an_epoch_shows_every_sample_at_most_once_and_drops_the_rest() -> None:
    shown = _uniform().epoch(0).flatten()
    assert len(shown) == len(shown.unique()) == 20
    assert len(torch.cat([_uniform().epoch(epoch).flatten() for epoch in range(5)]).unique()) == 24


def test_only_the_given_ids_are_drawn() -> None:
    sampler = UniformSampler(torch.tensor([3, 17, 40]), batch_size=3, seed=0)
    assert sorted(sampler.epoch(0).flatten().tolist()) == [3, 17, 40]


def test_the_order_and_the_views_of_one_seed_are_independent() -> None:
    from tutelage.data import CropFlip

    ids = torch.arange(50_000)
    order = UniformSampler(ids, batch_size=50_000, seed=0).epoch(0)[0]
    drawn = CropFlip(4, seed=0).draw(order, epoch=0).double()
    place = torch.arange(50_000).double()
    # Independent: the correlation of 50,000 pairs has the standard deviation 0.0045.
    assert abs(float(torch.corrcoef(torch.stack([place, drawn]))[0, 1])) < 0.02


def test_every_batch_has_p_classes_and_m_images_of_each() -> None:
    for epoch in range(5):
        for batch in _balanced().epoch(epoch):
            classes, counts = torch.unique(_LABELS[batch], return_counts=True)
            assert len(classes) == 2
            assert counts.tolist() == [3, 3]


def test_classes_are_used_equally_often() -> None:
    labels = torch.arange(300) % 10
    sampler = BalancedSampler(torch.arange(300), labels, classes_per_batch=4, images_per_class=2, seed=1)
    uses = labels[sampler.epoch(0)].flatten().bincount() // 2
    assert int(uses.max() - uses.min()) <= 1


def test_every_image_of_balanced_classes_is_used_once_before_any_is_used_twice() -> None:
    labels = torch.arange(40) % 4
    sampler = BalancedSampler(torch.arange(40), labels, classes_per_batch=4, images_per_class=5, seed=1)
    assert sorted(sampler.epoch(0).flatten().tolist()) == list(range(40))


def test_balanced_batches_return_ids_not_positions() -> None:
    ids = torch.arange(100, 124)
    sampler = BalancedSampler(ids, _LABELS, classes_per_batch=3, images_per_class=2, seed=0)
    batch = sampler.epoch(0)
    assert int(batch.min()) >= 100
    assert torch.equal(_LABELS[batch - 100].unique(), torch.tensor([0, 1, 3]))


@pytest.mark.parametrize(
    ("size", "message"), [(25, r"a batch of 25 is larger than the data \(24 samples\)"), (0, "at least 1, got 0")]
)
def test_a_batch_that_the_data_cannot_fill_is_refused(size: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        UniformSampler(torch.arange(24), batch_size=size, seed=0)


@pytest.mark.parametrize(
    ("p", "m", "message"),
    [
        (4, 2, "a batch of 4 classes needs at least as many, the data has 3"),
        (2, 6, "6 images of each class are wanted .* class 3 has 5"),
        (0, 2, "at least 1 class and 1 image of each, got 0 and 2"),
    ],
)
def test_a_balance_that_the_data_cannot_give_is_refused(p: int, m: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        BalancedSampler(torch.arange(24), _LABELS, classes_per_batch=p, images_per_class=m, seed=0)


def test_ids_without_labels_are_refused(own_messages: None) -> None:
    with pytest.raises(ShapeError, match="23 ids and 24 labels"):
        BalancedSampler(torch.arange(23), _LABELS, classes_per_batch=2, images_per_class=2, seed=0)


class TestStratifiedSplit:
    @given(st.lists(st.integers(1, 30), min_size=2, max_size=6), st.floats(0.05, 0.95), st.integers(-5, 1 << 40))
    def test_it_is_a_partition_that_keeps_the_shares(self, counts, fraction: float, seed: int) -> None:
        labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
        kept, held_out = stratified_split(labels, fraction=fraction, seed=seed)
        assert torch.equal(torch.cat([kept, held_out]).sort().values, torch.arange(len(labels)))
        assert torch.equal(kept, kept.sort().values)
        assert torch.equal(held_out, held_out.sort().values)
        held = labels[held_out].bincount(minlength=len(counts))
        for count, out in zip(counts, held.tolist(), strict=True):
            assert abs(out - fraction * count) <= 1
            assert out < count

    def test_it_holds_out_the_whole_number_nearest_to_the_share(self) -> None:
        labels = torch.arange(1000) % 7
        assert len(stratified_split(labels, fraction=0.1, seed=0)[1]) == 100

    def test_seeds_hold_out_different_samples_and_one_seed_always_the_same(self) -> None:
        labels = torch.arange(100) % 2
        first = stratified_split(labels, fraction=0.5, seed=0)[1]
        assert torch.equal(stratified_split(labels, fraction=0.5, seed=0)[1], first)
        assert not torch.equal(stratified_split(labels, fraction=0.5, seed=1)[1], first)

    @pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, float("nan")])
    def test_a_fraction_that_leaves_one_side_empty_is_refused(self, fraction: float) -> None:
        with pytest.raises(ConfigError, match="above 0 and below 1"):
            stratified_split(torch.arange(4), fraction=fraction, seed=0)


def test_orders_views_crops_and_splits_are_those_of_the_first_version() -> None:
    # Computed by tutelage 0.1.0, torch 2.13 on a CPU: a change breaks cached answers and the resume of old runs.
    from tutelage.data import CropFlip, RandomResizedCrop

    order = UniformSampler(torch.arange(8), batch_size=8, seed=1).epoch(2)
    assert order.tolist() == [[3, 1, 5, 4, 2, 0, 7, 6]]
    assert CropFlip(4, seed=1).draw(torch.arange(6), epoch=2).tolist() == [157, 74, 86, 30, 131, 98]
    boxes, mirrored = RandomResizedCrop(8, seed=1)._boxes(torch.arange(2), torch.tensor([2, 2]), 32, 32)
    assert boxes.tolist() == [[8, 13, 20, 16], [1, 2, 24, 30]]
    assert mirrored.tolist() == [True, True]
    kept, held_out = stratified_split(torch.arange(12) % 2, fraction=0.5, seed=1)
    assert (len(kept), held_out.tolist()) == (6, [1, 2, 8, 9, 10, 11])

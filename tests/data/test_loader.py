"""The loader: resume, ranks, resident and streamed batches are all the same batches.

Letters: n samples of a batch, b batches of an epoch.
"""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from tutelage.data import (
    BalancedSampler,
    CropFlip,
    ImageStore,
    Loader,
    RandomResizedCrop,
    Sampler,
    UniformSampler,
    Views,
    evaluation_batches,
    stratified_split,
)
from tutelage.data.store import open_or_decode
from tutelage.data.writing import Decoded, Split
from tutelage.errors import ConfigError
from tutelage.types import Batch

_LABELS = torch.arange(50) % 4


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ImageStore:
    """Fifty images of 12 x 12, mapped from a file."""
    pixels = np.random.default_rng(0).integers(0, 256, (50, 12, 12, 3), np.uint8)
    split = Split((12, 12, 3), _LABELS.numpy(), lambda: [pixels])
    place: Path = tmp_path_factory.mktemp("cache") / "noise"
    return open_or_decode(place, "k", lambda: Decoded(split, split, tuple("abcd"))).train


def _sampler() -> Sampler:
    return UniformSampler(torch.arange(50), batch_size=8, seed=3)


def _equal(ours: list[Batch], theirs: list[Batch]) -> bool:
    return len(ours) == len(theirs) and all(
        torch.equal(a, b) for one, other in zip(ours, theirs, strict=True) for a, b in zip(one, other, strict=True)
    )


def test_a_batch_holds_the_pixels_and_labels_of_its_ids_and_views(store: ImageStore) -> None:
    views = CropFlip(2, seed=1)
    batches = list(Loader(store, _sampler(), views).epoch(2))
    assert len(batches) == Loader(store, _sampler(), views).num_batches == 6
    for batch, ids in zip(batches, _sampler().epoch(2), strict=True):
        assert torch.equal(batch.ids, ids)
        assert torch.equal(batch.labels, _LABELS[ids])
        assert torch.equal(batch.views, views.draw(ids, epoch=2))
        assert torch.equal(batch.images, views.render(store.images, ids, batch.views))
        assert batch.images.dtype == torch.uint8
        assert batch.images.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("views", [CropFlip(2, seed=1), RandomResizedCrop(10, seed=1)])
@pytest.mark.parametrize("workers", [0, 2])
def test_streamed_batches_are_the_resident_ones(store: ImageStore, views: Views, workers: int) -> None:
    resident = Loader(store, _sampler(), views)
    streamed = Loader(store, _sampler(), views, workers=workers, resident_limit=0)
    assert (resident.resident, streamed.resident) == (True, False)
    assert _equal(list(streamed.epoch(1, start=1)), list(resident.epoch(1, start=1)))


def test_streamed_batches_keep_channels_last_memory_through_the_workers(store: ImageStore) -> None:
    loader = Loader(store, _sampler(), CropFlip(2), workers=1, resident_limit=0)
    batches = list(loader.epoch(0))
    assert all(batch.images.is_contiguous(memory_format=torch.channels_last) for batch in batches)


def test_streaming_draws_nothing_from_the_global_generator(store: ImageStore) -> None:
    before = torch.get_rng_state()
    list(Loader(store, _sampler(), CropFlip(2), workers=1, resident_limit=0).epoch(0))
    assert torch.equal(torch.get_rng_state(), before)


def test_images_are_resident_up_to_the_limit(store: ImageStore) -> None:
    size = store.num_bytes
    assert Loader(store, _sampler(), CropFlip(2), resident_limit=size).resident
    assert not Loader(store, _sampler(), CropFlip(2), resident_limit=size - 1).resident


@pytest.mark.parametrize("limit", [0, 1 << 30])
@pytest.mark.parametrize("start", [0, 1, 5, 6])
def test_an_epoch_resumes_at_any_position(store: ImageStore, limit: int, start: int) -> None:
    loader = Loader(store, _sampler(), CropFlip(2), resident_limit=limit)
    assert _equal(list(loader.epoch(1, start=start)), list(loader.epoch(1))[start:])


def test_leaving_an_epoch_early_does_not_disturb_the_next(store: ImageStore) -> None:
    loader = Loader(store, _sampler(), CropFlip(2), workers=1, resident_limit=0)
    for _ in loader.epoch(0):
        break
    resident = Loader(store, _sampler(), CropFlip(2))
    assert _equal(list(loader.epoch(1)), list(resident.epoch(1)))


@pytest.mark.parametrize("ranks", [2, 4])
@pytest.mark.parametrize("limit", [0, 1 << 30])
@pytest.mark.parametrize("views", [CropFlip(2), RandomResizedCrop(10)])
def test_the_parts_of_the_ranks_make_the_batch_of_one_process(
    store: ImageStore, ranks: int, limit: int, views: Views
) -> None:
    parts = [
        list(Loader(store, _sampler(), views, rank=r, num_ranks=ranks, resident_limit=limit).epoch(0))
        for r in range(ranks)
    ]
    joined = [
        Batch(*(torch.cat(tensors) for tensors in zip(*pieces, strict=True))) for pieces in zip(*parts, strict=True)
    ]
    assert _equal(joined, list(Loader(store, _sampler(), views).epoch(0)))


def test_batches_of_a_balanced_sampler_arrive_in_its_order(store: ImageStore) -> None:
    sampler = BalancedSampler(torch.arange(50), _LABELS, classes_per_batch=3, images_per_class=4, seed=0)
    for batch in Loader(store, sampler, CropFlip(2)).epoch(0):
        assert len(batch.labels.view(3, 4).unique(dim=1)[0]) == 1
        assert len(batch.labels.unique()) == 3


def test_only_the_ids_of_a_split_are_shown(store: ImageStore) -> None:
    kept, held_out = stratified_split(_LABELS, fraction=0.3, seed=0)
    loader = Loader(store, UniformSampler(kept, batch_size=5, seed=0), CropFlip(2))
    shown = torch.cat([batch.ids for epoch in range(3) for batch in loader.epoch(epoch)])
    assert not torch.isin(shown, held_out).any()


@pytest.mark.parametrize("limit", [0, 1 << 30])
def test_evaluation_shows_every_plain_image_once_in_order(store: ImageStore, limit: int) -> None:
    ids = torch.arange(50).flip(0)[:21]
    home = store if limit == 0 else store.to("cpu")
    batches = list(evaluation_batches(home, ids, CropFlip(2, seed=1), batch_size=8))
    assert [len(batch.ids) for batch in batches] == [8, 8, 5]
    assert torch.equal(torch.cat([batch.ids for batch in batches]), ids)
    images = torch.cat([batch.images for batch in batches])
    assert torch.equal(images, store.images[ids].permute(0, 3, 1, 2))
    assert torch.equal(torch.cat([batch.labels for batch in batches]), _LABELS[ids])


def test_the_plain_view_has_the_size_of_the_random_ones(store: ImageStore) -> None:
    views = RandomResizedCrop(10)
    (batch,) = evaluation_batches(store, torch.arange(4), views, batch_size=8)
    assert batch.images.shape == (4, 3, 10, 10)
    assert batch.views.tolist() == [RandomResizedCrop(10).plain] * 4


def test_the_loader_waits_for_no_tensor_on_the_host(store: ImageStore, monkeypatch: pytest.MonkeyPatch) -> None:
    loader = Loader(store, _sampler(), CropFlip(2))
    batches = loader.epoch(0)
    next(batches)

    def refuse(*_: object) -> None:
        pytest.fail("a value was read on the host")

    for name in ("item", "tolist", "__bool__", "__int__", "__float__", "nonzero", "cpu", "numpy"):
        monkeypatch.setattr(torch.Tensor, name, refuse)
    assert sum(1 for _ in batches) == 5


def test_what_a_worker_gets_is_small(store: ImageStore) -> None:
    from tutelage.data.loader import _Rows

    assert len(pickle.dumps(_Rows(store, CropFlip(2)))) < store.num_bytes / 4


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_ranks": 3}, "a batch of 8 cannot be shared equally by 3 processes"),
        ({"num_ranks": 2, "rank": 2}, r"rank must be in 0\.\.1, got 2"),
        ({"num_ranks": 2, "rank": -1}, r"rank must be in 0\.\.1, got -1"),
        ({"num_ranks": 0}, "number of processes must be at least 1, got 0"),
        ({"workers": -1}, "workers must be 0 or more, got -1"),
    ],
)
def test_settings_out_of_range_are_refused(store: ImageStore, settings: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Loader(store, _sampler(), CropFlip(2), **settings)


@pytest.mark.parametrize("start", [-1, 7])
def test_a_start_outside_the_epoch_is_refused_at_once(store: ImageStore, start: int) -> None:
    with pytest.raises(ConfigError, match=f"an epoch of 6 batches cannot start at position {start}"):
        Loader(store, _sampler(), CropFlip(2)).epoch(0, start=start)


def test_an_empty_evaluation_batch_is_refused_at_once(store: ImageStore) -> None:
    with pytest.raises(ConfigError, match="at least 1, got 0"):
        evaluation_batches(store, torch.arange(3), CropFlip(2), batch_size=0)

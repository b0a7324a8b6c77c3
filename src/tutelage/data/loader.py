"""Loader: batches of uint8 images on the device, resumable at any position, the same with any number of workers.

Letters: n samples of a batch, b batches of an epoch.
"""

from collections.abc import Iterator

import torch
from jaxtyping import Int64
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from tutelage.data.samplers import Sampler
from tutelage.data.store import ImageStore
from tutelage.data.views import Views
from tutelage.errors import ConfigError
from tutelage.types import Batch

__all__ = ["Loader", "evaluation_batches", "rendered", "resident"]

_RESIDENT_LIMIT = 4 << 30
"""Bytes of images that may live on the device: CIFAR takes 0.15 GB, 20,000 images of 256 px take 3.9 GB."""


class _Rows(Dataset[Batch]):
    """Pixels of one batch of (ids, views), read from the store's file: what a worker process runs."""

    def __init__(self, store: ImageStore, views: Views) -> None:
        self.store, self.views = store, views

    def __getitem__(self, row: Int64[Tensor, "2 n"]) -> Batch:
        return rendered(self.store, self.views, row[0], row[1])


class Loader:
    """Batches for training: the sampler's ids, each in the view that the epoch gives it.

    Images that fit live on the device as uint8, and cropping is a gather there: no copy and no wait for the host
    in the loop. Larger stores are read from disk by worker processes, which render the same pixels.

    Args:
        store: The images and labels.
        sampler: The order; its ids are rows of the store.
        views: The augmentation.
        device: Where the batches appear.
        workers: Processes that read ahead when the images do not fit; 0 reads in this process.
        rank: Which part of each batch this process gets.
        num_ranks: How many processes share a batch: rank parts concatenated are the batch of a single process.
        resident_limit: Bytes of images that may live on the device; 0 always reads from disk.

    Raises:
        ConfigError: if a batch cannot be shared equally by the ranks, or the rank does not exist.

    Example:
        >>> from tutelage.data import CropFlip, UniformSampler
        >>> store = ImageStore(torch.zeros(10, 8, 8, 1, dtype=torch.uint8), torch.zeros(10, dtype=torch.int64), "")
        >>> loader = Loader(store, UniformSampler(torch.arange(10), batch_size=4, seed=0), CropFlip(1, seed=0))
        >>> [batch.images.shape for batch in loader.epoch(0, start=1)]
        [torch.Size([4, 1, 8, 8])]
    """

    def __init__(
        self,
        store: ImageStore,
        sampler: Sampler,
        views: Views,
        *,
        device: str | torch.device = "cpu",
        workers: int = 0,
        rank: int = 0,
        num_ranks: int = 1,
        resident_limit: int = _RESIDENT_LIMIT,
    ) -> None:
        if num_ranks < 1:
            raise ConfigError(f"the number of processes must be at least 1, got {num_ranks}")
        if not 0 <= rank < num_ranks:
            raise ConfigError(f"the rank must be in 0..{num_ranks - 1}, got {rank}")
        if sampler.batch_size % num_ranks:
            raise ConfigError(
                f"a batch of {sampler.batch_size} cannot be shared equally by {num_ranks} processes: "
                f"use a multiple of {num_ranks}"
            )
        if workers < 0:
            raise ConfigError(f"the number of workers must be 0 or more, got {workers}")
        self.device = torch.device(device)
        self.num_batches: int = sampler.num_batches
        self.resident: bool = store.num_bytes <= resident_limit
        self._sampler, self._views, self._workers = sampler, views, workers
        self._part = slice(rank * sampler.batch_size // num_ranks, (rank + 1) * sampler.batch_size // num_ranks)
        self._store = resident(store, self.device, limit=resident_limit)

    def epoch(self, epoch: int, *, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from position ``start`` on.

        Args:
            epoch: Which epoch, from 0 on.
            start: How many batches to leave out, such as those done before the run was stopped.

        Yields:
            uint8 images ``(n, c, h, w)`` in channels_last memory, labels, ids and views, on the device.

        Raises:
            ConfigError: if ``start`` is not in 0..num_batches.
        """
        if not 0 <= start <= self.num_batches:
            raise ConfigError(f"an epoch of {self.num_batches} batches cannot start at position {start}")
        ids = self._sampler.epoch(epoch)[start:, self._part].contiguous()
        # Both for the whole epoch at once: hashing per batch costs as much as rendering it.
        numbers = self._views.draw(ids.flatten(), epoch=epoch).view_as(ids)
        return self._resident(ids, numbers) if self.resident else self._streamed(ids, numbers)

    def _resident(self, ids: Int64[Tensor, "b n"], numbers: Int64[Tensor, "b n"]) -> Iterator[Batch]:
        ids, numbers = ids.to(self.device), numbers.to(self.device)
        for rows, views in zip(ids, numbers, strict=True):
            yield rendered(self._store, self._views, rows, views)

    def _streamed(self, ids: Int64[Tensor, "b n"], numbers: Int64[Tensor, "b n"]) -> Iterator[Batch]:
        batches = DataLoader(
            _Rows(self._store, self._views),
            batch_size=None,
            sampler=list(torch.stack([ids, numbers], 1)),
            num_workers=self._workers,
            pin_memory=self.device.type == "cuda",
            prefetch_factor=4 if self._workers else None,
            # Its own generator: the DataLoader would draw the seed of its workers from the global one.
            generator=torch.Generator(),
        )
        for batch in batches:
            yield Batch(*(tensor.to(self.device, non_blocking=True) for tensor in batch))


def resident(store: ImageStore, device: str | torch.device, *, limit: int = _RESIDENT_LIMIT) -> ImageStore:
    """The images on the device where they fit, else as they are.

    Args:
        store: Perhaps mapped from a file.
        device: Where the batches appear.
        limit: Bytes of images that may live there.

    Example:
        >>> store = ImageStore(torch.zeros(5, 8, 8, 1, dtype=torch.uint8), torch.arange(5), "")
        >>> resident(store, "cpu", limit=100) is store
        True
    """
    return store.to(device) if store.num_bytes <= limit else store


def rendered(
    store: ImageStore,
    views: Views,
    ids: Int64[Tensor, " n"],
    numbers: Int64[Tensor, " n"],
    *,
    device: str | torch.device | None = None,
) -> Batch:
    """The batch that shows these views of these images.

    Args:
        store: The images, on the host or on the device.
        views: The family of views.
        ids: Rows of the store.
        numbers: The view of each.
        device: Where the batch appears; by default where the images are.

    Example:
        >>> from tutelage.data import Plain
        >>> store = ImageStore(torch.zeros(5, 8, 8, 1, dtype=torch.uint8), torch.arange(5), "")
        >>> rendered(store, Plain(), torch.tensor([4, 2]), torch.tensor([0, 0])).labels
        tensor([4, 2])
    """
    home = store.images.device
    ids, numbers = ids.to(home), numbers.to(home)
    batch = Batch(views.render(store.images, ids, numbers), store.labels.index_select(0, ids), ids, numbers)
    return batch if device is None else Batch(*(part.to(device, non_blocking=True) for part in batch))


def evaluation_batches(
    store: ImageStore,
    ids: Int64[Tensor, " m"],
    views: Views,
    *,
    batch_size: int,
    device: str | torch.device = "cpu",
) -> Iterator[Batch]:
    """The plain view of every id in the given order; the incomplete last batch is kept.

    Args:
        store: The images and labels, on the host or on the device.
        ids: ``(m,)`` int64 rows of the store.
        views: Whose plain view to show.
        batch_size: Samples of a batch.
        device: Where the batches appear.

    Yields:
        Batches as those of `Loader.epoch`.

    Raises:
        ConfigError: if the batch size is below 1.

    Example:
        >>> from tutelage.data import Plain
        >>> store = ImageStore(torch.zeros(5, 8, 8, 1, dtype=torch.uint8), torch.arange(5), "")
        >>> [len(batch.ids) for batch in evaluation_batches(store, torch.arange(5), Plain(), batch_size=3)]
        [3, 2]
    """
    if batch_size < 1:
        raise ConfigError(f"the batch size must be at least 1, got {batch_size}")
    return _evaluate(store, ids, views, batch_size, torch.device(device))


def _evaluate(
    store: ImageStore, ids: Int64[Tensor, " m"], views: Views, batch_size: int, device: torch.device
) -> Iterator[Batch]:
    for rows in torch.split(ids.to(store.images.device), batch_size):
        yield rendered(store, views, rows, torch.full_like(rows, views.plain), device=device)

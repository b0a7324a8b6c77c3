"""Images a second that the loader gives, beside the usual way: PIL image by image in worker processes.

    TUTELAGE_DATA=… python benchmarks/loader.py --threads 1 --seconds 2

(a) resident   images in memory, crops and mirror images as one gather a batch: what CIFAR gets
(b) streaming  the same pixels, rendered by worker processes from the memory-mapped file
(c) pil        a DataLoader whose workers crop and mirror one PIL image after the other, to a uint8 tensor
(d) resized    random resized crops 256 → 224 from memory, on noise; (e) the same with PIL (bilinear, antialiased)

Nothing but the loader runs: no network, no normalisation, no copy to another device.
"""

import argparse
import itertools
import random
import time
from collections.abc import Iterator

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from tutelage.data import ImageStore, Loader, RandomResizedCrop, UniformSampler, open_dataset


class PilCrops(Dataset[tuple[Tensor, int]]):
    """Pad 4, crop 32, mirror: what the data sets of torchvision do, without the normalisation."""

    def __init__(self, store: ImageStore) -> None:
        self.images, self.labels = store.images.numpy(), store.labels.tolist()

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        image = ImageOps.expand(Image.fromarray(self.images[row]), 4)
        left, top = random.randrange(9), random.randrange(9)
        image = image.crop((left, top, left + 32, top + 32))
        if random.random() < 0.5:
            image = ImageOps.mirror(image)
        return torch.from_numpy(np.array(image)).permute(2, 0, 1), self.labels[row]


class PilResized(PilCrops):
    """A random box, resized to 224, mirrored."""

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        image = Image.fromarray(self.images[row])
        h, w = random.randint(80, 256), random.randint(80, 256)
        left, top = random.randint(0, 256 - w), random.randint(0, 256 - h)
        box = (left, top, left + w, top + h)
        image = image.resize((224, 224), Image.Resampling.BILINEAR, box=box)
        if random.random() < 0.5:
            image = ImageOps.mirror(image)
        return torch.from_numpy(np.array(image)).permute(2, 0, 1), self.labels[row]


def epochs(loader: Loader) -> Iterator[int]:
    for epoch in itertools.count():
        for batch in loader.epoch(epoch):
            yield len(batch.ids)


def pil(dataset: PilCrops, workers: int, batch_size: int) -> Iterator[int]:
    loader = DataLoader(dataset, batch_size, shuffle=True, drop_last=True, num_workers=workers)
    while True:
        for images, _ in loader:
            yield len(images)


def rate(sizes: Iterator[int], seconds: float) -> float:
    """Images a second after the first batch, which waits for the workers to start."""
    next(sizes)
    began, seen = time.perf_counter(), 0
    while (spent := time.perf_counter() - began) < seconds:
        seen += next(sizes)
    return seen / spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="cifar100")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--threads", type=int, default=1, help="of the process that trains")
    parser.add_argument("--workers", type=int, default=2, help="processes of (b), (c) and (e)")
    parser.add_argument("--seconds", type=float, default=2, help="for each of the five")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    data = open_dataset(given.data)
    ids = torch.arange(len(data.train))
    sampler = UniformSampler(ids, batch_size=given.batch_size, seed=0)
    views = data.views(seed=0)
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 256, 3), np.uint8)
    large = ImageStore(torch.from_numpy(noise), torch.zeros(256, dtype=torch.int64), "noise")
    few = UniformSampler(torch.arange(256), batch_size=64, seed=0)
    rows = {
        "resident": epochs(Loader(data.train, sampler, views)),
        "streaming": epochs(Loader(data.train, sampler, views, workers=given.workers, resident_limit=0)),
        "pil": pil(PilCrops(data.train), given.workers, given.batch_size),
        "resized": epochs(Loader(large, few, RandomResizedCrop(224))),
        "resized, pil": pil(PilResized(large), given.workers, 64),
    }
    print(f"{given.data}, batches of {given.batch_size}, {given.threads} threads, {given.workers} workers")
    for name, sizes in rows.items():
        print(f"{name:>14}: {rate(sizes, given.seconds):>10,.0f} images/s", flush=True)


if __name__ == "__main__":
    main()

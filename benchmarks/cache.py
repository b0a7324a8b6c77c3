"""What the cache of answers costs: bytes a row, milliseconds to read a batch, share of a training step.

    python benchmarks/cache.py --samples 700 --step-ms 1000

A store of all 162 views of some samples is filled in order with answers of 100 logits, once with several views a
node (dense) and once with a node for each. Then batches of 256 are read at random, as training reads them: one view of
each of 256 samples. Printed are the size of all views of CIFAR, the median and the quartiles of the milliseconds, and
the share of a step of ``--step-ms``: what `benchmarks/speed.py` gives for your student at batch 256. Answers of random
numbers are stored as they are: neither the content nor the order of the reading can be compressed away. The file is in
the memory of the operating system when it is read; reads of a store larger than memory wait for the disk as well.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch

from tutelage.teachers import AnswerStore, Content, Subject

VIEWS, CLASSES, CIFAR = 162, 100, 50_000


def filled(folder: Path, samples: int, *, dense: bool) -> AnswerStore:
    subject = Subject(teacher="benchmark", views="crop-flip", data="cifar100", content=Content(num_classes=CLASSES))
    store = AnswerStore(folder / str(dense), subject, dense=dense)
    draw = torch.Generator().manual_seed(0)
    ids = torch.arange(samples).repeat_interleave(VIEWS)
    views = torch.arange(VIEWS).repeat(samples)
    for part in torch.arange(len(ids)).split(8192):
        rows = torch.randn(len(part), CLASSES, generator=draw).half().view(torch.uint8)
        store.put(ids[part], views[part], rows)
    return store


def reading(store: AnswerStore, samples: int, batch: int, rounds: int) -> list[float]:
    draw, seconds = torch.Generator().manual_seed(1), []
    for _ in range(rounds + 5):
        ids = torch.randperm(samples, generator=draw)[:batch]
        views = torch.randint(0, VIEWS, (batch,), generator=draw)
        begin = time.perf_counter()
        rows, known = store.get(ids, views)
        store.subject.content.decode(rows)
        seconds.append(time.perf_counter() - begin)
        if not known.all():
            raise SystemExit("an answer is missing: the benchmark is wrong")
    return [1000 * each for each in seconds[5:]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=700, help="at least the batch; 700 are 113,400 rows")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--step-ms", type=float, default=None, help="a training step of the student alone")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for dense in (True, False):
            store = filled(Path(folder), given.samples, dense=dense)
            count = given.samples * VIEWS
            size = store.num_bytes / count
            low, middle, high = statistics.quantiles(reading(store, given.samples, given.batch, given.rounds), n=4)
            line = f"{'dense' if dense else 'single'}: {count:,} rows, {size:.1f} bytes a row, "
            line += f"{size * CIFAR * VIEWS / 1e9:.2f} GB for CIFAR × {VIEWS} views; "
            line += f"{given.batch} rows in {middle:.2f} ms ({low:.2f}–{high:.2f})"
            print(line + (f", {middle / given.step_ms:.2%} of a step" if given.step_ms else ""))


if __name__ == "__main__":
    main()

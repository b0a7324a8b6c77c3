"""What retrieval costs: time, memory and recall of the full graph or of queries, and of a look-up.

    python benchmarks/retrieval.py --threads 2
    python benchmarks/retrieval.py --threads 2 --rows 1280000 --classes 1000 --queries 1000 --dtype float16 \
        --searches float32 bfloat16 ivf

Features are clustered, as those of a trained network: a centre a class, centres of subclasses around it, noise around
those, and an offset that all share (as of features that are not negative); all are random numbers. `--noise` is the
length of the noise beside a class centre of length 1. On plain random numbers no approximate search is good, which
says nothing. Recall is that of the lists of other classes (same-class lists are exact, or in bfloat16 nearly) against
exact search for `--sample` queries. Memory is the largest size of the process so far: one search a process tells them
apart. The look-up, and a query of the bank as it is, are for a batch of 128, beside `--step-ms`, a training step.
"""

import argparse
import resource
import statistics
import time

import torch

from tutelage.memory import Bank, BlockwiseSearch, Graph, Neighbours, Rows, measured_recall, neighbours, query, recall
from tutelage.memory.faiss_search import FaissSearch

SEARCHES = {
    "float32": lambda given: BlockwiseSearch(),
    "bfloat16": lambda given: BlockwiseSearch(compute="bfloat16", candidates=given.candidates),
    "flat": lambda given: FaissSearch(kind="flat"),
    "ivf": lambda given: FaissSearch(kind="ivf", cells=given.cells, probes=given.probes),
    "hnsw": lambda given: FaissSearch(kind="hnsw", breadth=given.breadth),
}


def filled(given: argparse.Namespace) -> Bank:
    draw = torch.Generator().manual_seed(0)
    normal = lambda *shape: torch.randn(*shape, generator=draw) / given.width**0.5  # noqa: E731
    bank = Bank(given.rows, features=given.width, dtype=getattr(torch, given.dtype))
    classes, offset = normal(given.classes, given.width), normal(given.width) * given.offset
    parts = classes.repeat_interleave(5, 0) + 0.5 * normal(5 * given.classes, given.width)
    for ids in torch.arange(given.rows).split(16384):
        part = torch.randint(0, len(parts), (len(ids),), generator=draw)
        bank.update(ids, offset + parts[part] + given.noise * normal(len(ids), given.width), labels=part // 5)
    return bank


def memory() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def milliseconds(call, rounds: int) -> str:
    seconds = []
    for _ in range(rounds + 2):
        begin = time.perf_counter()
        call()
        seconds.append(1000 * (time.perf_counter() - begin))
    low, middle, high = statistics.quantiles(seconds[2:], n=4)
    return f"{middle:.3f} ms ({low:.3f}–{high:.3f})"


def searched(name: str, rows: Rows, queries: Rows | None, true: Neighbours | None, given: argparse.Namespace) -> None:
    begin = time.perf_counter()
    found = neighbours(rows, k_same=given.k_same, k_other=given.k, queries=queries, search=SEARCHES[name](given))
    seconds = time.perf_counter() - begin
    if true is None:
        same, other = measured_recall(rows, found, sample=given.sample)
    else:
        same, other = recall(found.same, true.same), recall(found.other, true.other)
    what = "full graph" if queries is None else f"{len(queries.ids):,} queries"
    print(
        f"{name}: {what}, {given.rows:,} × {given.width}, k = {given.k}: {seconds:.2f} s, recall {other:.4f} "
        f"(same class {same:.4f}), {memory():.2f} GB at most",
        flush=True,
    )


def looked_up(bank: Bank, given: argparse.Namespace) -> None:
    ids = torch.randperm(given.rows, generator=torch.Generator().manual_seed(1))[:128]
    rows = bank.rows()
    lists = Neighbours.none(given.rows, given.k_same, given.k)
    graph = Graph(lists._replace(same=lists.same + 1, other=lists.other + 1), "benchmark")

    def read() -> None:
        near = graph(ids)
        bank.read(near.same), bank.read(near.other)

    step = f", a step is {given.step_ms:.0f} ms" if given.step_ms else ""
    print(f"look-up and reading, batch of 128: {milliseconds(read, 50)}{step}")
    if given.rows <= 100_000:
        dynamic = milliseconds(lambda: query(rows, rows.pick(ids), k_same=given.k_same, k_other=given.k), 10)
        print(f"query at every step, batch of 128: {dynamic}{step}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--noise", type=float, default=1.0)
    parser.add_argument("--offset", type=float, default=1.0)
    parser.add_argument("--dtype", choices=["float32", "float16"], default="float32")
    parser.add_argument("--k", type=int, default=32, help="neighbours of other classes")
    parser.add_argument("--k-same", type=int, default=8)
    parser.add_argument("--queries", type=int, default=None, help="search for so many rows instead of all")
    parser.add_argument("--sample", type=int, default=1000, help="rows whose recall is measured")
    parser.add_argument("--searches", nargs="*", choices=list(SEARCHES), default=["float32", "bfloat16"])
    parser.add_argument("--candidates", type=int, default=None, help="of bfloat16")
    parser.add_argument("--cells", type=int, default=None, help="of ivf")
    parser.add_argument("--probes", type=int, default=64, help="of ivf")
    parser.add_argument("--breadth", type=int, default=1024, help="of hnsw")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--step-ms", type=float, default=None, help="a training step, to compare the look-up with")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    bank = filled(given)
    rows, queries, true = bank.rows(), None, None
    print(f"the bank alone: {memory():.2f} GB at most", flush=True)
    if given.queries is not None:
        queries = rows.pick(torch.randperm(given.rows, generator=torch.Generator().manual_seed(2))[: given.queries])
        true = neighbours(rows, k_same=given.k_same, k_other=given.k, queries=queries)
    for name in given.searches:
        searched(name, rows, queries, true, given)
    looked_up(bank, given)


if __name__ == "__main__":
    main()

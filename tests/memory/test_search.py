import math
import re

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tutelage.errors import ConfigError, ShapeError
from tutelage.memory import BlockwiseSearch, candidates, nearest
from tutelage.memory.search import hide_places, hide_ranges

BLOCKS = [2**10, 2**12, 2**14, 2**28]


def by_full_product(queries, keys, k, ids=None):
    """For rows whose products are exact: sort everything."""
    ids = torch.arange(len(keys)) if ids is None else ids
    order = torch.arange(len(keys))[ids.argsort()]
    scores = queries @ keys[order].T
    best, at = scores.sort(dim=1, descending=True, stable=True)
    return best[:, :k], order[at][:, :k]


class Sizes(TorchDispatchMode):
    """Notes the size of all that is computed, and the shapes and the precision of the products."""

    def __init__(self):
        super().__init__()
        self.largest, self.products, self.precisions = 0, [], set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for part in out if isinstance(out, tuple | list) else [out]:
            if isinstance(part, torch.Tensor):
                # what shares memory (expand, view) needs none; a copy is as large as its storage
                self.largest = max(self.largest, part.untyped_storage().nbytes())
        if function.overloadpacket is torch.ops.aten.mm:
            self.products.append(tuple(out.shape))
            self.precisions.add(torch.get_float32_matmul_precision())
        return out


@pytest.mark.parametrize("k", [1, 5, 40])
@pytest.mark.parametrize("block_bytes", BLOCKS)
def test_ties_go_to_the_lower_id_whatever_the_block(signs, k, block_bytes):
    rows = signs(300, 1)  # 16 different rows: 19 equal ones on average, more than there are candidates beyond k
    ids = torch.randperm(300, generator=torch.Generator().manual_seed(1))
    found = nearest(rows.features, rows.features, k, ids=ids, search=BlockwiseSearch(block_bytes=block_bytes))
    true = by_full_product(rows.features, rows.features, k, ids)
    assert found[0].equal(true[0])
    assert found[1].equal(true[1])


@pytest.mark.parametrize("count", [3, 100])
def test_queries_that_are_settled_one_by_one_are_few_or_many(signs, count):
    rows = signs(300, 1)  # up to 64 are scored against all keys, more against those that differ
    found = nearest(rows.features[:count], rows.features, 7)
    true = by_full_product(rows.features[:count], rows.features, 7)
    assert found[0].equal(true[0])
    assert found[1].equal(true[1])


@pytest.mark.parametrize("d", [3, 16, 65])
def test_the_block_size_changes_no_bit(clustered, d):
    x = clustered(700, 9, d).features
    first, *others = [nearest(x, x, 6, search=BlockwiseSearch(block_bytes=size)) for size in BLOCKS]
    assert first[1][:, 0].equal(torch.arange(700))
    for other in others:
        assert other[0].equal(first[0])
        assert other[1].equal(first[1])


@pytest.mark.parametrize("alone", [0, 17])
def test_a_query_alone_gets_the_bits_it_gets_in_company(clustered, alone):
    x = clustered(700, 9, 65).features
    whole, one = nearest(x, x, 6), nearest(x[alone : alone + 1], x, 6)
    assert one[0][0].equal(whole[0][alone])
    assert one[1][0].equal(whole[1][alone])


@pytest.mark.parametrize("width", [31, 640, 5000, 5009])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_groups_propose_the_largest_of_a_block(width, dtype):
    draw = torch.Generator().manual_seed(width)
    scores = torch.randn(20, width, generator=draw).to(dtype)
    best, at = candidates.best_of_block(scores, 30)
    assert best.equal(scores.gather(1, at))
    assert at.sort(1).values.diff(dim=1).gt(0).all()
    assert best.sort(1, descending=True).values.equal(scores.topk(30).values)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_groups_propose_the_largest_where_all_are_negative(dtype):
    scores = -torch.rand(4, 5000, generator=torch.Generator().manual_seed(0)).to(dtype) - 1
    scores[:, 10:] = -torch.inf
    best, at = candidates.best_of_block(scores, 12)
    assert at[:, :].sort(1).values[:, :10].le(4999).all()
    assert best.sort(1, descending=True).values.equal(scores.topk(12).values)


@pytest.mark.parametrize("compute", ["float32", "bfloat16"])
def test_no_more_memory_is_taken_than_blocks_and_lists(clustered, compute, monkeypatch):
    monkeypatch.setattr(candidates, "TOGETHER", 2**14)
    n, k, size = 3000, 4, 2**16
    x = clustered(n, 9, 4).features
    search = BlockwiseSearch(compute=compute, block_bytes=size)
    with Sizes() as sizes:
        nearest(x, x, k, search=search)
    lists = 8 * n * search.pool(k)
    assert sizes.largest <= max(size, lists, x.nbytes) < n * n / 8
    rows, columns = search.block(n, n, 4)
    assert max(a * b for a, b in sizes.products) * (4 if compute == "float32" else 2) <= size
    assert sizes.products[0] == (rows, columns)
    assert len(sizes.products) == math.ceil(n / rows) * math.ceil(n / columns)


@pytest.mark.parametrize("width", [4, 100_000])
@pytest.mark.parametrize("compute", ["float32", "bfloat16"])
def test_a_block_and_its_keys_stay_below_the_bound(compute, width):
    search = BlockwiseSearch(compute=compute, block_bytes=2**20)
    rows, columns = search.block(10**6, 10**6, width)
    assert 0 < rows * columns * (4 if compute == "float32" else 2) <= 2**20
    assert columns * width * 4 <= 2**20


def test_candidates_in_bfloat16_find_nearly_all_and_are_scored_in_float32(clustered):
    x = clustered(3000, 20, 64).features
    exact, fast = nearest(x, x, 16), nearest(x, x, 16, search=BlockwiseSearch(compute="bfloat16"))
    found = (fast[1].unsqueeze(2) == exact[1].unsqueeze(1)).any(2)
    assert found.float().mean() >= 0.99
    assert fast[0].equal((x.unsqueeze(1) * x[fast[1]]).sum(-1))
    assert (fast[0].diff(dim=1) <= 0).all()


def test_too_few_candidates_in_bfloat16_find_less(clustered):
    x = clustered(3000, 20, 64).features
    exact = nearest(x, x, 16)[1]
    few, many = (
        (
            nearest(x, x, 16, search=BlockwiseSearch(compute="bfloat16", candidates=p))[1].unsqueeze(2)
            == exact.unsqueeze(1)
        )
        .any(2)
        .float()
        .mean()
        for p in (16, 48)
    )
    assert few < many


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_keys_of_other_types_are_scored_in_at_least_float32(clustered, dtype):
    x = clustered(500, 5).features.to(dtype)
    score, at = nearest(x, x, 3)
    assert score.dtype == torch.float32
    wider = torch.promote_types(dtype, torch.float32)
    assert score.equal((x.to(wider).unsqueeze(1) * x[at].to(wider)).sum(-1).float())


def test_autocast_and_the_precision_of_products_change_nothing(clustered):
    x = clustered(2000, 9, 64).features
    plain, before = nearest(x, x, 5), torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        with torch.autocast("cpu", dtype=torch.bfloat16), Sizes() as sizes:
            lowered = nearest(x, x, 5)
        assert sizes.precisions == {"highest"}
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
    assert lowered[0].equal(plain[0])
    assert lowered[1].equal(plain[1])


def test_lists_longer_than_there_are_keys_end_in_padding():
    score, at = nearest(torch.eye(2), torch.eye(2), 3)
    assert at.tolist() == [[0, 1, -1], [1, 0, -1]]
    assert score.tolist() == [[1.0, 0.0, -torch.inf]] * 2


@pytest.mark.parametrize(("q", "n", "k"), [(0, 3, 2), (3, 0, 2), (3, 3, 0)])
def test_nothing_to_find_is_an_answer(q, n, k):
    score, at = nearest(torch.ones(q, 2), torch.ones(n, 2), k)
    assert score.shape == at.shape == (q, k)
    assert (at == -1).all()


def test_hidden_keys_are_not_found(clustered):
    x = clustered(300, 3).features
    away = torch.arange(300) % 7 * 40 - 1  # −1, 39, …: the first hides nothing
    search = BlockwiseSearch(block_bytes=2**10)
    _, at = nearest(x, x, 300, hide=hide_places(away), search=search)
    assert not (at == away.unsqueeze(1))[away >= 0].any()
    assert (at >= 0).sum(1).equal(torch.where(away >= 0, 299, 300))
    ranges = [(0, 50, slice(0, 100)), (50, 300, slice(150, 151)), (7, 7, slice(200, 300))]
    _, at = nearest(x, x, 300, hide=hide_ranges(ranges), search=search)
    assert at[:100].max() == 299
    assert at[:100][at[:100] >= 0].min() == 50
    assert at[150].max() == 49
    assert (at[200:] >= 0).all()


@pytest.mark.usefixtures("own_messages")
@pytest.mark.parametrize(
    ("queries", "keys", "k", "error", "message"),
    [
        (torch.ones(3), torch.ones(2, 3), 1, ShapeError, "(q, d) and (n, d), got (3,) and (2, 3): take both"),
        (torch.ones(1, 4), torch.ones(2, 3), 1, ShapeError, "rows of one width, (q, d) and (n, d), got (1, 4)"),
        (torch.ones(1, 3, device="meta"), torch.ones(2, 3), 1, ShapeError, "on one device, got meta and cpu"),
        (torch.ones(1, 3), torch.ones(2, 3), -1, ConfigError, "at least 0, got -1"),
    ],
)
def test_what_cannot_be_compared_is_refused(queries, keys, k, error, message):
    with pytest.raises(error, match=re.escape(message)):
        nearest(queries, keys, k)


@pytest.mark.usefixtures("own_messages")
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"compute": "float16"}, "compute must be 'float32' or 'bfloat16', got 'float16'"),
        ({"block_bytes": 100}, "block_bytes must be at least 1024, got 100"),
        ({"candidates": 0}, "candidates must be at least 1, got 0"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        BlockwiseSearch(**settings)

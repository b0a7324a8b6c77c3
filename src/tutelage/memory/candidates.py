"""Candidates: how a block of scores proposes them, and how they are scored one by one.

Letters: q queries, n keys, d features, k neighbours, p candidates, b rows and w columns of a block.
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from tutelage.ops.precision import upcast

__all__ = ["TOGETHER", "best_of_block", "ordered_candidates", "products"]

_GROUP = 16
"""Columns whose largest score stands for them all. The best 40 of 50,000 by way of 3,125 such maxima take 8 ms instead
of the 20 of one ``topk``, for 256 rows on one thread; with groups of 32 they take 14."""

TOGETHER = 2**22
"""Bytes of candidates' features that are scored together, so that they stay in the cache."""


def best_of_block(scores: Float[Tensor, "b w"], pool: int) -> tuple[Tensor, Tensor]:
    """The p largest of each row, not in order, and their columns.

    Column j belongs to group j mod g. The p largest lie in the p groups of the largest maxima, or are as large as
    what those groups hold.

    Example:
        >>> best_of_block(torch.tensor([[1.0, 3.0, 2.0]]), 1)
        (tensor([[3.]]), tensor([[1]]))
    """
    if scores.dtype is torch.bfloat16:
        # Numbers that are not negative are ordered as their bits are, and integers are compared in half the time.
        best, at = _best(scores.view(torch.int16), pool)
        if bool((best >= 0).all()):
            return best.view(torch.bfloat16), at
    return _best(scores, pool)


def _best(scores: Tensor, pool: int) -> tuple[Tensor, Tensor]:
    b, w = scores.shape
    groups = w // _GROUP
    if groups < 4 * pool:
        best, at = scores.topk(min(pool, w), sorted=False)
        return best, at
    main = groups * _GROUP
    grid = scores[:, :main].view(b, _GROUP, groups)
    chosen = grid.amax(1).topk(pool, sorted=False).indices
    members = grid.gather(2, chosen.unsqueeze(1).expand(b, _GROUP, pool)).flatten(1)
    best, pick = torch.cat([members, scores[:, main:]], 1).topk(pool, sorted=False)
    inside = pick // pool * groups + chosen.gather(1, pick % pool)
    return best, torch.where(pick < _GROUP * pool, inside, pick - _GROUP * pool + main)


def ordered_candidates(
    queries: Float[Tensor, "q d"], keys: Float[Tensor, "n d"], places: Tensor, k: int, *, ids: Int64[Tensor, " n"]
) -> tuple[Float[Tensor, "q k"], Int64[Tensor, "q k"]]:
    """Candidates scored in float32 one by one, and the k best, by score and then by id.

    Args:
        queries: Rows of length one.
        keys: Rows of length one.
        places: ``(q, p)`` which keys are candidates; −1 where there is none.
        k: Length of the lists.
        ids: Of the keys, to break ties.

    Returns:
        Products and places as of :func:`~tutelage.memory.search.nearest`.

    Example:
        >>> keys = torch.eye(3)
        >>> ordered_candidates(keys[:1], keys, torch.tensor([[2, 1, 0]]), 3, ids=torch.arange(3))
        (tensor([[1., 0., 0.]]), tensor([[0, 1, 2]]))
    """
    pool = places.shape[1]
    scores = queries.new_full((len(queries), k), -torch.inf, dtype=torch.float32)
    found = ids.new_full((len(queries), k), -1)
    most = max(1, TOGETHER // (4 * max(1, pool) * keys.shape[1]))
    for part in map(slice, range(0, len(queries), most), range(most, len(queries) + most, most)):
        at = places[part].long()
        near = keys.index_select(0, at.clamp(min=0).flatten()).view(*at.shape, -1)
        score = products(near, queries[part].unsqueeze(1)).masked_fill_(at < 0, -torch.inf)
        by_id = ids[at.clamp(min=0)].argsort(1)
        score, order = score.gather(1, by_id).sort(stable=True, dim=1, descending=True)
        scores[part, :pool] = score[:, :k]
        found[part, :pool] = at.gather(1, by_id).gather(1, order)[:, :k]
    return scores, found


def products(keys: Tensor, queries: Tensor) -> Tensor:
    """The score of a key: the same bits in whatever company it is computed.

    Example:
        >>> products(torch.eye(2), torch.tensor([3.0, 4.0]))
        tensor([3., 4.])
    """
    return (upcast(keys) * upcast(queries)).sum(-1).float()

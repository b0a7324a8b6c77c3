"""Keys side by side by class, and what is asked of them: a class is then a range, and hiding one is cheap.

Letters: n keys, q queries, d features.
"""

from typing import NamedTuple

import torch
from jaxtyping import Int64
from torch import Tensor

from tutelage.errors import InputError
from tutelage.memory.rows import Rows

__all__ = ["Asked", "SortedRows", "places_of", "sorted_rows"]


class SortedRows(NamedTuple):
    """The rows that exist and have a label, ordered by label.

    Attributes:
        ids: ``(n,)``.
        features: ``(n, d)``.
        labels: ``(n,)`` ascending.
        places: ``(n,)`` where each came from.
    """

    ids: Tensor
    features: Tensor
    labels: Tensor
    places: Tensor

    def asked(self, queries: Rows | None) -> "Asked":
        """These rows, or other queries, with the range of their class and their own place.

        Example:
            >>> keys = sorted_rows(Rows.of(torch.eye(3), torch.tensor([1, 0, 1])))
            >>> keys.asked(None).low, keys.asked(None).own
            (tensor([0, 1, 1]), tensor([0, 1, 2]))
        """
        if queries is None:
            places, features, labels = self.places, self.features, self.labels
            own = torch.arange(len(labels), device=labels.device)
        else:
            places = queries.labels.argsort(stable=True)
            places = places[queries.labels[places] >= 0]
            features, labels = queries.features[places], queries.labels[places]
            _check_finite(features)
            own = places_of(queries.ids[places], self.ids)
        low, high = (torch.searchsorted(self.labels, labels, right=right) for right in (False, True))
        return Asked(places, features, low, high, own)


class Asked(NamedTuple):
    """Queries, ordered by label.

    Attributes:
        places: ``(q,)`` where each came from.
        features: ``(q, d)``.
        low: ``(q,)`` the first key of its class.
        high: ``(q,)`` the key after the last of its class.
        own: ``(q,)`` the query itself among the keys; −1 where it is none of them.
    """

    places: Tensor
    features: Tensor
    low: Tensor
    high: Tensor
    own: Tensor

    def classes(self) -> list[tuple[int, int, slice]]:
        """First key, key after the last, and queries, of each range of keys that is asked for.

        Example:
            >>> sorted_rows(Rows.of(torch.eye(3), torch.tensor([1, 0, 1]))).asked(None).classes()
            [(0, 1, slice(0, 1, None)), (1, 3, slice(1, 3, None))]
        """
        # One number a range: `unique_consecutive` of pairs takes 40 ms for 25,000 queries.
        base = int(self.high.max()) + 1
        ranges, counts = torch.unique_consecutive(self.low * base + self.high, return_counts=True)
        ends = counts.cumsum(0)
        return [
            (both // base, both % base, slice(end - count, end))
            for both, count, end in zip(ranges.tolist(), counts.tolist(), ends.tolist(), strict=True)
        ]


def sorted_rows(rows: Rows) -> SortedRows:
    """The rows that exist and have a label, by label.

    Raises:
        InputError: if a feature of such a row is not finite.

    Example:
        >>> rows = Rows(torch.tensor([0, -1, 2, 3]), torch.eye(4), torch.tensor([1, 0, 0, -1]))
        >>> sorted_rows(rows).ids
        tensor([2, 0])
    """
    places = ((rows.ids >= 0) & (rows.labels >= 0)).nonzero().flatten()
    places = places[rows.labels[places].argsort(stable=True)]
    features = rows.features[places]
    _check_finite(features)
    return SortedRows(rows.ids[places], features, rows.labels[places], places)


def places_of(wanted: Int64[Tensor, " q"], ids: Int64[Tensor, " n"]) -> Int64[Tensor, " q"]:
    """Where each wanted id stands among many, no two of which are equal; −1 where it does not, or is −1 itself.

    The few are sorted, not the many.

    Example:
        >>> places_of(torch.tensor([7, 5, -1]), torch.tensor([3, 7, -1]))
        tensor([ 1, -1, -1])
    """
    if len(wanted) == 0:
        return wanted
    ordered = wanted.sort().values
    at = torch.searchsorted(ordered, ids).clamp(max=len(ordered) - 1)
    hits = ((ordered[at] == ids) & (ids >= 0)).nonzero().flatten()
    places = torch.full_like(ordered, -1)
    places[at[hits]] = hits
    return places[torch.searchsorted(ordered, wanted)]


def _check_finite(features: Tensor) -> None:
    # By the sum of a row: it is not finite where an entry is not, and the rows are of length one.
    if not bool(features.sum(1, dtype=torch.float32).isfinite().all()):
        odd = (~features.isfinite().all(1)).sum()
        raise InputError(f"features must be finite, {int(odd)} of {len(features)} rows are not: the network diverged")

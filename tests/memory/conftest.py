"""What the tests of the memory share."""

from collections.abc import Callable

import pytest
import torch

from tutelage.memory import Neighbours, Rows


@pytest.fixture(scope="session")
def clustered() -> Callable[..., Rows]:
    """Rows around a centre a class, beside an offset that all share."""

    def build(n: int, classes: int, d: int = 16, *, seed: int = 0) -> Rows:
        draw = torch.Generator().manual_seed(seed)
        labels = torch.randint(0, classes, (n,), generator=draw)
        centres = 1 + torch.randn(classes, d, generator=draw)
        return Rows.of(centres[labels] + torch.randn(n, d, generator=draw), labels)

    return build


@pytest.fixture(scope="session")
def signs() -> Callable[..., Rows]:
    """Rows of ±½ in four dimensions: of length one, with exact products, and most of them equal to others."""

    def build(n: int, classes: int, *, seed: int = 0) -> Rows:
        draw = torch.Generator().manual_seed(seed)
        features = torch.randint(0, 2, (n, 4), generator=draw) - 0.5
        return Rows(torch.arange(n), features, torch.randint(0, classes, (n,), generator=draw))

    return build


def by_loops(rows: Rows, k_same: int, k_other: int, queries: Rows | None = None) -> Neighbours:
    """The definition, in float64, one pair at a time."""
    lists: list[list[list[float]]] = [[], [], [], []]
    for own, x, label in zip(*(rows if queries is None else queries), strict=True):
        for at, k, same in ((0, k_same, True), (2, k_other, False)):
            ranked = sorted(
                (-float(x.double() @ y.double()), int(j))
                for j, y, other in zip(*rows, strict=True)
                if j >= 0 and j != own and label >= 0 and other >= 0 and bool(other == label) is same
            )[:k]
            if queries is None and own < 0:
                ranked = []
            lists[at].append([j for _, j in ranked] + [-1] * (k - len(ranked)))
            lists[at + 1].append([-s for s, _ in ranked] + [-torch.inf] * (k - len(ranked)))
    same, same_similarity, other, other_similarity = lists
    count = len(same)
    return Neighbours(
        torch.tensor(same, dtype=torch.int64).reshape(count, k_same),
        torch.tensor(same_similarity, dtype=torch.float32).reshape(count, k_same),
        torch.tensor(other, dtype=torch.int64).reshape(count, k_other),
        torch.tensor(other_similarity, dtype=torch.float32).reshape(count, k_other),
    )


@pytest.fixture(scope="session")
def loops() -> Callable[..., Neighbours]:
    """The definition of neighbours as loops."""
    return by_loops


@pytest.fixture(scope="session")
def same_answer() -> Callable[[Neighbours, Neighbours], None]:
    """Equal ids, and similarities that differ by rounding alone."""

    def compare(found: Neighbours, true: Neighbours) -> None:
        assert found.same.equal(true.same)
        assert found.other.equal(true.other)
        torch.testing.assert_close(found.same_similarity, true.same_similarity, atol=1e-6, rtol=0)
        torch.testing.assert_close(found.other_similarity, true.other_similarity, atol=1e-6, rtol=0)

    return compare

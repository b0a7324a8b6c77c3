import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.ops.distances import distances
from tutelage.ops.mining import chosen_negatives, listed_pairs, listed_triplets, semi_hard

few = settings(max_examples=20, deadline=None)


def batch(seed, n=9, classes=3):
    generator = torch.Generator().manual_seed(seed)
    d = distances(torch.randn(n, 3, generator=generator, dtype=torch.float64))
    return d, torch.randint(classes, (n,), generator=generator)


def negatives_as_loops(d, labels, margin):
    """(anchor, positive) → its semi-hard negatives, nearest first."""
    table, names, every = d.tolist(), labels.tolist(), range(len(labels))
    found = {}
    for a in every:
        for p in every:
            if a != p and names[a] == names[p]:
                near, far = table[a][p], table[a][p] + margin
                inside = [n for n in every if names[n] != names[a] and near < table[a][n] <= far]
                if inside:
                    found[a, p] = sorted(inside, key=lambda n, row=table[a]: row[n])
    return found


def spread_as_loops(found, most):
    """The negatives in the middles of equal parts of the list."""
    if len(found) <= most:
        return found
    return [found[((2 * j + 1) * len(found)) // (2 * most)] for j in range(most)]


def as_lists(found, pairs, **limits):
    negatives, exists = chosen_negatives(found, pairs, **limits)
    rows = zip(pairs.anchor.tolist(), pairs.positive.tolist(), negatives, exists, strict=True)
    return {(a, p): row[there].tolist() for a, p, row, there in rows}


@few
@given(st.integers(0, 10**6), st.floats(0.05, 3.0), st.integers(1, 4))
def test_the_semi_hard_negatives_are_those_of_the_loops(seed, margin, classes):
    d, labels = batch(seed, classes=classes)
    expected, found = negatives_as_loops(d, labels, margin), semi_hard(d, labels, margin=margin)
    assert as_lists(found, listed_pairs(found), most=9) == expected
    assert torch.stack(listed_triplets(found)).T.tolist() == [[*pair, n] for pair, ns in expected.items() for n in ns]


@few
@given(st.integers(0, 10**6), st.integers(1, 5))
def test_beyond_the_cap_they_are_spread_evenly_over_the_order_of_distances(seed, most):
    d, labels = batch(seed, n=14, classes=2)
    expected, found = negatives_as_loops(d, labels, 2.0), semi_hard(d, labels, margin=2.0)
    capped = as_lists(found, listed_pairs(found), most=most)
    assert capped == {pair: spread_as_loops(ns, most) for pair, ns in expected.items()}
    assert all(len(ns) == min(most, len(expected[pair])) for pair, ns in capped.items())


@few
@given(st.integers(0, 10**6), st.integers(1, 5))
def test_by_the_rule_of_the_fewest_every_pair_has_as_many(seed, most):
    d, labels = batch(seed)
    expected, found = negatives_as_loops(d, labels, 1.0), semi_hard(d, labels, margin=1.0)
    least = min([most, *(len(ns) for ns in expected.values())])
    chosen = as_lists(found, listed_pairs(found), most=most, fewest=True)
    assert chosen == {pair: spread_as_loops(ns, least) for pair, ns in expected.items()}


def test_equally_far_negatives_stand_in_the_order_of_the_batch_and_as_near_as_the_positive_is_not_semi_hard():
    d = distances(torch.tensor([[0.0], [1.0], [2.0], [-2.0], [-1.0], [3.0]]))
    found = semi_hard(d, torch.tensor([0, 0, 1, 1, 1, 1]), margin=1.0)
    assert as_lists(found, listed_pairs(found), most=4)[0, 1] == [2, 3]  # 4 is as near as 1, and 5 is beyond the margin


@pytest.mark.parametrize("labels", [[0, 0, 0], [0, 1, 2], [5]])
def test_one_class_or_no_positive_has_no_pair_and_no_triplet(labels):
    found = semi_hard(distances(torch.eye(3)[: len(labels)]), torch.tensor(labels), margin=9.0)
    pairs = listed_pairs(found)
    assert len(pairs.anchor) == 0
    assert chosen_negatives(found, pairs, most=4, fewest=True)[0].shape == (0, 0)
    assert len(listed_triplets(found)[0]) == 0

import re

import pytest
import torch

from tutelage.errors import ConfigError, InputError, ShapeError
from tutelage.memory import Bank, BlockwiseSearch, Neighbours, Rows, measured_recall, neighbours, query, recall

TINY = BlockwiseSearch(block_bytes=2**10)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("search", [None, TINY])
def test_the_definition_as_loops(clustered, loops, same_answer, seed, search):
    rows = clustered(60, 4, seed=seed)
    same_answer(neighbours(rows, k_same=5, k_other=7, search=search), loops(rows, 5, 7))


@pytest.mark.parametrize("seed", range(3))
def test_the_definition_as_loops_where_nearly_all_is_a_tie(signs, loops, seed):
    rows = signs(60, 3, seed=seed)
    found, true = neighbours(rows, k_same=5, k_other=7, search=TINY), loops(rows, 5, 7)
    assert all(mine.equal(theirs) for mine, theirs in zip(found, true, strict=True))


def test_the_definition_as_loops_for_queries_among_the_rows_and_others(clustered, loops, same_answer):
    rows = clustered(60, 4)
    ids = torch.tensor([7, 3, -1, 59, 80, 3])  # not a row, and one that comes twice
    labels = torch.tensor([0, 3, 2, 9, 1, int(rows.labels[3])])  # a class without rows, and labels unlike the row's
    queries = Rows(ids, clustered(60, 4, seed=1).features[:6], labels)
    same_answer(neighbours(rows, k_same=5, k_other=7, queries=queries), loops(rows, 5, 7, queries))
    same_answer(query(rows, queries, k_same=5, k_other=7), loops(rows, 5, 7, queries))


def test_a_query_of_the_bank_as_it_is_has_the_bits_of_the_search(clustered):
    rows, bank = clustered(200, 5), Bank(300, features=16, dtype=torch.float16)
    bank.update(torch.arange(200) + 40, rows.features, labels=rows.labels)
    queries = bank.rows().pick(torch.arange(30, 60))
    found, asked = query(bank.rows(), queries), neighbours(bank.rows(), queries=queries)
    # Rows 30 to 39 were never written and are no samples; as queries they have label −1, and get nothing.
    assert not found.same_mask[:10].any()
    assert not found.other_mask[:10].any()
    assert all(mine.equal(theirs) for mine, theirs in zip(found, asked, strict=True))


def test_a_sample_is_not_its_own_neighbour_but_its_duplicate_is():
    x = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    found = neighbours(Rows.of(x, torch.tensor([0, 0, 0, 1])), k_same=1, k_other=1)
    assert found.same.flatten().tolist() == [1, 0, 0, -1]
    assert found.other.flatten().tolist() == [3, 3, 3, 0]


def test_the_lists_are_of_the_classes_they_say(clustered):
    rows = clustered(300, 10)
    found = neighbours(rows, k_same=8, k_other=16)
    assert found.same_mask.all()
    assert (rows.labels[found.same] == rows.labels.unsqueeze(1)).all()
    assert (rows.labels[found.other] != rows.labels.unsqueeze(1)).all()
    assert (found.same != rows.ids.unsqueeze(1)).all()
    assert (found.same_similarity.diff(dim=1) <= 0).all()
    assert (found.other_similarity.diff(dim=1) <= 0).all()


def test_short_classes_end_in_padding_without_weight():
    rows = Rows.of(torch.randn(6, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 0, 0, 0, 0, 1]))
    found = neighbours(rows, k_same=7, k_other=2)
    assert found.same_mask.sum(1).tolist() == [4, 4, 4, 4, 4, 0]
    assert found.other_mask.sum(1).tolist() == [1, 1, 1, 1, 1, 2]
    assert (found.same[:, 4:] == -1).all()
    weights = (found.same_similarity[:5] / 0.1).softmax(1)
    assert (weights[:, 4:] == 0).all()
    torch.testing.assert_close(weights.sum(1), torch.ones(5))


def test_permuting_the_rows_permutes_the_lists_bit_for_bit(signs, clustered):
    order = torch.randperm(200, generator=torch.Generator().manual_seed(1))
    for rows in (clustered(200, 6), signs(200, 6)):
        found = neighbours(rows)
        permuted = neighbours(rows.pick(order), search=TINY)
        assert all(mine.equal(theirs[order]) for mine, theirs in zip(permuted, found, strict=True))


@pytest.mark.parametrize("size", [2**10, 2**12, 2**15])
def test_the_block_size_changes_no_bit(clustered, size):
    rows = clustered(400, 7)
    found, blocks = neighbours(rows), neighbours(rows, search=BlockwiseSearch(block_bytes=size))
    assert all(mine.equal(theirs) for mine, theirs in zip(blocks, found, strict=True))


def test_collapsed_features_have_the_lowest_ids_as_neighbours():
    found = neighbours(Rows.of(torch.ones(200, 3), torch.arange(200) % 2), k_same=3, k_other=2)
    assert found.same[:6].tolist() == [[2, 4, 6], [3, 5, 7], [0, 4, 6], [1, 5, 7], [0, 2, 6], [1, 3, 7]]
    assert found.same[199].tolist() == [1, 3, 5]
    assert found.other.equal(torch.tensor([[1, 3], [0, 2]]).repeat(100, 1))


def test_rows_without_direction_are_at_right_angles_to_all():
    x = torch.tensor([[0.0, 0.0], [1.0, 0.0], [-1.0, 0.0]])
    found = neighbours(Rows.of(x, torch.zeros(3).long()), k_same=2, k_other=0)
    assert found.same.tolist() == [[1, 2], [0, 2], [0, 1]]
    assert found.same_similarity.tolist() == [[0.0, 0.0], [0.0, -1.0], [0.0, -1.0]]


def test_rows_that_were_never_written_or_have_no_label_are_nobodys_neighbours(clustered, loops, same_answer):
    rows, bank = clustered(40, 3), Bank(50, features=16)
    bank.update(torch.arange(40) + 5, rows.features, labels=rows.labels.where(rows.ids != 20, -1))
    bank.update(torch.tensor([48]), rows.features[:1])
    found = neighbours(bank.rows(), k_same=4, k_other=4)
    same_answer(found, loops(bank.rows(), 4, 4))
    for nobody in (0, 25, 48, 49):
        assert nobody not in found.same
        assert nobody not in found.other
        assert not found.same_mask[nobody].any()
        assert not found.other_mask[nobody].any()


def test_no_rows_at_all_give_padding():
    found = neighbours(Bank(3, features=2).rows(), k_same=1, k_other=2)
    assert (found.same == -1).all()
    assert found.other_similarity.equal(torch.full((3, 2), -torch.inf))


def test_one_class_is_the_plain_search_for_neighbours(clustered):
    x = clustered(80, 5).features
    found = neighbours(Rows.of(x, torch.zeros(80).long()), k_same=6, k_other=0).same
    scores = (x @ x.T).fill_diagonal_(-torch.inf)
    assert found.equal(scores.topk(6).indices)


def test_lists_of_length_zero_cost_nothing_and_are_empty(clustered):
    found = neighbours(clustered(10, 2), k_same=0, k_other=0)
    assert found.same.shape == found.other_similarity.shape == (10, 0)


@pytest.mark.parametrize("offset", [0, 1])
def test_bfloat16_recall_on_clustered_features(clustered, offset):
    rows = clustered(4000, 20, 64)
    # 1 is 8 times the root mean square of a feature: without what all rows share taken off, half would be found.
    rows = Rows.of(rows.features + offset, rows.labels)
    found = neighbours(rows, k_same=8, k_other=32, search=BlockwiseSearch(compute="bfloat16"))
    measured = measured_recall(rows, found, sample=500)
    assert min(measured) >= 0.99


def test_measured_recall_is_that_of_the_sample(clustered):
    rows = clustered(400, 4)
    found = neighbours(rows, k_same=4, k_other=8)
    wrong = found._replace(other=found.other.clone())
    wrong.other[:, 4:] = -1
    assert measured_recall(rows, found, sample=50) == (1.0, 1.0)
    assert measured_recall(rows, wrong, sample=50) == (1.0, 0.5)
    half = found.same.where((rows.ids < 200).unsqueeze(1), -1)
    assert measured_recall(rows, found._replace(same=half), sample=1000) == (0.5, 1.0)


@pytest.mark.usefixtures("own_messages")
def test_recall_counts_true_ids_in_any_order_and_no_padding():
    true = torch.tensor([[1, 2, 3], [4, -1, -1]])
    assert recall(torch.tensor([[3, 9, 1], [-1, 4, 9]]), true) == 0.75
    assert recall(torch.tensor([[3]]), torch.tensor([[-1]])) == 1
    with pytest.raises(ShapeError, match=re.escape("one shape, got (1, 2) and (2, 3)")):
        recall(torch.zeros(1, 2).long(), true)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_features_that_are_not_finite_are_refused_with_their_count(value):
    rows = Rows(torch.arange(4), torch.eye(4).index_fill(0, torch.tensor([1, 2]), value), torch.zeros(4).long())
    with pytest.raises(InputError, match="features must be finite, 2 of 4 rows are not"):
        neighbours(rows)


@pytest.mark.usefixtures("own_messages")
def test_lengths_and_widths_that_cannot_be_are_refused(clustered):
    with pytest.raises(ConfigError, match="at least 0, got k_same=-1 and k_other=16"):
        neighbours(clustered(9, 2), k_same=-1)
    with pytest.raises(ShapeError, match=re.escape("rows of one width, (q, d) and (n, d), got")):
        neighbours(clustered(9, 2), queries=clustered(9, 2, 8))


@pytest.mark.usefixtures("own_messages")
def test_rows_whose_parts_do_not_fit_are_refused():
    with pytest.raises(ShapeError, match=re.escape("labels must be one int64 a row, (4,), got (3,)")):
        Rows.of(torch.eye(4), torch.zeros(3).long())
    with pytest.raises(ShapeError, match=re.escape("ids must be one int64 a row, (4,), got (4,) torch.float32")):
        Rows.of(torch.eye(4), torch.zeros(4).long(), torch.zeros(4))


def test_rows_have_length_one_and_no_gradient():
    rows = Rows.of(torch.tensor([[3.0, 4.0]], dtype=torch.float16, requires_grad=True), torch.tensor([0]))
    assert rows.features.dtype == torch.float32
    assert not rows.features.requires_grad
    torch.testing.assert_close(rows.features, torch.tensor([[0.6, 0.8]]))


def test_padding_has_the_shape_of_its_lists():
    none = Neighbours.none(2, 3, 0)
    assert not none.same_mask.any()
    assert none.other_mask.shape == (2, 0)

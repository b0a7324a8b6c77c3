import pytest
import torch
from torch import nn

from tutelage.errors import DataError, InputError, ShapeError
from tutelage.memory import Bank, BlockwiseSearch, Graph, Rows, graph_fingerprint, neighbours


@pytest.fixture
def rows(clustered):
    return clustered(80, 5)


def equal(one, other):
    return all(mine.equal(theirs) for mine, theirs in zip(one, other, strict=True))


def test_a_look_up_is_the_search(rows):
    ids = torch.tensor([3, 70, 3, 0])
    found = Graph.build(rows, k_same=4, k_other=6)(ids)
    assert equal(found, (part[ids] for part in neighbours(rows, k_same=4, k_other=6)))
    assert found.same.dtype == found.other.dtype == torch.int64


def test_the_graph_is_addressed_by_id_not_by_row(rows):
    moved = rows._replace(ids=rows.ids * 3 + 2)
    graph, found = Graph.build(moved), neighbours(rows)
    held = graph(moved.ids)
    assert held.same.equal(found.same * 3 + 2)
    assert held.other_similarity.equal(found.other_similarity)
    assert not graph(torch.tensor([0, 1, 3])).same_mask.any()


def test_a_graph_of_a_bank_of_which_some_rows_were_written(rows):
    bank = Bank(100, features=16)
    bank.update(rows.ids + 10, rows.features, labels=rows.labels)
    graph = Graph.build(bank.rows(), k_same=2, k_other=2)
    assert not graph(torch.arange(10)).same_mask.any()
    assert graph(torch.arange(10, 90)).same_mask.all()


def test_a_saved_graph_is_the_graph(rows, tmp_path):
    graph = Graph.build(rows)
    path = graph.save(tmp_path / "graphs")
    assert path.name == f"{graph_fingerprint(rows)}.safetensors"
    loaded = Graph.load(tmp_path / "graphs", graph_fingerprint(rows))
    assert equal(loaded(rows.ids), graph(rows.ids))
    assert loaded.fingerprint == graph.fingerprint


def test_the_fingerprint_is_of_every_bit_that_the_graph_was_built_from(rows):
    changed = [
        rows._replace(features=rows.features.clone().index_fill_(0, torch.tensor([79]), 0.25)),
        rows._replace(labels=rows.labels.roll(1)),
        rows._replace(ids=rows.ids + 1),
        rows._replace(features=rows.features.half()),
        rows.pick(torch.arange(79)),
    ]
    prints = {graph_fingerprint(each) for each in changed}
    prints |= {graph_fingerprint(rows, k_same=9), graph_fingerprint(rows, k_other=9)}
    prints.add(graph_fingerprint(rows, search=BlockwiseSearch(compute="bfloat16")))
    assert len(prints | {graph_fingerprint(rows)}) == 9
    # The block size does not change the answer.
    assert graph_fingerprint(rows, search=BlockwiseSearch(block_bytes=2**12)) == graph_fingerprint(rows)


def test_a_graph_that_is_missing_damaged_or_another_is_refused(rows, tmp_path):
    graph = Graph.build(rows)
    with pytest.raises(DataError, match=f"no graph {graph.fingerprint} in .*: build it"):
        Graph.load(tmp_path, graph.fingerprint)
    path = graph.save(tmp_path)
    with pytest.raises(DataError, match="not the graph 0123: delete it"):
        Graph.load(path.rename(tmp_path / "0123.safetensors").parent, "0123")
    path = graph.save(tmp_path)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(DataError, match=r"is damaged: .*: delete it and build it again"):
        Graph.load(tmp_path, graph.fingerprint)


def test_a_method_saves_its_graph_with_itself(rows, tmp_path):
    class Method(nn.Module):
        def __init__(self, rows):
            super().__init__()
            self.graph = Graph.build(rows)

    one, other = Method(rows), Method(Rows.of(rows.features.flip(0), rows.labels))
    assert not equal(one.graph(rows.ids), other.graph(rows.ids))
    torch.save(one.state_dict(), tmp_path / "state")
    other.load_state_dict(torch.load(tmp_path / "state", weights_only=True))
    assert equal(one.graph(rows.ids), other.graph(rows.ids))
    assert other.graph.fingerprint == one.graph.fingerprint


def test_a_saved_graph_of_other_lists_is_refused(rows):
    with pytest.raises(ShapeError, match=r"the saved graph has same \(80, 8\), this one \(80, 4\)"):
        Graph.build(rows, k_same=4).load_state_dict(Graph.build(rows).state_dict())


def test_the_graph_follows_its_method_to_a_device(rows):
    found = Graph.build(rows).half().to("meta")(torch.tensor([1], device="meta"))
    assert {part.device.type for part in found} == {"meta"}
    assert found.same_similarity.dtype == torch.float32


@pytest.mark.parametrize("ids", [[-1, 0], [0, 80]])
def test_ids_that_are_not_in_the_graph_are_refused(rows, ids):
    with pytest.raises(InputError, match=f"knows samples 0 to 79, got ids from {ids[0]} to {ids[1]}"):
        Graph.build(rows)(torch.tensor(ids))


def test_a_graph_of_nothing_is_refused():
    with pytest.raises(InputError, match="a graph needs rows, and none was written"):
        Graph.build(Bank(3, features=2).rows())

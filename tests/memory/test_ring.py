import pytest
import torch
from torch.nn.functional import normalize

from tutelage.errors import ConfigError, DataError, InputError
from tutelage.memory import Bank, Ring, neighbours


def push(ring, ids, step=0):
    ids = torch.tensor(ids)
    ring.update(ids, torch.stack([ids + 1.0, ids.float() ** 2], 1), ids.float().unsqueeze(1), labels=ids % 2, step=step)


def ids_in(ring):
    return sorted(id_ for id_ in ring.rows().ids.tolist() if id_ >= 0)


@pytest.mark.parametrize("capacity", [1, 3, 4, 7])
@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_the_ring_holds_the_newest_and_none_is_dropped_at_the_end(capacity, size):
    ring, stream = Ring(capacity, features=2, classes=1), list(range(20))
    for step, start in enumerate(range(0, 20, size)):
        push(ring, stream[start : start + size], step)
        newest = stream[: start + size][-capacity:]
        assert ids_in(ring) == newest
        held = ring.read(torch.tensor(stream))
        assert held.held.tolist() == [id_ in newest for id_ in stream]
        assert held.written_at.tolist() == [id_ // size if id_ in newest else -1 for id_ in stream]
        assert held.logits.flatten().tolist() == [id_ if id_ in newest else 0 for id_ in stream]
        assert held.labels.tolist() == [id_ % 2 if id_ in newest else -1 for id_ in stream]


def test_the_newest_row_of_a_sample_is_read_and_searched():
    ring = Ring(4, features=2, classes=1)
    for step, direction in enumerate(torch.eye(2)):
        ring.update(torch.tensor([5, 5]), torch.stack([torch.ones(2), direction]), step=step)
    held = ring.read(torch.tensor([5]))
    assert held.features.tolist() == [[0.0, 1.0]]
    assert held.written_at.item() == 1
    assert sorted(ring.rows().ids.tolist()) == [-1, -1, -1, 5]


def test_what_is_not_given_does_not_stay_from_the_row_before():
    ring = Ring(1, features=2, classes=1)
    push(ring, [3])
    ring.update(torch.tensor([4]), torch.ones(1, 2))
    held = ring.read(torch.tensor([4]))
    assert held.logits.item() == 0
    assert held.labels.item() == -1


def test_lists_with_padding_are_read_in_their_shape():
    ring = Ring(3, features=2, classes=1)
    push(ring, [3, 4])
    held = ring.read(torch.tensor([[4, -1], [9, 3]]))
    assert held.held.tolist() == [[True, False], [False, True]]
    assert held.features.shape == (2, 2, 2)
    torch.testing.assert_close(held.features[0, 0], normalize(torch.tensor([5.0, 16.0]), dim=0))


def test_a_ring_as_large_as_the_data_finds_the_neighbours_of_a_bank():
    ring, bank, ids = Ring(30, features=2, classes=1), Bank(30, features=2, classes=1), torch.randperm(30).tolist()
    for memory in (ring, bank):
        for start in range(0, 30, 4):
            push(memory, ids[start : start + 4])
    of_ring, of_bank = (neighbours(memory.rows(), k_same=3, k_other=3) for memory in (ring, bank))
    for mine, theirs in zip(of_ring, of_bank, strict=True):
        assert mine.equal(theirs[ring.rows().ids])


def test_a_saved_ring_is_bit_equal_and_goes_on_alike(tmp_path):
    one, other = Ring(5, features=2, classes=1), Ring(5, features=2, classes=1)
    push(one, [1, 2, 3, 4, 5, 6, 7])
    torch.save(one.state_dict(), tmp_path / "state")
    other.load_state_dict(torch.load(tmp_path / "state", weights_only=True))
    for step in (1, 2):
        push(one, [8, 9, 3], step)
        push(other, [8, 9, 3], step)
        a, b = one.state_dict()["_extra_state"], other.state_dict()["_extra_state"]
        assert all(a[name].equal(b[name]) for name in a)


def test_a_saved_ring_of_another_capacity_is_refused():
    with pytest.raises(DataError, match="the saved memory does not fit"):
        Ring(5, features=2).load_state_dict(Ring(6, features=2).state_dict())


def test_negative_ids_and_steps_are_refused():
    with pytest.raises(InputError, match="ids must be at least 0, got -1"):
        Ring(2, features=2).update(torch.tensor([-1]), torch.ones(1, 2))
    with pytest.raises(ConfigError, match="step must be at least 0, got -1"):
        Ring(2, features=2).update(torch.tensor([1]), torch.ones(1, 2), step=-1)


def test_the_ring_follows_its_method_to_a_device(tmp_path):
    ring, mapped = Ring(2, features=2), Ring(2, features=2, path=tmp_path)
    assert {ring.to("meta").ids.device.type, ring.features.device.type} == {"meta"}
    assert mapped.to("meta").ids.device.type == "cpu"

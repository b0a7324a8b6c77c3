import errno
import os
import re

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tutelage.errors import ConfigError, DataError, InputError, RunError, ShapeError
from tutelage.memory import Bank


def batch(n, *, d=4, c=3, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return {
        "features": torch.randn(n, d, generator=draw),
        "logits": torch.randn(n, c, generator=draw),
        "labels": torch.randint(0, c, (n,), generator=draw),
    }


def equal(one, other):
    a, b = one.state_dict()["_extra_state"], other.state_dict()["_extra_state"]
    return a.keys() == b.keys() and all(a[name].equal(b[name]) for name in a)


def test_a_row_is_read_as_it_was_written_with_its_feature_of_length_one():
    bank, came = Bank(10, features=4, classes=3), batch(2)
    bank.update(torch.tensor([7, 3]), **came, step=5)
    held = bank.read(torch.tensor([3, 7]))
    torch.testing.assert_close(held.features, F.normalize(came["features"].flip(0)))
    assert held.logits.equal(came["logits"].flip(0))
    assert held.labels.equal(came["labels"].flip(0))
    assert held.written_at.tolist() == [5, 5]
    assert held.held.tolist() == [True, True]


def test_a_row_that_was_never_written_reads_as_zeros_and_minus_one():
    bank = Bank(3, features=4, classes=3)
    bank.update(torch.tensor([0]), **batch(1))
    held = bank.read(torch.tensor([0, 2, -1]))
    assert held.held.tolist() == [True, False, False]
    assert not held.features[1:].any()
    assert not held.logits[1:].any()
    assert held.labels[1:].tolist() == held.written_at[1:].tolist() == [-1, -1]


def test_lists_of_neighbours_are_read_in_their_shape():
    bank = Bank(5, features=4, classes=3, dtype=torch.float16)
    bank.update(torch.arange(5), **batch(5))
    held = bank.read(torch.tensor([[0, 1, -1], [4, -1, -1]]))
    assert held.features.shape == (2, 3, 4)
    assert held.logits.shape == (2, 3, 3)
    assert held.logits.dtype == torch.float16
    assert held.held.tolist() == [[True, True, False], [True, False, False]]


def test_the_last_of_a_sample_that_is_in_a_batch_twice_wins():
    ids, came = torch.tensor([4, 1, 4, 2, 4, 1]), batch(6)
    whole, last = Bank(5, features=4, classes=3, momentum=0.5), Bank(5, features=4, classes=3, momentum=0.5)
    for step in (0, 1):
        whole.update(ids, **came, step=step)
        last.update(ids[3:], **{name: part[3:] for name, part in came.items()}, step=step)
    assert equal(whole, last)


def test_the_order_of_a_batch_does_not_count_so_that_ranks_hold_one_bank():
    ids, came = torch.randperm(64, generator=torch.Generator().manual_seed(1)), batch(64)
    interleaved = torch.arange(64).reshape(32, 2).T.flatten()  # as two ranks gather what one process has in a row
    one, two = (Bank(64, features=4, classes=3, momentum=0.9, dtype=torch.float16) for _ in range(2))
    for step in range(3):
        one.update(ids, **came, step=step)
        two.update(ids[interleaved], **{name: part[interleaved] for name, part in came.items()}, step=step)
    assert equal(one, two)


def test_momentum_averages_after_the_first_write():
    bank, first, second = Bank(2, features=4, classes=3, momentum=0.75), batch(1, seed=1), batch(1, seed=2)
    bank.update(torch.tensor([1]), **first)
    assert bank.read(torch.tensor([1])).logits.equal(first["logits"])
    bank.update(torch.tensor([1]), **second, step=1)
    moved = 0.75 * F.normalize(first["features"]) + 0.25 * F.normalize(second["features"])
    held = bank.read(torch.tensor([1]))
    torch.testing.assert_close(held.features, F.normalize(moved))
    torch.testing.assert_close(held.logits, 0.75 * first["logits"] + 0.25 * second["logits"])
    assert held.labels.equal(second["labels"])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_features_in_half_precision_and_without_direction_are_written(dtype):
    bank = Bank(2, features=2, dtype=dtype)
    bank.update(torch.tensor([0, 1]), torch.tensor([[300.0, 400.0], [0.0, 0.0]], dtype=torch.float16))
    held = bank.read(torch.arange(2)).features
    torch.testing.assert_close(held.float(), torch.tensor([[0.6, 0.8], [0.0, 0.0]]), atol=5e-4, rtol=0)


def test_what_is_not_given_is_left_as_it_is():
    bank, came = Bank(1, features=4, classes=3), batch(1)
    bank.update(torch.tensor([0]), **came)
    bank.update(torch.tensor([0]), came["features"], step=3)
    held = bank.read(torch.tensor([0]))
    assert held.logits.equal(came["logits"])
    assert held.labels.equal(came["labels"])
    assert held.written_at.item() == 3


def test_no_gradient_is_kept():
    bank, came = Bank(2, features=4, classes=3), batch(2)
    bank.update(torch.arange(2), came["features"].requires_grad_(), came["logits"].requires_grad_())
    held = bank.read(torch.arange(2))
    assert not held.features.requires_grad
    assert not held.logits.requires_grad


def test_answers_of_inference_mode_are_written():
    bank = Bank(2, features=4, classes=3)
    with torch.inference_mode():
        came = batch(2)
        bank.update(torch.arange(2), **came)
    bank.update(torch.arange(2), **came, step=1)
    assert bank.read(torch.arange(2)).written_at.tolist() == [1, 1]


def test_an_empty_batch_changes_nothing():
    bank = Bank(2, features=4)
    bank.update(torch.zeros(0, dtype=torch.int64), torch.zeros(0, 4))
    assert not bank.read(torch.arange(2)).held.any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_saved_bank_is_bit_equal_and_goes_on_alike(dtype, tmp_path):
    class Method(nn.Module):
        def __init__(self):
            super().__init__()
            self.bank = Bank(20, features=4, classes=3, dtype=dtype, momentum=0.3)

    one, other = Method(), Method()
    one.bank.update(torch.arange(12), **batch(12), step=4)
    torch.save(one.state_dict(), tmp_path / "state")
    other.load_state_dict(torch.load(tmp_path / "state", weights_only=True))
    assert equal(one.bank, other.bank)
    for method in (one, other):
        method.bank.update(torch.arange(6, 18), **batch(12, seed=1), step=5)
    assert equal(one.bank, other.bank)


def test_a_bank_on_disk_is_a_bank_in_memory_and_leaves_no_file(tmp_path):
    mapped, plain = (Bank(20, features=4, classes=3, momentum=0.3, path=path) for path in (tmp_path / "scratch", None))
    assert not any((tmp_path / "scratch").iterdir())
    for bank in (mapped, plain):
        assert not bank.features.any()
        bank.update(torch.arange(12), **batch(12), step=4)
    assert equal(mapped, plain)
    again = Bank(20, features=4, classes=3, momentum=0.3, path=tmp_path)
    again.load_state_dict(plain.state_dict())
    assert equal(again, plain)


def test_a_full_disk_is_found_when_the_bank_is_made(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(RunError, match="no space left"):
        Bank(20, features=4, path=tmp_path)
    assert not any(tmp_path.iterdir())


def test_the_bank_follows_its_method_to_a_device_but_keeps_its_type(tmp_path):
    bank, mapped = Bank(2, features=4, classes=3), Bank(2, features=4, path=tmp_path)
    assert bank.half().features.dtype == torch.float32
    bank.to("meta"), mapped.to("meta")
    assert {x.device.type for x in (bank.features, bank.logits, bank.labels, bank.written_at)} == {"meta"}
    assert mapped.features.device.type == "cpu"


def test_nothing_of_it_is_a_buffer_that_ranks_would_send_at_every_step():
    bank = Bank(2, features=4)
    assert not list(bank.buffers())
    assert not list(bank.parameters())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_samples": 0}, "at least one row, one feature and one class, got 0, 4 and None"),
        ({"features": 0}, "at least one row, one feature and one class, got 9, 0 and None"),
        ({"classes": 0}, "got 9, 4 and 0: classes=None keeps no logits"),
        ({"dtype": torch.bfloat16}, "torch.float32 or torch.float16, got torch.bfloat16"),
        ({"momentum": 1.0}, "momentum must be in [0, 1), got 1.0"),
        ({"momentum": -0.1}, "momentum must be in [0, 1), got -0.1"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        Bank(**{"num_samples": 9, "features": 4} | settings)


@pytest.mark.usefixtures("own_messages")
@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"features": torch.zeros(2)}, ShapeError, "one row of floating-point numbers a sample, (n, 4), got (2,)"),
        ({"features": torch.zeros(2, 5)}, ShapeError, "features must be (n, 4), got (2, 5): the memory was made for"),
        ({"features": torch.ones(2, 4).long()}, ShapeError, "got (2, 4) torch.int64: pool"),
        ({"ids": torch.tensor([0])}, ShapeError, "ids must be one int64 a row, (2,), got (1,)"),
        ({"ids": torch.tensor([0.0, 1.0])}, ShapeError, "ids must be one int64 a row, (2,), got (2,) torch.float32"),
        ({"labels": torch.zeros(3).long()}, ShapeError, "labels must be one int64 a row, (2,), got (3,)"),
        ({"logits": torch.zeros(2, 4)}, ShapeError, "logits must be (2, 3), got (2, 4)"),
        ({"ids": torch.tensor([0, 9])}, InputError, "holds samples 0 to 8, got ids from 0 to 9"),
        ({"ids": torch.tensor([0, -1])}, InputError, "holds samples 0 to 8, got ids from -1 to 0"),
        ({"step": -1}, ConfigError, "step must be at least 0, got -1"),
    ],
)
def test_a_batch_that_does_not_fit_is_refused(change, error, message):
    bank = Bank(9, features=4, classes=3)
    with pytest.raises(error, match=re.escape(message)):
        bank.update(**{"ids": torch.tensor([0, 1]), **batch(2)} | change)
    assert not bank.read(torch.arange(9)).held.any()


def test_logits_for_a_bank_without_them_are_refused():
    with pytest.raises(ShapeError, match="keeps no logits"):
        Bank(9, features=4).update(torch.arange(2), **batch(2))


@pytest.mark.parametrize("id_", [-2, 9])
def test_reading_beyond_the_bank_is_refused(id_):
    with pytest.raises(InputError, match=f"holds samples 0 to 8, got ids from {id_}"):
        Bank(9, features=4).read(torch.tensor([id_]))


@pytest.mark.parametrize("settings", [{"num_samples": 8}, {"classes": None}, {"dtype": torch.float16}])
def test_a_saved_bank_of_other_settings_is_refused(settings):
    usual = {"num_samples": 9, "features": 4, "classes": 3}
    with pytest.raises(DataError, match=r"the saved memory does not fit: .* must be .*, got"):
        Bank(**usual | settings).load_state_dict(Bank(**usual).state_dict())

"""The memory of a run: its own peak, not that of what ran before it in the process."""

import mmap

import pytest
import torch

from tutelage.engine import footprint
from tutelage.engine.footprint import Footprint

CPU = torch.device("cpu")
MIB = 2**20


@pytest.fixture(autouse=True)
def _on_linux():
    if not Footprint(CPU).kind:
        pytest.skip("this platform does not tell the peak of a process")


def tensors(mib, of=1):
    """So many MiB in tensors of one MiB over ``of``, written to: memory that nobody touched is not resident."""
    return [torch.ones(MIB // 4 // of) for _ in range(mib * of)]


def test_the_peak_is_counted_though_it_is_gone_when_asked():
    found = Footprint(CPU)
    held = tensors(64)
    del held
    assert 60 * MIB < found.peak() < 80 * MIB  # pages that were resident and free are used again


def test_what_was_held_before_is_not_counted():
    held = tensors(64)
    found = Footprint(CPU)
    assert found.peak() < 16 * MIB
    assert len(held) == 64


def test_a_restart_forgets_the_peak_but_not_what_is_held():
    found = Footprint(CPU)
    held = tensors(32)
    gone = tensors(64)
    del gone
    found.restart()
    assert 28 * MIB < found.peak() < 48 * MIB
    assert len(held) == 32


def test_a_run_does_not_hide_in_the_small_pieces_that_an_earlier_one_left_behind():
    earlier = tensors(64, of=64)  # the C library keeps the pages of small pieces for itself
    del earlier
    found = Footprint(CPU)
    held = tensors(32, of=64)
    assert 28 * MIB < found.peak() < 48 * MIB
    assert len(held) == 32 * 64


def test_pages_of_a_mapped_file_are_not_counted(tmp_path):
    """As those of a cache of answers."""
    file = tmp_path / "answers"
    file.write_bytes(bytes(64 * MIB))
    found = Footprint(CPU)
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        assert sum(mapped[:: mmap.PAGESIZE]) == 0
        assert found.peak() < 16 * MIB
        held = tensors(32)
        assert 28 * MIB < found.peak() < 48 * MIB
    assert len(held) == 32


@pytest.mark.parametrize(("file", "content"), [("_RESET", None), ("_STATUS", "VmHWM:  2136 kB\n")])
def test_where_the_kernel_does_not_tell_there_is_no_figure(file, content, monkeypatch, tmp_path):
    place = tmp_path / "absent" / "file" if content is None else tmp_path / "status"
    if content is not None:
        place.write_text(content)
    monkeypatch.setattr(footprint, file, place)
    found = Footprint(CPU)
    assert (found.kind, found.peak(), found.facts(0)) == ("", 0, None)


def test_on_a_device_that_nobody_counts_there_is_no_figure():
    found = Footprint(torch.device("meta"))
    found.restart()
    assert (found.peak(), found.facts(0)) == (0, None)


def test_on_cuda_it_is_what_torch_had_allocated(monkeypatch):
    asked = []
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", asked.append)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 7 * MIB)
    found = Footprint(torch.device("cuda", 0))
    assert found.facts(found.peak()) == {"bytes": 7 * MIB, "kind": "allocated"}
    assert asked == [torch.device("cuda", 0)]

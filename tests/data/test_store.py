"""Stores on disk: decoded once, verified when opened, complete or absent.

Letters: n images, h height, w width, c channels.
"""

import errno
import pickle
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tutelage.data import ImageStore, writing
from tutelage.data.store import open_or_decode
from tutelage.data.writing import Decoded, Split
from tutelage.errors import DataError

_PIXELS = np.random.default_rng(0).integers(0, 256, (10, 4, 5, 3), np.uint8)
_LABELS = np.arange(10, dtype=np.int64) % 2


def _split(blocks: Callable[[], Iterable[Any]] | None = None) -> Split:
    return Split((4, 5, 3), _LABELS, blocks or (lambda: [_PIXELS[:7], _PIXELS[7:]]))


def _decoded() -> Decoded:
    return Decoded(_split(), _split(), ("cat", "dög"), 28)


def _never() -> Decoded:
    pytest.fail("decoded again")


def test_what_was_decoded_is_read_back(tmp_path: Path) -> None:
    opened = open_or_decode(tmp_path / "pets", "k", _decoded)
    for store in (opened.train, opened.test):
        assert torch.equal(store.images, torch.from_numpy(_PIXELS))
        assert torch.equal(store.labels, torch.from_numpy(_LABELS))
    assert (opened.classes, opened.view_size) == (("cat", "dög"), 28)
    scaled = _PIXELS.reshape(-1, 3) / 255
    assert opened.mean == pytest.approx(scaled.mean(0), abs=1e-12)
    assert opened.std == pytest.approx(scaled.std(0), abs=1e-12)


def test_images_are_decoded_once(tmp_path: Path) -> None:
    first = open_or_decode(tmp_path / "pets", "k", _decoded)
    again = open_or_decode(tmp_path / "pets", "k", _never)
    assert again.train.checksum == first.train.checksum
    assert [path.name for path in tmp_path.iterdir()] == ["pets-k"]


def test_another_key_is_another_store(tmp_path: Path) -> None:
    open_or_decode(tmp_path / "pets", "k", _decoded)
    with pytest.raises(pytest.fail.Exception, match="decoded again"):
        open_or_decode(tmp_path / "pets", "l", _never)


def test_the_checksum_changes_with_one_pixel_and_with_one_label(tmp_path: Path) -> None:
    pixels, labels = _PIXELS.copy(), _LABELS.copy()
    pixels[9, 3, 4, 2] ^= 1
    labels[0] = 1
    stores = [
        open_or_decode(tmp_path / "pets", str(k), lambda one=split: Decoded(one, _split(), ("a", "b")))
        for k, split in enumerate(
            [
                _split(),
                Split((4, 5, 3), _LABELS, lambda: [pixels]),
                Split((4, 5, 3), labels, lambda: [_PIXELS]),
            ]
        )
    ]
    assert len({store.train.checksum for store in stores}) == 3


@pytest.mark.parametrize("size_limit", [1 << 31, 0], ids=["whole file", "sampled rows"])
@pytest.mark.parametrize("file", ["train.images.npy", "test.images.npy", "test.labels.npy"])
@pytest.mark.parametrize("damage", ["last byte", "cut short", "missing"])
def test_a_damaged_store_is_refused_with_the_folder_to_delete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size_limit: int, file: str, damage: str
) -> None:
    monkeypatch.setattr(writing, "_WHOLE_FILE_LIMIT", size_limit)
    open_or_decode(tmp_path / "pets", "k", _decoded)
    path = tmp_path / "pets-k" / file
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(content[:-1] + (bytes([content[-1] ^ 1]) if damage == "last byte" else b""))
    with pytest.raises(DataError, match=r"pets-k are damaged .*: delete that folder"):
        open_or_decode(tmp_path / "pets", "k", _never)
    shutil.rmtree(tmp_path / "pets-k")
    assert len(open_or_decode(tmp_path / "pets", "k", _decoded).train) == 10


@pytest.mark.parametrize("meta", ["", "{", "[]", '{"format": 1}', '{"format": 99}'])
def test_a_damaged_description_is_refused(tmp_path: Path, meta: str) -> None:
    open_or_decode(tmp_path / "pets", "k", _decoded)
    (tmp_path / "pets-k" / "meta.json").write_text(meta)
    with pytest.raises(DataError, match="delete that folder"):
        open_or_decode(tmp_path / "pets", "k", _never)


def test_a_store_of_another_version_is_refused(tmp_path: Path) -> None:
    open_or_decode(tmp_path / "pets", "k", _decoded)
    meta = tmp_path / "pets-k" / "meta.json"
    meta.write_text(meta.read_text().replace('"format": 1', '"format": 2'))
    with pytest.raises(DataError, match="format 2 instead of 1"):
        open_or_decode(tmp_path / "pets", "k", _never)


def test_a_disk_that_is_too_small_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1199)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)

    def untouched() -> Iterable[Any]:
        pytest.fail("started to decode")

    with pytest.raises(DataError, match=r"need 1,200 bytes, 1,199 are free; .* TUTELAGE_CACHE"):
        open_or_decode(tmp_path / "pets", "k", lambda: Decoded(_split(untouched), _split(untouched), ("a", "b")))
    assert not list(tmp_path.iterdir())


def _stops_with(error: BaseException) -> Callable[[], Decoded]:
    def blocks() -> Iterable[Any]:
        yield _PIXELS[:7]
        raise error

    return lambda: Decoded(_split(), _split(blocks), ("a", "b"))


def test_a_disk_that_fills_up_leaves_nothing_half_written(tmp_path: Path) -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(DataError, match=r"no space left in .* need 1,200 bytes, [\d,]+ are free"):
        open_or_decode(tmp_path / "pets", "k", _stops_with(full))
    assert not list(tmp_path.iterdir())


def test_stopping_while_decoding_leaves_nothing_half_written(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        open_or_decode(tmp_path / "pets", "k", _stops_with(KeyboardInterrupt()))
    assert not list(tmp_path.iterdir())


def test_a_source_that_gives_too_few_images_is_refused(tmp_path: Path) -> None:
    short = Decoded(_split(lambda: [_PIXELS[:7]]), _split(), ("a", "b"))
    with pytest.raises(DataError, match="10 labels need 600 bytes of images, the source gave 420"):
        open_or_decode(tmp_path / "pets", "k", lambda: short)
    assert not list(tmp_path.iterdir())


def test_a_cache_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match=r"cannot write to the cache folder .*file.*TUTELAGE_CACHE"):
        open_or_decode(tmp_path / "file" / "pets", "k", _decoded)


def test_a_process_that_comes_second_takes_the_store_of_the_first(tmp_path: Path) -> None:
    def overtaken() -> Decoded:
        open_or_decode(tmp_path / "pets", "k", _decoded)
        return _decoded()

    assert len(open_or_decode(tmp_path / "pets", "k", overtaken).train) == 10
    assert [path.name for path in tmp_path.iterdir()] == ["pets-k"]


def test_writing_into_a_mapped_store_does_not_reach_the_file(tmp_path: Path) -> None:
    opened = open_or_decode(tmp_path / "pets", "k", _decoded)
    opened.train.images.zero_()
    assert torch.equal(open_or_decode(tmp_path / "pets", "k", _never).train.images, torch.from_numpy(_PIXELS))


def test_a_pickled_store_holds_the_place_of_its_images_not_the_images(tmp_path: Path) -> None:
    big = Split((64, 64, 3), np.array([0, 1]), lambda: [np.ones((2, 64, 64, 3), np.uint8)])
    store = open_or_decode(tmp_path / "big", "k", lambda: Decoded(big, big, ("a", "b"))).train
    pickled = pickle.dumps(store)
    assert len(pickled) < store.num_bytes / 4
    again = pickle.loads(pickled)
    assert torch.equal(again.images, store.images)
    assert torch.equal(again.labels, store.labels)


def test_a_store_in_memory_is_pickled_whole() -> None:
    store = ImageStore(torch.from_numpy(_PIXELS), torch.from_numpy(_LABELS), "sum")
    again = pickle.loads(pickle.dumps(store))
    assert torch.equal(again.images, store.images)
    assert again.checksum == "sum"


def test_a_resident_copy_is_no_longer_mapped(tmp_path: Path) -> None:
    store = open_or_decode(tmp_path / "pets", "k", _decoded).train
    resident = store.to("cpu")
    assert resident.images.data_ptr() != store.images.data_ptr()
    assert resident.file is None
    assert torch.equal(resident.images, store.images)

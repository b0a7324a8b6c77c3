"""Views: the definition as loops, purity, and the numbering of crops.

Letters: n samples of a batch, m images of a store, h height, w width, c channels.
"""

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from torch import Tensor

from tutelage.data import CropFlip, Plain, RandomResizedCrop, Views
from tutelage.errors import ConfigError


def _images(m: int = 6, h: int = 9, w: int = 7, c: int = 3) -> Tensor:
    return torch.randint(1, 256, (m, h, w, c), generator=torch.Generator().manual_seed(0)).to(torch.uint8)


def _by_hand(image: Tensor, dy: int, dx: int, flipped: bool, padding: int) -> Tensor:
    padded = np.pad(image.numpy(), ((padding, padding), (padding, padding), (0, 0)))
    crop = padded[dy : dy + image.shape[0], dx : dx + image.shape[1]]
    return torch.from_numpy((crop[:, ::-1] if flipped else crop).transpose(2, 0, 1).copy())


@pytest.mark.parametrize("flip", [True, False])
@pytest.mark.parametrize("padding", [0, 1, 2])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_view_is_the_crop_that_its_number_says(padding: int, flip: bool, channels: int) -> None:
    images, views = _images(c=channels), CropFlip(padding, flip=flip)
    side, mirrors = 2 * padding + 1, 1 + flip
    assert views.num_views == side * side * mirrors
    numbers = torch.arange(views.num_views)
    ids = numbers % len(images)
    rendered = views.render(images, ids, numbers)
    for number in range(views.num_views):
        corner, flipped = divmod(number, mirrors)
        expected = _by_hand(images[ids[number]], corner // side, corner % side, bool(flipped), padding)
        assert torch.equal(rendered[number], expected)


def test_cifar_has_162_distinct_views() -> None:
    images, views = _images(1, 32, 32), CropFlip(4)
    numbers = torch.arange(162)
    rendered = views.render(images, torch.zeros_like(numbers), numbers)
    assert len({bytes(view.numpy().tobytes()) for view in rendered}) == views.num_views == 162


@pytest.mark.parametrize("views", [CropFlip(4), CropFlip(1, flip=False), CropFlip(0), Plain()])
def test_the_plain_view_is_the_image(views: Views) -> None:
    images, ids = _images(), torch.tensor([3, 0, 3])
    rendered = views.render(images, ids, torch.full_like(ids, views.plain))
    assert torch.equal(rendered, images[ids].permute(0, 3, 1, 2))


@pytest.mark.parametrize("views", [CropFlip(2), Plain(), RandomResizedCrop(6)])
class TestEveryFamily:
    def test_permuting_the_batch_permutes_the_pixels(self, views: Views) -> None:
        images, ids, order = _images(), torch.tensor([5, 2, 2, 0]), torch.tensor([2, 0, 3, 1])
        numbers = views.draw(ids, epoch=3)
        whole = views.render(images, ids, numbers)
        assert torch.equal(views.render(images, ids[order], numbers[order]), whole[order])

    def test_a_view_does_not_depend_on_its_batch(self, views: Views) -> None:
        images, ids = _images(), torch.arange(6)
        numbers = views.draw(ids, epoch=3)
        one_by_one = [views.render(images, ids[i : i + 1], numbers[i : i + 1]) for i in range(6)]
        assert torch.equal(torch.cat(one_by_one), views.render(images, ids, numbers))

    def test_nothing_is_drawn_from_the_global_generator(self, views: Views) -> None:
        images, ids = _images(), torch.arange(6)
        torch.manual_seed(1)
        first = views.render(images, ids, views.draw(ids, epoch=3))
        state = torch.get_rng_state()
        torch.manual_seed(2)
        assert torch.equal(views.render(images, ids, views.draw(ids, epoch=3)), first)
        torch.manual_seed(1)
        assert torch.equal(torch.get_rng_state(), state)

    def test_pixels_are_uint8_in_channels_last_memory(self, views: Views) -> None:
        ids = torch.arange(6)
        rendered = views.render(_images(), ids, views.draw(ids, epoch=0))
        assert rendered.dtype == torch.uint8
        assert rendered.is_contiguous(memory_format=torch.channels_last)

    def test_autocast_changes_no_pixel(self, views: Views) -> None:
        images, ids = _images(), torch.arange(6)
        numbers = views.draw(ids, epoch=3)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            under_autocast = views.render(images, ids, numbers)
        assert torch.equal(under_autocast, views.render(images, ids, numbers))

    def test_an_empty_batch_stays_empty(self, views: Views) -> None:
        none = torch.zeros(0, dtype=torch.int64)
        assert views.render(_images(), none, views.draw(none, epoch=0)).shape[0] == 0


def test_epochs_seeds_and_ids_draw_different_views() -> None:
    ids = torch.arange(1000)
    drawn = [CropFlip(4, seed=seed).draw(ids, epoch=epoch) for seed in (0, 1) for epoch in (0, 1)]
    for i, one in enumerate(drawn):
        for other in drawn[:i]:
            # Independent draws from 162 agree on 6 of 1000; 30 are nine standard deviations more.
            assert int((one == other).sum()) < 30
    assert len(drawn[0].unique()) == 162


def test_a_sample_sees_its_views_uniformly_over_epochs() -> None:
    views = CropFlip(1, seed=4)
    drawn = torch.stack([views.draw(torch.arange(20), epoch=epoch) for epoch in range(900)])
    assert chisquare(drawn.flatten().bincount(minlength=18).numpy()).pvalue > 1e-4


def test_the_seed_is_not_in_the_fingerprint_of_crops_as_it_changes_no_view() -> None:
    images, ids, numbers = _images(), torch.arange(6), torch.arange(6)
    one, other = CropFlip(4, seed=0), CropFlip(4, seed=1)
    assert one.fingerprint == other.fingerprint
    assert torch.equal(one.render(images, ids, numbers), other.render(images, ids, numbers))


def test_families_whose_pixels_differ_have_different_fingerprints() -> None:
    families = [
        Plain(),
        CropFlip(4),
        CropFlip(3),
        CropFlip(4, flip=False),
        RandomResizedCrop(6),
        RandomResizedCrop(6, seed=1),
        RandomResizedCrop(7),
        RandomResizedCrop(6, flip=False),
        RandomResizedCrop(6, scale=(0.5, 1.0)),
        RandomResizedCrop(6, ratio=(1.0, 1.0)),
    ]
    assert len({family.fingerprint for family in families}) == len(families)


def test_a_negative_padding_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"padding .* 0 or more, got -1"):
        CropFlip(-1)

"""Random resized crops against torch's own resize, image by image.

Letters: n samples, h height, w width, c channels, s size of the view.
"""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage.data import RandomResizedCrop
from tutelage.errors import ConfigError


def _smooth(n: int, h: int, w: int, c: int = 3) -> Tensor:
    coarse = torch.rand(n, c, 5, 5, generator=torch.Generator().manual_seed(0)) * 255
    return F.interpolate(coarse, size=(h, w), mode="bilinear").to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def _noise(n: int, h: int, w: int, c: int = 3) -> Tensor:
    return torch.randint(0, 256, (n, h, w, c), generator=torch.Generator().manual_seed(0)).to(torch.uint8)


def _boxes(views: RandomResizedCrop, ids: Tensor, h: int, w: int, epoch: int = 1) -> tuple[Tensor, Tensor]:
    return views._boxes(ids, views.draw(ids, epoch=epoch), h, w)


@pytest.mark.parametrize("make", [_smooth, _noise])
@pytest.mark.parametrize("size", [5, 24, 32, 50])
def test_pixels_are_those_of_torch_interpolate_on_the_crop(size: int, make: object) -> None:
    images, views, ids = make(12, 40, 33), RandomResizedCrop(size, seed=2), torch.arange(12)  # type: ignore[operator]
    rendered = views.render(images, ids, views.draw(ids, epoch=1))
    boxes, mirrored = _boxes(views, ids, 40, 33)
    for i, (top, left, height, width) in enumerate(boxes.tolist()):
        crop = images[i, top : top + height, left : left + width].permute(2, 0, 1)[None].float()
        expected = F.interpolate(crop, size=(size, size), mode="bilinear", antialias=True)[0]
        if mirrored[i]:
            expected = expected.flip(2)
        # Half a grey level is the rounding to uint8; the weights in steps of 1/4096 add less than a tenth.
        assert (rendered[i].float() - expected).abs().max() < 0.6


def test_the_plain_view_of_a_stored_image_is_its_middle_not_resized() -> None:
    for size in (24, 28, 48, 224):
        stored = round(size * 8 / 7)
        images, ids = _noise(12, stored, stored), torch.arange(12)
        views = RandomResizedCrop(size)
        rendered = views.render(images, ids, torch.full_like(ids, views.plain))
        edge = (stored - size) // 2
        middle = images[:, edge : edge + size, edge : edge + size]
        assert torch.equal(rendered, middle.permute(0, 3, 1, 2))


def test_plain_and_random_views_can_share_a_batch() -> None:
    images, views = _noise(3, 32, 32), RandomResizedCrop(20, seed=1)
    ids, numbers = torch.tensor([0, 1, 0]), torch.tensor([-1, 5, 5])
    rendered = views.render(images, ids, numbers)
    for i in range(3):
        assert torch.equal(rendered[i], views.render(images, ids[i : i + 1], numbers[i : i + 1])[0])
    assert not torch.equal(rendered[0], rendered[2])


def test_a_uniform_image_stays_uniform_to_the_last_grey_level() -> None:
    for level in (0, 1, 127, 254, 255):
        images, ids = torch.full((4, 37, 41, 1), level, dtype=torch.uint8), torch.arange(4)
        views = RandomResizedCrop(19)
        assert bool((views.render(images, ids, views.draw(ids, epoch=0)) == level).all())


def test_boxes_lie_in_the_image_and_keep_area_and_aspect() -> None:
    views, ids = RandomResizedCrop(24, scale=(0.2, 0.8), seed=3), torch.arange(4000)
    top, left, height, width = _boxes(views, ids, 100, 120)[0].unbind(1)
    assert bool(((top >= 0) & (left >= 0) & (top + height <= 100) & (left + width <= 120)).all())
    share, aspect = (height * width) / 12000, width / height
    # Rounding the sides to whole pixels moves both by up to 1/90 + 1/90.
    assert 0.19 < share.min() < 0.22
    assert 0.78 < share.max() < 0.82
    assert 0.73 < aspect.min() < 0.77
    assert 1.30 < aspect.max() < 1.37
    # The mean of uniform(0.2, 0.8) is 0.5, slightly less where the largest do not fit; the error of 4000 is 0.003.
    assert 0.47 < share.mean() < 0.51
    assert abs(float(aspect.log().mean())) < 0.02


def test_crops_reach_every_edge() -> None:
    views, ids = RandomResizedCrop(8, scale=(0.25, 0.25), ratio=(1.0, 1.0)), torch.arange(4000)
    top, left, height, width = _boxes(views, ids, 16, 16)[0].unbind(1)
    assert set(height.tolist()) == set(width.tolist()) == {8}
    assert set(top.tolist()) == set(left.tolist()) == set(range(9))


@pytest.mark.parametrize(("h", "w", "expected"), [(100, 10, (43, 0, 13, 10)), (10, 100, (0, 43, 10, 13))])
def test_the_centre_is_taken_where_no_crop_fits(h: int, w: int, expected: tuple[int, ...]) -> None:
    views = RandomResizedCrop(8, scale=(1.0, 1.0))
    boxes, _ = _boxes(views, torch.arange(50), h, w)
    assert {tuple(box) for box in boxes.tolist()} == {expected}


def test_the_whole_image_is_taken_where_the_aspect_is_allowed_but_nothing_fits() -> None:
    views = RandomResizedCrop(8, scale=(1.0, 1.0), ratio=(1.2, 1.2))
    assert _boxes(views, torch.arange(3), 100, 100)[0].tolist() == [[8, 0, 83, 100]] * 3


def test_half_of_the_views_are_mirrored_and_none_without_flips() -> None:
    ids = torch.arange(4000)
    # The standard deviation of a share of 4000 coins is 0.008.
    assert abs(float(_boxes(RandomResizedCrop(8), ids, 20, 20)[1].double().mean()) - 0.5) < 0.03
    assert not _boxes(RandomResizedCrop(8, flip=False), ids, 20, 20)[1].any()


def test_every_epoch_and_seed_gives_another_view_and_the_epoch_is_its_number() -> None:
    images, ids = _noise(4, 20, 20), torch.arange(4)
    views = [RandomResizedCrop(16, seed=seed) for seed in (0, 1)]
    assert views[0].draw(ids, epoch=6).tolist() == [6] * 4
    rendered = [family.render(images, ids, family.draw(ids, epoch=e)) for family in views for e in (0, 1)]
    for i, one in enumerate(rendered):
        assert not any(torch.equal(one[k], other[k]) for other in rendered[:i] for k in range(4))


def test_the_number_of_threads_changes_no_pixel() -> None:
    images, ids, views = _noise(8, 40, 40), torch.arange(8), RandomResizedCrop(32)
    before = torch.get_num_threads()
    try:
        rendered = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            rendered.append(views.render(images, ids, views.draw(ids, epoch=0)))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(*rendered)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": 0}, "at least 1, got 0"),
        ({"size": 8, "scale": (0.5, 0.1)}, r"scale must .* got \(0.5, 0.1\)"),
        ({"size": 8, "scale": (0.0, 1.0)}, "scale must"),
        ({"size": 8, "scale": (0.5, 1.5)}, "scale must"),
        ({"size": 8, "ratio": (0.0, 1.0)}, "ratio must"),
        ({"size": 8, "scale": (math.nan, 1.0)}, "scale must"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        RandomResizedCrop(**settings)  # type: ignore[arg-type]

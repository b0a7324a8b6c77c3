"""Mixtures of images: what is blended, in which shares, and how these are drawn."""

import pytest
import torch

from tutelage.data import Mixing, Mixture
from tutelage.errors import ConfigError

KINDS = ("mixup", "mixup3", "cutmix")


def draws(kind, count, *, alpha=1.0, seed=0, size=(32, 32)):
    mixing = Mixing(kind=kind, alpha=alpha)
    return [mixing.draw(seed, step, size) for step in range(count)]


def images(n=5, size=(6, 7)):
    pixels = torch.randint(256, (n, 3, *size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return pixels.contiguous(memory_format=torch.channels_last)


class TestBlend:
    @pytest.mark.parametrize("shares", [(0.7, 0.3), (0.5, 0.2, 0.3), (1.0, 0.0)])
    def test_mixup_is_the_weighted_sum_of_images_that_follow_each_other(self, shares):
        pixels = images()
        expected = torch.zeros(pixels.shape)
        for i in range(len(pixels)):
            for place, share in enumerate(shares):
                expected[i] += share * pixels[(i + place) % len(pixels)]
        torch.testing.assert_close(Mixture(shares).blend(pixels), expected)

    @pytest.mark.parametrize("box", [(1, 4, 2, 6), (0, 6, 0, 7), (3, 3, 1, 5), (5, 6, 6, 7)])
    def test_cutmix_takes_the_box_from_the_next_image_and_all_else_from_the_first(self, box):
        pixels, (top, bottom, left, right) = images(), box
        mixed = Mixture((0.5, 0.5), box).blend(pixels)
        for i in range(len(pixels)):
            for row in range(6):
                for column in range(7):
                    inside = top <= row < bottom and left <= column < right
                    source = pixels[(i + inside) % len(pixels)]
                    assert torch.equal(mixed[i, :, row, column], source[:, row, column].float())

    @pytest.mark.parametrize("kind", KINDS)
    def test_the_single_images_stay_as_they_are_and_mixtures_are_pixels_again(self, kind):
        pixels = images()
        before = pixels.clone()
        for mixture in draws(kind, 20, size=(6, 7)):
            mixed = mixture.blend(pixels)
            assert mixed.dtype == torch.float32
            assert mixed.shape == pixels.shape
            assert 0 <= mixed.min() <= mixed.max() <= 255.001
        assert torch.equal(pixels, before)

    @pytest.mark.parametrize("kind", KINDS)
    def test_one_image_alone_is_mixed_with_itself(self, kind):
        pixels = images(1)
        for mixture in draws(kind, 5, size=(6, 7)):
            torch.testing.assert_close(mixture.blend(pixels), pixels.float(), rtol=1e-6, atol=0)


class TestDraw:
    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("alpha", [0.2, 1.0, 8.0])
    def test_shares_sum_to_one_and_none_is_negative(self, kind, alpha):
        for mixture in draws(kind, 100, alpha=alpha):
            assert sum(mixture.shares) == pytest.approx(1.0, abs=1e-12)
            assert min(mixture.shares) >= 0
            assert len(mixture.shares) == (3 if kind == "mixup3" else 2)

    @pytest.mark.parametrize("size", [(32, 32), (8, 8), (20, 50)])
    def test_the_share_of_the_second_image_of_cutmix_is_the_area_of_its_box(self, size):
        height, width = size
        for mixture in draws("cutmix", 200, size=size):
            top, bottom, left, right = mixture.box
            assert 0 <= top <= bottom <= height
            assert 0 <= left <= right <= width
            assert mixture.shares[1] == (bottom - top) * (right - left) / (height * width)

    @pytest.mark.parametrize("kind", KINDS[:2])
    def test_no_image_has_a_larger_share_in_the_mean(self, kind):
        shares = torch.tensor([mixture.shares for mixture in draws(kind, 2000)])
        mean = shares.mean(0)
        torch.testing.assert_close(mean, torch.full_like(mean, 1 / len(mean)), rtol=0, atol=0.02)  # 3 standard errors

    def test_with_alpha_one_the_share_of_two_is_uniform(self):
        """Kolmogorov-Smirnov: 1.63 / √n is exceeded once in a hundred."""
        shares = torch.tensor([mixture.shares[0] for mixture in draws("mixup", 2000)]).sort().values
        steps = torch.arange(2000) / 2000
        assert torch.maximum((shares - steps).abs(), (shares - steps - 1 / 2000).abs()).max() < 1.63 / 2000**0.5

    @pytest.mark.parametrize("alpha", [0.3, 4.0])
    def test_the_spread_of_the_shares_is_that_of_beta(self, alpha):
        shares = torch.tensor([mixture.shares[0] for mixture in draws("mixup", 3000, alpha=alpha)])
        assert shares.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.1)

    def test_three_shares_with_alpha_one_are_uniform_on_the_triangle(self):
        """Each is Beta(1, 2) then: mean 1/3, variance 1/18."""
        shares = torch.tensor([mixture.shares for mixture in draws("mixup3", 3000)])
        assert shares.var(0).tolist() == pytest.approx([1 / 18] * 3, rel=0.1)

    def test_boxes_are_centred_anywhere_and_cut_at_the_border(self):
        """Of a side s of the image, centred uniformly, s − s²/4 is inside; s² is uniform: 0.416 of the area."""
        covered = torch.tensor([mixture.shares[1] for mixture in draws("cutmix", 3000, size=(200, 200))])
        side = (torch.arange(10_000) + 0.5).div(10_000).sqrt()
        assert covered.mean() == pytest.approx(float((side - side**2 / 4).square().mean()), abs=0.015)

    @pytest.mark.parametrize("kind", KINDS)
    def test_it_is_a_function_of_seed_and_step(self, kind):
        assert draws(kind, 5) == draws(kind, 5)
        assert len(set(draws(kind, 50, size=(500, 500)))) == 50
        assert draws(kind, 5) != draws(kind, 5, seed=1)

    def test_nothing_is_drawn_from_a_global_generator(self):
        torch.manual_seed(0)
        first = torch.rand(1)
        torch.manual_seed(0)
        draws("cutmix", 3)
        assert torch.equal(torch.rand(1), first)


@pytest.mark.parametrize(
    ("settings", "match"), [({"kind": "mixdown"}, "got 'mixdown'"), ({"alpha": 0.0}, "alpha"), ({"alpha": -1}, "alpha")]
)
def test_settings_that_make_no_sense_are_refused(own_messages, settings, match):
    with pytest.raises(ConfigError, match=match):
        Mixing(**settings)

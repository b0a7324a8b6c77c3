"""Active channels and heat maps, with known answers."""

import base64
import io

import pytest
import torch

from tutelage.engine.relation_channels import active_channels, heat_maps, place_of, shares
from tutelage.methods import IEDMLConfig, IEKDConfig, KDConfig
from tutelage.methods.adapters.halves import Split

SHAPES = {"logits": (10,), "embedding": (6,), "stage1": (4, 8, 8), "stage2": (6, 4, 4)}
SHORT = {"logits": (10,), "embedding": (6,), "stage1": (4, 8, 8)}


class TestActive:
    def test_a_dead_channel_is_not_active_and_one_with_a_single_bright_place_is(self):
        feature = torch.zeros(2, 3, 4, 4)
        feature[:, 0, 1, 2] = 5.0
        feature[0, 1] = 0.51
        feature[1, 1] = 0.5  # a tenth of the peak is not above it
        assert active_channels(feature).tolist() == [[True, True, False], [True, False, False]]

    def test_a_sample_of_zeros_has_none(self):
        assert not active_channels(torch.zeros(3, 4, 2, 2)).any()

    def test_neither_the_scale_nor_the_sign_counts(self):
        feature = torch.randn(5, 8, 3, 3, generator=torch.Generator().manual_seed(0)).relu() ** 3
        expected = active_channels(feature)
        assert 0 < expected.double().mean() < 1
        assert torch.equal(active_channels(1000 * feature), expected)
        assert torch.equal(active_channels(-feature), expected)

    def test_tokens_and_vectors_have_their_channels_last(self):
        feature = torch.randn(5, 8, 9, generator=torch.Generator().manual_seed(0)) ** 5
        expected = active_channels(feature.unflatten(2, (3, 3)))
        assert torch.equal(active_channels(feature.transpose(1, 2)), expected)
        assert torch.equal(active_channels(feature[:, :, 0]), active_channels(feature[:, :, :1, None]))

    def test_the_share_of_the_whole_is_the_mean_over_the_halves_by_their_channels(self):
        active, split = torch.rand(20, 6) > 0.5, Split(6, ratio=1 / 3, order="random")
        found = shares(active, split)
        assert found["all"] == pytest.approx(found["inheritance"] / 3 + 2 * found["exploration"] / 3)
        assert shares(active, Split(6, ratio=1.0, order="natural")) == {
            "all": found["all"],
            "inheritance": found["all"],
            "exploration": None,
        }


def pixels(uri):
    from PIL import Image

    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGB")


class TestHeat:
    def test_it_is_white_where_the_squares_are_largest_and_black_where_there_is_nothing(self):
        feature = torch.zeros(1, 4, 2, 3)
        feature[0, :2, 0, 0], feature[0, 2, 1, 2] = 3.0, -7.0
        ((inheritance, exploration),) = heat_maps(feature, Split(4, ratio=0.5, order="natural"), "student")
        assert (inheritance["of"], exploration["of"]) == ("inheritance", "exploration")
        for shown, bright in ((inheritance, (0, 0)), (exploration, (2, 1))):
            image = pixels(shown["image"])
            assert image.size == (3, 2)
            found = {(x, y): image.getpixel((x, y)) for x in range(3) for y in range(2)}
            assert found.pop(bright) == (255, 255, 255)
            assert set(found.values()) == {(0, 0, 0)}

    def test_nothing_at_all_is_black(self):
        (((only),),) = heat_maps(torch.zeros(1, 2, 1, 2), None, "teacher")
        assert only["of"] == "teacher"
        assert pixels(only["image"]).getcolors() == [(2, (0, 0, 0))]


class TestPlace:
    def test_it_is_where_the_method_split_the_channels_as_its_module_did(self):
        method = IEKDConfig(split="random", split_seed=3, ratio=0.3)
        place = place_of(KDConfig() + method, SHAPES, SHAPES)
        built = method.build(SHAPES, SHAPES)
        assert place.role == built.role == "stage2"
        assert torch.equal(place.split.inheriting, built.split.inheriting)
        assert torch.equal(place.split.exploring, built.split.exploring)

    def test_it_depends_on_whom_the_student_learnt_from(self):
        assert place_of(IEDMLConfig(), SHAPES, SHORT).role == "stage1"
        assert place_of(KDConfig(), SHAPES, SHORT) == ("stage1", None)

    def test_where_nobody_may_look_at_that_one_the_halves_are_known_only_of_a_role_that_is_named(self):
        assert place_of(IEKDConfig(), SHAPES, None) == ("stage2", None)
        place = place_of(IEKDConfig(role="stage1"), SHAPES, None)
        assert (place.role, place.split.inheriting.tolist()) == ("stage1", [0, 1])

    def test_a_student_without_features_has_none(self):
        assert place_of(None, {"logits": (10,)}, None) == (None, None)

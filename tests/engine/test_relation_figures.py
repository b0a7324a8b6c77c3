"""Neighbours, purity, agreement and calibration against loops and hand-made cases; which samples are pictured."""

import base64
import io

import pytest
import torch
from PIL import Image

from tutelage.engine.relation_figures import (
    agreement,
    calibration_error,
    class_purity,
    nearest_samples,
    neighbour_overlap,
)
from tutelage.engine.relation_pictures import chosen_samples, in_context, png_uri
from tutelage.errors import ConfigError, InputError, ShapeError
from tutelage.types import Batch


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class TestNeighbours:
    def test_they_are_the_k_largest_cosines_without_the_sample_itself(self):
        x = random(40, 6)
        found = nearest_samples(x, 5)
        for i in range(40):
            cosines = torch.nn.functional.cosine_similarity(x[i : i + 1], x)
            assert found[i].tolist() == [j for j in cosines.argsort(descending=True).tolist() if j != i][:5]

    def test_a_duplicate_is_a_neighbour_and_the_sample_itself_is_none(self):
        x = random(10, 6)
        x[7] = 3 * x[2]
        found = nearest_samples(x, 9)
        assert (found[2, 0], found[7, 0]) == (7, 2)
        assert all(i not in found[i] for i in range(10))

    def test_collapsed_features_give_the_lowest_rows(self):
        assert nearest_samples(torch.zeros(4, 3), 2).tolist() == [[1, 2], [0, 2], [0, 1], [0, 1]]

    @pytest.mark.parametrize("k", [0, 4, -1])
    def test_k_is_from_one_to_the_number_of_others(self, k):
        with pytest.raises(ConfigError, match=f"k must be from 1 to 3.*got {k}"):
            nearest_samples(torch.zeros(4, 3), k)

    @pytest.mark.parametrize("odd", [torch.nan, torch.inf])
    def test_numbers_that_are_not_finite_are_refused(self, odd):
        with pytest.raises(InputError, match="features must be finite"):
            nearest_samples(torch.tensor([[1.0], [odd], [2.0]]), 1)

    def test_the_overlap_is_the_mean_size_of_the_intersections(self):
        ours, theirs = nearest_samples(random(30, 4), 6), nearest_samples(random(30, 4, seed=1), 6)
        by_loops = sum(len(set(a) & set(b)) / 6 for a, b in zip(ours.tolist(), theirs.tolist(), strict=True)) / 30
        assert neighbour_overlap(ours, theirs) == pytest.approx(by_loops)
        assert neighbour_overlap(ours, ours.flip(1)) == 1

    @pytest.mark.usefixtures("own_messages")
    def test_lists_of_different_lengths_are_refused(self):
        ours, theirs = torch.zeros(30, 6, dtype=torch.int64), torch.zeros(30, 3, dtype=torch.int64)
        with pytest.raises(ShapeError, match="one shape"):
            neighbour_overlap(ours, theirs)

    def test_the_overlap_of_strangers_is_that_of_chance(self):
        # k / (n − 1) = 0.1005; the standard error of 200 × 20 draws is about 0.005.
        ours, theirs = nearest_samples(random(200, 50), 20), nearest_samples(random(200, 50, seed=1), 20)
        assert neighbour_overlap(ours, theirs) == pytest.approx(20 / 199, abs=0.02)

    def test_the_purity_is_the_share_of_neighbours_of_the_class(self):
        found, labels = nearest_samples(random(30, 4), 6), torch.arange(30) % 3
        by_loops = [[labels[j] == labels[i] for j in found[i].tolist()] for i in range(30)]
        assert class_purity(found, labels) == pytest.approx(sum(map(sum, by_loops)) / 180)
        assert class_purity(found, torch.zeros(30, dtype=torch.int64)) == 1


class TestOutputs:
    def test_agreement_does_not_ask_who_is_right(self):
        ours = torch.tensor([[3.0, 1, 2], [0, 9, 0], [0, 0, 1]])
        assert agreement(ours, torch.tensor([[9.0, 1, 2], [0, 1, 0], [1, 0, 0]])) == pytest.approx(2 / 3)

    @pytest.mark.usefixtures("own_messages")
    def test_other_classes_cannot_agree(self):
        with pytest.raises(ShapeError, match="same classes"):
            agreement(random(3, 3), random(3, 2))

    def test_the_calibration_error_is_that_of_a_loop_over_bins(self):
        logits, labels = 2 * random(500, 4), torch.randint(4, (500,), generator=torch.Generator().manual_seed(1))
        confidence, named = logits.double().softmax(1).max(1)
        expected = 0.0
        for m in range(15):
            inside = (confidence > m / 15) & (confidence <= (m + 1) / 15)
            if inside.any():
                gap = (named == labels)[inside].double().mean() - confidence[inside].mean()
                expected += float(inside.double().mean() * gap.abs())
        assert calibration_error(logits, labels) == pytest.approx(expected, abs=1e-12)
        assert expected > 0.1  # the labels are random, the network is not

    def test_a_network_that_is_right_as_often_as_it_says_is_calibrated(self):
        logits = torch.log(torch.tensor([[0.75, 0.25]])).repeat(4, 1)
        assert calibration_error(logits, torch.tensor([0, 0, 0, 1])) == pytest.approx(0, abs=1e-7)
        assert calibration_error(logits, torch.tensor([1, 1, 1, 1])) == pytest.approx(0.75)

    def test_errors_in_one_bin_cancel_and_those_in_two_do_not(self):
        logits = torch.log(torch.tensor([[0.55, 0.45], [0.95, 0.05]]))  # 0.55 is wrong, 0.95 is right
        labels = torch.tensor([1, 0])
        assert calibration_error(logits, labels, bins=1) == pytest.approx(0.25, abs=1e-6)
        assert calibration_error(logits, labels) == pytest.approx((0.55 + 0.05) / 2, abs=1e-6)

    def test_a_confidence_on_the_edge_belongs_to_the_bin_below(self):
        logits = torch.tensor([[0.5, 0.5], [0.75, 0.25]]).log()  # ½ is wrong, ¾ is right: in one bin they would cancel
        assert calibration_error(logits, torch.tensor([1, 0]), bins=2) == pytest.approx((0.5 + 0.25) / 2)

    def test_full_confidence_belongs_to_the_last_bin(self):
        sure = torch.tensor([[200.0, 0.0], [200.0, 0.0]])
        assert calibration_error(sure, torch.tensor([0, 1])) == 0.5

    def test_no_bins_and_labels_beyond_the_classes_are_refused(self):
        with pytest.raises(ConfigError, match="at least 1 bin, got 0"):
            calibration_error(random(3, 2), torch.zeros(3, dtype=torch.int64), bins=0)
        with pytest.raises(ShapeError, match="from 0 to 1"):
            calibration_error(random(3, 2), torch.tensor([0, 1, 2]))


class TestPictures:
    @pytest.mark.parametrize(
        ("wrong", "right", "count", "shown"),
        [(10, 10, 6, (3, 3)), (1, 10, 6, (1, 5)), (10, 1, 6, (5, 1)), (0, 9, 6, (0, 6)), (2, 1, 6, (2, 1))],
    )
    def test_half_of_the_chosen_are_wrong_where_there_are_so_many(self, wrong, right, count, shown):
        judged = torch.tensor([False] * wrong + [True] * right)
        chosen = chosen_samples(judged, count)
        assert len(set(chosen.tolist())) == len(chosen)
        assert judged[chosen].tolist() == [False] * shown[0] + [True] * shown[1]
        assert torch.equal(chosen, chosen_samples(judged, count))

    def test_a_sample_stays_chosen_when_the_judgement_of_later_ones_changes(self):
        judged = torch.arange(50) % 2 == 0
        before = chosen_samples(judged)
        order = torch.randperm(50, generator=torch.Generator().manual_seed(0)).tolist()
        judged[order[-5:]] = ~judged[order[-5:]]
        assert torch.equal(before, chosen_samples(judged))

    def test_in_context_samples_are_of_the_right_classes_with_both_similarities_and_their_own_pixels(self):
        labels = torch.tensor([0, 0, 0, 1, 1, 2])
        teacher, student = random(6, 5), random(6, 3, seed=1)
        pixels = torch.arange(6 * 4, dtype=torch.uint8).view(6, 1, 2, 2)

        def show(rows):
            return Batch(pixels[rows], labels[rows], rows + 100, rows)  # ids are not rows

        found = in_context(teacher, student, labels, torch.tensor([4, 0]), show, "abc")
        assert [(each["id"], each["label"]) for each in found] == [(104, "b"), (100, "a")]
        assert [near["id"] for near in found[0]["positives"]] == [103]  # the only other one of its class
        assert {near["id"] for near in found[1]["positives"]} == {101, 102}
        assert {near["label"] for near in found[1]["negatives"]} == {"b", "c"}
        near = found[1]["negatives"][0]
        for features, key in ((teacher, "similarity"), (student, "student_similarity")):
            cosine = torch.nn.functional.cosine_similarity(features[0], features[near["id"] - 100], dim=0)
            assert near[key] == pytest.approx(cosine.item(), abs=1e-4)
        assert near["image"] == png_uri(pixels[near["id"] - 100])
        assert [n["similarity"] for n in found[1]["negatives"]] == sorted(
            (n["similarity"] for n in found[1]["negatives"]), reverse=True
        )

    def test_a_class_of_one_has_no_positives_and_one_network_no_second_similarity(self):
        labels = torch.tensor([0, 1, 1])

        def show(rows):
            return Batch(torch.zeros(len(rows), 3, 2, 2, dtype=torch.uint8), labels[rows], rows, rows)

        (found,) = in_context(random(3, 2), None, labels, torch.tensor([0]), show, "ab")
        assert found["positives"] == []
        assert [near["student_similarity"] for near in found["negatives"]] == [None, None]

    @pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB"), (2, "L")])
    def test_a_picture_holds_the_pixels(self, channels, mode):
        image = torch.randint(256, (channels, 5, 7), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
        picture = opened(png_uri(image))
        assert (picture.mode, picture.size) == (mode, (7, 5))
        expected = image[0] if mode == "L" else image.permute(1, 2, 0)
        assert torch.equal(torch.tensor(list(picture.tobytes())), expected.flatten().int().long())

    def test_a_photograph_is_made_small_and_keeps_its_shape(self):
        assert opened(png_uri(torch.zeros(3, 224, 112, dtype=torch.uint8))).size == (32, 64)


def opened(uri):
    head, _, code = uri.partition(",")
    assert head == "data:image/png;base64"
    return Image.open(io.BytesIO(base64.b64decode(code)))

"""A network normalises its own pixels, knows its shapes and hands out its features."""

import dataclasses

import pytest
import torch
from torch import nn

from tutelage.errors import ConfigError, ShapeError, UnknownNameError
from tutelage.models import ModelCard, Network, build_network
from tutelage.models.network import check_same_images

CARD = ModelCard(model="python:mine", classes=("a", "b"), image=(3, 8, 8), mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))


def plain():
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 5), nn.ReLU(), nn.Linear(5, 2))


def zoo(model="zoo:resnet8"):
    return build_network(dataclasses.replace(CARD, model=model, image=(3, 32, 32)))


def pixels(n=4, size=8, dtype=torch.uint8):
    return torch.randint(0, 256, (n, 3, size, size), generator=torch.Generator().manual_seed(0)).to(dtype)


class TestPixels:
    def test_each_channel_is_scaled_to_one_and_normalised_by_the_card(self):
        seen = []
        model = plain()
        model.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
        Network(model, CARD)(pixels())
        mean, std = torch.tensor(CARD.mean).view(3, 1, 1), torch.tensor(CARD.std).view(3, 1, 1)
        torch.testing.assert_close(seen[0], (pixels() / 255 - mean) / std)

    def test_whole_and_floating_pixels_give_the_same_logits(self):
        network = Network(plain(), CARD)
        assert torch.equal(network(pixels()).logits, network(pixels(dtype=torch.float32)).logits)

    @pytest.mark.parametrize(("mean", "std"), [((0.5,), (0.2, 0.2, 0.2)), ((0.5, 0.5, 0.5), (0.2,))])
    def test_a_card_with_too_few_statistics_is_refused(self, mean, std):
        with pytest.raises(ConfigError, match=f"3 channels, got {len(mean)} and {len(std)}"):
            dataclasses.replace(CARD, mean=mean, std=std)

    def test_a_standard_deviation_of_zero_is_refused(self):
        with pytest.raises(ConfigError, match="every std must be positive"):
            dataclasses.replace(CARD, std=(0.2, 0.0, 0.2))


class TestShapes:
    def test_the_dry_run_finds_what_a_forward_gives(self):
        network = zoo()
        outputs = network(pixels(size=32))
        found = {"logits": outputs.logits, **outputs.taps}
        assert network.shapes == {role: tuple(value.shape[1:]) for role, value in found.items()}

    @pytest.mark.parametrize("training", [True, False])
    def test_the_dry_run_leaves_the_network_as_it_was(self, training):
        network = zoo().train(training)
        before = network.fingerprint()
        assert network.shapes["embedding"] == (64,)
        assert network.training is training
        assert network.fingerprint() == before

    def test_a_pooled_map_is_a_vector(self):
        model = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))
        network = Network(model, dataclasses.replace(CARD, taps={"embedding": "0"}))
        assert network.shapes["embedding"] == (3,)

    def test_images_that_the_model_does_not_accept_are_refused(self):
        network = Network(plain(), dataclasses.replace(CARD, image=(3, 9, 9)))
        with pytest.raises(ShapeError, match=r"python:mine does not accept images of \(3, 9, 9\)"):
            _ = network.shapes

    def test_a_head_that_does_not_fit_the_classes_is_refused(self):
        network = Network(plain(), dataclasses.replace(CARD, classes=("a", "b", "c")))
        with pytest.raises(ShapeError, match=r"shape \(n, 3\), got \(2, 2\).*does not fit the 3 classes"):
            _ = network.shapes


class TestTaps:
    def test_a_model_without_taps_has_an_embedding(self):
        network = Network(plain(), CARD)
        outputs = network(pixels())
        assert torch.equal(network.model[3](outputs.taps["embedding"]), outputs.logits)

    def test_the_taps_of_the_card_replace_those_of_the_model(self):
        model = nn.Sequential(nn.Flatten(), nn.Linear(192, 5), nn.Linear(5, 2))
        model.taps = {"embedding": "2:in", "stage1": "1"}
        network = Network(model, dataclasses.replace(CARD, taps={"stage1": "0"}))
        assert network.shapes == {"logits": (2,), "embedding": (5,), "stage1": (192,)}

    def test_only_the_roles_that_are_asked_for_are_handed_out(self):
        network = zoo()
        network.listen(["stage2"])
        assert set(network(pixels(size=32)).taps) == {"stage2"}

    def test_a_path_that_does_not_exist_is_refused_with_the_nearest(self):
        with pytest.raises(UnknownNameError, match="tap 'hint' 'layer3'; the nearest of"):
            Network(plain(), dataclasses.replace(CARD, taps={"embedding": "3:in", "hint": "layer3"}))


class TestFingerprint:
    def test_equal_weights_give_an_equal_fingerprint(self):
        one, other = zoo(), zoo()
        assert one.fingerprint() != other.fingerprint()
        other.model.load_state_dict(one.model.state_dict())
        assert one.fingerprint() == other.fingerprint()

    def test_one_number_is_enough_to_change_it(self):
        network = zoo()
        before = network.fingerprint()
        with torch.no_grad():
            next(network.model.parameters()).view(-1)[0] += 1e-6
        assert network.fingerprint() != before

    def test_another_normalisation_is_another_teacher(self):
        model = plain()
        other = dataclasses.replace(CARD, std=(0.2, 0.3, 0.5))
        assert Network(model, CARD).fingerprint() != Network(model, other).fingerprint()

    def test_features_that_are_listened_to_do_not_change_it(self):
        network = zoo()
        before = network.fingerprint()
        network.listen(["stage2"])
        assert network.fingerprint() == before


def test_the_weights_are_those_of_the_bare_model():
    network = Network(plain(), CARD)
    assert network.num_parameters == 192 * 5 + 5 + 5 * 2 + 2
    assert set(network.state_dict()) == {f"model.{name}" for name in network.model.state_dict()}


def test_networks_for_different_images_are_refused_together():
    small, large = Network(plain(), CARD), Network(plain(), dataclasses.replace(CARD, image=(3, 9, 9)))
    check_same_images([small, small])
    with pytest.raises(ConfigError, match=r"\(3, 8, 8\), \(3, 9, 9\)"):
        check_same_images([small, large])


def test_a_network_that_holds_still_trains_the_named_weights_and_moves_no_statistics():
    card = ModelCard(model="zoo:digits_small", classes=("a", "b"), image=(1, 8, 8), mean=(0.5,), std=(0.5,))
    network = build_network(card)
    head = [name for name, _ in network.model.named_parameters()][-2:]
    network.hold_still(head)
    network.train()
    assert not any(module.training for module in network.modules())
    assert [name for name, weight in network.model.named_parameters() if weight.requires_grad] == head
    before = {name: value.clone() for name, value in network.model.named_buffers()}
    network(torch.randint(0, 256, (4, 1, 8, 8), dtype=torch.uint8)).logits.sum().backward()
    assert all(torch.equal(value, before[name]) for name, value in network.model.named_buffers())

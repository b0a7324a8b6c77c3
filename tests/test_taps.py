"""Features by role, wherever they are in a module."""

import gc
import weakref

import pytest
import torch
from torch import nn

from tutelage.errors import ConfigError, ShapeError, UnknownNameError
from tutelage.taps import Tap, Taps, find_embedding


@pytest.fixture
def model():
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 2)))


class TestPlaces:
    @pytest.mark.parametrize("text", ["a.b", "a.b:out"])
    def test_a_path_alone_is_the_output(self, text):
        assert Tap.parse(text) == ("a.b", "out")

    def test_the_input_is_asked_for_by_name(self):
        assert Tap.parse("fc:in") == ("fc", "in")

    @pytest.mark.parametrize("text", ["fc:input", "a:b:in"])
    def test_any_other_side_is_refused(self, text):
        with pytest.raises(ConfigError, match=f"'path:in' or 'path:out', got '{text}'"):
            Tap.parse(text)

    def test_an_unknown_path_is_refused_with_the_nearest(self, model):
        with pytest.raises(UnknownNameError, match=r"module path for the tap 'hint' '2\.7'; the nearest of 5: 2"):
            Taps(model, {"hint": "2.7"})

    def test_the_embedding_is_the_input_of_the_last_linear_layer(self, model):
        assert find_embedding(model) == ("2.1", "in")

    def test_a_model_without_linear_layers_asks_for_a_name(self):
        with pytest.raises(ConfigError, match="embedding=PATH"):
            find_embedding(nn.ReLU())


class TestCapture:
    def test_inputs_and_outputs_are_those_of_the_submodules(self, model):
        taps = Taps(model, {"hidden": "1", "embedding": "2.1:in", "logits": "2"})
        images = torch.randn(6, 3)
        logits = model(images)
        taken = taps.take()
        assert torch.equal(taken["hidden"], model[0](images).relu())
        assert torch.equal(taken["embedding"], model[2][0](taken["hidden"]))
        assert torch.equal(taken["logits"], logits)

    def test_gradients_flow_through_what_is_captured(self, model):
        taps = Taps(model, {"hidden": "1"})
        model(torch.randn(6, 3))
        taps.take()["hidden"].sum().backward()
        assert model[0].weight.grad.abs().sum() > 0

    def test_what_was_taken_is_forgotten(self, model):
        taps = Taps(model, {"hidden": "1"})
        model(torch.randn(6, 3))
        assert set(taps.take()) == {"hidden"}
        assert taps.take() == {}

    def test_no_feature_outlives_its_step(self, model):
        taps = Taps(model, {"hidden": "1"})
        model(torch.randn(6, 3))
        ghost = weakref.ref(taps.take()["hidden"])
        gc.collect()
        assert ghost() is None

    def test_only_the_roles_that_are_listened_to_are_captured(self, model):
        taps = Taps(model, {"hidden": "1", "embedding": "2.1:in"})
        taps.listen(["embedding"])
        model(torch.randn(6, 3))
        assert set(taps.take()) == {"embedding"}
        taps.listen(["hidden"])
        model(torch.randn(6, 3))
        assert set(taps.take()) == {"hidden"}

    def test_listening_twice_puts_no_second_hook_on_the_module(self, model):
        taps = Taps(model, {"hidden": "1"})
        taps.listen(["hidden"])
        assert len(model[1]._forward_hooks) == 1

    def test_an_unknown_role_is_refused_and_says_how_to_name_it(self, model):
        taps = Taps(model, {"hidden": "1"})
        with pytest.raises(UnknownNameError, match=r"unknown tap 'stage9'; the nearest of 1: hidden.*stage9=PATH"):
            taps.listen(["stage9"])

    def test_a_module_that_returns_a_tuple_is_refused_when_it_runs(self):
        model = nn.Sequential(nn.Linear(3, 3), nn.LSTM(3, 4))
        Taps(model, {"memory": "1"})
        with pytest.raises(ShapeError, match=r"tap 'memory' must meet one tensor, but module '1' passes a tuple"):
            model(torch.zeros(2, 3))

    def test_it_says_where_it_listens(self, model):
        assert repr(Taps(model, {"embedding": "2.1:in"})) == "Taps(embedding=2.1:in)"

"""Networks on disk: what is read is what was written, or a clear error."""

import dataclasses
import json

import pytest
import torch

from tutelage.errors import DataError, UnknownNameError
from tutelage.models import ModelCard, build_network, load_network, save_network
from tutelage.models.checkpoint import load_weights, retapped

CARD = ModelCard(
    model="zoo:digits_small",
    classes=("a", "b", "c"),
    image=(1, 8, 8),
    mean=(0.3,),
    std=(0.2,),
    training={"data": "digits", "seed": 3},
)


@pytest.fixture
def network():
    torch.manual_seed(0)
    return build_network(CARD)


@pytest.fixture
def path(tmp_path, network):
    save_network(network, tmp_path / "net.safetensors")
    return tmp_path / "net.safetensors"


def edit(path, **changes):
    card = path.with_suffix(".json")
    fields = json.loads(card.read_text()) | changes
    card.write_text(json.dumps({name: value for name, value in fields.items() if value is not None}))


class TestRoundTrip:
    def test_weights_and_card_come_back_as_they_were(self, network, path):
        again = load_network(path)
        assert again.fingerprint() == network.fingerprint()
        assert dataclasses.asdict(again.card) == dataclasses.asdict(network.card)
        assert again.labels == network.labels

    def test_the_file_holds_the_names_of_the_bare_model(self, network, path):
        from safetensors.torch import load_file

        assert set(load_file(path)) == set(network.model.state_dict())

    def test_a_run_directory_stands_for_its_student(self, network, tmp_path):
        save_network(network, tmp_path / "student.safetensors")
        assert load_network(tmp_path).fingerprint() == network.fingerprint()

    def test_half_precision_halves_the_weights_and_is_read_as_single(self, network, path, tmp_path):
        save_network(network, tmp_path / "half.safetensors", half=True)
        again = load_network(tmp_path / "half.safetensors")
        for ours, theirs in zip(network.parameters(), again.parameters(), strict=True):
            assert theirs.dtype == torch.float32
            torch.testing.assert_close(theirs, ours.half().float(), rtol=0, atol=0)
        assert (tmp_path / "half.safetensors").stat().st_size < path.stat().st_size

    def test_another_account_of_the_training_replaces_that_of_the_card(self, network, path):
        save_network(network, path, training={"data": "cifar100"})
        assert load_network(path).card.training == {"data": "cifar100"}

    def test_nothing_but_the_two_files_remains(self, path):
        assert sorted(p.name for p in path.parent.iterdir()) == ["net.json", "net.safetensors"]


class TestDamage:
    def test_a_missing_file(self, tmp_path):
        with pytest.raises(DataError, match=r"no network at .*none"):
            load_network(tmp_path / "none")

    def test_a_missing_card(self, path):
        path.with_suffix(".json").unlink()
        with pytest.raises(DataError, match=r"need their card .*net\.json, and it is missing"):
            load_network(path)

    def test_a_truncated_file(self, path):
        path.write_bytes(path.read_bytes()[:-100])
        with pytest.raises(DataError, match=r"net\.safetensors is damaged"):
            load_network(path)

    def test_weights_of_another_model(self, path):
        edit(path, model="zoo:digits_large")
        with pytest.raises(DataError, match=r"do not fit zoo:digits_large.*differ, the first is '"):
            load_network(path)

    def test_a_head_of_another_size_is_named(self, path):
        edit(path, classes=["a", "b"])
        with pytest.raises(DataError, match=r"2 of \d+ differ, the first is 'fc\.bias' \(wanted \(2,\), got \(3,\)\)"):
            load_network(path)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"format": "other/1"}, "not a model card of format"),
            ({"classes": None}, "damaged"),
            ({"colour": "red"}, "damaged"),
            ({"std": [0.0]}, "damaged"),
        ],
    )
    def test_a_damaged_card(self, path, changes, message):
        edit(path, **changes)
        with pytest.raises(DataError, match=message):
            load_network(path)

    def test_a_card_that_is_no_json(self, path):
        path.with_suffix(".json").write_text("{")
        with pytest.raises(DataError, match=r"model card .*net\.json is damaged"):
            load_network(path)

    def test_weights_that_do_not_fit_change_nothing(self, path):
        other = build_network(dataclasses.replace(CARD, classes=("a", "b")))
        before = other.fingerprint()
        with pytest.raises(DataError):
            load_weights(other, path)
        assert other.fingerprint() == before


class TestRetapped:
    def test_the_new_tap_stands_beside_the_others(self, network):
        again = retapped(network, {"early": "stage1"}, image=(1, 8, 8))
        assert again.shapes["early"] == again.shapes["stage1"]
        assert again.model is network.model
        assert again.fingerprint() == network.fingerprint()

    def test_images_of_another_size_give_other_maps(self, network):
        before = network.shapes["stage1"]
        assert retapped(network, {}, image=(1, 16, 16)).shapes["stage1"] == (before[0], 2 * before[1], 2 * before[2])

    def test_the_former_hooks_are_gone_so_that_no_feature_is_kept_alive(self, network):
        again = retapped(network, {}, image=(1, 8, 8))
        again.listen(["embedding"])
        hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in again.model.modules()]
        assert sum(hooks) == 1

    def test_an_unknown_path_is_refused(self, network):
        with pytest.raises(UnknownNameError, match="tap 'early' 'stage9'"):
            retapped(network, {"early": "stage9"}, image=(1, 8, 8))

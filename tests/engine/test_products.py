"""What stages leave for other runs: found, told apart from other files, and deleted."""

import pytest
from torch import nn

from tutelage.engine.products import FORMAT, Product, products_in, prune_products
from tutelage.models import load_network, save_network


@pytest.fixture
def keep(tmp_path):
    """Keeps a product of a teacher under a number; its place."""

    def write(number, teacher, **facts):
        path = tmp_path / f"{number:032x}.safetensors"
        Product(path, {"format": FORMAT, "teacher": teacher, **facts}).keep(nn.Linear(100, 2))
        return path

    return write


def test_products_are_found_by_name_with_their_facts_and_sizes(keep, tmp_path):
    second, first = keep(2, "b", seed=3), keep(1, "a")
    found = products_in(tmp_path)
    assert [product.path for product in found] == [first, second]
    assert [product.teacher for product in found] == ["a", "b"]
    assert found[1].facts["seed"] == 3
    assert all(4 * 202 < product.num_bytes == product.path.stat().st_size for product in found)


def test_the_weights_of_a_network_are_none(keep, tmp_path, teacher_run):
    keep(1, "a")
    network = load_network(teacher_run)
    save_network(network, tmp_path / "student.safetensors")
    save_network(network, tmp_path / f"{2:032x}.safetensors")  # even under such a name
    assert [product.teacher for product in products_in(tmp_path)] == ["a"]
    assert [product.teacher for product in prune_products(tmp_path, keep=["b"], dry_run=False)] == ["a"]
    assert sorted(file.suffix for file in tmp_path.iterdir()) == [".json", ".json", ".safetensors", ".safetensors"]


def test_pruning_deletes_those_of_other_teachers_and_damaged_ones_when_it_is_told_to(keep, tmp_path):
    ours, theirs, broken = keep(1, "a"), keep(2, "b"), keep(3, "a")
    broken.write_bytes(broken.read_bytes()[:20])
    assert [product.path for product in prune_products(tmp_path, keep=["a"])] == [theirs, broken]
    assert all(path.exists() for path in (ours, theirs, broken))
    prune_products(tmp_path, keep=["a"], dry_run=False)
    assert list(tmp_path.iterdir()) == [ours]
    assert prune_products(tmp_path, keep=["a"], dry_run=False) == []

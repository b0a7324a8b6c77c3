"""Two processes (gloo) compute what one computes.

The students here have no batch norm: its statistics are those of a rank's own part of the batch, by nature. FitNet's
adapter has one and is compared all the same, because it sees the gathered batch.
"""

from pathlib import Path
from typing import Any

import pytest
import torch
from nursery import BATCHES, KILLED, Nursery, configuration, remains
from torch import Tensor

from tutelage.methods import METHODS, ensemble_of, phases_of

PLAIN = "python:students:without_norm"
TOLERANCE = {False: 1e-5, True: 1e-12}
"""‖difference‖ / ‖gradient‖ in float32 and float64. Measured at most 6.4e-6 (fitnet, others 4.3e-7) and 3.1e-15."""
TEACH_BEFORE = {"ab", "fsp"}
"""Their last stage is labels alone: what is compared is the gradient of the stage before."""


def comparing() -> list[str]:
    """The methods that must see the whole batch."""
    shapes = {"logits": (10,), "embedding": (64,), "stage1": (8, 4, 4), "stage2": (16, 4, 4)}

    def compares(config: Any) -> bool:
        return config.build(shapes, shapes).needs.compares_samples or ensemble_of(config, [shapes, shapes]) is not None

    return [name for name in METHODS if compares(teaching(name))]


def teaching(method: str) -> Any:
    """The config of the stage in which a method teaches."""
    config = METHODS[method]()
    return phases_of(config)[0].method if method in TEACH_BEFORE else config


def lesson(method: str | None, *given: Any, **settings: Any) -> dict[str, Any]:
    """A run that ends with the stage in which the method teaches."""
    config = configuration(method, *given, **settings)
    return config | {"stages": config["stages"][:1]} if method in TEACH_BEFORE else config


def gradients(nursery: Nursery, path: Path, config: dict[str, Any], **order: Any) -> list[dict[str, Tensor]]:
    """What every rank holds after the backward pass of the first batch, warm-ups of the method over."""
    ranks = config["engine"]["devices"]
    ended = nursery.live(do="gradients", path=path, config=config, ranks=ranks, **order)
    assert set(ended["status"]) == {0}, ended["log"]
    return [torch.load(f"{path}.{rank}") for rank in range(ranks)]


def gap(one: Tensor, other: Tensor) -> float:
    return ((one - other).norm() / one.norm()).item()


def whole_run(nursery: Nursery, path: Path, **settings: Any) -> dict[str, Any]:
    config = configuration(**{"model": PLAIN, "epochs": 1} | settings)
    ended = nursery.live(do="start", path=path, config=config, ranks=config["engine"]["devices"])
    assert set(ended["status"]) == {0}, ended["log"]
    return remains(path)


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("method", [None, *METHODS, "ickd:source=peer", "ickd:source=student", "0.5*kd+fitnet"])
def test_two_processes_have_the_gradient_of_one(
    method: str | None, double: bool, nursery: Nursery, teacher: Path, tmp_path: Path
) -> None:
    config = {n: lesson(method, teacher, model=PLAIN, devices=n) for n in (1, 2)}
    (alone,) = gradients(nursery, tmp_path / "one", config[1], double=double)
    for rank, shared in enumerate(gradients(nursery, tmp_path / "two", config[2], double=double)):
        assert shared.keys() == alone.keys()
        gaps = {kind: gap(alone[kind], shared[kind]) for kind in alone if kind != "noise"}
        print(f"{method or 'labels'}, {alone['student'].dtype}, rank {rank}: {gaps}")
        assert max(gaps.values()) <= TOLERANCE[double]
    assert method != "fitnet" or "method" in alone  # its adapter was compared, too


@pytest.mark.parametrize("method", METHODS)
def test_the_gradient_that_is_compared_is_not_that_of_labels_alone(
    method: str, nursery: Nursery, teacher: Path, tmp_path: Path
) -> None:
    (taught,) = gradients(nursery, tmp_path / "taught", lesson(method, teacher, model=PLAIN))
    (labels,) = gradients(nursery, tmp_path / "labels", configuration(model=PLAIN, **BATCHES.get(method, {})))
    assert gap(taught["student"], teaching(method).task_weight * labels["student"]) > 1e-3  # VID starts at 4e-3


@pytest.mark.parametrize("method", comparing())
def test_a_gather_without_gradient_is_found_out(method: str, nursery: Nursery, teacher: Path, tmp_path: Path) -> None:
    """The comparison can fail: the student learns nothing from a batch that was gathered without gradient."""
    config = {n: lesson(method, teacher, model=PLAIN, devices=n) for n in (1, 2)}
    (alone,) = gradients(nursery, tmp_path / "one", config[1])
    shared, _ = gradients(nursery, tmp_path / "two", config[2], plain=True)
    assert (
        gap(alone["student"], shared["student"]) > 0.01
    )  # CS-KD 0.036: an untrained student hardly contradicts itself


def test_ranks_draw_different_random_numbers_and_the_first_those_of_one_process(
    nursery: Nursery, tmp_path: Path
) -> None:
    config = {n: configuration(model=PLAIN, devices=n) for n in (1, 2)}
    (alone,) = gradients(nursery, tmp_path / "one", config[1])
    first, second = gradients(nursery, tmp_path / "two", config[2])
    assert alone["noise"].equal(first["noise"])
    assert not first["noise"].equal(second["noise"])


@pytest.mark.slow
@pytest.mark.parametrize("accumulate", [1, 3])
def test_a_run_of_two_processes_follows_that_of_one(
    accumulate: int, nursery: Nursery, teacher: Path, tmp_path: Path
) -> None:
    """Losses, accuracies and rates of every line, teacher calls, steps: over all ranks, as of one process."""
    settings = {"method": "fitnet", "teacher": teacher, "accumulate": accumulate, "batch_size": 60, "lr": 0.01}
    one = whole_run(nursery, tmp_path / "one", devices=1, **settings)
    two = whole_run(nursery, tmp_path / "two", devices=2, **settings)
    assert two["teacher"]["calls"] == one["teacher"]["calls"] == 60 * one["steps"]
    assert two["teacher"]["accuracy"] == one["teacher"]["accuracy"]
    assert two["steps"] == one["steps"]
    assert len(two["metrics"]) == len(one["metrics"])
    for ours, theirs in zip(two["metrics"], one["metrics"], strict=True):
        assert ours.keys() == theirs.keys()
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-3)
        # One image that lies on the border between two classes may fall to the other side.
        assert ours["accuracy"] == pytest.approx(theirs["accuracy"], abs=1 / 120)


@pytest.mark.slow
def test_metrics_count_the_samples_of_every_rank(nursery: Nursery, tmp_path: Path) -> None:
    """64 samples a batch, a line each: accuracies are 64ths, and not all of them the 32nds of one rank."""
    run = whole_run(nursery, tmp_path / "two", devices=2, log_every=1)
    right = [64 * line["accuracy"] for line in run["metrics"] if line["kind"] == "train"]
    assert all(count == int(count) for count in right)
    assert any(count % 2 for count in right)


@pytest.mark.slow
def test_validation_counts_every_image_once(nursery: Nursery, tmp_path: Path) -> None:
    """135 images over two ranks are 68 and 67; a sampler that evens them out would count 136."""
    run = whole_run(nursery, tmp_path / "two", devices=2, lr=0.2)
    lines = [line for line in run["metrics"] if line["kind"] == "validation"]
    right = 135 * lines[-1]["accuracy"]
    assert right == pytest.approx(round(right), abs=1e-9)
    assert 0 < right < 135
    assert run["accuracy"]["last"]["validation"] == lines[-1]["accuracy"]


@pytest.mark.slow
def test_one_rank_dies_and_the_run_goes_on_from_its_checkpoint(nursery: Nursery, teacher: Path, tmp_path: Path) -> None:
    """Dropout too: every rank has its own random numbers back."""
    settings = {"model": "python:students:with_dropout", "method": "kd", "teacher": teacher, "devices": 2}
    peace = whole_run(nursery, tmp_path / "peace", **settings)
    config = configuration(**{"epochs": 1} | settings)
    ended = nursery.live(do="start", path=tmp_path / "war", config=config, ranks=2, die_at=9, only=[1])
    assert ended["status"][1] == KILLED, ended["log"]
    ended = nursery.live(do="resume", path=tmp_path / "war", ranks=2)
    assert ended["status"] == [0, 0], ended["log"]
    assert remains(tmp_path / "war") == peace

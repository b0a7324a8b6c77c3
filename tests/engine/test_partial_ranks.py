"""Where only some images have answers, two processes (gloo) compute what one computes, however the answers fall."""

from pathlib import Path
from typing import Any

import pytest
import torch
from nursery import Nursery, configuration, remains
from torch import Tensor

from tutelage.data import UniformSampler, open_dataset
from tutelage.data.protocols import FewTeacherCalls

BATCH = 12
PROTOCOL = FewTeacherCalls(subset_size=600, unused="labels")  # 480 of 1,228 images may be sent, all of them train
SHARES = {"equal": (3, 3), "unequal": (4, 1), "none on the second": (4, 0), "none on the first": (0, 3)}
TOO_FEW = {"kd": (0, 0), "fitnet": (0, 1), "rkd": (1, 1)}


def seed_with(shares: tuple[int, int]) -> int:
    """A seed whose first batch has so many answers on each rank."""
    labels = open_dataset("digits").train.labels
    for seed in range(2000):
        division = PROTOCOL.divide(labels, seed=seed)
        first = UniformSampler(division.train, batch_size=BATCH, seed=seed).epoch(0)[0]
        known = torch.isin(first, division.answered).view(2, -1).sum(1)
        if known.tolist() == list(shares):
            return seed
    raise AssertionError(f"no seed shares its answers as {shares}")


def configured(method: str, teacher: Path, path: Path, **settings: Any) -> dict[str, Any]:
    """A run whose answers are kept where the other one finds them."""
    config = configuration(method, teacher, **{"model": "python:students:without_norm", **settings})
    config["teacher"]["answers"]["cache"] = str(path / "answers")
    config["data"]["protocol"] = {"name": PROTOCOL.name, "subset_size": 600, "unused": "labels"}
    return config


def gradients(
    nursery: Nursery, path: Path, method: str, teacher: Path, seed: int, **order: Any
) -> dict[int, list[dict[str, Tensor]]]:
    """What one process and two hold after the first batch, with the same answers."""
    found = {}
    for ranks in (1, 2):
        config = configured(method, teacher, path, devices=ranks, batch_size=BATCH, seed=seed)
        ended = nursery.live(do="gradients", path=path / str(ranks), config=config, ranks=ranks, **order)
        assert set(ended["status"]) == {0}, ended["log"]
        found[ranks] = [torch.load(f"{path / str(ranks)}.{rank}") for rank in range(ranks)]
    return found


def compared(found: dict[int, list[dict[str, Tensor]]]) -> float:
    """The largest ‖difference‖ / ‖gradient‖."""
    (alone,) = found[1]
    gaps = [(shared[k] - alone[k]).norm() / alone[k].norm() for shared in found[2] for k in alone if k != "noise"]
    assert all(shared.keys() == alone.keys() for shared in found[2])
    return float(torch.stack(gaps).max())


@pytest.mark.parametrize("method", TOO_FEW)
@pytest.mark.parametrize("shares", SHARES.values(), ids=SHARES)
def test_two_processes_have_the_gradient_of_one(
    shares: tuple[int, int], method: str, nursery: Nursery, teacher: Path, tmp_path: Path
) -> None:
    found = gradients(nursery, tmp_path, method, teacher, seed_with(shares))
    gap = compared(found)
    print(f"{method}, {shares}: {gap:.1e}")
    assert gap <= 1e-5
    assert method != "fitnet" or "method" in found[1][0]


@pytest.mark.parametrize("method", TOO_FEW)
def test_where_there_are_too_few_answers_for_a_method_they_learn_from_labels_together(
    method: str, nursery: Nursery, teacher: Path, tmp_path: Path
) -> None:
    found = gradients(nursery, tmp_path, method, teacher, seed_with(TOO_FEW[method]))
    assert compared(found) <= 1e-5
    assert "method" not in found[1][0]


@pytest.mark.parametrize("method", ["kd", "rkd"])
def test_answers_that_were_gathered_without_gradient_are_found_out(
    method: str, nursery: Nursery, teacher: Path, tmp_path: Path
) -> None:
    """The comparison can fail."""
    found = gradients(nursery, tmp_path, method, teacher, seed_with((4, 1)), plain=True)
    assert compared(found) > 0.01


@pytest.mark.slow
def test_a_run_of_two_processes_counts_its_unanswered_samples_as_one_does(
    nursery: Nursery, teacher: Path, tmp_path: Path
) -> None:
    runs = {}
    for ranks in (1, 2):
        config = configured("kd", teacher, tmp_path, batch_size=64, epochs=1, devices=ranks, lr=0.01)
        ended = nursery.live(do="start", path=tmp_path / str(ranks), config=config, ranks=ranks)
        assert set(ended["status"]) == {0}, ended["log"]
        runs[ranks] = remains(tmp_path / str(ranks))
    one, two = runs[1], runs[2]
    assert two["teacher"]["skipped"] == one["teacher"]["skipped"] > 0
    ours, theirs = ([line for line in run["metrics"] if line["kind"] == "train"] for run in (two, one))
    assert [line["unanswered"] for line in ours] == [line["unanswered"] for line in theirs]
    assert [line["loss"] for line in ours] == pytest.approx([line["loss"] for line in theirs], rel=1e-3)

"""Runs on mixtures of images: the teacher is asked about single ones, and a killed run goes on."""

from pathlib import Path
from typing import Any

import billed
import pytest
from books import Books, changed, lines, live, survives
from nursery import Nursery, configuration

SELDOM: dict[str, Any] = {"save_every": 0.05}  # seconds between checkpoints: most steps have none
PLAIN = "python:students:without_norm"


class TestMixtures:
    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("kind", "method"),
        [("mixup", "kd"), ("mixup3", "rkd"), ("cutmix", "fitnet"), ("cutmix", None)],
    )
    def test_a_killed_run_ends_as_one_that_was_not(
        self, kind: str, method: str | None, nursery: Nursery, teacher: Path, tmp_path: Path
    ) -> None:
        config = changed(configuration(method, teacher, epochs=2, **SELDOM), mix={"kind": kind, "alpha": 1.0})
        survives(nursery, tmp_path, config, {"die_at": 7}, {"die_at": 25})

    @pytest.mark.parametrize("kind", ["mixup", "mixup3", "cutmix"])
    def test_the_teacher_is_asked_about_single_images_only(self, kind: str, nursery: Nursery, books: Books) -> None:
        config = changed(configuration("kd", books.folder, epochs=1, **SELDOM), mix={"kind": kind, "alpha": 1.0})
        config["teacher"] |= {"weights": billed.NAME, "answers": {"cache": str(books.folder)}}
        live(nursery, **books.next(config))
        assert books.bill == books.ledger == books.stored
        assert books.bill.total() == 18 * 64  # each image is in two or three mixtures, and is sent once

    def test_each_step_has_another_mixture_and_each_seed_others(
        self, nursery: Nursery, teacher: Path, tmp_path: Path
    ) -> None:
        losses = {}
        for name, mix in {"plain": None, "mixed": {"kind": "mixup", "alpha": 1.0}}.items():
            config = changed(configuration(epochs=1, log_every=1, **SELDOM), mix=mix)
            live(nursery, do="start", path=tmp_path / name, config=config)
            losses[name] = [line["loss"] for line in lines(tmp_path / name)]
        assert losses["plain"][0] != losses["mixed"][0]
        assert sum(losses["mixed"][-5:]) > sum(losses["plain"][-5:])  # mixtures are harder

    @pytest.mark.slow
    def test_with_partial_answers_over_two_ranks_a_killed_run_ends_as_one_that_was_not(
        self, nursery: Nursery, teacher: Path, tmp_path: Path
    ) -> None:
        config = configuration("rkd", teacher, epochs=1, model=PLAIN, devices=2, **SELDOM)
        config["data"]["protocol"] = {"name": "few-teacher-calls", "subset_size": 300, "unused": "labels"}
        config["teacher"]["answers"]["cache"] = str(tmp_path / "answers")
        changed(config, mix={"kind": "mixup", "alpha": 1.0})
        live(nursery, do="start", path=tmp_path / "fill", config=config, ranks=2)
        survives(nursery, tmp_path, config, {"die_at": 9}, ranks=2)

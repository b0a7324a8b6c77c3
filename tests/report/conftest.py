"""Runs as the engine writes them, made up by formulas: no network is trained here."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

TEACHER = {
    "model": "zoo:digits_large",
    "parameters": 45678,
    "fingerprint": "ab12cd34ef56",
    "accuracy": {"validation": 0.991, "test": 0.988},
    "calls": 43200,
}
MACHINE = {"cpu": "Some CPU", "cores": 2, "gpu": None, "threads": 1}


def config_of(method: str, seed: int, **settings: Any) -> dict[str, Any]:
    alone = method == "ce"
    return {
        "format": "tutelage-run/1",
        "kind": "teach" if alone else "distill",
        "data": {"name": "digits"},
        "student": {"model": "zoo:digits_small"},
        "teacher": None if alone else {"model": "zoo:digits_large"},
        "method": None if alone else {"name": method, **settings.pop("method_settings", {})},
        "seed": seed,
        "epochs": 30,
        "out": f"runs/{method}-{seed}",
        **settings,
    }


def result_of(method: str, seed: int, test: float) -> dict[str, Any]:
    alone = method == "ce"
    return {
        "format": "tutelage-result/1",
        "kind": "teach" if alone else "distill",
        "data": "digits",
        "method": method,
        "seed": seed,
        "student": {"model": "zoo:digits_small", "parameters": 1234, "num_classes": 10},
        "teacher": None if alone else deepcopy(TEACHER),
        "accuracy": {
            "last": {"epoch": 30, "validation": test + 0.004, "test": test},
            "best": {"epoch": 27, "validation": test + 0.006, "test": test + 0.002},
        },
        "epochs": 30,
        "steps": 1200,
        "seconds": 12.3,
        "images_per_second": 5000.0,
        "machine": dict(MACHINE),
        "precision": "32",
        "command": f"tutelage distill --method {method} --seed {seed}",
        "commit": "abc123",
        "versions": {"tutelage": "0.1.0", "torch": "2.13.0"},
        "started": "2026-01-01T00:00:00+00:00",
        "finished": "2026-01-01T00:00:12+00:00",
    }


def metrics_of(method: str, seed: int, test: float, epochs: int = 30) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = []
    for quarter in range(1, 4 * epochs + 1):
        epoch = quarter / 4
        terms = {"task": {"value": 2.3 * math.exp(-epoch / 6), "weight": 1.0 if method == "ce" else 0.1}}
        if method != "ce":
            terms[method] = {"value": 1.5 * math.exp(-epoch / 9) + 0.05 * seed, "weight": 0.9}
        loss = sum(term["value"] * term["weight"] for term in terms.values())
        line = {"kind": "train", "stage": "student", "epoch": epoch, "step": 10 * quarter, "lr": 0.05}
        lines.append(line | {"images_per_second": 5000.0, "accuracy": 0.5, "loss": loss, "terms": terms})
        if quarter % 4 == 0:
            wave = 0.004 * math.sin(epoch * 1.7 + 2 * seed + len(method))
            accuracy = (test + 0.004) * (1 - 0.6 * math.exp(-epoch / 4)) + wave * (1 - epoch / epochs)
            line = {"kind": "validation", "stage": "student", "epoch": int(epoch), "step": 10 * quarter}
            lines.append(line | {"accuracy": accuracy, "loss": 1.7})
    return lines


@dataclass
class Study:
    """A directory of runs that grows run by run."""

    root: Path
    count: int = field(default=0)

    def add(
        self,
        method: str,
        seed: int,
        test: float,
        *,
        change: Callable[[dict[str, Any]], object] | None = None,
        settings: dict[str, Any] | None = None,
        metrics: Sequence[dict[str, Any]] | None = (),
    ) -> Path:
        """A finished run; ``change`` edits its result, ``metrics=None`` writes learning curves."""
        folder = self.start(method, seed, settings=settings)
        result = result_of(method, seed, test)
        if change is not None:
            change(result)
        (folder / "result.json").write_text(json.dumps(result))
        lines = metrics_of(method, seed, test) if metrics is None else metrics
        (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        return folder

    def add_free(
        self, method: str, seed: int, test: float, *, settings: dict[str, Any] | None = None, **own: Any
    ) -> Path:
        """A finished run of a method that needs no teacher; ``own`` are settings of the method."""
        more = {"teacher": None, "kind": "teach", "method_settings": own}
        free = {"teacher": None, "kind": "teach"}
        return self.add(method, seed, test, settings=more | (settings or {}), change=lambda result: result.update(free))

    def start(self, method: str, seed: int, *, settings: dict[str, Any] | None = None) -> Path:
        """A run that is not finished."""
        self.count += 1
        folder = self.root / f"{self.count:03d}-{''.join(filter(str.isalnum, method))}-{seed}"
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(json.dumps(config_of(method, seed, **(settings or {}))))
        return folder

    @staticmethod
    def few(subset_size: int, **stage: Any) -> dict[str, Any]:
        """Settings of a run under few-teacher-calls, as long in images as one of any other size."""
        protocol = {"name": "few-teacher-calls", "subset_size": subset_size, "validation": 0.2, "unused": "ignore"}
        return {
            "data": {"name": "digits", "protocol": protocol},
            "epochs": 96000 // subset_size,
            "stages": [{"name": "student", "epochs": 96000 // subset_size, "mix": None, **stage}],
        }

    def curve(self, **methods: Mapping[int, Sequence[float]]) -> None:
        """Finished runs of methods: {subset size: accuracy by seed}."""
        for method, sizes in methods.items():
            for subset_size, accuracies in sizes.items():
                for seed, accuracy in enumerate(accuracies):
                    self.add(method, seed, accuracy, settings=self.few(subset_size))


def write_typical(study: Study) -> None:
    """Four methods and the student alone, three seeds each, and one run that is not finished."""
    tests = {
        "ce": (0.9410, 0.9432, 0.9384),
        "kd": (0.9512, 0.9551, 0.9498),
        "crd": (0.9566, 0.9570, 0.9541),
        "rkd": (0.9480, 0.9395, 0.9402),
        "iekd": (0.9701, 0.9718, 0.9689),
    }
    for method, accuracies in tests.items():
        for seed, accuracy in enumerate(accuracies):
            study.add(method, seed, accuracy, metrics=None)
    folder = study.start("dkd", 0)
    lines = [json.dumps(line) + "\n" for line in metrics_of("dkd", 0, 0.95, epochs=12)]
    (folder / "metrics.jsonl").write_text("".join(lines) + '{"kind": "tra')


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return Study(tmp_path / "runs")


@pytest.fixture(scope="module")
def typical(tmp_path_factory: pytest.TempPathFactory) -> Path:
    study = Study(tmp_path_factory.mktemp("typical") / "runs")
    write_typical(study)
    return study.root

"""What a run was billed, what its ledger says and which answers it has: read by tests, never by the run itself."""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import billed
import torch
from nursery import KILLED, Nursery, configuration, differences

from tutelage.data import open_dataset
from tutelage.teachers import Ledger, stores_in

BATCH = 10
FEW = {"name": "few-teacher-calls", "subset_size": 200}  # 160 images train and are sent: 16 batches an epoch
CASES: dict[str, dict[str, Any]] = {
    "just enough": {"protocol": FEW, "budget": 160},
    "skip, one view": {"protocol": FEW, "budget": 90, "exhausted": "skip"},
    "skip, all views": {"view": "same", "budget": 310, "exhausted": "skip"},
    "plan": {"protocol": FEW, "budget": 70, "plan": "balanced"},
}
SPENT = {"just enough": 160, "skip, one view": 90, "skip, all views": 310, "plan": 70}


def costly(
    folder: Path,
    weights: str = billed.NAME,
    *,
    method: str = "kd",
    protocol: dict[str, Any] | None = None,
    http: dict[str, Any] | None = None,
    settings: dict[str, Any] | None = None,
    **answers: Any,
) -> dict[str, Any]:
    """The content of a ``config.json``: a teacher that is paid for, its answers kept in a folder."""
    few = {"epochs": 4, "batch_size": BATCH, "validation": 0.85}  # without a protocol 202 images train
    config = configuration(method, folder, **few | (settings or {}))
    config["teacher"] |= {"weights": weights, "answers": {"cache": str(folder), **answers}, "http": http or {}}
    config["data"]["protocol"] = protocol
    return config


@dataclass
class Books:
    """A run's bill, ledger and answers, all read anew each time.

    Args:
        run: Its directory.
        folder: Where its answers are kept; the bill lies beside it.
    """

    run: Path
    folder: Path

    @property
    def bill_path(self) -> Path:
        return self.folder.with_suffix(".bill")

    def next(self, config: dict[str, Any]) -> dict[str, Any]:
        """The order for a run's next life."""
        do, environment = "resume" if (self.run / "config.json").exists() else "start", {"BILL": str(self.bill_path)}
        return {"do": do, "config": config, "path": self.run, "environment": environment | {"FATAL": "70"}}

    @property
    def bill(self) -> "Counter[str]":
        return billed.bill(self.bill_path)

    @property
    def ledger(self) -> "Counter[str]":
        """The images behind the rows: each (id, view) stands there once."""
        path = self.run / "ledger.sqlite"
        rows = [(call.id, call.view) for call in Ledger(path).calls()] if path.exists() else []
        return pictures(rows)

    @property
    def stored(self) -> "Counter[str]":
        rows: list[tuple[int, int]] = []
        for store in stores_in(self.folder) if self.folder.exists() else []:
            for ids, views, _ in store.scan():
                rows += zip(ids.tolist(), views.tolist(), strict=True)
        return pictures(rows)

    @property
    def finished(self) -> bool:
        return (self.run / "result.json").exists()

    @property
    def result(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self.run / "result.json").read_text())
        return content


def pictures(rows: list[tuple[int, int]]) -> "Counter[str]":
    ids, views = torch.tensor(rows, dtype=torch.int64).view(-1, 2).T
    return billed.shown(open_dataset("digits"), ids, views)


def live(nursery: Nursery, **order: Any) -> dict[str, Any]:
    """A life that ends well, or as it was ordered to."""
    ended = nursery.live(**order)
    wanted = {"kill", "die_at"} & order.keys()
    assert set(ended["status"]) == {0} or (wanted and KILLED in ended["status"]), ended["log"]
    return ended


def changed(config: dict[str, Any], **stage: Any) -> dict[str, Any]:
    """The same with other settings of its stages."""
    for part in config["stages"]:
        part |= stage
    return config


def lines(run: Path, kind: str = "train") -> list[dict[str, Any]]:
    content = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line for line in content if line["kind"] == kind]


def survives(nursery: Nursery, path: Path, config: dict[str, Any], *deaths: dict[str, Any], ranks: int = 1) -> None:
    """A run that meets with these deaths ends as one that does not."""
    live(nursery, do="start", path=path / "peace", config=config, ranks=ranks)
    order = {"do": "start", "config": config}
    for death in deaths:
        ended = nursery.live(path=path / "war", ranks=ranks, **order, **death)
        assert KILLED in ended["status"], ended["log"]
        order = {"do": "resume"}
    live(nursery, path=path / "war", ranks=ranks, **order)
    assert differences(path / "peace", path / "war") == []

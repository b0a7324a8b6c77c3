"""The end of a run: its networks are judged and written, and ``result.json`` says what came of it."""

import datetime
from collections.abc import Mapping
from typing import Any

from tutelage.engine.incremental import old_and_new
from tutelage.engine.origin import origin_of_run
from tutelage.engine.session import Session
from tutelage.engine.state import Position
from tutelage.models import save_network
from tutelage.models.checkpoint import load_weights
from tutelage.rundir import RunDir

__all__ = ["finish"]

RESULT_FORMAT = "tutelage-result/1"


def finish(session: Session, run: RunDir, position: Position) -> dict[str, Any]:
    """Judge the last and the best weights, once each, and write them and the result.

    Args:
        session: The parts of the run, with its trained networks.
        run: Where the files go.
        position: At the end of the last stage.

    Returns:
        What ``result.json`` holds.
    """
    fabric, network, judge = session.fabric, session.student, session.judge
    student = next(facts for facts in reversed(position.history) if facts["trains"] == "student")
    result = _facts(session, position) | {"started": _began(run), "accuracy": {}}

    def judge_it(which: str, epoch: int) -> None:
        validation = judge.score_network(network, "validation").accuracy
        test, images, right = judge.score_classes(network, "test")
        result["accuracy"][which] = {"epoch": epoch, "validation": validation, "test": test.accuracy}
        if which == "last":
            result["classes"] = {"names": list(session.data.labels.names), "images": images, "right": right}
        if student["judge"] == "ncm":
            scores = {split: judge.score_ncm(network, split) for split in ("validation", "test")}
            result.setdefault("ncm", {})[which] = {"epoch": epoch, **scores}
        if session.task.num_old:
            scores = old_and_new(judge, network, session.task.num_old)
            result.setdefault("incremental", {})[which] = {"epoch": epoch, **scores}

    judge_it("last", student["epochs"])
    tutor = session.tutor
    if tutor is not None:
        if tutor.facts["accuracy"]:
            tutor.facts["accuracy"]["test"] = judge.score_teacher(tutor.source, "test").accuracy
        tutor.facts |= {"calls": position.calls, "skipped": position.skipped, **tutor.account()}
    for number, peer in enumerate(session.networks[1:], start=1):
        scores = {split: judge.score_network(peer, split).accuracy for split in ("validation", "test")}
        result["peers"] = [*result.get("peers", []), {"model": peer.card.model, "accuracy": scores}]
        if fabric.is_global_zero:
            save_network(peer, run.path / f"peer{number}.safetensors")
    if fabric.is_global_zero:
        save_network(network, run.student, training=_account(result))
    fabric.barrier()
    load_weights(network, run.best)
    if student["best"]["epoch"] == student["epochs"]:  # the same weights are not judged twice
        for name in {"accuracy", "ncm", "incremental"} & result.keys():
            result[name]["best"] = dict(result[name]["last"])
    else:
        judge_it("best", student["best"]["epoch"])
    if fabric.is_global_zero:
        save_network(network, run.best, training=_account(result))
        run.write_json("result.json", result)
        run.state.unlink(missing_ok=True)
    fabric.barrier()
    return result


def _facts(session: Session, position: Position) -> dict[str, Any]:
    config, method = session.config, session.config.method
    images = position.all_steps * config.data.batch_size
    origin = origin_of_run()
    return {
        "format": RESULT_FORMAT,
        "kind": "distill" if method else "teach",
        "data": config.data.name,
        "task": session.task.name,
        "method": method.name if method else "ce",
        "seed": config.seed,
        "student": {
            "model": config.student.model,
            "parameters": session.student.num_parameters,
            "num_classes": len(session.data.labels),
        },
        "teacher": session.tutor.facts if session.tutor else None,
        "epochs": sum(stage.epochs for stage in config.stages[:-1]) + position.epoch,
        "steps": position.all_steps,
        "stages": position.history,
        "seconds": position.seconds,
        "memory": session.footprint.facts(position.memory),
        "images_per_second": images / max(position.seconds, 1e-9),
        "precision": session.fabric._precision.precision,
        **origin,
    }


def _account(result: Mapping[str, Any]) -> dict[str, Any]:
    kept = ("data", "method", "seed", "epochs", "accuracy", "command", "commit", "versions")
    return {name: result[name] for name in kept}


def _began(run: RunDir) -> str:
    """When the run was begun, however often it was stopped since: its config is written once."""
    written = (run.path / "config.json").stat().st_mtime
    return datetime.datetime.fromtimestamp(written, datetime.UTC).isoformat(timespec="seconds")

"""Runs in forked processes that are killed on purpose, and the comparison of what they leave behind.

Importing torch and the rest takes seconds, a tiny run on digits one. So one process imports everything once and
forks a child for every life of a run: ``python nursery.py`` reads one order a line (JSON) and answers how it ended.
A run that is killed five times and carried on to its end has six lives.

An order: ``do`` (``start``, ``resume`` or ``gradients``), ``path`` of the run, ``config`` (to start), ``ranks``,
``environment`` (more variables), ``plain`` (gather without gradient), ``double`` (float64), and how to die, by
SIGKILL each time: ``kill`` = [moment, seconds to wait from there on] from outside, which on a busy machine may come
late; ``die_at`` = moment, at once and exactly there; ``die`` = [file, nth, "half" | "before" | "after"] while that
file is put in place for the nth time in this life. ``only`` names the ranks that die; the others then fail. A moment
is 1000 · stage + step. The answer: ``moment`` of death, ``status`` of each rank, end of its ``log``.
"""

import dataclasses
import itertools
import json
import mmap
import os
import signal
import socket
import struct
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

STAGE = 1000
SECONDS = 240  # a life takes one or two, thirty on a busy machine: one that takes longer hangs
KILLED = -signal.SIGKILL
BATCHES = {name: {"images_per_class": 8} for name in ("cs_kd", "tuple_matching")}  # ten classes are too few for pairs


class Nursery:
    """The forking process, seen from the tests."""

    def __init__(self) -> None:
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
        command = [sys.executable, __file__]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def live(self, **order: Any) -> dict[str, Any]:
        """One life of a run, from its start or its last checkpoint to its death or its end."""
        pipe = self._process
        assert pipe.stdin is not None
        assert pipe.stdout is not None
        pipe.stdin.write(json.dumps(order, default=str) + "\n")
        pipe.stdin.flush()
        answer: dict[str, Any] = json.loads(pipe.stdout.readline())
        assert not answer["hung"], answer["log"]
        return answer

    def close(self) -> None:
        """Let it end."""
        self._process.communicate("")


def configuration(
    method: str | None = None, teacher: Path | None = None, *, stages: Sequence[str | None] = (), **changes: Any
) -> dict[str, Any]:
    """A tiny run on digits as the content of its ``config.json``: three epochs of 18 batches of 64.

    ``changes`` are fields of data, student, optimizer, stage or engine, whichever has that name.
    """
    from tutelage import engine as parts
    from tutelage.engine.codec import method_from
    from tutelage.methods import is_taught
    from tutelage.recipes.words import read_word

    def fill(kind: type[Any], **defaults: Any) -> Any:
        known = {field.name for field in dataclasses.fields(kind)} - {"name"}
        return kind(**defaults | {name: value for name, value in changes.items() if name in known})

    def stage(number: int, recipe: Any) -> parts.StageConfig:
        optimizer = fill(parts.OptimizerConfig)
        return parts.staged(fill(parts.StageConfig, name=f"stage{number}", epochs=3, optimizer=optimizer), recipe)

    recipes = [method_from(*read_word(name, "method")) if name else None for name in stages or [method]]
    taught = any(map(is_taught, recipes))
    run = parts.RunConfig(
        data=fill(parts.DataConfig, **BATCHES.get(method or "", {})),
        student=fill(parts.StudentConfig),
        teacher=parts.TeacherConfig(weights=str(teacher)) if taught else None,
        peers=(fill(parts.StudentConfig),) if any(getattr(recipe, "peers", False) for recipe in recipes) else (),
        stages=tuple(itertools.chain(*(stage(number, recipe) for number, recipe in enumerate(recipes)))),
        engine=fill(parts.EngineConfig, accelerator="cpu", precision="32", save_every=0.0, log_every=4),
        seed=changes.get("seed", 0),
    )
    return parts.to_json(run)


def cases() -> dict[str, dict[str, Any]]:
    """Name → settings of :func:`configuration`: all that a resumed run must repeat bit for bit."""
    from tutelage.methods import METHODS

    return (
        {"labels": {}}
        | {name: {"method": name} for name in METHODS}
        | {
            "ickd-online": {"method": "ickd:source=peer"},
            "ickd-self": {"method": "ickd:source=student"},
            "dropout": {"method": "kd", "model": "python:students:with_dropout"},
            "accumulate": {"method": "fitnet", "batch_size": 60, "accumulate": 3},  # 20 batches an epoch: 6 · 3 + 2
            "stages": {"stages": [None, "kd"], "epochs": 2},
            "bf16": {"method": "kd", "precision": "bf16"},
            "ranks": {"method": "rkd", "devices": 2},
            "apart": {"method": "one", "devices": 2, "peers_on": "ranks"},
            "sum": {"method": "0.5*kd+ickd+fitnet"},
        }
    )


def remains(path: Path) -> dict[str, Any]:
    """All of a finished run that must not depend on whether it was interrupted."""
    result = json.loads((path / "result.json").read_text())
    lines = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        line.pop("images_per_second", None)
    weights = {name: (path / name).read_bytes() for name in ("student.safetensors", "best.safetensors")}
    return weights | {"metrics": lines} | {name: result[name] for name in ("accuracy", "steps", "epochs", "teacher")}


def differences(left: Path, right: Path) -> list[str]:
    """The names of what differs between two finished runs, bit for bit."""
    ours, theirs = remains(left), remains(right)
    return [name for name in ours if ours[name] != theirs[name]]


def life(order: Mapping[str, Any]) -> dict[str, Any]:
    """Fork the ranks of a run, kill them when their time has come, and say how they ended."""
    moment, log = mmap.mmap(-1, 4), Path(f"{order['path']}.log")
    ranks, port = order.get("ranks", 1), _free_port()
    log.unlink(missing_ok=True)
    children = [_fork(order, rank, ranks, port, moment, log) for rank in range(ranks)]
    target, patience = order.get("kill") or (None, 0.0)
    ends, living, latest, hung = [0] * ranks, set(range(ranks)), time.monotonic() + SECONDS, False
    while living:
        for rank in list(living):
            pid, status = os.waitpid(children[rank], os.WNOHANG)
            if pid:
                living.remove(rank)
                ends[rank] = os.waitstatus_to_exitcode(status)
        hung = hung or (bool(living) and time.monotonic() > latest)
        over = hung or (len(living) < ranks and any(ends))
        if over or (target is not None and _read(moment) >= target):
            time.sleep(0 if over else patience)
            for rank in living:
                os.kill(children[rank], signal.SIGKILL)
            target = None
        time.sleep(0.0005)
    text = log.read_text() if log.exists() else ""
    return {"moment": _read(moment), "status": ends, "hung": hung, "log": text[-2000:]}


def _fork(order: Mapping[str, Any], rank: int, ranks: int, port: int, moment: mmap.mmap, log: Path) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        with log.open("a") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        os.environ |= order.get("environment", {})
        if ranks > 1:
            os.environ |= _torchrun(rank, ranks, port)
        _prepare(order, moment, mortal=rank in order.get("only", range(ranks)))
        _carry_out(order, rank)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _torchrun(rank: int, ranks: int, port: int) -> dict[str, str]:
    """The variables that torchrun sets."""
    places = {"RANK": rank, "LOCAL_RANK": rank, "GROUP_RANK": 0, "WORLD_SIZE": ranks, "LOCAL_WORLD_SIZE": ranks}
    names = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "TORCHELASTIC_RUN_ID": "none"}
    return {name: str(value) for name, value in (places | names).items()}


def _carry_out(order: Mapping[str, Any], rank: int) -> None:
    from tutelage import cli, engine

    path = Path(order["path"])
    if order["do"] == "start":
        engine.start(engine.from_json(order["config"]), path)
    elif order["do"] == "resume":
        cli.main(["resume", str(path), "--debug"])
    else:
        _gradients(engine.from_json(order["config"]), path.with_suffix(f".{rank}"), double=order.get("double", False))


def _prepare(order: Mapping[str, Any], moment: mmap.mmap, *, mortal: bool) -> None:
    """Let the child show where it stands, and die while it writes."""
    from tutelage.engine.loop import StageLoop
    from tutelage.engine.objective import Objective

    step, gathered = StageLoop._step, Objective._gathered

    def shown(self: StageLoop, batch: Any) -> None:
        step(self, batch)
        now = STAGE * self.state.position.stage + self.state.position.step
        moment[:4] = struct.pack("i", now)
        if mortal and now == order.get("die_at"):
            os.kill(os.getpid(), signal.SIGKILL)

    def plain(self: Objective, value: Any) -> Any:
        return gathered(self, value.detach())

    StageLoop._step = shown  # type: ignore[method-assign]
    if order.get("plain"):
        Objective._gathered = plain  # type: ignore[method-assign]
    os.fsync = lambda _: None  # nobody cuts the power, and a killed process loses nothing that it has written
    if mortal and order.get("die"):
        _die_while_writing(*order["die"])


def _die_while_writing(name: str, nth: int, when: str) -> None:
    replace, seen = Path.replace, [0]

    def deadly(self: Path, target: Path) -> Path:
        seen[0] += target.name == name
        now = target.name == name and seen[0] == nth
        if now and when == "half":
            os.truncate(self, self.stat().st_size // 2)
        if now and when != "after":
            os.kill(os.getpid(), signal.SIGKILL)
        moved = replace(self, target)
        if now:
            os.kill(os.getpid(), signal.SIGKILL)
        return moved

    Path.replace = deadly  # type: ignore[method-assign, assignment]


def _gradients(config: Any, path: Path, *, double: bool) -> None:
    """The gradient of the last stage's first batch, by the parts of the engine, as DDP leaves it; random numbers."""
    import torch

    from tutelage.engine import run
    from tutelage.engine.session import Session, open_fabric
    from tutelage.engine.state import Position
    from tutelage.rundir import RunDir

    torch.set_default_dtype(torch.float64 if double else torch.float32)
    session = Session(config, open_fabric(config.engine))
    session.provide(RunDir(path.with_suffix(".run")))
    learner = run._wrap_student(session)
    number = len(config.stages) - 1
    loop = run._open_stage(session, RunDir(path), learner, Position(stage=number), number)
    learner.train()
    if loop.method is not None:
        session.prepare(number)
        loop.method.after_step(1000.0)  # warm-up is over
    batch = next(iter(session.loader(number).epoch(0)))
    teacher = session.teacher(batch) if session.teacher else None
    terms = loop.objective(learner(batch.images), teacher, batch).terms
    session.fabric.backward(torch.stack([term.value * term.weight for term in terms.values()]).sum())
    found = {"noise": torch.rand(8)}
    for kind, module in {"student": session.student, "method": loop.method}.items():
        moved = [weight.grad.flatten() for weight in module.parameters() if weight.grad is not None] if module else []
        if moved:
            found[kind] = torch.cat(moved)
    torch.save(found, path)


def _read(moment: mmap.mmap) -> int:
    number: int = struct.unpack("i", moment[:4])[0]
    return number


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def preload() -> None:
    """Import here what every child would import, and keep to one thread: a fork has none of the others."""
    import cattrs  # noqa: F401
    import lightning_fabric  # noqa: F401
    import phased
    import safetensors.torch  # noqa: F401
    import sklearn.datasets  # noqa: F401
    import torch

    import tutelage.cli
    import tutelage.engine  # noqa: F401

    phased.register()
    torch.set_num_threads(1)


def serve(read: Callable[[], str]) -> None:
    """Obey orders until there are none."""
    preload()
    for line in iter(read, ""):
        print(json.dumps(life(json.loads(line))), flush=True)
    os._exit(0)  # taking torch apart takes seconds


if __name__ == "__main__":
    serve(sys.stdin.readline)

"""From a config to a finished run directory, in one go or in as many as it takes."""

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from tutelage.data import open_dataset
from tutelage.data.protocols import Division, divided
from tutelage.engine.apart import Apart
from tutelage.engine.codec import from_json, to_json
from tutelage.engine.cohort import Cohort, CohortObjective, Lessons
from tutelage.engine.config import DataConfig, EngineConfig, RunConfig, StageConfig
from tutelage.engine.evaluation import Judge, Split
from tutelage.engine.handover import before, follow, stage_facts, trains_alone
from tutelage.engine.loop import StageLoop
from tutelage.engine.meter import Meter
from tutelage.engine.objective import Objective
from tutelage.engine.optimizer import make_optimizer
from tutelage.engine.outcome import finish
from tutelage.engine.products import find_product
from tutelage.engine.session import Session, open_fabric
from tutelage.engine.sinks import MetricsLog
from tutelage.engine.state import Position, State, standing
from tutelage.errors import ConfigError, DivergedError, LabelSpaceError, RunError, ShapeError, TutelageError
from tutelage.models import load_network
from tutelage.rundir import RunDir, check_new

__all__ = ["evaluate_network", "resume", "start"]


def start(config: RunConfig, out: Path) -> dict[str, Any]:
    """Carry out a run in a new directory.

    Args:
        config: The run.
        out: The directory to make.

    Returns:
        What ``result.json`` holds.

    Raises:
        RunError: if the directory holds something already.
        TutelageError: whatever is wrong with the settings, before any training.
    """
    check_new(out)
    fabric = open_fabric(config.engine)
    session = Session(config, fabric)
    session.check_teacher()
    if fabric.is_global_zero:
        RunDir.create(out, to_json(config))
    fabric.barrier()
    run = RunDir(out)
    try:
        session.provide(run)
    except TutelageError:
        if fabric.is_global_zero:
            run.discard()
        raise
    return _carry_on(session, run)


def resume(path: Path) -> dict[str, Any]:
    """Go on with a run that was stopped; its result is that of a run that was not.

    Args:
        path: Its directory.

    Returns:
        What ``result.json`` holds.

    Raises:
        RunError: if there is no run, or it is finished.
    """
    run = RunDir.open(path)
    if run.finished:
        raise RunError(f"the run {path} is finished: see {path / 'result.json'}")
    config = from_json(run.read_json("config.json"))
    session = Session(config, open_fabric(config.engine))
    session.check_teacher()
    session.provide(run)
    return _carry_on(session, run)


def evaluate_network(
    path: Path, *, data: str | None = None, split: Split = "test", engine: EngineConfig | None = None
) -> dict[str, Any]:
    """Measure a stored network.

    Args:
        path: A run directory, or a ``.safetensors`` file with its card beside it.
        data: The images; by default those it was trained on.
        split: ``"test"``, or ``"validation"`` or ``"train"`` as cut by the default share.
        engine: Where and how.

    Returns:
        Accuracy, cross-entropy, number of images, and what was measured.

    Raises:
        ConfigError: if the data set is not known.
        LabelSpaceError: if the network's classes are not those of the data.
    """
    network = load_network(path)
    data = data or str(network.card.training.get("data", ""))
    if not data:
        raise ConfigError(f"{path} does not say on which data it was trained: name the data")
    images = open_dataset(data, size=network.card.image[1])
    if (shared := len(images.labels.shared_with(network.labels))) < len(network.labels):
        raise LabelSpaceError(
            f"{path} knows {len(network.labels)} classes, {data} has {len(images.labels)}, and they share "
            f"{shared}: name data that has all of its classes"
        )
    every, images = len(images.labels), images.restricted(network.labels)
    if images.channels != network.card.image[0]:
        raise ShapeError(
            f"{path} takes images with {network.card.image[0]} channels, {data} has {images.channels}: name other data"
        )
    fabric = open_fabric(engine or EngineConfig())
    everything = (images.train.labels >= 0).nonzero().flatten()
    division = Division(train=everything, validation=everything[:0], answered=everything)
    if split != "test":
        division = divided(DataConfig().division, images.train.labels, seed=0)
    judge = Judge(images, fabric, division)
    score = judge.score_network(network.to(fabric.device), split)
    classes = f"{len(images.labels)} of {every}"
    return {"network": network.card.model, "data": data, "classes": classes, "split": split, **score._asdict()}


def _carry_on(session: Session, run: RunDir) -> dict[str, Any]:
    fabric, position, stages = session.fabric, Position(), session.config.stages
    first, states = standing(run)
    if first >= len(stages):
        raise RunError(f"{run.path} was stopped in stage {first + 1}, but its config.json has no such stage: mend it")
    learner = _wrap_student(session)
    loop = _open_stage(session, run, learner, position, first, states)
    if run.state.exists():
        loop.state.load()
        if session.tutor is not None and not session.tutor.counts:
            session.tutor.source.calls = position.calls // fabric.world_size
    quiet = not fabric.is_global_zero
    with (
        closing(MetricsLog(run, session.config.engine.sinks, size=position.metrics, quiet=quiet)) as log,
        _divergence_kept(run, quiet=quiet),
    ):
        for number in range(first, len(stages)):
            if number > first:
                position.next_stage()
                loop = _open_stage(session, run, learner, position, number)
            loop.run(log)
            position.history.append(stage_facts(stages[number], session.methods[number], position))
    return finish(session, run, position)


@contextmanager
def _divergence_kept(run: RunDir, *, quiet: bool) -> Iterator[None]:
    """Tables count a run that diverged, and a grid does not repeat it; what resumes it tries anew."""
    if not quiet:
        run.divergence.unlink(missing_ok=True)
    try:
        yield
    except DivergedError as error:
        if not quiet:
            run.write_json(run.divergence.name, {"why": str(error)})
        raise


def _wrap_student(session: Session) -> Any:
    engine = session.config.engine
    learner: torch.nn.Module = session.student
    if len(session.networks) > 1:
        networks, roles = session.networks, session.student_roles
        learner = Apart(networks, roles, session.fabric) if session.apart else Cohort(networks)
    if engine.channels_last:
        learner.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if engine.compile and session.teacher is not None:
        session.teacher.compile()
    if session.apart:
        if engine.compile:
            session.networks[session.fabric.global_rank].compile()
        return learner.to(session.fabric.device)
    return session.fabric.setup_module(torch.compile(learner) if engine.compile else learner)  # type: ignore[arg-type]


def _open_stage(
    session: Session,
    run: RunDir,
    learner: Any,
    position: Position,
    number: int,
    states: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
) -> StageLoop:
    fabric, stage, method = session.fabric, session.config.stages[number], session.methods[number]
    earlier = before(session.config.stages, session.methods, number)
    follow(method, earlier, states)
    weights: list[torch.nn.Parameter] = []
    if not trains_alone(method):
        weights += [weight for weight in learner.parameters() if weight.requires_grad]
    if method is not None:
        weights += [weight for weight in method.to(fabric.device).parameters() if weight.requires_grad]
    objective: Objective | CohortObjective
    if len(session.networks) > 1:
        pairs = method.pairs if isinstance(method, Lessons) else dict.fromkeys(session.pairs)
        together = method.ensemble if isinstance(method, Lessons) else None
        objective = CohortObjective(
            {pair: _objective(session, stage, m, _wrapped(fabric, m)) for pair, m in pairs.items()},
            (_wrapped(fabric, together), _objective(session, stage, None, None)) if together is not None else None,
        )
        stored: Any = method
    else:
        stored = _wrapped(fabric, method)
        objective = _objective(session, stage, method, stored, session.answers[number])
    optimizer: Any = fabric.setup_optimizers(make_optimizer(stage.optimizer, weights))
    state = State(fabric, run, learner, position, Meter(), optimizer, stored, session.tutor, earlier)
    return StageLoop(session, stage, objective, method, state, find_product(session, number))


def _objective(session: Session, stage: StageConfig, method: Any, wrapped: Any, answers: Any = None) -> Objective:
    needs, shares = method.needs if method is not None else None, session.shares
    return Objective(
        session.fabric, stage.method, wrapped, needs=needs, first=session.task.first, answers=answers, shares=shares
    )


def _wrapped(fabric: Any, method: Any) -> Any:
    """A method that trains weights of its own is wrapped for the ranks."""
    trains = method is not None and any(weight.requires_grad for weight in method.parameters())
    return fabric.setup_module(method) if trains else method

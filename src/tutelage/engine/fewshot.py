"""Few-shot episodes: how well a stored network tells new classes apart from a few images of each.

The images of the classes are embedded once, un-augmented; an episode is then a look-up of rows.

Letters: m images of the pool, d features, k classes of the teacher, e episodes, w ways, q queries.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch
from torch import Tensor

from tutelage.data import Dataset, ImageStore, evaluation_batches, open_dataset
from tutelage.data.class_lists import choose_classes
from tutelage.data.episodes import Episodes, EpisodeSampler, EpisodeShape
from tutelage.engine.config import EngineConfig
from tutelage.engine.episode_heads import HEADS, Tuning
from tutelage.engine.episode_tuning import TUNED, EpisodeTuner
from tutelage.engine.evaluation import BATCH_SIZE
from tutelage.engine.origin import origin_of_run
from tutelage.engine.progress import Progress
from tutelage.engine.session import open_fabric
from tutelage.errors import ConfigError, InputError, ShapeError, UnknownNameError
from tutelage.labels import LabelSpace
from tutelage.models import Network, load_network
from tutelage.models.network import check_same_images
from tutelage.ops.judges import mean_interval
from tutelage.rundir import RunDir
from tutelage.teachers import LiveTeacher
from tutelage.types import Outputs

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["FEWSHOT", "FewShotConfig", "measure_episodes"]

FEWSHOT = "fewshot.json"
FORMAT = "tutelage-fewshot/1"
_NUMBERS = 1 << 25
"""Features of a block of episodes: 128 MiB in single precision."""


@dataclass(frozen=True, kw_only=True)
class FewShotConfig:
    """Which episodes, and who is measured in them.

    Args:
        ways: Classes of an episode.
        shots: Labelled images of each; a table has a column for each number.
        queries: Images of each class whose class is to be told.
        episodes: How many, the same for every number of shots.
        seed: Which ones.
        classes: Those that episodes draw from: positions (``80:100``), names joined by commas, or a file of names
            (``cifar_fs.json:test``); by default all.
        split: Whose images: the test images, the training images, or both, as CIFAR-FS has it.
        classifiers: ``ncm``, ``protonet``, ``logistic`` and ``head`` on the frozen embedding; ``finetune`` and
            ``refilled`` tune the network in each episode, ``refilled`` under a teacher.
        tuning: How those that train do so.

    Raises:
        ConfigError: if a number is too small, or one is given twice.
        UnknownNameError: if there is no such classifier.

    Example:
        >>> FewShotConfig(shots=(1, 5)).shapes[1].images
        20
    """

    ways: int = 5
    shots: tuple[int, ...] = (1, 5)
    queries: int = 15
    episodes: int = 600
    seed: int = 0
    classes: str | None = None
    split: Literal["test", "train", "all"] = "test"
    classifiers: tuple[str, ...] = ("ncm", "protonet", "logistic")
    tuning: Tuning = field(default_factory=Tuning)

    def __post_init__(self) -> None:
        if self.episodes < 2:
            raise ConfigError(f"an interval needs at least 2 episodes, got {self.episodes}")
        for what, given in (("shots", self.shots), ("classifiers", self.classifiers)):
            if not given or len(set(given)) < len(given):
                raise ConfigError(f"{what} need at least one value and none twice, got {list(given)}")
        for name in self.classifiers:
            if name not in HEADS and name not in TUNED:
                raise UnknownNameError("classifier", name, [*HEADS, *TUNED])
        _ = self.shapes

    @property
    def shapes(self) -> tuple[EpisodeShape, ...]:
        """The episodes for each number of shots."""
        return tuple(EpisodeShape(ways=self.ways, shots=shots, queries=self.queries) for shots in self.shots)


class _Pool(NamedTuple):
    """The images that episodes draw from: stores, the rows of each, and the labels ``(m,)`` of all together."""

    parts: tuple[tuple[ImageStore, Tensor], ...]
    labels: Tensor
    classes: LabelSpace
    data: Dataset


class _Candidate(NamedTuple):
    """A network whose embedding is measured: who it is, features ``(m, d)`` and logits ``(m, k)``."""

    who: Literal["network", "teacher"]
    network: Network
    features: Tensor
    logits: Tensor


def measure_episodes(
    network: Path,
    data: str,
    config: FewShotConfig | None = None,
    *,
    teacher: Path | None = None,
    engine: EngineConfig | None = None,
    out: Path | None = None,
) -> dict[str, Any]:
    """Measure a stored network in few-shot episodes.

    All classifiers and both networks see the same episodes, and those of more shots have the same queries, so that
    what is right can be compared episode by episode.

    Args:
        network: A run directory, or a ``.safetensors`` file with its card beside it.
        data: The images, as for :func:`tutelage.data.open_dataset`.
        config: Which episodes, and who is measured.
        teacher: Another stored network: its frozen embedding is measured beside, and ``refilled`` learns from it.
        engine: Where and how; by default in single precision.
        out: Where ``fewshot.json`` is written; by default nowhere.

    Returns:
        What ``fewshot.json`` holds: for each network, classifier and number of shots the mean accuracy, half the width
        of its 95 % interval over the episodes (Student's t), and the number of right answers in every episode.

    Raises:
        ConfigError: if an episode asks for more than there is, or ``refilled`` has no teacher.
        LabelSpaceError: if the data lacks a class.
        InputError: if a network answers with numbers that are not finite.
    """
    config = config or FewShotConfig()
    if "refilled" in config.classifiers and teacher is None:
        raise ConfigError("the classifier refilled learns from a teacher: name one, --teacher RUN, or leave it out")
    fabric = open_fabric(replace(engine or EngineConfig(precision="32"), devices=1))
    ours = load_network(network)
    theirs = None if teacher is None else load_network(teacher)
    networks = [ours] if theirs is None else [ours, theirs]
    check_same_images(networks)
    pool = _pool(data, ours, config)
    samplers = [
        EpisodeSampler(pool.labels, shape, seed=config.seed, names=pool.classes.names) for shape in config.shapes
    ]
    candidates = [_embedded("network", ours, pool, fabric)]
    if theirs is not None:
        candidates.append(_embedded("teacher", theirs, pool, fabric))
    frozen = [name for name in config.classifiers if name in HEADS]
    tuned = [name for name in config.classifiers if name in TUNED]
    facts = _facts(pool, config, {"network": (network, ours), "teacher": (teacher, theirs)})  # before it is tuned
    rows = [
        _frozen(candidate, name, sampler, config) for candidate in candidates for name in frozen for sampler in samplers
    ]
    if tuned:
        tuner = _tuner(candidates, pool, config, fabric)
        rows += [_tuned(tuner, name, sampler, config) for name in tuned for sampler in samplers]
    content = facts | origin_of_run() | {"results": rows}
    if out is not None:
        RunDir(out).write_json(FEWSHOT, content)
    return content


def _pool(spec: str, network: Network, config: FewShotConfig) -> _Pool:
    """The images of the chosen classes, whose labels are numbers in the order of the choice."""
    data = open_dataset(spec, size=network.card.image[1])
    if data.channels != network.card.image[0]:
        raise ShapeError(
            f"the network was trained on images with {network.card.image[0]} channels, {data.name} has "
            f"{data.channels}: use a network trained on such images"
        )
    chosen = choose_classes(config.classes, data.labels) if config.classes else data.labels
    number = torch.tensor(data.labels.index_in(chosen))
    stores = {"train": (data.train,), "test": (data.test,), "all": (data.train, data.test)}[config.split]
    numbers = [number[store.labels] for store in stores]
    rows = [(of_store >= 0).nonzero().flatten() for of_store in numbers]
    labels = torch.cat([of_store[ids] for of_store, ids in zip(numbers, rows, strict=True)])
    return _Pool(tuple(zip(stores, rows, strict=True)), labels, chosen, data)


def _embedded(who: Literal["network", "teacher"], network: Network, pool: _Pool, fabric: "Fabric") -> _Candidate:
    source = LiveTeacher(network.to(fabric.device), autocast=fabric.autocast)
    source.listen(("embedding",))
    views, answers = pool.data.views(seed=0), list[Outputs]()
    for store, ids in pool.parts:
        batches = evaluation_batches(store, ids, views, batch_size=BATCH_SIZE, device=fabric.device)
        answers += [source(batch) for batch in batches]
    features = torch.cat([answer.taps["embedding"].flatten(1) for answer in answers]).float()
    logits = torch.cat([answer.logits for answer in answers]).float()
    if not bool(features.isfinite().all() and logits.isfinite().all()):
        raise InputError(f"{network.card.model} answers with numbers that are not finite: it has diverged")
    return _Candidate(who, network, features, logits)


def _tuner(candidates: Sequence[_Candidate], pool: _Pool, config: FewShotConfig, fabric: "Fabric") -> EpisodeTuner:
    """What tunes the network; the plain images of the pool are then all in memory."""
    views = pool.data.views(seed=0)
    images = [
        batch.images
        for store, ids in pool.parts
        for batch in evaluation_batches(store, ids, views, batch_size=BATCH_SIZE, device=fabric.device)
    ]
    teacher = Outputs(candidates[1].logits, {"embedding": candidates[1].features}) if len(candidates) > 1 else None
    return EpisodeTuner(candidates[0].network, torch.cat(images), teacher, config.tuning, fabric.autocast)


def _frozen(candidate: _Candidate, name: str, sampler: EpisodeSampler, config: FewShotConfig) -> dict[str, Any]:
    began, shape, features = time.monotonic(), sampler.shape, candidate.features
    size = max(1, _NUMBERS // (shape.ways * shape.images * features.shape[1]))
    right = []
    for block in sampler.blocks(config.episodes, size=size):
        support, query = (features[rows.to(features.device)] for rows in (block.support, block.query))
        right.append(_right(HEADS[name](support, query, config.tuning)))
    return _row(candidate.who, name, sampler, torch.cat(right), time.monotonic() - began)


def _tuned(tuner: EpisodeTuner, name: str, sampler: EpisodeSampler, config: FewShotConfig) -> dict[str, Any]:
    began, right = time.monotonic(), []
    with Progress(f"{name}, {sampler.shape.shots} shots", config.episodes) as progress:
        for done, block in enumerate(sampler.blocks(config.episodes, size=1), start=1):
            right.append(_right(tuner(name, Episodes(*(part[0] for part in block))).unsqueeze(0)))
            progress.step(done)
    return _row("network", name, sampler, torch.cat(right), time.monotonic() - began)


def _right(told: Tensor) -> Tensor:
    """How many of the queries of each episode ``(e, w, q)`` are told their own way."""
    ways = torch.arange(told.shape[1], device=told.device).view(1, -1, 1)
    return (told == ways).sum((1, 2)).cpu()  # once a block: the counts of all episodes are kept on the host


def _row(who: str, name: str, sampler: EpisodeSampler, right: Tensor, seconds: float) -> dict[str, Any]:
    shape = sampler.shape
    mean, half_width = mean_interval(right.double() / (shape.ways * shape.queries))
    return {
        "features": who,
        "classifier": name,
        "shots": shape.shots,
        "accuracy": mean,
        "half_width": half_width,
        "seconds": round(seconds, 3),
        "right": right.tolist(),  # on the host already
    }


def _facts(
    pool: _Pool, config: FewShotConfig, networks: Mapping[str, tuple[Path | None, Network | None]]
) -> dict[str, Any]:
    """What was measured; ``seen`` counts the classes of the episodes that a network was trained on."""
    told: dict[str, Any] = {}
    for who, (path, network) in networks.items():
        told[who] = (
            None
            if network is None
            else {
                "path": str(path),
                "model": network.card.model,
                "fingerprint": network.fingerprint(),
                "classes": len(network.labels),
                "seen": len(pool.classes.shared_with(network.labels)),
            }
        )
    return {
        "format": FORMAT,
        "data": pool.data.name,
        "split": config.split,
        "classes": list(pool.classes.names),
        "ways": config.ways,
        "shots": list(config.shots),
        "queries": config.queries,
        "episodes": config.episodes,
        "seed": config.seed,
        **told,
    }

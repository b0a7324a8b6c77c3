"""All that a run needs, built and checked in its first second: what cannot work is refused before it starts."""

import itertools
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from tutelage.data import Dataset, Loader
from tutelage.data.loader import resident
from tutelage.data.protocols import Incremental
from tutelage.engine.cohort import Lessons
from tutelage.engine.config import EngineConfig, RunConfig, StageConfig, StudentConfig
from tutelage.engine.evaluation import Judge
from tutelage.engine.footprint import Footprint
from tutelage.engine.handover import check_stages, judge_of, trains_alone
from tutelage.engine.hints import sampling_hint
from tutelage.engine.incremental import begin
from tutelage.engine.opening import open_teacher
from tutelage.engine.sampling import sampler_for
from tutelage.engine.shared import answers_of, share_classes
from tutelage.engine.sinks import check_sinks
from tutelage.engine.task import open_task
from tutelage.engine.teacher_config import TeacherConfig
from tutelage.engine.tutor import Tutor
from tutelage.errors import ConfigError, TeacherError
from tutelage.methods import Method, ensemble_of
from tutelage.models import ModelCard, Network, build_network
from tutelage.rundir import RunDir
from tutelage.teachers import SnapshotTeacher, Teacher
from tutelage.types import Batch, Shapes

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["Session", "open_fabric"]


def open_fabric(config: EngineConfig) -> "Fabric":
    """Launch the processes of a run.

    Raises:
        ConfigError: if the accelerator is unknown or absent.
    """
    import lightning_fabric

    try:
        fabric = lightning_fabric.Fabric(
            accelerator=config.accelerator,
            devices=config.devices,
            precision={"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}[_precision(config)],  # type: ignore[arg-type]
        )
    except (
        ImportError,
        ValueError,
        RuntimeError,
        lightning_fabric.utilities.exceptions.MisconfigurationException,
    ) as error:
        raise ConfigError(f"cannot compute on {config.accelerator!r} × {config.devices}: {error}") from error
    fabric.launch()
    return fabric


def _precision(config: EngineConfig) -> str:
    if config.precision != "auto":
        return config.precision
    if config.accelerator in ("cuda", "gpu", "auto") and torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "16"
    # On a CPU bf16 pays where it is native (2-3 times fp32 with AVX-512); elsewhere it is emulated and slow.
    return "bf16" if torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported() else "32"


class Session:
    """The parts of one run, put together and checked.

    Args:
        config: The run.
        fabric: Launched.

    Raises:
        TutelageError: whatever is wrong with data, networks, teacher or method, before any training.
    """

    def __init__(self, config: RunConfig, fabric: "Fabric") -> None:
        self.config, self.fabric = config, fabric
        check_sinks(config.engine.sinks)
        self.apart = config.engine.peers_on == "ranks"
        if self.apart and _precision(config.engine) == "16":
            raise ConfigError("each rank would scale its loss by itself: one network a rank needs bf16 or 32, not 16")
        self.task = open_task(config)
        self.data, self.division = self.task.data, self.task.division
        protocol = config.data.division
        self.judge = Judge(self.data, fabric, self.division)
        torch.manual_seed(config.seed)
        self.student = build_network(_card(config.student, self.data), pretrained=config.student.pretrained)
        shapes = self.student.shapes  # found by a dry run, so that a network that these images do not fit ends here
        if not any(weight.requires_grad for weight in self.student.parameters()):
            raise ConfigError(f"{config.student.model} has no weights that could be trained: unfreeze some")
        self.networks = [self.student, *self._build_peers(config)]
        self.views = self.data.views(seed=config.seed)
        self.teacher: Teacher | None = None
        self.tutor: Tutor | None = None
        if config.teacher is not None:
            self.tutor = self._open_tutor(config.teacher, one_answer=protocol.one_answer)
            self.teacher = self.tutor.source
            if isinstance(protocol, Incremental):
                begin(protocol, self.student, self.teacher)
        self.methods = [self._build_method(stage, shapes) for stage in config.stages]
        check_stages(config, self.methods, shapes)
        seen = self.data.train.labels[self.division.train]
        self.answers = [
            answers_of(method, seen, config=stage.method, student=self.data.labels)
            for stage, method in zip(config.stages, self.methods, strict=True)
        ]
        self.samplers = [sampler_for(config, self.data, self.division.train, method) for method in self.methods]
        self.roles = sorted({role for method in self.methods if method for role in method.needs.roles})
        embeds = any(judge_of(method) == "ncm" for method in self.methods)
        self.student_roles = sorted({*self.roles, *(["embedding"] if embeds else [])})
        for network in self.networks:
            network.listen(self.student_roles)
        if self.teacher is not None:
            self.teacher.listen(self.roles)
        if fabric.global_rank:  # the same weights on every rank, but not the same units dropped
            torch.manual_seed(config.seed + fabric.global_rank)
        self._images = resident(self.data.train, fabric.device)
        self.loader()  # refuses batches that the ranks cannot share

    @property
    def shares(self) -> int:
        """Among how many ranks a batch is divided."""
        return 1 if self.apart else self.fabric.world_size

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """Who learns and from whom, by their numbers among the networks."""
        return list(itertools.permutations(range(len(self.networks)), 2))

    def loader(self, stage: int = 0) -> Loader:
        """Batches of this rank's part of the training set, as a stage needs them."""
        return Loader(
            self._images,
            self.samplers[stage],
            self.views,
            device=self.fabric.device,
            workers=self.config.data.workers,
            rank=0 if self.apart else self.fabric.global_rank,
            num_ranks=self.shares,
        )

    def provide(self, run: RunDir) -> None:
        """From now on memory counts, and the teacher is asked through its cache and its budget, as the config wants it.

        Args:
            run: Keeps the ledger.

        Raises:
            TutelageError: if cache or ledger belong to another teacher, or the budget cannot suffice.
        """
        self.footprint = Footprint(self.fabric.device)
        if self.tutor is not None:
            size = self.config.data.batch_size
            self.teacher = self.tutor.provide(run, self._images, roles=self.roles, batch_size=size)

    @property
    def calls(self) -> int:
        """Samples that the teacher answered so far, over all ranks."""
        if self.tutor is None:
            return 0
        return self.tutor.calls * (1 if self.tutor.counts else self.fabric.world_size)

    def prepare(self, stage: int) -> None:
        """Let the method of a stage meet who it learns from: the teacher, its peers, or a copy of the student."""
        method = self.methods[stage]

        def batches() -> Iterator[Batch]:
            return self.judge.batches("train")

        def copy(network: Network) -> Teacher:
            still = SnapshotTeacher(network, autocast=self.fabric.autocast)
            still.listen(self.roles)
            return still

        if isinstance(method, Lessons):
            method.prepare([copy(network) for network in self.networks], batches)
        elif method is not None:
            taught = method.needs.teacher and self.teacher is not None
            method.prepare(self.teacher if taught and self.teacher else copy(self.student), batches)

    def choose(self, run: RunDir) -> None:
        """Make or read the plan of what the budget buys, where one is wanted."""
        if self.tutor is not None:
            self.tutor.choose(run, self.config.seed, embed=self._embed, fabric=self.fabric)

    def _embed(self, ids: Tensor) -> Tensor:
        """Features of the student as it is now; its logits where it has no embedding."""
        training = self.student.training
        role = "embedding" if "embedding" in self.student.shapes else "logits"
        self.student.listen([*self.student_roles, *({"embedding"} & {role})])
        self.student.eval()
        with torch.inference_mode():
            answers = [self.student(batch.images) for batch in self.judge.batches("train", ids)]
        self.student.listen(self.student_roles)
        self.student.train(training)
        parts = [answer.logits if role == "logits" else answer.taps[role] for answer in answers]
        return torch.cat(parts).flatten(1).float().cpu()

    def _build_peers(self, config: RunConfig) -> list[Network]:
        peers = []
        for number, peer in enumerate(config.peers, start=1):
            torch.manual_seed(config.seed + 10_007 * number)  # other weights than the student's, even of its model
            peers.append(build_network(_card(peer, self.data), pretrained=peer.pretrained))
        if peers:
            torch.manual_seed(config.seed)
        return peers

    def _open_tutor(self, config: TeacherConfig, *, one_answer: bool) -> Tutor:
        channels_last = self.config.engine.channels_last
        source = open_teacher(config, self.data, self.fabric, channels_last=channels_last, student=self.student)
        return Tutor(source, config, data=self.data, division=self.division, views=self.views, one_answer=one_answer)

    def _build_method(self, stage: StageConfig, shapes: Shapes) -> Method | Lessons | None:
        config = stage.method
        if config is None:
            return None
        if len(self.networks) > 1:
            every = [network.shapes for network in self.networks]
            ensemble = ensemble_of(config, every)
            if ensemble is None:
                pairs = {(i, j): config.build(every[i], every[j]) for i, j in self.pairs}
            else:
                pairs = {(i, len(every)): config.build(own, {"logits": own["logits"]}) for i, own in enumerate(every)}
            return Lessons(pairs, ensemble).to(self.fabric.device)
        if self.teacher is None or self.tutor is None:
            return config.build(shapes, shapes).to(self.fabric.device)
        method = config.build(shapes, self.teacher.shapes)
        if trains_alone(method):  # what it makes is kept for other students: their size must not move its first weights
            with torch.random.fork_rng():
                torch.manual_seed(self.config.seed)
                method = config.build(shapes, self.teacher.shapes)
        if self.tutor.config.shared_only:
            method = share_classes(method, self.data.labels, self.teacher.labels, device=self.fabric.device)
        self.data.labels.require(self.teacher.labels, method.needs.labels, who=config.name)
        if method.needs.group_size is not None and self.tutor.partial:
            raise ConfigError(
                f"{config.name} is given groups of {method.needs.group_size} samples, and some of these would have no "
                f"answer: send all training images, or form groups in the batch ({sampling_hint(config, method)})"
            )
        return method.to(self.fabric.device)

    def check_teacher(self) -> None:
        """Measure the teacher on the validation split, and refuse one that is no better than chance.

        A teacher whose calls cost is not asked.

        Better than chance is: above the share of the largest class by three standard errors.

        Raises:
            TeacherError: with both accuracies and what to do.
        """
        tutor = self.tutor
        if tutor is None or not tutor.free or self.data.labels.relation(tutor.source.labels) != "same":
            return  # asking it costs, or it has no accuracy on these classes
        score = self.judge.score_teacher(tutor.source, "validation")
        tutor.source.calls = 0  # calls counts what the student was taught with
        tutor.facts["accuracy"]["validation"] = score.accuracy
        labels = self.judge.labels("validation")
        chance = labels.bincount().max().item() / len(labels)
        bar = chance + 3 * math.sqrt(chance * (1 - chance) / len(labels))
        if score.accuracy <= bar and not tutor.config.allow_bad:
            raise TeacherError(
                f"the teacher classifies {score.accuracy:.1%} of the validation images rightly, and chance is "
                f"{chance:.1%}: check that its weights are the trained ones and its classes in the order of "
                f"{self.data.name}, or insist with --allow-bad-teacher"
            )


def _card(network: StudentConfig, data: Dataset) -> ModelCard:
    return ModelCard(
        model=network.model,
        classes=data.labels.names,
        image=(data.channels, data.size, data.size),
        mean=data.mean,
        std=data.std,
        taps=network.taps,
    )

"""CRD: the student's embedding of a sample is told from those of other samples by the teacher's, and the other way.

Paper: Tian, Krishnan, Isola. Contrastive Representation Distillation. ICLR 2020. arXiv 1910.10699
Code: the authors', HobbitLong/RepDistiller@b84f547
Reads: embedding
Labels: any
Trains: the student and a linear head for each network
Differs: negatives shared by the batch, fewer by those of a sample's class; no 1e-7; rows start at norm 1 (docs/log.md)
Results: benchmarks/cifar100/README.md
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from tutelage import losses
from tutelage.data.counter import uniform_bits, uniform_unit
from tutelage.errors import ConfigError
from tutelage.memory import Bank
from tutelage.methods.adapters.heads import embedding_head
from tutelage.methods.base import Method, Needs
from tutelage.methods.sum import Summable
from tutelage.ops.checks import check_non_negative, check_positive
from tutelage.teachers import Teacher
from tutelage.types import Batch, Outputs, Shapes, Term

__all__ = ["CRD", "CRDConfig"]

_SHARED, _OWN = range(2)
"""What is drawn: one is independent of the other."""


@dataclass(frozen=True, kw_only=True)
class CRDConfig(Summable):
    """Settings of CRD.

    Args:
        weight: Of each of the two terms.
        temperature: Of the cosines.
        features: Width of the common space.
        negatives: Drawn from the memory at each step, before those of the sample's own class are left out; all rows of
            the memory where it has no more.
        shared_negatives: Draw once for the whole batch, without replacement. Else for each sample, each row with the
            same chance, so that ``negatives`` is their mean: a product with the whole memory, five times slower.
        momentum: Of the rows of the memories.
        role: The features that are compared.
        task_weight: Of the cross-entropy.
    """

    name: ClassVar[str] = "crd"
    weight: float = 0.8
    temperature: float = 0.07
    features: int = 128
    negatives: int = 16384
    shared_negatives: bool = True
    momentum: float = 0.5
    role: str = "embedding"
    task_weight: float = 1.0

    def __post_init__(self) -> None:
        check_positive(temperature=self.temperature, features=self.features, negatives=self.negatives)
        check_non_negative(weight=self.weight, task_weight=self.task_weight)
        if not 0 <= self.momentum < 1:
            raise ConfigError(f"momentum must be at least 0 and below 1, got {self.momentum}")

    def build(self, student: Shapes, teacher: Shapes) -> "CRD":
        """Make the module; its heads fit the two features.

        Raises:
            UnknownNameError: if one of them has no such feature; names the nearest.
        """
        heads = [
            embedding_head(who, self.role, shapes, width=self.features)
            for who, shapes in (("student", student), ("teacher", teacher))
        ]
        return CRD(self, *heads)


class _Memory(NamedTuple):
    """What is remembered of the training set."""

    ids: Tensor  # (m,) the samples, ascending
    student: Bank  # their embeddings by the student …
    teacher: Bank  # … and by the teacher


class CRD(Method):
    """Contrastive representation distillation.

    The memories start as random directions, and each step moves the rows of its batch. Once a row had an epoch's time
    to be written and was not, since its sample has no answer of the teacher, it is no negative any more.

    All random numbers are functions of a seed, drawn when the method is made, and of the step: ranks agree on them, and
    a resumed run repeats them.

    Args:
        config: Its settings.
        student_head: Maps the student's feature to the common space.
        teacher_head: Maps the teacher's.
    """

    def __init__(self, config: CRDConfig, student_head: nn.Module, teacher_head: nn.Module) -> None:
        # Every rank must write the rows of the whole batch, and take the normalisers from it.
        super().__init__(Needs(roles=(config.role,), compares_samples=True))
        self.config = config
        self.student_head, self.teacher_head = student_head, teacher_head
        self._seed = int(torch.randint(2**62, ()))
        self._step, self._epoch = 0, 0.0
        self._began: float | None = None  # epoch of the first write
        self._memory: _Memory | None = None  # its size is known after preparation only
        self._normalisers: tuple[Tensor, Tensor] | None = None
        self._unwritten: list[tuple[Tensor, Tensor, Tensor]] = []  # ids, student, teacher; empty after a step

    @torch.no_grad()
    def prepare(self, teacher: Teacher, batches: Callable[[], Iterator[Batch]]) -> None:
        """Fill the memories with random rows of all samples; nobody is asked anything."""
        ids, labels = (torch.cat(parts) for parts in zip(*((b.ids, b.labels) for b in batches()), strict=True))
        ids, order = ids.sort()
        size = int(ids[-1]) + 1
        banks = self._bank(size).to(ids.device), self._bank(size).to(ids.device)
        generator = torch.Generator().manual_seed(self._seed)  # on the CPU: the same rows on every device
        for bank in banks:
            draws = torch.rand(len(ids), self.config.features, generator=generator)
            bank.update(ids, (2 * draws - 1).to(ids.device), labels=labels[order])
        self._memory = _Memory(ids, *banks)

    def _bank(self, size: int) -> Bank:
        return Bank(size, features=self.config.features, momentum=self.config.momentum)

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Term]:
        """Terms ``student``, told from the memory of the teacher, and ``teacher``, from that of the student."""
        cfg, memory = self.config, self._on(batch.ids.device)
        ours = self.student_head(student.taps[cfg.role])
        theirs = self.teacher_head(teacher.taps[cfg.role].detach())
        others = self._drawn(memory.ids)
        present = self._present(memory, others, batch)
        sides = [
            (anchors, bank.features[batch.ids], bank.features[others])
            for anchors, bank in ((ours, memory.teacher), (theirs, memory.student))
        ]
        if self._normalisers is None:  # by the first batch, for good
            first, second = (
                losses.crd_normaliser(*side, present=present, temperature=cfg.temperature) for side in sides
            )
            self._normalisers = first, second
        self._unwritten.append((batch.ids, ours.detach(), theirs.detach()))
        found = [
            losses.crd(*side, present=present, normaliser=level, temperature=cfg.temperature).mean()
            for side, level in zip(sides, self._normalisers, strict=True)
        ]
        return {"student": Term(found[0], cfg.weight), "teacher": Term(found[1], cfg.weight)}

    def _on(self, device: torch.device) -> _Memory:
        if self._memory is None:
            raise ConfigError("CRD has no memory yet: prepare it with the teacher and the training images first")
        if self._memory.ids.device != device:  # after a resume
            ids, student, teacher = self._memory
            self._memory = _Memory(ids.to(device), student.to(device), teacher.to(device))
            if self._normalisers is not None:
                self._normalisers = self._normalisers[0].to(device), self._normalisers[1].to(device)
        return self._memory

    def _drawn(self, ids: Tensor) -> Tensor:
        """The samples whose rows are the negatives of this step."""
        count = self.config.negatives
        if not self.config.shared_negatives or len(ids) <= count:
            return ids
        bits = uniform_bits(self._seed, _SHARED, self._step, ids)
        return ids[bits.topk(count).indices]

    def _present(self, memory: _Memory, others: Tensor, batch: Batch) -> Tensor:
        """Whose negative each is, ``(n, k)``: of the samples of other classes."""
        bank = memory.teacher
        present = bank.labels[others] != batch.labels.unsqueeze(1)
        if self._began is not None and self._epoch >= self._began + 1:
            present = present & (bank.written_at[others] > 0)
        share = self.config.negatives / len(memory.ids)
        if not self.config.shared_negatives and share < 1:
            bits = uniform_bits(self._seed, _OWN, self._step, batch.ids.unsqueeze(1), others)
            present = present & (uniform_unit(bits) < share)
        return present

    @torch.no_grad()
    def after_step(self, epoch: float) -> None:
        """Write the rows of the batches of the step; its negatives are drawn anew."""
        self._step, self._epoch = self._step + 1, epoch
        if self._memory is not None and self._unwritten:
            self._began = epoch if self._began is None else self._began
            for ids, ours, theirs in self._unwritten:
                self._memory.student.update(ids, ours, step=self._step)
                self._memory.teacher.update(ids, theirs, step=self._step)
        self._unwritten.clear()

    def get_extra_state(self) -> dict[str, Any]:
        """The memories, the normalisers, and how far it is."""
        memory = self._memory
        return {
            "seed": self._seed,
            "step": self._step,
            "epoch": self._epoch,
            "began": self._began,
            "normalisers": self._normalisers,
            "ids": None if memory is None else memory.ids,
            "student": None if memory is None else memory.student.get_extra_state(),
            "teacher": None if memory is None else memory.teacher.get_extra_state(),
        }

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore them."""
        self._seed, self._step, self._epoch = state["seed"], state["step"], state["epoch"]
        self._began, self._normalisers, self._memory = state["began"], state["normalisers"], None
        self._unwritten.clear()
        if state["ids"] is not None:
            banks = [self._bank(len(state[who]["labels"])) for who in ("student", "teacher")]
            for bank, who in zip(banks, ("student", "teacher"), strict=True):
                bank.set_extra_state(state[who])
            self._memory = _Memory(state["ids"], *banks)

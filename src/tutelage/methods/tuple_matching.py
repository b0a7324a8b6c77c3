"""Tuple matching: the student's semi-hard negatives, as near to an anchor as the teacher's embedding has them.

It is the first stage of REFILLED, see :mod:`tutelage.methods.refilled`, and there without the cross-entropy, so that
weight decay alone moves the classifier (in the authors' code nothing does: docs/log.md). On its own it stands beside
the cross-entropy, as RKD does.

Paper: Ye, Lu, Zhan. Generalized Knowledge Distillation via Relationship Matching. arXiv 2205.01915
Code: https://github.com/njulus/GKD@a37fc79 (Train.py, utils/triplet.py); triplets and masks: njulus/ReFilled@be649aa
Reads: embedding
Labels: any
Trains: the student
Differs: at most 32 negatives, spread evenly (GKD: the first); several images a class; stage 1 decays the classifier
Results: benchmarks/cifar100/README.md
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from tutelage.errors import ConfigError
from tutelage.losses.tuple_matching import matched_triplets, matched_tuples
from tutelage.methods.base import Method, Needs
from tutelage.methods.sum import Summable
from tutelage.ops.checks import check_non_negative, check_positive
from tutelage.types import Batch, Outputs, Shapes, Term

__all__ = ["TupleMatching", "TupleMatchingConfig"]

_WEIGHTS = {"tuple": 1000.0, "triplet": 500.0}


@dataclass(frozen=True, kw_only=True)
class TupleMatchingConfig(Summable):
    """Settings of tuple matching; the defaults are those of the authors' code.

    Args:
        form: Compare a positive with all of its negatives at once (TPAMI), or with one at a time (CVPR).
        weight: Of the divergence; by default 1000 for tuples and 500 for triplets.
        margin: How much farther than the positive a negative may be, in distances of unit embeddings.
        temperature: Of the distances.
        max_negatives: Most negatives of a tuple.
        fewest: Give every tuple as many negatives as the one with the fewest has.
        images_per_class: Least images of each class in a batch, where the run says nothing else; None: as they come.
        role: The features that are compared.
        task_weight: Of the cross-entropy; without it, the nearest class mean judges the student.
    """

    name: ClassVar[str] = "tuple_matching"
    form: Literal["tuple", "triplet"] = "tuple"
    weight: float | None = None
    margin: float = 0.2
    temperature: float = 4.0
    max_negatives: int = 32
    fewest: bool = False
    images_per_class: int | None = 2
    role: str = "embedding"
    task_weight: float = 1.0

    def __post_init__(self) -> None:
        check_positive(margin=self.margin, temperature=self.temperature, max_negatives=self.max_negatives)
        check_non_negative(weight=self.strength, task_weight=self.task_weight)
        if self.images_per_class is not None:
            check_positive(images_per_class=self.images_per_class)

    @property
    def strength(self) -> float:
        """The weight of the divergence.

        Raises:
            ConfigError: if the form is unknown.
        """
        if self.form not in _WEIGHTS:
            raise ConfigError(f"form must be one of {', '.join(_WEIGHTS)}, got {self.form!r}")
        return _WEIGHTS[self.form] if self.weight is None else self.weight

    def build(self, student: Shapes, teacher: Shapes) -> "TupleMatching":
        """Make the module."""
        return TupleMatching(self)


class TupleMatching(Method):
    """Relationship matching in the embedding.

    Args:
        config: Its settings.
    """

    def __init__(self, config: TupleMatchingConfig) -> None:
        super().__init__(
            Needs(
                roles=(config.role,),
                compares_samples=True,
                images_per_class=config.images_per_class,
                judge="accuracy" if config.task_weight else "ncm",
            )
        )
        self.config = config

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Term]:
        """One term, ``tuples`` or ``triplets``, and how many of them the batch has, shown as ``num_tuples`` or such."""
        cfg = self.config
        ours, theirs = student.taps[cfg.role].flatten(1), teacher.taps[cfg.role].flatten(1)
        if cfg.form == "triplet":  # waits for an accelerator once a batch: their number is unbounded short of n³
            found = matched_triplets(ours, theirs, batch.labels, margin=cfg.margin, temperature=cfg.temperature)
        else:
            found = matched_tuples(
                ours,
                theirs,
                batch.labels,
                margin=cfg.margin,
                temperature=cfg.temperature,
                max_negatives=cfg.max_negatives,
                fewest=cfg.fewest,
            )
        return {
            f"{cfg.form}s": Term(found.mean(), cfg.strength),
            f"num_{cfg.form}s": Term(found.present.sum().float(), 0.0),
        }

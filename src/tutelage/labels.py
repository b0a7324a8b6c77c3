"""Label spaces: which classes a network or a data set speaks of, and how two of them relate."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from tutelage.errors import LabelSpaceError

__all__ = ["LabelSpace", "Relation"]

Relation = Literal["same", "overlap", "disjoint"]

_WANTED = {
    "same": "the student's classes",
    "overlap": "some of the student's classes",
    "disjoint": "other classes",
}


@dataclass(frozen=True)
class LabelSpace:
    """The ordered class names of a network or a data set.

    Args:
        names: One name a class, in the order of the logits; at least two, no name twice.

    Raises:
        LabelSpaceError: if there are fewer than two names or a name occurs twice.

    Example:
        >>> teacher, student = LabelSpace(("cat", "dog", "cow")), LabelSpace(("dog", "cat"))
        >>> teacher.relation(student), teacher.relation(LabelSpace(("fox", "owl")))
        ('overlap', 'disjoint')
        >>> student.index_in(teacher)
        (1, 0)
    """

    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.names) < 2:
            raise LabelSpaceError(
                f"a label space needs at least two classes, got {len(self.names)}: {list(self.names)}"
            )
        if len(set(self.names)) < len(self.names):
            twice = sorted(name for name in set(self.names) if self.names.count(name) > 1)
            raise LabelSpaceError(f"class names must be distinct; these occur more than once: {twice[:5]}")

    @classmethod
    def numbered(cls, count: int) -> "LabelSpace":
        """The classes ``"0"``, ``"1"``, …: for networks whose class names are not known."""
        return cls(tuple(map(str, range(count))))

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def _positions(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(self.names)}

    def index_in(self, other: "LabelSpace") -> tuple[int, ...]:
        """For each class of this space its number in ``other``, or −1 where ``other`` lacks it."""
        return tuple(other._positions.get(name, -1) for name in self.names)

    def shared_with(self, other: "LabelSpace") -> tuple[str, ...]:
        """The names that both spaces have, in the order of this one."""
        return tuple(name for name in self.names if name in other._positions)

    def relation(self, other: "LabelSpace") -> Relation:
        """``"same"`` (equal names in equal order), ``"overlap"`` or ``"disjoint"``.

        The same names in another order are an overlap: logits may not be compared column by column.
        """
        if self.names == other.names:
            return "same"
        return "overlap" if self.shared_with(other) else "disjoint"

    def require(self, other: "LabelSpace", allowed: Sequence[Relation], *, who: str) -> None:
        """Refuse ``other`` unless its relation to this space is allowed.

        Raises:
            LabelSpaceError: with both counts, the shared names and what to do.
        """
        relation = self.relation(other)
        if relation in allowed:
            return
        shared = self.shared_with(other)
        order = " (in another order)" if len(shared) == len(self) == len(other) else ""
        raise LabelSpaceError(
            f"{who} needs a teacher of {' or '.join(_WANTED[relation] for relation in allowed)}, "
            f"but the teacher has {len(other)} classes, the student {len(self)}, "
            f"and they share {len(shared)}{order}: use a teacher of the same classes, or a method that reads "
            f"features only (`tutelage list methods` says which)"
        )

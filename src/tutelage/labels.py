"""Label spaces: which classes a network or a data set speaks of, and how two of them relate."""

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from tutelage.errors import LabelSpaceError

__all__ = ["LabelSpace", "Relation", "listed"]

Relation = Literal["same", "overlap", "disjoint"]

_WANTED = {
    "same": "the student's classes",
    "overlap": "some of the student's classes",
    "disjoint": "other classes",
}

_MOST_COMPARED = 250_000
"""Pairs of names that are compared letter by letter: one takes 5 µs, so that 1.2 s is the longest."""


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

    def near_misses(self, other: "LabelSpace") -> tuple[tuple[str, str], ...]:
        """Pairs of a name that ``other`` lacks and the name there that it may mean.

        First those that differ by case, spaces, hyphens or underscores only; of few names, also the nearest by letters.

        Example:
            >>> LabelSpace(("pickup_truck", "fox")).near_misses(LabelSpace(("Pickup Truck", "dog")))
            (('pickup_truck', 'Pickup Truck'),)
        """
        mine = [name for name in self.names if name not in other._positions]
        free = [name for name in other.names if name not in self._positions]
        spelled = {_plain(name): name for name in free}
        pairs = {name: spelled[_plain(name)] for name in mine if _plain(name) in spelled}
        rest = [name for name in mine if name not in pairs]
        if len(rest) * len(free) <= _MOST_COMPARED:
            for name in rest:
                if near := difflib.get_close_matches(_plain(name), list(spelled), n=1, cutoff=0.85):
                    pairs[name] = spelled[near[0]]
        return tuple(pairs.items())

    def renamed(self, names: Sequence[str] | Mapping[str, str], *, who: str) -> "LabelSpace":
        """The same classes under other names, as a class list or a class map has them.

        Args:
            names: All names in the order of the logits, or new names by old ones; others then keep theirs.
            who: Whose classes they are.

        Raises:
            LabelSpaceError: if a list has another length, a map has a name that there is not, or a name occurs twice.

        Example:
            >>> LabelSpace.numbered(3).renamed({"0": "cat"}, who="the teacher").names
            ('cat', '1', '2')
        """
        if isinstance(names, Mapping):
            unknown = [name for name in names if name not in self._positions]
            if unknown:
                raise LabelSpaceError(
                    f"the class map names {len(unknown)} classes that {who} lacks: {listed(unknown)}; its classes are "
                    f"{listed(self.names)}: write one of those on the left"
                )
            return LabelSpace(tuple(names.get(name, name) for name in self.names))
        if len(names) != len(self):
            raise LabelSpaceError(
                f"the class list has {len(names)} names ({listed(names)}), and {who} has {len(self)} classes: give "
                f"one name a class, in the order of the logits"
            )
        return LabelSpace(tuple(names))

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
        order = " in another order" if len(shared) == len(self) == len(other) else ""
        some = f" ({listed(shared)}{order})" if shared else ""
        near = [f"{mine!r} is {theirs!r} there" for mine, theirs in self.near_misses(other)[:3]]
        spelling = f"; {', '.join(near)}, perhaps: say so in a class map (--teacher.classes FILE)" if near else ""
        columns = ", let it compare the shared classes only (--shared-only)" if len(shared) > 1 else ""
        raise LabelSpaceError(
            f"{who} needs a teacher of {' or '.join(_WANTED[relation] for relation in allowed)}, "
            f"but the teacher has {len(other)} classes, the student {len(self)}, "
            f"and they share {len(shared)}{some}{spelling}: use a teacher of the same classes{columns}, or a method "
            f"that reads features only (`tutelage list methods` says which)"
        )


def _plain(name: str) -> str:
    """What is left of a name without case, spaces, hyphens and underscores."""
    return re.sub(r"[\s_-]+", "", name).casefold()


def listed(names: Sequence[str], most: int = 5) -> str:
    """The first few names, for messages.

    Example:
        >>> listed(["fox", "owl", "cat"], most=2)
        "'fox', 'owl', …"
    """
    return ", ".join(map(repr, names[:most])) + (", …" if len(names) > most else "")

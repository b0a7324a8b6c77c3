"""Every error that tutelage raises on purpose, in one family.

A message is one sentence or two: what was wanted, what came, what to do.

::

    TutelageError
    ├── InputError (ValueError)         what you gave cannot be used
    │   ├── ShapeError                  a tensor has another shape, type or size than the formula needs
    │   ├── ConfigError                 a setting is out of range, or two settings contradict each other
    │   ├── UnknownNameError            no model, method, data set or tap has this name
    │   ├── LabelSpaceError             teacher, student and data do not have the classes the method needs
    │   └── DataError                   images, folders or caches are missing, unreadable or damaged
    ├── TeacherError                    the teacher cannot teach (no better than chance, weights missing)
    ├── BudgetError                     the teacher may not be asked any more
    ├── RunError (RuntimeError)         a run directory exists, is missing, or belongs to another run
    │   └── DivergedError               a loss or an accuracy is no longer a finite number
    ├── Interrupted (RuntimeError)      stopped by Ctrl-C or SIGTERM; the state is saved
    └── MissingExtraError (ImportError) an optional dependency is absent or broken
"""

import difflib
from collections.abc import Iterable

__all__ = [
    "BudgetError",
    "ConfigError",
    "DataError",
    "DivergedError",
    "InputError",
    "Interrupted",
    "LabelSpaceError",
    "MissingExtraError",
    "RunError",
    "ShapeError",
    "TeacherError",
    "TutelageError",
    "UnknownNameError",
]


class TutelageError(Exception):
    """The base of all errors of tutelage: catch this one to catch them all."""


class InputError(TutelageError, ValueError):
    """What was given cannot be used."""


class ShapeError(InputError):
    """A tensor has another shape, type or size than the formula needs."""


class ConfigError(InputError):
    """A setting is out of range, or two settings contradict each other."""


class UnknownNameError(InputError):
    """No model, method, data set or tap has this name.

    Args:
        kind: What was looked for, such as ``"method"``.
        name: The name that was given.
        known: The names that exist.
        hint: A closing sentence that says where to see them all.

    Example:
        >>> print(UnknownNameError("method", "kdd", ["dkd", "fitnet", "kd"]))
        unknown method 'kdd'; the nearest of 3: kd, dkd, fitnet
    """

    def __init__(self, kind: str, name: str, known: Iterable[str], hint: str = "") -> None:
        names = sorted(known)
        nearest = difflib.get_close_matches(name, names, n=5, cutoff=0.0)
        listed = f"the nearest of {len(names)}: {', '.join(nearest)}" if names else "none is known"
        super().__init__(f"unknown {kind} {name!r}; {listed}" + (f". {hint}" if hint else ""))


class LabelSpaceError(InputError):
    """Teacher, student and data do not have the classes that the method needs."""


class DataError(InputError):
    """Images, folders or caches are missing, unreadable or damaged."""


class TeacherError(TutelageError):
    """The teacher cannot teach: it is no better than chance, or its weights are missing."""


class BudgetError(TutelageError):
    """The budget of teacher calls is spent; nothing beyond it was sent."""


class RunError(TutelageError, RuntimeError):
    """A run directory exists, is missing, or belongs to another run."""


class DivergedError(RunError):
    """The loss or a measurement of a run is no longer finite; its last checkpoint is kept."""


class Interrupted(TutelageError, RuntimeError):  # noqa: N818 (it is not an error)
    """The run was stopped by Ctrl-C or SIGTERM; its state is saved and it can be resumed."""


class MissingExtraError(TutelageError, ImportError):
    """An optional dependency is absent or broken; the message holds the install command.

    Args:
        extra: The name of the extra of the package, such as ``"timm"``.
        why: What the import said.
    """

    def __init__(self, extra: str, why: object) -> None:
        super().__init__(
            f"this needs the extra {extra!r}: pip install 'tutelage[{extra}]' ({type(why).__name__}: {why})"
            if isinstance(why, BaseException)
            else f"this needs the extra {extra!r}: pip install 'tutelage[{extra}]' ({why})"
        )

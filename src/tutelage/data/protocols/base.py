"""What every protocol is: a frozen config that divides the training images of a data set.

Letters: m training images, t trained on, v held out, a that may be sent to the teacher.
"""

from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

from jaxtyping import Int64
from torch import Tensor

from tutelage.errors import ConfigError, DataError
from tutelage.labels import LabelSpace

__all__ = ["ClassProtocol", "Classes", "Division", "ProtocolConfig", "check_share", "divided"]


@dataclass(frozen=True, eq=False)
class Division:
    """Rows of the training split by their use, int64 and each in ascending order.

    Args:
        train: ``(t,)`` those that are trained on.
        validation: ``(v,)`` those held out to choose the best epoch; none of them is in ``train``.
        answered: ``(a,)`` those of ``train`` that may be sent to the teacher.

    Example:
        >>> import torch
        >>> Division(train=torch.arange(8), validation=torch.arange(8, 10), answered=torch.arange(8)).validation
        tensor([8, 9])
    """

    train: Int64[Tensor, " t"]
    validation: Int64[Tensor, " v"]
    answered: Int64[Tensor, " a"]


@runtime_checkable
class ProtocolConfig(Protocol):
    """A frozen, keyword-only dataclass: the settings of a protocol.

    Attributes:
        name: What the protocol is called in :data:`tutelage.data.protocols.PROTOCOLS`.
        one_answer: Whether an image may be sent to the teacher once only, in one view.
    """

    name: ClassVar[str]
    one_answer: ClassVar[bool]

    def divide(self, labels: Int64[Tensor, " m"], *, seed: int) -> Division:
        """Divide the training images.

        Args:
            labels: ``(m,)`` class of every training image.
            seed: That of the run.

        Returns:
            The rows by their use: a pure function of settings, labels and seed.

        Raises:
            ConfigError: if the data are too few for the settings.
        """
        ...


@dataclass(frozen=True)
class Classes:
    """The classes that a student is to tell apart.

    Args:
        labels: All of them, in the order of its logits.
        num_old: The first so many have no training images; they are judged all the same.
        first: Number of the first class that the cross-entropy compares.

    Example:
        >>> Classes(LabelSpace(("fox", "owl", "cat")), num_old=1).num_old
        1
    """

    labels: LabelSpace
    num_old: int = 0
    first: int = 0


@runtime_checkable
class ClassProtocol(ProtocolConfig, Protocol):
    """A protocol in which the classes of the student depend on those of its teacher."""

    def classes(self, data: LabelSpace, teacher: LabelSpace | None) -> Classes:
        """The classes of the student.

        Args:
            data: Those of the data set.
            teacher: Those of the teacher; None where there is no teacher.

        Raises:
            LabelSpaceError: if data and teacher do not have the classes that the protocol needs.
            ConfigError: if it needs a teacher and there is none.
        """
        ...


def divided(protocol: ProtocolConfig, labels: Int64[Tensor, " m"], *, seed: int, num_old: int = 0) -> Division:
    """The training images by their use, where some of them are of classes that do not take part.

    Args:
        protocol: How those that do are divided.
        labels: ``(m,)`` class of every training image; −1 for one that does not take part.
        seed: That of the run.
        num_old: The classes below this number have no training images either.

    Returns:
        The rows among all training images.

    Raises:
        DataError: if no image is left.
        ConfigError: if the images are too few for the settings of the protocol.

    Example:
        >>> import torch
        >>> from tutelage.data.protocols import Standard
        >>> divided(Standard(validation=0.25), torch.arange(16) % 4 - 2, seed=0).train
        tensor([ 2,  3,  6,  7, 14, 15])
    """
    rows = (labels >= num_old).nonzero().flatten()
    if len(rows) == 0:
        raise DataError(f"none of the {len(labels)} training images is of a class to be learnt: name other classes")
    part = protocol.divide(labels[rows], seed=seed)
    return Division(train=rows[part.train], validation=rows[part.validation], answered=rows[part.answered])


def check_share(validation: float) -> None:
    """Refuse a share to hold out that is not between 0 and 1.

    Args:
        validation: what was given.

    Raises:
        ConfigError: if it is not above 0 and below 1.

    Example:
        >>> check_share(0.2)
    """
    if not 0 < validation < 1:
        raise ConfigError(f"validation is a share between 0 and 1, got {validation}")

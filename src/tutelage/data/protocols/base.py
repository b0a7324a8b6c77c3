"""What every protocol is: a frozen config that divides the training images of a data set.

Letters: m training images, t trained on, v held out, a that may be sent to the teacher.
"""

from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

from jaxtyping import Int64
from torch import Tensor

from tutelage.errors import ConfigError

__all__ = ["Division", "ProtocolConfig", "check_share"]


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

"""Teachers that are asked about other views than the student sees, or about some samples only."""

from collections.abc import Iterable

import torch
from jaxtyping import Int64
from torch import Tensor

from tutelage.data import ImageStore, Views
from tutelage.data.loader import rendered
from tutelage.errors import ConfigError
from tutelage.labels import LabelSpace
from tutelage.teachers.protocol import Teacher
from tutelage.teachers.rows import pick, silence, spread
from tutelage.types import Batch, Outputs, Shapes

__all__ = ["ChosenTeacher", "FixedViewTeacher", "fixed_views"]


class _Around:
    """What a wrapper hands through.

    Args:
        inner: The teacher it stands around.
    """

    def __init__(self, inner: Teacher) -> None:
        self.labels: LabelSpace = inner.labels
        self.fingerprint: str = inner.fingerprint
        self.partial: bool = getattr(inner, "partial", False)
        self._inner = inner

    @property
    def calls(self) -> int:
        """Number of samples that were answered."""
        return self._inner.calls

    @calls.setter
    def calls(self, number: int) -> None:
        self._inner.calls = number

    @property
    def shapes(self) -> Shapes:
        """Shape of each output by role, without the batch dimension."""
        return self._inner.shapes

    def listen(self, roles: Iterable[str]) -> None:
        """Answer with these features from now on."""
        self._inner.listen(roles)

    def compile(self) -> None:
        """Compile what stands behind it."""
        self._inner.compile()


class FixedViewTeacher(_Around):
    """Shows the teacher one view of an image for the whole run, whatever view the student sees.

    With a cache inside, an image costs one call however long the run is; the student's augmentation goes on against
    the same answer (as in CKD's protocol).

    Args:
        inner: The teacher, or a cached one.
        images: The training images, where the batches are.
        views: The family of views; its seed chooses the random one.
        plain: Show the image as it is, not a random view.

    Example:
        >>> from tutelage.data import CropFlip
        >>> from tutelage.models import ModelCard, build_network
        >>> from tutelage.teachers import LiveTeacher
        >>> card = ModelCard(model="zoo:resnet8", classes=("a", "b"), image=(3, 8, 8),
        ...                  mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
        >>> store = ImageStore(torch.arange(192, dtype=torch.uint8).view(1, 8, 8, 3), torch.tensor([0]), "one")
        >>> teacher = FixedViewTeacher(LiveTeacher(build_network(card)), store, CropFlip(1, seed=0))
        >>> def shown(view):
        ...     one = torch.tensor([0])
        ...     return Batch(CropFlip(1).render(store.images, one, one + view), one, one, one + view)
        >>> torch.equal(teacher(shown(3)).logits, teacher(shown(7)).logits)
        True
    """

    def __init__(self, inner: Teacher, images: ImageStore, views: Views, *, plain: bool = False) -> None:
        super().__init__(inner)
        self._images, self._views, self._plain = images, views, plain

    def __call__(self, batch: Batch) -> Outputs:
        """Answer for the fixed views of the batch's images."""
        numbers = fixed_views(self._views, batch.ids, plain=self._plain)
        return self._inner(rendered(self._images, self._views, batch.ids, numbers, device=batch.images.device))


def fixed_views(views: Views, ids: Int64[Tensor, " n"], *, plain: bool) -> Int64[Tensor, " n"]:
    """The view of each image that a :class:`FixedViewTeacher` shows.

    Args:
        views: The family of views; its seed chooses the random one.
        ids: Rows of the images.
        plain: Whether it is the image as it is.

    Example:
        >>> from tutelage.data import CropFlip
        >>> fixed_views(CropFlip(4), torch.tensor([3, 9]), plain=True)
        tensor([80, 80])
    """
    return torch.full_like(ids, views.plain) if plain else views.draw(ids, epoch=0)


class ChosenTeacher(_Around):
    """Is asked about the chosen samples only; ``known`` is False for all others.

    Args:
        inner: The teacher.
        num_samples: Size of the training set.

    Example:
        >>> from tutelage.models import ModelCard, build_network
        >>> from tutelage.teachers import LiveTeacher
        >>> card = ModelCard(model="zoo:resnet8", classes=("a", "b"), image=(3, 32, 32),
        ...                  mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
        >>> teacher = ChosenTeacher(LiveTeacher(build_network(card)), 9)
        >>> teacher.choose(torch.tensor([4]))
        >>> ids = torch.tensor([3, 4])
        >>> teacher(Batch(torch.zeros(2, 3, 32, 32, dtype=torch.uint8), ids, ids, ids)).known
        tensor([False,  True])
    """

    def __init__(self, inner: Teacher, num_samples: int) -> None:
        super().__init__(inner)
        self.partial = True
        self._num_samples = num_samples
        self._chosen: Tensor | None = None
        self._roles = [role for role in inner.shapes if role != "logits"]

    def choose(self, ids: Int64[Tensor, " m"]) -> None:
        """Say which samples: rows of the training set."""
        self._chosen = torch.zeros(self._num_samples, dtype=torch.bool).index_fill_(0, ids.cpu(), True)

    def listen(self, roles: Iterable[str]) -> None:
        """Answer with these features from now on."""
        self._roles = list(roles)
        self._inner.listen(self._roles)

    def __call__(self, batch: Batch) -> Outputs:
        """Answer for those of the batch that were chosen.

        Raises:
            ConfigError: if none was chosen yet.
        """
        if self._chosen is None:
            raise ConfigError("no samples were chosen for the teacher yet: call choose first")
        self._chosen = self._chosen.to(batch.ids.device)
        chosen = self._chosen[batch.ids]
        index = chosen.nonzero()[:, 0]  # the one wait for the accelerator
        if not len(index):
            return silence(batch, self._inner.shapes, self._roles)
        answer, place = self._inner(pick(batch, index)), torch.cumsum(chosen, 0) - 1
        known = chosen if answer.known is None else chosen.index_put((index,), answer.known)
        return spread(answer, place.clamp_min(0), known)

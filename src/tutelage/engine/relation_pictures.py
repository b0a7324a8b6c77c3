"""A few samples with their in-context samples: what is near them in features, as small pictures.

Letters: n samples, d features, q chosen samples, c channels, h height, w width.
"""

import base64
import io
from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from tutelage.memory import Neighbours, Rows, neighbours
from tutelage.types import Batch

__all__ = ["chosen_samples", "in_context", "png_uri"]

POSITIVES, NEGATIVES = 4, 4
LARGEST = 64
"""Pixels: a photograph of 224 × 224 would take 100 kB, and a page shows some fifty a run."""


def chosen_samples(right: Bool[Tensor, " n"], count: int = 6) -> Int64[Tensor, " q"]:
    """Rows of some samples, half of them wrong ones where there are so many: the first ones in one random order.

    The order is that of seed 0, so that two runs show the same samples where they are right and wrong alike.

    Args:
        right: Whether the student named the class.
        count: How many.

    Returns:
        The wrong ones first; fewer than ``count`` where there are fewer samples.

    Example:
        >>> right = torch.tensor([True, False, True, True, False, True])
        >>> right[chosen_samples(right, 4)]
        tensor([False, False,  True,  True])
    """
    order = torch.randperm(len(right), generator=torch.Generator().manual_seed(0))
    wrong, rightly = order[~right[order]], order[right[order]]
    num_right = min(len(rightly), max(count // 2, count - len(wrong)))
    return torch.cat([wrong[: count - num_right], rightly[:num_right]])


def in_context(
    teacher: Float[Tensor, "n dt"],
    student: Float[Tensor, "n ds"] | None,
    labels: Int64[Tensor, " n"],
    chosen: Int64[Tensor, " q"],
    show: Callable[[Tensor], Batch],
    names: Sequence[str],
) -> list[dict[str, Any]]:
    """The nearest samples of the same class and of other classes, with similarities and pictures.

    Args:
        teacher: Features that decide what is near.
        student: Other features, whose similarities are told beside; ``None`` for none.
        labels: Class of each sample.
        chosen: Rows of the samples to show.
        show: Un-augmented batch of some rows.
        names: Of the classes.

    Returns:
        For each sample its id, label and picture, and the lists ``positives`` and ``negatives`` of the same and of
        the similarities, nearest first; short where a class is small.
    """
    rows = Rows.of(teacher, labels)
    others = Rows.of(student, labels) if student is not None else None
    found = neighbours(rows, k_same=POSITIVES, k_other=NEGATIVES, queries=rows.pick(chosen))
    pictured = _pictures(chosen, found, show)

    def shown(row: int) -> dict[str, Any]:
        return {"id": pictured[row][0], "label": names[int(labels[row])], "image": pictured[row][1]}

    def near(row: int, ids: Tensor) -> list[dict[str, Any]]:
        return [
            shown(other) | {"similarity": _cosine(rows, row, other), "student_similarity": _cosine(others, row, other)}
            for other in ids.tolist()
            if other >= 0
        ]

    return [
        shown(row) | {"positives": near(row, same), "negatives": near(row, other)}
        for row, same, other in zip(chosen.tolist(), found.same, found.other, strict=True)
    ]


def _pictures(chosen: Tensor, found: Neighbours, show: Callable[[Tensor], Batch]) -> dict[int, tuple[int, str]]:
    """Id and picture of every row that is shown."""
    every = torch.cat([chosen, found.same.flatten(), found.other.flatten()])
    rows = torch.unique(every[every >= 0])
    batch = show(rows)
    return {
        row: (int(name), png_uri(image))
        for row, name, image in zip(rows.tolist(), batch.ids.tolist(), batch.images.cpu(), strict=True)
    }


def _cosine(rows: Rows | None, one: int, other: int) -> float | None:
    return None if rows is None else round(float(rows.features[one] @ rows.features[other]), 4)


def png_uri(image: UInt8[Tensor, "c h w"]) -> str:
    """A picture as a data URI, with its longer side at most 64 pixels.

    Args:
        image: Grey or colour; of other numbers of channels the first is shown.

    Example:
        >>> png_uri(torch.zeros(1, 2, 2, dtype=torch.uint8))[:27]
        'data:image/png;base64,iVBOR'
    """
    from PIL import Image

    pixels = image.permute(1, 2, 0).contiguous().numpy() if len(image) == 3 else image[0].contiguous().numpy()
    picture = Image.fromarray(pixels)
    picture.thumbnail((LARGEST, LARGEST))  # keeps the shape, and leaves small pictures as they are
    file = io.BytesIO()
    picture.save(file, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")

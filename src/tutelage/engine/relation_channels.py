"""Channels of a feature: the share that is active, and pictures of where they answer.

All of it waits for the accelerator: it is done once, of a finished run, when nothing trains.

Letters: n samples, q shown samples, c channels, h height, w width.
"""

from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from tutelage.engine.relation_pictures import png_uri
from tutelage.methods import MethodConfig
from tutelage.methods.adapters.halves import Halved, Split, halves_of
from tutelage.methods.adapters.places import channels_first
from tutelage.methods.adapters.stages import last_feature
from tutelage.ops.precision import upcast
from tutelage.types import Shapes

__all__ = ["ACTIVE", "Place", "active_channels", "channel_facts", "heat_maps", "place_of", "shares"]

ACTIVE = 0.1
"""Of the largest channel: a channel with less than a tenth of its peak says little beside it."""


class Place(NamedTuple):
    """Where channels are looked at.

    Attributes:
        role: The feature; None where the student has none.
        split: The halves of the student's channels, where its method split them and it is known how.
    """

    role: str | None
    split: Split | None


def place_of(method: MethodConfig | None, student: Shapes, partner: Shapes | None) -> Place:
    """The feature that the method of a run split; else the last stage that both networks have, or the embedding.

    Args:
        method: Of the run; None for labels alone.
        student: Shapes of the student's outputs.
        partner: Those of whom it learnt from, which the choice depends on; None where nobody may ask.

    Example:
        >>> shapes = {"logits": (10,), "stage1": (4, 8, 8), "stage2": (6, 4, 4)}
        >>> place_of(None, shapes, None)
        Place(role='stage2', split=None)
    """
    for part in getattr(method, "parts", (method,)):
        if isinstance(part, Halved) and (part.role is not None or partner is not None):
            return Place(*halves_of(part, student, partner or student))
    role = last_feature(student, partner or student)
    return Place(role if role in student else None, None)


def active_channels(feature: Float[Tensor, "n ..."]) -> Bool[Tensor, "n c"]:
    r"""Which channels are active on which sample: those whose peak is above a tenth of the largest peak of the sample.

    .. math:: a_{ic} = [\, p_{ic} > 0.1 \max_{c'} p_{ic'} \,], \qquad p_{ic} = \max_{hw} |F_{ic}(h, w)|

    Behind a ReLU, where the taps of the zoo are, the size of a value is the value. A sample whose channels are all
    zero has none that is active.

    Args:
        feature: A map ``(n, c, h, w)``, tokens ``(n, t, c)`` or a vector ``(n, c)``.

    Example:
        >>> active_channels(torch.tensor([[2.0, 0.3, 0.1, 0.0], [0.0, 0.0, 0.0, 0.0]]))
        tensor([[ True,  True, False, False],
                [False, False, False, False]])
    """
    peaks = upcast(channels_first(feature)).abs().flatten(2).amax(2)
    return peaks > ACTIVE * peaks.amax(1, keepdim=True)


def shares(active: Bool[Tensor, "n c"], split: Split | None) -> dict[str, float | None]:
    """The mean share of active channels: of ``all``, and of each half, None where there is no such half.

    Args:
        active: What :func:`active_channels` finds.
        split: The halves; None where there are none.

    Example:
        >>> shares(torch.tensor([[True, True, True, False]]), Split(4, ratio=0.5, order="natural"))
        {'all': 0.75, 'inheritance': 1.0, 'exploration': 0.5}
    """
    parts = {"all": active, **_halves(active, split)}
    return {name: part.double().mean().item() if part.shape[1] else None for name, part in parts.items()}


def heat_maps(feature: Float[Tensor, "q c h w"], split: Split | None, name: str) -> list[list[dict[str, str]]]:
    """Pictures of where a feature answers, a few for each sample: the mean of its squared channels at each place.

    Each is bright where its own largest value is: it tells where channels answer, not how strongly.

    Args:
        feature: Maps.
        split: Gives a picture of each half; None: one of the whole.
        name: Of the whole.

    Returns:
        For each sample a list of ``{"of": name, "image": data URI}``; a half without channels has none.

    Example:
        >>> ((only,),) = heat_maps(torch.ones(1, 3, 2, 2), None, "teacher")
        >>> only["of"], only["image"][:22]
        ('teacher', 'data:image/png;base64,')
    """
    parts = _halves(feature, split) if split is not None else {name: feature}
    heats = {of: upcast(part).square().mean(1) for of, part in parts.items() if part.shape[1]}
    return [
        [{"of": of, "image": png_uri(_coloured(heat[i]))} for of, heat in heats.items()] for i in range(len(feature))
    ]


def channel_facts(place: Place, *, student: Tensor | None, teacher: Tensor | None) -> dict[str, Any] | None:
    """What ``relations.json`` says of the channels.

    Args:
        place: Where they are.
        student: Those of the student that are active; None where it has no such feature.
        teacher: Those of the teacher.

    Example:
        >>> channel_facts(Place("stage2", None), student=torch.tensor([[True, False]]), teacher=None)
        {'role': 'stage2', 'above': 0.1, 'student': {'all': 0.5}, 'teacher': None}
    """
    if student is None:
        return None
    of_teacher = shares(teacher, None)["all"] if teacher is not None else None
    return {"role": place.role, "above": ACTIVE, "student": shares(student, place.split), "teacher": of_teacher}


def _halves(value: Tensor, split: Split | None) -> dict[str, Tensor]:
    if split is None:
        return {}
    return dict(zip(("inheritance", "exploration"), split(value), strict=True))


def _coloured(heat: Float[Tensor, "h w"]) -> Tensor:
    """From black over red and yellow to white."""
    share = (heat / heat.amax().clamp(min=torch.finfo(heat.dtype).tiny)).cpu()
    bands = torch.stack([(3 * share - i).clamp(0, 1) for i in range(3)])
    return (255 * bands).round().to(torch.uint8)

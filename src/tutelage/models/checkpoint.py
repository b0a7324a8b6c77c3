"""Networks on disk: weights as safetensors, beside them a JSON card that says what they are.

``student.safetensors`` holds the bare model's weights under its own names, so any PyTorch program can load
them; ``student.json`` holds the :class:`~tutelage.models.network.ModelCard`.
"""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tutelage.errors import ConfigError, DataError
from tutelage.models.network import ModelCard, Network
from tutelage.models.resolver import resolve
from tutelage.rundir import saving

__all__ = ["build_network", "load_network", "load_weights", "read_card", "retapped", "save_network"]

FORMAT = "tutelage-model/1"

_FIELDS: Mapping[str, tuple[type[Any], type[Any] | tuple[type[Any], ...]]] = {
    "model": (str, str),
    "classes": (list, str),
    "image": (list, int),
    "mean": (list, (int, float)),
    "std": (list, (int, float)),
    "taps": (dict, str),
    "training": (dict, object),
}
"""The fields of a card in JSON: their type, and that of what they hold."""


def build_network(card: ModelCard, *, pretrained: bool = False) -> Network:
    """A fresh network for a card; ``pretrained`` asks timm or the hub for weights.

    Example:
        >>> card = ModelCard(model="zoo:resnet8", classes=("a", "b"), image=(3, 32, 32),
        ...                  mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
        >>> build_network(card).shapes["embedding"]
        (64,)
    """
    model = resolve(card.model, num_classes=len(card.classes), in_channels=card.image[0], pretrained=pretrained)
    return Network(model, card)


def save_network(
    network: Network, path: Path, *, half: bool = False, training: Mapping[str, object] | None = None
) -> None:
    """Write ``path`` (``….safetensors``) and its card beside it, each atomically, the card last.

    Args:
        network: What to store; its bare model's state goes to the file.
        path: Where; the card gets the same name with ``.json``.
        half: Store floating point numbers as float16 (half the size, exact enough for inference).
        training: Replaces the card's account of how the network came to be.

    Raises:
        RunError: if the disk is full or cannot be written; an older file is untouched.
    """
    from safetensors.torch import save

    state = {name: value.detach().cpu().contiguous() for name, value in network.model.state_dict().items()}
    if half:
        state = {name: v.half() if v.is_floating_point() else v for name, v in state.items()}
    card = dataclasses.replace(network.card, training=training) if training is not None else network.card
    with saving(path) as scratch:
        # Not `save_file`: on a full disk it raises an error of its own that does not tell the reason apart.
        scratch.write_bytes(save(state, metadata={"format": FORMAT}))
    with saving(path.with_suffix(".json")) as scratch:
        scratch.write_text(json.dumps({"format": FORMAT, **dataclasses.asdict(card)}, indent=1) + "\n")


def load_network(path: Path) -> Network:
    """Read a network that :func:`save_network` wrote; a run directory stands for its ``student.safetensors``.

    Raises:
        DataError: if the file or its card is missing, damaged or does not fit the model.
    """
    path = _weights_at(path)
    network = build_network(_read_card(path.with_suffix(".json")))
    load_weights(network, path)
    return network


def read_card(path: Path) -> ModelCard:
    """The card of a stored network, without its weights.

    Raises:
        DataError: if there is no network, or its card is missing or damaged.
    """
    return _read_card(_weights_at(path).with_suffix(".json"))


def _weights_at(path: Path) -> Path:
    if path.is_dir():
        path = path / "student.safetensors"
    if not path.is_file():
        raise DataError(f"no network at {path}: give a run directory that finished, or the path of a .safetensors file")
    return path


def retapped(network: Network, taps: Mapping[str, str], *, image: tuple[int, int, int]) -> Network:
    """The same model with other taps beside its own, for images of another size; the given network falls silent.

    Raises:
        UnknownNameError: if a path does not exist; names the five nearest.
    """
    card = dataclasses.replace(network.card, taps={**network.card.taps, **taps}, image=image)
    network.listen(())  # its hooks would go on to keep every feature of the shared model alive
    return Network(network.model, card)


def load_weights(network: Network, path: Path) -> None:
    """Put stored weights into a network, every one or none; half precision becomes single.

    Raises:
        DataError: if the file is damaged, or a weight is missing, too many, or has another shape.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        state = load_file(path)
    except (SafetensorError, OSError) as error:
        raise DataError(f"{path} is damaged or not a safetensors file: {error}") from error
    state = {name: value.float() if value.is_floating_point() else value for name, value in state.items()}
    expected = {name: tuple(value.shape) for name, value in network.model.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in state.items()}
    if odd := sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name)):
        raise DataError(
            f"the weights in {path} do not fit {network.card.model}, the model of their card: {len(odd)} of "
            f"{len(expected)} differ, the first is {odd[0]!r} (wanted {expected.get(odd[0], 'nothing')}, "
            f"got {found.get(odd[0], 'nothing')})"
        )
    network.model.load_state_dict(state)


def _read_card(path: Path) -> ModelCard:
    if not path.is_file():
        raise DataError(f"the weights need their card {path}, and it is missing: store both files together")
    try:
        fields = json.loads(path.read_text())
        if not isinstance(fields, dict) or fields.pop("format", None) != FORMAT:
            raise DataError(f"{path} is not a model card of format {FORMAT!r}")
        for name, (kind, wanted) in _FIELDS.items():
            value = fields.get(name, kind())
            parts = [*value, *value.values()] if isinstance(value, dict) and kind is dict else value
            if not isinstance(value, kind) or not all(isinstance(part, wanted) for part in parts):
                raise DataError(f"the model card {path} is damaged: {name!r} cannot be {value!r}")
        listed = {name: tuple(fields[name]) for name in ("classes", "image", "mean", "std")}
        return ModelCard(**{**fields, **listed})
    except KeyError as error:
        raise DataError(f"the model card {path} is damaged: it lacks {error}") from error
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, TypeError, ConfigError) as error:
        raise DataError(f"the model card {path} is damaged: {error}") from error

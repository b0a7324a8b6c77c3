"""Which settings two runs share, so that only runs of equal settings are averaged over seeds."""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tutelage.report.wording import shortened

__all__ = ["differing", "labels", "settings"]

Settings = Mapping[str, str]

_AT_THE_TOP = frozenset({"format", "kind", "name", "seed"})
_OF_TEACHERS = frozenset({"checkpoint", "path", "url", "weights"})  # the fingerprint tells teachers apart
_ANYWHERE = frozenset(
    {
        # where things lie
        *("cache", "commit", "dir", "directory", "out", "root", "run"),
        # how it is computed, not what
        *("device", "devices", "log_every", "num_workers", "resume", "save_every", "threads", "workers"),
    }
)


def settings(config: Mapping[str, Any]) -> dict[str, str]:
    """The settings of a run by dotted path, without its seed, its places on disk and its devices.

    A wrong guess here splits a row in two, which is seen; student and method keep all they have, because a
    setting that was left out would average what is not the same, which is not seen.

    Args:
        config: What ``config.json`` holds.

    Returns:
        Each setting as text.

    Example:
        >>> settings({"seed": 1, "out": "runs/a", "method": {"name": "kd", "temperature": 4.0}, "epochs": 30})
        {'epochs': '30', 'method.name': 'kd', 'method.temperature': '4'}
    """
    return dict(sorted(_leaves(config, ())))


def _leaves(value: Mapping[str, Any], at: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for key, child in value.items():
        path = (*at, key)
        if isinstance(child, dict):
            yield from _leaves(child, path)
        elif isinstance(child, list) and child and all(isinstance(item, dict) for item in child):
            yield from _leaves({str(number): item for number, item in enumerate(child, start=1)}, path)
        elif not _left_out(path):
            text = f"{child:g}" if isinstance(child, float) else json.dumps(child)
            yield ".".join(path), child if isinstance(child, str) else text


def _left_out(path: tuple[str, ...]) -> bool:
    section, key = path[0], path[-1]
    if section == "stages" and "method" in path:
        return True  # the method has a section of its own
    if len(path) == 1:
        return key in _AT_THE_TOP | _ANYWHERE
    return (section not in ("method", "student") and key in _ANYWHERE) or (section == "teacher" and key in _OF_TEACHERS)


def differing(variants: Iterable[Settings]) -> list[str]:
    """The settings that are not the same in all, sorted.

    Example:
        >>> differing([{"epochs": "30", "lr": "0.1"}, {"epochs": "60", "lr": "0.1"}])
        ['epochs']
    """
    every = list(variants)
    keys = sorted({key for variant in every for key in variant})
    return [key for key in keys if len({variant.get(key) for variant in every}) > 1]


def labels(method: str, variants: list[Settings]) -> list[str]:
    """A name for each variant of a method: its own name, and what tells it from the others.

    Args:
        method: Its name.
        variants: The settings of each; no two are equal.

    Example:
        >>> labels("kd", [{"method.temperature": "1"}, {"method.temperature": "4"}])
        ['kd (temperature=1)', 'kd (temperature=4)']
        >>> labels("kd", [{"method.temperature": "4"}])
        ['kd']
    """
    keys = differing(variants)
    named = [
        ", ".join(f"{key.removeprefix('method.')}={shortened(variant[key], 24)}" for key in keys if key in variant)
        for variant in variants
    ]
    return [f"{method} ({name})" if name else method for name in named]

"""Which settings two runs share, so that only runs of equal settings are averaged over seeds."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from tutelage.report.wording import shortened

__all__ = ["differing", "labels", "named", "settings", "usual"]

Settings = Mapping[str, str]

_AT_THE_TOP = frozenset({"format", "kind", "name", "seed"})
_OF_TEACHERS = frozenset({"checkpoint", "ledger", "path", "url", "weights"})  # the fingerprint tells teachers apart
_ANYWHERE = frozenset(
    {
        # where things lie
        *("cache", "commit", "dir", "directory", "out", "root", "run"),
        # how it is computed, not what
        *("device", "devices", "log_every", "num_workers", "resume", "save_every", "threads", "workers"),
    }
)
_CAME_LATER: Mapping[str, str] = {
    "engine.peers_on": "every-rank",
    "method.sampling": "batch",
    "method.standardize": "false",
    "stages.mix.alpha": "1",
    "stages.phase": "false",
    "stages.schedule.drops": "3",
    "stages.schedule.patience": "50",
    "stages.start": "last",
    "teacher.answers.average": "logits",
    "teacher.answers.exhausted": "error",
    "teacher.answers.price_per_call": "0",
    "teacher.gives": "logits",
    "teacher.shared_only": "false",
}
"""Settings that came after the first runs were written, with what those did: left out where they say the same."""


def settings(config: Mapping[str, Any]) -> dict[str, str]:
    """The settings of a run by dotted path, without its seed, its places on disk and its devices.

    A wrong guess here splits a row in two, which is seen; student and method keep all they have, because a
    setting that was left out would average what is not the same, which is not seen. A setting that is null or an
    empty list is left out, and so is one that came later and has its default: runs from before it lack it.

    Args:
        config: What ``config.json`` holds.

    Returns:
        Each setting as text.

    Example:
        >>> settings({"seed": 1, "out": "runs/a", "method": {"name": "kd", "temperature": 4.0}, "epochs": 30})
        {'epochs': '30', 'method.name': 'kd', 'method.temperature': '4'}
    """
    return dict(sorted(_leaves({**config, "peers": _others(config)}, ())))


def _others(config: Mapping[str, Any]) -> list[Mapping[str, Any]] | int | None:
    """The peers of a student; where they are networks like it, only how many beyond the first."""
    peers, student = config.get("peers") or [], config.get("student")
    if any(peer != student for peer in peers):
        return peers
    return len(peers) if len(peers) > 1 else None


def _leaves(value: Mapping[str, Any], at: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for key, child in value.items():
        path = (*at, key)
        if isinstance(child, dict):
            yield from _leaves(child, path)
        elif isinstance(child, list) and child and all(isinstance(item, dict) for item in child):
            yield from _leaves({str(number): item for number, item in enumerate(_own(child), start=1)}, path)
        elif child not in (None, []) and not _left_out(path):
            text = child if isinstance(child, str) else f"{child:g}" if isinstance(child, float) else json.dumps(child)
            if _CAME_LATER.get(".".join(part for part in path if not part.isdecimal())) != text:
                yield ".".join(path), text


def _own(items: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Without the stages that a method brought along: they follow from its settings and those of its own stage."""
    phases = any(item.get("phase") for item in items)
    return [{**item, "start": "last"} if phases else item for item in items if not item.get("phase")]


def _left_out(path: tuple[str, ...]) -> bool:
    section, key = path[0], path[-1]
    if section == "stages" and "method" in path:
        return True  # the method has a section of its own
    if path[:2] == ("teacher", "http"):
        return True  # how a server is asked changes no answer
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


def labels(method: str, variants: Sequence[Settings]) -> list[str]:
    """A name for each variant of a method: its own name, and what tells it from the others.

    Of three or more, a variant names a setting only where it is not that of most of them: see :func:`usual`.

    Args:
        method: Its name.
        variants: The settings of each; no two are equal.

    Example:
        >>> labels("kd", [{"method.temperature": "1"}, {"method.temperature": "4"}])
        ['kd (temperature=1)', 'kd (temperature=4)']
        >>> labels("kd", [{"method.temperature": "4"}])
        ['kd']
        >>> labels("ckd", [{"method.k": "3"}, {"method.k": "2"}, {"method.k": "3", "stages.1.mix.kind": "cutmix"}])
        ['ckd', 'ckd (k=2)', 'ckd (mix.kind=cutmix)']
    """
    most = usual(variants)
    keys = differing(variants)
    names = []
    for variant in variants:
        told = {key: variant.get(key) for key in keys if key in most or key in variant}
        names.append(named({key: value for key, value in told.items() if key not in most or value != most[key]}))
    return [f"{method} ({name})" if name else method for name in names]


def usual(variants: Sequence[Settings]) -> dict[str, str | None]:
    """The differing settings in which most of three or more variants agree, None where most lack it.

    Example:
        >>> usual([{"a": "1", "b": "1"}, {"a": "1", "b": "2"}, {"a": "2", "b": "3"}])
        {'a': '1'}
    """
    found = {}
    for key in differing(variants) if len(variants) > 2 else ():
        ((value, times),) = Counter(variant.get(key) for variant in variants).most_common(1)
        if 2 * times > len(variants):
            found[key] = value
    return found


def named(settings: Mapping[str, str | None]) -> str:
    """Settings in brief.

    Example:
        >>> named({"method.k": "3", "stages.1.mix.kind": "cutmix", "method.groups": None})
        'k=3, mix.kind=cutmix, groups=unset'
    """
    return ", ".join(f"{_brief(key)}={shortened(value or 'unset', 24)}" for key, value in settings.items())


def _brief(key: str) -> str:
    """A setting without the section that most settings of a row lie in."""
    return re.sub(r"^(method|stages\.1)\.", "", key)

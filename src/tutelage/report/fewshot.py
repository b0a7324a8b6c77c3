"""Few-shot episodes as Markdown tables: a row for each classifier, a column for each number of shots."""

from collections.abc import Mapping, Sequence
from typing import Any

from tutelage.report.statistics import estimate
from tutelage.report.wording import counted, piped, signed

__all__ = ["fewshot_table"]

_NAMES = {
    "ncm": "nearest class mean (cosine)",
    "protonet": "ProtoNet (nearest class mean, Euclidean)",
    "logistic": "logistic regression",
    "head": "linear classifier, tuned",
    "finetune": "network and classifier, fine-tuned",
    "refilled": "network and classifier, tuned by REFILLED",
}


def fewshot_table(found: Mapping[str, Any]) -> str:
    """What ``fewshot.json`` holds, as a table under its title.

    Where a network has several classifiers, a second table has the gain of each over the first, paired by episode.

    Args:
        found: As :func:`tutelage.engine.fewshot.measure_episodes` returns it.

    Example:
        >>> row = {"features": "network", "classifier": "ncm", "shots": 1, "accuracy": 0.5, "half_width": 0.0123,
        ...        "right": [36, 39]}
        >>> net = {"model": "zoo:resnet8", "classes": 64, "seen": 0}
        >>> found = {"data": "cifar100", "split": "all", "classes": ["fox"] * 20, "ways": 5, "shots": [1],
        ...          "queries": 15, "episodes": 600, "seed": 0, "network": net, "teacher": None, "results": [row]}
        >>> print(fewshot_table(found))
        **cifar100, 20 classes, all images: 600 episodes of 5 ways, images to tell of each: 15, accuracy (%)**
        <BLANKLINE>
        | | 1 shot |
        | :-- | --: |
        | zoo:resnet8: nearest class mean (cosine) | 50.00 ± 1.23 |
        <BLANKLINE>
        ± is half the width of the 95 % interval of the mean over episodes (Student’s t).
        <BLANKLINE>
    """
    images = {"test": "test", "train": "training", "all": "all"}[found["split"]]
    title = (
        f"**{found['data']}, {len(found['classes'])} classes, {images} images: {counted(found['episodes'], 'episode')} "
        f"of {found['ways']} ways, images to tell of each: {found['queries']}, accuracy (%)**"
    )
    legend = "± is half the width of the 95 % interval of the mean over episodes (Student’s t)."
    parts = [title, _table(found, _accuracies(found)), " ".join([legend, *_warnings(found)])]
    gains = _gains(found)
    if gains:
        first = _NAMES[found["results"][0]["classifier"]]
        parts += [f"**Gain over {first}, paired by episode, in points**", _table(found, gains)]
    return "\n\n".join(parts) + "\n"


_Cells = Mapping[tuple[str, str], Mapping[int, str]]
"""Network and classifier → number of shots → what is told."""


def _table(found: Mapping[str, Any], cells: _Cells) -> str:
    shots = found["shots"]
    rows = [
        [_title(found, who, classifier), *(by_shots[number] for number in shots)]
        for (who, classifier), by_shots in cells.items()
    ]
    return piped(["", *(counted(number, "shot") for number in shots)], rows).replace("|  |", "| |")


def _accuracies(found: Mapping[str, Any]) -> _Cells:
    cells: dict[tuple[str, str], dict[int, str]] = {}
    for row in found["results"]:
        cell = f"{100 * row['accuracy']:.2f} ± {100 * row['half_width']:.2f}"
        cells.setdefault((row["features"], row["classifier"]), {})[row["shots"]] = cell
    return cells


def _gains(found: Mapping[str, Any]) -> _Cells:
    """Of each classifier over the network's first: all see the same queries."""
    cells: dict[tuple[str, str], dict[int, str]] = {}
    first: dict[tuple[str, int], Sequence[int]] = {}
    for row in found["results"]:
        who, classifier, shots = row["features"], row["classifier"], row["shots"]
        if classifier == found["results"][0]["classifier"]:
            first[who, shots] = row["right"]
        elif (who, shots) in first:
            asked = found["ways"] * found["queries"]
            gains = [(ours - theirs) / asked for ours, theirs in zip(row["right"], first[who, shots], strict=True)]
            cells.setdefault((who, classifier), {})[shots] = signed(estimate(gains), 2)
    return cells


def _title(found: Mapping[str, Any], who: str, classifier: str) -> str:
    teacher = " (teacher)" if who == "teacher" else ""
    return f"{found[who]['model']}{teacher}: {_NAMES[classifier]}"


def _warnings(found: Mapping[str, Any]) -> list[str]:
    """Classes that are not new to a network are no test of few shots."""
    return [
        f"The {who} was trained on {found[who]['seen']} of the {len(found['classes'])} classes: they are not new to it."
        for who in ("network", "teacher")
        if found[who] and found[who]["seen"]
    ]

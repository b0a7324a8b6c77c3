"""Few-shot episodes as a Markdown table: a row for each classifier, a column for each number of shots."""

from collections.abc import Mapping
from typing import Any

from tutelage.report.wording import counted

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

    Args:
        found: As :func:`tutelage.engine.fewshot.measure_episodes` returns it.

    Example:
        >>> row = {"features": "network", "classifier": "ncm", "shots": 1, "accuracy": 0.5, "half_width": 0.0123}
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
    shots = found["shots"]
    rows = [["", *(counted(number, "shot") for number in shots)], [":--", *("--:" for _ in shots)]]
    rows += _lines(found)
    table = "\n".join(f"| {' | '.join(row)} |".replace("|  |", "| |") for row in rows)
    legend = "± is half the width of the 95 % interval of the mean over episodes (Student’s t)."
    return "\n\n".join([title, table, " ".join([legend, *_warnings(found)])]) + "\n"


def _lines(found: Mapping[str, Any]) -> list[list[str]]:
    cells: dict[tuple[str, str], dict[int, str]] = {}
    for row in found["results"]:
        cell = f"{100 * row['accuracy']:.2f} ± {100 * row['half_width']:.2f}"
        cells.setdefault((row["features"], row["classifier"]), {})[row["shots"]] = cell
    return [
        [_title(found, who, classifier), *(by_shots[shots] for shots in found["shots"])]
        for (who, classifier), by_shots in cells.items()
    ]


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

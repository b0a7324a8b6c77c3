"""What the columns of costs hold, and where they do not compare."""

from tutelage.report.groups import Group
from tutelage.report.wording import joined

__all__ = ["costs", "keeps_answers"]

_MEMORY = {
    "allocated": "the most that torch had allocated on the device while training",
    "resident": "the most that training added to its process, beside interpreter, images and the networks’ weights",
}


def costs(group: Group) -> list[str]:
    """What the columns of costs hold, and where they do not compare.

    Example:
        >>> costs(Group(data="digits", teacher="t", student="s", rows=()))
        []
    """
    results = [result for row in group.rows for result in row.results]
    kinds = {result.memory.kind for result in results if result.memory is not None}
    told = [
        f"Memory: {joined([_MEMORY.get(kind, kind) for kind in sorted(kinds)])}; the middle run of a row, validation "
        f"not counted."
    ]
    if len(group.epochs) > 1:
        told.append(
            "Epochs: passes of the student over its training images, in all of its stages; rows with more of them saw "
            "more images than those they are compared with."
        )
    if (machines := len({result.machine for result in results})) > 1:
        told.append(f"Runs of {machines} different machines: their seconds, images a second and memory do not compare.")
    if keeps_answers(group):
        told.append(
            "Answers of the teacher were kept: calls and seconds leave out those that a run found there already."
        )
    return told[0 if kinds else 1 :]


def keeps_answers(group: Group) -> bool:
    """Whether answers of the teacher outlived a run, so that a later one did not pay for them.

    Example:
        >>> keeps_answers(Group(data="digits", teacher="t", student="s", rows=()))
        False
    """
    teachers = [run.config.get("teacher") for row in group.rows for run in row.runs]
    answers = [teacher.get("answers") for teacher in teachers if isinstance(teacher, dict)]
    return any(isinstance(each, dict) and each.get("cache") not in (None, "auto", "off") for each in answers)

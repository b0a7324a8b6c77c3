"""One incremental step: what the student takes over from its teacher, and how it is judged on old and new classes."""

import torch

from tutelage.data.protocols import Incremental
from tutelage.engine.evaluation import Judge
from tutelage.errors import ConfigError
from tutelage.models import Network
from tutelage.ops.judges import harmonic_mean
from tutelage.teachers import LiveTeacher, Teacher

__all__ = ["begin", "head_of", "inherit", "old_and_new"]


def begin(protocol: Incremental, student: Network, teacher: Teacher) -> None:
    """Let the student of an incremental step begin as the protocol says.

    Args:
        protocol: What it starts from and what of it is trained.
        student: Of the old classes and the new ones.
        teacher: Of the old classes.

    Raises:
        ConfigError: if only a head is to be trained, and the teacher is not a network of the student's model.
    """
    network = teacher.network if isinstance(teacher, LiveTeacher) else None
    taken = protocol.start == "teacher" and network is not None and inherit(student, network)
    if protocol.train == "head":
        if not taken or network is None:
            raise ConfigError(
                f"a head alone is trained on the teacher's features: the student must be of its model "
                f"({network.card.model if network else 'unknown'}), and is {student.card.model}"
            )
        student.hold_still(head_of(student, network) or ())


def inherit(student: Network, teacher: Network) -> bool:
    """Copy the teacher's weights where both are of one model: all of them, and the head's rows of the classes it knows.

    The head's rows of other classes keep their initial values.

    Args:
        student: Gets the weights.
        teacher: Has them.

    Returns:
        Whether anything was copied: not from a teacher of another model, whose features mean something else.

    Example:
        >>> from dataclasses import replace
        >>> from tutelage.models import ModelCard, build_network
        >>> card = ModelCard(model="zoo:digits_small", classes=("a", "b"), image=(1, 8, 8), mean=(0.5,), std=(0.5,))
        >>> inherit(build_network(replace(card, classes=("c", "a", "b"))), build_network(card))
        True
    """
    rows = head_of(student, teacher)
    if rows is None:
        return False
    theirs = teacher.model.state_dict()
    found = torch.tensor(student.labels.index_in(teacher.labels))
    with torch.no_grad():
        for name, value in student.model.state_dict().items():
            source = theirs[name].to(value.device)
            if name in rows:
                value[found >= 0] = source[found[found >= 0]]
            else:
                value.copy_(source)
    return True


def head_of(student: Network, teacher: Network) -> list[str] | None:
    """Names of the weights that have one row a class, where both are of one model; else None.

    Args:
        student: Has other classes than the teacher.
        teacher: May be of the same model.

    Raises:
        ConfigError: if they are of one model and do not tell their heads apart: they have equally many classes.
    """
    mine, theirs = student.model.state_dict(), teacher.model.state_dict()
    if student.card.model != teacher.card.model or mine.keys() != theirs.keys():
        return None
    unlike = [name for name, value in mine.items() if value.shape != theirs[name].shape]
    if not unlike:
        raise ConfigError(
            f"the head of {student.card.model} is what differs between {len(student.labels)} and "
            f"{len(teacher.labels)} classes: a student with as many classes as its teacher has no head to extend"
        )
    rows = len(student.labels), len(teacher.labels)
    fits = all(
        (len(mine[name]), len(theirs[name])) == rows and mine[name].shape[1:] == theirs[name].shape[1:]
        for name in unlike
    )
    return unlike if fits else None


def old_and_new(judge: Judge, network: Network, num_old: int) -> dict[str, float]:
    """Accuracy on the test images of old classes, of new ones, and of all, each among all classes.

    Args:
        judge: Has the test images of all classes.
        network: Of all classes.
        num_old: The first so many classes are old.

    Returns:
        Shares ``old``, ``new``, ``all`` and ``harmonic``, the harmonic mean of the first two.
    """
    labels, ids = judge.labels("test"), judge.ids["test"]
    old = judge.score_network(network, "test", ids[labels < num_old])
    new = judge.score_network(network, "test", ids[labels >= num_old])
    right = old.accuracy * old.images + new.accuracy * new.images
    return {
        "old": old.accuracy,
        "new": new.accuracy,
        "all": right / max(old.images + new.images, 1),
        "harmonic": harmonic_mean(old.accuracy, new.accuracy),
    }

"""The classes of a run, and the images by their use."""

import hashlib
from dataclasses import dataclass

from tutelage.data import Dataset, open_dataset
from tutelage.data.class_lists import choose_classes
from tutelage.data.protocols import Classes, ClassProtocol, Division, divided
from tutelage.engine.config import RunConfig
from tutelage.engine.opening import classes_of
from tutelage.labels import LabelSpace

__all__ = ["Task", "open_task"]


@dataclass(frozen=True, eq=False)
class Task:
    """What is to be learnt.

    Args:
        data: The images; the labels are those of the student's classes, −1 where an image is of another.
        division: How the training images are used.
        everything: All classes of the data set.
        num_old: The first so many of the student's classes have no training images.
        first: Number of the first class that the cross-entropy compares.
    """

    data: Dataset
    division: Division
    everything: LabelSpace
    num_old: int = 0
    first: int = 0

    @property
    def name(self) -> str:
        """The data and, where they are not all, the classes: runs of one name had the same task."""
        labels = self.data.labels
        if labels == self.everything and not self.num_old:
            return self.data.name
        old = f", {self.num_old} old" if self.num_old else ""
        digest = hashlib.sha256("\0".join([*labels.names, str(self.num_old)]).encode()).hexdigest()[:6]
        return f"{self.data.name} ({len(labels)} of {len(self.everything)} classes{old}; {digest})"


def open_task(config: RunConfig) -> Task:
    """Open the data of a run, with the classes that the settings, the protocol and the teacher leave.

    Args:
        config: The run.

    Raises:
        LabelSpaceError: if classes are named that the data lacks, or those of the teacher do not fit the protocol.
        TutelageError: if data or teacher cannot be opened.

    Example:
        >>> from tutelage.engine import DataConfig
        >>> task = open_task(RunConfig(data=DataConfig(classes="3:5")))
        >>> task.data.labels.names, task.name
        (('3', '4'), 'digits (2 of 10 classes; ca49bc)')
    """
    whole = open_dataset(config.data.name, size=config.data.size)
    protocol = config.data.division
    labels = choose_classes(config.data.classes, whole.labels) if config.data.classes is not None else whole.labels
    classes = Classes(labels)
    if isinstance(protocol, ClassProtocol):
        classes = protocol.classes(labels, classes_of(config.teacher) if config.teacher else None)
    data = whole.restricted(classes.labels)
    division = divided(protocol, data.train.labels, seed=config.seed, num_old=classes.num_old)
    return Task(data=data, division=division, everything=whole.labels, num_old=classes.num_old, first=classes.first)

"""Learning rates as a pure function of the share of the training that is done: nothing to save, nothing to resume."""

import math

from tutelage.engine.config import ScheduleConfig

__all__ = ["rate_at"]


def rate_at(schedule: ScheduleConfig, done: float, *, drops: int = 0) -> float:
    """The learning rate as a share of the highest one.

    Args:
        schedule: Its shape.
        done: Share of the training that is done, in [0, 1).
        drops: Of plateau: how often the rate was lowered so far.

    Example:
        >>> [round(rate_at(ScheduleConfig(name="onecycle", warmup=0.2), x), 3) for x in (0, 0.1, 0.2, 0.6)]
        [0.0, 0.5, 1.0, 0.5]
        >>> [round(rate_at(ScheduleConfig(name="multistep", warmup=0), x), 4) for x in (0, 0.7, 0.8, 0.9)]
        [1.0, 0.1, 0.01, 0.001]
    """
    if done < schedule.warmup:
        return done / schedule.warmup
    if schedule.name == "multistep":
        return float(schedule.gamma ** sum(done >= milestone for milestone in schedule.milestones))
    if schedule.name == "plateau":
        return float(schedule.gamma**drops)
    if schedule.name == "constant":
        return 1.0
    rest = (done - schedule.warmup) / (1 - schedule.warmup)
    if schedule.name == "onecycle":  # down in a straight line, as in the fast CIFAR recipes
        return 1 - rest * (1 - schedule.floor)
    return schedule.floor + (1 - schedule.floor) * (1 + math.cos(math.pi * rest)) / 2

"""The flags that a message advises: those of ``tutelage distill`` with this method, or with this sum of methods."""

from collections.abc import Iterator

from tutelage.methods import Method, MethodConfig
from tutelage.methods.sum import Sum, SumConfig

__all__ = ["sampling_hint", "task_weight_hint", "warmup_hint"]


def task_weight_hint(config: MethodConfig) -> str:
    """What gives the cross-entropy a weight: a flag of the method, or the one that all parts of a sum share.

    Example:
        >>> from tutelage.methods import CKDConfig, KDConfig
        >>> task_weight_hint(CKDConfig()), task_weight_hint(KDConfig() + CKDConfig())
        ('--ckd.task-weight', '--task-weight')
    """
    return "--task-weight" if isinstance(config, SumConfig) else f"{_prefix(config.name)}.task-weight"


def sampling_hint(config: MethodConfig, method: Method) -> str:
    """What lets a method form its groups in the batch; of a sum, each part that is given groups.

    Args:
        config: Of the method.
        method: As it was built.

    Example:
        >>> from tutelage.methods import CKDConfig, KDConfig
        >>> both, shapes = KDConfig() + CKDConfig(sampling="drawn"), {"logits": (10,)}
        >>> sampling_hint(both, both.build(shapes, shapes))
        '--ckd.sampling batch'
    """
    keys = [config.name]
    if isinstance(method, Sum):
        keys = [key for key, part in method.parts.items() if part.needs.group_size is not None]
    return " ".join(f"{_prefix(key)}.sampling batch" for key in keys)


def warmup_hint(config: MethodConfig | None, epochs: int) -> str | None:
    """What to say where a term is still warming up when half of its stage is over; None where none is.

    The warm-ups of the literature are counted in epochs of its recipes (DKD's 20 are of 240): in a short run such a
    term never has its weight.

    Args:
        config: Of the method.
        epochs: Of the stage.

    Example:
        >>> from tutelage.methods import DKDConfig, KDConfig
        >>> warmup_hint(DKDConfig() + KDConfig(), 30)
        'dkd warms up over 20 of 30 epochs: a shorter warm-up (--dkd.warmup-epochs) gives it its weight earlier'
        >>> warmup_hint(DKDConfig(), 240) is warmup_hint(KDConfig(), 30) is None
        True
    """
    long = [(key, over) for key, over in _warmups(config) if over > epochs / 2]
    if not long:
        return None
    who = " and ".join(f"{key} warms up over {over:g}" for key, over in long)
    flags = ", ".join(f"{_prefix(key)}.warmup-epochs" for key, _ in long)
    return f"{who} of {epochs} epochs: a shorter warm-up ({flags}) gives it its weight earlier"


def _warmups(config: MethodConfig | None) -> Iterator[tuple[str, float]]:
    if isinstance(config, SumConfig):
        for key, part in zip(config.keys, config.parts, strict=True):
            yield from ((key, over) for _, over in _warmups(part))
    elif config is not None and (over := getattr(config, "warmup_epochs", 0.0)):
        yield config.name, over


def _prefix(key: str) -> str:
    return f"--{key.replace('_', '-')}"

"""The flags that a message advises: those of ``tutelage distill`` with this method, or with this sum of methods."""

from tutelage.methods import Method, MethodConfig
from tutelage.methods.sum import Sum, SumConfig

__all__ = ["sampling_hint", "task_weight_hint"]


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


def _prefix(key: str) -> str:
    return f"--{key.replace('_', '-')}"

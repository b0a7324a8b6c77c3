"""Words of the command line that stand for more than a value."""

from collections.abc import Sequence

from tutelage.errors import ConfigError

__all__ = ["taps_by_role"]


def taps_by_role(pairs: Sequence[str]) -> dict[str, str]:
    """Read ``ROLE=PATH`` words.

    Raises:
        ConfigError: if one is written otherwise.

    Example:
        >>> taps_by_role(["embedding=avgpool"])
        {'embedding': 'avgpool'}
    """
    if bad := [pair for pair in pairs if "=" not in pair]:
        raise ConfigError(f"a tap is written ROLE=PATH, such as embedding=avgpool; got {bad[0]!r}")
    return dict(pair.split("=", 1) for pair in pairs)

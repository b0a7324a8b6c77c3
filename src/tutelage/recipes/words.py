"""Names with settings as one word: ``kd``, ``ckd:k=2,distance=mse``, ``cross-task:overlap=10``."""

import json
from typing import Any

from tutelage.errors import ConfigError

__all__ = ["read_word"]


def read_word(text: str, what: str) -> tuple[str, dict[str, Any]]:
    """The name, and the settings by name; values that are JSON have their type, others are text.

    Args:
        text: ``NAME[:setting=value,…]``.
        what: Whose settings, for the message.

    Raises:
        ConfigError: if it is written otherwise.

    Example:
        >>> read_word("ckd:k=2,distance=mse", "method")
        ('ckd', {'k': 2, 'distance': 'mse'})
    """
    name, _, rest = text.partition(":")
    pairs = [part.partition("=") for part in rest.split(",") if part]
    if bad := [key for key, equals, value in pairs if not (equals and value)]:
        raise ConfigError(f"settings of a {what} are written NAME:setting=value,…; got {bad[0]!r} in {text!r}")
    return name, {key: _value(value) for key, _, value in pairs}


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text

"""Methods: one file each, one dict of all."""

import sys
from typing import Any

from tutelage.methods.base import Method, MethodConfig, Needs
from tutelage.methods.dkd import DKD, DKDConfig
from tutelage.methods.fitnet import FitNet, FitNetConfig
from tutelage.methods.kd import KD, KDConfig
from tutelage.methods.rkd import RKD, RKDConfig

__all__ = [
    "DKD",
    "KD",
    "METHODS",
    "RKD",
    "DKDConfig",
    "FitNet",
    "FitNetConfig",
    "KDConfig",
    "Method",
    "MethodConfig",
    "Needs",
    "RKDConfig",
    "card_of",
]

METHODS: dict[str, type[Any]] = {
    "dkd": DKDConfig,
    "fitnet": FitNetConfig,
    "kd": KDConfig,
    "rkd": RKDConfig,
}


def card_of(name: str) -> dict[str, str]:
    """The card at the head of a method's file: Paper, Code, Reads, Labels, Trains, Differs, Results.

    Example:
        >>> card_of("kd")["Reads"]
        'logits'
    """
    text = sys.modules[METHODS[name].__module__].__doc__ or ""
    return dict(line.split(": ", 1) for line in text.splitlines()[1:] if ": " in line and line[0].isupper())

"""Methods: one file each, one dict of all."""

import sys
from typing import Any

from tutelage.methods.base import Method, MethodConfig, Needs, is_taught, learns_from_peers
from tutelage.methods.cc import CC, CCConfig
from tutelage.methods.ckd import CKD, CKDConfig
from tutelage.methods.cs_kd import CSKD, CSKDConfig
from tutelage.methods.dist import DIST, DISTConfig
from tutelage.methods.dkd import DKD, DKDConfig
from tutelage.methods.dml import DML, DMLConfig
from tutelage.methods.fitnet import FitNet, FitNetConfig
from tutelage.methods.ickd import ICKD, ICKDConfig
from tutelage.methods.kd import KD, KDConfig
from tutelage.methods.label_smoothing import LabelSmoothing, LabelSmoothingConfig
from tutelage.methods.logit_mse import LogitMSE, LogitMSEConfig
from tutelage.methods.rkd import RKD, RKDConfig
from tutelage.methods.tf_kd import TfKD, TfKDConfig
from tutelage.methods.vid import VID, VIDConfig

__all__ = [
    "CC",
    "CKD",
    "CSKD",
    "DIST",
    "DKD",
    "DML",
    "ICKD",
    "KD",
    "METHODS",
    "RKD",
    "VID",
    "CCConfig",
    "CKDConfig",
    "CSKDConfig",
    "DISTConfig",
    "DKDConfig",
    "DMLConfig",
    "FitNet",
    "FitNetConfig",
    "ICKDConfig",
    "KDConfig",
    "LabelSmoothing",
    "LabelSmoothingConfig",
    "LogitMSE",
    "LogitMSEConfig",
    "Method",
    "MethodConfig",
    "Needs",
    "RKDConfig",
    "TfKD",
    "TfKDConfig",
    "VIDConfig",
    "card_of",
    "is_taught",
    "learns_from_peers",
]

METHODS: dict[str, type[Any]] = {
    "cc": CCConfig,
    "ckd": CKDConfig,
    "cs_kd": CSKDConfig,
    "dist": DISTConfig,
    "dkd": DKDConfig,
    "dml": DMLConfig,
    "fitnet": FitNetConfig,
    "ickd": ICKDConfig,
    "kd": KDConfig,
    "label_smoothing": LabelSmoothingConfig,
    "logit_mse": LogitMSEConfig,
    "rkd": RKDConfig,
    "tf_kd": TfKDConfig,
    "vid": VIDConfig,
}


def card_of(name: str) -> dict[str, str]:
    """The card at the head of a method's file: Paper, Code, Reads, Labels, Trains, Differs, Results.

    Example:
        >>> card_of("kd")["Reads"]
        'logits'
    """
    text = sys.modules[METHODS[name].__module__].__doc__ or ""
    return dict(line.split(": ", 1) for line in text.splitlines()[1:] if ": " in line and line[0].isupper())

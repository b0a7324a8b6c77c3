"""Methods: one file each, one dict of all."""

import sys
from typing import Any

from tutelage.methods.ab import AB, ABConfig, BoundaryConfig
from tutelage.methods.adapters.auto_encoder import AutoEncoderConfig
from tutelage.methods.at import AT, ATConfig
from tutelage.methods.base import (
    Method,
    MethodConfig,
    Needs,
    Phase,
    ensemble_of,
    is_taught,
    learns_from_peers,
    phases_of,
    replaces_labels,
)
from tutelage.methods.cc import CC, CCConfig
from tutelage.methods.ckd import CKD, CKDConfig
from tutelage.methods.crd import CRD, CRDConfig
from tutelage.methods.cs_kd import CSKD, CSKDConfig
from tutelage.methods.dist import DIST, DISTConfig
from tutelage.methods.dkd import DKD, DKDConfig
from tutelage.methods.dml import DML, DMLConfig
from tutelage.methods.fitnet import FitNet, FitNetConfig
from tutelage.methods.fsp import FSP, FlowConfig, FSPConfig
from tutelage.methods.ft import FT, FTConfig
from tutelage.methods.ickd import ICKD, ICKDConfig
from tutelage.methods.iedml import IEDML, IEDMLConfig
from tutelage.methods.iekd import IEKD, IEKDConfig
from tutelage.methods.kd import KD, KDConfig
from tutelage.methods.label_smoothing import LabelSmoothing, LabelSmoothingConfig
from tutelage.methods.logit_mse import LogitMSE, LogitMSEConfig
from tutelage.methods.nst import NST, NSTConfig
from tutelage.methods.ofd import OFD, OFDConfig
from tutelage.methods.one import ONE, ONEConfig
from tutelage.methods.pkt import PKT, PKTConfig
from tutelage.methods.refilled import Refilled, RefilledConfig
from tutelage.methods.review_kd import ReviewKD, ReviewKDConfig
from tutelage.methods.rkd import RKD, RKDConfig
from tutelage.methods.sp import SP, SPConfig
from tutelage.methods.sum import Sum, SumConfig, Summable, Summand, is_sum, summands
from tutelage.methods.tf_kd import TfKD, TfKDConfig
from tutelage.methods.tuple_matching import TupleMatching, TupleMatchingConfig
from tutelage.methods.vid import VID, VIDConfig

__all__ = [
    "AB",
    "AT",
    "CC",
    "CKD",
    "CRD",
    "CSKD",
    "DIST",
    "DKD",
    "DML",
    "FSP",
    "FT",
    "ICKD",
    "IEDML",
    "IEKD",
    "KD",
    "METHODS",
    "NST",
    "OFD",
    "ONE",
    "PHASES",
    "PKT",
    "RKD",
    "SP",
    "VID",
    "ABConfig",
    "ATConfig",
    "AutoEncoderConfig",
    "BoundaryConfig",
    "CCConfig",
    "CKDConfig",
    "CRDConfig",
    "CSKDConfig",
    "DISTConfig",
    "DKDConfig",
    "DMLConfig",
    "FSPConfig",
    "FTConfig",
    "FitNet",
    "FitNetConfig",
    "FlowConfig",
    "ICKDConfig",
    "IEDMLConfig",
    "IEKDConfig",
    "KDConfig",
    "LabelSmoothing",
    "LabelSmoothingConfig",
    "LogitMSE",
    "LogitMSEConfig",
    "Method",
    "MethodConfig",
    "NSTConfig",
    "Needs",
    "OFDConfig",
    "ONEConfig",
    "PKTConfig",
    "Phase",
    "RKDConfig",
    "Refilled",
    "RefilledConfig",
    "ReviewKD",
    "ReviewKDConfig",
    "SPConfig",
    "Sum",
    "SumConfig",
    "Summable",
    "Summand",
    "TfKD",
    "TfKDConfig",
    "TupleMatching",
    "TupleMatchingConfig",
    "VIDConfig",
    "card_of",
    "ensemble_of",
    "is_sum",
    "is_taught",
    "learns_from_peers",
    "phases_of",
    "replaces_labels",
    "summands",
]

METHODS: dict[str, type[Any]] = {
    "ab": ABConfig,
    "at": ATConfig,
    "cc": CCConfig,
    "ckd": CKDConfig,
    "crd": CRDConfig,
    "cs_kd": CSKDConfig,
    "dist": DISTConfig,
    "dkd": DKDConfig,
    "dml": DMLConfig,
    "fitnet": FitNetConfig,
    "fsp": FSPConfig,
    "ft": FTConfig,
    "ickd": ICKDConfig,
    "iedml": IEDMLConfig,
    "iekd": IEKDConfig,
    "kd": KDConfig,
    "label_smoothing": LabelSmoothingConfig,
    "logit_mse": LogitMSEConfig,
    "nst": NSTConfig,
    "ofd": OFDConfig,
    "one": ONEConfig,
    "pkt": PKTConfig,
    "refilled": RefilledConfig,
    "review_kd": ReviewKDConfig,
    "rkd": RKDConfig,
    "sp": SPConfig,
    "tf_kd": TfKDConfig,
    "tuple_matching": TupleMatchingConfig,
    "vid": VIDConfig,
}

PHASES: dict[str, type[Any]] = {
    "auto_encoder": AutoEncoderConfig,
    "boundary": BoundaryConfig,
    "flow": FlowConfig,
}
"""Methods that only stand before others, in a :class:`Phase`: a config may name them, ``--method`` does not."""


def card_of(name: str) -> dict[str, str]:
    """The card at the head of a method's file: Paper, Code, Reads, Labels, Trains, Differs, Results.

    Example:
        >>> card_of("kd")["Reads"]
        'logits'
    """
    text = sys.modules[METHODS[name].__module__].__doc__ or ""
    return dict(line.split(": ", 1) for line in text.splitlines()[1:] if ": " in line and line[0].isupper())

"""One file a paper: pure functions of student and teacher that return one value per sample.

Student first, teacher second, everything else keyword-only with the paper's default. The mean of the values
is the number of the paper. Each loss detaches the teacher itself and computes in at least float32.

Example:
    >>> import torch
    >>> student = torch.zeros(2, 3, requires_grad=True)
    >>> loss = kd(student, torch.tensor([[4.0, 0.0, 0.0], [0.0, 0.0, 0.0]]))
    >>> loss.shape, round(loss.mean().item(), 4)
    (torch.Size([2]), 0.9863)
"""

from tutelage.losses.ab import activation_boundary
from tutelage.losses.at import attention_transfer
from tutelage.losses.cc import correlation_congruence
from tutelage.losses.ckd import all_pairs, comparative, comparative_labels
from tutelage.losses.crd import crd, crd_normaliser
from tutelage.losses.cs_kd import cs_kd
from tutelage.losses.dist import dist
from tutelage.losses.dkd import dkd
from tutelage.losses.fitnet import fitnet
from tutelage.losses.fsp import fsp
from tutelage.losses.ft import factor_distance
from tutelage.losses.ickd import aggregate_context, negative_in_context, positive_in_context
from tutelage.losses.iekd import exploration, inheritance
from tutelage.losses.kd import kd
from tutelage.losses.label_smoothing import label_smoothing
from tutelage.losses.logit_mse import logit_mse
from tutelage.losses.nst import nst
from tutelage.losses.ofd import overhaul
from tutelage.losses.one import native_ensemble
from tutelage.losses.pkt import pkt
from tutelage.losses.refilled import adaptive_weights, local_classifier
from tutelage.losses.review_kd import hierarchical_context
from tutelage.losses.rkd import rkd_angle, rkd_distance
from tutelage.losses.sp import similarity_preserving
from tutelage.losses.tf_kd import tf_kd
from tutelage.losses.tuple_matching import triplet_matching, tuple_matching
from tutelage.losses.vid import vid

__all__ = [
    "activation_boundary",
    "adaptive_weights",
    "aggregate_context",
    "all_pairs",
    "attention_transfer",
    "comparative",
    "comparative_labels",
    "correlation_congruence",
    "crd",
    "crd_normaliser",
    "cs_kd",
    "dist",
    "dkd",
    "exploration",
    "factor_distance",
    "fitnet",
    "fsp",
    "hierarchical_context",
    "inheritance",
    "kd",
    "label_smoothing",
    "local_classifier",
    "logit_mse",
    "native_ensemble",
    "negative_in_context",
    "nst",
    "overhaul",
    "pkt",
    "positive_in_context",
    "rkd_angle",
    "rkd_distance",
    "similarity_preserving",
    "tf_kd",
    "triplet_matching",
    "tuple_matching",
    "vid",
]

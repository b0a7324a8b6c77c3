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

from tutelage.losses.cc import correlation_congruence
from tutelage.losses.ckd import all_pairs, comparative, comparative_labels
from tutelage.losses.cs_kd import cs_kd
from tutelage.losses.dist import dist
from tutelage.losses.dkd import dkd
from tutelage.losses.fitnet import fitnet
from tutelage.losses.ickd import aggregate_context, negative_in_context, positive_in_context
from tutelage.losses.kd import kd
from tutelage.losses.label_smoothing import label_smoothing
from tutelage.losses.logit_mse import logit_mse
from tutelage.losses.rkd import rkd_angle, rkd_distance
from tutelage.losses.tf_kd import tf_kd
from tutelage.losses.vid import vid

__all__ = [
    "aggregate_context",
    "all_pairs",
    "comparative",
    "comparative_labels",
    "correlation_congruence",
    "cs_kd",
    "dist",
    "dkd",
    "fitnet",
    "kd",
    "label_smoothing",
    "logit_mse",
    "negative_in_context",
    "positive_in_context",
    "rkd_angle",
    "rkd_distance",
    "tf_kd",
    "vid",
]

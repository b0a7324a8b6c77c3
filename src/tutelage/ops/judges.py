"""How good an embedding, a teacher's doubt or a set of accuracies is, beyond the accuracy of logits.

They are taken now and then and not in the loop: those that return a Python number wait for the accelerator.

Letters: n samples, d features, k classes; the leading dimensions ``*e``, such as episodes, are free.
"""

import math
import warnings

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from tutelage.errors import ConfigError, ShapeError
from tutelage.ops.precision import upcast, upcast_both, without_autocast
from tutelage.ops.units import unit_rows

__all__ = [
    "class_means",
    "cluster_nmi",
    "euclidean_scores",
    "harmonic_mean",
    "mean_interval",
    "ncm_scores",
    "ranking_auc",
    "seen_auc",
]


def class_means(features: Float[Tensor, "n d"], labels: Int64[Tensor, " n"], classes: int) -> Float[Tensor, "k d"]:
    r"""Mean feature of each class; zero for a class without samples, which then has cosine 0 to all.

    .. math:: c_k = \tfrac{1}{|\{i : y_i = k\}|} \sum_{i : y_i = k} x_i

    Args:
        features: One row a sample.
        labels: Class of each, from 0 to k − 1.
        classes: k.

    Returns:
        One row a class, in at least float32.

    Example:
        >>> class_means(torch.tensor([[1.0, 0.0], [3.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 0, 2]), 3)
        tensor([[2., 0.],
                [0., 0.],
                [0., 1.]])
    """
    rows = upcast(features)
    sums = rows.new_zeros(classes, rows.shape[1]).index_add_(0, labels, rows)
    counts = rows.new_zeros(classes).index_add_(0, labels, torch.ones_like(labels, dtype=rows.dtype))
    return sums / counts.clamp(min=1).unsqueeze(1)


def ncm_scores(features: Float[Tensor, "*e n d"], means: Float[Tensor, "*e k d"]) -> Float[Tensor, "*e n k"]:
    r"""Cosine of each sample to each class mean: the nearest class mean has the highest score.

    .. math:: s_{ik} = \frac{x_i \cdot c_k}{\|x_i\| \, \|c_k\|}

    Source: REFILLED judges its first stage so, https://arxiv.org/abs/2205.01915; the head of ProtoNet with cosines.

    Args:
        features: One row a sample.
        means: One row a class, as of :func:`class_means`.

    Returns:
        Between −1 and 1; 0 for a row of zeros.

    Example:
        >>> ncm_scores(torch.tensor([[2.0, 0.0]]), torch.tensor([[9.0, 0.0], [0.0, 1.0]]))
        tensor([[1., 0.]])
    """
    rows, centres = upcast_both(features, means)
    with without_autocast(rows):
        return _units(rows) @ _units(centres).mT


def euclidean_scores(features: Float[Tensor, "*e n d"], means: Float[Tensor, "*e k d"]) -> Float[Tensor, "*e n k"]:
    r"""Minus the squared distance of each sample to each class mean, up to a number a sample: ProtoNet's head.

    .. math:: s_{ik} = 2\, x_i \cdot c_k - \|c_k\|^2 = \|x_i\|^2 - \|x_i - c_k\|^2

    Both are taken from the mean of the class means first, which changes no difference of scores: features that share
    an offset of 1000 have scores of 10^6, whose differences float32 rounds to 0.06.

    Source: Snell, Swersky, Zemel. Prototypical networks for few-shot learning. NeurIPS 2017.
    https://arxiv.org/abs/1703.05175

    Args:
        features: One row a sample.
        means: One row a class.

    Returns:
        Logits: their softmax is that of minus the squared distances.

    Example:
        >>> euclidean_scores(torch.tensor([[1.0]]), torch.tensor([[1.0], [-1.0]])).softmax(1)
        tensor([[0.9820, 0.0180]])
    """
    rows, centres = upcast_both(features, means)
    origin = centres.mean(-2, keepdim=True)
    rows, centres = rows - origin, centres - origin
    with without_autocast(rows):
        return 2 * rows @ centres.mT - centres.square().sum(-1).unsqueeze(-2)


def ranking_auc(scores: Float[Tensor, " n"], positive: Bool[Tensor, " n"]) -> float:
    r"""Area under the ROC curve: how often a positive sample has the higher score, ties counting half.

    .. math:: \frac{1}{n_+ n_-} \sum_{i \in +} \sum_{j \in -} [s_i > s_j] + \tfrac12 [s_i = s_j]

    It is computed from ranks (Mann and Whitney 1947), so that the pairs are never in memory.

    Args:
        scores: One a sample.
        positive: Which samples are to have high ones.

    Returns:
        Between 0 and 1; 0.5 for scores that tell nothing. NaN where one side is empty.

    Raises:
        ShapeError: if the two are not one number a sample, or a score is NaN.

    Example:
        >>> ranking_auc(torch.tensor([0.9, 0.5, 0.5, 0.1]), torch.tensor([True, True, False, False]))
        0.875
    """
    if scores.dim() != 1 or scores.shape != positive.shape:
        raise ShapeError(
            f"an AUC needs one score and one truth a sample, got {tuple(scores.shape)} and {tuple(positive.shape)}"
        )
    if bool(scores.isnan().any()):
        raise ShapeError("a score that is NaN has no rank: leave that sample out")
    _, place, counts = torch.unique(scores, return_inverse=True, return_counts=True)
    middle = counts.cumsum(0).double() - (counts - 1).double() / 2
    above, below = int(positive.sum()), int((~positive).sum())
    if not above or not below:
        return math.nan
    return (float(middle[place][positive].sum()) - above * (above + 1) / 2) / (above * below)


def seen_auc(teacher_logits: Float[Tensor, "n k"], seen: Bool[Tensor, " n"]) -> float:
    r"""AUC with which REFILLED's weight tells samples of classes that the teacher was trained on from others.

    The weight falls with :math:`u_i = -\log \max_k p_T(k \mid x_i)`, whose place between the smallest and the largest
    of the samples is û; 1 − û ranks them as −u does, and the ranks are all that an AUC reads. So does minus the
    logarithm of the odds against the highest class, :math:`\log(e^u - 1)`, which tells sure answers apart: u itself is
    0 in float32 where the highest logit leads by 17.

    Source: https://arxiv.org/abs/2205.01915

    Args:
        teacher_logits: Over the teacher's own classes.
        seen: Whether the sample's class is one of them.

    Returns:
        :func:`ranking_auc` of 1 − û.

    Example:
        >>> seen_auc(torch.tensor([[9.0, 0.0], [1.0, 0.0]]), torch.tensor([True, False]))
        1.0
    """
    top, place = teacher_logits.double().max(1, keepdim=True)
    odds = (teacher_logits.double() - top).scatter(1, place, -torch.inf).logsumexp(1)
    return ranking_auc(-odds, seen)


def harmonic_mean(*shares: float) -> float:
    r"""n divided by the sum of the inverse shares: high only where all are; zero where one is.

    .. math:: n \Big/ \sum_i \frac{1}{a_i}

    Args:
        shares: Such as the accuracies on old and on new classes.

    Raises:
        ConfigError: if there is none, or one is negative or not finite.

    Example:
        >>> round(harmonic_mean(0.9, 0.3), 6), harmonic_mean(0.9, 0.0)
        (0.45, 0.0)
    """
    if not shares or not all(math.isfinite(share) and share >= 0 for share in shares):
        raise ConfigError(f"a harmonic mean needs at least one number, none below 0, got {list(shares)}")
    if min(shares) == 0:
        return 0.0
    return len(shares) / math.fsum(1 / share for share in shares)


def cluster_nmi(features: Float[Tensor, "n d"], labels: Int64[Tensor, " n"], *, seed: int = 0) -> float:
    r"""Normalised mutual information of the labels and the clusters that k-means finds, one cluster a class.

    .. math:: \mathrm{NMI}(C, Y) = \frac{2\, I(C; Y)}{H(C) + H(Y)}

    Rows are divided by their length first, as REFILLED compares directions. k-means (scikit-learn, k-means++, the best
    of 4 starts) and the measure with the arithmetic mean are those of the metric learning literature.

    Args:
        features: One row a sample.
        labels: Class of each; k is the number of those that occur.
        seed: Of the starts.

    Returns:
        Between 0 and 1.

    Raises:
        ShapeError: if there are no samples, or not one label for each.

    Example:
        >>> x = torch.tensor([[1.0, 0.0], [2.0, 0.1], [0.0, 1.0], [0.1, 3.0]])
        >>> round(cluster_nmi(x, torch.tensor([0, 0, 1, 1])), 6)
        1.0
    """
    if len(features) < 1 or labels.shape != features.shape[:1]:
        raise ShapeError(f"an NMI needs one label a sample, got {len(features)} rows and {len(labels)} labels")
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.metrics import normalized_mutual_info_score

    means = KMeans(torch.unique(labels).numel(), n_init=4, random_state=seed)
    with warnings.catch_warnings():  # of fewer distinct rows than clusters: they share one, and the measure says so
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = means.fit_predict(unit_rows(upcast(features.detach())).cpu().numpy())
    return float(normalized_mutual_info_score(labels.cpu().numpy(), found))


def mean_interval(values: Float[Tensor, " n"]) -> tuple[float, float]:
    r"""Mean and half the width of its 95 % interval by Student's t: 1.964 standard errors for 600 values.

    .. math:: \bar a \pm t_{0.975,\,n-1}\, s / \sqrt n

    Args:
        values: Independent draws, such as the accuracies of episodes; at least two.

    Raises:
        ShapeError: if there are fewer: one value has no interval.

    Example:
        >>> mean, half_width = mean_interval(torch.tensor([0.94, 0.95, 0.96]))
        >>> round(mean, 4), round(half_width, 4)
        (0.95, 0.0248)
    """
    if len(values) < 2:
        raise ShapeError(f"an interval needs at least 2 values, got {len(values)}")
    from scipy.special import stdtrit  # scipy.stats takes about 1 s to import, for the same quantile

    exact = values.double()
    error = float(exact.std()) / math.sqrt(len(values))
    return float(exact.mean()), float(stdtrit(len(values) - 1, 0.975)) * error


def _units(rows: Float[Tensor, "*e n d"]) -> Float[Tensor, "*e n d"]:
    return unit_rows(rows.flatten(0, -2)).view_as(rows)

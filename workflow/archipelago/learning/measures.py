"""How good features are, without a label."""

from __future__ import annotations

import torch
from torch.nn import functional

#: Difference of cosines of doubles that is still rounding.
_ROUNDING = 1e-12


def alignment(one: torch.Tensor, other: torch.Tensor) -> float:
    """Return the mean squared distance of two views' directions; small is good.

    Wang & Isola (2020, ICML, arXiv:2005.10242), with exponent 2. Between 0 and 4.

    Parameters
    ----------
    one, other : (n, d) projections of two views of the same n images.
    """
    one, other = functional.normalize(one, dim=1), functional.normalize(other, dim=1)
    return float((one - other).square().sum(dim=1).mean())


def uniformity(projections: torch.Tensor) -> float:
    """Return log mean exp(-2 distance^2) of all pairs of directions; low is good.

    Wang & Isola (2020, arXiv:2005.10242), with t = 2. Between -8 and 0; 0 when all
    directions are the same, or there are fewer than two.

    Parameters
    ----------
    projections : (n, d).
    """
    if len(projections) < 2:
        return 0.0
    directions = functional.normalize(projections, dim=1)
    cosines = directions @ directions.T
    row, column = torch.triu_indices(len(directions), len(directions), offset=1)
    distance2 = (2.0 - 2.0 * cosines[row, column]).clamp_min(0.0)
    return float(distance2.double().mul(-2.0).exp().mean().log())


def rank_me(features: torch.Tensor) -> float:
    """Return the effective rank of features, from 1 to d; high is good.

    RankMe: exp of the entropy of the normalised singular values, Garrido et al.
    (2023, ICML, arXiv:2210.02885, eq. 1).

    Parameters
    ----------
    features : (n, d); not all zero, or the result is 0.
    """
    values = torch.linalg.svdvals(features.double())
    total = values.sum()
    if not total > 0:
        return 0.0
    share = values / total + 1e-7
    return float(torch.exp(-(share * share.log()).sum()))


def consistency(one: torch.Tensor, other: torch.Tensor) -> float:
    """Return the share of first views whose nearest second view is of the same image.

    Augmentation consistency: how well features tell an image, seen anew, from all
    others. Nearest by the cosine. The own view must be nearer than every other, so
    that features that are all the same give 0. Between 0 and 1; chance gives 1/n.

    Parameters
    ----------
    one, other : (n, d) features of two independent views of the same n images; n
        at least 1. One image has no other to be confused with: the result is 1.
    """
    one, other = (functional.normalize(views.double(), dim=1) for views in (one, other))
    cosines = one @ other.T
    own = cosines.diagonal().clone()
    nearest_other = cosines.fill_diagonal_(-torch.inf).amax(dim=1)
    return float((own > nearest_other + _ROUNDING).double().mean())

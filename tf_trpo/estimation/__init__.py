"""Estimates from sampled data, as functions of tensors: advantages, returns, the surrogate, moments.

Every function checks the ranks and static shapes of its tensors first, and raises ValueError if one is wrong.
"""

from tf_trpo.estimation.advantages import advantage_moments, gae, normalize_advantages, winsorize
from tf_trpo.estimation.batch import Batch
from tf_trpo.estimation.lower_bound import (
    LowerBound,
    advantage_scale,
    estimate_lower_bound,
    largest_advantage,
    penalty_coefficient,
)
from tf_trpo.estimation.moments import (
    Moments,
    combined_moments,
    explained_variance,
    weighted_mean,
    weighted_moments,
)
from tf_trpo.estimation.returns import discounted_return_so_far, lambda_returns, rewards_to_go
from tf_trpo.estimation.surrogate import surrogate_advantage, surrogate_improvement

__all__ = [
    "Batch",
    "LowerBound",
    "Moments",
    "advantage_moments",
    "advantage_scale",
    "combined_moments",
    "discounted_return_so_far",
    "estimate_lower_bound",
    "explained_variance",
    "gae",
    "lambda_returns",
    "largest_advantage",
    "normalize_advantages",
    "penalty_coefficient",
    "rewards_to_go",
    "surrogate_advantage",
    "surrogate_improvement",
    "weighted_mean",
    "weighted_moments",
    "winsorize",
]

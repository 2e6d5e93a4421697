"""Estimate advantages, returns, the surrogate and moments from sampled data, by functions of tensors.

Every function first checks the ranks and static shapes of its tensors, and raises ValueError if one is wrong.
"""

from tf_trpo.estimation.advantages import advantage_moments as advantage_moments
from tf_trpo.estimation.advantages import gae as gae
from tf_trpo.estimation.advantages import normalize_advantages as normalize_advantages
from tf_trpo.estimation.advantages import winsorize as winsorize
from tf_trpo.estimation.batch import Batch as Batch
from tf_trpo.estimation.batch import Costs as Costs
from tf_trpo.estimation.batch import as_rows as as_rows
from tf_trpo.estimation.batch import counted_weights as counted_weights
from tf_trpo.estimation.batch import from_rows as from_rows
from tf_trpo.estimation.branches import branch_advantages as branch_advantages
from tf_trpo.estimation.branches import branch_returns as branch_returns
from tf_trpo.estimation.lower_bound import LowerBound as LowerBound
from tf_trpo.estimation.lower_bound import advantage_scale as advantage_scale
from tf_trpo.estimation.lower_bound import estimate_lower_bound as estimate_lower_bound
from tf_trpo.estimation.lower_bound import largest_advantage as largest_advantage
from tf_trpo.estimation.lower_bound import penalty_coefficient as penalty_coefficient
from tf_trpo.estimation.moments import Moments as Moments
from tf_trpo.estimation.moments import combined_moments as combined_moments
from tf_trpo.estimation.moments import explained_variance as explained_variance
from tf_trpo.estimation.moments import weighted_mean as weighted_mean
from tf_trpo.estimation.moments import weighted_moments as weighted_moments
from tf_trpo.estimation.returns import discounted_return_so_far as discounted_return_so_far
from tf_trpo.estimation.returns import lambda_returns as lambda_returns
from tf_trpo.estimation.returns import rewards_to_go as rewards_to_go
from tf_trpo.estimation.surrogate import clipped_surrogate_improvement as clipped_surrogate_improvement
from tf_trpo.estimation.surrogate import surrogate_improvement as surrogate_improvement

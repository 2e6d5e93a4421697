"""Policy optimizers: values that turn (policy, batch, state) into new parameters and a record of what happened."""

from collections.abc import Mapping

from tf_trpo.optimizers.adaptive_radius import AdaptiveRadius
from tf_trpo.optimizers.backtracking import Backtracking
from tf_trpo.optimizers.first_order import FirstOrder
from tf_trpo.optimizers.kl_penalty import KLPenalty
from tf_trpo.optimizers.natural_direction import NaturalDirection
from tf_trpo.optimizers.natural_policy_gradient import NaturalPolicyGradient
from tf_trpo.optimizers.objective import Objective
from tf_trpo.optimizers.outcome import Outcome
from tf_trpo.optimizers.policy_optimizer import PolicyOptimizer, Proposal, State, without_line_search
from tf_trpo.optimizers.trust_region import TrustRegion
from tf_trpo.optimizers.vanilla_policy_gradient import VanillaPolicyGradient

ALGORITHMS: Mapping[str, type[PolicyOptimizer]] = {
    "trpo": TrustRegion,
    "natural-policy-gradient": NaturalPolicyGradient,
    "vanilla-policy-gradient": VanillaPolicyGradient,
    "kl-penalty": KLPenalty,
}
"""The policy optimizers by the names of their algorithms."""

__all__ = [
    "ALGORITHMS",
    "AdaptiveRadius",
    "Backtracking",
    "FirstOrder",
    "KLPenalty",
    "NaturalDirection",
    "NaturalPolicyGradient",
    "Objective",
    "Outcome",
    "PolicyOptimizer",
    "Proposal",
    "State",
    "TrustRegion",
    "VanillaPolicyGradient",
    "without_line_search",
]

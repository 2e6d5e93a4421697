"""Policy optimizers: immutable objects that compute new policy weights, and a record of the step, from a batch."""

from collections.abc import Mapping

from tf_trpo.optimizers.adaptive_radius import AdaptiveRadius as AdaptiveRadius
from tf_trpo.optimizers.backtracking import Backtracking as Backtracking
from tf_trpo.optimizers.clipped_surrogate import ClippedSurrogate as ClippedSurrogate
from tf_trpo.optimizers.constrained_trust_region import ConstrainedTrustRegion as ConstrainedTrustRegion
from tf_trpo.optimizers.demonstration_bonus import DemonstrationBonus as DemonstrationBonus
from tf_trpo.optimizers.demonstration_bonus import Shown as Shown
from tf_trpo.optimizers.entropy_bonus import EntropyBonus as EntropyBonus
from tf_trpo.optimizers.first_order import FirstOrder as FirstOrder
from tf_trpo.optimizers.kl_penalty import KLPenalty as KLPenalty
from tf_trpo.optimizers.lagrangian_trust_region import LagrangianTrustRegion as LagrangianTrustRegion
from tf_trpo.optimizers.natural_direction import NaturalDirection as NaturalDirection
from tf_trpo.optimizers.natural_policy_gradient import NaturalPolicyGradient as NaturalPolicyGradient
from tf_trpo.optimizers.objective import Objective as Objective
from tf_trpo.optimizers.outcome import Outcome as Outcome
from tf_trpo.optimizers.policy_optimizer import PolicyOptimizer as PolicyOptimizer
from tf_trpo.optimizers.policy_optimizer import Proposal as Proposal
from tf_trpo.optimizers.policy_optimizer import State as State
from tf_trpo.optimizers.policy_optimizer import without_line_search as without_line_search
from tf_trpo.optimizers.problem import Problem as Problem
from tf_trpo.optimizers.trust_region import TrustRegion as TrustRegion
from tf_trpo.optimizers.vanilla_policy_gradient import VanillaPolicyGradient as VanillaPolicyGradient

ALGORITHMS: Mapping[str, type[PolicyOptimizer]] = {
    "trpo": TrustRegion,
    "natural-policy-gradient": NaturalPolicyGradient,
    "vanilla-policy-gradient": VanillaPolicyGradient,
    "kl-penalty": KLPenalty,
    "ppo": ClippedSurrogate,
    "constrained-trust-region": ConstrainedTrustRegion,
    "lagrangian-trust-region": LagrangianTrustRegion,
}
"""The policy optimizers by the names of their algorithms."""

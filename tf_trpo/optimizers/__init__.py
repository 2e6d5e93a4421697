"""Policy optimizers: each turns (policy, batch) into new parameters and a record of what happened."""

from tf_trpo.optimizers.kl_penalty import KLPenalty
from tf_trpo.optimizers.natural_policy_gradient import NaturalPolicyGradient
from tf_trpo.optimizers.outcome import Outcome
from tf_trpo.optimizers.policy_optimizer import PolicyOptimizer
from tf_trpo.optimizers.trust_region import TrustRegion
from tf_trpo.optimizers.vanilla_policy_gradient import VanillaPolicyGradient

__all__ = ["KLPenalty", "NaturalPolicyGradient", "Outcome", "PolicyOptimizer", "TrustRegion", "VanillaPolicyGradient"]

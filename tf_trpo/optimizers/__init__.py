"""Policy optimizers: each turns (policy, batch) into new parameters and a record of what happened."""

from tf_trpo.optimizers.trust_region import Outcome, TrustRegion

__all__ = ["Outcome", "TrustRegion"]

"""Policy optimizers: each turns (policy, batch) into new parameters and a record of what happened."""

from tf_trpo.optimizers.outcome import Outcome
from tf_trpo.optimizers.trust_region import TrustRegion

__all__ = ["Outcome", "TrustRegion"]

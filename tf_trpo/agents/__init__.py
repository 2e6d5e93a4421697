"""Agents: a policy, a value function and a policy optimizer that learn together."""

from tf_trpo.agents.iteration import UpdateSettings
from tf_trpo.agents.trpo import TRPO, load

__all__ = ["TRPO", "UpdateSettings", "load"]

"""Agents: a policy, a value function and a policy optimizer that learn together."""

from tf_trpo.agents.checkpoints import CheckpointError
from tf_trpo.agents.faults import TrainingFailedError
from tf_trpo.agents.iteration import UpdateSettings
from tf_trpo.agents.learning_rates import LinearDecayRestarts
from tf_trpo.agents.loading import load
from tf_trpo.agents.trpo import TRPO

__all__ = ["TRPO", "CheckpointError", "LinearDecayRestarts", "TrainingFailedError", "UpdateSettings", "load"]

"""Agents: a policy, a value function and a policy optimizer that learn together."""

from tf_trpo.training.agent import TRPO
from tf_trpo.training.checkpoints import CheckpointError
from tf_trpo.training.faults import TrainingFailedError
from tf_trpo.training.learner import UpdateSettings
from tf_trpo.training.learning_rates import LinearDecayRestarts
from tf_trpo.training.loading import load

__all__ = ["TRPO", "CheckpointError", "LinearDecayRestarts", "TrainingFailedError", "UpdateSettings", "load"]
